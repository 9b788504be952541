# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""What files are wanted and what differs from it: reads only."""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import grp
import os
import pwd
import re
import stat
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.antiseche_set_aside import read_plain

UNKNOWN = -1  # an account that does not exist yet: predicted in check mode, refused otherwise
ACCESS_LISTS = ("system.posix_acl_access", "system.posix_acl_default")
GET_FLAGS, FROZEN = 0x80086601, 0x10 | 0x20  # FS_IOC_GETFLAGS; immutable, append only
SYSTEM_IDS = range(1000)  # numbers that are never given to people
STAGED = re.compile(r"\.antiseche-\w+\.new")  # our files on their way, left over when a run is killed


class FilesError(RuntimeError):
    """Nothing was changed, or what was changed has been put back."""


@dataclass
class Entry:
    """One path: what is wanted and what differs."""

    path: Path
    mode: int
    uid: int
    gid: int
    content: bytes = b""
    validate: str = ""
    secret: bool = False
    directory: bool = False
    before: bytes | None = None
    differs: list[str] = field(default_factory=list)  # "" stands for existence or content

    @property
    def kind(self) -> str:
        """Return the word for this entry in changes."""
        return "directory" if self.directory else "file"

    @property
    def changes(self) -> list[str]:
        """Return what differs, as the module tells it."""
        return [f"{self.kind} {shown(self.path)}" + (f": {what}" if what else "") for what in self.differs]


@dataclass
class Plan:
    """Everything that differs."""

    entries: list[Entry] = field(default_factory=list)
    gone: list[Path] = field(default_factory=list)
    aside: list[Path] = field(default_factory=list)

    @property
    def changes(self) -> list[str]:
        """Return everything that differs, as the module tells it."""
        changes = [change for entry in self.entries for change in entry.changes]
        changes += [f"absent {shown(path)}" for path in self.gone]
        return changes + [f"set aside {shown(path)}" for path in self.aside]

    @property
    def files(self) -> list[Entry]:
        """Return the files to write."""
        return [entry for entry in self.entries if not entry.directory]

    @property
    def touched(self) -> list[Path]:
        """Return the files whose names or contents change."""
        return [entry.path for entry in self.files] + self.gone + self.aside


def shown(path: Path) -> str:
    """Return a path that any terminal and any JSON reader can show, on one line."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def identity(name: str, table: Any, attribute: str) -> int:
    """Return the number of an owner or group; numbers are taken as they are."""
    if re.fullmatch(r"[0-9]+", name):
        return int(name)
    try:
        return int(getattr(table(name), attribute))
    except KeyError:
        return UNKNOWN


def plain(path: str) -> Path:
    """Return a path that means the same to everybody who reads it.

    Raises:
        FilesError: it is relative, climbs up, or holds control characters.
    """
    if not path.startswith("/") or path.startswith("//") or path != os.path.normpath(path) or re.search(r"[\x00-\x1f\x7f]", path):
        raise FilesError(f"{path!r} is not a plain absolute path")
    return Path(path)


def wanted(item: dict[str, Any], directory: bool) -> Entry:
    """Return the entry that one item of the arguments asks for."""
    path = plain(item["path"])
    if not re.fullmatch(r"0?[0-7]{3,4}", item["mode"]):
        raise FilesError(f"{path}: mode {item['mode']!r} is not octal")
    entry = Entry(
        path=path,
        mode=int(item["mode"], 8),
        uid=identity(item["owner"], pwd.getpwnam, "pw_uid"),
        gid=identity(item["group"], grp.getgrnam, "gr_gid"),
        directory=directory,
    )
    if not directory:
        if (item["content"] is None) == (item["copy_of"] is None):
            raise FilesError(f"{path}: give either content or copy_of")
        entry.content = (item["content"] or "").encode("utf-8", "surrogateescape")
        entry.validate, entry.secret = item["validate"], item["secret"]
        if entry.validate and "%s" not in entry.validate:
            raise FilesError(f"{path}: the validation command has no %s")
    return entry


def refuse_foreign_ways(path: Path, service_may_own_folder: bool = True) -> None:
    """Refuse a path on which somebody other than root could lay a trap between our look and our act.

    Folders on the way, and those that links on the way lead through, must belong to root and be closed to other
    writers. A sticky folder such as /tmp may be open: what is ours in it stays ours. The last folder may be a
    service's own (polkitd owns its rules): nothing of ours follows a link there, and it could bend its files anyway.
    """
    real = Path(os.path.realpath(path.parent))
    last = {path.parent, real} if service_may_own_folder else set()
    for parent in {*path.parents, real, *real.parents}:
        try:
            info = parent.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(info.st_mode):
            if info.st_uid not in (0, os.geteuid()):
                raise FilesError(f"{shown(path)}: {shown(parent)} is a link laid by another account")
            continue
        if not stat.S_ISDIR(info.st_mode):
            raise FilesError(f"{shown(path)}: {shown(parent)} is not a folder")
        if info.st_uid not in (0, os.geteuid()) and not (parent in last and info.st_uid in SYSTEM_IDS):
            raise FilesError(f"{shown(path)}: {shown(parent)} belongs to another account, which could lead us elsewhere")
        others = info.st_mode & stat.S_IWOTH or (info.st_mode & stat.S_IWGRP and info.st_gid not in SYSTEM_IDS)
        if others and not info.st_mode & stat.S_ISVTX:
            raise FilesError(f"{shown(path)}: other accounts can write in {shown(parent)}")


def has_access_list(path: Path) -> bool:
    """Say whether rights are given beside those of the mode."""
    with contextlib.suppress(OSError):
        return bool(set(ACCESS_LISTS) & set(os.listxattr(path, follow_symlinks=False)))
    return False


def refuse_frozen(path: Path) -> None:
    """Refuse a file or a folder that even root cannot replace: better told before anything changes."""
    parent = next(parent for parent in path.parents if parent.is_dir())
    if not os.access(parent, os.W_OK):
        raise FilesError(f"{shown(path)}: nothing can be written in {shown(parent)} (read-only file system, or lsattr shows i)")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return  # a link, or not there
    try:
        flags = struct.unpack("i", fcntl.ioctl(descriptor, GET_FLAGS, struct.pack("i", 0)))[0]
    except OSError:
        return  # a file system without such flags
    finally:
        os.close(descriptor)
    if flags & FROZEN:
        raise FilesError(f"{shown(path)} was made immutable by hand (lsattr shows it; chattr -ia undoes it)")


def compare(entry: Entry) -> None:
    """Fill in what differs."""
    refuse_foreign_ways(entry.path)
    try:
        info = entry.path.lstat()
    except FileNotFoundError:
        entry.differs = [""]
        refuse_frozen(entry.path)
        return
    if entry.directory:
        if not stat.S_ISDIR(info.st_mode):
            raise FilesError(f"{entry.path} is not a folder")
    elif stat.S_ISLNK(info.st_mode):
        entry.differs = ["link"]
        refuse_frozen(entry.path)
        return
    elif not stat.S_ISREG(info.st_mode):
        raise FilesError(f"{entry.path} is neither a file nor a link")
    else:
        entry.before = read_plain(entry.path)
        if entry.before != entry.content:
            entry.differs.append("")
        elif info.st_nlink > 1:  # another name could change it behind our back
            entry.differs.append("hard link")
    if stat.S_IMODE(info.st_mode) != entry.mode:
        entry.differs.append(f"mode {stat.S_IMODE(info.st_mode):04o}")
    if info.st_uid != entry.uid or info.st_gid != entry.gid:
        entry.differs.append("owner")
    if has_access_list(entry.path):
        entry.differs.append("access list")
    if entry.differs:
        refuse_frozen(entry.path)


def make_plan(params: dict[str, Any], check_mode: bool) -> Plan:
    """Compare everything that is asked with what is there."""
    entries = [wanted(item, directory=True) for item in params["directories"]]
    for item in params["files"]:
        entry = wanted(item, directory=False)
        if item["copy_of"]:
            refuse_foreign_ways(plain(item["copy_of"]), service_may_own_folder=False)
            try:
                entry.content = Path(item["copy_of"]).read_bytes()
            except OSError as error:
                if not check_mode:  # in check mode its package may not be there yet
                    raise FilesError(f"{entry.path}: cannot read {item['copy_of']}: {error.strerror}") from error
        entries.append(entry)
    absent = [plain(path) for path in params["absent"]]
    known = Counter([entry.path for entry in entries] + absent)
    twice = sorted(str(path) for path, times in known.items() if times > 1)
    if twice:
        raise FilesError(f"asked twice: {', '.join(twice)}")
    for entry in entries:
        compare(entry)
    plan = Plan([entry for entry in entries if entry.differs])
    for path in absent:
        refuse_foreign_ways(path)
        if path.is_dir() and not path.is_symlink():
            raise FilesError(f"{path} is a folder; only files can be made absent")
        if path.is_symlink() or path.exists():
            plan.gone.append(path)
    for item in params["exclusive"]:
        plan.aside += foreign(item, set(known))
    for path in plan.gone + plan.aside:
        if not path.is_symlink() and not path.is_file():
            raise FilesError(f"{shown(path)} is neither a file nor a link: remove it by hand")
        refuse_frozen(path)
    return plan


def foreign(item: dict[str, Any], known: set[Path]) -> list[Path]:
    """Return the files of an exclusive folder that nobody asked for."""
    folder = plain(item["path"])
    if not folder.is_dir():
        return []
    refuse_foreign_ways(folder / "any")
    paths = sorted(
        path for path in folder.iterdir() if fnmatch.fnmatchcase(path.name, item["pattern"]) and path.name not in item["keep"]
    )
    return [
        path
        for path in paths
        if path not in known and not STAGED.fullmatch(path.name) and (path.is_symlink() or not path.is_dir())
    ]
