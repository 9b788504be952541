"""The register: whatever was changed, removed, moved or added afterwards is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scene import Scene

from antiseche.evidence import chain, ledger, store

KEY = ("accueil", "ALP-01")
FAIL = {KEY: "fail"}


def whole(scene: Scene) -> list[str]:
    return chain.check_store(scene.folder)


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


def three_passes(scene: Scene) -> list[Path]:
    scene.verify()
    scene.deploy(("accueil", "alpha"))
    return [scene.folder.runs_dir / store.latest(scene.folder).run_id, scene.verify(FAIL).run.dir, scene.verify().run.dir]  # type: ignore[union-attr]  # there is one


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("name", [store.RESULTS_NAME, store.OBSERVATIONS_NAME])
def test_a_changed_file_is_found(scene: Scene, which: int, name: str) -> None:
    path = three_passes(scene)[which] / name
    flip(path, path.stat().st_size // 2)

    assert any(name in problem for problem in whole(scene))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_byte_of_the_evidence_can_change_unseen(scene: Scene, data: st.DataObject) -> None:
    if store.latest(scene.folder) is None:
        three_passes(scene)
        assert whole(scene) == []
    names = (store.RESULTS_NAME, store.OBSERVATIONS_NAME, ledger.LEDGER_NAME, "events.jsonl")
    paths = sorted(path for path in scene.folder.runs_dir.rglob("*") if path.name in names)
    path = data.draw(st.sampled_from(paths))
    kept = path.read_bytes()
    start = data.draw(st.integers(0, len(kept) - 1))
    end = data.draw(st.integers(start, min(start + 400, len(kept))))
    put = data.draw(st.binary(max_size=8))
    changed = kept[:start] + put + kept[end:]
    try:
        path.write_bytes(changed)
        if changed not in (kept, kept + b"\n") and not (path.name == ledger.LEDGER_NAME and changed.split() == kept.split()):
            assert whole(scene) != []
    finally:
        path.write_bytes(kept)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_removed_run_is_missed_even_the_last(scene: Scene, which: int) -> None:
    path = three_passes(scene)[which]
    for file in path.iterdir():
        file.unlink()
    path.rmdir()

    assert any(path.name in problem for problem in whole(scene))
    assert any(path.name in problem for problem in chain.check_register(scene.folder)), "the quick check sees it too"


@pytest.mark.parametrize("which", [0, 1, 2])
def test_truncated_results_are_found_and_never_taken_for_results(scene: Scene, which: int) -> None:
    path = three_passes(scene)[which] / store.RESULTS_NAME
    path.write_bytes(path.read_bytes()[:-20])

    assert any(path.parent.name in problem for problem in whole(scene))
    assert path.parent.name not in [snapshot.run_id for snapshot in store.snapshots(scene.folder)]


def test_two_runs_exchanged_are_found(scene: Scene) -> None:
    first, second, _third = (path / store.RESULTS_NAME for path in three_passes(scene))
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)

    problems = whole(scene)
    assert all(any(path.parent.name in problem for problem in problems) for path in (first, second))


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (2, 1, 0), (0, 1), (1, 2), (0, 2), (0, 0, 1, 2)])
def test_lines_of_the_register_moved_removed_or_repeated_are_found(scene: Scene, order: tuple[int, ...]) -> None:
    three_passes(scene)
    path = scene.folder.runs_dir / ledger.LEDGER_NAME
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[n] for n in order))

    assert whole(scene) != []


@pytest.mark.parametrize("line", ["{}", "nonsense", '{"v": 2}', '{"v":1,"run":"../x","sha256":"0","prev":"0"}', "\x00\xff"])
def test_a_line_that_cannot_be_read_is_found_and_stops_nothing(scene: Scene, line: str) -> None:
    three_passes(scene)
    path = scene.folder.runs_dir / ledger.LEDGER_NAME
    path.write_text(path.read_text() + line + "\n")

    assert any(ledger.LEDGER_NAME in problem for problem in whole(scene))
    again = scene.verify()
    assert again.previous is not None
    assert line in path.read_text(), "what was there stays there"
    assert store.latest(scene.folder) == again.snapshot


def test_a_run_added_afterwards_is_found_and_never_counts(scene: Scene) -> None:
    _first, second, last = three_passes(scene)
    forged = scene.folder.runs_dir / f"{second.name[:-4]}ffff"
    forged.mkdir()
    data = json.loads((second / store.RESULTS_NAME).read_text())
    for entry in data["results"]:
        entry |= {"outcome": "pass", "effective": "pass"}
    (forged / store.RESULTS_NAME).write_text(json.dumps(data | {"run": forged.name}))

    assert any(forged.name in problem for problem in whole(scene))
    assert store.latest(scene.folder).run_id == last.name  # type: ignore[union-attr]  # there is one
    scene.verify()
    assert any(forged.name in problem for problem in whole(scene)), "a later pass does not adopt it"


def test_an_observation_added_or_removed_afterwards_is_found(scene: Scene) -> None:
    path = three_passes(scene)[1] / store.OBSERVATIONS_NAME
    kept = path.read_text()
    extra = json.dumps(scene.verification().observations[0], ensure_ascii=False)

    path.write_text(kept + extra + "\n")
    assert len(whole(scene)) == 1
    path.write_text("".join(kept.splitlines(keepends=True)[1:]))
    assert len(whole(scene)) == 1


def test_the_events_of_a_deployment_cannot_change_afterwards(scene: Scene) -> None:
    scene.verify(FAIL)
    deployment = scene.deploy(("accueil", "alpha"))
    scene.verify()
    assert whole(scene) == []

    flip(deployment.events_file, 40)
    assert any(deployment.id in problem for problem in whole(scene))
    deployment.events_file.unlink()
    assert any(deployment.id in problem for problem in whole(scene))


def test_figures_that_were_made_up_are_found(scene: Scene) -> None:
    """Even by somebody who rewrites the register as well."""
    found = scene.verify(FAIL)
    data = json.loads((found.run.dir / store.RESULTS_NAME).read_text())
    data["counts"]["fail"] = 0
    data["results"] = [{**entry, "leaves": []} for entry in data["results"]]
    forge(scene, found.run.dir, data)

    problems = whole(scene)
    assert len(problems) >= 2


def test_a_register_that_is_gone_is_made_again_and_says_so(scene: Scene) -> None:
    runs = [path.name for path in three_passes(scene)]
    (scene.folder.runs_dir / ledger.LEDGER_NAME).unlink()
    assert whole(scene) != []

    again = scene.verify()

    assert [snapshot.run_id for snapshot in store.snapshots(scene.folder)] == [*runs, again.run.id]
    assert len(whole(scene)) == 1, "made again is not the same as never lost"


def test_a_register_made_again_does_not_close_a_gap(scene: Scene) -> None:
    _first, second, _third = three_passes(scene)
    (scene.folder.runs_dir / ledger.LEDGER_NAME).unlink()
    (second / store.RESULTS_NAME).unlink()
    scene.verify()

    assert len(whole(scene)) >= 2


def forge(scene: Scene, directory: Path, data: dict[str, object]) -> None:
    """Write a snapshot and the register's line for it, as somebody with the rights to both could."""
    raw = store.canonical(data)
    (directory / store.RESULTS_NAME).write_bytes(raw)
    path = scene.folder.runs_dir / ledger.LEDGER_NAME
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["run"] == directory.name:
            line["sha256"] = store.hashlib.sha256(raw).hexdigest()
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


JUNK: list[Callable[[dict[str, object]], object]] = [
    lambda data: data.pop("results"),
    lambda data: data.pop("scope"),
    lambda data: data.update(results="none"),
    lambda data: data.update(results=[{"host": 1}]),
    lambda data: data.update(v=2),
    lambda data: data.update(ended="yesterday"),
    lambda data: data.update(ended="2026-11-02T12:00:00"),
    lambda data: data.update(prev="0"),
    lambda data: data.update(waivers=[{"id": "D-1"}]),
    lambda data: data["results"][0].update(effective="great"),  # type: ignore[index]
    lambda data: data["results"][0].update(at="noon"),  # type: ignore[index]
    lambda data: data["results"][0].update(outcome="waived"),  # type: ignore[index]
]


@pytest.mark.parametrize("spoil", JUNK)
def test_a_snapshot_that_makes_no_sense_is_reported_and_never_used(
    scene: Scene, spoil: Callable[[dict[str, object]], object]
) -> None:
    good = scene.verify()
    bad = scene.verify(FAIL)
    data = json.loads((bad.run.dir / store.RESULTS_NAME).read_text())
    spoil(data)
    forge(scene, bad.run.dir, data)

    assert store.latest(scene.folder) == good.snapshot
    assert any(bad.run.id in problem for problem in whole(scene))
    scene.verify()
