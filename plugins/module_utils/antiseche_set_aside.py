# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Move files that are not ours out of the way: on the disk under their new name before the old one goes."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

SET_ASIDE = Path("/var/lib/antiseche/set-aside")
LONGEST_LABEL = 200  # bytes: a file name holds 255, and the date and a number follow


class SetAsideError(OSError):
    """What stands there is neither a file nor a link."""


def keep_copy(path: Path, label: str, folder: Path | None = None) -> Path:
    """Copy a file or a link into a folder that root alone reads, under a name that is free; return that name.

    Raises:
        OSError: nothing was kept.
    """
    folder = folder or SET_ASIDE
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.is_symlink() and not path.is_file():
        raise SetAsideError(f"{path} is neither a file nor a link")
    start = os.fsdecode(os.fsencode(label.replace("/", "_"))[:LONGEST_LABEL])
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for number in itertools.count():
        target = folder / (f"{start}.{stamp}" + (f".{number}" if number else ""))
        try:
            _copy(path, target)
        except FileExistsError:
            continue
        break
    sync_folder(folder)
    return target


def move(path: Path, label: str, folder: Path | None = None) -> Path:
    """Keep a copy, then take the file away. Killed in between, it is kept once more the next time.

    Raises:
        OSError: the file is still where it was.
    """
    target = keep_copy(path, label, folder)
    path.unlink()
    sync_folder(path.parent)
    return target


def read_plain(path: Path) -> bytes:
    """Read a file that is a file: were it replaced by a link or a pipe after we looked, this neither follows nor waits.

    Raises:
        OSError: it cannot be read, or is a link.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def sync_folder(path: Path) -> None:
    """Put a folder's names on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(path: Path, target: Path) -> None:
    if path.is_symlink():
        target.symlink_to(path.readlink())
        return
    content, info = read_plain(path), path.stat()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.utime(file.fileno(), ns=(info.st_atime_ns, info.st_mtime_ns))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        target.unlink()
        raise
