# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Put planned files in place: staged beside their places, renamed back to back, all of them or none."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.antiseche_files_plan import ACCESS_LISTS, STAGED, Entry, FilesError, Plan, shown
from ansible.module_utils.antiseche_set_aside import move, read_plain, sync_folder


@dataclass
class Former:
    """What stood at a path: a file, a link, or nothing."""

    path: Path
    content: bytes | None = None
    link: Path | None = None
    mode: int = 0
    uid: int = 0
    gid: int = 0

    @classmethod
    def at(cls, path: Path) -> Former:
        """Remember what stands at a path now."""
        try:
            info = path.lstat()
        except FileNotFoundError:
            return cls(path)
        if stat.S_ISLNK(info.st_mode):
            return cls(path, link=path.readlink(), uid=info.st_uid, gid=info.st_gid)
        return cls(path, read_plain(path), None, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)

    def put_back(self) -> None:
        """Make it stand there again."""
        if self.content is not None:
            with Staged(self.path, self.content, self.mode, self.uid, self.gid) as staged:
                staged.land()
        elif self.link is not None:
            new = self.path.with_name(f".antiseche-{secrets.token_hex(4)}.new")
            new.symlink_to(self.link)
            os.chown(new, self.uid, self.gid, follow_symlinks=False)
            new.replace(self.path)
        else:
            self.path.unlink(missing_ok=True)


class Staged:
    """One new file beside its place. It is locked while we live, so that leftovers of a killed run can be told."""

    def __init__(self, path: Path, content: bytes, mode: int, uid: int, gid: int) -> None:
        self.path = path
        self.new = path.with_name(f".antiseche-{secrets.token_hex(4)}.new")
        self._landed = False
        try:
            descriptor = os.open(self.new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            self._file = os.fdopen(descriptor, "wb")
            try:
                self._fill(content, mode, uid, gid)
            except OSError:
                self.__exit__()
                raise
        except OSError as error:
            raise FilesError(f"{shown(path)}: cannot be written: {error.strerror}; no file was changed") from error

    def _fill(self, content: bytes, mode: int, uid: int, gid: int) -> None:
        descriptor = self._file.fileno()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._file.write(content)
        drop_access_lists(descriptor)
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
        self._file.flush()
        os.fsync(descriptor)

    def land(self) -> None:
        """Take the place."""
        self.new.replace(self.path)
        self._landed = True

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, *_exception: object) -> None:
        with contextlib.suppress(OSError):  # a full disk speaks up a second time here; what stays is swept by the next run
            self._file.close()
        if not self._landed:
            with contextlib.suppress(OSError):
                self.new.unlink(missing_ok=True)


def drop_access_lists(descriptor: int) -> None:
    """Take away the rights that a folder's default list or somebody's hand gives beside the mode."""
    for name in ACCESS_LISTS:
        with contextlib.suppress(OSError):
            os.removexattr(descriptor, name)


def sweep(folders: set[Path]) -> None:
    """Remove what killed runs left in these folders."""
    for folder in folders:
        for path in folder.iterdir() if folder.is_dir() else []:
            if not STAGED.fullmatch(path.name):
                continue
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another run at work holds it
                    path.unlink()
                finally:
                    os.close(descriptor)


def make_folder(entry: Entry) -> None:
    """Create a folder or correct it; missing parents are plain root folders."""
    if "" in entry.differs:
        entry.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        entry.path.mkdir(mode=0o700)
    descriptor = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        drop_access_lists(descriptor)
        os.fchown(descriptor, entry.uid, entry.gid)
        os.fchmod(descriptor, entry.mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def land(plan: Plan) -> None:
    """Stage everything, then rename back to back; what fails half-way is taken back.

    Raises:
        FilesError: no file was changed, or the sentence names those that could not be put back.
        OSError: no file was changed.
    """
    before = os.umask(0o022)  # missing parents are open folders of root
    try:
        for entry in plan.entries:
            if entry.directory:
                make_folder(entry)
        for path in plan.touched:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    finally:
        os.umask(before)
    folders = {path.parent for path in plan.touched}
    sweep(folders)
    with contextlib.ExitStack() as stack:
        staged = [
            stack.enter_context(Staged(entry.path, entry.content, entry.mode, entry.uid, entry.gid)) for entry in plan.files
        ]
        formers: list[Former] = []
        try:
            for new in staged:
                formers.append(Former.at(new.path))
                new.land()
            for path in plan.gone:
                formers.append(Former.at(path))
                path.unlink(missing_ok=True)
            for path in plan.aside:
                formers.append(Former.at(path))
                move(path, str(path).strip("/"))
        except OSError as error:
            raise FilesError(f"{shown(formers[-1].path)}: {error.strerror or error}; {take_back(formers)}") from error
    for folder in folders:
        sync_folder(folder)


def take_back(formers: list[Former]) -> str:
    """Put everything back, the last first; return the end of the sentence that tells it."""
    lost = []
    for former in reversed(formers):
        try:
            former.put_back()
        except (OSError, FilesError):
            lost.append(shown(former.path))
    return f"could not be put back: {', '.join(lost)}" if lost else "no file was changed"
