from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiseche.engine.events import Event, Tail, append, parse, read_events
from antiseche.engine.replay import ReplayEngine
from antiseche.engine.spec import RunSpec
from antiseche.engine.summary import HostStatus, compare, summarize
from antiseche.errors import ExitCode
from antiseche.practice.folder import PracticeFolder


def start(host: str, role: str = "firewall", task: str = "t") -> Event:
    return Event("task_start", host=host, role=role, task=task)


def result(host: str, status: str, *changes: str, role: str = "firewall", task: str = "t", message: str = "") -> Event:
    return Event("result", host=host, role=role, task=task, status=status, changes=changes, message=message)


def stats(host: str, **counts: int) -> Event:
    return Event("stats", host=host, data={"stats": counts})


def begin(*hosts: str) -> Event:
    return Event("run_start", data={"hosts": list(hosts)})


def test_changes_come_from_the_module_or_else_from_the_task() -> None:
    summary = summarize([result("a", "changed", "file /x", "unit y"), result("a", "changed", task="Stock"), stats("a")])
    assert [change.change for change in summary.hosts["a"].changes] == ["file /x", "unit y", "Stock"]
    assert summary.hosts["a"].status is HostStatus.CHANGED


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([begin("a"), start("a"), result("a", "ok"), stats("a")], ExitCode.OK),
        ([begin("a"), result("a", "unreachable", message="no"), stats("a", unreachable=1)], ExitCode.UNREACHABLE),
        (
            [result("a", "failed"), stats("a", failures=1), result("b", "unreachable"), stats("b", unreachable=1)],
            ExitCode.TASK_FAILED,
        ),
        ([begin("a")], ExitCode.FAILURE),
        ([], ExitCode.FAILURE),
        ([begin("a"), start("a"), result("a", "ok")], ExitCode.FAILURE),
        ([begin("a"), Event("run_end", data={"interrupted": True})], ExitCode.INTERRUPTED),
    ],
)
def test_exit_codes(events: list[Event], code: ExitCode) -> None:
    assert summarize(events).exit_code() is code


def test_only_the_failures_that_ansible_counts_are_failures() -> None:
    events = [result("a", "failed", task="tried"), result("a", "failed", task="real"), stats("a", failures=1, rescued=1)]
    host = summarize(events).hosts["a"]
    assert [failure.task for failure in host.rescued] == ["tried"]
    assert [failure.task for failure in host.failures] == ["real"]


def test_an_interrupted_run_says_where_each_host_was() -> None:
    events = [begin("a", "b"), start("a", "updates"), result("a", "ok", role="updates"), start("a", "firewall")]
    summary = summarize(events, interrupted=True)
    assert summary.hosts["a"].roles_done == ["updates"]
    assert summary.hosts["a"].role == "firewall"
    assert summary.hosts["a"].status is HostStatus.INTERRUPTED
    assert summary.hosts["b"].status is HostStatus.NOT_STARTED
    assert summary.as_json()["hosts"]["a"]["role_in_progress"] == "firewall"


def test_a_prediction_is_compared_with_what_happened() -> None:
    planned = summarize([result("a", "changed", "x", "y"), stats("a")])
    done = summarize([result("a", "changed", "y", "z"), stats("a")])
    difference = compare(planned, done)
    assert difference.only_predicted == {("a", "firewall", "x")}
    assert difference.only_done == {("a", "firewall", "z")}


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "null", '{"event": "result"}', '{"v": 2, "event": "x"}', '{"v": 1, "event": 3}', b"\xff\xfe"]
)
def test_damaged_lines_are_left_out(line: str | bytes, tmp_path: Path) -> None:
    assert parse(line) is None
    path = tmp_path / "events.jsonl"
    path.write_bytes((line if isinstance(line, bytes) else line.encode()) + b"\n")
    append(path, "run_end", rc=0)
    assert [event.event for event in read_events(path)] == ["run_end"]


@pytest.mark.parametrize("fields", [{"changes": "x"}, {"changes": {"a": 1}}, {"duration": "soon"}, {"host": None}, {"msg": 3}])
def test_strange_fields_do_not_break_the_reader(fields: dict[str, object]) -> None:
    event = parse(json.dumps({"v": 1, "event": "result", **fields}))
    assert event is not None
    summarize([event])


def test_a_tail_returns_complete_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    assert tail.new_events() == []
    path.write_text('{"v": 1, "event": "play_start"}\n{"v": 1, "ev')
    assert [event.event for event in tail.new_events()] == ["play_start"]
    with path.open("a") as stream:
        stream.write('ent": "stats", "host": "a"}\n')
    assert [event.host for event in tail.new_events()] == ["a"]
    assert tail.new_events() == []


def test_a_line_of_ours_follows_a_broken_one(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"v": 1, "event": "res')
    append(path, "run_end", rc=None)
    assert [event.event for event in read_events(path)] == ["run_end"]
    assert path.stat().st_mode & 0o777


def test_a_recorded_file_replays(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append(path, "run_start", hosts=["a"])
    append(path, "stats", host="a", stats={})
    engine = ReplayEngine(path)
    spec = RunSpec(PracticeFolder(tmp_path), "deploy")
    assert summarize(engine.run(spec, tmp_path)).exit_code() is ExitCode.OK
    assert engine.specs == [spec]
