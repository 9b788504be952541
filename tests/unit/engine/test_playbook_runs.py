"""Real playbooks on this machine: what each kind of ending looks like."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_kit import FakeKit

from antiseche.engine import records
from antiseche.engine.events import read_events
from antiseche.engine.locking import practice_lock
from antiseche.engine.playbook import PlaybookEngine, Stop
from antiseche.engine.playbook_run import run_playbook
from antiseche.engine.records import Run
from antiseche.engine.spec import RunSpec
from antiseche.engine.summary import HostStatus, RunSummary, compare, summarize
from antiseche.errors import AntisecheError, ExitCode

SLEEP = {"name": "Wait", "ansible.builtin.command": "sleep 30", "changed_when": False}
FAIL = {"name": "Break", "ansible.builtin.fail": {"msg": "le disque est plein, password: hunter2"}}
DOWN = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


def launch(kit: FakeKit, stop: Stop | None = None, **options: object) -> tuple[Run, RunSummary]:
    spec = RunSpec(kit.folder, "deploy", **options)  # type: ignore[arg-type]
    with practice_lock(kit.folder) as lock:
        engine = PlaybookEngine(kit=kit.kit, stop=stop or Stop(), lock=lock)
        return run_playbook(spec, lock=lock, engine=engine, stop=engine.stop)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def test_a_plan_announces_what_the_deployment_changes_and_a_second_one_changes_nothing(kit: FakeKit) -> None:
    stock = {"name": "Write a note", "ansible.builtin.copy": {"dest": "{{ state }}/{{ inventory_hostname }}.txt", "content": "x"}}
    kit.role("second", 20, [kit.mark("b"), stock])
    kit.role("first", 10, [kit.mark("a"), {"ansible.builtin.include_tasks": "more.yml"}], more=json.dumps([kit.mark("inc")]))
    kit.hosts("h1", "h2")
    planned = launch(kit, check=True)[1]
    done = launch(kit)[1]
    again = launch(kit)[1]
    assert planned.changes() == {
        (host, role, change.format(host=host))
        for host in ("h1", "h2")
        for role, change in (
            ("first", "file {host}-a"),
            ("first", "file {host}-inc"),
            ("second", "file {host}-b"),
            ("second", "Write a note"),
        )
    }
    assert compare(planned, done) == (set(), set())
    assert again.changes() == set()
    assert again.exit_code() is ExitCode.OK
    assert done.hosts["h1"].roles_done == ["first", "second"]


def test_roles_follow_their_order_and_can_be_limited(kit: FakeKit) -> None:
    kit.role("zebra", 5, [kit.mark("z")])
    kit.role("apple", 50, [kit.mark("a")])
    kit.hosts("h1", "h2")
    run, summary = launch(kit, limit=("h2",), roles=("apple",))
    assert summary.changes() == {("h2", "apple", "file h2-a")}
    assert list(summary.hosts) == ["h2"]
    assert run.record["scope"] == {"expected": ["h2"], "reached": ["h2"], "unreachable": []}
    run, summary = launch(kit)
    started = [event.role for event in read_events(run.events_file) if event.event == "task_start" and event.role]
    assert started == ["zebra", "zebra", "apple", "apple"]


def test_a_failure_and_an_unreachable_host_leave_the_others_alone(kit: FakeKit) -> None:
    kit.role("first", 10, [{**FAIL, "when": "inventory_hostname == 'bad'"}, kit.mark("a")])
    kit.hosts("good", "bad", "down", down=DOWN)
    run, summary = launch(kit)
    assert {name: host.status for name, host in summary.hosts.items()} == {
        "good": HostStatus.CHANGED,
        "bad": HostStatus.FAILED,
        "down": HostStatus.UNREACHABLE,
    }
    assert summary.exit_code() is ExitCode.TASK_FAILED
    failure = summary.hosts["bad"].failures[0]
    assert (failure.role, failure.task) == ("first", "Break")
    assert "le disque est plein" in failure.message
    assert "hunter2" not in run.events_file.read_text()
    assert run.record["scope"]["unreachable"] == ["down"]


def test_only_an_unreachable_host(kit: FakeKit) -> None:
    kit.role("first", 10, [kit.mark("a")])
    kit.hosts("good", "down", down=DOWN)
    assert launch(kit)[1].exit_code() is ExitCode.UNREACHABLE


def test_rescued_and_ignored_failures_are_not_failures(kit: FakeKit) -> None:
    rescued = {"name": "Try", "block": [FAIL], "rescue": [kit.mark("rescued")]}
    kit.role("first", 10, [rescued, {**FAIL, "ignore_errors": True}, kit.mark("after")])
    kit.hosts("h1")
    summary = launch(kit)[1]
    host = summary.hosts["h1"]
    assert summary.exit_code() is ExitCode.OK
    assert (host.failed, len(host.rescued), len(host.ignored)) == (0, 1, 1)


@pytest.mark.parametrize(
    "text", ["- hosts: [", "- hosts: all\n  nonsense: 1\n", "- hosts: all\n  tasks:\n    - no_such_module: {}\n"]
)
def test_a_broken_playbook_is_our_failure_not_an_unreachable_host(kit: FakeKit, text: str) -> None:
    kit.hosts("h1")
    playbook = kit.kit / "playbooks" / "broken.yml"
    playbook.write_text(text)
    run, summary = launch(kit, playbook="broken.yml")
    assert summary.exit_code() is ExitCode.FAILURE
    assert str(run.dir) in summary.error
    assert summary.hosts["h1"].status is HostStatus.NOT_STARTED
    assert run.finished


@pytest.mark.parametrize(("playbook", "limit"), [("missing.yml", ()), ("site.yml", ("nobody",))])
def test_a_missing_playbook_or_a_limit_that_matches_nobody(kit: FakeKit, playbook: str, limit: tuple[str, ...]) -> None:
    kit.role("first", 10, [kit.mark("a")])
    kit.hosts("h1")
    summary = launch(kit, playbook=playbook, limit=limit)[1]
    assert summary.exit_code() is ExitCode.FAILURE
    assert summary.error


def test_secrets_never_reach_the_events(kit: FakeKit) -> None:
    secret = "S3cr3tValue"
    kit.role(
        "first",
        10,
        [
            {"name": "Say it", "ansible.builtin.command": f"echo {secret}", "changed_when": True},
            {"name": "Hide it", "ansible.builtin.command": f"echo {secret}", "no_log": True, "changed_when": True},
            {
                "name": "Write it",
                "ansible.builtin.copy": {"dest": "{{ state }}/s", "content": f"password: {secret}\n"},
            },
            {"name": "Fail", "ansible.builtin.command": f"false {secret}"},
        ],
    )
    kit.hosts("h1")
    run, _summary = launch(kit, diff=True, vault_password=secret.encode())
    for name in ("events.jsonl", "run.json", "diffs.jsonl"):
        assert secret not in (run.dir / name).read_text()
    for path in run.dir.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_vault_opens_with_the_password_on_standard_input(kit: FakeKit) -> None:
    vault = kit.folder.inventory_dir / "host_vars" / "h1" / "vault.yml"
    vault.parent.mkdir(parents=True)
    key = kit.folder.root / "key"
    key.write_text("vault password\n")
    vault.write_text("hidden: behind-the-vault\n")
    script = "from ansible.cli.vault import main; main()"
    subprocess.run([sys.executable, "-c", script, "encrypt", "--vault-password-file", str(key), str(vault)], check=True)
    kit.role("first", 10, [{"name": "Check", "ansible.builtin.assert": {"that": "hidden == 'behind-the-vault'"}}])
    kit.hosts("h1")
    assert launch(kit, vault_password=b"vault password")[1].exit_code() is ExitCode.OK
    summary = launch(kit, vault_password=b"wrong")[1]
    assert summary.exit_code() is not ExitCode.OK


def test_the_users_ansible_settings_do_not_count(kit: FakeKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_STRATEGY", "no-such-strategy")
    kit.role("first", 10, [kit.mark("a")])
    kit.hosts("h1")
    assert launch(kit)[1].exit_code() is ExitCode.OK


def test_a_request_to_stop_says_where_each_host_is(kit: FakeKit) -> None:
    kit.role("first", 10, [kit.mark("a")])
    kit.role("second", 20, [SLEEP])
    kit.role("third", 30, [kit.mark("c")])
    kit.hosts("h1", "h2")
    stop = Stop()
    seen = threading.Timer(60, stop.request)
    seen.start()
    spec = RunSpec(kit.folder, "deploy")
    run, summary = run_playbook(
        spec,
        lambda event: stop.request() if event.task == "Wait" and not stop.requests else None,
        engine=PlaybookEngine(kit=kit.kit, stop=stop),
        stop=stop,
    )
    seen.cancel()
    assert summary.exit_code() is ExitCode.INTERRUPTED
    host = summary.hosts["h1"]
    assert (host.status, host.roles_done, host.role) == (HostStatus.INTERRUPTED, ["first"], "second")
    assert run.record["interrupted"]
    wait_for(lambda: not _sleeping())


def _sleeping() -> bool:
    """Say whether a process that these tests started still waits."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if b"sleep\x0030" in (path.parent / "cmdline").read_bytes() and b"ANTISECHE_EVENTS" in path.read_bytes():
                return True
        except OSError:
            continue
    return False


COMMAND = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from antiseche.engine.playbook import PlaybookEngine, Stop
from antiseche.engine.playbook_run import run_playbook
from antiseche.engine.locking import practice_lock
from antiseche.engine.spec import RunSpec
from antiseche.practice.folder import PracticeFolder
folder = PracticeFolder(Path({folder!r}))
with practice_lock(folder) as lock:
    stop = Stop()
    engine = PlaybookEngine(kit=Path({kit!r}), stop=stop, lock=lock)
    _run, summary = run_playbook(RunSpec(folder, "deploy"), lock=lock, engine=engine, stop=stop)
sys.exit(int(summary.exit_code()))
"""


def start_command(kit: FakeKit) -> subprocess.Popen[bytes]:
    script = COMMAND.format(tests=str(Path(__file__).parent), folder=str(kit.folder.root), kit=str(kit.kit))
    environment = {**os.environ, "PYTHONPATH": str(Path(records.__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-c", script], env=environment)


def started(kit: FakeKit, task: str) -> bool:
    return any(f'"{task}"' in path.read_text() for path in kit.folder.runs_dir.glob("*/events.jsonl"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_the_playbook_and_close_the_record(kit: FakeKit, number: signal.Signals) -> None:
    kit.role("first", 10, [SLEEP])
    kit.hosts("h1")
    process = start_command(kit)
    wait_for(lambda: started(kit, "Wait"))
    process.send_signal(number)
    assert process.wait(25) == ExitCode.INTERRUPTED
    run = next(records.runs(kit.folder))
    assert run.finished
    assert run.record["interrupted"]
    wait_for(lambda: not _sleeping())


def test_a_killed_command_leaves_the_playbook_running_and_the_lock_held(kit: FakeKit) -> None:
    kit.role("first", 10, [{**SLEEP, "ansible.builtin.command": "sleep 4"}, kit.mark("a")])
    kit.hosts("h1")
    process = start_command(kit)
    wait_for(lambda: started(kit, "Wait"))
    process.kill()
    process.wait()
    with pytest.raises(AntisecheError, match="déjà en cours") as caught, practice_lock(kit.folder):
        pass
    assert str(process.pid) not in str(caught.value)  # that one is dead: the one to stop is named
    wait_for(lambda: (kit.state / "h1-a").exists())
    wait_for(lambda: _free(kit))
    with practice_lock(kit.folder):
        closed = records.close_unfinished(kit.folder)
    assert [run.record["command_lost"] for run, _summary in closed] == [True]
    run, summary = closed[0]
    assert summary.complete
    assert not run.record["interrupted"]
    assert summarize(read_events(run.events_file)).hosts["h1"].status is HostStatus.CHANGED
    with practice_lock(kit.folder):
        assert records.close_unfinished(kit.folder) == []


def _free(kit: FakeKit) -> bool:
    try:
        with practice_lock(kit.folder):
            return True
    except AntisecheError:
        return False


def test_two_runs_of_one_practice_never_overlap(kit: FakeKit) -> None:
    kit.hosts("h1")
    with practice_lock(kit.folder), pytest.raises(AntisecheError, match=str(os.getpid())):
        run_playbook(RunSpec(kit.folder, "deploy"), engine=PlaybookEngine(kit=kit.kit))
    assert not list(kit.folder.runs_dir.glob("2*"))


def test_values_of_a_vault_reach_neither_events_nor_log_however_a_task_fails(kit: FakeKit) -> None:
    secret = "Zq7pLongSecretValue9x"
    vault = kit.folder.inventory_dir / "host_vars" / "h1" / "vault.yml"
    vault.parent.mkdir(parents=True)
    vault.write_text(f"hidden: {secret}\nlist_of_hidden: [{secret}]\n")
    shell = {"ansible.builtin.shell": "echo {{ hidden }}; echo {{ hidden }} >&2; false"}
    kit.role(
        "first",
        10,
        [
            {"name": name, "ignore_errors": True, **task}
            for name, task in {
                "no such attribute": {"ansible.builtin.debug": {"msg": "{{ hidden.nope }}"}},
                "no such filter": {"ansible.builtin.debug": {"msg": "{{ hidden | nofilter }}"}},
                "not a number": {"ansible.builtin.debug": {"msg": "x"}, "when": "hidden | int > hidden"},
                "assertion": {"ansible.builtin.assert": {"that": "hidden == 'x'"}},
                "output": shell,
                "loop": {**shell, "loop": "{{ list_of_hidden }}"},
                "loop of maps": {"ansible.builtin.command": "false", "loop": "{{ [{'pw': hidden}] }}"},
                "no such command": {"ansible.builtin.command": "/nonexistent {{ hidden }}"},
                "unknown argument": {"ansible.builtin.file": {"path": "/tmp/x", "pw": "{{ hidden }}"}},
                "difference": {"ansible.builtin.copy": {"dest": "{{ state }}/x", "content": "{{ hidden }}"}},
            }.items()
        ],
    )
    kit.hosts("h1")
    run, summary = launch(kit)
    assert len(summary.hosts["h1"].ignored) == 9
    for path in run.dir.iterdir():
        assert secret not in path.read_text(), path
