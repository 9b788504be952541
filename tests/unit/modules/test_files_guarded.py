"""Files under guard: armed before they land, effective or undone, confirmed by whoever came back."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import antiseche_commit_confirm as commit_confirm
from module_process import FakeCommands, answer_of, load
from test_files import entry

FILES, GUARD = load("antiseche_files"), load("antiseche_guard")
TOKEN = "0123456789abcdef"


class Machine:
    """A folder that plays the machine; /etc/rules is the file, ``running`` what a service made of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rules, self.running = root / "rules", root / "running"
        self.rules.write_text("old\n")
        self.rules.chmod(0o644)
        self.running.write_text("old\n")
        self.apply = ["cp", str(self.rules), str(self.running)]
        self.probe = ["cmp", "-s", str(self.rules), str(self.running)]
        self.guard = commit_confirm.Guard("wall", root)

    def asks(self, content: str = "new\n", *, check: bool = False, **guard: Any) -> dict[str, Any]:
        options = {"name": "wall", "token": TOKEN, "apply": [self.apply], "probe": self.probe, **guard}
        return answer_of(FILES, {"files": [entry(self.rules, content)], "guard": options}, check=check)

    def state(self, state: str, token: str = "", *, check: bool = False) -> dict[str, Any]:
        return answer_of(GUARD, {"name": "wall", "state": state, "token": token}, check=check)

    @property
    def seen(self) -> tuple[str, str]:
        return self.rules.read_text(), self.running.read_text()


@pytest.fixture
def machine(tmp_path: Path, commands: FakeCommands, monkeypatch: pytest.MonkeyPatch) -> Machine:
    assert commands
    (tmp_path / "root").mkdir()
    rooted = functools.partial(commit_confirm.Guard, root=tmp_path / "root")
    monkeypatch.setattr(FILES, "Guard", rooted)
    monkeypatch.setattr(GUARD, "Guard", rooted)
    return Machine(tmp_path / "root")


def test_a_change_is_predicted_made_confirmed_and_then_left_alone(machine: Machine) -> None:
    predicted = machine.asks(check=True)
    assert machine.seen == ("old\n", "old\n")
    assert not machine.guard.pending
    done = machine.asks()
    assert done["changes"] == predicted["changes"] == [f"file {machine.rules}"]
    assert done["guard"] == {"name": "wall", "token": TOKEN, "pending": True}
    assert machine.seen == ("new\n", "new\n")
    confirmed = machine.state("confirmed", TOKEN)
    assert (confirmed["changes"], confirmed["pending"]) == (["guard wall: confirmed"], False)
    assert machine.state("confirmed", TOKEN)["changes"] == []
    again = machine.asks()
    assert (again["changes"], again["guard"]["pending"]) == ([], False)


def test_rules_changed_behind_the_file_s_back_are_found(machine: Machine) -> None:
    machine.running.write_text("opened by hand\n")
    assert machine.asks("old\n", check=True)["changes"] == ["running state wall"]
    done = machine.asks("old\n")
    assert (done["changes"], done["guard"]["pending"]) == (["running state wall"], True)
    assert machine.seen == ("old\n", "old\n")


def test_a_command_that_fails_brings_the_former_state_back(machine: Machine) -> None:
    done = machine.asks(apply=[machine.apply, ["false"]], undo=[machine.apply])
    assert done["failed"]
    assert done["msg"] == "false failed: exit 1; the former state is back"
    assert machine.seen == ("old\n", "old\n")
    assert machine.state("reported")["undone"]["why"] == "failed"
    assert not machine.guard.pending


@pytest.mark.parametrize("command", [["no-such-command-here"], ["sh", "-c", "kill -9 $$"], ["sh", "-c", "echo said >&2; exit 3"]])
def test_any_way_of_failing_is_undone(machine: Machine, command: list[str]) -> None:
    done = machine.asks(apply=[command], undo=[machine.apply])
    assert "the former state is back" in done["msg"]
    assert machine.seen == ("old\n", "old\n")


def test_an_undo_that_fails_is_told_and_stays_pending(machine: Machine) -> None:
    trap = f"rm {machine.rules}; mkdir {machine.rules}; touch {machine.rules}/x; exit 1"
    done = machine.asks(apply=[["sh", "-c", trap]], undo=[["true"]])
    assert "the former state is back" not in done["msg"]
    assert f"{machine.rules} could not be put back" in done["msg"]
    assert machine.guard.pending


def test_a_landing_that_fails_is_undone(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    def land(plan: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", full)
            real(plan)

    real = FILES.land
    monkeypatch.setattr(FILES, "land", land)
    done = machine.asks()
    assert "No space left on device; no file was changed; the former state is back" in done["msg"]
    assert machine.seen == ("old\n", "old\n")
    assert not machine.guard.pending


def test_a_timer_that_does_not_start_changes_nothing(machine: Machine, commands: FakeCommands) -> None:
    commands.add("systemctl", '[ "$1" != restart ]')
    done = machine.asks()
    assert done["msg"] == "the undo timer does not start; nothing was changed"
    assert machine.seen == ("old\n", "old\n")


def test_a_run_killed_between_landing_and_applying_is_applied_by_the_next_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def dies(_argv: list[str]) -> str:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(FILES, "run", dies)
        with pytest.raises(Killed):
            machine.asks(probe=[])
    assert machine.seen == ("new\n", "old\n")
    assert machine.asks(probe=[], check=True)["changes"] == ["guard wall: confirmed"]
    done = machine.asks(probe=[])
    assert (done["changes"], done["guard"]["pending"]) == (["guard wall: confirmed"], True)
    assert machine.seen == ("new\n", "new\n"), "nobody knew how far it had come"
    machine.state("undone")
    assert machine.seen == ("old\n", "old\n"), "and the first state was kept"


def test_the_story_of_an_undo_is_forgotten_once_all_is_well(machine: Machine) -> None:
    machine.asks()
    undone = machine.state("undone")
    assert (undone["changes"], undone["pending"], undone["undone"]["why"]) == (["guard wall: undone"], False, "asked")
    machine.asks("old\n")
    assert machine.state("reported")["undone"] == {}


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ({"seconds": 3}, "leave no time"),
        ({"apply": [[]]}, "a command is empty"),
        ({"undo": [["true"], [""]]}, "a command is empty"),
        ({"apply": [["a\nb"]]}, "line feed"),
        ({"name": "../x"}, "bad guard name"),
        ({"token": "a b"}, "bad token"),
    ],
)
def test_bad_guards_are_refused_in_both_modes(machine: Machine, bad: dict[str, Any], complaint: str, check: bool) -> None:
    done = machine.asks(check=check, **bad)
    assert complaint in done["msg"]
    assert machine.seen == ("old\n", "old\n")


def test_an_owner_that_does_not_exist_is_refused_before_anything_is_armed(machine: Machine) -> None:
    item = {**entry(machine.rules), "owner": "nobody-by-this-name"}
    done = answer_of(FILES, {"files": [item], "guard": {"name": "wall", "apply": [machine.apply]}})
    assert "does not exist; nothing was changed" in done["msg"]
    assert not machine.guard.pending


def test_no_secret_content_reaches_an_answer_or_the_trace(machine: Machine) -> None:
    item = entry(machine.rules, "new-s3cr3t", secret=True)
    done = answer_of(FILES, {"files": [item], "guard": {"name": "wall", "apply": [["false"]], "undo": [["true"]]}})
    assert "s3cr3t" not in json.dumps(done)
    assert "s3cr3t" not in json.dumps(machine.state("reported"))


# ---- the module that confirms


def test_check_mode_confirms_and_undoes_nothing(machine: Machine) -> None:
    machine.asks()
    for state in ("confirmed", "undone"):
        done = machine.state(state, check=True)
        assert (done["changes"], done["pending"]) == ([f"guard wall: {state}"], False)
    assert machine.guard.pending
    assert machine.state("reported")["pending"]


@pytest.mark.parametrize("check", [True, False])
def test_confirming_too_late_fails_alike_in_both_modes(machine: Machine, check: bool) -> None:
    machine.asks()
    machine.state("undone")
    done = machine.state("confirmed", TOKEN, check=check)
    assert done["failed"]
    assert done["msg"].startswith("guard wall: the machine has undone this change by itself")
    assert done["undone"]["token"] == TOKEN


def test_nothing_pending_is_fine_for_every_state(machine: Machine) -> None:
    for state in ("confirmed", "undone", "reported"):
        done = machine.state(state)
        assert (done["changed"], done["pending"], done["undone"]) == (False, False, {})


def test_a_bad_name_is_one_sentence(machine: Machine) -> None:
    done = answer_of(GUARD, {"name": "No Name", "state": "reported"})
    assert done["failed"]
    assert "bad guard name" in done["msg"]
