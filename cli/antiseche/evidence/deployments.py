"""Runs in which the kit changed hosts: which are new since the last snapshot, and what they changed."""

from __future__ import annotations

from functools import cache

from antiseche.catalogue import Catalogue
from antiseche.engine import events, records
from antiseche.engine.records import Run
from antiseche.engine.summary import summarize
from antiseche.evidence.drift import Repaired
from antiseche.evidence.ledger import Ledger
from antiseche.evidence.results import Known, Result
from antiseche.practice.folder import PracticeFolder

CHANGING_KINDS = ("deploy", "fix")


def new_deployments(folder: PracticeFolder, ledger: Ledger) -> list[Run]:
    """Return the finished runs that may have changed hosts and that no snapshot accounts for yet, oldest first."""
    accounted = ledger.deployments
    return [run for run in records.runs(folder) if _changes_hosts(run) and run.id not in accounted]


def as_json(runs: list[Run]) -> list[dict[str, str | None]]:
    """Return what a snapshot says of them."""
    return [{"run": run.id, "kind": run.kind, "events_sha256": events.sha256(run.events_file)} for run in runs]


def repaired_by_kit(folder: PracticeFolder, ledger: Ledger, new: list[Run], catalogue: Catalogue) -> Repaired:
    """Return what says whether the kit changed the role of a control, on its host, after it was known to fail."""
    role_of = {control: role.role for control, role in catalogue.role_of.items()}

    @cache
    def changed(run_id: str) -> frozenset[tuple[str, str]]:
        run = records.load_run(folder.runs_dir / run_id)
        if run is None or not run.events_file.exists():
            return frozenset()
        summary = summarize(events.read_events(run.events_file))
        return frozenset((host.name, change.role) for host in summary.hosts.values() for change in host.changes)

    def repaired(now: Result, known: Known) -> bool:
        since = ledger.deployments_after(known.run) | {run.id for run in new}
        return any((now.host, role_of.get(now.control, "")) in changed(run_id) for run_id in since)

    return repaired


def _changes_hosts(run: Run) -> bool:
    return run.kind in CHANGING_KINDS and run.finished and not run.record.get("check") and run.events_file.exists()
