"""Commit-confirm killed at any step: the old state comes back, or the new one was confirmed."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.antiseche_commit_confirm import Guard
from ansible.module_utils.antiseche_undo_script import UNDO_SCRIPT
from guard_samples import Killed, Machine, look
from module_process import FakeCommands


@pytest.fixture
def machine(tmp_path: Path, commands: FakeCommands, monkeypatch: pytest.MonkeyPatch) -> Machine:
    assert commands
    monkeypatch.chdir(tmp_path)
    return Machine(tmp_path / "root")


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the step-th operation on the disk be the last one."""
    count = itertools.count(1)

    def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(count) == step:
                raise Killed
            return real(*arguments, **options)

        return call

    for owner, name in [(os, "open"), (os, "fsync"), (os, "chown"), (os, "fchmod")]:
        monkeypatch.setattr(owner, name, deadly(getattr(owner, name)))
    for name in ("replace", "symlink_to", "unlink", "mkdir"):
        monkeypatch.setattr(Path, name, deadly(getattr(Path, name)))


@pytest.mark.parametrize("armed_before", [False, True], ids=["fresh", "pending"])
def test_killed_at_any_step_of_arming_nothing_is_lost(
    tmp_path: Path, commands: FakeCommands, monkeypatch: pytest.MonkeyPatch, armed_before: bool
) -> None:
    assert commands
    for step in itertools.count(1):
        machine = Machine(tmp_path / str(step))
        late = machine.etc / "late"
        if armed_before:
            machine.arm()
            machine.change()
            late.symlink_to("first")
        with monkeypatch.context() as patch:
            kill_at(patch, step)
            try:
                machine.guard.arm([*machine.paths, late], 60, [machine.command])
                killed = False
            except Killed:
                killed = True
        fresh = Guard("wall", machine.root)
        late_before = look(late)
        # The next run arms again, changes everything, and loses the connection.
        fresh.arm([*machine.paths, late], 60, [machine.command])
        machine.change()
        late.unlink(missing_ok=True)
        late.write_text("new")
        assert machine.script("wall").returncode == 0
        assert machine.seen() == machine.before, f"killed at step {step}"
        assert look(late) == late_before, f"killed at step {step}"
        assert not fresh.pending
        if not killed:
            break
    assert step > 15, "the arming was really interrupted"


@pytest.mark.parametrize("armed_before", [False, True], ids=["fresh", "pending"])
def test_killed_at_any_step_of_arming_the_timer_or_the_boot_undoes(
    tmp_path: Path, commands: FakeCommands, monkeypatch: pytest.MonkeyPatch, armed_before: bool
) -> None:
    assert commands
    for step in itertools.count(1):
        machine = Machine(tmp_path / str(step))
        if armed_before:
            machine.arm()
            machine.change()
        with monkeypatch.context() as patch:
            kill_at(patch, step)
            try:
                machine.arm()
                killed = False
            except Killed:
                killed = True
        done = machine.script("--boot" if step % 2 else "wall")
        assert done.returncode == 0
        assert machine.seen() == machine.before, f"killed at step {step}"
        if not killed:
            break
    assert step > 15


@pytest.mark.parametrize("step", range(1, 15))
def test_killed_at_any_step_of_confirming_it_is_kept_or_undone_as_a_whole(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    token = machine.arm()
    machine.change()
    new = machine.seen()
    with monkeypatch.context() as patch:
        kill_at(patch, step)
        try:
            machine.guard.confirm(token)
        except Killed:
            pass
        else:
            assert step > 5, "the confirmation was really interrupted"
    assert machine.script("wall").returncode == 0
    assert machine.seen() in (machine.before, new)
    assert not Guard("wall", machine.root).pending


def interrupted_scripts() -> list[tuple[int, str]]:
    """Return the undo script with a kill before each line where one can stand."""
    lines = UNDO_SCRIPT.splitlines(keepends=True)
    found = []
    for number in range(1, len(lines)):
        text = "".join([*lines[:number], "kill -9 $$\n", *lines[number:]])
        inside = lines[number - 1].rstrip().endswith("\\")
        if not inside and subprocess.run(["/bin/sh", "-n", "-c", text], capture_output=True, check=False).returncode == 0:
            found.append((number, text))
    return found


def test_killed_at_any_line_of_the_undo_the_next_one_finishes(tmp_path: Path, commands: FakeCommands) -> None:
    assert commands
    killed = 0
    for number, text in interrupted_scripts():
        machine = Machine(tmp_path / str(number))
        machine.arm()
        machine.change()
        killed += machine.script("wall", text=text).returncode == -9
        done = machine.script("wall")
        assert done.returncode == 0, f"line {number}: {done.stderr}"
        assert machine.seen() == machine.before, f"killed before line {number}"
        assert not machine.guard.pending
        assert not machine.timer_link.is_symlink()
        assert json.loads(machine.guard.trace.read_text())["name"] == "wall", f"killed before line {number}"
        assert sorted(p.name for p in machine.etc.iterdir()) == ["file", "link"], f"killed before line {number}"
    assert killed > 25, "the undo was really interrupted"
