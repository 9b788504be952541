# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Shows restic the files as they were at one moment, at their own paths, in a mount namespace that nobody else sees.

What cannot be frozen is read live, and told: a backup without a snapshot beats none. Run as a program, it removes what a run
that was killed left behind.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import signal
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from common import BackupError
from volumes import (
    FOLDER,
    Btrfs,
    Lvm,
    VolumeError,
    btrfs_top,
    lvm_volume,
    remove_left_over,
    run,
    subvolume_of,
    subvolumes,
    unmount,
)

STAGE = Path("/run/antiseche-backup")
STATE = Path("/var/lib/antiseche-backup")
PENDING, LOCK = "snapshots.pending", "snapshots.lock"
# The backup's own folders stay live and writable.
OWN = ("/var/lib/antiseche-backup", "/var/lib/antiseche-backup-contents", "/var/cache/antiseche-backup")
PASSING = frozenset(
    "autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs mqueue nsfs proc pstore"
    " ramfs rpc_pipefs securityfs squashfs sysfs tmpfs tracefs".split()
)
MOST_SUBVOLUMES = 64
CLONE_NEWNS = 0x00020000  # linux/sched.h; Python has os.unshare only from 3.12 on


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo (proc(5)): what is mounted where."""

    target: str
    root: str
    fstype: str
    source: str
    device: str


@dataclass
class Part:
    """A part of what is backed up: all of it is in one file system, or one btrfs subvolume.

    Attributes:
        place: where it is seen.
        mount: what it is seen through.
        inside: its path in the file system.
        volume: what freezes it; None when it stays live.
        why: the code of why it stays live; empty when nobody needs to know.
    """

    place: str
    mount: Mount
    inside: str
    volume: Lvm | Btrfs | None = None
    why: str = ""
    detail: str = ""


def mounts(text: str) -> list[Mount]:
    """Return what mountinfo tells; of two mounts at one place the upper."""
    found: dict[str, Mount] = {}
    for line in text.splitlines():
        words, _dash, rest = line.partition(" - ")
        first, last = words.split(" "), rest.split(" ")
        root, target, source = (_plain(word) for word in (first[3], first[4], last[1]))
        found.pop(target, None)
        found[target] = Mount(target, root, last[0], source, first[2])
    return list(found.values())


def _plain(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), word)


def within(path: str, folder: str) -> bool:
    """Say whether a path is a folder, or in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def joined(root: str, below: str) -> str:
    """Join two paths, each with a slash before it."""
    return "/" + f"{root.strip('/')}/{below.strip('/')}".strip("/")


def parts_of(paths: list[str], table: list[Mount]) -> list[Part]:
    """Return what the declared paths hold, the outer before the inner: each path, and each mount below one."""
    real = sorted({os.path.realpath(path) for path in paths if Path(path).exists() and not Path(path).is_symlink()})
    roots = [path for path in real if not any(path != other and within(path, other) for other in real)]
    found: dict[str, Part] = {}
    for root in roots:
        over = max((one for one in table if within(root, one.target)), key=lambda one: len(one.target))
        found[root] = Part(root, over, joined(over.root, root[len(over.target.rstrip("/")) :]))
        for one in table:
            if one.target != root and within(one.target, root):
                found[one.target] = Part(one.target, one, one.root)
        for own in OWN:
            if own not in found and own != root and within(own, root) and Path(own).is_dir():
                found[own] = Part(own, over, joined(over.root, own[len(over.target.rstrip("/")) :]))
    return sorted(found.values(), key=lambda part: part.place.count("/") if part.place != "/" else 0)


def isolate() -> None:
    """Leave the machine's mount namespace: what is mounted from here on, nobody else sees, and it ends with us.

    Raises:
        VolumeError: not allowed.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise VolumeError("tool", f"unshare: {os.strerror(ctypes.get_errno())}")
    run("mount", "--make-rslave", "/")


@dataclass
class Freeze:
    """Freezes paths while it is entered; out of it, tells what was frozen and what was not.

    Attributes:
        wanted: whether the answers ask for it; otherwise nothing is done at all.
        filled: whether a snapshot ran full, so that what was read from it is to be read again, live.
    """

    paths: list[str]
    wanted: bool
    state: Path = STATE
    filled: bool = False
    parts: list[Part] = field(default_factory=list)
    _volumes: dict[tuple[str, str], Lvm | Btrfs] = field(default_factory=dict)
    _tops: dict[str, Path] = field(default_factory=dict)
    _views: list[str] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Freeze:
        if not self.wanted:
            return self
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        lock = locked(self.state)
        if lock is None:
            raise BackupError("locked", "another backup runs")
        self._stack.callback(lock.close)
        try:
            isolate()
            clean(self.state)
            self._freeze()
        except (VolumeError, OSError, ValueError) as error:
            self._thaw()
            self._stay_live(error if isinstance(error, VolumeError) else VolumeError("tool", str(error)))
        except BaseException:
            self._thaw()
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self.wanted:
            return
        if kind is not None:
            end_children()
        self._thaw()
        self._stack.close()

    def report(self) -> dict[str, Any]:
        """Return what the state keeps: what was frozen, how, and what was read live, and why."""
        frozen = [{"place": part.place, "kind": part.volume.kind} for part in self.parts if part.volume is not None]
        live: dict[str, dict[str, str]] = {}
        for part in self.parts:
            if part.volume is None and part.why:
                told = {"place": part.place, "why": part.why, "detail": part.detail}
                live.setdefault((part.mount.device or part.place) + part.why, told)
        return {"frozen": frozen, "live": list(live.values())}

    def _freeze(self) -> None:
        table = mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace"))
        self.parts = parts_of(self.paths, table)
        (self.state / PENDING).touch(mode=0o600)
        descriptor = os.open(self.state, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        STAGE.mkdir(mode=0o700, exist_ok=True)
        for part in list(self.parts):
            try:
                self._assign(part)
            except (VolumeError, OSError, ValueError) as error:
                keep_live(part, error)
        self.parts.sort(key=lambda part: part.place.count("/"))
        for volume in self._volumes.values():
            try:
                volume.create()
            except (VolumeError, OSError, ValueError) as error:
                self._drop(volume, error)
        for volume in {id(part.volume): part.volume for part in self.parts if part.volume is not None}.values():
            try:
                volume.mount()
            except (VolumeError, OSError, ValueError) as error:
                self._drop(volume, error)
        self._show()

    def _assign(self, part: Part) -> None:
        """Find out what can freeze a part; a btrfs part brings the subvolumes below it."""
        if any(within(part.place, own) for own in OWN) or part.mount.fstype in PASSING:
            return
        if part.mount.fstype == "btrfs":
            self._assign_btrfs(part)
            return
        device = lvm_volume(part.mount.source)
        if not device:
            part.why, part.detail = "kind", part.mount.fstype
            return
        stage = STAGE / f"lvm-{len(self._volumes)}"
        part.volume = self._volumes.setdefault(("lvm", device), Lvm(device, part.mount.fstype, stage))

    def _assign_btrfs(self, part: Part) -> None:
        source = part.mount.source
        if source not in self._tops:
            self._tops[source] = self._stack.enter_context(btrfs_top(source, STAGE / f"btrfs-{len(self._tops)}"))
        top = self._tops[source]
        inner = {path: alive for path, alive in subvolumes(top).items() if path != part.inside and within(path, part.inside)}
        if len(inner) > MOST_SUBVOLUMES:
            raise VolumeError("many", str(len(inner)))
        part.volume = self._subvolume(source, subvolume_of(top, part.inside))
        taken = {one.place for one in self.parts}
        for path, alive in inner.items():
            place = joined(part.place, path[len(part.inside.rstrip("/")) :])
            if any(within(place, other) and within(other, part.place) and other != part.place for other in taken):
                continue  # hidden by what is mounted there
            # What cannot change is frozen as it is; it is shown again in its place all the same.
            volume = self._subvolume(source, path) if alive else None
            self.parts.append(Part(place, part.mount, path, volume))

    def _subvolume(self, source: str, path: str) -> Lvm | Btrfs:
        new = Btrfs(self._tops[source], path, len(self._volumes))
        return self._volumes.setdefault((source, path), new)

    def _drop(self, volume: Lvm | Btrfs, error: Exception) -> None:
        with suppress(VolumeError):
            volume.remove()
        for part in self.parts:
            if part.volume is volume:
                keep_live(part, error)

    def _show(self) -> None:
        """Put what is frozen over what is live, and what stays live below it back to where it was."""
        covered = [part.place for part in self.parts if part.volume is not None]
        kept: dict[str, Path] = {}
        for part in self.parts:
            if part.volume is None and any(within(part.place, place) for place in covered):
                kept[part.place] = STAGE / f"live-{len(kept)}"
                self._bind(part.place, kept[part.place])
        for part in self.parts:
            if part.volume is not None:
                self._bind(part.volume.path(part.inside), Path(part.place))
            elif part.place in kept:
                self._bind(str(kept[part.place]), Path(part.place))

    def _bind(self, source: str, target: Path) -> None:
        if target.parent == STAGE:
            if Path(source).is_dir():
                target.mkdir(mode=0o700, exist_ok=True)
            else:
                target.touch(mode=0o600)
        run("mount", "--bind", source, str(target), code="mount")
        self._views.append(str(target))

    def _stay_live(self, error: VolumeError) -> None:
        """Say of everything that it was read live."""
        for part in self.parts:
            if part.volume is not None:
                keep_live(part, error)
        if not any(part.why for part in self.parts):
            everything = Mount("/", "/", "", "", "")
            self.parts = [Part(path, everything, path, None, error.code, error.detail) for path in self.paths]

    def _thaw(self) -> None:
        """Take the view down and remove the snapshots, whatever fails; what stays is removed by the next run."""
        while self._views:
            with suppress(VolumeError):
                unmount(self._views.pop())
        whole = True
        for volume in {id(one): one for one in self._volumes.values()}.values():
            used = [part for part in self.parts if part.volume is volume]
            try:
                if used and volume.filled():
                    self.filled = True
                    for part in used:
                        keep_live(part, VolumeError("filled"))
                volume.remove()
            except (VolumeError, OSError, ValueError):
                whole = False
        for top in self._tops.values():
            with suppress(OSError):
                (top / FOLDER).rmdir()
        if whole:
            (self.state / PENDING).unlink(missing_ok=True)
        self._volumes.clear()


def keep_live(part: Part, error: Exception) -> None:
    """Note that a part is read live, and why."""
    part.volume = None
    if isinstance(error, VolumeError):
        part.why, part.detail = error.code, error.detail
    else:
        part.why, part.detail = "tool", str(error)[:200]


def locked(state: Path) -> IO[str] | None:
    """Return the open lock of the one run that may have snapshots; None when another holds it."""
    state.mkdir(mode=0o755, exist_ok=True)
    lock = (state / LOCK).open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def clean(state: Path) -> None:
    """Remove what a run that was killed left behind, and forget that there was something."""
    table = mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace"))
    sources = {one.source for one in table if one.fstype == "btrfs"}
    problems = remove_left_over(sources, STAGE)
    for problem in problems:
        sys.stderr.write(f"backup: snapshots: {problem}\n")
    if not problems:
        (state / PENDING).unlink(missing_ok=True)


def clean_after_a_crash(state: Path = STATE) -> None:
    """Remove left-over snapshots, if a run noted that it makes some and has not noted that they are gone."""
    if not (state / PENDING).exists():
        return
    lock = locked(state)
    if lock is None:
        return
    with lock:
        try:
            isolate()
            clean(state)
        except (VolumeError, OSError, ValueError) as error:
            sys.stderr.write(f"backup: snapshots: {error}\n")


def end_children() -> None:
    """End what this process started: a snapshot that is still read cannot be removed."""
    for listed in Path("/proc/self/task").glob("*/children"):
        for number in map(int, listed.read_text(encoding="ascii").split()):
            with suppress(OSError):
                os.kill(number, signal.SIGTERM)
                os.waitpid(number, 0)


if __name__ == "__main__":
    clean_after_a_crash()
