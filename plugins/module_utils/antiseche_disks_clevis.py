# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""A system disk bound to the TPM by clevis: Debian's initramfs does not know systemd's own bindings."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from typing import Any

from ansible.module_utils.antiseche_disks_read import ENVIRONMENT, DiskError, Header, checked, opening_slot, secret_file
from ansible.module_utils.antiseche_disks_say import N_, say

PIN = json.dumps({"pcr_bank": "sha256", "pcr_ids": "7"})
TOKEN = "clevis"  # noqa: S105 (a type of LUKS2 tokens)
# Memory: what clevis keeps in files while it works never reaches a disk.
_ENVIRONMENT = {**ENVIRONMENT, "TMPDIR": "/run"}
_SECONDS = 300


def bound(found: Header) -> list[str]:
    """Return the key slots that clevis has bound to a TPM; its other bindings, to servers for instance, are somebody's."""
    return [str(slot) for token in found.tokens(TOKEN) if _pin(token) == "tpm2" for slot in token.get("keyslots", [])]


def empty_tokens(found: Header) -> list[str]:
    """Return the numbers of clevis's tokens whose slot is gone: an unbinding that the power cut."""
    tokens = found.metadata.get("tokens", {})
    return [number for number, token in tokens.items() if token.get("type") == TOKEN and not token.get("keyslots")]


def _pin(token: dict[str, Any]) -> str:
    """Return the pin named by a token: the protected header of its JWE (RFC 7516, section 4) in base64url."""
    text = str((token.get("jwe") or {}).get("protected") or "")
    try:
        read = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return str(read["clevis"]["pin"])
    except (ValueError, KeyError, TypeError):
        return ""


def looks_bound(found: Header, slot: str) -> bool:
    """Say whether a slot is derived as clevis does it, which nobody does for a passphrase: PBKDF2 with 1000 rounds."""
    kdf = found.metadata.get("keyslots", {}).get(slot, {}).get("kdf", {})
    return (kdf.get("type"), kdf.get("iterations")) == ("pbkdf2", 1000)


def opens(path: str, slot: str) -> bool:
    """Say whether this machine's TPM gives the key of a slot, as it will at the next start. Activates nothing.

    Raises:
        DiskError: clevis is missing or hangs.
    """
    try:
        done = subprocess.run(
            ["clevis", "luks", "pass", "-d", path, "-s", slot],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_ENVIRONMENT,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DiskError(
            say(N_("« {command} » n'a pas pu s'exécuter : {reason}"), command="clevis", reason=type(error).__name__)
        ) from error
    key = done.stdout.decode(errors="replace").rstrip("\n")
    return bool(key and done.returncode == 0) and opening_slot(path, key, slot) is not None


def bind(path: str, passphrase: str) -> None:
    """Bind a volume to this machine's TPM (PCR 7); the passphrase goes through the standard input."""
    with secret_file(passphrase) as (_name, descriptor):
        os.lseek(descriptor, 0, os.SEEK_SET)
        checked(
            *("clevis", "luks", "bind", "-y", "-f", "-d", path, "-k", "-", "tpm2", PIN),
            stdin=descriptor,
            environment=_ENVIRONMENT,
            seconds=_SECONDS,
        )


def unbind(path: str, slot: str) -> None:
    """Take a binding away, slot and token."""
    checked("clevis", "luks", "unbind", "-f", "-d", path, "-s", slot, environment=_ENVIRONMENT, seconds=_SECONDS)
