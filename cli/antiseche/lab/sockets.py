"""One JSON object per line over a local socket: QEMU's monitor and the agent inside a full machine speak this."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiseche.lab.model import LabError

_RETRY_SECONDS = 0.2


class JsonSocket:
    """A conversation with one of them; to be closed, as a context manager does."""

    def __init__(self, path: Path, timeout: float) -> None:
        """Connect.

        Raises:
            LabError: nobody listens.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._buffer = b""
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise LabError(f"{path.name}: {error}") from error

    def __enter__(self) -> JsonSocket:
        return self

    def __exit__(self, *_details: object) -> None:
        self._socket.close()

    def call(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Send a command and return its answer; events and greetings in between are passed over.

        Raises:
            LabError: the command was refused, or no answer came in time.
        """
        try:
            self._send(command, arguments)
            while True:
                answer = self._read()
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise LabError(f"{command}: {answer['error'].get('desc', answer['error'])}")
        except (OSError, ValueError) as error:
            raise LabError(f"{command}: {error}") from error

    def synchronise(self, token: int) -> None:
        """Pass over every answer that somebody left unread: asked once, so that no answer of ours is left behind either.

        Args:
            token: a number that no other conversation uses.

        Raises:
            LabError: no answer came in time.
        """
        try:
            self._send("guest-sync", {"id": token})
            while self._read().get("return") != token:
                pass
        except (OSError, ValueError) as error:
            raise LabError(f"guest-sync: {error}") from error

    def _send(self, command: str, arguments: Mapping[str, Any] | None) -> None:
        message: dict[str, Any] = {"execute": command}
        if arguments:
            message["arguments"] = dict(arguments)
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def _read(self) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            received = self._socket.recv(65536)
            if not received:
                raise OSError("closed")
            self._buffer += received
        line, _end, self._buffer = self._buffer.partition(b"\n")
        # The agent answers a resynchronisation with a byte that is no JSON.
        found = json.loads(line.lstrip(b"\xff") or b"{}")
        return found if isinstance(found, dict) else {}


def monitor(path: Path, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
    """Give QEMU's monitor one command.

    Raises:
        LabError: it is refused, or QEMU does not run.
    """
    with JsonSocket(path, timeout=20) as qemu:
        qemu.call("qmp_capabilities")
        return qemu.call(command, arguments)


def wait_until_gone(path: Path, device: str, timeout: float = 20) -> None:
    """Wait until a device that was unplugged has left: the machine has a say in it.

    Raises:
        LabError: it stays.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = monitor(path, "qom-list", {"path": "/machine/peripheral"})
        if device not in {one["name"] for one in found}:
            return
        time.sleep(_RETRY_SECONDS)
    raise LabError(f"{device}: still plugged")
