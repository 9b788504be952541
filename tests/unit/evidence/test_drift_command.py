"""``drift`` as typed: what it finds and says."""

from __future__ import annotations

from typing import Any

import pytest
import scene as scenes
from stage import DONE, FAIL, Stage, fixing, playbook

from antiseche.commands import checking
from antiseche.engine.summary import RunSummary
from antiseche.errors import AntisecheError, ExitCode
from antiseche.evidence import store
from antiseche.verify.run import Verification

DriftCase = tuple[dict[str, Any], RunSummary | Exception, ExitCode]
DRIFTS: list[DriftCase] = [
    ({}, playbook(), ExitCode.OK),
    ({"outcomes": FAIL}, playbook(), ExitCode.NOT_CONFORMING),
    ({}, playbook([("accueil", "alpha")]), ExitCode.NOT_CONFORMING),
    ({"outcomes": FAIL}, playbook([("accueil", "alpha")]), ExitCode.NOT_CONFORMING),
    ({"gone": ("serveur",)}, playbook(gone=["serveur"]), ExitCode.UNREACHABLE),
    ({"gone": ("serveur",)}, playbook(), ExitCode.UNREACHABLE),
    ({}, playbook(gone=["serveur"]), ExitCode.UNREACHABLE),
    ({"outcomes": FAIL, "gone": ("serveur",)}, playbook([("accueil", "alpha")], gone=["serveur"]), ExitCode.UNREACHABLE),
    ({}, playbook(failed=["accueil"]), ExitCode.TASK_FAILED),
    ({"outcomes": FAIL}, playbook(failed=["accueil"]), ExitCode.TASK_FAILED),
    ({}, RunSummary(error="Ansible s'est arrêté"), ExitCode.FAILURE),
    ({"outcomes": scenes.everything("error")}, playbook(), ExitCode.FAILURE),
    ({"outcomes": scenes.everything("error")}, playbook([("accueil", "alpha")]), ExitCode.FAILURE),
]


@pytest.mark.parametrize(("found", "prediction", "code"), DRIFTS)
def test_drift_returns_the_gravest_thing_that_it_found(
    stage: Stage, found: dict[str, Any], prediction: RunSummary, code: ExitCode
) -> None:
    stage.run("verify")
    stage.checks, stage.predictions = [found, found], [prediction, prediction]

    assert stage.run("drift") == code
    assert ("Rien n'a dérivé." in stage.out) is (not found and not any(h.changes for h in prediction.hosts.values()))
    assert stage.json("drift")["exit_code"] == code
    assert [spec.check for spec in stage.specs] == [True, True], "nothing was changed"


def test_drift_says_equal_things_once(stage: Stage) -> None:
    stage.run("verify")
    stage.checks = [{"outcomes": {(host, "ALP-01"): "fail" for host in scenes.HOSTS}}]
    stage.predictions = [playbook([(host, "alpha") for host in scenes.HOSTS])]
    stage.run("drift")

    assert stage.out.count("ALP-01 Cassé") == 1
    assert "accueil, cabinet, serveur : vu ALP-01 autrement" in stage.out
    assert stage.out.count("/etc/alpha") == 1
    assert "3 contrôles tenaient et ne tiennent plus." in stage.out
    assert len(stage.out.splitlines()) < 15


def test_drift_does_not_count_again_what_was_told_before(stage: Stage) -> None:
    stage.checks = [{"outcomes": FAIL}, {"outcomes": FAIL}]
    stage.run("drift")
    stage.run("drift")

    assert "aucune dérive nouvelle." in stage.out
    assert stage.out.count("✗ ALP-01") == 1


def test_drift_tells_what_is_not_a_drift_apart(stage: Stage) -> None:
    stage.checks = [{"outcomes": FAIL}, {}]
    stage.run("verify")
    stage.run("drift")

    assert "Rien n'a dérivé." in stage.out
    assert "corrigé autrement (1)" in stage.out
    assert "ALP-01 Titre ALP-01 : accueil" in stage.out


def test_drift_says_once_who_did_not_answer_and_what_failed(stage: Stage) -> None:
    stage.checks = [{"gone": ("serveur",)}]
    stage.predictions = [playbook(gone=["serveur"], failed=["accueil"])]
    stage.run("drift")

    assert stage.err.count("injoignable") == 1
    assert stage.err.count("boum") == 1


def test_a_prediction_that_cannot_start_leaves_no_open_run(stage: Stage) -> None:
    stage.predictions = [AntisecheError("pas d'inventaire")]

    assert stage.run("drift") == ExitCode.FAILURE
    assert all(run.finished for run in scenes.records.runs(stage.scene.folder))
    assert store.latest(stage.scene.folder) is None


def test_checks_that_cannot_start_stop_the_prediction(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any) -> Verification:
        raise KeyboardInterrupt

    monkeypatch.setattr(checking, "run_checks", broken)

    assert stage.run("drift") == ExitCode.INTERRUPTED
    (run,) = scenes.records.runs(stage.scene.folder)
    assert run.record["interrupted"]
    assert store.latest(stage.scene.folder) is None


def test_drift_in_json_is_one_document(stage: Stage) -> None:
    fixing(stage, before={"outcomes": FAIL}, after={}, fix=DONE)
    document = stage.json("drift", "--fix", "--yes")

    assert set(document) == {
        "command", "practice", "run", "run_dir", "report", "exit_code", "rehearsal", "partial", "scope", "counts", "unreachable",
        "results", "transitions", "configuration", "found", "repair",
    }  # fmt: skip
    difference = {"host": "accueil", "role": "alpha", "change": "file /etc/alpha"}
    assert document["configuration"] == []
    assert document["found"]["configuration"] == [difference]
    assert document["found"]["counts"]["fail"] == 1
    assert document["repair"]["configuration_repaired"] == [difference]
    assert [change["cause"] for change in document["transitions"]] == ["repaired-by-kit"]


def test_drift_without_fix_has_no_repair_in_json(stage: Stage) -> None:
    stage.checks = [{"outcomes": FAIL}]

    assert stage.json("drift")["repair"] is None


def test_drift_limited_looks_no_further(stage: Stage) -> None:
    stage.run("verify")
    stage.predictions = [playbook(hosts=["accueil"])]
    document = stage.json("drift", "--limit", "accueil")

    assert {result["host"] for result in document["results"]} == {"accueil"}
    assert document["partial"]
    assert stage.specs[-1].limit == ("accueil",)
