"""``antiseche escrow``: keys and headers leave the vault only where they are asked for."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import pytest
import yaml
from command_line import say

from antiseche.practice import escrow
from antiseche.practice.secrets import Vault

PASSWORD = b"essai"
KEYS = escrow.with_keys({}, ["donnees"])[escrow.KEYS]
ANSWERS = {
    "version": 1,
    "practice": {"id": "tilleuls", "name": "Cabinet des Tilleuls"},
    "people": [{"login": "cexemple", "name": "Dr Camille Exemple", "function": "doctor"}],
    "hosts": [
        {
            "name": "serveur",
            "kind": "server",
            "system": "debian13",
            "address": "192.168.42.2",
            "users": ["cexemple"],
            "data_disks": [{"name": "donnees", "device": "/dev/vdb", "mount": "/srv/donnees"}],
        }
    ],
    "network": {"lan": "192.168.42.0/24"},
    "maintenance": {
        "contractor": "Prestataire Exemple",
        "account": "antiseche",
        "addresses": ["192.168.42.200/32"],
        "public_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE3WgC5WKWjujxy22vCJNo5yps7svkprtAw75EuMvRe2 exemple"],
    },
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "tilleuls"
    host = root / "inventory" / "host_vars" / "serveur"
    host.mkdir(parents=True)
    (root / "practice.yml").write_text(yaml.safe_dump(ANSWERS), encoding="utf-8")
    (host / "vault.yml").write_text(Vault(PASSWORD).encrypt({escrow.KEYS: KEYS}), encoding="utf-8")
    password = tmp_path / "password"
    password.write_bytes(PASSWORD)
    password.chmod(0o600)
    monkeypatch.setenv("ANTISECHE_VAULT_PASSWORD_FILE", str(password))
    return root


def keep_header(folder: Path) -> bytes:
    content = b"LUKS\xba\xbe\0\2" + bytes(160) + KEYS["donnees"]["uuid"].encode().ljust(40, b"\0") + bytes(4096)
    data = base64.b64encode(zlib.compress(content)).decode()
    place = folder / "escrow" / "serveur"
    place.mkdir(parents=True)
    values = {"name": "donnees", "device": "/dev/vdb", "data": data}
    (place / f"donnees.{'0' * 64}.header").write_text(Vault(PASSWORD).encrypt(values), encoding="utf-8")
    return content


@pytest.mark.parametrize("name", ["secours.pdf", "secours.html", "secours.txt"])
def test_the_sheet_goes_to_a_file_that_nobody_else_reads(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    before = set(tmp_path.rglob("*"))
    said = say(capsys, "escrow", "print", str(folder), "--output", str(tmp_path / name))
    assert said.code == 0, said.err
    assert set(tmp_path.rglob("*")) - before == {tmp_path / name}
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert KEYS["donnees"]["recovery_key"] not in said.out + said.err
    assert "effacez le fichier" in said.err


def test_the_sheet_on_the_standard_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = say(capsys, "escrow", "print", str(folder))
    assert said.code == 0
    assert KEYS["donnees"]["recovery_key"] in said.out
    assert KEYS["donnees"]["passphrase"] not in said.out


def test_a_screen_gets_no_key_unless_asked(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    said = say(capsys, "escrow", "print", str(folder))
    assert (said.code, said.out) == (2, "")
    assert "--output" in said.err


def test_a_sheet_that_cannot_be_written_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = say(capsys, "escrow", "print", str(folder), "--output", str(folder / "missing" / "secours.pdf"))
    assert said.code == 2
    assert "missing" in said.err
    assert KEYS["donnees"]["recovery_key"] not in said.err


def test_a_wrong_vault_password_gives_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "password").write_bytes(b"autre")
    said = say(capsys, "escrow", "print", str(folder), "--output", str(tmp_path / "secours.pdf"))
    assert said.code == 2
    assert not (tmp_path / "secours.pdf").exists()


def test_a_header_is_given_back_with_the_way_to_restore_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = keep_header(folder)
    place = tmp_path / "header"
    said = say(capsys, "escrow", "header", str(folder), "--host", "serveur", "--volume", "donnees", "--output", str(place))
    assert said.code == 0, said.err
    assert place.read_bytes() == content
    assert place.stat().st_mode & 0o777 == 0o600
    assert "luksHeaderRestore" in said.err


@pytest.mark.parametrize(("host", "volume", "word"), [("accueil", "donnees", "accueil"), ("serveur", "archives", "archives")])
def test_what_is_not_in_the_vault_is_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str, volume: str, word: str
) -> None:
    keep_header(folder)
    place = tmp_path / "header"
    said = say(capsys, "escrow", "header", str(folder), "--host", host, "--volume", volume, "--output", str(place))
    assert said.code == 2
    assert word in said.err
    assert not place.exists()
