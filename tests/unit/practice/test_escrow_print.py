"""The envelope's PDF, and the copies of headers: what their files hold."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from inventory_samples import PASSWORD

from antiseche import i18n
from antiseche.errors import AnswersError
from antiseche.practice import escrow, escrow_header, escrow_print
from antiseche.practice.escrow_sheet import KeyRow, KeySheet
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.secrets import Vault, VaultError

KEY = "-".join(["cbdefghi"] * 8)
UUID = "5f0c1f0e-0d4b-4c52-9d3e-7f2f3a9b1c11"
VAULT = Vault(PASSWORD)


def sheet(name: str = "Cabinet des Tilleuls", rows: int = 1) -> KeySheet:
    return KeySheet(name, "Prestataire Exemple", "", tuple(KeyRow("serveur", f"v{n}", UUID, KEY) for n in range(rows)))


def test_the_pdf_is_tagged_and_carries_its_fonts() -> None:
    made = escrow_print.as_pdf(sheet())
    assert made.startswith(b"%PDF-")
    for mark in (b"/StructTreeRoot", b"/FontFile", b"/Lang"):
        assert mark in made


def test_the_language_of_the_pdf_is_that_of_its_reader() -> None:
    i18n.select("en")
    try:
        assert b"(en)" in escrow_print.as_pdf(sheet())
    finally:
        i18n.select("fr")
    assert b"(fr)" in escrow_print.as_pdf(sheet())


@pytest.mark.parametrize("name", ['#panic("x")', "$ a [ b ] \\", "*_`@ref <a> // \" '", "#sys.inputs", "=" * 200, "é" * 60])
def test_nothing_in_a_name_is_markup(name: str) -> None:
    assert escrow_print.as_pdf(sheet(name)).startswith(b"%PDF-")


def test_many_keys_take_more_pages_than_one() -> None:
    def pages(made: bytes) -> int:
        return made.count(b"/Type/Page") - made.count(b"/Type/Pages")

    assert pages(escrow_print.as_pdf(sheet(rows=30))) > pages(escrow_print.as_pdf(sheet())) >= 1


@pytest.mark.parametrize("key", [KEY, "abc", "a-b", "a-b-c-d", "a-b-c-d-e"])
def test_lines_put_together_are_the_key(key: str) -> None:
    lines = escrow_print.in_lines(key)
    assert "".join(lines) == key
    assert all(line.endswith("-") for line in lines[:-1])


@pytest.mark.parametrize(
    ("suffix", "start"), [(".pdf", b"%PDF"), (".PDF", b"%PDF"), (".html", b"<!DOCTYPE"), (".txt", b"CONFID"), ("", b"CONFID")]
)
def test_the_suffix_chooses_the_form(suffix: str, start: bytes) -> None:
    assert escrow_print.rendered(sheet(), suffix).startswith(start)


# Copies of headers


@pytest.fixture
def folder(tmp_path: Path) -> PracticeFolder:
    found = PracticeFolder(tmp_path)
    place = found.inventory_dir / "host_vars" / "serveur"
    place.mkdir(parents=True)
    (place / "vault.yml").write_text(VAULT.encrypt({escrow.KEYS: {"donnees": {"uuid": UUID}}}), encoding="utf-8")
    return found


def content(sequence: int, uuid: str = UUID) -> bytes:
    start = b"LUKS\xba\xbe\0\2" + (0x4000).to_bytes(8, "big") + sequence.to_bytes(8, "big")
    return start + bytes(144) + uuid.encode().ljust(40, b"\0") + bytes(4096)


def keep(folder: PracticeFolder, sequence: int, name: str = "donnees", uuid: str = UUID, **changed: Any) -> Path:
    data = base64.b64encode(zlib.compress(content(sequence, uuid))).decode()
    values = {"name": name, "device": "/dev/vdb", "data": data, "digest": "", **changed}
    path = folder.root / "escrow" / "serveur" / f"{name}.{sequence:064x}.header"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(VAULT._lib.encrypt(json.dumps(values).encode()))
    return path


def test_the_newest_copy_is_the_one_of_the_last_change(folder: PracticeFolder) -> None:
    for sequence in (3, 12, 7):
        keep(folder, sequence)
    kept = escrow_header.newest(folder, "serveur", "donnees", VAULT)
    assert (kept.content, kept.device) == (content(12), "/dev/vdb")
    assert "LUKS" not in repr(kept)


def test_a_copy_of_an_older_volume_of_that_name_is_none_of_it(folder: PracticeFolder) -> None:
    keep(folder, 99, uuid="11111111-0d4b-4c52-9d3e-7f2f3a9b1c11")
    with pytest.raises(AnswersError, match="Aucune copie"):
        escrow_header.newest(folder, "serveur", "donnees", VAULT)


@pytest.mark.parametrize("volume", ["archives", "", "../serveur/donnees", "/etc/passwd", "donnee*", "donnees."])
def test_a_volume_without_a_copy_is_said_to_have_none(folder: PracticeFolder, volume: str) -> None:
    keep(folder, 1)
    with pytest.raises(AnswersError, match="Aucune copie"):
        escrow_header.newest(folder, "serveur", volume, VAULT)


@pytest.mark.parametrize(
    "data", ["", "%%%", base64.b64encode(b"x").decode(), base64.b64encode(zlib.compress(b"no header")).decode()]
)
def test_a_damaged_copy_is_named(folder: PracticeFolder, data: str) -> None:
    path = keep(folder, 1, data=data)
    with pytest.raises(AnswersError, match=path.name[:20]):
        escrow_header.newest(folder, "serveur", "donnees", VAULT)


def test_another_password_opens_no_copy(folder: PracticeFolder) -> None:
    keep(folder, 1)
    (folder.inventory_dir / "host_vars" / "serveur" / "vault.yml").unlink()
    with pytest.raises(VaultError):
        escrow_header.newest(folder, "serveur", "donnees", Vault(b"autre"))
