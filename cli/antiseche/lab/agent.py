"""Commands on a full machine's console, through the agent inside it; no network is needed.

The protocol: https://qemu-project.gitlab.io/qemu/interop/qemu-ga-ref.html
"""

from __future__ import annotations

import base64
import secrets
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from antiseche.lab.model import ExecResult
from antiseche.lab.sockets import JsonSocket

_PAUSES = (0.05, 0.1, 0.2, 0.4)


def run(path: Path, argv: Sequence[str], stdin: bytes = b"", timeout: float | None = None) -> ExecResult:
    """Run a command as root and wait for its end.

    Args:
        path: socket of the machine's agent.
        argv: the command, found in the agent's ``PATH``.
        stdin: what it reads.
        timeout: seconds; None waits as long as it takes.

    Raises:
        LabError: the agent does not answer.
        subprocess.TimeoutExpired: the command did not end in time; it goes on.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with JsonSocket(path, timeout=min(timeout or 60, 60)) as agent:
        # Answers to somebody who went away before reading them must not be taken for ours.
        token = secrets.randbits(32)
        while agent.call("guest-sync", {"id": token}) != token:
            pass
        arguments = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
        if stdin:
            arguments["input-data"] = base64.b64encode(stdin).decode()
        pid = agent.call("guest-exec", arguments)["pid"]
        for number in range(10**9):
            found = agent.call("guest-exec-status", {"pid": pid})
            if found["exited"]:
                break
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(list(argv), timeout or 0)
            time.sleep(_PAUSES[min(number, len(_PAUSES) - 1)])
    out, err = (base64.b64decode(found.get(key, "")) for key in ("out-data", "err-data"))
    return ExecResult(int(found.get("exitcode", 128 + int(found.get("signal", 0)))), out, err)
