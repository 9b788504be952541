"""Disk images of full machines, with the kernel that starts them: built once per recipe, kept, never changed afterwards."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from antiseche.i18n import _
from antiseche.lab import encrypted, rootfs
from antiseche.lab.model import LabError, cache_root

KERNEL, INITRD, DISK = "vmlinuz", "initrd", "root.img"
_DISK_SIZE = "8G"  # of zeros that take no place
_ENCRYPTED_SIZE = "2G"  # zeros that are encrypted do
_UNIT = Path(__file__).with_name("lab-files.service")
# Enough for disks, TPM, cards and backups, so that scenarios fetch nothing: packages are slow without hardware acceleration.
_COMMON = (
    "btrfs-progs", "ca-certificates", "cryptsetup-bin", "e2fsprogs", "fdisk", "initramfs-tools", "libccid", "linux-image-amd64",
    "lvm2", "mdadm", "opensc", "pcscd", "qemu-guest-agent", "restic", "tpm2-tools", "xfsprogs",
)  # fmt: skip
# Debian 12 has systemd-cryptsetup inside systemd, and the TPM libraries that systemd loads under other names.
_OF_SUITE = {
    "bookworm": ("cryptsetup", "libtss2-esys-3.0.2-0", "libtss2-mu0", "libtss2-rc0", "libtss2-tcti-device0"),
    "trixie": (
        "restic-rest-server", "systemd-cryptsetup", "libtss2-esys-3.0.2-0t64", "libtss2-mu-4.0.1-0t64", "libtss2-rc0t64",
        "libtss2-tcti-device0t64",
    ),
}  # fmt: skip
_ENCRYPTED = ("clevis-initramfs", "clevis-luks", "clevis-tpm2", "cryptsetup-initramfs")
# As an installation leaves it; what the machine builds afterwards holds its own drivers only, in a tenth of the time.
_ENCRYPTED_COMMANDS = (
    f"echo '{encrypted.CRYPTTAB}' > /etc/crypttab",
    "echo MODULES=dep > /etc/initramfs-tools/conf.d/lab",
)


def ensure_image(suite: str, notify: Callable[[str], None] = lambda _text: None, *, encrypted_system: bool = False) -> Path:
    """Return the folder of a suite's kernel, initrd and system disk, building it first where it is missing.

    Raises:
        LabError: the build failed; nothing of it is left.
    """
    packages = (*_COMMON, *_OF_SUITE[suite])
    extra = rootfs.Extra(packages, (_UNIT,))
    if encrypted_system:
        extra = rootfs.Extra((*packages, *_ENCRYPTED), (_UNIT,), _ENCRYPTED_COMMANDS)
    tree = rootfs.ensure_tree(suite, notify, extra)
    folder = cache_root() / "machines" / tree.name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder.parent / f".{tree.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not folder.is_dir():  # another process may have built it while we waited
            _build(tree, folder, encrypted_system)
    finally:
        os.close(descriptor)
    return folder


def _build(tree: Path, folder: Path, encrypted_system: bool) -> None:
    stage = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    try:
        for name, pattern in ((KERNEL, "vmlinuz-*"), (INITRD, "initrd.img-*")):
            shutil.copyfile(max((tree / "boot").glob(pattern)), stage / name)
        disk = stage / ("plain" if encrypted_system else DISK)
        subprocess.run(["truncate", "--size", _ENCRYPTED_SIZE if encrypted_system else _DISK_SIZE, str(disk)], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-d", str(tree), str(disk)], check=True, stdin=subprocess.DEVNULL)
        if encrypted_system:
            encrypted.encrypt(disk, stage / DISK)
            disk.unlink()
    except (OSError, ValueError, LabError, subprocess.CalledProcessError) as error:
        shutil.rmtree(stage, ignore_errors=True)
        raise LabError(
            _("Le disque de {suite} n'a pas pu être préparé : {reason}.").format(suite=tree.name, reason=error)
        ) from error
    stage.rename(folder)
