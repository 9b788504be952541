"""The controller's halves: confirming over a fresh connection, and finding the roles."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleLookupError
from module_process import PLUGINS


def load_plugin(kind: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{kind}_{name}_under_test", PLUGINS / kind / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ACTION = load_plugin("action", "antiseche_files")
Answer = dict[str, Any] | Exception


class Clock:
    """Time that passes only while somebody sleeps, or waits for a machine that does not answer."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


class Machine:
    """Answers modules one after the other; the last answer stays."""

    def __init__(self, files: Answer, guard: list[Answer], clock: Clock) -> None:
        self.answers = {"": [files], "antiseche_guard": guard}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.resets = 0
        self.clock = clock
        self.reset_fails = False

    def execute(self, module_name: str = "", module_args: Any = None, task_vars: Any = None) -> dict[str, Any]:
        assert task_vars == {"v": 1}
        self.calls.append((module_name, module_args))
        waiting = self.answers[module_name]
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if callable(answer):
            answer = answer(module_args)
        if isinstance(answer, Exception):
            self.clock.now += 15
            raise answer
        return dict(answer)

    def reset(self) -> None:
        self.resets += 1
        if self.reset_fails:
            raise AnsibleConnectionFailure("ssh: reset failed")


CUT = AnsibleConnectionFailure("Failed to connect to the host via ssh: timed out")
LANDED = {"changed": True, "changes": ["file /x"], "guard": {"name": "wall", "token": "t", "pending": True}}
ARGUMENTS = {"files": [], "guard": {"name": "wall", "seconds": 60}}


def run(
    monkeypatch: pytest.MonkeyPatch, files: Answer | Callable[..., Any], *guard: Any, arguments: Any = None, check: bool = False
) -> tuple[Any, Machine]:
    clock = Clock()
    machine = Machine(files, list(guard), clock)
    monkeypatch.setattr(ACTION, "time", clock)
    monkeypatch.setattr(ACTION, "_", lambda message: message)
    monkeypatch.setattr(ACTION.ActionBase, "run", lambda _self, _tmp, _vars: {})
    plugin = ACTION.ActionModule.__new__(ACTION.ActionModule)
    plugin._task = SimpleNamespace(args=ARGUMENTS if arguments is None else arguments, check_mode=check)
    plugin._connection = machine
    monkeypatch.setattr(plugin, "_execute_module", machine.execute, raising=False)
    try:
        return plugin.run(task_vars={"v": 1}), machine
    except AnsibleConnectionFailure as error:
        return error, machine


def test_without_a_guard_it_is_the_plain_module(monkeypatch: pytest.MonkeyPatch) -> None:
    result, machine = run(monkeypatch, {"changed": True}, arguments={"files": []})
    assert result == {"changed": True}
    assert machine.calls == [("", {"files": []})]
    assert machine.resets == 0


def test_check_mode_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    result, machine = run(monkeypatch, LANDED, check=True)
    assert result == LANDED
    assert machine.calls == [("", ARGUMENTS)]


@pytest.mark.parametrize("guard", ["name=wall", ["wall"], 5])
def test_a_guard_of_the_wrong_kind_is_for_the_module_to_refuse(monkeypatch: pytest.MonkeyPatch, guard: Any) -> None:
    result, machine = run(monkeypatch, {"failed": True, "msg": "no dict"}, arguments={"guard": guard})
    assert result == {"failed": True, "msg": "no dict"}
    assert machine.calls == [("", {"guard": guard})]


def test_a_change_is_confirmed_over_a_connection_opened_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    result, machine = run(monkeypatch, LANDED, {"changed": True, "pending": False})
    assert machine.resets == 1
    token = machine.calls[0][1]["guard"]["token"]
    assert len(token) == 16
    assert machine.calls[1] == ("antiseche_guard", {"name": "wall", "state": "confirmed", "token": token})
    assert result == {**LANDED, "guard": {**LANDED["guard"], "pending": False}}
    assert "token" not in ARGUMENTS["guard"], "the task's own arguments stay as they were"


def test_every_run_has_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = {run(monkeypatch, LANDED, {"pending": False})[1].calls[0][1]["guard"]["token"] for _time in range(5)}
    assert len(tokens) == 5


@pytest.mark.parametrize(
    "answer",
    [{"changed": False, "guard": {"pending": False}}, {"failed": True, "msg": "no"}, {"changed": False}, {"guard": None}],
)
def test_nothing_pending_means_nothing_to_confirm(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> None:
    result, machine = run(monkeypatch, answer)
    assert result == answer
    assert machine.resets == 0


def test_a_confirmation_that_is_refused_fails_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _machine = run(monkeypatch, LANDED, {"failed": True, "msg": "another run"})
    assert (result["failed"], result["msg"]) == (True, "another run")


def undone(machine_args: dict[str, Any]) -> dict[str, Any]:
    return {"pending": False, "undone": {"token": machine_args["token"], "at": "2026-01-01T10:00:00Z"}}


@pytest.mark.parametrize("where", ["during the change", "at the confirmation"])
def test_a_cut_that_the_machine_undid_says_so(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    files, first = (CUT, []) if where == "during the change" else (LANDED, [CUT])
    error, machine = run(monkeypatch, files, *first, CUT, {"pending": True}, undone)
    assert isinstance(error, AnsibleConnectionFailure)
    assert "« wall » coupait l'accès de maintenance" in str(error)
    assert "2026-01-01T10:00:00Z" in str(error)
    assert "timed out" not in str(error), "one sentence, ours"
    reports = [arguments for name, arguments in machine.calls if arguments.get("state") == "reported"]
    assert {arguments["token"] for arguments in reports} == {machine.calls[0][1]["guard"]["token"]}


def test_a_confirmation_that_comes_too_late_tells_the_same_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """The power failed, or the delay was too short: the machine answers again, without the change."""
    late = {"failed": True, "msg": "the machine has undone this change by itself", "changes": []}
    error, _machine = run(monkeypatch, LANDED, lambda given: {**late, **undone(given)})
    assert isinstance(error, AnsibleConnectionFailure)
    assert "« wall » n'a pas pu être confirmé à temps : la machine l'a annulé d'elle-même (2026-01-01T10:00:00Z)" in str(error)
    older, _machine = run(monkeypatch, LANDED, {**late, "undone": {"token": "older"}})
    assert older["failed"], "an older story explains nothing"


def test_a_cut_before_anything_was_armed_stays_ssh_s_own_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    error, _machine = run(monkeypatch, CUT, {"pending": False, "undone": {"token": "older", "at": "x"}})
    assert str(error) == str(CUT)


def test_a_machine_that_never_comes_back_is_given_its_delay_and_some(monkeypatch: pytest.MonkeyPatch) -> None:
    error, machine = run(monkeypatch, CUT, CUT)
    assert "La machine ne répond plus depuis le changement « wall »" in str(error)
    assert "60 secondes" in str(error)
    waited = machine.clock.now - 1000
    assert 60 + ACTION.MARGIN <= waited < 60 + ACTION.MARGIN + 40


def test_a_report_that_fails_is_not_taken_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    error, _machine = run(monkeypatch, CUT, {"failed": True, "msg": "no python"}, {"failed": True}, undone)
    assert "coupait l'accès" in str(error)


def test_a_connection_that_cannot_even_be_closed_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    machine = Machine(LANDED, [undone], clock)
    machine.reset_fails = True
    monkeypatch.setattr(ACTION, "time", clock)
    monkeypatch.setattr(ACTION, "_", lambda message: message)
    monkeypatch.setattr(ACTION.ActionBase, "run", lambda _self, _tmp, _vars: {})
    plugin = ACTION.ActionModule.__new__(ACTION.ActionModule)
    plugin._task, plugin._connection = SimpleNamespace(args=ARGUMENTS, check_mode=False), machine
    monkeypatch.setattr(plugin, "_execute_module", machine.execute, raising=False)
    with pytest.raises(AnsibleConnectionFailure, match="ne répond plus"):
        plugin.run(task_vars={"v": 1})
    assert clock.slept > 60


# ---- the order of the roles


@pytest.fixture
def lookup() -> Any:
    return load_plugin("lookup", "antiseche_roles").LookupModule.__new__(load_plugin("lookup", "antiseche_roles").LookupModule)


def role(folder: Path, name: str, text: str | bytes) -> None:
    (folder / name).mkdir()
    (folder / name / "controls.yml").write_bytes(text if isinstance(text, bytes) else text.encode())


def test_roles_come_in_their_order_and_then_by_name(tmp_path: Path, lookup: Any) -> None:
    role(tmp_path, "late", "order: 90\n")
    role(tmp_path, "b", "# order: 1\norder: 50 # why\ncontrols: []\n")
    role(tmp_path, "a", "controls: []\norder:  50\n")
    role(tmp_path, "early", "order: 5\n")
    (tmp_path / "not_a_role").mkdir()
    (tmp_path / "file").touch()
    assert lookup.run([str(tmp_path)]) == ["early", "a", "b", "late"]


def test_the_kit_s_own_roles(lookup: Any) -> None:
    found = lookup.run([str(PLUGINS.parent / "roles")])
    assert {"updates", "accounts", "password_policy", "firewall", "remote_access"} <= set(found)
    assert found[-2:] == ["firewall", "remote_access"] or found[-2:] == ["remote_access", "firewall"], (
        "what can cut us off is last"
    )


@pytest.mark.parametrize("text", ["", "order: soon\n", "order: -1\n", "  order: 5\n", "order: 5 5\n", "disorder: 5\n"])
def test_a_role_without_an_order_is_told(tmp_path: Path, lookup: Any, text: str) -> None:
    role(tmp_path, "x", text)
    with pytest.raises(AnsibleLookupError, match=r"x/controls.yml gives no order: add a line such as 'order: 50'"):
        lookup.run([str(tmp_path)])


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, lookup: Any) -> None:
    role(tmp_path, "x", b"order: 5\n# \xff\n")
    with pytest.raises(AnsibleLookupError, match="cannot be read"):
        lookup.run([str(tmp_path)])


@pytest.mark.parametrize("folder", ["", "no/such"])
def test_no_role_at_all_is_an_error_and_no_quick_success(tmp_path: Path, lookup: Any, folder: str) -> None:
    with pytest.raises(AnsibleLookupError, match="holds no role of the kit"):
        lookup.run([str(tmp_path / folder)])
