"""What changed between two snapshots, and why: derived from the records, whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from antiseche.evidence.results import Effective, Known, Result
from antiseche.i18n import _

Key = tuple[str, str]
"""A host and a control."""


class Cause(StrEnum):
    """Why a result is not what it was."""

    DRIFT = "drift"
    REOPENED = "reopened"
    REPAIRED_BY_KIT = "repaired-by-kit"
    REPAIRED_OTHERWISE = "repaired-otherwise"
    SCOPE = "scope"
    RULE = "rule"
    ANSWERS = "answers"
    VISIBILITY = "visibility"
    DISPOSITION = "disposition"


def cause_label(cause: Cause) -> str:
    """Return what a cause is called."""
    return {
        Cause.DRIFT: _("dérive"),
        Cause.REOPENED: _("dérive revenue après correction"),
        Cause.REPAIRED_BY_KIT: _("corrigé par le kit"),
        Cause.REPAIRED_OTHERWISE: _("corrigé autrement"),
        Cause.SCOPE: _("périmètre modifié"),
        Cause.RULE: _("règle modifiée"),
        Cause.ANSWERS: _("réponses modifiées"),
        Cause.VISIBILITY: _("vérification impossible, ou redevenue possible"),
        Cause.DISPOSITION: _("dérogation accordée ou échue"),
    }[cause]


@dataclass(frozen=True)
class Transition:
    """One control of one host whose result is no longer what it was.

    ``before`` and ``after`` are effective results, None where the control was not there; ``seen_before`` and
    ``seen_after`` are the UTC times between which it changed.
    """

    host: str
    control: str
    before: str | None
    after: str | None
    seen_before: str
    seen_after: str
    cause: Cause

    @property
    def key(self) -> Key:
        """Host and control."""
        return self.host, self.control

    def as_json(self) -> dict[str, Any]:
        """Return the line of ``transitions.jsonl``."""
        return {**asdict(self), "cause": str(self.cause)}


Repaired = Callable[[Result, Known], bool]
"""Says whether the kit changed what a control looks at after it was last known to fail."""


def transitions(
    before: Mapping[Key, Result], after: Mapping[Key, Result], times: tuple[str, str], repaired: Repaired
) -> list[Transition]:
    """Derive what changed from one snapshot to the next.

    What could not be seen for a while is compared with what was last known: a host that was off during a pass does not
    make a drift go unnoticed.

    Args:
        before: results of the snapshot before.
        after: results of the new one.
        times: UTC times at which the two ended.
        repaired: who repaired, asked only for what was known to fail and now passes.
    """
    found = []
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key), after.get(key)
        cause = _cause(was, now, repaired)
        if cause is None:
            continue
        compared = was.known.at if was and was.known and cause in _BETWEEN_MEASURES else times[0]
        seen = now.at if now is not None and cause in _BETWEEN_MEASURES else times[1]
        found.append(
            Transition(*key, str(was.effective) if was else None, str(now.effective) if now else None, compared, seen, cause)
        )
    return found


def broken(changes: Iterable[Transition]) -> list[Transition]:
    """Keep what was true and no longer is."""
    return [change for change in changes if change.cause in (Cause.DRIFT, Cause.REOPENED)]


_BETWEEN_MEASURES = (Cause.DRIFT, Cause.REOPENED, Cause.REPAIRED_BY_KIT, Cause.REPAIRED_OTHERWISE)


def _cause(was: Result | None, now: Result | None, repaired: Repaired) -> Cause | None:
    if was is None or now is None:
        return Cause.SCOPE
    if was.effective is now.effective and was.outcome == now.outcome:
        return None
    if was.outcome == now.outcome and was.run == now.run:
        # Measured once, judged twice: a waiver began or ended, or the measure grew too old.
        return Cause.VISIBILITY if Effective.UNKNOWN in (was.effective, now.effective) else Cause.DISPOSITION
    if now.outcome in ("error", "unknown"):
        return None if was.effective is now.effective else Cause.VISIBILITY
    if "not-applicable" in (was.outcome, now.outcome):
        # What was out of sight is compared with what was last known, if anything was.
        seen = was.outcome not in ("error", "unknown") or was.known is not None
        return Cause.SCOPE if seen and was.outcome != now.outcome else Cause.VISIBILITY
    return _between_measures(was, now, repaired)


def _between_measures(was: Result, now: Result, repaired: Repaired) -> Cause | None:
    """Compare a fresh pass or fail with the last one known."""
    known = was.known
    if known is None:
        return Cause.VISIBILITY
    if known.outcome == now.outcome:
        stayed = was.outcome == now.outcome and not was.stale
        return Cause.DISPOSITION if stayed else Cause.VISIBILITY
    if known.rule != now.rule:
        return Cause.RULE
    if known.wish != now.wish:
        return Cause.ANSWERS
    if now.outcome == "fail":
        return Cause.REOPENED if was.failed_before else Cause.DRIFT
    return Cause.REPAIRED_BY_KIT if repaired(now, known) else Cause.REPAIRED_OTHERWISE
