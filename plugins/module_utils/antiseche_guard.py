# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Commit-confirm on the machine itself: what is not confirmed in time is undone, power cut or not.

A pending change is a folder ``/var/lib/antiseche/undo/<name>/``:

    0001.path    the path of a file that the change touches (written last: it makes the entry count)
    0001.saved   what was there before; missing when there was nothing
    apply        the commands that make the restored files effective, one shell-quoted command a line
    token        names this change, so that a late confirmation learns that it came too late

The folder is on the disk before the first file is touched. A timer that survives a reboot runs the undo script; at
boot an early service undoes whatever is pending, before the firewall and the ssh server start.
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
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

STATE = Path("var/lib/antiseche")
SCRIPT = Path("usr/local/lib/antiseche/undo")
UNITS = Path("etc/systemd/system")
BOOT_UNIT = "antiseche-undo-boot.service"
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")

UNDO_SCRIPT = r"""#!/bin/sh
# Antisèche: puts back what a change that nobody confirmed has touched, then makes it effective.
# undo NAME [WHY] | undo --boot        (ANTISECHE_ROOT is for tests)
set -u
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export PATH LC_ALL=C.UTF-8
umask 077
root=${ANTISECHE_ROOT:-}
state=$root/var/lib/antiseche

restore() { # FOLDER: put every file back; the old content lands by rename
    failed=0
    for entry in "$1"/*.path; do
        [ -e "$entry" ] || continue
        path=$(cat "$entry")
        saved=${entry%.path}.saved
        if [ -e "$saved" ] || [ -L "$saved" ]; then
            mkdir -p "$(dirname "$path")"
            cp -aT "$saved" "$path.antiseche-undo" && sync "$path.antiseche-undo" 2>/dev/null
            mv -fT "$path.antiseche-undo" "$path" || failed=1
        else
            rm -f "$path" || failed=1
        fi
        echo "antiseche: $path is back"
    done
    sync
    return $failed
}

undo() { # NAME WHY
    folder=$state/undo/$1
    rm -f "$root/etc/systemd/system/timers.target.wants/antiseche-undo-$1.timer"
    [ -d "$folder" ] || return 0
    restore "$folder" || echo "antiseche: some files could not be put back" >&2
    if [ "$2" != boot ] && [ -s "$folder/apply" ]; then
        while IFS= read -r command; do
            eval "timeout 60 $command" </dev/null || echo "antiseche: failed: $command" >&2
        done <"$folder/apply"
    fi
    mkdir -p "$state/undone"
    trace=$state/undone/$1.json
    printf '{"name": "%s", "at": "%s", "why": "%s", "token": "%s"}\n' \
        "$1" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$2" "$(cat "$folder/token" 2>/dev/null)" >"$trace.new"
    mv -f "$trace.new" "$trace"
    sync
    rm -rf "$state/undo/.$1.gone"
    mv -T "$folder" "$state/undo/.$1.gone" && rm -rf "$state/undo/.$1.gone"
    sync
    echo "antiseche: the change \"$1\" was not confirmed and has been undone ($2)"
}

[ -d "$state/undo" ] || exit 0
if [ "${ANTISECHE_LOCKED:-}" != yes ]; then
    exec 9>"$state/undo/.lock"
    flock 9
fi
if [ "${1:-}" = --boot ]; then
    for folder in "$state"/undo/*/; do
        [ -d "$folder" ] && undo "$(basename "$folder")" boot
    done
    exit 0
fi
case "${1:-}" in
'' | *[!a-z0-9_]*) echo "usage: undo NAME [WHY] | undo --boot" >&2; exit 2 ;;
esac
undo "$1" "${2:-timer}"
"""

SERVICE = """[Unit]
Description=Antisèche: undo the unconfirmed change %i

[Service]
Type=oneshot
ExecStart=/usr/local/lib/antiseche/undo %i
"""

TIMER = """[Unit]
Description=Antisèche: undo the change {name} unless it is confirmed

[Timer]
OnActiveSec={seconds}
AccuracySec=1s
Unit=antiseche-undo@{name}.service

[Install]
WantedBy=timers.target
"""

BOOT = """[Unit]
Description=Antisèche: undo changes that were not confirmed before the machine stopped
DefaultDependencies=no
RequiresMountsFor=/etc /usr /var/lib/antiseche
After=systemd-remount-fs.service local-fs.target
Before=network-pre.target nftables.service ssh.service ssh.socket shutdown.target
Conflicts=shutdown.target
ConditionDirectoryNotEmpty=/var/lib/antiseche/undo

[Service]
Type=oneshot
ExecStart=/usr/local/lib/antiseche/undo --boot

[Install]
WantedBy=sysinit.target
"""


class GuardError(RuntimeError):
    """A guarded change could not be armed, applied or confirmed."""


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


def sync_folder(path: Path) -> None:
    """Put a folder's names on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        """Keep the undo script and other runs away."""
        folder = self.state / "undo"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def arm(self, paths: Sequence[Path], seconds: int, apply: Sequence[Sequence[str]], token: str = "") -> str:
        """Save what is there, start the timer, and return the change's token. A pending change keeps its first state."""
        token = token or secrets.token_hex(8)
        with self.locked():
            self._install()
            target = self.folder if self.pending else self.folder.with_name(f".{self.name}.arming")
            if not self.pending:
                shutil.rmtree(target, ignore_errors=True)
                target.mkdir(mode=0o700, parents=True)
            saved = {entry.read_text(encoding="utf-8") for entry in target.glob("*.path")}
            number = len(list(target.glob("*.path")))
            for path in paths:
                if str(path) not in saved:
                    number += 1
                    self._save(target, number, path)
            commands = "".join(shlex.join(argv) + "\n" for argv in apply)
            write(target / "apply", commands.encode(), 0o600)
            write(target / "token", token.encode(), 0o600)
            sync_folder(target)
            self._start_timer(seconds)
            if target != self.folder:
                target.replace(self.folder)
            sync_folder(self.folder.parent)
        return token

    def confirm(self, token: str = "") -> bool:
        """Keep the change. Confirming twice is fine.

        Raises:
            GuardError: the machine has already undone the change that the token names.
        """
        with self.locked():
            trace = self.undone()
            if not self.pending:
                if token and trace.get("token") == token:
                    raise GuardError(f"the machine has undone this change by itself at {trace.get('at')} ({trace.get('why')})")
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
        """Undo now, with the very script that the timer would run."""
        environment = {**os.environ}
        if self.root != Path("/"):
            environment["ANTISECHE_ROOT"] = str(self.root)
        argv = [str(self.root / SCRIPT), self.name, why]
        subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, timeout=180)
        self._systemctl("stop", self.timer)

    def _save(self, folder: Path, number: int, path: Path) -> None:
        if "\n" in str(path):
            raise GuardError("a guarded path may not hold a line feed")
        saved = folder / f"{number:04}.saved"
        if path.is_symlink() or path.exists():
            info = path.lstat()
            if path.is_symlink():
                saved.symlink_to(path.readlink())
            else:
                write(saved, path.read_bytes(), 0o600)
                shutil.copystat(path, saved)
            os.chown(saved, info.st_uid, info.st_gid, follow_symlinks=False)
        write(folder / f"{number:04}.path", str(path).encode(), 0o600)

    def _install(self) -> None:
        """Put the script and the units in place where they are missing or differ."""
        wanted = {
            self.root / SCRIPT: (UNDO_SCRIPT, 0o755),
            self.root / UNITS / "antiseche-undo@.service": (SERVICE, 0o644),
            self.root / UNITS / BOOT_UNIT: (BOOT, 0o644),
        }
        for path, (content, mode) in wanted.items():
            if not path.is_file() or path.is_symlink() or path.read_bytes() != content.encode():
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                write(path, content.encode(), mode)
            path.chmod(mode)
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
        except (FileNotFoundError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0
