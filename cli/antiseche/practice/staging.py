"""Replace a whole directory at once: build it beside, then swap.

A kill at any moment leaves either the old directory or the new one, never a mixture.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from antiseche.errors import AntisecheError
from antiseche.i18n import _

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_COMPLETE = ".complete"
_LOCK_SECONDS = 5.0


def staging_path(target: Path) -> Path:
    """Return where the next version of ``target`` is built."""
    return target.with_name(f".{target.name}.new")


def _old_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder against a second writer; the lock dies with the process.

    Raises:
        AntisecheError: another process is writing.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not _lock(descriptor):
            raise AntisecheError(
                _("Une autre commande écrit déjà dans le dossier de « {name} » : attendez qu'elle finisse.").format(
                    name=folder.name
                )
            )
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Wait a little: writing takes a fraction of a second, unless somebody types a password meanwhile."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def recover(target: Path) -> None:
    """Finish or undo what a killed process left; to be called under the lock."""
    staging, old = staging_path(target), _old_path(target)
    if not target.exists():
        # Only reachable without an atomic exchange: killed between the two renames.
        if (staging / _COMPLETE).exists():
            staging.rename(target)
        elif old.exists():
            old.rename(target)
        sync_directory(target.parent)
    for leftover in (staging, old):
        if leftover.exists():
            shutil.rmtree(leftover)
    (target / _COMPLETE).unlink(missing_ok=True)


def swap(target: Path) -> None:
    """Put the finished staging directory in the place of ``target``."""
    staging, old = staging_path(target), _old_path(target)
    (staging / _COMPLETE).touch()
    sync_tree(staging)
    if not target.exists():
        staging.rename(target)
    elif not _exchange(staging, target):
        target.rename(old)
        staging.rename(target)
    sync_directory(target.parent)
    recover(target)


def abandon(target: Path) -> None:
    """Undo after a failure: drop the staging directory, put the old one back where it was."""
    (staging_path(target) / _COMPLETE).unlink(missing_ok=True)
    recover(target)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(other))


def sync_tree(root: Path) -> None:
    """Flush a directory and everything in it to the disk."""
    for folder, _folders, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            if not path.is_symlink():
                _sync(path, os.O_RDONLY)
        sync_directory(Path(folder))


def sync_directory(path: Path) -> None:
    """Flush a directory's own entries to the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
