"""The store: whole snapshots, tied to each other."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
import scene as scenes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scene import Scene

from antiseche.evidence import chain, ledger, store
from antiseche.evidence.results import Effective

KEY = ("accueil", "ALP-01")
FAIL = {KEY: "fail"}


def whole(scene: Scene) -> list[str]:
    return chain.check_store(scene.folder)


def test_each_snapshot_names_the_one_before(scene: Scene) -> None:
    first, second = scene.verify(), scene.verify(FAIL)

    assert first.snapshot.data["prev"] == ledger.FIRST
    assert second.snapshot.data["prev"] == first.snapshot.sha256
    assert [snapshot.run_id for snapshot in store.snapshots(scene.folder)] == [first.run.id, second.run.id]
    assert whole(scene) == []


def test_what_is_read_back_is_what_was_written(scene: Scene) -> None:
    written = scene.verify({**FAIL, ("cabinet", "BET-01"): "not-applicable"}).snapshot
    read = store.latest(scene.folder)

    assert read is not None
    assert read.entries == written.entries
    assert read.sha256 == written.sha256
    assert read.data == json.loads(json.dumps(written.data))


def test_order_is_that_of_writing_whatever_clocks_and_names_say(scene: Scene) -> None:
    first = scene.verify()
    scene.later(days=-40)
    second = scene.verify(FAIL)
    renamed = "00000000T000000Z-verify-0000"
    third = scene.verify(kind="a-kind-that-sorts-first")

    assert first.run.id != renamed
    assert store.latest(scene.folder) == third.snapshot
    assert third.previous == second.snapshot
    assert whole(scene) == []


def test_a_snapshot_is_always_the_whole_practice(scene: Scene) -> None:
    found = scene.verify(FAIL, hosts=("accueil",))
    never = [result for result in found.snapshot.entries if result.effective is Effective.UNKNOWN]

    assert {result.key for result in found.snapshot.entries} == set(scenes.EVERYTHING)
    assert {result.host for result in never} == {"cabinet", "serveur"}
    assert found.snapshot.data["counts"]["verifiable"] == len(scenes.EVERYTHING)
    assert found.counts["total"] == len(scenes.CONTROLS)


def test_a_partial_pass_neither_refreshes_nor_forgets_the_rest(scene: Scene) -> None:
    before = scene.verify({("serveur", "BET-01"): "fail", ("cabinet", "ALP-01"): "error"}).snapshot.results
    after = scene.verify(FAIL, hosts=("accueil",), roles=("alpha",)).snapshot.results

    looked_at = {("accueil", "ALP-01"), ("accueil", "ALP-02")}
    assert {key for key in after if after[key] != before[key]} == looked_at
    assert whole(scene) == []


def test_a_partial_pass_leaves_the_proofs_of_the_rest_where_they_are(scene: Scene) -> None:
    first = scene.verify()
    second = scene.verify(hosts=("accueil",))
    kept = second.snapshot.results["serveur", "BET-01"]

    assert kept.run == first.run.id
    text = (second.run.dir / store.OBSERVATIONS_NAME).read_text()
    assert kept.leaves[0] not in text
    assert whole(scene) == []


def test_proofs_that_went_away_under_a_later_snapshot_are_missed(scene: Scene) -> None:
    first = scene.verify()
    scene.verify(hosts=("accueil",))
    (first.run.dir / store.OBSERVATIONS_NAME).unlink()

    assert any(store.OBSERVATIONS_NAME in problem for problem in whole(scene))


def test_observations_that_no_result_rests_on_are_not_kept(scene: Scene) -> None:
    verification = scene.verification()
    verification.observations.append(scene.verification().observations[0])
    run = scenes.records.create_run(scene.folder, "verify", expected=list(scenes.HOSTS))
    scenes.record_pass(scene.folder, scene.answers, run, verification, (), scene.now)

    assert len((run.dir / store.OBSERVATIONS_NAME).read_text().splitlines()) == len(scenes.HOSTS)
    assert whole(scene) == []


def test_nothing_is_readable_by_others(scene: Scene) -> None:
    os.umask(0)
    try:
        found = scene.verify(FAIL)
        scene.verify()
    finally:
        os.umask(0o022)
    runs = scene.folder.runs_dir

    for path in [runs, *runs.rglob("*")]:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    assert (found.run.dir / "transitions.jsonl").exists()


hosts = st.lists(st.sampled_from(scenes.HOSTS), min_size=1, unique=True).map(tuple)
roles = st.sampled_from([(), ("alpha",), ("beta",)])
words = st.sampled_from(["pass", "fail", "not-applicable", "error"])
passes = st.tuples(
    st.just("pass"),
    hosts,
    roles,
    st.dictionaries(st.sampled_from(scenes.EVERYTHING), words),
    st.sets(st.sampled_from(scenes.HOSTS)),
)
deployments = st.tuples(st.just("deploy"), st.sampled_from(scenes.HOSTS), st.sampled_from(["alpha", "beta"]))
days = st.tuples(st.just("days"), st.integers(-3, 45))
waivers = st.tuples(st.just("waiver"), st.sampled_from(scenes.CONTROLS), st.integers(0, 60))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(history=st.lists(st.one_of(passes, deployments, days, waivers), min_size=1, max_size=9))
def test_any_history_gives_a_whole_chain(
    small_kit: Path, tmp_path_factory: pytest.TempPathFactory, history: list[tuple[object, ...]]
) -> None:
    scene = Scene(tmp_path_factory.mktemp("history") / "tilleuls")
    before: dict[tuple[str, str], object] = {}
    made = 0
    for kind, *what in history:
        if kind == "deploy":
            scene.deploy(tuple(what))  # type: ignore[arg-type]
        elif kind == "days":
            scene.later(days=what[0])  # type: ignore[arg-type]
        elif kind == "waiver":
            first = scene.now.date()
            end = first + scenes.dt.timedelta(days=what[1])  # type: ignore[arg-type]
            given_ = scenes.waiver(control=what[0], accepted_on=first.isoformat(), expires_on=end.isoformat())
            scene.replace_answers(waivers=[given_])
        else:
            looked_at, themes, outcomes, gone = what
            found = scene.verify(outcomes, hosts=looked_at, roles=themes, gone=gone)  # type: ignore[arg-type]
            made += 1
            now = found.snapshot.results
            measured = {(h, c) for h in looked_at for r in (themes or scenes.ROLES) for c in scenes.ROLES[r]}  # type: ignore[union-attr,attr-defined]
            assert set(now) == set(scenes.EVERYTHING)
            for key, result in now.items():
                assert result.effective is not Effective.PASS or (result.leaves and result.outcome == "pass")
                if key in measured:
                    assert result.run == found.run.id
                else:
                    assert result.run != found.run.id
                    old = before.get(key)
                    assert old is None or (old.run, old.at, old.outcome) == (result.run, result.at, result.outcome)  # type: ignore[attr-defined]
            told = [change.key for change in found.transitions]
            assert len(told) == len(set(told))
            assert all(now[change.key].effective == change.after for change in found.transitions)
            before = dict(now)
    assert len(list(store.snapshots(scene.folder))) == made
    assert whole(scene) == []
