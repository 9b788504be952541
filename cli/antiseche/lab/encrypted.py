"""A system disk that was encrypted before anybody's kit came: LUKS2 made without device-mapper, which this machine may lack.

cryptsetup writes the header; the sectors are encrypted here, as dm-crypt reads them (aes-xts-plain64: the tweak is the number
of the sector of 512 bytes, little endian).
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from antiseche.i18n import _
from antiseche.lab.model import LabError

PASSPHRASE = "phrase du banc d'essai"  # noqa: S105 (of disks that hold nothing)
"""What a person would type at the start: known to all, these disks hold nothing of anybody."""
UUID = "5b0cf8a5-4b6f-4a53-9d27-3f1f0c6a7e10"
NAME = "systeme"
PROMPT = b"Please unlock disk"
"""How Debian's initramfs asks for it."""
KERNEL_OPTIONS = f"root=/dev/mapper/{NAME} cryptopts=target={NAME},source=UUID={UUID}"
CRYPTTAB = f"{NAME} UUID={UUID} none luks"

_OFFSET = 16 * 1024 * 1024  # bytes, where the data begin: cryptsetup's own default for LUKS2
_SECTOR, _TWEAK_SECTOR = 4096, 512
_BATCH = 1024  # sectors


def encrypt(plain: Path, target: Path) -> None:
    """Write the encrypted form of a disk image, which must be whole sectors of 4096 bytes.

    Raises:
        LabError: cryptsetup is missing or refuses.
    """
    if shutil.which("cryptsetup") is None:
        raise LabError(
            _("Il manque des outils pour les machines d'essai : lancez « apt-get install {packages} ».").format(
                packages="cryptsetup-bin"
            )
        )
    key = secrets.token_bytes(64)
    with target.open("wb") as made:
        made.truncate(_OFFSET + plain.stat().st_size)
    with tempfile.NamedTemporaryFile(dir=target.parent) as volume_key:
        volume_key.write(key)
        volume_key.flush()
        done = subprocess.run(
            [
                *(
                    "cryptsetup",
                    "luksFormat",
                    "--batch-mode",
                    "--type",
                    "luks2",
                    "--cipher",
                    "aes-xts-plain64",
                    "--key-size",
                    "512",
                ),
                *("--sector-size", str(_SECTOR), "--offset", str(_OFFSET // _TWEAK_SECTOR), "--uuid", UUID),
                *("--pbkdf", "argon2id", "--pbkdf-memory", "65536", "--pbkdf-force-iterations", "4", "--pbkdf-parallel", "1"),
                *("--volume-key-file", volume_key.name, "--key-file", "-", str(target)),
            ],
            input=PASSPHRASE.encode(),
            capture_output=True,
            check=False,
        )
    if done.returncode != 0:
        raise LabError(f"cryptsetup: {done.stderr.decode(errors='replace').strip()[-300:]}")
    with plain.open("rb") as source, target.open("r+b") as made:
        made.seek(_OFFSET)
        number = 0
        while batch := source.read(_SECTOR * _BATCH):
            made.write(
                b"".join(_sector(key, number + i, batch[i * _SECTOR : (i + 1) * _SECTOR]) for i in range(len(batch) // _SECTOR))
            )
            number += _BATCH
        made.flush()
        os.fsync(made.fileno())


def _sector(key: bytes, number: int, plain: bytes) -> bytes:
    tweak = (number * (_SECTOR // _TWEAK_SECTOR)).to_bytes(16, "little")
    encryptor = Cipher(algorithms.AES(key), modes.XTS(tweak)).encryptor()
    return encryptor.update(plain) + encryptor.finalize()
