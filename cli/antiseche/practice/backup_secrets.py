"""Secrets of the backups: made once, in the vault, and never made again.

A lost repository password loses every backup of the machine: nothing here ever replaces one. The server's key is kept too;
its certificate, which is no secret, is written again when the server's address changes.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ipaddress
import secrets
from typing import Any

from antiseche.practice.schema import Host, Practice

REPOSITORY = "backup repository"  # labels of the index, beside logins, which hold no space
SERVER = "backup server "
OFFSITE = "backup offsite key"
_BYTES = 24
# Kept long: what expires silently stops backups. Its trust is the pin, not the date.
_VALID = (dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2100, 1, 1, tzinfo=dt.UTC))


def wanted(practice: Practice, host: Host) -> list[str]:
    """Return which of these secrets a host's vault must hold, as labels."""
    answers = practice.backup
    if answers is None:
        return []
    labels = [REPOSITORY] if any(item.host == host.name for item in answers.hosts) else []
    if answers.server != host.name:
        return labels
    by_key = answers.offsite is not None and answers.offsite.kind == "sftp"
    return [*labels, f"{SERVER}{host.address}", *([OFFSITE] if by_key else [])]


def held(values: dict[str, Any]) -> list[str]:
    """Return the labels of what a vault holds."""
    labels = [REPOSITORY] if {"backup_password", "backup_rest_password", "backup_rest_hash"} <= values.keys() else []
    labels += [OFFSITE] if values.get("backup_offsite_key") else []
    address = values.get("backup_tls_address")
    return labels + ([f"{SERVER}{address}"] if {"backup_tls_key", "backup_tls_certificate"} <= values.keys() and address else [])


def with_secrets(values: dict[str, Any], labels: list[str]) -> dict[str, Any]:
    """Return the secrets of a host with those that were missing."""
    missing = [label for label in labels if label not in held(values)]
    completed = dict(values)
    for label in missing:
        if label == REPOSITORY:
            password = values.get("backup_rest_password") or secrets.token_urlsafe(_BYTES)
            completed.setdefault("backup_password", secrets.token_urlsafe(_BYTES))
            completed.update(backup_rest_password=password, backup_rest_hash=htpasswd_hash(password))
        elif label == OFFSITE:
            completed.update(backup_offsite_key=offsite_key())
        else:
            address = label.removeprefix(SERVER)
            key, certificate = server_certificate(address, values.get("backup_tls_key"))
            completed.update(backup_tls_key=key, backup_tls_certificate=certificate, backup_tls_address=address)
    return completed


def offsite_key() -> str:
    """Return a new Ed25519 private key in OpenSSH's own form, without a passphrase: the vault guards it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    form = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    return Ed25519PrivateKey.generate().private_bytes(*form).decode()


def offsite_public_key(values: dict[str, Any], name: str) -> str | None:
    """Return the line that the provider of the off-site copy gets; None when the vault has no key that can be read.

    Args:
        values: of the server's vault.
        name: comment of the line: whose key it is.
    """
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_ssh_private_key(str(values["backup_offsite_key"]).encode(), password=None)
    except (KeyError, ValueError, TypeError):
        return None
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"{public.decode()} {name}\n"


def htpasswd_hash(password: str) -> str:
    """Return the form that rest-server reads. Unsalted and fast is enough: these passwords are 192 random bits."""
    return "{SHA}" + base64.b64encode(hashlib.sha1(password.encode(), usedforsecurity=False).digest()).decode()


def server_certificate(address: str, key_pem: str | None) -> tuple[str, str]:
    """Return a P-256 private key (PKCS #8, PEM) and its own certificate for an address; a key that exists is used again."""
    # Imported here: an unchanged inventory does not need them.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    if key_pem is None:
        key = ec.generate_private_key(ec.SECP256R1())
    else:
        loaded = serialization.load_pem_private_key(key_pem.encode(), password=None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        key = loaded
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "antiseche-backup")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID[0])
        .not_valid_after(_VALID[1])
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return private, certificate.public_bytes(serialization.Encoding.PEM).decode()
