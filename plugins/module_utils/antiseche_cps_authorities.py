# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""The IGC-Santé authorities: taken from the middleware's own files, and only those whose fingerprints are right."""

from __future__ import annotations

import hashlib
import os
import ssl
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VAULT = Path("/etc/opt/santesocial/CPS/Coffre")  # where the middleware keeps its authorities
TRUSTED = Path("/usr/local/share/ca-certificates/antiseche-igc-sante")
MOST_BYTES = 65536
SECONDS = 120


class AuthorityError(RuntimeError):
    """An authority cannot be installed."""


def der(content: bytes) -> bytes:
    """Return a certificate's bytes, whether it was written in DER or in PEM; empty when it is neither."""
    if b"-----BEGIN CERTIFICATE-----" in content:
        try:
            return ssl.PEM_cert_to_DER_cert(content.decode("ascii").strip())
        except ValueError:
            return b""
    return content if content.startswith(b"\x30") else b""


def matches(certificate: bytes, authority: Mapping[str, Any]) -> bool:
    """Say whether a certificate has the fingerprints of an authority: the whole SHA-1, and the known start of SHA-256."""
    start = str(authority["sha256"]).lower()
    if len(start) < 16:
        raise AuthorityError(f"{authority['name']}: at least 16 digits of SHA-256 are needed")
    sha1 = hashlib.sha1(certificate, usedforsecurity=False).hexdigest()
    return sha1 == str(authority["sha1"]).lower() and hashlib.sha256(certificate).hexdigest().startswith(start)


def found(authorities: list[dict[str, Any]], folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return the PEM text of each authority that the folder holds, by name, and the names of those that it lacks."""
    certificates = [der(path.read_bytes()) for path in sorted(folder.glob("*")) if _readable(path)]
    texts: dict[str, str] = {}
    for authority in authorities:
        for certificate in certificates:
            if certificate and matches(certificate, authority):
                texts[str(authority["name"])] = ssl.DER_cert_to_PEM_cert(certificate)
    return texts, [str(authority["name"]) for authority in authorities if authority["name"] not in texts]


def _readable(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size <= MOST_BYTES


def trusted_path(name: str) -> Path:
    """Return where an authority lies once it is trusted."""
    return TRUSTED / f"{name}.crt"


def untrusted(texts: Mapping[str, str]) -> list[str]:
    """Return the names whose file is missing or holds something else."""
    return [name for name, text in texts.items() if not _holds(trusted_path(name), text)]


def _holds(path: Path, text: str) -> bool:
    try:
        return not path.is_symlink() and path.read_text(encoding="ascii") == text
    except (OSError, UnicodeDecodeError):
        return False


def trust(texts: Mapping[str, str]) -> None:
    """Write the files and renew the system's store.

    Raises:
        AuthorityError: update-ca-certificates failed.
    """
    TRUSTED.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, text in texts.items():
        descriptor, temporary = tempfile.mkstemp(dir=TRUSTED, prefix=".new-")
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(trusted_path(name))
    done = subprocess.run(
        ["update-ca-certificates"], capture_output=True, text=True, errors="replace", check=False, timeout=SECONDS
    )
    if done.returncode:
        raise AuthorityError(f"update-ca-certificates: {done.stderr.strip()[-200:]}")
