"""Runs the checks of the roles on hosts and brings their outcomes together."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from antiseche import kit
from antiseche.catalogue import Catalogue, load_catalogue
from antiseche.engine.environment import KEPT
from antiseche.engine.identities import offered
from antiseche.errors import AntisecheError
from antiseche.i18n import _, language
from antiseche.practice.folder import PracticeFolder
from antiseche.verify.target import Target, practice_targets

POLL_SECONDS = 0.05
_PREFIX = "antiseche-verify-"


@dataclass(frozen=True)
class Outcome:
    """What one check found on one host: ``pass``, ``fail``, ``not-applicable`` or ``error``."""

    host: str
    control: str
    outcome: str
    message: str = ""
    leaves: tuple[str, ...] = ()


@dataclass
class Verification:
    """Outcomes of a pass, one per host and control, and who could not be reached."""

    outcomes: list[Outcome] = field(default_factory=list)
    observations: list[dict[str, Any]] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    unreachable: dict[str, str] = field(default_factory=dict)
    skew_seconds: dict[str, int] = field(default_factory=dict)

    @property
    def reached(self) -> list[str]:
        """Hosts that answered."""
        return [name for name in self.expected if name not in self.unreachable]


OnOutcome = Callable[[Outcome], None]


def run_checks(
    folder: PracticeFolder,
    hosts: tuple[str, ...] = (),
    roles: tuple[str, ...] = (),
    private_key: Path | None = None,
    on_outcome: OnOutcome | None = None,
) -> Verification:
    """Run the checks of these roles on these hosts of a practice (empty: all).

    Raises:
        AntisecheError: the checking processes could not run at all.
    """
    targets = practice_targets(folder, hosts)
    for number, target in enumerate(targets):
        keys = offered(folder.root, private_key, target.expected.get("remote_access_public_keys") or [])
        targets[number] = replace(target, identities=keys)
    return check_targets(targets, roles, on_outcome)


def check_targets(targets: list[Target], roles: tuple[str, ...] = (), on_outcome: OnOutcome | None = None) -> Verification:
    """Run the checks on targets, spread over as many processes as there are processors.

    Every (host, control) pair has exactly one outcome: what was not run is an error, never absent.
    """
    catalogue = load_catalogue().only(roles)
    result = Verification(expected=[target.name for target in targets])
    if not targets:
        return result
    _clear_abandoned()
    base = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    try:
        count = min(len(targets), os.cpu_count() or 1)
        workers = [_Worker(base / str(n), targets[n::count], catalogue) for n in range(count)]
        try:
            while any(worker.running() for worker in workers):
                _collect(workers, result, on_outcome)
                time.sleep(POLL_SECONDS)
        except BaseException:
            for worker in workers:
                worker.stop()
            raise
        _collect(workers, result, on_outcome)
        for worker in workers:
            result.observations += worker.observations()
        _complete(result, catalogue, workers)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return result


def _clear_abandoned() -> None:
    """Throw away what killed commands left of their passes."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = path.name.removeprefix(_PREFIX).partition("-")[0]
        with contextlib.suppress(OSError):
            if pid.isdecimal() and not Path("/proc", pid).exists() and path.lstat().st_uid == os.getuid():
                shutil.rmtree(path, ignore_errors=True)


class _Worker:
    """One pytest process that walks some of the hosts."""

    def __init__(self, folder: Path, targets: list[Target], catalogue: Catalogue) -> None:
        folder.mkdir(mode=0o700)
        self.folder = folder
        self._read = 0
        targets_file = folder / "targets.json"
        targets_file.touch(mode=0o600)
        targets_file.write_text(json.dumps([target.as_json() for target in targets]), encoding="utf-8")
        paths = [kit.roles_dir() / role.role / "verify" for role in catalogue.roles]
        command = [
            sys.executable, "-m", "pytest", "-q", "-p", "antiseche.verify.plugin", "-p", "no:cacheprovider", "--assert=plain",
            "--import-mode=importlib", "--no-header", "--tb=short", "--rootdir", str(folder), "-c", os.devnull,
            "--antiseche-targets", str(targets_file), "--antiseche-output", str(folder),
            "--antiseche-roles", str(kit.roles_dir()), *map(str, paths),
        ]  # fmt: skip
        environment = {
            # Nothing else of the user's environment: plugins and options meant for other tests must not change these.
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            "LC_ALL": "C.UTF-8",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "ANTISECHE_LANG": language(),
        }
        self._log = (folder / "pytest.log").open("wb")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
            # A terminal's Ctrl-C reaches the command only; it ends this process and its connections together.
            start_new_session=True,
        )

    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """End at once; the checks only read, and each outcome is written as it comes."""
        if self.running():
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()

    def new_outcomes(self) -> Iterable[dict[str, Any]]:
        """Yield the outcomes written since the last call; a half-written last line waits."""
        path = self.folder / "outcomes.jsonl"
        if not path.exists():
            return
        with path.open("rb") as stream:
            stream.seek(self._read)
            for line in stream:
                if line.endswith(b"\n"):
                    self._read += len(line)
                    yield json.loads(line)

    def observations(self) -> list[dict[str, Any]]:
        path = self.folder / "observations.jsonl"
        if not path.exists():
            return []
        # Not splitlines: what a machine answered may hold line ends of other alphabets.
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]

    def reason(self) -> str:
        """Return the last thing pytest said, for outcomes that are missing."""
        self._log.flush()
        text = (self.folder / "pytest.log").read_text(encoding="utf-8", errors="replace")
        lines = [line for line in text.splitlines() if line.strip()]
        said = [line.removeprefix("E ").strip() for line in lines if line.startswith("E ")]
        errors = [line for line in lines if line.startswith(("ERROR", "INTERNALERROR"))]
        return (said or errors or lines or [_("aucune trace")])[-1][:300]


def _collect(workers: list[_Worker], result: Verification, on_outcome: OnOutcome | None) -> None:
    for worker in workers:
        for line in worker.new_outcomes():
            outcome = Outcome(line["host"], line["control"], line["outcome"], line["message"], tuple(line["leaves"]))
            result.outcomes.append(outcome)
            result.skew_seconds[outcome.host] = line["skew_seconds"]
            if line.get("unreachable"):
                result.unreachable.setdefault(outcome.host, outcome.message)
            if on_outcome is not None:
                on_outcome(outcome)


def _complete(result: Verification, catalogue: Catalogue, workers: list[_Worker]) -> None:
    """Give an outcome to what was not run, and refuse a check that speaks twice."""
    wanted = [(host, control.id) for host in result.expected for control in catalogue]
    got: dict[tuple[str, str], Outcome] = {}
    for outcome in result.outcomes:
        key = outcome.host, outcome.control
        if key in got:
            outcome = Outcome(*key, "error", _("deux contrôles portent cet identifiant"))
        got[key] = outcome
    unknown = sorted({control for _host, control in got} - {control.id for control in catalogue})
    if unknown:
        raise AntisecheError(_("Contrôles absents du catalogue : {ids}.").format(ids=", ".join(unknown)))
    missing = [key for key in wanted if key not in got]
    reason = " ; ".join(worker.reason() for worker in workers) if missing else ""
    for host, control in missing:
        got[host, control] = Outcome(host, control, "error", _("contrôle non exécuté ({reason})").format(reason=reason))
    for worker in workers:
        worker.stop()
    result.outcomes = [got[key] for key in wanted]
