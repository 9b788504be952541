"""Observations: what the machine answered to one command, masked, capped, and committed to by a salted digest."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

KEPT_BYTES = 4096
# Password hashes and private keys: nothing that a machine answers may carry them into the evidence.
_MASKS = (
    (re.compile(r"\$(y|gy|1|2[aby]|5|6|7|sha1)\$[^\s:,'\"]+"), r"$\1$***"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), "***"),
)


def canonical(value: Any) -> bytes:
    """Return one byte string per value: sorted keys, no spaces, UTF-8 (the subset of RFC 8785 without floats)."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def leaf_digest(salt: str, value: dict[str, Any]) -> str:
    """Return ``sha256(0x00 || canonical([salt, value]))``: a redacted copy can still be checked against it."""
    return hashlib.sha256(b"\x00" + canonical([salt, value])).hexdigest()


def masked(text: str) -> str:
    """Hide password hashes and private keys."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


@dataclass(frozen=True)
class Observation:
    """One command and its answer."""

    leaf: str
    salt: str
    value: dict[str, Any] = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """Return the line of ``observations.jsonl``."""
        return {"leaf": self.leaf, "salt": self.salt, "value": self.value}


def observe(host: str, command: str, rc: int, stdout: bytes, stderr: bytes) -> Observation:
    """Keep what a host answered. The digest of the output is taken after masking, before capping."""
    out, err = (masked(stream.decode("utf-8", "replace")) for stream in (stdout, stderr))
    value = {
        "host": host,
        "command": masked(command)[:KEPT_BYTES],
        "rc": rc,
        "stdout": out[:KEPT_BYTES],
        "stdout_sha256": hashlib.sha256(out.encode()).hexdigest(),
        "stderr": err[: KEPT_BYTES // 4],
        "collected_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    salt = secrets.token_hex(16)
    return Observation(leaf_digest(salt, value), salt, value)
