"""Typed events, read from the file that the callback plugin writes."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

EVENTS_NAME = "events.jsonl"
VERSION = 1


@dataclass(frozen=True)
class Event:
    """One line of the event file.

    ``event`` is one of ``run_start play_start task_start result stats run_end``; ``status`` of a result
    one of ``ok changed failed ignored unreachable skipped unknown``.
    """

    event: str
    time: str = ""
    play: str = ""
    role: str = ""
    task: str = ""
    task_id: str = ""
    host: str = ""
    status: str = ""
    changes: tuple[str, ...] = ()
    duration: float | None = None
    message: str = ""
    data: dict[str, Any] = field(default_factory=dict)


def now(ahead: float = 0) -> str:
    """Return the time as events write it; these texts sort as the times do.

    Args:
        ahead: how much later than now, in seconds.
    """
    return (datetime.now(UTC) + timedelta(seconds=ahead)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def operator() -> str:
    """Return who acts, and from which machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user identifier without a name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def parse(line: str | bytes) -> Event | None:
    """Read one line; None when it is not an event (cut by a full disk or a power loss)."""
    try:
        raw = json.loads(line)
    except ValueError:
        return None
    if not isinstance(raw, dict) or raw.get("v") != VERSION or not isinstance(raw.get("event"), str):
        return None
    duration, changes = raw.get("duration"), raw.get("changes")
    texts = {name: str(raw.get(name) or "") for name in ("play", "role", "task", "task_id", "host", "status")}
    known = {"v", "t", "event", "changes", "duration", "msg", *texts}
    return Event(
        event=raw["event"],
        time=str(raw.get("t") or ""),
        changes=tuple(str(change) for change in changes) if isinstance(changes, list) else (),
        duration=float(duration) if isinstance(duration, int | float) else None,
        message=str(raw.get("msg") or ""),
        data={name: value for name, value in raw.items() if name not in known},
        **texts,
    )


def read_events(path: Path) -> Iterator[Event]:
    """Read a whole event file; damaged lines are left out."""
    with path.open("rb") as stream:
        for line in stream:
            event = parse(line)
            if event is not None:
                yield event


class Tail:
    """Follows a growing event file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def new_events(self) -> list[Event]:
        """Return the events that were completed since the last call."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._position)
                data = stream.read()
        except FileNotFoundError:
            return []
        complete = data.rfind(b"\n") + 1
        self._position += complete
        parsed = (parse(line) for line in data[:complete].splitlines())
        return [event for event in parsed if event is not None]


def append(path: Path, event: str, **fields: Any) -> Event:
    """Append one line of ours to an event file, created private."""
    line = json.dumps({"v": VERSION, "t": now(), "event": event, **fields}, ensure_ascii=False)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as stream:
        size = stream.seek(0, os.SEEK_END)
        # A process killed in the middle of a line must not swallow this one.
        broken = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        stream.write((b"\n" if broken else b"") + line.encode("utf-8", "replace") + b"\n")
    written = parse(line)
    assert written is not None
    return written


def sha256(path: Path) -> str:
    """Return the digest of an event file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
