"""The event writer alone: what it writes of what Ansible hands it, and what it never writes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiseche.engine.events import read_events
from antiseche.kit import kit_dir

SECRET = "Hunter2-Hunter2"
FIELDS = {"v", "t", "event", "play", "role", "task", "task_id", "host", "status", "changes", "duration", "msg", "stats"}


def load() -> Any:
    path = kit_dir() / "plugins/callback/antiseche_events.py"
    spec = importlib.util.spec_from_file_location("antiseche_events_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULE = load()


def task(name: str = "Write it", action: str = "antiseche_files", role: str = "firewall") -> Any:
    owner = SimpleNamespace(get_name=lambda: role) if role else None
    return SimpleNamespace(name=name, action=action, _uuid="t1", _role=owner)


class Writer:
    """A callback that writes to a file of its own."""

    def __init__(self, path: Path, *, check: bool = False) -> None:
        self.path = path
        self.plugin = MODULE.CallbackModule()
        self.plugin.v2_playbook_on_play_start(SimpleNamespace(get_name=lambda: "play", check_mode=check))

    def result(self, how: str, data: dict[str, Any], of: Any = None, **more: Any) -> dict[str, Any]:
        result = SimpleNamespace(
            task=of or task(),
            host=SimpleNamespace(get_name=lambda: "accueil"),
            result=data,
            is_changed=lambda: bool(data.get("changed")),
        )
        getattr(self.plugin, f"v2_runner_on_{how}")(result, **more)
        return self.last()

    def last(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8").split("\n")[-2])
        return line


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Writer]:
    monkeypatch.setenv("ANTISECHE_EVENTS", str(tmp_path / "events.jsonl"))
    return lambda **options: Writer(tmp_path / "events.jsonl", **options)


def test_the_file_is_private_whatever_the_umask(writer: Callable[..., Writer], tmp_path: Path) -> None:
    writer()
    assert (tmp_path / "events.jsonl").stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTISECHE_EVENTS", raising=False)
    assert MODULE.CallbackModule().disabled


@pytest.mark.parametrize("how", ["ok", "failed", "unreachable", "skipped"])
def test_only_listed_fields_are_written(writer: Callable[..., Writer], how: str) -> None:
    data = {
        "changed": True,
        "changes": ["file /etc/x"],
        "msg": "le disque est plein",
        "stdout": SECRET,
        "stderr_lines": [SECRET],
        "cmd": ["mysql", SECRET],
        "content": SECRET,
        "invocation": {"module_args": {"password": SECRET}},
        "diff": {"before": SECRET, "after": SECRET},
        "ansible_facts": {"token": SECRET},
        "results": [{"item": SECRET, "msg": "x"}],
        "exception": f"Traceback {SECRET}",
    }
    made = writer()
    line = made.result(how, data)
    assert set(line) <= FIELDS
    assert SECRET not in made.path.read_text()


@pytest.mark.parametrize(
    ("how", "data", "more", "status"),
    [
        ("ok", {"changed": False}, {}, "ok"),
        ("ok", {"changed": True}, {}, "changed"),
        ("failed", {"msg": "x"}, {}, "failed"),
        ("failed", {"msg": "x"}, {"ignore_errors": True}, "ignored"),
        ("unreachable", {"msg": "x"}, {}, "unreachable"),
        ("skipped", {"skipped": True}, {}, "skipped"),
        ("skipped", {"skipped": True, "skip_reason": "Conditional result was False"}, {}, "skipped"),
    ],
)
def test_statuses(writer: Callable[..., Writer], how: str, data: dict[str, Any], more: dict[str, Any], status: str) -> None:
    line = writer().result(how, data, **more)
    assert (line["status"], line["host"], line["role"], line["task"]) == (status, "accueil", "firewall", "Write it")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"skipped": True}, "unknown"),
        ({"skipped": True, "skip_reason": "Conditional result was False"}, "skipped"),
        ({"skipped": True, "skipped_reason": "No items in the list"}, "skipped"),
        ({"results": [{"skipped": True, "skip_reason": "x"}, {"skipped": True}]}, "unknown"),
    ],
)
def test_a_module_that_cannot_predict_is_told_apart_in_check_mode(
    writer: Callable[..., Writer], data: dict[str, Any], status: str
) -> None:
    assert writer(check=True).result("skipped", data)["status"] == status


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        ({"changed": True, "changes": ["a", "b"]}, ["a", "b"]),
        ({"changed": True, "results": [{"changes": ["a"]}, {"changes": ["b"]}, {}]}, ["a", "b"]),
        ({"changed": True, "changes": "everything"}, []),
        ({"changed": True, "changes": [1, None, {"x": 1}, "a"]}, ["a"]),
        ({"changed": True, "results": "none"}, []),
        ({"changed": True, "changes": ["password: hunter2"]}, ["password: ***"]),
        ({"changed": True, "changes": ["\x1b[2Jfile \x07"]}, ["�[2Jfile �"]),
    ],
)
def test_changes(writer: Callable[..., Writer], data: dict[str, Any], changes: list[str]) -> None:
    assert writer().result("ok", data)["changes"] == changes


def test_long_lists_and_long_texts_are_cut(writer: Callable[..., Writer]) -> None:
    line = writer().result("ok", {"changed": True, "changes": ["x" * 5000] * 5000})
    assert len(line["changes"]) == 500
    assert len(line["changes"][0]) == 300
    assert len(writer().result("failed", {"msg": "y" * 9999})["msg"]) == 500


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"msg": "le mot de passe : Hunter2 est refusé"}, "le mot de passe : *** est refusé"),
        ({"reason": "no route"}, "no route"),
        (
            {"msg": "all items failed", "results": [{"msg": "fine"}, {"failed": True, "msg": "third disk is full"}]},
            "third disk is full",
        ),
        ({"censored": "the output has been hidden"}, ""),
        ({}, ""),
    ],
)
def test_reasons(writer: Callable[..., Writer], data: dict[str, Any], message: str) -> None:
    assert writer().result("failed", data)["msg"] == message


@pytest.mark.parametrize("action", ["include_role", "ansible.builtin.include_tasks", "ansible.legacy.import_role", "meta"])
def test_includes_are_silent_unless_they_fail(writer: Callable[..., Writer], action: str) -> None:
    made = writer()
    before = made.path.read_text()
    made.plugin.v2_runner_on_start(SimpleNamespace(get_name=lambda: "accueil"), task(action=action))
    made.result("ok", {}, task(action=action))
    assert made.path.read_text() == before
    assert made.result("failed", {"msg": "no such role"}, task(action=action))["status"] == "failed"


def test_durations_are_those_of_the_task_on_its_host(writer: Callable[..., Writer]) -> None:
    made = writer()
    assert made.result("ok", {})["duration"] is None
    made.plugin.v2_runner_on_start(SimpleNamespace(get_name=lambda: "accueil"), task())
    assert made.last()["event"] == "task_start"
    assert made.result("ok", {})["duration"] >= 0
    assert made.result("ok", {})["duration"] is None


def test_differences_are_kept_apart_private_and_redacted(
    writer: Callable[..., Writer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTISECHE_DIFFS", str(tmp_path / "diffs.jsonl"))
    made = writer()
    diff = {
        "before": "password=old\n",
        "after": f"password={SECRET}\nopen=yes\n",
        "before_header": "/etc/x",
        "after_header": "/etc/x",
    }
    result = SimpleNamespace(task=task(), host=SimpleNamespace(get_name=lambda: "accueil"), result={"diff": diff})
    made.plugin.v2_on_file_diff(result)
    text = (tmp_path / "diffs.jsonl").read_text()
    assert (tmp_path / "diffs.jsonl").stat().st_mode & 0o777 == 0o600
    assert "open=yes" in text
    assert SECRET not in text
    assert SECRET not in made.path.read_text()


def test_differences_are_not_kept_unless_asked_for(writer: Callable[..., Writer], tmp_path: Path) -> None:
    made = writer()
    result = SimpleNamespace(task=task(), host=SimpleNamespace(get_name=lambda: "accueil"), result={"diff": {"after": "x"}})
    made.plugin.v2_on_file_diff(result)
    assert not (tmp_path / "diffs.jsonl").exists()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DATA = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("changed", "changes", "msg", "reason", "results", "skipped", "failed"), VALUES)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DATA, st.sampled_from(["ok", "failed", "unreachable", "skipped"]), st.text(st.characters(codec=None)))
def test_any_result_is_one_readable_line(writer: Callable[..., Writer], data: dict[str, Any], how: str, name: str) -> None:
    made = writer(check=True)
    before = made.path.read_bytes().count(b"\n")
    made.result(how, data, task(name=name))
    written = made.path.read_bytes()
    assert written.count(b"\n") == before + 1
    assert len(list(read_events(made.path))) == before + 1
