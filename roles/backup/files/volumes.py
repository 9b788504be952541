# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Snapshots of LVM volumes and btrfs subvolumes: made, mounted read-only, and removed again; nothing but our own is removed.

Ours are recognised by name, and on LVM by a tag too: a power cut leaves them behind.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX, TAG = "antiseche-backup-", "antiseche_backup"
FOLDER, NAME = ".antiseche-backup", re.compile(r"snapshot-[0-9]+")
SECONDS = 120
SUBVOLUME_INODE = 256  # of the root of every btrfs subvolume
# Of a classic LVM snapshot: what changes on the volume during the backup must find room in it.
SHARE, LEAST_BYTES = 0.2, 16 * 2**20
FULL_POOL = 95.0  # percent: a thin pool that runs full stops everything that lives in it


class VolumeError(Exception):
    """Why something cannot be frozen, as a code (room, many, mount, tool) and the words of the tool."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, " ".join(detail.split())[:200]


def run(*argv: str, code: str = "tool") -> str:
    """Run a tool; return what it printed.

    Raises:
        VolumeError: it is missing, failed, or did not end.
    """
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "LVM_SUPPRESS_FD_WARNINGS": "1"}
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VolumeError(code, f"{argv[0]}: {error}") from None
    if done.returncode != 0:
        raise VolumeError(code, f"{argv[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def lvs(*arguments: str, fields: str) -> list[dict[str, str]]:
    """Return what LVM says of volumes; sizes are bytes."""
    answer = run("lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields, *arguments)
    try:
        found: list[dict[str, str]] = json.loads(answer)["report"][0]["lv"]
    except (ValueError, LookupError, TypeError) as error:
        raise VolumeError("tool", f"lvs: {error}") from None
    return found


@dataclass
class Lvm:
    """The snapshot of one LVM volume."""

    volume: str
    fstype: str
    stage: Path
    pool: str = ""
    name: str = ""

    kind = "lvm"

    def create(self) -> None:
        """Make the snapshot: in the pool of a thin volume, else in what is free in the group.

        Raises:
            VolumeError: no room, or LVM refuses.
        """
        (seen,) = lvs(self.volume, fields="vg_name,lv_name,lv_size,vg_free,pool_lv,segtype")
        group, name = seen["vg_name"], PREFIX + seen["lv_name"]
        size: list[str] = []
        if seen["segtype"] == "thin":
            self.pool = f"{group}/{seen['pool_lv']}"
            if self._pool_percent() > FULL_POOL:
                raise VolumeError("room", self.pool)
            size = ["--setactivationskip", "n"]
        else:
            room = min(int(seen["vg_free"]), int(int(seen["lv_size"]) * SHARE))
            if room < LEAST_BYTES:
                raise VolumeError("room", group)
            size = ["--size", f"{room // 1024}k"]  # LVM rounds up to its extents
        run("lvcreate", "--yes", "--quiet", "--snapshot", "--addtag", TAG, "--monitor", "n", *size, "--name", name,
            f"{group}/{seen['lv_name']}")  # fmt: skip
        self.name = f"{group}/{name}"

    def mount(self) -> None:
        """Mount it read-only on the stage.

        Raises:
            VolumeError: it cannot be mounted.
        """
        self.stage.mkdir(mode=0o700, exist_ok=True)
        options = "ro,nouuid" if self.fstype == "xfs" else "ro"
        run("mount", "-t", self.fstype, "-o", options, f"/dev/{self.name}", str(self.stage), code="mount")

    def path(self, inside: str) -> str:
        """Return where something of the file system is now."""
        return str(self.stage) + inside.rstrip("/")

    def filled(self) -> bool:
        """Say whether what was read can no longer be believed."""
        if not self.name:
            return False
        if self.pool:
            return self._pool_percent() >= 100
        (seen,) = lvs(self.name, fields="lv_attr,data_percent")
        return seen["lv_attr"][4:5] in "ISFM" or float(seen["data_percent"] or 100) >= 100

    def remove(self) -> None:
        """Unmount and remove it."""
        if os.path.ismount(self.stage):
            unmount(self.stage)
        if self.name:
            run("lvremove", "--yes", "--quiet", "--force", self.name)
            self.name = ""

    def _pool_percent(self) -> float:
        (seen,) = lvs(self.pool, fields="data_percent")
        return float(seen["data_percent"] or 0)


@dataclass
class Btrfs:
    """The snapshot of one btrfs subvolume, beside it in the same file system."""

    top: Path
    subvolume: str  # from the top of the file system, with a slash before it; "/" is the top itself
    number: int
    made: bool = False

    kind = "btrfs"

    @property
    def place(self) -> Path:
        """Where the snapshot is."""
        return self.top / FOLDER / f"snapshot-{self.number}"

    def create(self) -> None:
        """Make it.

        Raises:
            VolumeError: btrfs refuses.
        """
        self.place.parent.mkdir(mode=0o700, exist_ok=True)
        run("btrfs", "subvolume", "snapshot", "-r", str(self.top) + self.subvolume, str(self.place))
        self.made = True

    def mount(self) -> None:
        """It is readable where it is."""

    def path(self, inside: str) -> str:
        """Return where something of the file system is now."""
        below = inside if self.subvolume == "/" else inside.removeprefix(self.subvolume)
        return str(self.place) + ("" if below in ("", "/") else below)

    def filled(self) -> bool:
        """It cannot become invalid: a full file system refuses new writes instead."""
        return False

    def remove(self) -> None:
        """Remove it."""
        if self.made:
            run("btrfs", "subvolume", "delete", str(self.place))
            self.made = False


def unmount(place: Path | str) -> None:
    """Unmount; what is still held is taken out of sight and goes when it is let go."""
    try:
        run("umount", str(place))
    except VolumeError:
        run("umount", "--lazy", str(place))


def lvm_volume(source: str) -> str:
    """Return a device's name when it is an LVM volume, else an empty text."""
    try:
        folder = Path("/sys/class/block", Path(source).resolve(strict=True).name, "dm")
        if (folder / "uuid").read_text(encoding="ascii").startswith("LVM-"):
            return f"/dev/mapper/{(folder / 'name').read_text(encoding='utf-8').strip()}"
    except OSError:
        pass
    return ""


@contextmanager
def btrfs_top(source: str, stage: Path) -> Iterator[Path]:
    """Mount the top of a btrfs file system; only this process sees it."""
    stage.mkdir(mode=0o700, parents=True, exist_ok=True)
    run("mount", "-t", "btrfs", "-o", "rw,subvolid=5", source, str(stage), code="mount")
    try:
        yield stage
    finally:
        with suppress(VolumeError):
            unmount(stage)


def subvolume_of(top: Path, inside: str) -> str:
    """Return the subvolume that a path of a btrfs file system is in."""
    while inside.strip("/") and (top / inside.strip("/")).lstat().st_ino != SUBVOLUME_INODE:
        inside = inside.rpartition("/")[0]
    return "/" + inside.strip("/")


def subvolumes(top: Path) -> dict[str, bool]:
    """Return the subvolumes of a btrfs file system, ours left out, and whether each can change."""

    def listed(*options: str) -> set[str]:
        text = run("btrfs", "subvolume", "list", *options, str(top))
        found = {"/" + line.partition(" path ")[2] for line in text.splitlines() if " path " in line}
        return {path for path in found if not path.startswith(f"/{FOLDER}/")}

    fixed = listed("-r")
    return {path: path not in fixed for path in sorted(listed())}


def remove_left_over(sources: set[str], stage: Path) -> list[str]:
    """Remove the snapshots that a run of ours left; return why one could not be.

    Args:
        sources: devices of the mounted btrfs file systems.
        stage: where to mount them for that.
    """
    problems: list[str] = []

    def attempt(*argv: str) -> None:
        try:
            run(*argv)
        except VolumeError as error:
            problems.append(error.detail)

    try:
        found = lvs(fields="vg_name,lv_name,lv_tags,origin")
    except VolumeError:
        found = []  # no LVM here
    for one in found:
        if ours(one):
            attempt("lvremove", "--yes", "--quiet", "--force", f"{one['vg_name']}/{one['lv_name']}")
    for number, source in enumerate(sorted(sources)):
        try:
            with btrfs_top(source, stage / f"clean-{number}") as top:
                for place in sorted((top / FOLDER).glob("*")):
                    if NAME.fullmatch(place.name) and place.lstat().st_ino == SUBVOLUME_INODE:
                        attempt("btrfs", "subvolume", "delete", str(place))
        except (VolumeError, OSError, ValueError) as error:
            problems.append(str(error))
    return problems


def ours(volume: dict[str, Any]) -> bool:
    """Say whether an LVM volume is a snapshot that this program made: the name alone does not prove it."""
    return volume["lv_name"].startswith(PREFIX) and TAG in volume["lv_tags"].split(",") and bool(volume["origin"])
