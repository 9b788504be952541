"""Where a practice stands today, computed from its records: what is too old or has expired no longer counts."""

from __future__ import annotations

import datetime as dt
from typing import Any

from antiseche.catalogue import load_catalogue
from antiseche.engine import records
from antiseche.errors import AnswersError
from antiseche.evidence import chain, store
from antiseche.evidence.backups import backups
from antiseche.evidence.passes import whole_practice
from antiseche.evidence.results import Result, carried, count, headline, paris_day
from antiseche.evidence.store import Snapshot
from antiseche.practice.answers import load_answers
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Practice, Waiver

WARN_DAYS = 30


def overview(folder: PracticeFolder, moment: dt.datetime | None = None, *, whole_store: bool = False) -> dict[str, Any]:
    """Return the state of a practice at a moment (now by default).

    Args:
        folder: the practice.
        moment: with its time zone.
        whole_store: read every observation again instead of the digests of the snapshots only.
    """
    moment = moment or dt.datetime.now(dt.UTC)
    answers, problem = _answers(folder)
    snapshot = store.latest(folder)
    check = chain.check_store if whole_store else chain.check_register
    return {
        "folder": folder.name,
        "name": answers.practice.name if answers else folder.name,
        "rehearsal": folder.rehearsal,
        "problem": problem,
        "last": _last(snapshot, answers, moment) if snapshot else None,
        "unfinished": [run.id for run in records.runs(folder) if not run.finished],
        "waivers": [_waiver(w, moment) for w in (answers.waivers if answers else []) if _ends_soon(w, moment)],
        "chain": check(folder),
    }


def _answers(folder: PracticeFolder) -> tuple[Practice | None, str]:
    try:
        return load_answers(folder), ""
    except AnswersError as error:
        return None, str(error).splitlines()[0]


def _last(snapshot: Snapshot, answers: Practice | None, moment: dt.datetime) -> dict[str, Any]:
    """Judge the last snapshot again, for this moment and for the hosts that the practice has now."""
    found = _judged_again(snapshot, moment)
    if answers is not None:
        found = whole_practice({}, snapshot.results, answers, load_catalogue(), moment)
    counts = count(found)
    return {
        "run": snapshot.run_id,
        "ended": snapshot.ended,
        "age_days": (moment - dt.datetime.fromisoformat(snapshot.ended)).days,
        "counts": counts,
        "headline": headline(counts),
        "unreachable": sorted(snapshot.data["scope"]["unreachable"]),
        "never_verified": _hosts_never_seen(found),
        "stale": sum(result.stale for result in found),
        "backups": backups(found, load_catalogue().role_of),
    }


def _judged_again(snapshot: Snapshot, moment: dt.datetime) -> list[Result]:
    """Judge what the snapshot holds without the answers: by the waivers that it kept."""
    controls = load_catalogue().by_id
    waivers = [Waiver.model_validate(waiver) for waiver in snapshot.data["waivers"]]
    return [
        carried(entry, controls[entry.control].max_age_days, waivers, moment)
        for entry in snapshot.entries
        if entry.control in controls
    ]


def _hosts_never_seen(found: list[Result]) -> list[str]:
    seen = {result.host for result in found if result.run}
    return [host for host in dict.fromkeys(result.host for result in found) if host not in seen]


def _ends_soon(waiver: Waiver, moment: dt.datetime) -> bool:
    return (waiver.expires_on - paris_day(moment)).days <= WARN_DAYS


def _waiver(waiver: Waiver, moment: dt.datetime) -> dict[str, Any]:
    return {
        "id": waiver.id,
        "control": waiver.control,
        "expires_on": waiver.expires_on.isoformat(),
        "expired": waiver.expires_on < paris_day(moment),
    }
