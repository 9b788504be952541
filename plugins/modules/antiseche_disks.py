#!/usr/bin/python
# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Declared blank disks encrypted, opened and mounted; a recovery key on an encrypted system disk. Nothing else is touched."""
# ruff: noqa: E402 (Ansible wants its documentation before the imports)

from __future__ import annotations

DOCUMENTATION = r"""
module: antiseche_disks
short_description: LUKS2 volumes on declared blank disks, keys held by the vault first
description:
  - Formats a disk only when it is blank, free and declared; anything else is refused with its reason, before any disk is touched.
  - Passphrase and recovery key come from the vault and are tried against the volume before a step counts.
  - Bound to the TPM 2 of the machine (PCR 7) where there is one, so that the volume opens at boot.
  - Returns a copy of each header that the controller does not hold yet; the action plugin of that name puts it into the vault.
  - The power may go at any step. The next run goes on, or stops with one sentence.
options:
  disks:
    type: list
    elements: dict
    default: []
    description: The volumes.
    options:
      name: {type: str, required: true, description: Name of the volume.}
      device: {type: path, required: true, description: "The blank disk, by a path that stays."}
      mount: {type: path, required: true, description: Where it is mounted.}
      discard: {type: bool, default: false, description: Whether freed blocks are told to the disk.}
  keys: {type: dict, default: {}, description: "uuid, passphrase and recovery_key of each volume, by name."}
  root: {type: dict, default: {}, description: "passphrase and recovery_key of an encrypted system disk."}
  root_tpm: {type: bool, default: false, description: "Whether the TPM opens an encrypted system disk, by clevis, at boot."}
  swap: {type: bool, default: false, description: "Whether clear swap gets a random key at each start."}
  held: {type: list, elements: str, default: [], description: Digests of the headers that the controller holds.}
author: ["The Antisèche authors (@antiseche)"]
"""

EXAMPLES = r"""
- name: Encrypt and mount the declared disks
  antiseche_disks:
    disks:
      - {name: donnees, device: /dev/disk/by-id/ata-EXEMPLE, mount: /srv/donnees}
    keys: "{{ disk_encryption_keys }}"
"""

RETURN = r"""
changes: {description: What was (or would be) changed, type: list, elements: str, returned: always}
said: {description: "On failure, what the sentence was made from, for the controller to translate", type: raw, returned: failure}
headers: {description: "Headers to keep, taken out by the action plugin", type: list, elements: dict, returned: always}
"""

import base64
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.antiseche_disks_read import DiskError, Header, checked, header
from ansible.module_utils.antiseche_disks_root import RootDisk
from ansible.module_utils.antiseche_disks_say import N_, data_of, say, together
from ansible.module_utils.antiseche_disks_swap import Swap
from ansible.module_utils.antiseche_disks_swap_places import places
from ansible.module_utils.antiseche_disks_volume import Volume, Wanted
from ansible.module_utils.basic import AnsibleModule

HEADERS = "/run"  # memory, never a disk


def wanted(disks: list[dict[str, Any]], keys: dict[str, dict[str, str]]) -> Iterator[Wanted]:
    """Pair every disk with its keys.

    Raises:
        DiskError: the vault holds no keys for it.
    """
    for disk in disks:
        held = keys.get(disk["name"]) or {}
        if not all(isinstance(held.get(key), str) and held[key] for key in ("uuid", "passphrase", "recovery_key")):
            raise DiskError(
                say(N_("le coffre n'a pas les clés du volume « {name} » : lancez « antiseche inventory »"), name=disk["name"])
            )
        known = {key: str(held[key]) for key in ("uuid", "passphrase", "recovery_key")}
        yield Wanted(str(disk["name"]), str(disk["device"]), str(disk["mount"]), bool(disk["discard"]), **known)


def plan(volume: Volume | RootDisk | Swap, held: list[str]) -> list[str]:
    """Return what is to be done to a volume; a header that changes is one more copy to keep."""
    missing = volume.missing()
    if isinstance(volume, Swap):
        return [f"{volume.label}: {step}" for step in missing]
    touched = {"encrypted", "recovery key", "TPM unlock"} & set(missing)
    if touched or volume.header is None or volume.header.digest not in held:
        missing.append("header copied to the vault")
    return [f"{volume.label}: {step}" for step in missing]


def without_noise(data: bytes, found: Header) -> bytes:
    """Return a header with zeros where no key slot is: luksFormat fills its 16 MiB with chance, which nothing compresses."""
    size = int.from_bytes(data[8:16], "big")
    kept = bytearray(len(data))
    areas = [slot["area"] for slot in found.metadata["keyslots"].values()]
    for start, length in [(0, 2 * size), *((int(area["offset"]), int(area["size"])) for area in areas)]:
        kept[start : start + length] = data[start : start + length]
    return bytes(kept)


def copy(volume: Volume | RootDisk, held: list[str]) -> list[dict[str, str]]:
    """Return the header that the controller lacks, compressed."""
    found = header(volume.device.real) if volume.device else None
    if found is None or volume.device is None:
        raise DiskError(say(N_("l'en-tête du volume « {name} » est illisible"), name=volume.wanted.name))
    if found.digest in held:
        return []
    with tempfile.TemporaryDirectory(dir=HEADERS, prefix="antiseche-") as folder:
        path = Path(folder) / "header"
        checked("cryptsetup", "luksHeaderBackup", volume.device.real, "--header-backup-file", str(path))
        packed = zlib.compress(without_noise(path.read_bytes(), found), 6)
    return [
        {
            "name": volume.wanted.name,
            "digest": found.digest,
            "device": volume.wanted.device,  # not by its number, which Ansible would blot out with all that the vault holds
            "data": base64.b64encode(packed).decode(),
        }
    ]


def carry_out(volume: Volume | RootDisk | Swap, changes: list[str]) -> None:
    """Do what is missing, telling each step that is done.

    Raises:
        DiskError: a step failed, or something is missing all the same.
    """
    for step in volume.missing():
        volume.do(step)
        changes.append(f"{volume.label}: {step}")
    if left := volume.missing():
        raise DiskError(
            say(
                N_("{label} : les outils disent avoir réussi, il manque pourtant : {left}"),
                label=volume.label,
                left=", ".join(left),
            )
        )
    if not isinstance(volume, Volume):
        volume.settle()


def main() -> None:
    """Refuse first, all disks at once; then do what is missing, volume by volume."""
    disk = {
        "name": {"type": "str", "required": True},
        "device": {"type": "path", "required": True},
        "mount": {"type": "path", "required": True},
        "discard": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={
            "disks": {"type": "list", "elements": "dict", "default": [], "options": disk},
            "keys": {"type": "dict", "default": {}, "no_log": True},
            "root": {"type": "dict", "default": {}, "no_log": True},
            "root_tpm": {"type": "bool", "default": False},
            "swap": {"type": "bool", "default": False},
            "held": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    asked: dict[str, Any] = module.params
    changes: list[str] = []
    headers: list[dict[str, str]] = []
    try:
        volumes: list[Volume | RootDisk | Swap] = [Volume(one) for one in wanted(asked["disks"], asked["keys"])]
        if asked["root"] or asked["root_tpm"]:
            volumes.append(RootDisk(asked["root"], tpm=asked["root_tpm"]))
        if asked["swap"]:
            volumes += [Swap(place, memory, first=not number) for number, (place, memory) in enumerate(places())]
        problems = [problem for volume in volumes if (problem := volume.problem())]
        if problems:
            raise DiskError(together(problems))
        planned = [(volume, plan(volume, asked["held"])) for volume in volumes]
        if module.check_mode:
            changes = [change for _volume, told in planned for change in told]
            volumes = []
        for volume in volumes:
            carry_out(volume, changes)
            if isinstance(volume, Swap):
                continue
            found = copy(volume, asked["held"])
            headers += found
            changes += [f"{volume.label}: header copied to the vault" for _header in found]
    except (DiskError, OSError, ValueError) as error:
        # Headers of volumes that are whole are kept all the same.
        module.fail_json(msg=f"{error}.", said=data_of(error), changed=bool(changes), changes=changes, headers=headers)
    module.exit_json(changed=bool(changes), changes=changes, headers=headers)


if __name__ == "__main__":
    main()
