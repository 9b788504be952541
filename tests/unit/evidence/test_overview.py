"""Where a practice stands today: what was true then does not stay true for ever."""

from __future__ import annotations

import datetime as dt

import pytest
import scene as scenes
from scene import Scene

from antiseche.evidence.overview import overview

KEY = ("accueil", "ALP-01")
FAIL = {KEY: "fail"}


def test_a_practice_that_was_never_verified_says_so(scene: Scene) -> None:
    found = overview(scene.folder, scenes.NOON)

    assert found["last"] is None
    assert found["chain"] == []


def test_the_last_pass_counts_today(scene: Scene) -> None:
    scene.verify(FAIL)
    last = overview(scene.folder, scene.now)["last"]

    assert last["counts"]["fail"] == 1
    assert last["counts"]["verifiable"] == len(scenes.EVERYTHING)
    assert last["age_days"] == 0


@pytest.mark.parametrize(("days", "stale"), [(0, 0), (30, 0), (30.001, 9), (400, 9)])
def test_what_is_too_old_is_unknown_and_stays_in_the_total(scene: Scene, days: float, stale: int) -> None:
    scene.verify()
    last = overview(scene.folder, scene.now + dt.timedelta(days=days))["last"]

    assert last["stale"] == stale
    assert last["counts"]["unknown"] == stale
    assert last["counts"]["pass"] == 9 - stale
    assert last["counts"]["verifiable"] == 9


def test_a_partial_pass_does_not_make_the_rest_younger(scene: Scene) -> None:
    scene.verify()
    scene.later(days=20)
    scene.verify(hosts=("accueil",))
    last = overview(scene.folder, scene.now + dt.timedelta(days=15))["last"]

    assert last["stale"] == 6
    assert last["counts"]["pass"] == 3


def test_hosts_that_no_pass_has_seen_are_named_and_counted(scene: Scene) -> None:
    scene.verify(hosts=("accueil",))
    last = overview(scene.folder, scene.now)["last"]

    assert last["never_verified"] == ["cabinet", "serveur"]
    assert last["counts"]["unknown"] == 6


def test_a_host_that_was_added_since_counts_as_unknown(scene: Scene) -> None:
    scene.replace_answers(hosts=scenes.ANSWERS["hosts"][:2])
    scene.write_inventory(("accueil", "cabinet"))
    scene.verify(hosts=("accueil", "cabinet"))
    scene.replace_answers()

    last = overview(scene.folder, scene.now)["last"]
    assert last["counts"]["unknown"] == 3
    assert last["never_verified"] == ["serveur"]


def test_a_host_that_left_no_longer_counts(scene: Scene) -> None:
    scene.verify({("serveur", "BET-01"): "fail"})
    scene.replace_answers(hosts=scenes.ANSWERS["hosts"][:2])

    assert overview(scene.folder, scene.now)["last"]["counts"]["fail"] == 0


def test_a_waiver_ends_although_nobody_verified_since(scene: Scene) -> None:
    scene.replace_answers(waivers=[scenes.waiver()])
    scene.verify(FAIL)
    before = overview(scene.folder, dt.datetime(2026, 11, 30, 22, 59, tzinfo=dt.UTC))
    after = overview(scene.folder, dt.datetime(2026, 11, 30, 23, 1, tzinfo=dt.UTC))

    assert before["last"]["counts"]["waived"] == 1
    assert after["last"]["counts"]["fail"] == 1
    assert [waiver["expired"] for waiver in before["waivers"] + after["waivers"]] == [False, True]


def test_only_waivers_that_end_soon_are_named(scene: Scene) -> None:
    scene.replace_answers(waivers=[scenes.waiver(), scenes.waiver(2, expires_on="2027-09-30")])

    assert [waiver["id"] for waiver in overview(scene.folder, scenes.NOON)["waivers"]] == ["D-001"]


@pytest.mark.parametrize("text", ["", "nonsense: [", "version: 1\n"])
def test_wrong_answers_are_said_and_the_records_still_count(scene: Scene, text: str) -> None:
    scene.replace_answers(waivers=[scenes.waiver()])
    scene.verify(FAIL)
    scene.folder.answers_file.write_text(text)

    found = overview(scene.folder, scene.now)
    late = overview(scene.folder, scene.now + dt.timedelta(days=29))

    assert found["problem"]
    assert found["last"]["counts"]["waived"] == 1, "by the waiver that the snapshot kept"
    assert late["last"]["counts"]["fail"] == 1
    assert found["last"]["counts"]["total"] == len(scenes.EVERYTHING)


def test_a_changed_record_is_told_and_not_believed(scene: Scene) -> None:
    good = scene.verify(FAIL)
    bad = scene.verify()
    path = bad.run.dir / "results.json"
    path.write_text(path.read_text().replace("pass", "fail"))

    found = overview(scene.folder, scene.now)
    assert found["last"]["run"] == good.run.id
    assert len(found["chain"]) == 1


def test_naming_a_practice_reads_its_observations_too(scene: Scene) -> None:
    path = scene.verify().run.dir / "observations.jsonl"
    path.write_text(path.read_text().replace("réponse", "Réponse"))

    assert overview(scene.folder, scene.now)["chain"] == []
    assert overview(scene.folder, scene.now, whole_store=True)["chain"] != []


def test_a_run_that_did_not_end_is_named(scene: Scene) -> None:
    run = scenes.records.create_run(scene.folder, "deploy")

    assert overview(scene.folder, scene.now)["unfinished"] == [run.id]
