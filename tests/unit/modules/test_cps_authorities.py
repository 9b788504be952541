"""Authorities: only the true fingerprints count, whatever a file is called or says of itself."""

from __future__ import annotations

import hashlib
import importlib
import ssl
from pathlib import Path
from typing import Any

import pytest
from module_process import FakeCommands

cas = importlib.import_module("ansible.module_utils.antiseche_cps_authorities")
TRUE, FORGED = b"\x30\x82true", b"\x30\x82forged"


def authority(content: bytes = TRUE, **changed: str) -> dict[str, Any]:
    sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest().upper()
    good = {"name": "racine", "root": True, "sha1": sha1, "sha256": hashlib.sha256(content).hexdigest()[:16].upper()}
    return {**good, **changed}


@pytest.mark.parametrize(
    "content", [TRUE, ssl.DER_cert_to_PEM_cert(TRUE).encode(), b"\n" + ssl.DER_cert_to_PEM_cert(TRUE).encode()]
)
def test_der_and_pem_are_the_same_certificate(content: bytes) -> None:
    assert cas.der(content) == TRUE


@pytest.mark.parametrize("content", [b"", b"text", b"-----BEGIN CERTIFICATE-----\n\xe9\n", b"-----BEGIN CERTIFICATE-----\nAA"])
def test_what_is_no_certificate_is_passed_over(content: bytes) -> None:
    assert cas.der(content) == b""


@pytest.mark.parametrize(
    "wrong", [{"sha1": "00" * 20}, {"sha256": "00" * 8}, {"sha256": hashlib.sha256(FORGED).hexdigest()[:16]}], ids=str
)
def test_both_fingerprints_must_be_right(wrong: dict[str, str]) -> None:
    assert cas.matches(TRUE, authority())
    assert not cas.matches(FORGED, authority())
    assert not cas.matches(TRUE, authority(**wrong))


def test_too_few_digits_are_no_fingerprint() -> None:
    with pytest.raises(cas.AuthorityError, match="16 digits"):
        cas.matches(TRUE, authority(sha256=hashlib.sha256(TRUE).hexdigest()[:15]))


def test_the_folder_is_searched_by_fingerprint_not_by_name(tmp_path: Path) -> None:
    (tmp_path / "ACR_EL_20130625.cer").write_bytes(FORGED)
    (tmp_path / "any.bin").write_bytes(TRUE)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.cer").symlink_to("/etc/passwd")
    (tmp_path / "huge.cer").write_bytes(b"\x30" * (cas.MOST_BYTES + 1))
    texts, missing = cas.found([authority(), authority(b"\x30absent", name="autre")], tmp_path)
    assert texts == {"racine": ssl.DER_cert_to_PEM_cert(TRUE)}
    assert missing == ["autre"]


def test_trusting_writes_what_was_found_and_renews_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: FakeCommands
) -> None:
    commands.add("update-ca-certificates")
    monkeypatch.setattr(cas, "TRUSTED", tmp_path / "trusted")
    text = ssl.DER_cert_to_PEM_cert(TRUE)
    assert cas.untrusted({"racine": text}) == ["racine"]
    cas.trust({"racine": text})
    assert cas.untrusted({"racine": text}) == []
    assert cas.trusted_path("racine").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in (tmp_path / "trusted").iterdir()] == ["racine.crt"]
    assert commands.calls == ["update-ca-certificates "]
    cas.trusted_path("racine").write_text("other")
    assert cas.untrusted({"racine": text}) == ["racine"]


def test_a_store_that_cannot_be_renewed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: FakeCommands
) -> None:
    commands.add("update-ca-certificates", "echo no room >&2; exit 1")
    monkeypatch.setattr(cas, "TRUSTED", tmp_path / "trusted")
    with pytest.raises(cas.AuthorityError, match="no room"):
        cas.trust({"racine": "text"})
