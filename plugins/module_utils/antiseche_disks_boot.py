# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""What starts the machine before its system disk is open: the images that initramfs-tools makes."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from ansible.module_utils.antiseche_disks_read import checked, run

BOOT = Path("/boot")
MODULES = Path("/lib/modules")
HOOK = Path("/usr/share/initramfs-tools/hooks/clevis")
TOOL = "update-initramfs"
# The script that asks the TPM, and the list of volumes to open.
NEEDED = ("scripts/local-top/clevis", "cryptroot/crypttab")
# Written by initramfs-tools where it chooses by itself what to resume from: the start waits for that area.
CHOSEN_RESUME = "conf/conf.d/zz-resume-auto"
_HOUR = 3600


def supported() -> bool:
    """Say whether this machine starts by images that initramfs-tools makes."""
    return shutil.which(TOOL) is not None and bool(images())


def images() -> list[Path]:
    """Return the images of the installed kernels."""
    return [path for path in sorted(BOOT.glob("initrd.img-*")) if (MODULES / path.name.removeprefix("initrd.img-")).is_dir()]


def mark() -> str:
    """Return what changes whenever an image does."""
    seen = [(path.name, found.st_size, found.st_mtime_ns) for path in images() for found in [path.stat()]]
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def asks_the_tpm() -> bool:
    """Say whether every image holds what the unlocking needs. Takes seconds: it unpacks them."""
    return all(_names(path).issuperset(NEEDED) for path in images())


def chose_resume() -> bool:
    """Say whether an image waits for a swap area that initramfs-tools chose to resume from. Takes seconds, too."""
    return any(CHOSEN_RESUME in _names(path) for path in images())


def _names(path: Path) -> set[str]:
    """Return what an image holds; nothing when it cannot be unpacked."""
    held = run("lsinitramfs", str(path), seconds=_HOUR)
    return set() if held.returncode else set(held.stdout.split())


def rebuild() -> None:
    """Make the images anew; each is written beside the old one and takes its place at the end."""
    checked(TOOL, "-u", "-k", "all", seconds=_HOUR)
