"""What a run did, host by host: folded from the events, whoever reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from antiseche.engine.events import Event
from antiseche.errors import ExitCode


class HostStatus(StrEnum):
    """State of one host at the end of a run."""

    OK = "ok"
    CHANGED = "changed"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    INTERRUPTED = "interrupted"
    NOT_STARTED = "not_started"


class Change(NamedTuple):
    """One thing that was changed, or would be in check mode."""

    role: str
    task: str
    change: str


class Failure(NamedTuple):
    """One task that failed, with the reason that the module gave."""

    role: str
    task: str
    message: str


@dataclass
class HostSummary:
    """What happened on one host."""

    name: str
    status: HostStatus = HostStatus.NOT_STARTED
    tasks: int = 0
    changed: int = 0
    failed: int = 0
    unknown: int = 0
    changes: list[Change] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    ignored: list[Failure] = field(default_factory=list)
    rescued: list[Failure] = field(default_factory=list)
    unpredicted: list[Failure] = field(default_factory=list)
    unreachable: str = ""
    roles_done: list[str] = field(default_factory=list)
    role: str = ""
    task: str = ""
    finished: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the summary for ``--json``."""
        return {
            "status": str(self.status),
            "tasks": self.tasks,
            "changed": len(self.changes),
            "failed": len(self.failures),
            "unknown": self.unknown,
            "changes": [change._asdict() for change in self.changes],
            "failures": [failure._asdict() for failure in self.failures],
            "ignored": [failure._asdict() for failure in self.ignored],
            "rescued": [failure._asdict() for failure in self.rescued],
            "unpredicted": [failure._asdict() for failure in self.unpredicted],
            "unreachable": self.unreachable,
            "roles_done": self.roles_done,
            "role_in_progress": self.role if self.status is HostStatus.INTERRUPTED else "",
        }


@dataclass
class RunSummary:
    """What happened on all hosts. Feed it events as they come, then `close` it."""

    hosts: dict[str, HostSummary] = field(default_factory=dict)
    interrupted: bool = False
    complete: bool = False
    error: str = ""

    def add(self, event: Event) -> None:
        """Take one event into account."""
        if event.event == "run_start":
            for name in event.data.get("hosts", ()):
                self._host(str(name))
        elif event.event == "task_start":
            self._start(self._host(event.host), event)
        elif event.event == "result":
            _result(self._host(event.host), event)
        elif event.event == "stats":
            self.complete = True
            _stats(self._host(event.host), event.data.get("stats") or {})
        elif event.event == "run_end":
            self.interrupted = self.interrupted or bool(event.data.get("interrupted"))

    def close(self, *, interrupted: bool = False) -> None:
        """Decide each host's state, once no event can follow."""
        self.interrupted = self.interrupted or interrupted
        for host in self.hosts.values():
            host.status = _status(host)

    def exit_code(self) -> ExitCode:
        """Return the exit code: interrupted, a task failed, the kit failed, a host was unreachable, in that order."""
        statuses = {host.status for host in self.hosts.values()}
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if HostStatus.FAILED in statuses:
            return ExitCode.TASK_FAILED
        if self.error or not self.complete or statuses & {HostStatus.NOT_STARTED, HostStatus.INTERRUPTED}:
            return ExitCode.FAILURE  # some host was left out, whatever the others say
        return ExitCode.UNREACHABLE if HostStatus.UNREACHABLE in statuses else ExitCode.OK

    def changes(self) -> set[tuple[str, str, str]]:
        """Return every (host, role, change)."""
        return {(host.name, change.role, change.change) for host in self.hosts.values() for change in host.changes}

    def as_json(self) -> dict[str, Any]:
        """Return the summary for ``--json``."""
        return {
            "interrupted": self.interrupted,
            "complete": self.complete,
            "error": self.error,
            "exit_code": int(self.exit_code()),
            "hosts": {name: host.as_json() for name, host in self.hosts.items()},
        }

    def _host(self, name: str) -> HostSummary:
        return self.hosts.setdefault(name, HostSummary(name))

    @staticmethod
    def _start(host: HostSummary, event: Event) -> None:
        if host.role and event.role != host.role and host.role not in host.roles_done:
            host.roles_done.append(host.role)
        host.role, host.task = event.role, event.task


class Difference(NamedTuple):
    """Where a prediction and what then happened part: sets of (host, role, change)."""

    only_predicted: set[tuple[str, str, str]]
    only_done: set[tuple[str, str, str]]


def compare(predicted: RunSummary, done: RunSummary) -> Difference:
    """Compare what a run in check mode announced with what the real run changed."""
    return Difference(predicted.changes() - done.changes(), done.changes() - predicted.changes())


def summarize(events: Iterable[Event], *, interrupted: bool = False) -> RunSummary:
    """Fold the events of one run; ``complete`` is false when its last lines are missing."""
    summary = RunSummary()
    for event in events:
        summary.add(event)
    summary.close(interrupted=interrupted)
    return summary


def _result(host: HostSummary, event: Event) -> None:
    host.tasks += 1
    told = Failure(event.role, event.task, event.message)
    if event.status == "changed":
        host.changed += 1
        # A module that was not written for the kit lists nothing: its task says what it changed.
        host.changes += [Change(event.role, event.task, text) for text in event.changes or (event.task,)]
    elif event.status == "failed":
        host.failed += 1
        host.failures.append(told)
    elif event.status == "ignored":
        host.ignored.append(told)
    elif event.status == "unreachable":
        host.unreachable = event.message or event.task
    elif event.status == "unknown":
        host.unknown += 1
        host.unpredicted.append(told)


def _stats(host: HostSummary, counts: dict[str, Any]) -> None:
    """Ansible alone knows which failures a ``rescue`` caught: it counts the others."""
    host.finished = True
    real = int(counts.get("failures") or 0)
    cut = max(len(host.failures) - real, 0)
    host.rescued += host.failures[:cut]
    host.failures = host.failures[cut:]
    # A failure whose event was lost (a full disk) is a failure still.
    host.failures += [Failure(host.role, host.task, "")] * (real - len(host.failures))
    host.failed = len(host.failures)
    if int(counts.get("unreachable") or 0) and not host.unreachable:
        host.unreachable = "?"
    if not host.failures and not host.unreachable and host.role and host.role not in host.roles_done:
        host.roles_done.append(host.role)


def _status(host: HostSummary) -> HostStatus:
    if host.failures:
        return HostStatus.FAILED
    if host.unreachable:
        return HostStatus.UNREACHABLE
    if not host.finished:
        return HostStatus.INTERRUPTED if host.role or host.task else HostStatus.NOT_STARTED
    return HostStatus.CHANGED if host.changed else HostStatus.OK
