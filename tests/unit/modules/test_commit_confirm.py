"""Commit-confirm on a machine's files: whatever happens, the old state comes back or the new one was confirmed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import antiseche_commit_confirm as commit_confirm
from ansible.module_utils.antiseche_undo_script import BOOT, SERVICE, UNDO_SCRIPT
from guard_samples import Machine, look
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from module_process import FakeCommands

Guard, GuardError = commit_confirm.Guard, commit_confirm.GuardError


@pytest.fixture
def machine(tmp_path: Path, commands: FakeCommands, monkeypatch: pytest.MonkeyPatch) -> Machine:
    assert commands
    monkeypatch.chdir(tmp_path)
    return Machine(tmp_path / "root")


def test_undone_the_machine_is_as_it_was(machine: Machine, commands: FakeCommands) -> None:
    token = machine.arm()
    machine.change()
    assert machine.guard.pending
    assert machine.timer_link.is_symlink()
    assert "systemctl restart antiseche-undo-wall.timer" in commands.calls
    done = machine.script("wall")
    assert done.returncode == 0, done.stderr
    assert machine.seen() == machine.before
    assert machine.applied.read_text() == "done\n"
    assert not machine.guard.pending
    assert not machine.timer_link.is_symlink()
    trace = machine.guard.undone()
    assert (trace["name"], trace["why"], trace["token"]) == ("wall", "timer", token)
    assert sorted(p.name for p in machine.etc.iterdir()) == ["file", "link"], "nothing is left over"


def test_confirmed_the_change_stays(machine: Machine, commands: FakeCommands) -> None:
    token = machine.arm()
    machine.change()
    assert machine.guard.confirm(token)
    assert not machine.guard.confirm(token), "confirming twice is fine and changes nothing"
    assert machine.script("wall").returncode == 0
    assert machine.script("--boot").returncode == 0
    assert [path.read_text() for path in machine.paths] == ["new"] * 3
    assert not machine.applied.exists()
    assert not machine.timer_link.is_symlink()
    assert "systemctl stop antiseche-undo-wall.timer" in commands.calls
    assert [p.name for p in (machine.root / "var/lib/antiseche/undo").iterdir()] == [".lock"]


def test_a_late_confirmation_learns_that_it_is_late(machine: Machine) -> None:
    token = machine.arm()
    machine.change()
    machine.script("wall")
    with pytest.raises(GuardError, match="undone this change by itself at 2"):
        machine.guard.confirm(token)
    assert not machine.guard.confirm("another"), "somebody else's story"


def test_nobody_confirms_what_another_run_is_changing(machine: Machine) -> None:
    first = machine.arm()
    second = machine.arm()
    with pytest.raises(GuardError, match="another run"):
        machine.guard.confirm(first)
    assert machine.guard.pending
    assert machine.guard.confirm(second)


def test_a_new_change_forgets_the_old_undo(machine: Machine) -> None:
    machine.arm()
    machine.script("wall")
    assert machine.guard.undone()
    token = machine.arm()
    machine.guard.confirm(token)
    assert machine.guard.undone() == {}


def test_the_first_state_is_kept_while_changes_pile_up(machine: Machine) -> None:
    machine.arm()
    machine.change()
    late = machine.etc / "late"
    late.write_text("late old")
    machine.guard.arm([*machine.paths, late], 60, [machine.command])
    late.write_text("late new")
    machine.change()
    assert machine.script("wall").returncode == 0
    assert machine.seen() == machine.before
    assert late.read_text() == "late old"


def test_at_boot_files_come_back_and_no_command_runs(machine: Machine) -> None:
    machine.arm()
    machine.change()
    other = machine.etc / "other"
    Guard("door", machine.root).arm([other], 60, [])
    other.write_text("new")
    (machine.guard.folder.parent / ".stray.arming").mkdir()
    assert machine.script("--boot").returncode == 0
    assert machine.seen() == machine.before
    assert not other.exists()
    assert not machine.applied.exists(), "the services start afterwards, with the old files"
    assert machine.guard.undone()["why"] == "boot"


def test_what_was_saved_is_for_root_alone(machine: Machine) -> None:
    machine.arm()
    for path in [machine.guard.folder, machine.guard.folder.parent]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


ODD_NAMES = [
    "a b",
    "a'b",
    'a"b',
    "$(touch pwned)",
    "`id`",
    "a;b",
    "a\\b",
    "*",
    "?",
    "[x]",
    "-rf",
    "~",
    "#",
    "&",
    "é",
    "%s",
    " ",
    "\t",
]


@pytest.mark.parametrize("name", [*ODD_NAMES, os.fsdecode(b"\xff\xfe"), "x" * 200])
def test_odd_names_come_back(machine: Machine, name: str) -> None:
    odd, missing = machine.etc / name, machine.etc / f"{name}.missing"
    odd.write_text("old")
    machine.guard.arm([odd, missing], 60, [])
    odd.write_text("new")
    missing.write_text("new")
    names = set(machine.etc.iterdir()) - {missing}
    done = machine.script("wall")
    assert done.returncode == 0, done.stderr
    assert odd.read_text() == "old"
    assert set(machine.etc.iterdir()) == names
    assert not Path("pwned").exists()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.text(st.characters(blacklist_characters="\0\n", blacklist_categories=["Cs"])), min_size=1, max_size=3))
def test_commands_reach_the_machine_word_for_word(machine: Machine, words: list[str]) -> None:
    seen = machine.root / "words"
    write = 'for word; do printf "%s\\n" "$word"; done >"$0"'
    machine.guard.arm([], 60, [["sh", "-c", write, str(seen), *words]])
    assert machine.script("wall").returncode == 0
    assert seen.read_bytes().decode() == "".join(f"{word}\n" for word in words)


@pytest.mark.parametrize("command", [["false"], ["no-such-command-here"], ["sh", "-c", "kill -9 $$"], ["cat"]])
def test_a_failing_command_stops_neither_the_others_nor_the_undo(machine: Machine, command: list[str]) -> None:
    machine.arm(apply=[command, machine.command])
    machine.change()
    done = machine.script("wall")
    assert done.returncode == 0
    assert machine.seen() == machine.before
    assert machine.applied.read_text() == "done\n"
    assert ("failed" in done.stderr) is (command != ["cat"]), "commands get an empty standard input"


def test_a_command_that_stays_behind_does_not_keep_the_lock(machine: Machine) -> None:
    machine.arm(apply=[["sh", "-c", "sleep 30 >/dev/null 2>&1 & echo $! >pid"]])
    pid = Path("pid")
    try:
        assert machine.script("wall").returncode == 0
        assert machine.script("wall", ANTISECHE_PATIENCE="0").stderr == "", "the lock is free"
    finally:
        os.kill(int(pid.read_text()), 15)
        pid.unlink()


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ({"seconds": 0}, "leave no time"),
        ({"seconds": -5}, "leave no time"),
        ({"seconds": 9}, "leave no time"),
        ({"token": 'x"}'}, "bad token"),
        ({"token": "../x"}, "bad token"),
        ({"apply": [["true"], []]}, "empty"),
        ({"apply": [[""]]}, "empty"),
        ({"apply": [["printf", "a\nb"]]}, "line feed"),
    ],
)
def test_what_could_not_be_undone_is_refused(machine: Machine, bad: dict[str, Any], complaint: str) -> None:
    with pytest.raises(GuardError, match=complaint):
        machine.arm(**bad)
    assert not machine.guard.pending


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: os.mkfifo(p)], ids=["folder", "fifo"])
def test_only_files_and_links_are_guarded(machine: Machine, make: Callable[[Path], None]) -> None:
    make(machine.etc / "odd")
    with pytest.raises(GuardError, match="neither a file nor a link"):
        machine.guard.arm([machine.etc / "odd"], 60, [])
    assert not machine.guard.pending
    with pytest.raises(GuardError, match="line feed"):
        machine.guard.arm([machine.etc / "a\nb"], 60, [])


@pytest.mark.parametrize("name", ["", "A", "a-b", "../x", "a b", "1a", "a" * 40, "é", "a\n"])
def test_bad_names(name: str) -> None:
    with pytest.raises(GuardError, match="bad guard name"):
        Guard(name)


@pytest.mark.parametrize("argument", ["", "A", "../x", "a;b", "--help"])
def test_the_script_refuses_bad_names(machine: Machine, argument: str) -> None:
    machine.arm()
    assert machine.script(argument).returncode == 2
    assert machine.guard.pending


def test_an_odd_reason_cannot_spoil_the_trace(machine: Machine) -> None:
    machine.arm()
    assert machine.script("wall", '", "x": "').returncode == 0
    assert machine.guard.undone()["why"] == "asked"


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00"])
def test_an_unreadable_trace_is_no_trace(machine: Machine, content: str) -> None:
    machine.guard.trace.parent.mkdir(parents=True)
    machine.guard.trace.write_text(content)
    assert machine.guard.undone() == {}


def test_nothing_is_pending_when_the_timer_does_not_start(machine: Machine, commands: FakeCommands) -> None:
    commands.add("systemctl", '[ "$1" != restart ]')
    with pytest.raises(GuardError, match="timer does not start; nothing was changed"):
        machine.arm()
    assert not machine.guard.pending
    assert machine.script("wall").returncode == 0
    assert machine.seen() == machine.before


def test_a_machine_without_systemctl_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(GuardError, match="timer does not start"):
        machine.arm()


def test_what_cannot_be_put_back_stays_saved_until_it_can(machine: Machine) -> None:
    token = machine.arm()
    machine.change()
    machine.paths[0].unlink()
    machine.paths[0].mkdir()
    (machine.paths[0] / "x").touch()
    done = machine.script("wall")
    assert done.returncode != 0
    assert f"{machine.paths[0]} could not be put back" in done.stderr
    assert machine.guard.pending
    assert machine.timer_link.is_symlink()
    assert machine.guard.undone() == {}
    assert [look(path) for path in machine.paths[1:]] == machine.before[1:], "the others are back"
    with pytest.raises(GuardError, match=r"not be wholly undone.*could not be put back"):
        machine.guard.undo("asked")
    shutil.rmtree(machine.paths[0])
    machine.guard.undo("asked")
    assert machine.seen() == machine.before
    assert machine.guard.undone()["token"] == token


def test_a_lost_undo_script_is_told(machine: Machine) -> None:
    machine.arm()
    (machine.root / "usr/local/lib/antiseche/undo").unlink()
    with pytest.raises(GuardError, match="not be wholly undone"):
        machine.guard.undo("asked")
    assert machine.guard.pending


def test_saved_files_on_another_disk_are_copied(machine: Machine) -> None:
    elsewhere = Path("/dev/shm") / f"antiseche-test-{os.getpid()}"
    if not elsewhere.parent.is_dir() or elsewhere.parent.stat().st_dev == machine.root.stat().st_dev:
        pytest.skip("this machine offers one file system only")
    try:
        elsewhere.write_text("old")
        elsewhere.chmod(0o604)
        before = look(elsewhere)
        machine.guard.arm([elsewhere], 60, [])
        elsewhere.write_text("new")
        assert machine.script("wall").returncode == 0
        assert look(elsewhere) == before
    finally:
        elsewhere.unlink()


# ---- two at once


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def blocked(pid: int) -> bool:
    """Say whether a process, or a child of it, waits for a file lock."""
    locks = Path("/proc/locks").read_text()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return any(f"-> FLOCK  ADVISORY  WRITE {child} " in locks for child in [str(pid), *children])


def test_a_timer_that_runs_out_during_the_change_waits_for_its_end(machine: Machine) -> None:
    argv = ["/bin/sh", "-c", UNDO_SCRIPT, "undo", "wall"]
    with machine.guard.locked():
        machine.arm()
        timer = subprocess.Popen(argv, env={**os.environ, "ANTISECHE_ROOT": str(machine.root)}, stdout=subprocess.DEVNULL)
        wait_until(lambda: timer.poll() is not None or blocked(timer.pid))
        assert timer.poll() is None
        machine.change()
    assert timer.wait(timeout=20) == 0
    assert machine.seen() == machine.before


def test_a_change_that_hangs_does_not_keep_the_undo_away_for_ever(machine: Machine) -> None:
    machine.arm()
    machine.change()
    with machine.guard.locked():
        done = machine.script("wall", ANTISECHE_PATIENCE="0")
    assert "going ahead" in done.stderr
    assert machine.seen() == machine.before


def test_the_units_run_the_script_whatever_its_mode_and_try_again() -> None:
    assert "ExecStart=/bin/sh /usr/local/lib/antiseche/undo %i" in SERVICE
    assert "Restart=on-failure" in SERVICE
    assert "StartLimitIntervalSec=0" in SERVICE
    for unit in ("network-pre.target", "nftables.service", "ssh.service", "ssh.socket"):
        assert unit in next(line for line in BOOT.splitlines() if line.startswith("Before="))
