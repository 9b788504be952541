"""What the runs of a demonstration show: every figure comes from their records, none is assumed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from antiseche.engine import records
from antiseche.engine.events import read_events
from antiseche.engine.records import Run
from antiseche.engine.summary import Difference, RunSummary, compare, summarize
from antiseche.evidence import store
from antiseche.evidence.drift import Cause
from antiseche.evidence.passes import TRANSITIONS_NAME
from antiseche.i18n import _
from antiseche.lab.model import LabError
from antiseche.practice.folder import PracticeFolder

Pair = tuple[str, str]
"""A host and a control."""


@dataclass(frozen=True)
class Figures:
    """The last line of a demonstration."""

    hosts: int
    controls: int
    passed: int
    failed: int
    waived: int
    drift_found: int
    drift_fixed: int

    def line(self) -> str:
        """Return the line that programs read."""
        return (
            f"demo: ok hosts={self.hosts} controls={self.controls} pass={self.passed} fail={self.failed} "
            f"waived={self.waived} drift_found={self.drift_found} drift_fixed={self.drift_fixed}"
        )


def runs_after(folder: PracticeFolder, known: set[str]) -> list[Run]:
    """Return the runs that were made since, oldest first."""
    return [run for run in records.runs(folder) if run.id not in known]


def run_ids(folder: PracticeFolder) -> set[str]:
    """Return the runs made so far."""
    return {run.id for run in records.runs(folder)}


def playbook_summary(runs: Iterable[Run]) -> RunSummary:
    """Return what the playbook of these runs did.

    Raises:
        LabError: none of them ran one to its end.
    """
    for run in runs:
        if run.events_file.exists():
            summary = summarize(read_events(run.events_file))
            if summary.complete:
                return summary
    raise LabError(_("Aucun compte rendu complet de cette étape."))


def difference(predicted: RunSummary, done: RunSummary) -> Difference:
    """Compare what was announced with what was done."""
    return compare(predicted, done)


def changed_pairs(runs: Iterable[Run], *causes: Cause) -> set[Pair]:
    """Return the (host, control) pairs that changed for one of these causes, as the runs recorded it."""
    found = set()
    for run in runs:
        for entry in _transitions(run.dir / TRANSITIONS_NAME):
            if entry["cause"] in {str(cause) for cause in causes}:
                found.add((entry["host"], entry["control"]))
    return found


def _transitions(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def figures(folder: PracticeFolder, found: set[Pair], repaired: set[Pair]) -> Figures:
    """Count from the last snapshot and from the recorded transitions.

    Raises:
        LabError: no snapshot.
    """
    snapshot = store.latest(folder)
    if snapshot is None:
        raise LabError(_("Aucun résultat n'a été enregistré."))
    counts = snapshot.data["counts"]
    passing = {pair for pair, result in snapshot.results.items() if result.effective == "pass"}
    return Figures(
        hosts=len({host for host, _control in snapshot.results}),
        controls=counts["verifiable"],
        passed=counts["pass"],
        failed=counts["fail"],
        waived=counts["waived"],
        drift_found=len(found),
        drift_fixed=len(found & repaired & passing),
    )


def report(folder: PracticeFolder) -> Path | None:
    """Return the last report that a browser can open."""
    reports = sorted(folder.runs_dir.glob("*/report.html"))
    return reports[-1] if reports else None
