"""A folder that plays a machine under commit-confirm."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.antiseche_commit_confirm import Guard
from ansible.module_utils.antiseche_undo_script import UNDO_SCRIPT


class Killed(BaseException):
    """Stands for kill -9: no handler of ours may catch it."""


def look(path: Path) -> Any:
    """Return everything of a path that an undo has to bring back."""
    if path.is_symlink():
        return ("link", path.readlink())
    if not path.exists():
        return None
    info = path.stat()
    return (path.read_bytes(), stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime_ns)


class Machine:
    """A folder that plays the machine: a file, a link, a place where nothing is, and the undo machinery."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.etc = root / "etc/odd folder"
        self.etc.mkdir(parents=True)
        self.paths = [self.etc / "file", self.etc / "link", self.etc / "nothing"]
        self.paths[0].write_text("old")
        self.paths[0].chmod(0o640)
        os.utime(self.paths[0], (1000, 1000))
        self.paths[1].symlink_to("file")
        self.before = self.seen()
        self.applied = root / "applied"
        self.guard = Guard("wall", root)

    def seen(self) -> list[Any]:
        return [look(path) for path in self.paths]

    def change(self) -> None:
        for path in self.paths:
            path.unlink(missing_ok=True)
            path.write_text("new")

    @property
    def command(self) -> list[str]:
        return ["sh", "-c", f"echo done >>'{self.applied}'"]

    def arm(self, **more: Any) -> str:
        token: str = self.guard.arm(self.paths, **{"seconds": 60, "apply": [self.command], **more})
        return token

    def script(self, *arguments: str, text: str = UNDO_SCRIPT, **environment: str) -> subprocess.CompletedProcess[str]:
        where = {**os.environ, "ANTISECHE_ROOT": str(self.root), **environment}
        argv = ["/bin/sh", "-c", text, "undo", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False, env=where)

    @property
    def timer_link(self) -> Path:
        return self.root / "etc/systemd/system/timers.target.wants/antiseche-undo-wall.timer"
