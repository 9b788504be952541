"""Talking to a full machine: its agent and QEMU's monitor, played here by a server that answers as told."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from antiseche.lab import agent, sockets
from antiseche.lab.model import LabError

Answer = Callable[[str, dict[str, Any]], list[dict[str, Any]]]


class Server:
    """Listens on a local socket, one conversation at a time, and writes down what it was asked."""

    def __init__(self, path: Path, answer: Answer, greeting: bytes = b"") -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._answer, self._greeting = answer, greeting
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen(8)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _address = self._socket.accept()
            except OSError:
                return
            with client, client.makefile("rb") as lines:
                client.sendall(self._greeting)
                for line in lines:
                    message = json.loads(line)
                    self.asked.append((message["execute"], message.get("arguments", {})))
                    for found in self._answer(*self.asked[-1]):
                        client.sendall(json.dumps(found).encode() + b"\n")
                    if not self._answer(*self.asked[-1]):
                        break  # hangs up

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., tuple[Path, Server]]]:
    started: list[Server] = []

    def start(answer: Answer, greeting: bytes = b"") -> tuple[Path, Server]:
        path = tmp_path / f"{len(started)}.sock"
        started.append(Server(path, answer, greeting))
        return path, started[-1]

    yield start
    for server in started:
        server.close()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def playing(*states: dict[str, Any]) -> Answer:
    """Answer as the agent: a command that is in each of these states in turn."""
    left = list(states)

    def answer(command: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        match command:
            case "guest-sync":
                return [{"return": arguments["id"]}]
            case "guest-exec":
                return [{"return": {"pid": 7}}]
        state = left[0] if len(left) == 1 else left.pop(0)
        return [{"return": state}]

    return answer


def test_a_command_is_run_and_waited_for(serve: Callable[..., tuple[Path, Server]]) -> None:
    done = {"exited": True, "exitcode": 3, "out-data": b64("é\n".encode()), "err-data": b64(b"no\n")}
    path, server = serve(playing({"exited": False}, {"exited": False}, done))
    result = agent.run(path, ["cat", "-"], stdin=b"\x00in")
    assert (result.rc, result.text(), result.stderr) == (3, "é\n", b"no\n")
    started = next(arguments for command, arguments in server.asked if command == "guest-exec")
    assert started == {"path": "cat", "arg": ["-"], "capture-output": True, "input-data": b64(b"\x00in")}


def test_a_killed_command_has_the_shells_code(serve: Callable[..., tuple[Path, Server]]) -> None:
    path, _server = serve(playing({"exited": True, "signal": 9}))
    assert agent.run(path, ["true"]).rc == 137


def test_an_output_that_was_cut_is_no_answer(serve: Callable[..., tuple[Path, Server]]) -> None:
    path, _server = serve(playing({"exited": True, "exitcode": 0, "out-data": b64(b"x"), "out-truncated": True}))
    with pytest.raises(LabError, match="trop écrit"):
        agent.run(path, ["cat", "/dev/zero"])


def test_a_command_that_does_not_end_is_given_up(serve: Callable[..., tuple[Path, Server]]) -> None:
    path, _server = serve(playing({"exited": False}))
    with pytest.raises(subprocess.TimeoutExpired):
        agent.run(path, ["sleep", "99"], timeout=0.2)


@pytest.mark.parametrize(
    "stale", [[{"return": 12345}], [{"return": {"pid": 3}}, {"return": 1}], [{"error": {"desc": "gone"}}], [{"event": "X"}] * 3]
)
def test_answers_meant_for_somebody_else_are_passed_over(
    serve: Callable[..., tuple[Path, Server]], stale: list[dict[str, Any]]
) -> None:
    unread = list(stale)

    def answer(command: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        before = [unread.pop(0) for _one in list(unread)]
        return before + playing({"exited": True, "exitcode": 0})(command, arguments)

    path, server = serve(answer)
    assert agent.run(path, ["true"]).rc == 0
    assert [command for command, _arguments in server.asked].count("guest-sync") == 2  # one for each question, and no more


def test_several_callers_are_served_in_turn(serve: Callable[..., tuple[Path, Server]]) -> None:
    path, _server = serve(playing({"exited": True, "exitcode": 0, "out-data": b64(b"ok")}))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(agent.run(path, ["true"]).text())) for _number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == ["ok"] * 6


def test_a_refusal_is_an_error_with_its_reason(serve: Callable[..., tuple[Path, Server]]) -> None:
    def answer(asked: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"error": {"desc": "out of sorts"}}] if asked == "guest-exec" else [{"return": arguments.get("id")}]

    path, _server = serve(answer)
    with pytest.raises(LabError, match="out of sorts"):
        agent.run(path, ["true"])


def test_nobody_at_the_other_end_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabError):
        agent.run(tmp_path / "nobody.sock", ["true"])


def test_a_line_that_goes_dead_is_an_error(serve: Callable[..., tuple[Path, Server]]) -> None:
    path, _server = serve(lambda _command, _arguments: [])
    with pytest.raises(LabError, match="guest-sync"):
        agent.run(path, ["true"])


def test_the_monitors_greeting_and_events_are_no_answers(serve: Callable[..., tuple[Path, Server]]) -> None:
    greeting = b'{"QMP": {"version": {}}}\n{"event": "RESET"}\n'
    path, server = serve(lambda _command, _arguments: [{"event": "STOP"}, {"return": {"status": "running"}}], greeting)
    assert sockets.monitor(path, "query-status") == {"status": "running"}
    assert [command for command, _arguments in server.asked] == ["qmp_capabilities", "query-status"]


def test_a_device_is_waited_for_until_it_has_left(serve: Callable[..., tuple[Path, Server]]) -> None:
    plugged = [["card", "reader"], ["card", "reader"], ["reader"]]

    def answer(command: str, _arguments: dict[str, Any]) -> list[dict[str, Any]]:
        if command != "qom-list":
            return [{"return": {}}]
        return [{"return": [{"name": name} for name in (plugged[0] if len(plugged) == 1 else plugged.pop(0))]}]

    path, _server = serve(answer)
    sockets.wait_until_gone(path, "card")
    assert len(plugged) == 1


def test_a_device_that_stays_is_an_error(serve: Callable[..., tuple[Path, Server]]) -> None:
    path, _server = serve(lambda _command, _arguments: [{"return": [{"name": "card"}]}])
    with pytest.raises(LabError, match="still plugged"):
        sockets.wait_until_gone(path, "card", timeout=0.3)
