"""``verify`` as typed: what it prints, writes and returns."""

from __future__ import annotations

import re
from typing import Any

import pytest
import scene as scenes
from scene import Scene
from stage import FAIL, KEY, Stage

from antiseche.commands import checking
from antiseche.errors import ExitCode
from antiseche.evidence import store
from antiseche.verify.run import Verification


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ({}, ExitCode.OK),
        ({"outcomes": FAIL}, ExitCode.NOT_CONFORMING),
        ({"outcomes": {KEY: "error"}}, ExitCode.NOT_CONFORMING),
        ({"outcomes": {KEY: "not-applicable"}}, ExitCode.OK),
        ({"gone": ("serveur",)}, ExitCode.UNREACHABLE),
        ({"outcomes": FAIL, "gone": ("serveur",)}, ExitCode.UNREACHABLE),
        ({"gone": scenes.HOSTS}, ExitCode.UNREACHABLE),
        ({"outcomes": scenes.everything("error")}, ExitCode.FAILURE),
    ],
)
def test_verify_returns_what_it_found(stage: Stage, found: dict[str, Any], code: ExitCode) -> None:
    stage.checks = [found, found]

    assert stage.run("verify") == code
    assert "Rapport : " in stage.out
    assert stage.json("verify")["exit_code"] == code


def test_verify_names_control_host_what_was_seen_and_what_to_do(stage: Stage) -> None:
    stage.checks = [{"outcomes": {**FAIL, ("cabinet", "ALP-01"): "fail", ("serveur", "BET-01"): "error"}}]
    stage.run("verify")

    assert "✗ ALP-01 Cassé ALP-01. (gravité faible)" in stage.out
    assert "accueil, cabinet : vu ALP-01 autrement" in stage.out
    assert "à faire : Réparer ALP-01." in stage.out
    assert "! BET-01 Erreur de vérification : Titre BET-01" in stage.out
    assert "6 conformes sur 9 vérifiables ; 2 écarts ; 0 dérogation ; 1 non vérifié" in stage.out
    assert "antiseche drift" in stage.out


def test_verify_does_not_offer_a_repair_that_the_kit_cannot_do(stage: Stage) -> None:
    stage.checks = [{"outcomes": {("serveur", "BET-01"): "fail"}}]
    stage.run("verify")

    assert "(à la main)" in stage.out
    assert "antiseche drift" not in stage.out


def test_verify_says_once_who_did_not_answer(stage: Stage) -> None:
    stage.checks = [{"gone": ("serveur",)}]
    stage.run("verify")

    assert "serveur (injoignable)" in stage.out
    assert stage.err.count("injoignable") == 1
    assert "✗" not in stage.out
    assert "!" not in stage.out


def test_verify_limited_says_that_it_is(stage: Stage) -> None:
    stage.run("verify")
    stage.run("verify", "--limit", "accueil", "--role", "alpha")

    assert "cabinet" not in stage.out
    assert "2 conformes sur 2 vérifiables" in stage.out
    assert "Passage partiel : 1 machine sur 3, 2 contrôles sur 9" in stage.out


@pytest.mark.parametrize(("option", "value"), [("--limit", "acceuil"), ("--role", "gamma")])
def test_verify_refuses_names_that_it_does_not_know(stage: Stage, option: str, value: str) -> None:
    assert stage.run("verify", option, value) == ExitCode.USAGE
    assert len(stage.err.strip().splitlines()) >= 1
    assert store.latest(stage.scene.folder) is None


def test_verify_in_json_is_one_document(stage: Stage) -> None:
    stage.run("verify")
    stage.checks = [{"outcomes": FAIL}]
    document = stage.json("verify")

    assert set(document) == {
        "command", "practice", "run", "run_dir", "report", "exit_code", "rehearsal", "partial", "scope", "counts", "unreachable",
        "results", "transitions",
    }  # fmt: skip
    assert document["counts"]["fail"] == 1
    assert len(document["results"]) == len(scenes.EVERYTHING)
    assert set(document["results"][0]) == {
        "host", "control", "outcome", "effective", "message", "leaves", "waiver", "run", "at", "rule", "wish", "since", "passes",
        "known", "failed_before",
    }  # fmt: skip
    assert [change["cause"] for change in document["transitions"]] == ["drift"]
    assert set(document["transitions"][0]) == {"host", "control", "before", "after", "seen_before", "seen_after", "cause"}


def test_verify_closes_what_a_kill_left(stage: Stage) -> None:
    cut = scenes.records.create_run(stage.scene.folder, "verify")
    stage.run("verify")

    assert cut.id in stage.err
    assert scenes.records.load_run(cut.dir).finished  # type: ignore[union-attr]  # there is one


def test_what_a_host_answers_does_not_drive_the_terminal(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def hostile(*arguments: Any, **options: Any) -> Verification:
        found = Scene.verification(stage.scene, FAIL)
        first = found.outcomes[0]
        found.outcomes[0] = type(first)(*KEY, "fail", "\x1b[2J\x1b]0;titre\x07\r\u202eécrasé\u0085", first.leaves)
        return found

    monkeypatch.setattr(checking, "run_checks", hostile)
    stage.run("verify")

    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", stage.out)
    assert "écrasé" in stage.out


@pytest.mark.parametrize("columns", ["20", "80", "200"])
@pytest.mark.parametrize("number", [1, 3, 20])
def test_tables_fit_the_terminal(stage: Stage, monkeypatch: pytest.MonkeyPatch, columns: str, number: int) -> None:
    hosts = [f"poste-au-nom-vraiment-tres-long-de-la-salle-de-soins-{n:02}"[-60:] for n in range(number)]
    stage.scene.write_inventory(hosts)
    monkeypatch.setattr(stage.scene, "answers", scenes.answers())
    monkeypatch.setattr(
        checking,
        "run_checks",
        lambda *_a: Scene.verification(stage.scene, {(h, "ALP-01"): "fail" for h in hosts[:7]}, hosts=hosts),
    )
    monkeypatch.setenv("COLUMNS", columns)
    stage.run("verify")

    shown = [line for line in stage.out.splitlines() if not line.startswith("Rapport : ") and "antiseche drift" not in line]
    assert max(map(len, shown)) <= max(60, min(int(columns), 110))
    assert sum(line.startswith("poste") for line in shown) == number
