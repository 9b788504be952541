"""What is kept of each run: ``runs/<id>/run.json``, written before and after."""

from __future__ import annotations

import hashlib
import json
import platform
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from antiseche import __version__
from antiseche.engine import events
from antiseche.engine.events import EVENTS_NAME
from antiseche.engine.summary import HostStatus, RunSummary, summarize
from antiseche.kit import kit_dir
from antiseche.practice.atomic import write_text
from antiseche.practice.folder import PracticeFolder

RECORD_NAME = "run.json"
_KIT_PARTS = ("roles", "plugins", "playbooks", "ansible.cfg")


@dataclass
class Run:
    """One run: its folder and what is recorded of it."""

    dir: Path
    id: str
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What the run was for."""
        return str(self.record.get("kind", ""))

    @property
    def events_file(self) -> Path:
        """The events of its playbook."""
        return self.dir / EVENTS_NAME

    @property
    def finished(self) -> bool:
        """Whether the record was closed."""
        return bool(self.record.get("ended"))

    def save(self) -> None:
        """Write ``run.json`` in one step."""
        text = json.dumps(self.record, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        write_text(self.dir / RECORD_NAME, text, mode=0o600)

    def finish(self, summary: RunSummary, rc: int | None) -> None:
        """Close the record: who was reached, how it ended, and the digest of the events."""
        hosts = summary.hosts
        unreachable = sorted(name for name, host in hosts.items() if host.status is HostStatus.UNREACHABLE)
        reached = sorted(name for name, host in hosts.items() if host.tasks and name not in unreachable)
        if self.events_file.exists():
            digest = events.sha256(self.events_file)
            events.append(self.events_file, "run_end", rc=rc, interrupted=summary.interrupted, sha256=digest)
            self.record["events_sha256"] = events.sha256(self.events_file)
        self.record["scope"] = {**self.record["scope"], "reached": reached, "unreachable": unreachable}
        self.record |= {"ended": events.now(), "rc": rc, "interrupted": summary.interrupted, "complete": summary.complete}
        self.save()


def create_run(
    folder: PracticeFolder, kind: str, *, expected: list[str] | None = None, parent: str | None = None, **details: Any
) -> Run:
    """Create the folder of a new run and write its first record."""
    folder.runs_dir.mkdir(mode=0o700, exist_ok=True)
    while True:
        identifier = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{kind}-{secrets.token_hex(2)}"
        directory = folder.runs_dir / identifier
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            continue
        break
    record = {
        "v": 1,
        "id": identifier,
        "kind": kind,
        "parent": parent,
        "rehearsal": folder.rehearsal,
        "started": events.now(),
        "ended": None,
        "operator": events.operator(),
        "provenance": provenance(folder),
        "scope": {"expected": expected or [], "reached": [], "unreachable": []},
        "rc": None,
        "interrupted": False,
        "complete": False,
        "events_sha256": None,
        **details,
    }
    run = Run(directory, identifier, record)
    run.save()
    return run


def load_run(directory: Path) -> Run | None:
    """Read the record of a run; None when it cannot be read."""
    try:
        record = json.loads((directory / RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Run(directory, directory.name, record) if isinstance(record, dict) else None


def runs(folder: PracticeFolder) -> Iterator[Run]:
    """Yield the runs of a practice, oldest first."""
    if not folder.runs_dir.is_dir():
        return
    for directory in sorted(folder.runs_dir.iterdir()):
        run = load_run(directory) if directory.is_dir() else None
        if run is not None:
            yield run


def close_unfinished(folder: PracticeFolder, *, but: Run | None = None) -> list[tuple[Run, RunSummary]]:
    """Close the records of runs whose command was killed. To be called under the practice's lock.

    The lock outlives the command for as long as its playbook runs, so that none of these runs is alive.

    Args:
        folder: the practice.
        but: a run of the caller, which goes on.
    """
    closed = []
    for run in runs(folder):
        if run.finished or not run.events_file.exists() or (but is not None and run.id == but.id):
            continue
        summary = summarize(events.read_events(run.events_file))
        summary.interrupted = not summary.complete
        run.record["command_lost"] = True
        run.finish(summary, None)
        closed.append((run, summary))
    return closed


def provenance(folder: PracticeFolder) -> dict[str, Any]:
    """Return with what exactly a run was made."""
    return {
        "kit_version": __version__,
        **_git(kit_dir()),
        "answers_sha256": _digest(folder.answers_file),
        "kit_sha256": kit_digest(kit_dir()),
        "ansible_version": metadata.version("ansible-core"),
        "python_version": platform.python_version(),
    }


@lru_cache(maxsize=4)
def kit_digest(kit: Path) -> str:
    """Return one digest of everything that acts on a host: roles with their controls, plugins, playbooks."""
    total = hashlib.sha256()
    for part in _KIT_PARTS:
        base = kit / part
        files = [base] if base.is_file() else sorted(path for path in base.rglob("*") if path.is_file())
        for path in files:
            if "__pycache__" not in path.parts:
                total.update(f"{path.relative_to(kit)}\0{_digest(path)}\n".encode())
    return total.hexdigest()


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


@lru_cache(maxsize=4)
def _git(kit: Path) -> dict[str, Any]:
    """Return commit and cleanliness when the kit is a checkout."""
    if not (kit / ".git").exists():
        return {"git_commit": None, "git_dirty": None}
    parts = [part for part in _KIT_PARTS if (kit / part).exists()]
    commit = _run_git(kit, "rev-parse", "HEAD")
    changes = _run_git(kit, "status", "--porcelain", "--", *parts, "cli")
    return {"git_commit": commit or None, "git_dirty": None if changes is None else bool(changes)}


def _run_git(kit: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(kit), *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
