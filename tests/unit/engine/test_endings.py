"""Every way in which a run may end: what is said, what is recorded, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from fake_kit import FakeKit

from antiseche import app
from antiseche.commands import running
from antiseche.engine import environment, records
from antiseche.engine.events import Event
from antiseche.engine.locking import practice_lock
from antiseche.engine.playbook import PlaybookEngine, Stop
from antiseche.engine.playbook_run import run_playbook
from antiseche.engine.replay import ReplayEngine
from antiseche.engine.spec import RunSpec
from antiseche.engine.summary import HostStatus, summarize
from antiseche.errors import AntisecheError, ExitCode
from antiseche.kit import kit_dir

SLEEP = {"name": "Wait", "ansible.builtin.command": "sleep 45", "changed_when": False}
STATS = Event("stats", host="h1", data={"stats": {}})


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def mine(kit: FakeKit) -> list[int]:
    """Return the processes that a run over this kit's practice started and that still run."""
    mark = f"{environment.SOCKETS}={environment.sockets_directory(kit.folder.root)}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def engine(kit: FakeKit, stop: Stop) -> PlaybookEngine:
    return PlaybookEngine(kit=kit.kit, stop=stop)


def test_a_reader_that_fails_ends_the_run_and_closes_its_record(kit: FakeKit) -> None:
    kit.role("first", 10, [SLEEP])
    kit.hosts("h1")

    def broken(event: Event) -> None:
        if event.task == "Wait":
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run_playbook(RunSpec(kit.folder, "deploy"), broken, engine=engine(kit, stop := Stop()), stop=stop)
    run = next(records.runs(kit.folder))
    assert (run.finished, run.record["interrupted"]) == (True, True)
    wait_for(lambda: mine(kit) == [], 5)
    with practice_lock(kit.folder):
        pass


def test_a_second_request_kills_at_once_and_leaves_nothing(kit: FakeKit) -> None:
    stubborn = {"name": "Wait", "ansible.builtin.shell": "trap '' INT TERM; sleep 45", "changed_when": False}
    kit.role("first", 10, [stubborn])
    kit.hosts("h1", "h2")
    stop = Stop()

    def twice(event: Event) -> None:
        if event.task == "Wait" and stop.requests < 2:
            stop.request()
            stop.request()

    run, summary = run_playbook(RunSpec(kit.folder, "deploy"), twice, engine=engine(kit, stop), stop=stop)
    assert summary.exit_code() is ExitCode.INTERRUPTED
    assert run.record["interrupted"]
    wait_for(lambda: mine(kit) == [])


def test_connections_kept_open_end_with_an_interrupted_run(kit: FakeKit) -> None:
    """ssh leaves a process in a session of its own, for the next task."""
    kit.role("first", 10, [SLEEP])
    kit.hosts("h1")
    private = {environment.SOCKETS: str(environment.sockets_directory(kit.folder.root))}
    kept = subprocess.Popen(["sleep", "45"], env=private | {"PATH": os.environ["PATH"]}, start_new_session=True)
    other = subprocess.Popen(["sleep", "45"], env={environment.SOCKETS: "/elsewhere", "PATH": os.environ["PATH"]})
    stop = Stop()
    try:
        run_playbook(
            RunSpec(kit.folder, "deploy"),
            lambda event: stop.request() if event.task == "Wait" and not stop.requests else None,
            engine=engine(kit, stop),
            stop=stop,
        )
        assert kept.wait(10) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        for process in (kept, other):
            process.kill()
            process.wait()


def test_an_ansible_that_is_killed_is_our_failure(kit: FakeKit) -> None:
    kit.role("first", 10, [SLEEP])
    kit.hosts("h1")
    stop = Stop()

    def kill(event: Event) -> None:
        if event.task == "Wait":
            lock = json.loads((kit.folder.runs_dir / ".lock").read_text())
            os.kill(lock["playbook"], signal.SIGKILL)

    with practice_lock(kit.folder) as lock:
        used = PlaybookEngine(kit=kit.kit, stop=stop, lock=lock)
        run, summary = run_playbook(RunSpec(kit.folder, "deploy"), kill, engine=used, stop=stop, lock=lock)
    assert summary.exit_code() is ExitCode.FAILURE
    assert "signal 9" in summary.error
    assert (run.record["rc"], run.record["interrupted"]) == (-9, False)
    assert summary.hosts["h1"].status is HostStatus.INTERRUPTED
    wait_for(lambda: mine(kit) == [])


@pytest.mark.parametrize("rc", [1, 250, -11])
def test_an_ansible_that_complains_after_the_end_is_not_a_success(kit: FakeKit, rc: int) -> None:
    kit.hosts("h1")
    _run, summary = run_playbook(RunSpec(kit.folder, "deploy"), engine=ReplayEngine([STATS], rc=rc))
    assert summary.exit_code() is ExitCode.FAILURE
    assert summary.error


def test_a_failure_whose_event_was_lost_is_a_failure() -> None:
    events = [
        Event("task_start", host="h1", role="firewall", task="t"),
        Event("stats", host="h1", data={"stats": {"failures": 1}}),
    ]
    summary = summarize(events)
    assert summary.exit_code() is ExitCode.TASK_FAILED
    assert [(failure.role, failure.task) for failure in summary.hosts["h1"].failures] == [("firewall", "t")]


def test_a_host_that_the_playbook_forgot_is_not_a_success() -> None:
    summary = summarize([Event("run_start", data={"hosts": ["h1", "h2"]}), STATS])
    assert summary.hosts["h2"].status is HostStatus.NOT_STARTED
    assert summary.exit_code() is ExitCode.FAILURE


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["failed", "unreachable"], ExitCode.TASK_FAILED),
        (["unreachable", "ok"], ExitCode.UNREACHABLE),
        (["unreachable", None], ExitCode.FAILURE),
        (["failed", None], ExitCode.TASK_FAILED),
    ],
)
def test_the_worst_of_several_endings_gives_the_code(statuses: list[str | None], code: ExitCode) -> None:
    events = [Event("run_start", data={"hosts": ["h0", "h1"]})]
    for number, status in enumerate(statuses):
        if status is not None:
            counts = {"failures": int(status == "failed"), "unreachable": int(status == "unreachable")}
            events.append(Event("stats", host=f"h{number}", data={"stats": counts}))
    assert summarize(events).exit_code() is code
    assert summarize(events, interrupted=True).exit_code() is ExitCode.INTERRUPTED


def test_a_busy_practice_says_who_holds_it_and_since_when(kit: FakeKit) -> None:
    kit.hosts("h1")
    with practice_lock(kit.folder) as lock:
        lock.describe(run_id="20260102T030405Z-deploy-abcd", playbook=1)
        since, who = lock.holder()["since"], lock.holder()["operator"]
        with pytest.raises(AntisecheError) as caught, practice_lock(kit.folder):
            pass
    assert who in str(caught.value)
    assert "20260102T030405Z-deploy-abcd" in str(caught.value)
    assert f"processus {os.getpid()}" in str(caught.value)
    assert since[:2] == "20"
    assert "depuis 20" in str(caught.value)


@pytest.mark.parametrize("text", ['{"since": 3}', '{"since": "soon", "operator": null}'])
def test_a_lock_of_another_version_still_gives_a_sentence(kit: FakeKit, text: str) -> None:
    with practice_lock(kit.folder):
        (kit.folder.runs_dir / ".lock").write_text(text)
        with pytest.raises(AntisecheError, match=r"par \?, depuis \?"), practice_lock(kit.folder):
            pass


# --json: one document, whatever happens


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


VERBS = ["plan", "deploy", "verify", "drift", "doctor", "inventory", "bootstrap"]


@pytest.mark.parametrize("verb", [*VERBS, "check-answers", "status"])
def test_an_unknown_practice_is_one_document(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = app.main([verb, "nulle-part", "--json"])
    found = document(capsys)
    assert (code, found["exit_code"]) == (2, 2)
    assert "nulle-part" in str(found["error"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "exemple", "--limit", "nobody"],
        ["drift", "exemple", "--role", "nothing"],
        ["deploy"],
        ["plan", "x", "--nonsense"],
    ],
)
def test_a_wrong_command_line_is_one_document(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTISECHE_PRACTICES", str(kit_dir() / "inventories"))
    assert app.main([*arguments, "--json"]) == 2
    assert document(capsys)["exit_code"] == 2


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (AntisecheError("occupé"), 1), (RuntimeError("bug"), 1), (MemoryError(), 1)]
)
def test_an_ending_that_nobody_wanted_is_one_document(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_request: object) -> None:
        raise error

    monkeypatch.setattr(running, "prepare", fail)
    assert app.main(["plan", "x", "--json"]) == code
    found = document(capsys)
    assert found["exit_code"] == code
    assert found["error"]


def test_an_interrupted_run_is_one_document(
    kit: FakeKit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.hosts("h1")
    prepared = running.Prepared(kit.folder, ["h1"], (), (), {}, None, (), False)
    monkeypatch.setattr(running, "prepare", lambda _request: prepared)
    replayed = ReplayEngine([Event("task_start", host="h1", role="firewall", task="t")], rc=99, interrupted=True)
    monkeypatch.setattr(running, "run_playbook", partial(run_playbook, engine=replayed))
    assert app.main(["deploy", "x", "--json"]) == 130
    found = document(capsys)
    assert (found["interrupted"], found["exit_code"]) == (True, 130)


def test_without_json_nothing_is_said_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["plan", "nulle-part"]) == 2
    assert capsys.readouterr().out == ""


DEAF_ONCE = """
import json, signal, sys, time
from datetime import datetime, timezone
asked = []
signal.signal(signal.SIGINT, lambda *_: asked.append(1))
with open(sys.argv[1], "a", buffering=1) as events:
    for number in range(400):
        t = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        events.write(json.dumps({"v": 1, "t": t, "event": "task_start", "task": str(number)}) + "\\n")
        time.sleep(0.1)
        if len(asked) == 2:
            sys.exit(130)
"""


def test_a_request_that_the_playbook_lost_is_repeated(kit: FakeKit, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.hosts("h1")
    stop = Stop()

    def start(_self: PlaybookEngine, _spec: RunSpec, directory: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", DEAF_ONCE, str(directory / "events.jsonl")])

    monkeypatch.setattr(PlaybookEngine, "_start", start)
    used = engine(kit, stop)
    run, _summary = run_playbook(
        RunSpec(kit.folder, "deploy"), lambda event: stop.request() if event.task == "3" else None, engine=used, stop=stop
    )
    assert used.outcome.rc == 130
    assert stop.requests == 1
    assert json.loads((run.dir / "run.json").read_text(encoding="utf-8"))["interrupted"] is True
