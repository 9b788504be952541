"""One connection per host: what it answers, and each way in which it fails. A lost connection is never a pass."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_ssh
import pytest

from antiseche.errors import HostUnreachableError
from antiseche.verify import backend
from antiseche.verify.backend import Connection, LineReader, UnusableAnswerError, connected_host, ssh_command
from antiseche.verify.target import Target

HELLO = json.dumps({"antiseche": 1, "time": 1.5, "container": "none", "uid": 0})


def target(address: str = "here", **more: Any) -> Target:
    return Target("poste", address, "antiseche", "workstation", "debian13", more.pop("known_hosts", "/dev/null"), **more)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """The remote loop itself, on this machine."""
    monkeypatch.setenv("PATH", os.environ["PATH"])
    fake_ssh.write_ssh(tmp_path / "bin")
    connection = Connection(target())
    yield connection
    connection.close()


@pytest.fixture
def answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Connection]]:
    """A machine that answers what it is told to, in shell."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    made: list[Connection] = []

    def write(script: str) -> Connection:
        (folder / "ssh").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "ssh").chmod(0o755)
        made.append(Connection(target()))
        return made[-1]

    yield write
    for connection in made:
        connection.close()


def test_an_answer_keeps_its_code_and_both_streams(here: Connection) -> None:
    result, observation = here.run("echo out; echo err >&2; exit 7")
    assert (result.rc, result.stdout, result.stderr) == (7, "out\n", "err\n")
    assert observation.value["rc"] == 7
    assert observation.value["command"] == "echo out; echo err >&2; exit 7"


def test_one_command_is_asked_once_in_a_pass(here: Connection, tmp_path: Path) -> None:
    command = f"echo x >> {tmp_path}/n; wc -l < {tmp_path}/n"
    assert here.run(command)[0].stdout == here.run(command)[0].stdout == "1\n"


@pytest.mark.parametrize(
    "command",
    [
        "printf 'a\\377b\\000c'",
        "head -c 3000000 /dev/zero",
        "head -c 200000 /dev/urandom >&2",
        "printf '%s' 'é \\u2028 ’'",
        "echo '{\"antiseche\": 1}'; echo; echo",
        "cat; echo end",
        "exit 255",
        "kill -9 $$",
    ],
)
def test_any_bytes_come_back_and_the_connection_stays(here: Connection, command: str) -> None:
    expected = subprocess.run(["/bin/sh", "-c", command], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    result = here.run(command)[0]
    if "urandom" not in command:
        assert (result.stdout_bytes, result.stderr_bytes) == (expected.stdout, expected.stderr)
    assert result.rc == expected.returncode
    assert here.run("echo still there")[0].stdout == "still there\n"


def test_the_answers_are_in_one_language(here: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", "fr")
    assert here.run("echo $LC_ALL/$LANGUAGE")[0].stdout == "C.UTF-8/\n"


def test_a_command_that_hangs_is_an_error_and_leaves_nothing(here: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its children hold the pipes: they must be killed too, or the answer would wait for them."""
    monkeypatch.setattr(backend, "COMMAND_SECONDS", 1)
    with pytest.raises(UnusableAnswerError, match="1 secondes"):
        here.run(f"sleep 3{os.getpid()} | cat; echo done")
    _wait(lambda: not _runs(f"sleep\x003{os.getpid()}"))
    assert here.run("echo still there")[0].stdout == "still there\n"
    assert not here.lost


def test_too_long_an_answer_is_an_error_not_a_shorter_answer(here: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "ANSWER_BYTES", 1000)
    with pytest.raises(UnusableAnswerError, match="1001 octets"):
        here.run("head -c 1001 /dev/zero")
    assert here.run("head -c 1000 /dev/zero")[0].rc == 0


def test_only_root_may_look(answering: Callable[[str], Connection]) -> None:
    connection = answering(f"echo '{HELLO.replace('0}', '1000}')}'; sleep 5")
    with pytest.raises(HostUnreachableError, match="sudo ne donne pas les droits de root à antiseche"):
        connection.open()


def test_what_a_login_script_says_is_passed_over(answering: Callable[[str], Connection]) -> None:
    connection = answering(f"echo Bienvenue; echo '{{}}'; echo 3; echo '{HELLO}'; cat >/dev/null")
    connection.open()
    assert connection.container == ""
    assert not connection.lost


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'Host key verification failed.' >&2; exit 255", "Host key verification failed."),
        ("echo 'Permission denied (publickey).' >&2; exit 255", "Permission denied"),
        ("exit 0", "pas de réponse"),
        ("yes", "pas de réponse"),
        ("printf 'no line end'", "pas de réponse"),
        ("printf '\\033]0;title\\007 refused\\n' >&2; exit 255", "refused"),
        ('echo \'{"antiseche": 1, "time": "now", "uid": 0}\'; exit 1', "pas de réponse"),
    ],
)
def test_no_connection_is_told_in_one_sentence_and_remembered(
    answering: Callable[[str], Connection], script: str, reason: str
) -> None:
    connection = answering(script)
    with pytest.raises(HostUnreachableError, match="poste est injoignable") as caught:
        connection.open()
    assert reason in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert connection.lost
    answering(f"echo '{HELLO}'; cat")  # the next attempt would work: it must not be made in this pass
    with pytest.raises(HostUnreachableError, match="poste est injoignable"):
        connection.run("true")


ANSWER = json.dumps({"rc": 0, "out": "b3VpCg==", "err": "", "late": False, "size": 0})


@pytest.mark.parametrize(
    "script",
    [
        "exit 0",
        "read line",
        "read line; echo '{'",
        "read line; echo 3",
        "read line; echo '{\"rc\": 0}'",
        f"read line; echo '{ANSWER.replace('b3VpCg==', 'x')}'",
        f"read line; printf '%s' '{ANSWER}'",
        "read line; kill -9 $$",
    ],
)
def test_a_connection_lost_in_the_middle_is_an_error_for_ever(answering: Callable[[str], Connection], script: str) -> None:
    connection = answering(f"echo '{HELLO}'\n{script}")
    for command in ("echo oui", "echo non"):
        with pytest.raises(HostUnreachableError, match="perdue pendant les contrôles"):
            connection.run(command)
    assert connection.lost


def test_a_machine_that_falls_silent_is_lost(answering: Callable[[str], Connection], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "COMMAND_SECONDS", -9)
    connection = answering(f"echo '{HELLO}'; read line; printf '{{'; exec sleep 4{os.getpid()}")
    with pytest.raises(HostUnreachableError, match="perdue"):
        connection.run("true")
    _wait(lambda: not _runs(f"sleep\x004{os.getpid()}"))


def test_a_good_answer_passes(answering: Callable[[str], Connection]) -> None:
    """Else the failures above would prove nothing."""
    assert answering(f"echo '{HELLO}'; read line; echo '{ANSWER}'").run("x")[0].stdout == "oui\n"


def test_closing_twice_is_harmless_and_ends_the_other_side(here: Connection) -> None:
    pid = int(here.run("ps -o ppid= -p $$")[0].stdout)
    here.close()
    here.close()
    assert not Path(f"/proc/{pid}").exists()


def test_lines_may_come_in_pieces() -> None:
    reading, writing = os.pipe()
    lines = LineReader(reading)
    os.write(writing, b"one\ntw")
    assert lines.next(1) == b"one"
    os.write(writing, b"o\n\nthree\n")
    assert [lines.next(1) for _ in range(3)] == [b"two", b"", b"three"]
    with pytest.raises(OSError, match="no line"):
        lines.next(0.05)
    os.write(writing, b"half")
    os.close(writing)
    with pytest.raises(OSError, match="closed"):
        lines.next(1)
    os.close(reading)


def test_testinfra_sees_the_machine(here: Connection, tmp_path: Path) -> None:
    (tmp_path / "it's here").write_text("x")
    host, used = connected_host(here)
    assert host.file(str(tmp_path / "it's here")).exists
    assert "it'\"'\"'s here" in used.used[-1].value["command"]


def test_ssh_is_asked_nothing_and_trusts_the_pinned_key_only() -> None:
    command = ssh_command(target("192.0.2.7", known_hosts="/a b/100%/known_hosts", identities=["/k/50%"]))
    options = {command[i + 1].partition("=")[0]: command[i + 1].partition("=")[2] for i, w in enumerate(command) if w == "-o"}
    assert options["BatchMode"] == "yes"
    assert options["StrictHostKeyChecking"] == "yes"
    assert options["UserKnownHostsFile"] == '"/a b/100%%/known_hosts"'
    assert options["GlobalKnownHostsFile"] == "/dev/null"
    assert options["IdentitiesOnly"] == "yes"
    assert command[command.index("-F") + 1] == "/dev/null"
    assert options["IdentityFile"] == '"/k/50%%"'
    assert command[-2] == "antiseche@192.0.2.7"
    parsed = subprocess.run([command[0], "-G", *command[1:-1]], capture_output=True, text=True, check=True).stdout
    assert "userknownhostsfile /a b/100%/known_hosts" in parsed or "100%%" in parsed


ORPHAN = """
import sys
sys.path.insert(0, {tests!r})
from antiseche.verify.run import check_targets
from antiseche.verify.target import Target
from antiseche import kit
from pathlib import Path
kit.kit_dir = lambda: Path({kit!r})
check_targets([Target("poste", "here", "antiseche", "workstation", "debian13", "/dev/null")])
"""
SLOW = """
import pytest

@pytest.mark.control("EXE-01")
def test_slow(host): host.run("touch {flag}; exec sleep 8")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_checks_end_with_the_command_that_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    fake_ssh.write_ssh(tmp_path / "bin")
    fake_ssh.write_role(tmp_path / "kit", SLOW.format(flag=tmp_path / "flag"), {"EXE-01": "{}"})
    script = ORPHAN.format(tests=str(Path(__file__).parent), kit=str(tmp_path / "kit"))
    environment = {**os.environ, "PYTHONPATH": str(Path(backend.__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL)
    _wait(lambda: (tmp_path / "flag").exists())
    process.send_signal(number)
    process.wait(20)
    _wait(lambda: not _runs(str(tmp_path / "tmp")))
    left = list((tmp_path / "tmp").glob("antiseche-verify-*"))
    assert bool(left) == (number == signal.SIGKILL)
    _clear(tmp_path, monkeypatch)
    assert not list((tmp_path / "tmp").glob("antiseche-verify-*"))


def _clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next pass throws away what the killed one left."""
    from antiseche.verify import run

    monkeypatch.setattr(run.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    run._clear_abandoned()


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def _runs(words: str) -> bool:
    """Say whether a process with these words on its command line was started by this test run."""
    mine = str(os.getpid())
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words.encode() in path.read_bytes() and path.parent.name != mine:
                return True
        except OSError:
            continue
    return False
