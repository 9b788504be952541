# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Where a machine swaps in the clear: what is in use, what fstab names, and whether it hibernates. Reads only."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.antiseche_disks_read import checked
from ansible.module_utils.antiseche_disks_state import Memory, read_table
from ansible.module_utils.antiseche_disks_volume import FSTAB, MAPPER, STATE

SWAPS = Path("/proc/swaps")
CMDLINE = Path("/proc/cmdline")
DISKS = Path("/dev/disk")
INITRAMFS = Path("/etc/initramfs-tools")
GRUB = Path("/etc/default/grub")
NAME = "cryptswap"
# Names that a device keeps, best first: a partition's own number, then what the disk or the volume group says of itself.
_KEPT = ("wwn-", "nvme-eui", "dm-uuid-", "ata-", "nvme-", "scsi-", "virtio-", "")
_PASSING = ("dm-name-", "lvm-pv-uuid-")
_TAGS = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}


@dataclass(frozen=True)
class Place:
    """A swap area, by the name people know, by the one that stays, and by the kernel's of now."""

    path: str
    source: str
    real: str


def active() -> set[str]:
    """Return what the kernel swaps to, by its kernel names."""
    lines = SWAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()[1:]
    return {os.path.realpath(line.split()[0].replace("\\040", " ")) for line in lines if line.strip()}


def real_of(spec: str) -> str:
    """Return the kernel's name of what the first field of fstab names."""
    tag, separator, value = spec.partition("=")
    path = DISKS / _TAGS[tag] / value.strip('"') if separator and tag in _TAGS else Path(spec)
    return os.path.realpath(path)


def _swap_line(line: str) -> str:
    fields = line.split()
    named = len(fields) > 2 and not line.lstrip().startswith("#") and fields[2] == "swap"
    return fields[0] if named else ""


def in_fstab() -> Iterator[str]:
    """Return what fstab names as swap and what exists, by its kernel name."""
    for line in read_table(FSTAB).splitlines():
        spec = _swap_line(line)
        if spec and Path(real_of(spec)).exists():
            yield real_of(spec)


def fstab_without(text: str, real: str, line: str) -> str:
    """Return a table in which the line of an area gives way to another; further lines of the same area go."""
    lines = text.splitlines(keepends=True)
    found = [number for number, old in enumerate(lines) if (spec := _swap_line(old)) and real_of(spec) == real]
    for number in found:
        lines[number] = line + "\n" if number == found[0] else ""
    return "".join(lines)


def kept_name(real: str) -> str:
    """Return the name by which a place is found at each start; empty when it has none. A file has its own."""
    if not stat.S_ISBLK(Path(real).stat().st_mode):
        return real
    for folder in ("by-partuuid", "by-id"):
        names = [path for path in sorted((DISKS / folder).glob("*")) if os.path.realpath(path) == real]
        names = [path for path in names if not path.name.startswith(_PASSING)]
        if names:
            return str(min(names, key=lambda path: next(i for i, head in enumerate(_KEPT) if path.name.startswith(head))))
    return ""


def encrypted(real: str) -> bool:
    """Say whether a place stands on an encrypted volume, or is memory."""
    if Path(real).name.startswith("zram"):
        return True
    source = real
    if not stat.S_ISBLK(Path(real).stat().st_mode):
        source = checked("findmnt", "--noheadings", "--nofsroot", "--output", "SOURCE", "--target", real).strip()
    listed = json.loads(checked("lsblk", "--json", "--inverse", "--output", "PATH,TYPE", source))["blockdevices"]
    return '"crypt"' in json.dumps(listed)


def places() -> list[tuple[Place, Memory]]:
    """Return the areas that are in the clear, and those that were, each with its memory."""
    found: list[tuple[Place, Memory]] = []
    for path in sorted(STATE.glob(f"{NAME}*.json")):
        memory = Memory(STATE, path.stem)
        source = str(memory.values.get("source") or "")
        if source:
            found.append((Place(str(memory.values.get("path") or source), source, os.path.realpath(source)), memory))
    known = {place.real for place, _memory in found}
    taken = {path.stem for path in STATE.glob(f"{NAME}*.json")}  # a data volume may have such a name
    for real in sorted(active() | set(in_fstab())):
        if real in known or encrypted(real):
            continue
        name = next(name for name in _names() if name not in taken and not (MAPPER / name).exists())
        taken.add(name)
        found.append((Place(real, kept_name(real), real), Memory(STATE, name)))
    return found


def _names() -> Iterator[str]:
    yield NAME
    yield from (f"{NAME}{number}" for number in range(2, 1000))


_RESUME = re.compile(r"(?m)^\s*RESUME=[\"']?([^\"'\s#]*).*$")


def hibernation(real: str) -> str:
    """Return where it is said that the machine resumes from hibernation; empty when nowhere.

    What the images of the start are told to resume from this very area does not count: the installer writes that everywhere.
    """
    words = read_table(CMDLINE).split()
    if "noresume" not in words and any(re.match(r"resume=.", word) for word in words):
        return "resume="
    said = ""
    for path in _initramfs_files():
        for value in _RESUME.findall(read_table(path)):
            own = path.parent != INITRAMFS and real_of(value) == real
            said = str(path) if value not in ("", "none", "auto") and not own else ""
    if said:
        return said
    return str(GRUB) if re.search(r"(?m)^\s*GRUB_CMDLINE_LINUX\w*=.*\bresume=", read_table(GRUB)) else ""


def resumes_from(real: str) -> list[Path]:
    """Return the files that tell the images of the start to resume from an area."""
    files = [path for path in _initramfs_files() if path.parent != INITRAMFS]
    return [path for path in files if any(value and real_of(value) == real for value in _RESUME.findall(read_table(path)))]


def without_resume(text: str) -> str:
    """Return such a file with nothing to resume from."""
    return _RESUME.sub("RESUME=none", text)


def _initramfs_files() -> list[Path]:
    return [INITRAMFS / "initramfs.conf", *sorted((INITRAMFS / "conf.d").glob("*"))]
