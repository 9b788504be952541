"""``antiseche drill`` as typed: what it prints, keeps and returns; the machines are made up."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from antiseche import app, kit
from antiseche.errors import AntisecheError, ExitCode, HostUnreachableError
from antiseche.practice import inventory
from antiseche.practice.answers import load_answers
from antiseche.practice.folder import PracticeFolder
from antiseche.verify import drill
from antiseche.verify.target import Target

PASSWORD = b"un mot de passe de coffre"
GOOD_FILE = {"path": "/etc/hostname", "why": "must-survive", "size": 3, "mtime_ns": 7, "sha256": "aa"}
KNOWN = {"/etc/hostname": {"size": 3, "mtime_ns": 7, "sha256": "aa"}}


class Machines:
    """What each machine answers, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.restored: dict[str, Any] = {
            "files": [GOOD_FILE], "manifest": KNOWN, "missing": [], "erased": True, "seconds": 1.5, "snapshot_files": 9,
            "snapshot": {"id": "ab12", "time": "2026-11-25T11:00:00.123456789+01:00"},
        }  # fmt: skip
        self.broken: dict[tuple[str, str], Exception] = {}

    def ask(self, target: Target, verb: str, request: dict[str, Any], _seconds: int) -> dict[str, Any]:
        self.asked.append((target.name, verb))
        if (target.name, verb) in self.broken:
            raise self.broken[target.name, verb]
        return {"restore": self.restored, "hash": {"hashes": {}}, "record": {}}[verb]


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Machines:
    found = Machines()
    monkeypatch.setattr(drill, "ask", found.ask)
    return found


@pytest.fixture
def practice(tmp_path: Path) -> PracticeFolder:
    """The example practice with its inventory and vaults."""
    folder = PracticeFolder(tmp_path / "tilleuls")
    folder.root.mkdir()
    source = kit.kit_dir() / "inventories/exemple/practice.yml"
    folder.answers_file.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    inventory.build(folder, load_answers(folder), lambda _create: PASSWORD)
    (tmp_path / "password").touch(mode=0o600)
    (tmp_path / "password").write_bytes(PASSWORD)
    return folder


def run(practice: PracticeFolder, *options: str) -> int:
    access = ["--vault-password-file", str(practice.root.parent / "password")]
    return app.main(["drill", str(practice.root), *options, *access])


def test_every_machine_is_drilled_elsewhere_and_recorded(
    practice: PracticeFolder, machines: Machines, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(practice) == ExitCode.OK
    assert machines.asked == [("serveur", "restore"), ("accueil", "record"), ("accueil", "restore"), ("serveur", "record")]
    out = capsys.readouterr().out
    assert "accueil : restauration vérifiée" in out
    assert "1 fichier comparé, 1 identique" in out
    assert len(list((practice.root / "drills").glob("*.json"))) == 2


def test_the_document_holds_the_records(practice: PracticeFolder, machines: Machines, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(practice, "--host", "accueil", "--requester", "Dr Exemple", "--json") == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    (entry,) = document["drills"]
    assert (document["exit_code"], entry["status"], entry["requester"]) == (0, "verified", "Dr Exemple")
    assert entry["operator"] == "Prestataire Exemple"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"files": []}, "rien n'a pu être comparé"),
        ({"manifest": {}}, "rien n'a pu être comparé"),
        ({"files": [{**GOOD_FILE, "sha256": "bb"}]}, "contenu différent : /etc/hostname"),
        ({"files": [GOOD_FILE, {**GOOD_FILE, "path": "/x", "sha256": None}]}, "n'est pas revenu : /x"),
        ({"missing": ["/srv/perdu"]}, "devait survivre, et n'est pas dans la sauvegarde : /srv/perdu"),
        ({"erased": False}, "n'ont pas pu être effacés"),
    ],
)
def test_what_proves_nothing_or_finds_harm_ends_with_3(
    practice: PracticeFolder, machines: Machines, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: str
) -> None:
    machines.restored.update(changes)
    assert run(practice, "--host", "accueil") == ExitCode.NOT_CONFORMING
    assert words in capsys.readouterr().out
    (record,) = (practice.root / "drills").glob("*.json")
    assert json.loads(record.read_text(encoding="utf-8"))["status"] == "not-verified"


@pytest.mark.parametrize(
    ("error", "code"),
    [(HostUnreachableError("serveur est injoignable"), 4), (drill.DrillFailedError("Rien n'a pu être restauré"), 5)],
)
def test_a_drill_that_restores_nothing_keeps_no_record(
    practice: PracticeFolder, machines: Machines, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    machines.broken["serveur", "restore"] = error
    assert run(practice) == code
    assert f"accueil : exercice manqué. {error}" in capsys.readouterr().out
    assert ("accueil", "restore") in machines.asked, "the other machine is drilled all the same"


def test_a_fault_of_ours_weighs_more_than_a_machine_that_is_off(
    practice: PracticeFolder, machines: Machines, capsys: pytest.CaptureFixture[str]
) -> None:
    machines.broken["serveur", "restore"] = AntisecheError("disque défaillant")
    machines.broken["accueil", "restore"] = HostUnreachableError("accueil est injoignable")
    assert run(practice) == ExitCode.FAILURE
    capsys.readouterr()


def test_a_machine_that_is_off_is_judged_by_its_manifest(
    practice: PracticeFolder, machines: Machines, capsys: pytest.CaptureFixture[str]
) -> None:
    machines.broken["accueil", "record"] = HostUnreachableError("accueil est injoignable")
    assert run(practice, "--host", "accueil") == ExitCode.OK
    assert "n'a pas pu être noté sur la machine : accueil est injoignable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "cabinet-1"), "n'est pas parmi les machines sauvegardées"),
        (("--host", "accueil", "--on", "accueil"), "ne peut pas se faire"),
        (("--host", "accueil", "--offsite"), "Aucune copie distante"),
        (("--sample", "0"), "--sample"),
    ],
)
def test_what_cannot_be_is_refused_before_any_machine_is_asked(
    practice: PracticeFolder, machines: Machines, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    assert run(practice, *options) == ExitCode.USAGE
    assert words in capsys.readouterr().err
    assert machines.asked == []
    assert not (practice.root / "drills").exists()


def test_a_practice_without_backups_is_told_what_to_answer(
    practice: PracticeFolder, machines: Machines, capsys: pytest.CaptureFixture[str]
) -> None:
    before, _backup, after = re.split(
        r"^(backup:\n(?:[ ].*\n|\n)*)", practice.answers_file.read_text(encoding="utf-8"), flags=re.M
    )
    practice.answers_file.write_text(before + after, encoding="utf-8")
    assert run(practice) == ExitCode.USAGE
    assert "ne déclare aucune sauvegarde" in capsys.readouterr().err
