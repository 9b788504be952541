# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""The system disk when it is already encrypted: a recovery key that the vault holds is added, nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.antiseche_disks_read import Device, DiskError, Header, checked, header, look, opening_slot
from ansible.module_utils.antiseche_disks_state import Memory, tried
from ansible.module_utils.antiseche_disks_volume import STATE, Wanted, add_recovery

NAME = "systeme"


def encrypted_ancestor(mount: str = "/") -> str:
    """Return the device of the LUKS volume that a mount point stands on, empty when there is none."""
    source = checked("findmnt", "--noheadings", "--nofsroot", "--output", "SOURCE", "--first-only", mount).strip()
    listed = json.loads(checked("lsblk", "--json", "--inverse", "--output", "PATH,FSTYPE", source))["blockdevices"]
    return next((str(one["path"]) for one in _all(listed) if one.get("fstype") == "crypto_LUKS"), "")


def _all(devices: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in devices:
        yield one
        yield from _all(one.get("children") or [])


class RootDisk:
    """The encrypted system disk, with the passphrase that somebody put into the vault."""

    def __init__(self, keys: dict[str, str]) -> None:
        passphrase, recovery = str(keys.get("passphrase") or ""), str(keys.get("recovery_key") or "")
        if not passphrase or not recovery:
            raise DiskError("le coffre n'a pas la phrase et la clé de secours du disque système : lancez « antiseche inventory »")
        found = encrypted_ancestor()
        if not found:
            raise DiskError(
                "le disque système n'est pas chiffré : retirez sa phrase du coffre, ou réinstallez la machine chiffrée"
            )
        self.wanted = Wanted(NAME, found, "/", False, "", passphrase, recovery)
        self.memory = Memory(Path(STATE), NAME)
        self.device: Device | None = look(found)
        self.header: Header | None = header(found)

    def problem(self) -> str:
        """Return why nothing can be done."""
        if self.header is None or self.device is None:
            return f"{self.wanted.device} est chiffré dans un ancien format (LUKS1) : rien n'y est touché"
        if not self._tried() and opening_slot(self.device.real, self.wanted.passphrase) is None:
            return "la phrase du coffre n'ouvre pas le disque système : corrigez-la (disk_encryption_root)"
        return ""

    def missing(self) -> list[str]:
        """Return the steps that are still to do."""
        if self.header is None or self.device is None:
            return []
        slots = self.header.slots_of("systemd-recovery")
        good = bool(slots) and (self._tried() or opening_slot(self.device.real, self.wanted.recovery_key) in slots)
        return [] if good else ["recovery key"]

    def do(self, step: str) -> None:
        """Add the recovery key, tried before it counts."""
        if self.device is None or step != "recovery key":
            raise DiskError(f"étape inconnue : {step}")
        add_recovery(self.device.real, self.wanted.passphrase, self.wanted.recovery_key)
        self.header = header(self.device.real)
        if self.header is not None:
            mark = tried(self.header.digest, self.wanted.passphrase, self.wanted.recovery_key)
            self.memory.remember(tried=mark)

    def _tried(self) -> bool:
        if self.header is None:
            return False
        return self.memory.values.get("tried") == tried(self.header.digest, self.wanted.passphrase, self.wanted.recovery_key)
