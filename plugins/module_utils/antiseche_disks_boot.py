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
    for path in images():
        held = run("lsinitramfs", str(path), seconds=_HOUR)
        names = set(held.stdout.split())
        if held.returncode or not all(name in names for name in NEEDED):
            return False
    return True


def rebuild() -> None:
    """Make the images anew; each is written beside the old one and takes its place at the end."""
    checked(TOOL, "-u", "-k", "all", seconds=_HOUR)
