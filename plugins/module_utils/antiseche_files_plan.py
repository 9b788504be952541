# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""What files are wanted and what differs from it: reads only."""

from __future__ import annotations

import fnmatch
import grp
import os
import pwd
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

UNKNOWN = -1  # an account that does not exist yet: predicted in check mode, refused otherwise


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
        return [f"{self.kind} {self.path}" + (f": {what}" if what else "") for what in self.differs]


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
        changes += [f"absent {path}" for path in self.gone]
        return changes + [f"set aside {path}" for path in self.aside]

    @property
    def touched(self) -> list[Path]:
        """Return the files whose names or contents change."""
        return [entry.path for entry in self.entries if not entry.directory] + self.gone + self.aside


def identity(name: str, table: Any, attribute: str) -> int:
    """Return the number of an owner or group; numbers are taken as they are."""
    if name.isdigit():
        return int(name)
    try:
        return int(getattr(table(name), attribute))
    except KeyError:
        return UNKNOWN


def wanted(item: dict[str, Any], directory: bool) -> Entry:
    """Return the entry that one item of the arguments asks for."""
    path = item["path"]
    if not path.startswith("/") or path != os.path.normpath(path) or "\n" in path:
        raise FilesError(f"{path!r} is not a plain absolute path")
    if not re.fullmatch(r"0?[0-7]{3,4}", item["mode"]):
        raise FilesError(f"{path}: mode {item['mode']!r} is not octal")
    entry = Entry(
        path=Path(path),
        mode=int(item["mode"], 8),
        uid=identity(item["owner"], pwd.getpwnam, "pw_uid"),
        gid=identity(item["group"], grp.getgrnam, "gr_gid"),
        directory=directory,
    )
    if not directory:
        if (item["content"] is None) == (item["copy_of"] is None):
            raise FilesError(f"{path}: give either content or copy_of")
        entry.content = (item["content"] or "").encode()
        entry.validate, entry.secret = item["validate"], item["secret"]
        if entry.validate and "%s" not in entry.validate:
            raise FilesError(f"{path}: the validation command has no %s")
    return entry


def refuse_foreign_links(path: Path) -> None:
    """Refuse a path that leads through a link which somebody other than root laid."""
    for parent in path.parents:
        try:
            info = parent.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(info.st_mode) and info.st_uid not in (0, os.geteuid()):
            raise FilesError(f"{path}: {parent} is a link laid by another account")
        if not stat.S_ISLNK(info.st_mode) and not stat.S_ISDIR(info.st_mode):
            raise FilesError(f"{path}: {parent} is not a folder")


def compare(entry: Entry) -> None:
    """Fill in what differs."""
    refuse_foreign_links(entry.path)
    try:
        info = entry.path.lstat()
    except FileNotFoundError:
        entry.differs = [""]
        return
    if entry.directory:
        if not stat.S_ISDIR(info.st_mode):
            raise FilesError(f"{entry.path} is not a folder")
    elif stat.S_ISLNK(info.st_mode):
        entry.differs = ["link"]
        return
    elif not stat.S_ISREG(info.st_mode):
        raise FilesError(f"{entry.path} is neither a file nor a link")
    else:
        entry.before = entry.path.read_bytes()
        if entry.before != entry.content:
            entry.differs.append("")
        elif info.st_nlink > 1:  # another name could change it behind our back
            entry.differs.append("hard link")
    if stat.S_IMODE(info.st_mode) != entry.mode:
        entry.differs.append(f"mode {stat.S_IMODE(info.st_mode):04o}")
    if info.st_uid != entry.uid or info.st_gid != entry.gid:
        entry.differs.append("owner")


def make_plan(params: dict[str, Any], check_mode: bool) -> Plan:
    """Compare everything that is asked with what is there."""
    entries = [wanted(item, directory=True) for item in params["directories"]]
    for item in params["files"]:
        entry = wanted(item, directory=False)
        if item["copy_of"]:
            try:
                entry.content = Path(item["copy_of"]).read_bytes()
            except OSError as error:
                if not check_mode:  # in check mode its package may not be there yet
                    raise FilesError(f"{entry.path}: cannot read {item['copy_of']}: {error.strerror}") from error
        entries.append(entry)
    paths = [entry.path for entry in entries] + [Path(path) for path in params["absent"]]
    twice = {path for path in paths if paths.count(path) > 1} if len(set(paths)) < len(paths) else set()
    if twice:
        raise FilesError(f"asked twice: {', '.join(sorted(map(str, twice)))}")
    for entry in entries:
        compare(entry)
    plan = Plan([entry for entry in entries if entry.differs])
    for path in map(Path, params["absent"]):
        refuse_foreign_links(path)
        if path.is_dir() and not path.is_symlink():
            raise FilesError(f"{path} is a folder; only files can be made absent")
        if path.is_symlink() or path.exists():
            plan.gone.append(path)
    known = set(paths)
    for item in params["exclusive"]:
        plan.aside += foreign(item, known)
    return plan


def foreign(item: dict[str, Any], known: set[Path]) -> list[Path]:
    """Return the files of an exclusive folder that nobody asked for."""
    folder = Path(item["path"])
    if not folder.is_dir():
        return []
    paths = sorted(
        path for path in folder.iterdir() if fnmatch.fnmatchcase(path.name, item["pattern"]) and path.name not in item["keep"]
    )
    return [path for path in paths if path not in known and (path.is_symlink() or not path.is_dir())]
