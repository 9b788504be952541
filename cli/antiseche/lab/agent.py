"""Commands on a full machine's console, through the agent inside it; no network is needed.

The protocol: https://qemu-project.gitlab.io/qemu/interop/qemu-ga-ref.html
"""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from antiseche.i18n import _
from antiseche.lab.model import ExecResult, LabError
from antiseche.lab.sockets import JsonSocket

_PAUSES = (0.05, 0.1, 0.2, 0.4)
_ANSWER_SECONDS = 60


def run(path: Path, argv: Sequence[str], stdin: bytes = b"", timeout: float | None = None) -> ExecResult:
    """Run a command as root and wait for its end; several callers may do so at once.

    Args:
        path: socket of the machine's agent.
        argv: the command, found in the agent's ``PATH``.
        stdin: what it reads.
        timeout: seconds; None waits as long as it takes.

    Raises:
        LabError: the agent does not answer, or the command wrote more than the agent keeps (16 MB).
        subprocess.TimeoutExpired: the command did not end in time; it goes on.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    patience = min(timeout or _ANSWER_SECONDS, _ANSWER_SECONDS)
    arguments: dict[str, Any] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
    if stdin:
        arguments["input-data"] = base64.b64encode(stdin).decode()
    pid = _ask(path, patience, "guest-exec", arguments)["pid"]
    waited = 0
    while not (found := _ask(path, patience, "guest-exec-status", {"pid": pid}))["exited"]:
        if deadline is not None and time.monotonic() > deadline:
            raise subprocess.TimeoutExpired(list(argv), timeout or 0)
        time.sleep(_PAUSES[min(waited, len(_PAUSES) - 1)])
        waited += 1
    if found.get("out-truncated") or found.get("err-truncated"):
        raise LabError(_("La commande « {command} » a trop écrit pour être relue.").format(command=argv[0]))
    out, err = (base64.b64decode(found.get(key, "")) for key in ("out-data", "err-data"))
    return ExecResult(int(found.get("exitcode", 128 + int(found.get("signal", 0)))), out, err)


def _ask(path: Path, patience: float, command: str, arguments: Mapping[str, Any]) -> Any:
    with _turn(path), JsonSocket(path, timeout=patience) as agent:
        # Answers to somebody who went away before reading them must not be taken for ours.
        agent.synchronise(secrets.randbits(32))
        return agent.call(command, arguments)


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Wait for one's turn: the agent's line holds one conversation at a time, the next caller would wait without a word."""
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
