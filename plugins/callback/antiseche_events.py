"""Append what happens to a private file, one JSON object a line, from a white list of fields."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import filter_loader, test_loader

DOCUMENTATION = """
name: antiseche_events
type: aggregate
short_description: Append typed events to a private file
description:
  - Writes one JSON object a line to the file named by the environment variable E(ANTISECHE_EVENTS).
  - Only listed fields are written, never a whole result, and messages are redacted.
  - Does nothing when the variable is not set.
requirements:
  - The C(antiseche) package, importable or in the folder named by E(ANTISECHE_LIB).
author:
  - Antisèche contributors
"""

# Includes only say that tasks follow; the tasks themselves are reported.
_INCLUDES = frozenset(
    prefix + name
    for prefix in ("", "ansible.builtin.", "ansible.legacy.")
    for name in ("include_role", "include_tasks", "import_role", "import_tasks", "meta")
)
_MAX_CHANGES = 500
_MAX_CHANGE_LENGTH = 300
_MAX_MESSAGE_LENGTH = 500


def _load_redact() -> Any:
    """Return the package's one redaction function, wherever the package is."""
    try:
        from antiseche.engine.redact import redact
    except ImportError:
        # A checkout that is not installed. Appended, and only here: nothing of ours may shadow
        # a module of Ansible, and the processes that Ansible starts see no difference.
        sys.path.append(os.environ.get("ANTISECHE_LIB", ""))
        from antiseche.engine.redact import redact
    return redact


def _load_once() -> None:
    """Load what every task needs before the first one: Ansible forks a process per task and host.

    What is loaded here is not loaded again by each of them; what the collector leaves alone stays shared memory.
    """
    filter_loader.get("bool")
    test_loader.get("defined")
    gc.collect()
    gc.freeze()


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Writes events while a playbook runs."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "antiseche_events"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        path = os.environ.get("ANTISECHE_EVENTS")
        self.disabled = not path
        self._play = ""
        self._check = False
        self._started: dict[tuple[str, str], float] = {}
        if not path:
            return
        self._redact = _load_redact()
        self._events = _open_private(path)
        diffs = os.environ.get("ANTISECHE_DIFFS")
        self._diffs = _open_private(diffs) if diffs else None

    def v2_playbook_on_play_start(self, play: Any) -> None:
        _load_once()
        self._play = play.get_name()
        self._check = bool(play.check_mode)
        self._write({"event": "play_start", "play": self._play})

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        if task.action in _INCLUDES:
            return
        self._started[(host.get_name(), task._uuid)] = time.monotonic()
        self._write({"event": "task_start", **_identity(task), "host": host.get_name()})

    def v2_runner_on_ok(self, result: Any) -> None:
        self._result(result, "changed" if result.is_changed() else "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._result(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._result(result, "unreachable")

    def v2_runner_on_skipped(self, result: Any) -> None:
        # In check mode a module that cannot predict skips without any condition being false.
        unknown = self._check and _unpredicted(result.result)
        self._result(result, "unknown" if unknown else "skipped")

    def v2_on_file_diff(self, result: Any) -> None:
        if self._diffs is None:
            return
        found = [result.result.get("diff"), *(item.get("diff") for item in _items(result.result))]
        text = "".join(self._get_diff(diff) for diff in found if diff)
        if text:
            line = {"host": result.host.get_name(), **_identity(result.task), "diff": self._redact(text, limit=20000)}
            self._diffs.write(json.dumps(line, ensure_ascii=False) + "\n")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        for host in sorted(stats.processed):
            self._write({"event": "stats", "host": host, "stats": stats.summarize(host)})

    def _result(self, result: Any, status: str) -> None:
        task, host, data = result.task, result.host.get_name(), result.result
        started = self._started.pop((host, task._uuid), None)
        if task.action in _INCLUDES and status != "failed":
            return
        line = {"event": "result", **_identity(task), "host": host, "status": status, "changes": [], "duration": None, "msg": ""}
        if started is not None:
            line["duration"] = round(time.monotonic() - started, 3)
        if status == "changed":
            line["changes"] = [self._redact(change, limit=_MAX_CHANGE_LENGTH) for change in _changes(data)]
        if status in ("failed", "ignored", "unreachable", "unknown"):
            line["msg"] = self._redact(_message(data), limit=_MAX_MESSAGE_LENGTH)
        self._write(line)

    def _write(self, line: dict[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text = json.dumps({"v": 1, "t": now, "play": self._play, **line}, ensure_ascii=False)
        # One write per line on a file opened for appending: a reader never sees half a line
        # followed by another, and nothing is lost when this process is killed.
        self._events.write(text + "\n")


def _open_private(path: str) -> Any:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", buffering=1)


def _identity(task: Any) -> dict[str, str]:
    role = getattr(task, "_role", None)
    return {"role": role.get_name() if role else "", "task": str(task.name or task.action), "task_id": str(task._uuid)}


def _items(data: dict[str, Any]) -> list[dict[str, Any]]:
    results = data.get("results")
    return [item for item in results if isinstance(item, dict)] if isinstance(results, list) else []


def _changes(data: dict[str, Any]) -> list[str]:
    """Return what the module says that it changed, the same for a loop."""
    found: list[str] = []
    for source in (data, *_items(data)):
        listed = source.get("changes")
        if isinstance(listed, list):
            found += [change for change in listed if isinstance(change, str)]
    return found[:_MAX_CHANGES]


def _message(data: dict[str, Any]) -> str:
    """Return the reason alone: arguments and output of commands may hold secrets."""
    for item in _items(data):
        if item.get("failed") and item.get("msg"):
            return str(item["msg"])
    return str(data.get("msg") or data.get("reason") or "")


def _unpredicted(data: dict[str, Any]) -> bool:
    items = _items(data) or [data]
    return any(item.get("skipped") and "skip_reason" not in item and "skipped_reason" not in item for item in items)
