"""Where a practice stands today, computed from its records: what is too old or has expired no longer counts."""

from __future__ import annotations

import datetime as dt
from typing import Any

from antiseche.catalogue import load_catalogue
from antiseche.engine import records
from antiseche.errors import AnswersError
from antiseche.evidence import store
from antiseche.evidence.results import Effective, count, headline, judge
from antiseche.evidence.store import Snapshot
from antiseche.practice.answers import load_answers
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Practice, Waiver
from antiseche.verify.run import Outcome

WARN_DAYS = 30


def overview(folder: PracticeFolder, moment: dt.datetime | None = None) -> dict[str, Any]:
    """Return the state of a practice at a moment (now by default)."""
    moment = moment or dt.datetime.now(dt.UTC)
    answers, problem = _answers(folder)
    snapshot = store.latest(folder)
    return {
        "folder": folder.name,
        "name": answers.practice.name if answers else folder.name,
        "problem": problem,
        "last": _last(snapshot, answers.waivers if answers else [], moment) if snapshot else None,
        "unfinished": [run.id for run in records.runs(folder) if not run.finished],
        "waivers": [_waiver(w) for w in (answers.waivers if answers else []) if (w.expires_on - moment.date()).days <= WARN_DAYS],
        "chain": store.verify_chain(folder),
    }


def _answers(folder: PracticeFolder) -> tuple[Practice | None, str]:
    try:
        return load_answers(folder), ""
    except AnswersError as error:
        return None, str(error).splitlines()[0]


def _last(snapshot: Snapshot, waivers: list[Waiver], moment: dt.datetime) -> dict[str, Any]:
    """Judge the last snapshot again, for this moment: a waiver may have ended, an observation may be too old."""
    controls = load_catalogue().by_id
    judged, stale = [], 0
    for entry in snapshot.data["results"]:
        outcome, control = entry["outcome"], entry["control"]
        limit = controls[control].max_age_days if control in controls else 0
        if outcome in ("pass", "fail") and (moment - _taken(entry["run"])).days > limit:
            outcome, stale = str(Effective.UNKNOWN), stale + 1
        judged.append(judge(Outcome(entry["host"], control, outcome, entry["message"], tuple(entry["leaves"])), waivers, moment))
    counts = count(judged)
    return {
        "run": snapshot.run_id,
        "ended": snapshot.ended,
        "age_days": (moment - dt.datetime.fromisoformat(snapshot.ended)).days,
        "counts": counts,
        "headline": headline(counts),
        "unreachable": sorted(snapshot.data["scope"]["unreachable"]),
        "stale": stale,
    }


def _taken(run_id: str) -> dt.datetime:
    """Return when a run began: its id starts with it."""
    return dt.datetime.strptime(run_id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)


def _waiver(waiver: Waiver) -> dict[str, str]:
    return {"id": waiver.id, "control": waiver.control, "expires_on": waiver.expires_on.isoformat()}
