"""The store: whole snapshots, tied to each other, that no kill, full disk or second writer can spoil."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import scene as scenes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scene import Scene

from antiseche.engine.locking import LOCK_NAME, practice_lock
from antiseche.errors import AntisecheError
from antiseche.evidence import chain, ledger, store
from antiseche.evidence.results import Effective
from antiseche.practice import staging

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


# --- tampering -------------------------------------------------------------------------------------------------------


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


def three_passes(scene: Scene) -> list[Path]:
    scene.verify()
    scene.deploy(("accueil", "alpha"))
    return [scene.folder.runs_dir / store.latest(scene.folder).run_id, scene.verify(FAIL).run.dir, scene.verify().run.dir]  # type: ignore[union-attr]


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
    assert store.latest(scene.folder).run_id == last.name  # type: ignore[union-attr]
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


# --- failures in the middle ------------------------------------------------------------------------------------------


def in_child(work: Callable[[], None]) -> int:
    """Run in a child process; return its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except AntisecheError:
            os._exit(2)
        finally:
            os._exit(3)
    return os.waitpid(pid, 0)[1]


def killed_at(scene: Scene, step: int) -> bool:
    """Make a pass in a child that is killed at its ``step``-th flush or rename; say whether it was."""

    def work() -> None:
        left = [step]

        def count(*_arguments: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        real_fsync, real_replace = os.fsync, Path.replace

        def fsync(descriptor: int) -> None:
            count()
            real_fsync(descriptor)
            count()

        def replace(self: Path, target: Path) -> Path:
            count()
            done = real_replace(self, target)
            count()
            return done

        os.fsync, Path.replace = fsync, replace  # type: ignore[assignment,method-assign]
        scene.verify(FAIL)

    return os.WIFSIGNALED(in_child(work))


def test_killed_at_any_moment_a_pass_left_nothing_or_all_of_it(scene: Scene) -> None:
    first = scene.verify()
    states, step = set(), 0
    while killed_at(scene, step):
        last = store.latest(scene.folder)
        assert last is not None
        assert chain.check_register(scene.folder) == [], f"step {step}"
        assert whole(scene) == [], f"step {step}"
        assert last.results[KEY].outcome == ("pass" if last == first.snapshot else "fail")
        states.add(last == first.snapshot)
        first = scene.verify()
        assert whole(scene) == [], f"step {step}"
        step += 1
    assert step > 15, "the child was killed at too few places to mean anything"
    assert states == {True, False}


def test_killed_again_and_again_the_chain_holds(scene: Scene) -> None:
    for step in (3, 9, 12, 14, 17, 18, 20, 5):
        killed_at(scene, step)

    scene.verify()
    assert whole(scene) == []


@pytest.mark.parametrize("size", [0, 100, 700, 1500, 3000, 5000])
def test_a_full_disk_is_one_sentence_and_leaves_the_store_whole(scene: Scene, size: int) -> None:
    first = scene.verify()

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        scene.verify(FAIL)

    status = in_child(work)

    assert os.waitstatus_to_exitcode(status) == 2
    assert store.latest(scene.folder) == first.snapshot
    assert whole(scene) == []
    scene.verify()
    assert whole(scene) == []


def test_no_space_left_is_said_as_such(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    scene.verify()
    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(scenes.records, "write_text", lambda *_a, **_k: None)
    with pytest.raises(AntisecheError, match="disque plein"):
        scene.verify(FAIL)
    monkeypatch.undo()

    assert whole(scene) == []


def test_a_rename_that_fails_is_finished_by_the_next_pass(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    scene.verify()
    monkeypatch.setattr(store, "sync_directory", refuse)
    with pytest.raises(AntisecheError):
        scene.verify(FAIL)
    monkeypatch.setattr(store, "sync_directory", staging.sync_directory)

    scene.verify()
    assert whole(scene) == []
    assert len(list(store.snapshots(scene.folder))) == 3


def wait_for_the_lock(scene: Scene) -> None:
    """Sleep in the kernel until whoever holds the practice lets it go."""
    with (scene.folder.runs_dir / LOCK_NAME).open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)


def test_passes_side_by_side_wait_for_each_other_or_give_up_whole(scene: Scene) -> None:
    def work() -> None:
        made = 0
        while made < 3:
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(practice_lock(scene.folder))
                except AntisecheError:  # held by another: what this test is about; anything else must end the child
                    wait_for_the_lock(scene)
                    continue
                scene.verify()
                made += 1

    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                work()
                os._exit(0)
            finally:
                os._exit(3)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]

    assert codes == [0, 0, 0, 0]
    assert len(list(store.snapshots(scene.folder))) == 12
    assert whole(scene) == []


def test_a_reader_in_the_middle_of_a_write_sees_a_whole_store(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.verify()
    seen: list[tuple[list[str], str]] = []
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        last = store.latest(scene.folder)
        seen.append((chain.check_store(scene.folder), last.run_id if last else ""))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    scene.verify(FAIL)

    assert len(seen) >= 4
    assert [problems for problems, _last in seen if problems] == []


# --- any history -----------------------------------------------------------------------------------------------------

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
