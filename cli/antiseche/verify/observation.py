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
# Nothing that a machine answers may carry a secret into the evidence. What only looks like one (public keys, digests,
# the names of options) stays: it is what was observed.
_NAME = r"(?:pass(?:word|wd|phrase)|pwd|mdp|secret|token|jeton|api[_-]?key)"
_MASKS = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,20}-----.*?(?:-----END [^\n]{0,80}-----|\Z)", re.DOTALL), "***"),
    (re.compile(r"\$ANSIBLE_VAULT;[^\n]*(?:\n[0-9a-f]+(?=\n|\Z))*"), "***"),
    # $kind$salt$hash, whatever the kind; then the old hashes without a kind, in a line of /etc/shadow
    (re.compile(r"\$([A-Za-z0-9-]{1,16})\$[./A-Za-z0-9$=,+-]{8,}"), r"$\1$***"),
    (re.compile(r"(?<![\w.:-])([\w.-]{1,64}:[!*]{0,2})[./0-9A-Za-z]{13}(:\d*:)"), r"\1***\2"),
    (re.compile(r"\b(\w{1,20}://[^\s:/@]{0,100}:)[^\s@/]{1,200}@"), r"\1***@"),
    (re.compile(r"\b(bearer|basic)\s{1,5}[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), r"\1 ***"),
    # first passwords of the kit: four groups of four
    (re.compile(r"(?<![\w-])[A-Za-z0-9]{4}(?:-[A-Za-z0-9]{4}){3}(?![\w-])"), "***"),
)
_NAMED = re.compile(
    rf"((?<![A-Za-z]){_NAME}[\"']?\s{{0,5}}[:=]\s{{0,5}}|(?<!-)--{_NAME}\s{{1,5}})"
    r"(?:\"[^\"\n]{1,500}\"|'[^'\n]{1,500}'|[^\s,;\"']{6,500})",
    re.IGNORECASE,
)


def canonical(value: Any) -> bytes:
    """Return one byte string per value: sorted keys, no spaces, UTF-8 (the subset of RFC 8785 without floats)."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def leaf_digest(salt: str, value: dict[str, Any]) -> str:
    """Return ``sha256(0x00 || canonical([salt, value]))``: a redacted copy can still be checked against it."""
    return hashlib.sha256(b"\x00" + canonical([salt, value])).hexdigest()


def masked(text: str) -> str:
    """Hide password hashes, private keys, tokens, and values that are named as secrets."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return _NAMED.sub(r"\1***", text)


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
