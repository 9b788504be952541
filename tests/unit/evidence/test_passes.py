"""What a pass says of itself: its figures, its exit code, what it leaves open."""

from __future__ import annotations

import json

import pytest
import scene as scenes
from scene import Scene

from antiseche.engine import records
from antiseche.errors import ExitCode
from antiseche.evidence import store
from antiseche.evidence.drift import Cause, Transition
from antiseche.evidence.grouping import Difference, changes, findings, same_differences, whole_hosts
from antiseche.evidence.passes import close_cut
from antiseche.evidence.results import Effective

KEY = ("accueil", "ALP-01")
FAIL = {KEY: "fail"}


def test_all_is_well(scene: Scene) -> None:
    found = scene.verify({("cabinet", "BET-01"): "not-applicable"})

    assert found.exit_code() == ExitCode.OK
    assert (found.counts["pass"], found.counts["verifiable"], found.counts["total"]) == (8, 8, 9)
    assert not found.partial


@pytest.mark.parametrize("word", ["fail", "error"])
def test_what_asks_for_action_is_not_conforming(scene: Scene, word: str) -> None:
    found = scene.verify({KEY: word})

    assert found.exit_code() == ExitCode.NOT_CONFORMING
    assert [result.key for result in found.failing()] == [KEY]


def test_a_host_that_did_not_answer_comes_before_everything(scene: Scene) -> None:
    found = scene.verify(FAIL, gone=("serveur",))

    assert found.exit_code() == ExitCode.UNREACHABLE
    assert {found.snapshot.results["serveur", control].outcome for control in scenes.CONTROLS} == {"error"}
    assert found.counts["verifiable"] == len(scenes.EVERYTHING), "an unreachable host leaves the denominator alone"
    assert found.snapshot.data["scope"]["unreachable"] == {"serveur": "serveur est injoignable : No route to host"}


def test_nobody_answering_is_unreachable_not_a_drift(scene: Scene) -> None:
    scene.verify()
    found = scene.verify(gone=scenes.HOSTS)

    assert found.exit_code() == ExitCode.UNREACHABLE
    assert not found.blind
    assert {str(change.cause) for change in found.transitions} == {"visibility"}


def test_checks_that_all_broke_are_our_failure(scene: Scene) -> None:
    found = scene.verify(scenes.everything("error"))

    assert found.blind
    assert found.exit_code() == ExitCode.FAILURE


def test_a_waived_failure_asks_for_nothing_until_the_waiver_ends(scene: Scene) -> None:
    scene.replace_answers(waivers=[scenes.waiver()])

    assert scene.verify(FAIL).exit_code() == ExitCode.OK
    scene.later(days=29)
    assert scene.verify(FAIL).exit_code() == ExitCode.NOT_CONFORMING


def test_the_waivers_that_counted_are_kept_with_the_results(scene: Scene) -> None:
    scene.replace_answers(waivers=[scenes.waiver(), scenes.waiver(2, control="BET-01")])

    (kept,) = scene.verify(FAIL).snapshot.data["waivers"]
    assert (kept["id"], kept["accepted_by"], kept["expires_on"]) == ("D-001", "Dr Camille Exemple", "2026-11-30")


def test_a_pass_says_who_made_it_and_with_what(scene: Scene) -> None:
    data = scene.verify().snapshot.data

    assert "@" in data["operator"]
    assert {"kit_version", "answers_sha256", "catalogue_sha256", "kit_sha256"} <= set(data["provenance"])
    assert data["scope"]["hosts"] == list(scenes.HOSTS)


def test_the_gravest_comes_first(scene: Scene) -> None:
    outcomes = {**scenes.everything("fail"), ("accueil", "BET-01"): "error"}
    found = scene.verify(outcomes)

    assert [(f.control.id, f.effective) for f in findings(found)] == [
        ("ALP-02", Effective.FAIL),
        ("BET-01", Effective.FAIL),
        ("ALP-01", Effective.FAIL),
        ("BET-01", Effective.ERROR),
    ]


def test_the_same_words_about_several_hosts_are_said_once(scene: Scene) -> None:
    (finding,) = findings(scene.verify({(host, "ALP-01"): "fail" for host in scenes.HOSTS}))

    assert finding.hosts == scenes.HOSTS
    assert len(finding.seen) == 1


def test_hosts_that_did_not_answer_are_not_findings(scene: Scene) -> None:
    assert [finding.hosts for finding in findings(scene.verify(FAIL, gone=("cabinet",)))] == [("accueil",)]


def test_equal_changes_are_grouped_and_different_ones_are_not(scene: Scene) -> None:
    scene.verify()
    found = scene.verify({("accueil", "ALP-01"): "fail", ("cabinet", "ALP-01"): "fail", ("serveur", "ALP-01"): "error"})

    assert sorted(group.hosts for group in changes(found.transitions)) == [("accueil", "cabinet"), ("serveur",)]


def test_equal_differences_are_grouped_theme_by_theme() -> None:
    found = [
        Difference("a", "alpha", "Alpha", "file x"),
        Difference("a", "beta", "Beta", "file x"),
        Difference("b", "alpha", "Alpha", "file x"),
        Difference("b", "alpha", "Alpha", "file y"),
        Difference("b", "alpha", "Alpha", "file y"),
    ]

    assert [(g.first.role, g.first.change, g.hosts) for g in same_differences(found)] == [
        ("alpha", "file x", ("a", "b")),
        ("alpha", "file y", ("b",)),
        ("beta", "file x", ("a",)),
    ]


def test_a_host_out_of_sight_is_told_as_a_whole() -> None:
    def change(cause: Cause, host: str, number: int) -> Transition:
        return Transition(host, f"ALP-{number:02}", "pass", "error", "a", "b", cause)

    lost = [change(Cause.VISIBILITY, "serveur", n) for n in range(9)]
    few = [change(Cause.VISIBILITY, "accueil", n) for n in range(3)]
    drifted = [change(Cause.DRIFT, "serveur", n) for n in range(9)]

    whole, rest = whole_hosts([*lost, *few, *drifted])

    assert [(item.host, item.controls) for item in whole] == [("serveur", 9)]
    assert rest == [*few, *drifted], "a drift is never folded away"


def test_transitions_are_written_beside_the_results(scene: Scene) -> None:
    scene.verify()
    found = scene.verify(FAIL)
    lines = (found.run.dir / "transitions.jsonl").read_text().splitlines()

    assert [json.loads(line)["cause"] for line in lines] == ["drift"]


def test_a_pass_that_was_killed_is_closed_by_the_next_and_left_no_result(scene: Scene) -> None:
    cut = [records.create_run(scene.folder, kind) for kind in ("verify", "drift")]
    other = records.create_run(scene.folder, "doctor")

    closed = close_cut(scene.folder)

    assert {run.id for run in closed} == {run.id for run in cut}
    assert all(records.load_run(run.dir).finished for run in cut)  # type: ignore[union-attr]  # there is one
    assert not records.load_run(other.dir).finished  # type: ignore[union-attr]  # there is one
    assert store.latest(scene.folder) is None
    assert close_cut(scene.folder) == []


def test_an_unfinished_deployment_is_not_accounted_for_before_it_is_closed(scene: Scene) -> None:
    scene.verify(FAIL)
    deployment = scene.deploy(("accueil", "alpha"))
    deployment.record["ended"] = None
    deployment.save()

    assert scene.verify(FAIL).snapshot.data["deployments"] == []
    close_cut(scene.folder)
    (accounted,) = scene.verify().snapshot.data["deployments"]
    assert accounted["run"] == deployment.id
