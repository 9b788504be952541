# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""What the programs of the backup share: the state that everybody may read, and restic without a hang."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DETAIL_CHARACTERS = 300
# What restic and rest-server say, most particular first. Codes are stable: the checks have a sentence for each.
REASONS: tuple[tuple[str, str], ...] = (
    ("password", r"wrong password or no key found"),
    ("full", r"insufficient storage|no space left|\b507\b|disk quota exceeded|\b413\b"),
    ("refused", r"\b401\b|\b403\b|unauthorized|forbidden"),
    ("certificate", r"x509|certificate"),
    ("host_key", r"host key verification failed|remote host identification has changed|no \S+ host key is known"),
    ("key", r"permission denied \([a-z,-]*publickey|load key .*: (error in libcrypto|invalid format)"),
    ("lost", r"unable to open config file|repository does not exist|is there a repository"),
    ("locked", r"already locked|unable to create lock"),
    (
        "corrupt",
        r"ciphertext verification failed|does not match|invalid data|damaged|(?<!closed connection: )unexpected eof"
        r"|pack .* missing|not found in index",
    ),
    (
        "absent",
        r"connection refused|no route to host|i/o timeout|connection timed out|network is unreachable|no such host|deadline"
        r"|could not resolve hostname|name or service not known|connection (reset|closed) by|unable to start the sftp session",
    ),
)
# restic tries again for a quarter of an hour what will not get better.
# What may come back is waited for this long, in seconds: the next quarter of an hour, or evening, tries again.
PATIENCE = 180
HOPELESS = frozenset(("password", "full", "refused", "certificate"))
_CREDENTIALS = re.compile(r"(https?://)[^/@\s]+@")


class BackupError(Exception):
    """What stopped, as a code of REASONS (or dump, paths, clock, other) and the words of the tool."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = harmless(detail)

    def as_json(self) -> dict[str, str]:
        """Return what the state keeps."""
        return {"code": self.code, "detail": self.detail}


@dataclass(frozen=True)
class Answer:
    """What restic answered."""

    rc: int
    out: str
    err: str


def harmless(text: str) -> str:
    """Return a short text without credentials: addresses of repositories hold some."""
    return " ".join(_CREDENTIALS.sub(r"\1", text).split())[:DETAIL_CHARACTERS]


def now() -> dt.datetime:
    """Return the moment, by this machine's clock."""
    return dt.datetime.now(dt.UTC)


def stamp(moment: dt.datetime) -> str:
    """Return a moment as states and records write it: UTC, whole seconds."""
    return moment.astimezone(dt.UTC).isoformat(timespec="seconds")


def moment_of(text: str) -> dt.datetime:
    """Return a date of restic, which may have nanoseconds."""
    head, _dot, tail = text.partition(".")
    zone = tail.lstrip("0123456789") if tail else ""
    return dt.datetime.fromisoformat((head + zone).replace("Z", "+00:00"))


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object; empty when there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, value: Mapping[str, Any], mode: int = 0o644) -> None:
    """Replace a JSON file in one step, flushed: a power cut leaves the old one or the new one."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(value, stream, ensure_ascii=False, indent=1, sort_keys=True)
            stream.write("\n")
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def reason_of(text: str) -> str:
    """Return the code of what a tool said; ``other`` when it is not known."""
    return next((code for code, pattern in REASONS if re.search(pattern, text, re.IGNORECASE)), "other")


class Listener:
    """Hears what restic says on its standard error, and ends it when waiting longer is of no use."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._absent: tuple[float, float] | None = None  # first and last time that nothing answered, without a break
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            text = line.decode(errors="replace")
            self._lines.append(text)
            if "retrying" in text and self._is_hopeless(reason_of(text), time.monotonic()):
                self._process.terminate()

    def _is_hopeless(self, reason: str, moment: float) -> bool:
        if reason != "absent":
            return reason in HOPELESS
        first, last = self._absent or (moment, moment)
        self._absent = (first if moment - last < PATIENCE else moment, moment)
        return moment - self._absent[0] > PATIENCE

    def words(self) -> str:
        """Return all that was said."""
        self._thread.join()
        return "".join(self._lines)


def restic(arguments: Sequence[str], environment: Mapping[str, str], seconds: float | None = None) -> Answer:
    """Run restic until it ends, or until it says something that trying again does not mend.

    Args:
        arguments: without the program's name; never a secret.
        environment: where the repository and the password are; added to a bare environment.
        seconds: how long an answer may take; None for work that takes as long as it takes.

    Raises:
        BackupError: restic is not installed.
    """
    bare = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
    argv = ["restic", *arguments]
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**bare, **environment}
        )
    except OSError as error:
        raise BackupError("other", f"restic: {error.strerror}") from None
    late = threading.Event()

    def stop() -> None:
        late.set()
        process.terminate()

    timer = threading.Timer(seconds or 0, stop)
    if seconds is not None:
        timer.start()
    listener = Listener(process)
    assert process.stdout is not None
    out = process.stdout.read().decode(errors="replace")
    rc = process.wait()
    timer.cancel()
    # The last words name the reason when nothing before did.
    return Answer(rc, out, listener.words() + ("deadline exceeded\n" if late.is_set() else ""))


def restic_or_fail(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run restic; return its output.

    Raises:
        BackupError: it failed.
    """
    done = restic(arguments, environment)
    if done.rc != 0:
        raise failure_of(done)
    return done.out


def failure_of(done: Answer) -> BackupError:
    """Return why restic failed. The last words count most, but the first known reason names it."""
    text = done.err or done.out
    return BackupError(reason_of(text), text[-2000:].strip() or f"restic: {done.rc}")
