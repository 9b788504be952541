"""A testinfra backend that keeps one ssh connection per host open for the whole pass.

testinfra's own ssh backend starts a process and a sudo per command, some 40 ms each; here a command costs what it
costs on the host. The host key must be one that was pinned.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import selectors
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from antiseche.engine.identities import ssh_options
from antiseche.engine.redact import plain
from antiseche.errors import HostUnreachableError
from antiseche.i18n import _
from antiseche.verify.observation import Observation, observe
from antiseche.verify.target import Target

CONNECT_SECONDS = 10
COMMAND_SECONDS = 30
ANSWER_BYTES = 16_000_000
_NOISE_LINES = 100
_LOOP = (Path(__file__).parent / "remote_loop.py").read_text(encoding="utf-8")


class UnusableAnswerError(RuntimeError):
    """A command of a check did not end in time, or answered more than can be judged."""


class Connection:
    """One host, one ssh process, one interpreter running as root at the other end."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.container = ""
        self.skew_seconds = 0
        self._known: dict[str, tuple[CommandResult, Observation]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: LineReader | None = None
        self._failure = ""

    @property
    def lost(self) -> bool:
        """Whether the host could not be reached, or no longer answers."""
        return bool(self._failure)

    def open(self) -> None:
        """Connect, once; a failure is remembered so that the next check does not wait again.

        Raises:
            HostUnreachableError: no connection, a host key that is not the pinned one, or no root rights.
        """
        if self._process is not None:
            return
        if self._failure:
            raise HostUnreachableError(self._failure)
        process = subprocess.Popen(
            ssh_command(self.target), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        lines = LineReader(process.stdout.fileno())
        hello = _hello(lines)
        if hello is None or hello.get("uid") != 0:
            reason = _last_words(process) or _("pas de réponse")
            if hello is not None:
                reason = _("sudo ne donne pas les droits de root à {user}").format(user=self.target.user)
            self._failure = _("{host} est injoignable : {reason}").format(host=self.target.name, reason=reason)
            raise HostUnreachableError(self._failure)
        found = str(hello.get("container"))
        self.container = "" if found == "none" else plain(found)
        self.skew_seconds = round(float(hello["time"]) - time.time())
        self._process, self._lines = process, lines

    def run(self, command: str) -> tuple[CommandResult, Observation]:
        """Run a command, or return what it answered earlier in this pass: one moment, one observation.

        Raises:
            HostUnreachableError: the connection is lost.
            UnusableAnswerError: no answer in time, or one that is too long.
        """
        if command in self._known:
            return self._known[command]
        self.open()
        rc, out, err = self._answer(command)
        observation = observe(self.target.name, command, rc, out, err)
        result = CommandResult(PersistentBackend(self), rc, command.encode(), out, err)
        self._known[command] = result, observation
        return self._known[command]

    def _answer(self, command: str) -> tuple[int, bytes, bytes]:
        process, lines = self._process, self._lines
        assert process is not None
        assert process.stdin is not None
        assert lines is not None
        request = {"command": command, "timeout": COMMAND_SECONDS, "limit": ANSWER_BYTES}
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            answer = json.loads(lines.next(COMMAND_SECONDS + 10))
            late, size, rc = bool(answer["late"]), int(answer["size"]), int(answer["rc"])
            out, err = base64.b64decode(answer["out"]), base64.b64decode(answer["err"])
        except (OSError, ValueError, KeyError, TypeError):
            self.close()
            self._failure = _("La connexion avec {host} a été perdue pendant les contrôles.").format(host=self.target.name)
            raise HostUnreachableError(self._failure) from None
        if late:
            raise UnusableAnswerError(
                _("la commande « {command} » n'a pas répondu en {n} secondes").format(command=command[:120], n=COMMAND_SECONDS)
            )
        if size:
            raise UnusableAnswerError(
                _("la commande « {command} » a répondu {n} octets, trop pour être jugés").format(command=command[:120], n=size)
            )
        return rc, out, err

    def close(self) -> None:
        """End the connection; the loop at the other end stops with its input."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.stdin is not None:
            with contextlib.suppress(OSError):  # already gone: what closing is for
                process.stdin.close()
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class LineReader:
    """Reads lines from a pipe whose other end may stop anywhere, even in the middle of one."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pending = bytearray()

    def next(self, seconds: float) -> bytes:
        """Return the next line.

        Raises:
            OSError: the other end is gone, silent for too long, or sends a line without end.
        """
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._descriptor, selectors.EVENT_READ)
            ended = b"\n" in self._pending
            while not ended:
                if not selector.select(max(0.0, deadline - time.monotonic())) or len(self._pending) > 2 * ANSWER_BYTES:
                    raise OSError("no line")
                data = os.read(self._descriptor, 1 << 20)
                if not data:
                    raise OSError("closed")
                self._pending += data
                ended = b"\n" in data
        line, _newline, rest = self._pending.partition(b"\n")
        self._pending = bytearray(rest)
        return bytes(line)


def _last_words(process: subprocess.Popen[bytes]) -> str:
    """End a process and return the last line of its errors."""
    process.kill()
    process.wait()
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)  # a process of its own may hold the other end open
    said = plain((process.stderr.read(1 << 16) or b"").decode("utf-8", "replace")).strip().splitlines()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    return said[-1] if said else ""


def _hello(lines: LineReader) -> dict[str, Any] | None:
    """Return the first words of the loop; what a login script says before them is passed over."""
    try:
        for _line in range(_NOISE_LINES):
            with contextlib.suppress(ValueError):
                said = json.loads(lines.next(CONNECT_SECONDS + 5))
                if isinstance(said, dict) and said.get("antiseche") == 1 and isinstance(said.get("time"), float):
                    return said
    except OSError:
        pass
    return None


class PersistentBackend(BaseBackend):  # type: ignore[misc]  # testinfra ships no types
    """testinfra's view of a `Connection`."""

    NAME = "antiseche"

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.target.name)
        self.connection = connection
        self.used: list[Observation] = []

    def run(self, command: str, *args: str, **_kwargs: Any) -> CommandResult:
        """Run a command as root on the host and remember the observation."""
        result, observation = self.connection.run(self.get_command(command, *args))
        self.used.append(observation)
        return result


def connected_host(connection: Connection) -> tuple[Host, PersistentBackend]:
    """Return a fresh testinfra host over a connection: nothing is cached between two checks but the answers."""
    backend = PersistentBackend(connection)
    return Host(backend), backend


def ssh_command(target: Target) -> list[str]:
    """Return the ssh command line: no password, no question, only the pinned host key, no user configuration."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        # ssh reads % as the start of a token.
        "UserKnownHostsFile": '"{}"'.format(target.known_hosts.replace("%", "%%")),
        "GlobalKnownHostsFile": "/dev/null",
        "ConnectTimeout": str(CONNECT_SECONDS),
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
        "ControlPath": "none",
        "LogLevel": "ERROR",
    }
    command = ["ssh", "-F", "/dev/null", "-T", "-p", str(target.port)]
    for name, value in options.items():
        command += ["-o", f"{name}={value}"]
    if target.identities:
        command += ssh_options(target.identities)
    loop = f"sudo -n /usr/bin/python3 -uc {shlex.quote(_LOOP)}"
    return [*command, f"{target.user}@{target.address}", loop]
