"""Keys of encrypted volumes: in the vault before anything else, the same for ever."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from inventory_samples import PASSWORD, SAMPLE
from pydantic import ValidationError

from antiseche.errors import AnswersError
from antiseche.practice import escrow, escrow_sheet, inventory, rules
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Practice
from antiseche.practice.secrets import Vault

DISK = {"name": "donnees", "device": "/dev/disk/by-id/ata-EXEMPLE_1", "mount": "/srv/donnees"}


def practice(*disks: dict[str, Any]) -> Practice:
    values = copy.deepcopy(SAMPLE)
    values["hosts"][2]["data_disks"] = list(disks)
    return Practice.model_validate(values)


def build(folder: PracticeFolder, answers: Practice) -> inventory.InventoryReport:
    return inventory.build(folder, answers, lambda _create: PASSWORD)


def stored(folder: PracticeFolder) -> dict[str, Any]:
    return Vault(PASSWORD).read(folder.inventory_dir / "host_vars" / "serveur" / "vault.yml")


def test_a_key_has_the_form_of_systemds() -> None:
    key = escrow.new_key()
    assert re.fullmatch(r"([cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8}", key)
    assert key != escrow.new_key()


def test_keys_are_in_the_vault_and_never_change(tmp_path: Path) -> None:
    folder = PracticeFolder(tmp_path)
    build(folder, practice())
    assert escrow.KEYS not in stored(folder)
    report = build(folder, practice(DISK))
    assert report.new_secrets == {"serveur": ["volume donnees"]}
    first = stored(folder)[escrow.KEYS]["donnees"]
    assert first.keys() == {"uuid", "passphrase", "recovery_key"}
    assert first["passphrase"] != first["recovery_key"]
    assert build(folder, practice(DISK)).current
    build(folder, practice(DISK, {"name": "images", "device": "/dev/vdc", "mount": "/srv/images"}))
    assert stored(folder)[escrow.KEYS]["donnees"] == first
    # A disk that leaves the answers keeps its keys: it still carries data.
    build(folder, practice())
    assert stored(folder)[escrow.KEYS]["donnees"] == first
    for path in folder.inventory_dir.rglob("*"):
        if path.is_file():
            assert first["passphrase"] not in path.read_text(encoding="utf-8")


def test_a_recovery_key_for_a_system_disk_whose_passphrase_was_given() -> None:
    given = {escrow.ROOT: {"passphrase": "celle du poste"}}
    assert escrow.missing(given, []) == ["/"]
    completed = escrow.with_keys(given, [])
    assert completed[escrow.ROOT]["passphrase"] == "celle du poste"
    assert escrow.missing(completed, []) == []
    assert escrow.with_keys(completed, []) == completed


@pytest.mark.parametrize("odd", [None, [], "x", {"donnees": "x"}, {"donnees": {"uuid": "u"}}])
def test_odd_contents_of_a_vault_are_completed(odd: Any) -> None:
    values = {escrow.KEYS: odd}
    assert escrow.missing(values, ["donnees"]) == ["donnees"]
    assert escrow.missing(escrow.with_keys(values, ["donnees"]), ["donnees"]) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("device", "/dev/sda"),
        ("device", "/dev/sdb1"),
        ("device", "/dev/disk/by-id/../sda"),
        ("device", "/dev/disk/by-uuid/x"),
        ("device", "sdb"),
        ("device", "/dev/nvme0n1p1"),
        ("mount", "/"),
        ("mount", "/etc"),
        ("mount", "/srv"),
        ("mount", "/srv/../etc"),
        ("mount", "/srv/a b"),
        ("name", "Données"),
        ("discard", "peut-être"),
    ],
)
def test_wrong_disks_are_refused(field: str, value: str) -> None:
    with pytest.raises(ValidationError):
        practice({**DISK, field: value})


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({"device": "/dev/vdc", "mount": "/srv/b"}, "ce volume figure déjà"),
        ({"name": "b", "mount": "/srv/b"}, "ce disque figure déjà"),
        ({"name": "b", "device": "/dev/vdc"}, "sert déjà à un autre volume"),
        ({"name": "b", "device": "/dev/vdc", "mount": "/srv/donnees/b"}, "à l'intérieur d'un autre volume"),
    ],
)
def test_disks_that_disturb_each_other_are_told(other: dict[str, str], word: str) -> None:
    found = rules.check(practice(DISK, {**DISK, **other}))
    assert any(word in str(one) for one in found)


def test_the_sheet_holds_recovery_keys_and_no_passphrase(tmp_path: Path) -> None:
    folder = PracticeFolder(tmp_path)
    build(folder, practice(DISK))
    keys = stored(folder)[escrow.KEYS]["donnees"]
    sheet = escrow_sheet.sheet_for(folder, practice(DISK), Vault(PASSWORD))
    for text in (escrow_sheet.as_text(sheet), escrow_sheet.as_html(sheet)):
        assert keys["recovery_key"] in text
        assert keys["passphrase"] not in text
    assert keys["recovery_key"] not in repr(sheet)


def test_no_sheet_before_the_key_is_in_the_vault(tmp_path: Path) -> None:
    folder = PracticeFolder(tmp_path)
    build(folder, practice())
    with pytest.raises(AnswersError, match="rien à mettre"):
        escrow_sheet.sheet_for(folder, practice(), Vault(PASSWORD))
    with pytest.raises(AnswersError, match="n'a pas encore la clé"):
        escrow_sheet.sheet_for(folder, practice(DISK), Vault(PASSWORD))


@pytest.mark.parametrize("root", [{}, {"passphrase": ""}, {"recovery_key": ""}, "text", None])
def test_a_system_disk_written_into_the_vault_by_halves_has_no_row(root: object, tmp_path: Path) -> None:
    folder = PracticeFolder(tmp_path)
    build(folder, practice(DISK))
    path = folder.inventory_dir / "host_vars" / "serveur" / "vault.yml"
    vault = Vault(PASSWORD)
    path.write_text(vault.encrypt({**vault.read(path), escrow.ROOT: root}), encoding="utf-8")
    sheet = escrow_sheet.sheet_for(folder, practice(DISK), vault)
    assert [row.volume for row in sheet.rows] == ["donnees"]
