"""What a full machine has more than a container: read, kept, refused where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiseche.errors import AnswersError
from antiseche.lab import labs
from antiseche.lab.labs import Lab
from antiseche.lab.model import Equipment, LabState, Machine, MachineSpec, parse_machine


@pytest.mark.parametrize(
    ("text", "address", "equipment"),
    [
        ("web:debian13:disk=512M", "", Equipment((512,))),
        ("web:debian13:disk=2G:disk=64M:reader", "", Equipment((2048, 64), card_reader=True)),
        ("web:debian12:10.213.7.9:reader", "10.213.7.9", Equipment(card_reader=True)),
        ("web:debian13:encrypted:disk=64M", "", Equipment((64,), encrypted_system=True)),
        ("web:debian12:reader:10.213.7.9", "10.213.7.9", Equipment(card_reader=True)),
    ],
)
def test_equipment_is_read(text: str, address: str, equipment: Equipment) -> None:
    spec = parse_machine(text)
    assert (spec.address, spec.equipment) == (address, equipment)


@pytest.mark.parametrize(
    "words",
    ["disk=", "disk=0G", "disk=1", "disk=1T", "disk=-1G", "disk=12345G", "disk=1G ", "10.0.0.1:10.0.0.2", "reader:nonsense:x"],
)
def test_wrong_equipment_is_a_usage_error(words: str) -> None:
    with pytest.raises(AnswersError):
        parse_machine(f"web:debian13:{words}")


def test_equipment_and_driver_survive_the_disk() -> None:
    machine = Machine("web", "debian13", "10.213.7.10", "ssh-ed25519 AAAA", 1, Equipment((64, 128), True, True))
    state = LabState("demo", 7, "10.213.7.0/24", {"web": machine}, driver="qemu")
    assert LabState.from_json(state.as_json()) == state


def test_a_lab_written_before_full_machines_existed_is_made_of_containers() -> None:
    data = LabState("demo", 7, "10.213.7.0/24", {"web": Machine("web", "debian13", "10.213.7.10", "", 1)}).as_json()
    del data["driver"], data["machines"]["web"]["disks"], data["machines"]["web"]["card_reader"]
    state = LabState.from_json(data)
    assert state.driver == "nspawn"
    assert state.machines["web"].equipment == Equipment()


def test_a_container_has_no_card_to_pull(tmp_path: Path) -> None:
    lab = Lab(LabState("demo", 7, "10.213.7.0/24"), tmp_path)
    with pytest.raises(AnswersError, match="--driver qemu"):
        lab.full()


@pytest.mark.parametrize("equipment", [Equipment((64,)), Equipment(card_reader=True)])
def test_a_container_is_refused_disks_and_a_reader(equipment: Equipment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTISECHE_LAB", str(tmp_path))
    with pytest.raises(AnswersError, match="--driver qemu"):
        labs._planned("demo", [MachineSpec("web", "debian13", equipment=equipment)], "10.213.7.0/24")


def test_a_lab_keeps_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTISECHE_LAB", str(tmp_path))
    labs._save(labs._planned("demo", [], "10.213.7.0/24"))
    with pytest.raises(AnswersError, match="d'un autre genre"):
        labs._planned("demo", [], "10.213.7.0/24", "qemu")
