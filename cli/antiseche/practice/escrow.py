"""Keys of encrypted volumes: made once, in the vault before any disk is touched, kept whatever happens."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

KEYS = "disk_encryption_keys"
ROOT = "disk_encryption_root"
# systemd's alphabet for recovery keys (modhex): the same keys on every keyboard layout, no capitals. 256 bits in eight groups.
_MODHEX = "cbdefghijklnrtuv"
_GROUPS, _GROUP = 8, 8


def new_key() -> str:
    """Return a recovery key in the form that ``systemd-cryptenroll --recovery-key`` gives them."""
    text = "".join(secrets.choice(_MODHEX) for _index in range(_GROUPS * _GROUP))
    return "-".join(text[i : i + _GROUP] for i in range(0, len(text), _GROUP))


def volumes_in(values: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return the keys of each volume among the secrets of a host."""
    found = values.get(KEYS)
    if not isinstance(found, dict):
        return {}
    return {str(name): {str(k): str(v) for k, v in keys.items()} for name, keys in found.items() if isinstance(keys, dict)}


def missing(values: dict[str, Any], names: list[str]) -> list[str]:
    """Return the volumes that have no keys yet, and ``/`` for a system disk whose recovery key is still to be made."""
    found = volumes_in(values)
    lacking = [name for name in names if not {"uuid", "passphrase", "recovery_key"} <= found.get(name, {}).keys()]
    root = values.get(ROOT)
    return lacking + (["/"] if isinstance(root, dict) and root.get("passphrase") and not root.get("recovery_key") else [])


def with_keys(values: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the secrets of a host with keys for every volume; what is there never changes, nothing is ever taken out."""
    found = volumes_in(values)
    for name in names:
        fresh = {"uuid": str(uuid.uuid4()), "passphrase": new_key(), "recovery_key": new_key()}
        found[name] = {**fresh, **found.get(name, {})}
    completed = {**values, KEYS: dict(sorted(found.items()))} if found else dict(values)
    if "/" in missing(values, []):
        completed[ROOT] = {**values[ROOT], "recovery_key": new_key()}
    return completed
