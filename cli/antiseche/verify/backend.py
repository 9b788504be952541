"""A testinfra backend that keeps one ssh connection per host open for the whole pass.

testinfra's own ssh backend starts a process and a sudo per command, some 40 ms each; here a command costs what it
costs on the host. The host key must be one that was pinned.
"""

from __future__ import annotations

import base64
import contextlib
import json
import selectors
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from antiseche.errors import HostUnreachableError
from antiseche.i18n import _
from antiseche.verify.observation import Observation, observe
from antiseche.verify.target import Target

CONNECT_SECONDS = 10
COMMAND_SECONDS = 30
_LOOP = (Path(__file__).parent / "remote_loop.py").read_text(encoding="utf-8")


class CommandTooLongError(RuntimeError):
    """A command of a check did not end in time."""


class Connection:
    """One host, one ssh process, one interpreter running as root at the other end."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.container = ""
        self.skew_seconds = 0
        self._known: dict[str, tuple[CommandResult, Observation]] = {}
        self._process: subprocess.Popen[bytes] | None = None
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
        hello = self._line(process, CONNECT_SECONDS + 5)
        if not hello:
            process.kill()
            said = (process.communicate()[1] or b"").decode("utf-8", "replace").strip().splitlines()
            self._failure = _("{host} est injoignable : {reason}").format(
                host=self.target.name, reason=said[-1] if said else _("pas de réponse")
            )
            raise HostUnreachableError(self._failure)
        first = json.loads(hello)
        self.container = "" if first["container"] in ("", "none") else str(first["container"])
        self.skew_seconds = round(first["time"] - time.time())
        self._process = process

    def run(self, command: str) -> tuple[CommandResult, Observation]:
        """Run a command, or return what it answered earlier in this pass: one moment, one observation."""
        if command in self._known:
            return self._known[command]
        self.open()
        process = self._process
        if process is None or process.stdin is None:
            raise HostUnreachableError(self._failure)
        try:
            process.stdin.write(json.dumps({"command": command, "timeout": COMMAND_SECONDS}).encode() + b"\n")
            process.stdin.flush()
            line = self._line(process, COMMAND_SECONDS + 10)
        except OSError:
            line = b""
        if not line:
            self.close()
            self._failure = _("La connexion avec {host} a été perdue pendant les contrôles.").format(host=self.target.name)
            raise HostUnreachableError(self._failure)
        answer = json.loads(line)
        out, err = base64.b64decode(answer["out"]), base64.b64decode(answer["err"])
        if answer["late"]:
            raise CommandTooLongError(
                _("la commande « {command} » n'a pas répondu en {n} secondes").format(command=command[:120], n=COMMAND_SECONDS)
            )
        observation = observe(self.target.name, command, answer["rc"], out, err)
        result = CommandResult(PersistentBackend(self), answer["rc"], command.encode(), out, err)
        self._known[command] = result, observation
        return self._known[command]

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

    @staticmethod
    def _line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
        """Return the next line, or nothing when the other end is gone or silent for too long."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                return b""
        return process.stdout.readline()


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
        "UserKnownHostsFile": f'"{target.known_hosts}"',
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
    if target.private_key:
        command += ["-o", "IdentitiesOnly=yes", "-i", target.private_key]
    loop = f"sudo -n /usr/bin/python3 -uc {shlex.quote(_LOOP)}"
    return [*command, f"{target.user}@{target.address}", loop]
