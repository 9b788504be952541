"""A drift pass or a restore drill at fixed times, by a systemd timer of this machine: nothing of ours keeps running in between.

System units for root, user units for anybody else; a user's timers need ``loginctl enable-linger`` to run without a session.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from antiseche.errors import AnswersError, AntisecheError, MissingRequirementError
from antiseche.i18n import _, language
from antiseche.practice.atomic import write_text
from antiseche.practice.folder import PracticeFolder

DEFAULT_CALENDAR = "Mon..Fri 12:45"
"""When machines are on and nobody works on them."""
DRILL_CALENDAR = "*-01,04,07,10-05 13:15"
"""Four times a year: an exercise that fails leaves time for another before the year is over."""
_THINGS = {"drift": "dérive", "drill": "exercice de restauration"}


@dataclass(frozen=True)
class Schedule:
    """A timer of one practice."""

    folder: PracticeFolder
    user: bool
    units: Path
    verb: Literal["drift", "drill"] = "drift"

    @property
    def name(self) -> str:
        """Name of the units: two folders never share one."""
        digest = hashlib.sha256(os.fsencode(self.folder.root)).hexdigest()[:8]
        return f"antiseche-{self.verb}-{re.sub(r'[^A-Za-z0-9-]', '-', self.folder.name)[:40]}-{digest}"

    @property
    def files(self) -> tuple[Path, Path]:
        """The service and the timer."""
        return self.units / f"{self.name}.service", self.units / f"{self.name}.timer"

    @property
    def exists(self) -> bool:
        """Whether the practice is scheduled."""
        return any(path.exists() for path in self.files)


def schedule_of(folder: PracticeFolder, verb: Literal["drift", "drill"] = "drift") -> Schedule:
    """Return where a timer of a practice is, whether it exists or not."""
    user = os.geteuid() != 0
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Schedule(folder, user, config / "systemd/user" if user else Path("/etc/systemd/system"), verb)


def service_text(schedule: Schedule, private_key: Path, vault_password_file: Path) -> str:
    """Return the service: one drift pass that asks nothing and repairs nothing, or one drill."""
    argv = [
        *(sys.executable, "-m", "antiseche", "--lang", language(), schedule.verb, str(schedule.folder.root)),
        *(["--yes"] if schedule.verb == "drift" else []),
        *("--private-key", str(private_key), "--vault-password-file", str(vault_password_file)),
    ]
    return (
        f"[Unit]\nDescription=Antisèche : {_THINGS[schedule.verb]} de {_escaped(schedule.folder.name)}\n"
        "Wants=network-online.target\nAfter=network-online.target\n\n"
        # What found drift or proved nothing ends with 3: the unit then shows as failed, which somebody must notice.
        f"[Service]\nType=oneshot\nUMask=0077\nNoNewPrivileges=yes\nExecStart={' '.join(map(_quoted, argv))}\n"
    )


def timer_text(schedule: Schedule, calendar: str) -> str:
    """Return the timer; a pass missed while this machine was off is made up for."""
    return (
        f"[Unit]\nDescription=Antisèche : {_THINGS[schedule.verb]} de {_escaped(schedule.folder.name)}, à heures fixes\n\n"
        f"[Timer]\nOnCalendar={calendar}\nPersistent=true\nRandomizedDelaySec=5min\n\n[Install]\nWantedBy=timers.target\n"
    )


def next_run(calendar: str) -> str:
    """Return when the calendar next elapses, as systemd tells it.

    Raises:
        AnswersError: it is not a calendar of systemd.
        MissingRequirementError: this machine has no systemd.
    """
    if "\n" in calendar or "%" in calendar:
        raise AnswersError(_wrong(calendar))
    done = _run("systemd-analyze", "calendar", "--", calendar)
    found = re.search(r"Next elapse: (.+)", done.stdout)
    if done.returncode != 0 or found is None:
        raise AnswersError(_wrong(calendar))
    return found.group(1).strip()


def install(schedule: Schedule, calendar: str, private_key: Path, vault_password_file: Path) -> None:
    """Write the units and start the timer.

    Raises:
        AntisecheError: a unit cannot be written or systemd refuses it; nothing is left.
    """
    texts = (service_text(schedule, private_key, vault_password_file), timer_text(schedule, calendar))
    try:
        schedule.units.mkdir(parents=True, exist_ok=True)
        for path, text in zip(schedule.files, texts, strict=True):
            write_text(path, text, mode=0o644)
    except OSError as error:
        remove(schedule)
        raise AntisecheError(_("{path} n'a pas pu être écrit : {error}.").format(
            path=schedule.units, error=error.strerror or error)) from None  # fmt: skip
    for arguments in (["daemon-reload"], ["enable", "--now", schedule.files[1].name]):
        done = _systemctl(schedule, *arguments)
        if done.returncode != 0:
            remove(schedule)
            raise AntisecheError(
                _("systemd n'a pas accepté la planification : {error}. Rien n'a été planifié.").format(
                    error=(done.stderr.strip().splitlines() or ["?"])[-1]
                )
            )


def remove(schedule: Schedule) -> bool:
    """Stop the timer and remove its units; say whether there were any."""
    if not schedule.exists:
        return False
    _systemctl(schedule, "disable", "--now", schedule.files[1].name)
    for path in schedule.files:
        path.unlink(missing_ok=True)
    _systemctl(schedule, "daemon-reload")
    return True


def usable_key(path: Path) -> None:
    """Refuse a key that would ask for a passphrase: nobody is there to type it.

    Raises:
        AnswersError: the key is protected, or is no private key.
    """
    done = _run("ssh-keygen", "-y", "-P", "", "-f", str(path))
    if done.returncode != 0:
        raise AnswersError(
            _(
                "La clé {path} ne peut pas servir sans personne au clavier (phrase de passe, ou pas une clé privée) : "
                "donnez avec --private-key une clé réservée à cette tâche."
            ).format(path=path)
        )


def _wrong(calendar: str) -> str:
    return _("« {calendar} » n'est pas un horaire de systemd, par exemple « Mon..Fri 12:45 » ou « daily ».").format(
        calendar=calendar
    )


def _systemctl(schedule: Schedule, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _run("systemctl", *(["--user"] if schedule.user else []), *arguments)


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C.UTF-8"}
        )
    except FileNotFoundError:
        raise MissingRequirementError(
            _("« {tool} » est introuvable sur ce poste : la planification demande systemd et OpenSSH.").format(tool=argv[0])
        ) from None


def _escaped(text: str) -> str:
    return text.replace("%", "%%").replace("\n", " ")


def _quoted(text: str) -> str:
    """Quote one argument for ``ExecStart`` (systemd.service(5)): C escapes, and ``%`` and ``$`` doubled."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
