"""Labs on disk: what is listed, found and reserved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiseche.lab import labs
from antiseche.lab.model import LabError, LabState


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(labs, "state_root", lambda: tmp_path)
    return tmp_path


def keep(root: Path, state: LabState) -> None:
    folder = root / state.name
    folder.mkdir()
    (folder / "lab.json").write_text(json.dumps(state.as_json()), encoding="utf-8")


def test_a_lab_of_another_version_stops_nothing_and_keeps_its_network(root: Path) -> None:
    keep(root, LabState("ici", 1, "10.213.1.0/24"))
    keep(root, LabState("ailleurs", 2, "10.213.2.0/24", driver="inconnu"))
    assert [lab.name for lab in labs.all_labs()] == ["ici"]
    with pytest.raises(LabError, match="ailleurs"):
        labs.find("ailleurs")
    new = labs._new_state("neuf", None)
    assert new.index not in (1, 2)
    assert new.subnet not in ("10.213.1.0/24", "10.213.2.0/24")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "x"}', '{"name": 3, "index": "a"}'])
def test_a_lab_that_cannot_be_read_is_passed_over(root: Path, text: str) -> None:
    (root / "casse").mkdir()
    (root / "casse" / "lab.json").write_text(text, encoding="utf-8")
    assert labs.all_labs() == []
