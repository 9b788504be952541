"""One run at a time over a practice."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from antiseche.errors import AntisecheError
from antiseche.i18n import _
from antiseche.practice.folder import PracticeFolder

LOCK_NAME = ".lock"


@dataclass
class PracticeLock:
    """A held lock. Its descriptor is handed to the playbook's process, so that the lock outlives this one."""

    descriptor: int

    def describe_run(self, run_id: str) -> None:
        """Write who holds the lock, for the sentence that another command prints."""
        data = json.dumps({"pid": os.getpid(), "run": run_id}).encode()
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, data, 0)


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
        lock = PracticeLock(descriptor)
        lock.describe_run("")
        yield lock
    finally:
        os.close(descriptor)


def _busy(folder: PracticeFolder, descriptor: int) -> AntisecheError:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        pid, run = int(holder["pid"]), str(holder["run"])
    except (OSError, ValueError, KeyError, TypeError):
        pid, run = 0, ""
    return AntisecheError(
        _(
            "Un passage est déjà en cours sur « {name} » (processus {pid}, passage {run}) : attendez qu'il finisse, "
            "ou arrêtez-le avec « kill -INT {pid} »."
        ).format(name=folder.name, pid=pid or "?", run=run or "?")
    )
