"""The store under kills, full disks and second writers: nothing or all of a pass is kept."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import scene as scenes
from scene import Scene

from antiseche.engine.locking import LOCK_NAME, practice_lock
from antiseche.errors import AntisecheError
from antiseche.evidence import chain, store
from antiseche.practice import staging

KEY = ("accueil", "ALP-01")
FAIL = {KEY: "fail"}


def whole(scene: Scene) -> list[str]:
    return chain.check_store(scene.folder)


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

        os.fsync, Path.replace = fsync, replace  # type: ignore[assignment,method-assign]  # back to what they were
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
