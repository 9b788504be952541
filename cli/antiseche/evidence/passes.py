"""One verification pass: run the checks, judge, store, tell what changed since the pass before."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiseche.catalogue import Catalogue, catalogue_digest, load_catalogue
from antiseche.engine import events
from antiseche.engine.records import Run
from antiseche.errors import ExitCode
from antiseche.evidence import drift, store
from antiseche.evidence.drift import Transition
from antiseche.evidence.results import Effective, Result, count, judge_all
from antiseche.evidence.store import Snapshot
from antiseche.practice.atomic import write_text
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Practice
from antiseche.verify.run import Verification

TRANSITIONS_NAME = "transitions.jsonl"


@dataclass(frozen=True)
class Pass:
    """What a pass found."""

    run: Run
    snapshot: Snapshot
    previous: Snapshot | None
    results: list[Result]
    transitions: list[Transition]
    verification: Verification
    catalogue: Catalogue

    @property
    def counts(self) -> dict[str, int]:
        """Figures of this pass."""
        return count(self.results)

    def exit_code(self) -> ExitCode:
        """An unreachable host first, then what does not conform."""
        if self.verification.unreachable:
            return ExitCode.UNREACHABLE
        if any(drift.is_broken(result.effective) for result in self.results):
            return ExitCode.NOT_CONFORMING
        return ExitCode.OK


def record_pass(folder: PracticeFolder, answers: Practice, run: Run, verification: Verification, roles: tuple[str, ...]) -> Pass:
    """Judge what the checks found and store it. To be called under the practice's lock.

    A pass over some hosts or roles only keeps, for the others, what the last pass said, marked with its run: a
    snapshot is always the whole practice.
    """
    catalogue = load_catalogue()
    moment = dt.datetime.now(dt.UTC)
    previous = store.latest(folder)
    results = judge_all(verification, answers.waivers, moment)
    measured = {(result.host, result.control) for result in results}
    kept = _kept(previous, answers, catalogue, measured)
    hosts = {host.name for host in answers.hosts}
    body: dict[str, Any] = {
        "kind": run.kind,
        "parent": run.record.get("parent"),
        "practice": answers.practice.id,
        "started": run.record["started"],
        "ended": events.now(),
        "rehearsal": bool(run.record.get("rehearsal")),
        "provenance": {**run.record["provenance"], "catalogue_sha256": catalogue_digest(catalogue)},
        "scope": {
            "hosts": sorted(hosts),
            "expected": verification.expected,
            "reached": verification.reached,
            "unreachable": verification.unreachable,
            "roles": list(roles),
        },
        "skew_seconds": verification.skew_seconds,
        "rules": {control.id: _rule_digest(control.model_dump_json()) for control in catalogue},
        "results": [{**result.as_json(), "run": run.id} for result in results] + kept,
        "counts": count(results),
    }
    snapshot = store.append(folder, run, body, verification.observations + _kept_observations(previous, kept))
    repaired = drift.repaired_by_kit(folder, previous.run_id if previous else None, run.id)
    found = drift.transitions(previous, snapshot, store.snapshots(folder), repaired, catalogue)
    lines = "".join(json.dumps(change.as_json(), ensure_ascii=False, sort_keys=True) + "\n" for change in found)
    write_text(run.dir / TRANSITIONS_NAME, lines, mode=0o600)
    return Pass(run, snapshot, previous, results, found, verification, catalogue)


def close_run(run: Run, verification: Verification) -> None:
    """Close the record of a run whose checks are over."""
    run.record["scope"] = {
        "expected": verification.expected,
        "reached": verification.reached,
        "unreachable": sorted(verification.unreachable),
    }
    run.record |= {"ended": events.now(), "complete": True, "interrupted": False}
    run.save()


def _kept(
    previous: Snapshot | None, answers: Practice, catalogue: Catalogue, measured: set[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Return earlier results of hosts and controls that still exist and were not measured this time."""
    if previous is None:
        return []
    hosts, controls = {host.name for host in answers.hosts}, set(catalogue.by_id)
    return [
        entry
        for entry in previous.data["results"]
        if (entry["host"], entry["control"]) not in measured and entry["host"] in hosts and entry["control"] in controls
    ]


def _kept_observations(previous: Snapshot | None, kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    wanted = {leaf for entry in kept for leaf in entry["leaves"]}
    if previous is None or not wanted:
        return []
    lines = _lines(previous.path.parent / store.OBSERVATIONS_NAME)
    return [entry for entry in lines if entry["leaf"] in wanted]


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []


def _rule_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def failing(results: list[Result]) -> list[Result]:
    """Keep what asks for something to be done, gravest word first."""
    order = {Effective.FAIL: 0, Effective.ERROR: 1, Effective.UNKNOWN: 2}
    return sorted((r for r in results if drift.is_broken(r.effective)), key=lambda r: (r.host, order[r.effective], r.control))
