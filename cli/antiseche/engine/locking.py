"""One run at a time over a practice."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from antiseche.engine.events import now, operator
from antiseche.errors import AntisecheError
from antiseche.i18n import _
from antiseche.practice.folder import PracticeFolder

LOCK_NAME = ".lock"


@dataclass
class PracticeLock:
    """A held lock. Its descriptor is handed to the playbook's process, so that the lock outlives this one."""

    descriptor: int

    def describe(self, *, run_id: str = "", playbook: int = 0) -> None:
        """Write who holds the lock, for the sentence that another command prints."""
        holder = self.holder()
        holder |= {"pid": os.getpid(), "run": run_id or holder.get("run", ""), "playbook": playbook}
        holder.setdefault("since", now())
        holder.setdefault("operator", operator())
        data = json.dumps(holder).encode()
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, data, 0)

    def holder(self) -> dict[str, Any]:
        """Return what the last holder wrote."""
        try:
            found = json.loads(os.pread(self.descriptor, 4096, 0))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


@contextmanager
def practice_lock(folder: PracticeFolder) -> Iterator[PracticeLock]:
    """Hold the practice; the system frees it when its last process ends, however that happens.

    Raises:
        AntisecheError: another run holds it.
    """
    folder.runs_dir.mkdir(mode=0o700, exist_ok=True)
    path = folder.runs_dir / LOCK_NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(folder, descriptor) from None
        os.ftruncate(descriptor, 0)
        lock = PracticeLock(descriptor)
        lock.describe()
        yield lock
    finally:
        os.close(descriptor)


def _busy(folder: PracticeFolder, descriptor: int) -> AntisecheError:
    holder = PracticeLock(descriptor).holder()
    # When the command was killed, its playbook goes on and holds the lock.
    pid = next((pid for pid in (holder.get("pid"), holder.get("playbook")) if isinstance(pid, int) and _alive(pid)), "?")
    return AntisecheError(
        _(
            "Un passage est déjà en cours sur « {name} » (par {who}, depuis {since}, processus {pid}, passage {run}) : "
            "attendez qu'il finisse, ou arrêtez-le avec « kill -INT {pid} »."
        ).format(
            name=folder.name,
            who=holder.get("operator") or "?",
            since=_local(holder.get("since")),
            pid=pid,
            run=holder.get("run") or "?",
        )
    )


def _local(time: object) -> str:
    """Return a moment as the clock of this machine shows it."""
    try:
        return datetime.fromisoformat(str(time)).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return "?"


def _alive(pid: int) -> bool:
    return pid > 0 and Path(f"/proc/{pid}").exists()
