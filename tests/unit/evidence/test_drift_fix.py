"""``drift --fix`` as typed: it repairs, looks again, and claims only what a second look saw."""

from __future__ import annotations

from typing import Any

import pytest
import scene as scenes
from stage import DONE, FAIL, Stage, fixing, playbook

from antiseche.commands import confirm
from antiseche.engine.summary import HostStatus, HostSummary, RunSummary
from antiseche.errors import ExitCode
from antiseche.evidence import chain


def test_fix_repairs_looks_again_and_says_what_holds(stage: Stage) -> None:
    fixing(stage, before={"outcomes": FAIL}, after={}, fix=DONE)

    assert stage.run("drift", "--fix", "--yes") == ExitCode.OK
    assert "Après réparation, vérifié de nouveau :" in stage.out
    assert "corrigé par le kit (1)" in stage.out
    assert "1 différence de configuration corrigée" in stage.out
    _found, applied, again = stage.specs
    assert (applied.limit, applied.roles, applied.check) == (("accueil",), ("alpha",), False)
    assert (again.limit, again.roles, again.check) == (("accueil",), ("alpha",), True)
    kinds = [run.kind for run in scenes.records.runs(stage.scene.folder)]
    assert sorted(kinds) == ["drift", "drift", "fix", "verify"]
    assert chain.check_store(stage.scene.folder) == []


def test_fix_does_not_claim_what_the_checks_still_deny(stage: Stage) -> None:
    fixing(stage, before={"outcomes": FAIL}, after={"outcomes": FAIL}, fix=DONE)

    assert stage.run("drift", "--fix", "--yes") == ExitCode.NOT_CONFORMING
    assert "corrigé par le kit" not in stage.out
    assert stage.out.count("✗ ALP-01") == 2


def test_fix_does_not_claim_what_a_second_prediction_still_denies(stage: Stage) -> None:
    fixing(stage, before={}, after={}, fix=DONE, again=playbook([("accueil", "alpha")], hosts=["accueil"]))

    assert stage.run("drift", "--fix", "--yes") == ExitCode.NOT_CONFORMING
    assert "corrigée" not in stage.out
    assert "Configuration encore différente" in stage.out


@pytest.mark.parametrize(
    ("again", "code"),
    [
        (playbook(failed=["accueil"], hosts=["accueil"]), ExitCode.TASK_FAILED),
        (playbook(gone=["accueil"], hosts=["accueil"]), ExitCode.UNREACHABLE),
        (RunSummary({"accueil": HostSummary("accueil", HostStatus.NOT_STARTED)}, error="arrêt"), ExitCode.FAILURE),
    ],
)
def test_fix_claims_nothing_about_a_host_that_was_not_looked_at_to_the_end(
    stage: Stage, again: RunSummary, code: ExitCode
) -> None:
    fixing(stage, before={}, after={}, fix=DONE, again=again)

    assert stage.run("drift", "--fix", "--yes") == code
    assert "corrigée" not in stage.out


def test_fix_that_fails_says_so_and_what_still_holds(stage: Stage) -> None:
    failed = playbook(failed=["accueil"], hosts=["accueil"])
    fixing(stage, before={"outcomes": FAIL}, after={"outcomes": FAIL}, fix=failed)

    assert stage.run("drift", "--fix", "--yes") == ExitCode.TASK_FAILED
    assert "boum" in stage.err


def test_fix_repairs_who_answers_and_still_says_who_does_not(stage: Stage) -> None:
    fixing(stage, before={"outcomes": FAIL, "gone": ("serveur",)}, after={"gone": ("serveur",)}, fix=DONE)

    assert stage.run("drift", "--fix", "--yes") == ExitCode.UNREACHABLE
    assert stage.specs[1].limit == ("accueil",)
    assert stage.specs[1].roles == ("alpha",), "an unreachable host does not widen the repair"
    assert "corrigé par le kit (1)" in stage.out


@pytest.mark.parametrize(
    ("found", "prediction"),
    [
        ({}, playbook()),
        ({"gone": scenes.HOSTS}, playbook(gone=scenes.HOSTS)),
        ({"outcomes": scenes.everything("error")}, playbook()),
    ],
)
def test_fix_does_nothing_where_there_is_nothing_that_it_could_do(
    stage: Stage, found: dict[str, Any], prediction: RunSummary
) -> None:
    stage.checks, stage.predictions = [found], [prediction]
    stage.run("drift", "--fix", "--yes")

    assert [spec.kind for spec in stage.specs] == ["drift"]


def test_fix_deploys_nothing_for_what_only_hands_can_mend(stage: Stage) -> None:
    stage.checks = [{"outcomes": {("serveur", "BET-01"): "fail"}}]

    assert stage.run("drift", "--fix", "--yes") == ExitCode.NOT_CONFORMING
    assert [spec.kind for spec in stage.specs] == ["drift"]
    assert "Rien que le kit puisse réparer." in stage.err

    stage.checks = [{"outcomes": {("serveur", "BET-01"): "fail"}}]
    stage.run("drift")
    assert "Pour réparer" not in stage.out


def test_fix_leaves_alone_a_host_whose_checks_did_not_answer(stage: Stage) -> None:
    fixing(stage, before={"outcomes": FAIL, "gone": ("serveur",)}, after={"gone": ("serveur",)}, fix=DONE)
    stage.predictions[0] = playbook([("accueil", "alpha"), ("serveur", "beta")])

    stage.run("drift", "--fix", "--yes")

    assert (stage.specs[1].limit, stage.specs[1].roles) == (("accueil",), ("alpha",))


def test_fix_applies_only_the_roles_that_can_mend_something(stage: Stage) -> None:
    outcomes = {("serveur", "BET-01"): "fail", ("accueil", "ALP-02"): "error"}
    stage.checks = [{"outcomes": outcomes}, {"outcomes": {("serveur", "BET-01"): "fail"}}]
    stage.fixes = [DONE]

    assert stage.run("drift", "--fix", "--yes") == ExitCode.NOT_CONFORMING
    assert (stage.specs[1].limit, stage.specs[1].roles) == (("accueil",), ("alpha",))


def test_fix_asks_first_and_no_means_no(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(question: str, *, yes: bool) -> bool:
        asked.append(question)
        return yes

    monkeypatch.setattr(confirm, "confirm", answer)
    stage.checks = [{"outcomes": FAIL}]

    assert stage.run("drift", "--fix") == ExitCode.NOT_CONFORMING
    assert "accueil" in asked[0]
    assert "Rien n'a été réparé." in stage.err
    assert [spec.kind for spec in stage.specs] == ["drift"]
    assert stage.out.count("✗ ALP-01") == 1, "what was found is shown once"


def test_fix_that_is_interrupted_says_where_things_are(stage: Stage) -> None:
    summary = playbook(hosts=["accueil"])
    summary.interrupted = True
    fixing(stage, before={"outcomes": FAIL}, after={}, fix=summary)

    assert stage.run("drift", "--fix", "--yes") == ExitCode.INTERRUPTED
    assert "antiseche drift" in stage.err
