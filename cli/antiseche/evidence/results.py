"""From what was measured to what counts on a date: six results, and one way to count them.

Measured outcome and disposition are two things: the check always runs, even under a waiver, and what it counts as is
computed for a moment. What is too old, or was never seen, counts as unknown and stays in the total.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

from antiseche.i18n import _, n_
from antiseche.practice.schema import Waiver
from antiseche.verify.observation import masked
from antiseche.verify.run import Outcome

# A waiver ends with its last day, at the clock of the practice's authorities, wherever the contractor is.
WAIVER_ZONE = ZoneInfo("Europe/Paris")
MESSAGE_CHARACTERS = 2000

Measured = Literal["pass", "fail", "not-applicable", "error", "unknown"]
_CONCLUSIVE = ("pass", "fail")
_PERISHABLE = ("pass", "fail", "not-applicable")


class Effective(StrEnum):
    """What a control counts as."""

    PASS = "pass"  # noqa: S105 - a result, not a password
    FAIL = "fail"
    WAIVED = "waived"
    NOT_APPLICABLE = "not-applicable"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Known:
    """The last time that a control could be judged on a host: what it was, when, by which run, rule and wish."""

    outcome: Literal["pass", "fail"]
    at: str
    run: str
    rule: str
    wish: str


@dataclass(frozen=True)
class Result:
    """One control on one host.

    Attributes:
        host: name of the host.
        control: id of the control.
        outcome: what was measured; a ``pass`` rests on at least one observation.
        effective: what it counts as at the moment it was judged for.
        message: what was seen, in the words of the check; masked and cut.
        leaves: digests of the observations that it rests on.
        waiver: id of the waiver that covers it, or None.
        run: the run that measured it; empty when none ever did.
        at: UTC time of that run, ISO 8601.
        rule: digest of the rule that judged it.
        wish: digest of the answers that the rule looked at.
        since: UTC time from which ``effective`` holds without a break.
        passes: number of passes that measured it so, without a break.
        known: the last conclusive measure, this one included.
        failed_before: whether a measure before ``known`` failed.
    """

    host: str
    control: str
    outcome: Measured
    effective: Effective
    message: str = ""
    leaves: tuple[str, ...] = ()
    waiver: str | None = None
    run: str = ""
    at: str = ""
    rule: str = ""
    wish: str = ""
    since: str = ""
    passes: int = 0
    known: Known | None = None
    failed_before: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Host and control."""
        return self.host, self.control

    @property
    def stale(self) -> bool:
        """Whether it was measured once, but too long ago to count."""
        return self.outcome in _PERISHABLE and self.effective not in (Effective(self.outcome), Effective.WAIVED)

    def as_json(self) -> dict[str, Any]:
        """Return the result for the snapshot and for ``--json``."""
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


def measured(outcome: Outcome, *, run: str, at: str, rule: str = "", wish: str = "") -> Result:
    """Return what a check found, as it may be kept: no secret, no result that nothing supports."""
    word, message = outcome.outcome, _kept_text(outcome.message)
    if word not in get_args(Measured):
        word, message = "error", _("résultat incompréhensible : {word}").format(word=_kept_text(word)[:80])
    if word == "pass" and not outcome.leaves:
        word, message = "error", _("aucune observation n'appuie ce résultat")
    return Result(
        outcome.host,
        outcome.control,
        word,  # type: ignore[arg-type]  # one of its values, as just checked
        Effective(word),
        message,
        outcome.leaves,
        run=run,
        at=at,
        rule=rule,
        wish=wish,
    )


def never_measured(host: str, control: str) -> Result:
    """Return the result of what no pass has seen yet."""
    return Result(host, control, "unknown", Effective.UNKNOWN, _("jamais vérifié"))


def judged(result: Result, max_age_days: int, waivers: Iterable[Waiver], moment: dt.datetime) -> Result:
    """Return what a measure counts as at a moment.

    Args:
        result: the measure.
        max_age_days: how long the control's observations count, in days of 24 hours.
        waivers: those of the practice.
        moment: the moment, with its time zone.
    """
    effective = Effective(result.outcome)
    if result.outcome in _PERISHABLE and _older(result.at, max_age_days, moment):
        effective = Effective.UNKNOWN
    waiver = None
    if effective in (Effective.FAIL, Effective.UNKNOWN):
        waiver = max(
            (w for w in waivers if covers(w, result.host, result.control, moment)), key=lambda w: w.expires_on, default=None
        )
    if waiver is not None:
        effective = Effective.WAIVED
    return replace(result, effective=effective, waiver=waiver.id if waiver else None)


def followed(result: Result, before: Result | None, max_age_days: int) -> Result:
    """Return a fresh result with what it continues.

    Args:
        result: measured and judged now.
        before: what the snapshot before said of the same control on the same host.
        max_age_days: a longer gap between two measures breaks the series.
    """
    conclusive = result.outcome if result.outcome in _CONCLUSIVE else None
    known = Known(conclusive, result.at, result.run, result.rule, result.wish) if conclusive else None  # type: ignore[arg-type]
    if before is None:
        return replace(result, since=result.at, passes=1, known=known)
    unbroken = (
        before.effective is result.effective
        and bool(before.at)
        and not _older(before.at, max_age_days, dt.datetime.fromisoformat(result.at))
    )
    failed = before.failed_before or (known is not None and before.known is not None and before.known.outcome == "fail")
    return replace(
        result,
        since=before.since if unbroken else result.at,
        passes=before.passes + 1 if unbroken else 1,
        known=known or before.known,
        failed_before=failed,
    )


def carried(result: Result, max_age_days: int, waivers: Iterable[Waiver], moment: dt.datetime) -> Result:
    """Return an earlier result that this pass did not look at, as it counts now: never refreshed, never forgotten."""
    now = judged(result, max_age_days, waivers, moment)
    return now if now.effective is result.effective else replace(now, since=utc_text(moment))


def covers(waiver: Waiver, host: str, control: str, moment: dt.datetime) -> bool:
    """Say whether a waiver holds for this control on this host at this moment (its last day included, Paris time)."""
    return waiver.control == control and (not waiver.hosts or host in waiver.hosts) and in_force(waiver, moment)


def in_force(waiver: Waiver, moment: dt.datetime) -> bool:
    """Say whether a waiver runs at this moment: from its first day to the end of its last, Paris time."""
    return waiver.accepted_on <= paris_day(moment) <= waiver.expires_on


def paris_day(moment: dt.datetime) -> dt.date:
    """Return the day that it is in Paris."""
    return moment.astimezone(WAIVER_ZONE).date()


def asks_for_action(effective: Effective) -> bool:
    """Say whether a result asks for something to be done."""
    return effective in (Effective.FAIL, Effective.ERROR, Effective.UNKNOWN)


def count(results: Iterable[Result]) -> dict[str, int]:
    """Count results; every rendering takes its figures from here."""
    counter = Counter(result.effective for result in results)
    counts = {str(effective): counter[effective] for effective in Effective}
    counts["total"] = sum(counter.values())
    # What does not apply leaves the denominator, because its control says so; errors and unknowns stay in.
    counts["verifiable"] = counts["total"] - counts[str(Effective.NOT_APPLICABLE)]
    return counts


def colon() -> str:
    """Return what stands between a name and what is said of it: French takes a space before it."""
    return _(" : ")


def semicolon() -> str:
    """Return what stands between two parts of a list of clauses."""
    return _(" ; ")


def headline(counts: dict[str, int]) -> str:
    """Return the score, always with its denominator."""
    unverified = counts["error"] + counts["unknown"]
    return semicolon().join(
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


def _older(at: str, days: int, moment: dt.datetime) -> bool:
    return not at or moment - dt.datetime.fromisoformat(at) > dt.timedelta(days=days)


def utc_text(moment: dt.datetime) -> str:
    """Return a moment as records write it."""
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _kept_text(text: str) -> str:
    """Return a text that can be stored and shown: secrets masked, cut, and nothing that UTF-8 refuses."""
    clean = masked(text).encode("utf-8", "replace").decode()
    return clean if len(clean) <= MESSAGE_CHARACTERS else clean[: MESSAGE_CHARACTERS - 1] + "…"
