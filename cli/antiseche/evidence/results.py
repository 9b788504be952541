"""From what was measured to what counts on a date: six results, and one way to count them.

Measured outcome and disposition are two things: the check always runs, even under a waiver, and the effective
result is computed when it is shown.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from antiseche.i18n import _, n_
from antiseche.practice.schema import Waiver
from antiseche.verify.run import Outcome, Verification

# A waiver ends with its last day, at the practice's authority's clock, wherever the contractor is.
WAIVER_ZONE = ZoneInfo("Europe/Paris")


class Effective(StrEnum):
    """What a control counts as."""

    PASS = "pass"  # noqa: S105 - a result, not a password
    FAIL = "fail"
    WAIVED = "waived"
    NOT_APPLICABLE = "not-applicable"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Result:
    """One control on one host: what was measured, on which observations, and what it counts as.

    A ``pass`` rests on at least one observation: without, it is an error.
    """

    host: str
    control: str
    outcome: str
    effective: Effective
    message: str = ""
    leaves: tuple[str, ...] = ()
    waiver: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the result for the snapshot."""
        return {**asdict(self), "effective": str(self.effective), "leaves": list(self.leaves)}


def label(effective: Effective) -> str:
    """Return what a result is called."""
    return {
        Effective.PASS: _("Conforme"),
        Effective.FAIL: _("Écart"),
        Effective.WAIVED: _("Dérogation"),
        Effective.NOT_APPLICABLE: _("Sans objet"),
        Effective.ERROR: _("Erreur de vérification"),
        Effective.UNKNOWN: _("Non vérifié"),
    }[effective]


def judge(outcome: Outcome, waivers: Iterable[Waiver], moment: dt.datetime) -> Result:
    """Return what an outcome counts as at a moment."""
    measured, message = outcome.outcome, outcome.message
    if measured == "pass" and not outcome.leaves:
        measured, message = "error", _("aucune observation n'appuie ce résultat")
    effective = Effective(measured)
    waiver = None
    if effective in (Effective.FAIL, Effective.UNKNOWN):
        waiver = next((w for w in waivers if covers(w, outcome.host, outcome.control, moment)), None)
        if waiver is not None:
            effective = Effective.WAIVED
    return Result(outcome.host, outcome.control, measured, effective, message, outcome.leaves, waiver.id if waiver else None)


def covers(waiver: Waiver, host: str, control: str, moment: dt.datetime) -> bool:
    """Say whether a waiver holds for this control on this host at this moment (its last day included, Paris time)."""
    today = moment.astimezone(WAIVER_ZONE).date()
    return (
        waiver.control == control
        and (not waiver.hosts or host in waiver.hosts)
        and waiver.accepted_on <= today <= waiver.expires_on
    )


def judge_all(verification: Verification, waivers: Iterable[Waiver], moment: dt.datetime) -> list[Result]:
    """Judge every outcome of a pass."""
    known = list(waivers)
    return [judge(outcome, known, moment) for outcome in verification.outcomes]


def count(results: Iterable[Result]) -> dict[str, int]:
    """Count results; every rendering takes its figures from here."""
    counter = Counter(result.effective for result in results)
    counts = {str(effective): counter[effective] for effective in Effective}
    counts["total"] = sum(counter.values())
    # What does not apply leaves the denominator, because its control says so; errors and unknowns stay in.
    counts["verifiable"] = counts["total"] - counts[str(Effective.NOT_APPLICABLE)]
    return counts


def headline(counts: dict[str, int]) -> str:
    """Return the score, always with its denominator."""
    unverified = counts["error"] + counts["unknown"]
    return " ; ".join(
        (
            n_("{n} conforme sur {total}", "{n} conformes sur {total}", counts["pass"]).format(
                n=counts["pass"],
                total=n_("{n} vérifiable", "{n} vérifiables", counts["verifiable"]).format(n=counts["verifiable"]),
            ),
            n_("{n} écart", "{n} écarts", counts["fail"]).format(n=counts["fail"]),
            n_("{n} dérogation", "{n} dérogations", counts["waived"]).format(n=counts["waived"]),
            n_("{n} non vérifié", "{n} non vérifiés", unverified).format(n=unverified),
        )
    )
