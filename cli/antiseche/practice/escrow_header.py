"""Copies of volume headers that deployments put into the vault: the newest one of a volume, unpacked."""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antiseche.errors import AnswersError
from antiseche.i18n import _
from antiseche.practice import escrow
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.secrets import Vault

# LUKS2 on-disk format, version 1.1.4, section 2.1: after magic, version and size comes a number that grows with each change.
_SEQUENCE = slice(16, 24)
_UUID = slice(168, 208)
_MAGIC = b"LUKS\xba\xbe"


@dataclass(frozen=True)
class KeptHeader:
    """A header as ``cryptsetup luksHeaderRestore`` takes it."""

    device: str
    """Path of the disk when the copy was made."""
    content: bytes = field(repr=False)

    @property
    def uuid(self) -> str:
        """The volume's number."""
        return self.content[_UUID].rstrip(b"\0").decode("ascii", "replace")

    @property
    def sequence(self) -> int:
        """Number of the change after which the copy was made."""
        return int.from_bytes(self.content[_SEQUENCE], "big")


def newest(folder: PracticeFolder, host: str, volume: str, vault: Vault) -> KeptHeader:
    """Return the newest copy of a volume's header.

    Raises:
        AnswersError: there is none, or one of them is damaged.
    """
    uuid = _number(folder, host, volume, vault)
    places = sorted(path for path in (folder.root / "escrow" / host).glob("*.header") if path.name.partition(".")[0] == volume)
    kept = [header for path in places if (header := _unpacked(path, vault.read(path))).uuid == uuid or not uuid]
    if not kept:
        raise AnswersError(
            _("Aucune copie d'en-tête de « {volume} » ({host}) n'est au coffre : un déploiement en fait une.").format(
                volume=volume, host=host
            )
        )
    return max(kept, key=lambda header: header.sequence)


def _number(folder: PracticeFolder, host: str, volume: str, vault: Vault) -> str:
    """Return the volume's number as the vault holds it; empty for the system disk, which was not made by the kit."""
    path = folder.inventory_dir / "host_vars" / host / "vault.yml"
    values = vault.read(path) if path.is_file() else {}
    return escrow.volumes_in(values).get(volume, {}).get("uuid", "")


def _unpacked(path: Path, values: dict[str, Any]) -> KeptHeader:
    try:
        content = zlib.decompress(base64.b64decode(str(values["data"]), validate=True))
        kept = KeptHeader(str(values["device"]), content)
    except (KeyError, ValueError, binascii.Error, zlib.error):
        kept = None
    if kept is None or not kept.content.startswith(_MAGIC):
        raise AnswersError(
            _("La copie d'en-tête {path} est abîmée : retirez-la, ou reprenez-la d'une sauvegarde.").format(path=path)
        )
    return kept
