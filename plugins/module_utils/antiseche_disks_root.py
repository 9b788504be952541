# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""The system disk when it is already encrypted: a recovery key that the vault holds, and, where asked, its opening by the TPM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils import antiseche_disks_boot as boot
from ansible.module_utils import antiseche_disks_clevis as clevis
from ansible.module_utils.antiseche_disks_keys import add_recovery
from ansible.module_utils.antiseche_disks_read import (
    Device,
    DiskError,
    Header,
    checked,
    has_tpm,
    header,
    look,
    opening_slot,
    secret_file,
)
from ansible.module_utils.antiseche_disks_say import N_, say
from ansible.module_utils.antiseche_disks_state import Memory, tried
from ansible.module_utils.antiseche_disks_volume import STATE, Wanted

NAME = "systeme"
STEPS = ("recovery key", "TPM unlock", "boot image")


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

    def __init__(self, keys: dict[str, str], *, tpm: bool = False) -> None:
        found = encrypted_ancestor()
        if not found:
            raise DiskError(
                say(
                    N_(
                        "le disque système n'est pas chiffré : retirez sa phrase du coffre et « system_tpm_unlock » des "
                        "réponses, ou réinstallez la machine chiffrée"
                    )
                )
            )
        passphrase, recovery = str(keys.get("passphrase") or ""), str(keys.get("recovery_key") or "")
        if not passphrase or not recovery:
            raise DiskError(
                say(
                    N_(
                        "le coffre n'a pas la phrase et la clé de secours du disque système : écrivez sa phrase au coffre de la "
                        "machine (disk_encryption_root), puis lancez « antiseche inventory »"
                    )
                )
            )
        self.wanted = Wanted(NAME, found, "/", False, "", passphrase, recovery)
        self.label = f"volume {NAME}"
        self.tpm = tpm
        self.memory = Memory(Path(STATE), NAME)
        self.device: Device | None = look(found)
        self.header: Header | None = header(found)

    def problem(self) -> str:
        """Return why nothing can be done."""
        if self.header is None or self.device is None:
            return say(N_("{device} est chiffré dans un ancien format (LUKS1) : rien n'y est touché"), device=self.wanted.device)
        if self.tpm and not boot.supported():
            return say(
                N_(
                    "cette machine ne démarre pas par initramfs-tools : l'ouverture de son disque système par la puce TPM n'y "
                    "est pas prise en charge, retirez « system_tpm_unlock » des réponses"
                )
            )
        if not self._tried() and opening_slot(self.device.real, self.wanted.passphrase) is None:
            return say(N_("la phrase du coffre n'ouvre pas le disque système : corrigez-la (disk_encryption_root)"))
        return ""

    def missing(self) -> list[str]:
        """Return the steps that are still to do."""
        if self.header is None or self.device is None:
            return []
        return [step for step in STEPS if not self._has(step, self.header, self.device)]

    def _has(self, step: str, found: Header, device: Device) -> bool:
        if step == "recovery key":
            slots = found.slots_of("systemd-recovery")
            return bool(slots) and (self._tried() or opening_slot(device.real, self.wanted.recovery_key) in slots)
        if not self.tpm or not has_tpm():
            return True
        if step == "TPM unlock":
            return any(clevis.opens(device.real, slot) for slot in clevis.bound(found))
        # Installing clevis makes the images anew: before that, as check mode sees it, this is no step of its own.
        return not boot.HOOK.exists() or self.memory.values.get("boot") == boot.mark() or boot.asks_the_tpm()

    def do(self, step: str) -> None:
        """Do one step, tried before it counts."""
        if self.device is None or self.header is None or step not in STEPS:
            raise DiskError(say(N_("étape inconnue : {step}"), step=step))
        if step == "boot image":
            boot.rebuild()
            return
        if step == "recovery key":
            add_recovery(self.device.real, self.wanted.passphrase, self.wanted.recovery_key)
        else:
            self._bind(self.header, self.device)
        self.header = header(self.device.real)
        self._try_both(self.device)

    def settle(self) -> None:
        """Remember which images were seen to be whole, so that they are unpacked again only once they change."""
        if self.tpm and has_tpm() and boot.HOOK.exists() and self.memory.values.get("boot") != boot.mark():
            self.memory.remember(boot=boot.mark())

    def _bind(self, found: Header, device: Device) -> None:
        """Bind the volume to the TPM. A cut leaves a slot that no token names: known by this note, and freed next time."""
        self._drop_orphans(found, device)
        dead = clevis.bound(found)
        if self.memory.values.get("before") is None:
            self.memory.remember(before=[slot for slot in found.slots if slot not in dead])
        for slot in dead:
            clevis.unbind(device.real, slot)
        after = header(device.real)
        for number in clevis.empty_tokens(after) if after else []:
            checked("cryptsetup", "token", "remove", "--token-id", number, device.real)
        clevis.bind(device.real, self.wanted.passphrase)
        now = header(device.real)
        if now is None or not any(clevis.opens(device.real, slot) for slot in clevis.bound(now)):
            raise DiskError(say(N_("la puce TPM n'ouvre pas le volume « {name} » qu'on vient de lui confier"), name=NAME))
        self.memory.remember(before=None)

    def _drop_orphans(self, found: Header, device: Device) -> None:
        before = self.memory.values.get("before")
        if not isinstance(before, list):
            return
        for slot in found.loose:
            if slot not in before and clevis.looks_bound(found, slot):
                with secret_file(self.wanted.passphrase) as (key, descriptor):
                    checked(
                        *("cryptsetup", "luksKillSlot", "--batch-mode", "--key-file", key, device.real, slot), fds=[descriptor]
                    )

    def _try_both(self, device: Device) -> None:
        found = self.header
        for key, text in (
            (self.wanted.passphrase, N_("le volume « {name} » ne s'ouvre plus avec la phrase du coffre")),
            (self.wanted.recovery_key, N_("le volume « {name} » ne s'ouvre plus avec la clé de secours du coffre")),
        ):
            if found is None or opening_slot(device.real, key) is None:
                raise DiskError(say(text, name=NAME))
        if found is not None:
            self.memory.remember(tried=tried(found.digest, self.wanted.passphrase, self.wanted.recovery_key))

    def _tried(self) -> bool:
        if self.header is None:
            return False
        return self.memory.values.get("tried") == tried(self.header.digest, self.wanted.passphrase, self.wanted.recovery_key)
