"""One verification pass: judge what the checks found, store it, tell what changed since the pass before."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from antiseche.catalogue import Catalogue, catalogue_digest, load_catalogue
from antiseche.engine import events, records
from antiseche.engine.records import Run
from antiseche.errors import ExitCode
from antiseche.evidence import deployments, drift, results, rules, store
from antiseche.evidence.drift import Key, Transition
from antiseche.evidence.results import Effective, Result, asks_for_action, count
from antiseche.evidence.store import Snapshot
from antiseche.practice.atomic import write_text
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Practice, Waiver
from antiseche.verify.run import Verification
from antiseche.verify.target import practice_targets

TRANSITIONS_NAME = "transitions.jsonl"
_PASSES = ("verify", "drift")
_GRAVEST_FIRST = ("high", "medium", "low")
_WORST_FIRST = (Effective.FAIL, Effective.ERROR, Effective.UNKNOWN)


@dataclass(frozen=True)
class Pass:
    """What a pass found. ``results`` are those that it measured; the snapshot holds the whole practice."""

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

    @property
    def partial(self) -> bool:
        """Whether the practice has hosts or controls that this pass did not look at."""
        return len(self.results) < len(self.snapshot.entries)

    @property
    def blind(self) -> bool:
        """Whether hosts answered and nothing at all could be checked on them: our failure, not theirs."""
        reached = [result for result in self.results if result.host not in self.verification.unreachable]
        return bool(reached) and all(result.effective is Effective.ERROR and not result.leaves for result in reached)

    def exit_code(self) -> ExitCode:
        """An unreachable host first, then checks that did not run at all, then what does not conform."""
        if self.verification.unreachable:
            return ExitCode.UNREACHABLE
        if self.blind:
            return ExitCode.FAILURE
        if any(asks_for_action(result.effective) for result in self.results):
            return ExitCode.NOT_CONFORMING
        return ExitCode.OK

    def failing(self) -> list[Result]:
        """Return what asks for something to be done, gravest first, then in the order of the catalogue and the hosts."""
        return failing(self.results, self.catalogue)


def record_pass(
    folder: PracticeFolder,
    answers: Practice,
    run: Run,
    verification: Verification,
    roles: tuple[str, ...],
    moment: dt.datetime | None = None,
) -> Pass:
    """Judge what the checks found and store it. To be called under the practice's lock.

    A snapshot is always the whole practice. What this pass did not look at keeps what an earlier one measured, with the
    date of that measure, or is unknown: it is neither refreshed nor forgotten.

    Args:
        folder: the practice.
        answers: its answers.
        run: the run that the checks were made in.
        verification: what they found.
        roles: roles asked for; empty means all.
        moment: when, with its time zone; now by default.

    Raises:
        AntisecheError: the disk refuses; nothing of this pass counts.
    """
    catalogue, moment = load_catalogue(), moment or dt.datetime.now(dt.UTC)
    register = store.recovered(folder.runs_dir)
    previous = store.latest(folder)
    old = previous.results if previous else {}
    fresh = _fresh(folder, run, verification, catalogue, answers.waivers, old, moment)
    whole = whole_practice(fresh, old, answers, catalogue, moment)
    new = deployments.new_deployments(folder, register)
    body = _body(answers, run, verification, roles, catalogue)
    body |= {
        "ended": results.utc_text(moment),
        "deployments": deployments.as_json(new),
        "counts": count(whole),
        "waivers": _used(whole, answers.waivers),
    }
    snapshot = store.append(folder, run, body, whole, verification.observations)
    found: list[Transition] = []
    if previous is not None:
        repaired = deployments.repaired_by_kit(folder, register, new, catalogue)
        found = drift.transitions(old, snapshot.results, (previous.ended, snapshot.ended), repaired)
    lines = "".join(json.dumps(change.as_json(), ensure_ascii=False, sort_keys=True) + "\n" for change in found)
    write_text(run.dir / TRANSITIONS_NAME, lines, mode=0o600)
    return Pass(run, snapshot, previous, list(fresh.values()), found, verification, catalogue)


def close_run(run: Run, verification: Verification) -> None:
    """Close the record of a run whose checks are over."""
    run.record["scope"] = {
        "expected": verification.expected,
        "reached": verification.reached,
        "unreachable": sorted(verification.unreachable),
    }
    run.record |= {"ended": events.now(), "complete": True, "interrupted": False}
    run.save()


def close_cut(folder: PracticeFolder) -> list[Run]:
    """Close the records of runs whose command was killed, passes of checks included. To be called under the practice's lock.

    Passes hold the lock from beginning to end: under it, none of those that are open is alive.
    """
    closed = [run for run, _summary in records.close_unfinished(folder)]
    for run in records.runs(folder):
        if run.kind in _PASSES and not run.finished:
            run.record |= {"ended": events.now(), "complete": False, "interrupted": True, "command_lost": True}
            run.save()
            closed.append(run)
    return closed


def whole_practice(
    fresh: dict[Key, Result], old: dict[Key, Result], answers: Practice, catalogue: Catalogue, moment: dt.datetime
) -> list[Result]:
    """Return one result per host and control of the practice, as it counts at a moment.

    Args:
        fresh: what was just measured.
        old: what is known from before.
        answers: the practice; hosts that it no longer has are left out.
        catalogue: controls that it no longer has are left out.
        moment: the moment.
    """
    hosts = dict.fromkeys([host.name for host in answers.hosts] + [host for host, _control in fresh])
    found = []
    for host in hosts:
        for control in catalogue:
            key = host, control.id
            if key in fresh:
                found.append(fresh[key])
            else:
                known = old.get(key) or results.never_measured(*key)
                found.append(results.carried(known, control.max_age_days, answers.waivers, moment))
    return found


def failing(found: Iterable[Result], catalogue: Catalogue) -> list[Result]:
    """Keep what asks for something to be done, gravest first."""
    place = {control.id: n for n, control in enumerate(catalogue)}
    grave = {control.id: _GRAVEST_FIRST.index(str(control.severity)) for control in catalogue}
    asking = [result for result in found if asks_for_action(result.effective)]
    return sorted(asking, key=lambda r: (_WORST_FIRST.index(r.effective), grave[r.control], place[r.control]))


def _fresh(
    folder: PracticeFolder,
    run: Run,
    verification: Verification,
    catalogue: Catalogue,
    waivers: list[Waiver],
    old: dict[Key, Result],
    moment: dt.datetime,
) -> dict[Key, Result]:
    """Measure, judge, and tie each result to what it continues."""
    by_rule, limits = rules.rule_digests(catalogue), {control.id: control.max_age_days for control in catalogue}
    by_wish = rules.wish_digests(catalogue, practice_targets(folder, tuple(verification.expected)))
    at = results.utc_text(moment)
    found = {}
    for outcome in verification.outcomes:
        key = outcome.host, outcome.control
        limit = limits[outcome.control]
        measured = results.measured(outcome, run=run.id, at=at, rule=by_rule[outcome.control], wish=by_wish.get(key, ""))
        found[key] = results.followed(results.judged(measured, limit, waivers, moment), old.get(key), limit)
    return found


def _body(
    answers: Practice, run: Run, verification: Verification, roles: tuple[str, ...], catalogue: Catalogue
) -> dict[str, Any]:
    return {
        "kind": run.kind,
        "parent": run.record.get("parent"),
        "practice": answers.practice.id,
        "operator": run.record["operator"],
        "started": run.record["started"],
        "rehearsal": bool(run.record.get("rehearsal")),
        "provenance": {**run.record["provenance"], "catalogue_sha256": catalogue_digest(catalogue)},
        "scope": {
            "hosts": [host.name for host in answers.hosts],
            "expected": verification.expected,
            "reached": verification.reached,
            "unreachable": verification.unreachable,
            "roles": list(roles),
        },
        "skew_seconds": verification.skew_seconds,
    }


def _used(whole: list[Result], waivers: list[Waiver]) -> list[dict[str, Any]]:
    """Return the waivers that cover something, as they were granted: the answers may change later."""
    used = {result.waiver for result in whole}
    return [waiver.model_dump(mode="json") for waiver in waivers if waiver.id in used]
