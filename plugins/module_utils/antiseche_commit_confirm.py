# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Commit-confirm on the machine itself: what is not confirmed in time is undone, power cut or not.

A pending change is a folder ``/var/lib/antiseche/undo/<name>/``:

    0001.path    the path of a file that the change touches (written last: it makes the entry count)
    0001.saved   what was there before; missing when there was nothing
    apply        the commands that make the restored files effective, one shell-quoted command a line
    token        names this change, so that a late confirmation learns that it came too late

The folder is on the disk before the first file is touched. A timer that survives a reboot runs the undo script; at
boot an early service undoes whatever is pending, before the firewall and the ssh server start. What cannot be put
back stays saved and pending, and the machine tries again.

Whoever changes, confirms or undoes holds ``/var/lib/antiseche/undo/.lock``: a timer that runs out in the middle of a
change (a laptop that slept) waits for its end and undoes it then, instead of before.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.antiseche_set_aside import read_plain, sync_folder
from ansible.module_utils.antiseche_undo_script import BOOT, SERVICE, TIMER, UNDO_SCRIPT

STATE = Path("var/lib/antiseche")
SCRIPT = Path("usr/local/lib/antiseche/undo")
UNITS = Path("etc/systemd/system")
BOOT_UNIT = "antiseche-undo-boot.service"
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
TOKEN = re.compile(r"[0-9a-zA-Z]{1,64}")
SHORTEST_DELAY = 10  # seconds: less than what a fresh connection may need
UNDO_SECONDS = 900


class GuardError(RuntimeError):
    """A guarded change could not be armed, applied, confirmed or undone."""


def write(path: Path, content: bytes, mode: int) -> None:
    """Write a file so that it is whole and on the disk when its name shows it."""
    new = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


class Guard:
    """One named guarded change on this machine."""

    def __init__(self, name: str, root: Path = Path("/")) -> None:
        if not NAME.fullmatch(name):
            raise GuardError(f"bad guard name {name!r}: lower case letters, digits and _")
        self.name = name
        self.root = root
        self.state = root / STATE
        self.folder = self.state / "undo" / name
        self.trace = self.state / "undone" / f"{name}.json"
        self.timer = f"antiseche-undo-{name}.timer"
        self._holding = False

    @property
    def pending(self) -> bool:
        """Say whether a change waits for its confirmation."""
        return self.folder.is_dir()

    def undone(self) -> dict[str, Any]:
        """Return the trace of the last undo, empty when there is none."""
        try:
            loaded = json.loads(self.trace.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return loaded if isinstance(loaded, dict) else {}

    def forget_undone(self) -> None:
        """Forget the last undo."""
        with contextlib.suppress(OSError):
            self.trace.unlink()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the undo script and other runs away; whoever holds the lock already just goes on."""
        if self._holding:
            yield
            return
        folder = self.state / "undo"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._holding = True
            try:
                yield
            finally:
                self._holding = False

    def arm(self, paths: Sequence[Path], seconds: int, apply: Sequence[Sequence[str]], token: str = "") -> str:
        """Save what is there, start the timer, and return the change's token. A pending change keeps its first state.

        Raises:
            GuardError: the request makes no sense or the timer does not start; nothing was changed.
            OSError: the former state could not be saved; nothing was changed.
        """
        token = token or secrets.token_hex(8)
        refuse_bad_request(paths, seconds, apply, token)
        with self.locked():
            self._install()
            target = self.folder if self.pending else self.folder.with_name(f".{self.name}.arming")
            if not self.pending:
                shutil.rmtree(target, ignore_errors=True)
                target.mkdir(mode=0o700, parents=True)
            saved = {entry.read_bytes(): entry for entry in target.glob("*.path")}
            number = max((int(entry.stem) for entry in saved.values()), default=0)
            for path in paths:
                if os.fsencode(path) not in saved:
                    number += 1
                    _save(target, number, path)
            commands = "".join(shlex.join(argv) + "\n" for argv in apply)
            write(target / "apply", os.fsencode(commands), 0o600)
            write(target / "token", token.encode(), 0o600)
            sync_folder(target)
            self._start_timer(seconds)
            if target != self.folder:
                target.replace(self.folder)
            sync_folder(self.folder.parent)
        return token

    def check(self, token: str) -> None:
        """See that what is pending, or was last undone, is not something else than the token names.

        Raises:
            GuardError: the machine has already undone that change, or another run has changed the machine since.
        """
        if not token:
            return
        if self.pending:
            with contextlib.suppress(OSError):
                if (self.folder / "token").read_text(encoding="utf-8") != token:
                    raise GuardError("another run has changed this machine in the meantime; it alone can confirm")
        elif self.undone().get("token") == token:
            trace = self.undone()
            raise GuardError(f"the machine has undone this change by itself at {trace.get('at')} ({trace.get('why')})")

    def confirm(self, token: str = "") -> bool:
        """Keep the change. Confirming twice is fine. Without a token, whatever is pending is confirmed.

        Raises:
            GuardError: see `check`.
        """
        with self.locked():
            self.check(token)
            if not self.pending:
                return False
            gone = self.folder.with_name(f".{self.name}.gone")
            shutil.rmtree(gone, ignore_errors=True)
            self.folder.replace(gone)
            sync_folder(gone.parent)
            self.forget_undone()
            with contextlib.suppress(FileNotFoundError):
                (self.root / UNITS / "timers.target.wants" / self.timer).unlink()
            self._systemctl("stop", self.timer)
            shutil.rmtree(gone, ignore_errors=True)
        return True

    def undo(self, why: str) -> None:
        """Undo now, with the very script that the timer would run.

        Raises:
            GuardError: something could not be put back; it stays pending and the machine tries again.
        """
        with self.locked():
            environment = {**os.environ, "ANTISECHE_LOCKED": "yes"}
            environment.pop("ANTISECHE_ROOT", None)
            if self.root != Path("/"):
                environment["ANTISECHE_ROOT"] = str(self.root)
            argv = ["/bin/sh", str(self.root / SCRIPT), self.name, why]
            try:
                done = subprocess.run(
                    argv, capture_output=True, text=True, errors="replace", check=False, env=environment, timeout=UNDO_SECONDS
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise GuardError(f"the undo script does not run: {error}") from error
            if done.returncode or self.pending:
                said = "; ".join(done.stderr.split("\n")).strip("; ")
                raise GuardError(f"the change could not be wholly undone: {said[:600] or done.returncode}")
            self._systemctl("stop", self.timer)

    def _install(self) -> None:
        """Put the script and the units in place where they are missing or differ."""
        wanted = {
            self.root / SCRIPT: (UNDO_SCRIPT, 0o755),
            self.root / UNITS / "antiseche-undo@.service": (SERVICE, 0o644),
            self.root / UNITS / BOOT_UNIT: (BOOT, 0o644),
        }
        for path, (content, mode) in wanted.items():
            whole = path.is_file() and not path.is_symlink() and path.read_bytes() == content.encode()
            if not whole or stat.S_IMODE(path.stat().st_mode) != mode or path.stat().st_uid != os.geteuid():
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                write(path, content.encode(), mode)
        self._link("sysinit.target.wants", BOOT_UNIT)

    def _start_timer(self, seconds: int) -> None:
        path = self.root / UNITS / self.timer
        write(path, TIMER.format(name=self.name, seconds=seconds).encode(), 0o644)
        self._link("timers.target.wants", self.timer)
        sync_folder(path.parent)
        self._systemctl("daemon-reload")
        # Restart, so that a timer that already runs starts afresh without a moment when there is none.
        if not self._systemctl("restart", self.timer):
            raise GuardError("the undo timer does not start; nothing was changed")

    def _link(self, folder: str, unit: str) -> None:
        link = self.root / UNITS / folder / unit
        link.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(Path("/") / UNITS / unit)

    def _systemctl(self, *arguments: str) -> bool:
        try:
            done = subprocess.run(["systemctl", *arguments], capture_output=True, check=False, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0


def refuse_bad_request(paths: Sequence[Path], seconds: int, commands: Sequence[Sequence[str]], token: str) -> None:
    """Refuse what could not be undone as it should.

    Raises:
        GuardError: a text that the undo script could not read, an empty command, or too short a delay.
    """
    if token and not TOKEN.fullmatch(token):
        raise GuardError("bad token: letters and digits only")
    if seconds < SHORTEST_DELAY:
        raise GuardError(f"{seconds} seconds leave no time to confirm: give {SHORTEST_DELAY} or more")
    if not all(argv and argv[0] for argv in commands):
        raise GuardError("a command is empty")
    if any("\n" in text for text in [*map(str, paths), *(word for argv in commands for word in argv)]):
        raise GuardError("neither a guarded path nor a command may hold a line feed")


def _save(folder: Path, number: int, path: Path) -> None:
    """Save what stands at a path, its metadata too; the entry counts once its .path is there."""
    saved = folder / f"{number:04}.saved"
    with contextlib.suppress(FileNotFoundError):
        saved.unlink()  # of an arming that was cut short
    if path.is_symlink():
        info = path.lstat()
        saved.symlink_to(path.readlink())
        os.chown(saved, info.st_uid, info.st_gid, follow_symlinks=False)
    elif path.is_file():
        info = path.lstat()
        write(saved, read_plain(path), 0o600)
        os.chown(saved, info.st_uid, info.st_gid, follow_symlinks=False)
        shutil.copystat(path, saved)
        with saved.open("rb") as file:
            os.fsync(file.fileno())
    elif path.exists():
        raise GuardError(f"{path} is neither a file nor a link")
    write(folder / f"{number:04}.path", os.fsencode(path), 0o600)
