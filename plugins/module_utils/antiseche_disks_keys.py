# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""The recovery key of a LUKS2 volume: added beside what is there, tried before it counts."""

from __future__ import annotations

import json
import tempfile
from typing import Any

from ansible.module_utils.antiseche_disks_read import DiskError, Header, checked, header, opening_slot, secret_file
from ansible.module_utils.antiseche_disks_say import N_, say

# RFC 9106, section 4, second recommended option, for small memories. The keys are 256 bits of chance, which no dictionary holds:
# a machine short of memory must be able to try them, and more would only make it wait.
PBKDF = (*("--pbkdf", "argon2id", "--pbkdf-memory", "65536", "--pbkdf-force-iterations", "4", "--pbkdf-parallel", "4"),)


def add_recovery(path: str, passphrase: str, recovery_key: str) -> str:
    """Give a volume its recovery key, tried before it counts; return the slot. What is there already stays."""
    found = header(path)
    # Beside the passphrase's slot there is none that could hold it: nothing to try.
    slot = opening_slot(path, recovery_key) if found is not None and len(found.slots) > 1 else None
    if slot is None:
        with secret_file(passphrase) as (old, first), secret_file(recovery_key) as (new, second):
            checked("cryptsetup", "luksAddKey", "--batch-mode", *PBKDF, "--key-file", old, path, new, fds=[first, second])
        slot = next((new for new in _new_slots(path, found) if opening_slot(path, recovery_key, new) is not None), None)
    if slot is None:
        raise DiskError(say(N_("la clé de secours n'ouvre pas le volume où elle vient d'être inscrite : disque défaillant ?")))
    found = header(path)
    if found is not None and slot not in found.slots_of("systemd-recovery"):
        # The type that systemd's own tools know: what lists this slot calls it a recovery key.
        _import_token(path, {"type": "systemd-recovery", "keyslots": [slot]})
    return slot


def _new_slots(path: str, before: Header | None) -> list[str]:
    after = header(path)
    return [slot for slot in (after.slots if after else []) if before is None or slot not in before.slots]


def _import_token(path: str, token: dict[str, Any]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(token, file)
        file.flush()
        checked("cryptsetup", "token", "import", "--json-file", file.name, path)
