"""What changed between two snapshots, and why: derived from the records, whoever asks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from antiseche.catalogue import Catalogue
from antiseche.engine import events, records
from antiseche.engine.summary import summarize
from antiseche.evidence.results import Effective
from antiseche.evidence.store import Snapshot
from antiseche.i18n import _
from antiseche.practice.folder import PracticeFolder


class Cause(StrEnum):
    """Why a result is not what it was."""

    DRIFT = "drift"
    REOPENED = "reopened"
    REPAIRED_BY_KIT = "repaired-by-kit"
    REPAIRED_OTHERWISE = "repaired-otherwise"
    SCOPE = "scope"
    RULE = "rule"
    VISIBILITY = "visibility"
    DISPOSITION = "disposition"


def cause_label(cause: Cause) -> str:
    """Return what a cause is called."""
    return {
        Cause.DRIFT: _("dérive"),
        Cause.REOPENED: _("dérive déjà réparée une fois, revenue"),
        Cause.REPAIRED_BY_KIT: _("corrigé par le kit"),
        Cause.REPAIRED_OTHERWISE: _("corrigé autrement"),
        Cause.SCOPE: _("périmètre modifié"),
        Cause.RULE: _("règle modifiée"),
        Cause.VISIBILITY: _("vérification impossible ou redevenue possible"),
        Cause.DISPOSITION: _("dérogation accordée ou échue"),
    }[cause]


@dataclass(frozen=True)
class Transition:
    """One control of one host whose result is no longer what it was. ``None``: it was not there."""

    host: str
    control: str
    before: str | None
    after: str | None
    seen_before: str
    seen_after: str
    cause: Cause

    def as_json(self) -> dict[str, Any]:
        """Return the line of ``transitions.jsonl``."""
        return {**asdict(self), "cause": str(self.cause)}


def transitions(
    before: Snapshot | None,
    after: Snapshot,
    history: Iterable[Snapshot],
    repaired: set[tuple[str, str]],
    catalogue: Catalogue,
) -> list[Transition]:
    """Derive what changed from one snapshot to the next.

    Args:
        before: the snapshot before; None yields nothing, for there is nothing to compare with.
        after: the new one.
        history: older snapshots, to tell what drifts again.
        repaired: (host, role) pairs that the kit changed between the two.
        catalogue: which role each control belongs to.
    """
    if before is None:
        return []
    old, new = before.results, after.results
    once_broken = {key for snapshot in history for key, result in snapshot.results.items() if result.outcome == "fail"}
    rules_before, rules_after = before.data.get("rules", {}), after.data.get("rules", {})
    found = []
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        if was is not None and now is not None and was.effective == now.effective:
            continue
        host, control = key
        if was is None or now is None:
            cause = Cause.SCOPE
        elif rules_before.get(control) != rules_after.get(control):
            cause = Cause.RULE
        elif was.outcome == now.outcome:
            cause = Cause.DISPOSITION
        elif {was.outcome, now.outcome} - {"pass", "fail"}:
            cause = Cause.VISIBILITY
        elif now.outcome == "fail":
            cause = Cause.REOPENED if key in once_broken else Cause.DRIFT
        else:
            role = catalogue.role_of[control].role if control in catalogue.role_of else ""
            cause = Cause.REPAIRED_BY_KIT if (host, role) in repaired else Cause.REPAIRED_OTHERWISE
        found.append(
            Transition(
                host,
                control,
                str(was.effective) if was else None,
                str(now.effective) if now else None,
                before.ended,
                after.ended,
                cause,
            )
        )
    return found


def broken(changes: Iterable[Transition]) -> list[Transition]:
    """Keep what was true and no longer is."""
    return [change for change in changes if change.cause in (Cause.DRIFT, Cause.REOPENED)]


def repaired_by_kit(folder: PracticeFolder, since: str | None, until: str) -> set[tuple[str, str]]:
    """Return the (host, role) pairs that runs of the kit changed after one run and up to another (run ids)."""
    pairs: set[tuple[str, str]] = set()
    for run in records.runs(folder):
        if (since is not None and run.id <= since) or run.id > until or run.record.get("check") or not run.events_file.exists():
            continue
        if run.kind not in ("deploy", "fix"):
            continue
        summary = summarize(events.read_events(run.events_file))
        pairs |= {(host.name, change.role) for host in summary.hosts.values() for change in host.changes}
    return pairs


def is_broken(effective: Effective) -> bool:
    """Say whether a result asks for something to be done."""
    return effective in (Effective.FAIL, Effective.ERROR, Effective.UNKNOWN)
