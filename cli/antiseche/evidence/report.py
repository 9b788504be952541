"""The report of a pass: one HTML file, no script, nothing fetched, readable on paper."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, StrictUndefined

from antiseche import i18n
from antiseche.catalogue import Control, load_sources
from antiseche.evidence import drift, store
from antiseche.evidence.passes import Pass, failing
from antiseche.evidence.results import Effective, Result, headline, label
from antiseche.i18n import _
from antiseche.practice.atomic import write_text
from antiseche.practice.schema import Practice

REPORT_NAME = "report.html"
Configuration = list[tuple[str, str, str]]


@dataclass(frozen=True)
class Series:
    """For how long, and over how many passes, a control has held without a break."""

    since: str
    passes: int


def write_report(pass_: Pass, answers: Practice, *, configuration: Configuration) -> Path:
    """Write ``report.html`` beside the results and return its path."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {"_": _}
    source = resources.files("antiseche.evidence").joinpath("report.html.j2").read_text(encoding="utf-8")
    path = pass_.run.dir / REPORT_NAME
    write_text(path, environment.from_string(source).render(view(pass_, answers, configuration)), mode=0o600)
    return path


def view(pass_: Pass, answers: Practice, configuration: Configuration) -> dict[str, Any]:
    """Return everything the report says, ready to be laid out."""
    zone = ZoneInfo(answers.practice.timezone)
    series = _series(pass_, zone)
    snapshot = pass_.snapshot
    return {
        "lang": i18n.language(),
        "practice": answers.practice.name,
        "contractor": answers.maintenance.contractor,
        "date": _local(snapshot.ended, zone),
        "run": snapshot.run_id,
        "rehearsal": snapshot.data["rehearsal"],
        "headline": headline(pass_.counts),
        "matrix": _matrix(pass_),
        "failing": [_finding(pass_, result) for result in failing(pass_.results)],
        "transitions": [
            {
                "host": change.host,
                "control": change.control,
                "title": _title(pass_, change.control),
                "cause": drift.cause_label(change.cause),
                "before": _local(change.seen_before, zone),
                "after": _local(change.seen_after, zone),
            }
            for change in pass_.transitions
        ],
        "compared": _local(pass_.previous.ended, zone) if pass_.previous else "",
        "configuration": configuration,
        "waivers": [waiver.model_dump(mode="json") for waiver in answers.waivers],
        "roles": [_role(pass_, role, series) for role in pass_.catalogue.roles],
        "scope": snapshot.data["scope"],
        "skew": {host: seconds for host, seconds in snapshot.data["skew_seconds"].items() if abs(seconds) > 1},
        "provenance": snapshot.data["provenance"],
        "digest": snapshot.sha256,
        "previous_digest": snapshot.data["prev"],
        "sources": [source for source in load_sources().values() if source.id in _cited(pass_)],
    }


def _matrix(pass_: Pass) -> list[dict[str, Any]]:
    rows = []
    for host in dict.fromkeys(result.host for result in pass_.results):
        cells = []
        for role in pass_.catalogue.roles:
            ids = {control.id for control in role.controls}
            wanted = [
                r for r in pass_.results if r.host == host and r.control in ids and r.effective is not Effective.NOT_APPLICABLE
            ]
            held = sum(result.effective is Effective.PASS for result in wanted)
            cells.append({"role": str(role.title), "held": held, "total": len(wanted), "ok": held == len(wanted)})
        rows.append({"host": host, "cells": cells, "unreachable": host in pass_.verification.unreachable})
    return rows


def _finding(pass_: Pass, result: Result) -> dict[str, Any]:
    control = pass_.catalogue.by_id[result.control]
    return {
        "host": result.host,
        "id": control.id,
        "title": str(control.title),
        "result": label(result.effective),
        "sentence": str(control.broken) if result.effective is Effective.FAIL else label(result.effective),
        "observed": result.message,
        "severity": {"high": _("élevée"), "medium": _("moyenne"), "low": _("faible")}[str(control.severity)],
        "references": ", ".join(map(str, control.references)),
    }


def _role(pass_: Pass, role: Any, series: dict[tuple[str, str], Series]) -> dict[str, Any]:
    return {"title": str(role.title), "controls": [_control(pass_, control, series) for control in role.controls]}


def _control(pass_: Pass, control: Control, series: dict[tuple[str, str], Series]) -> dict[str, Any]:
    return {
        "id": control.id,
        "title": str(control.title),
        "statement": str(control.statement),
        "references": ", ".join(map(str, control.references)),
        "results": [
            {
                "host": result.host,
                "class": str(result.effective),
                "label": label(result.effective),
                "waiver": result.waiver,
                "reason": result.message if result.effective is not Effective.PASS else "",
                "series": series.get((result.host, control.id)),
            }
            for result in pass_.results
            if result.control == control.id
        ],
    }


def _series(pass_: Pass, zone: ZoneInfo) -> dict[tuple[str, str], Series]:
    """Walk the snapshots forward: a result that is not a pass starts again from nothing."""
    found: dict[tuple[str, str], Series] = {}
    folder = pass_.run.dir.parent
    for snapshot in store.snapshots_in(folder):
        for entry in snapshot.data["results"]:
            key = entry["host"], entry["control"]
            if entry["effective"] != "pass":
                found.pop(key, None)
            elif entry["run"] == snapshot.run_id:
                before = found.get(key)
                since = before.since if before else _local(snapshot.ended, zone)
                found[key] = Series(since, before.passes + 1 if before else 1)
        if snapshot.run_id == pass_.run.id:
            break
    return found


def _title(pass_: Pass, control: str) -> str:
    known = pass_.catalogue.by_id.get(control)
    return str(known.title) if known else control


def _cited(pass_: Pass) -> set[str]:
    return {reference.source for control in pass_.catalogue for reference in control.references}


def _local(moment: str, zone: ZoneInfo) -> str:
    return dt.datetime.fromisoformat(moment).astimezone(zone).strftime("%d/%m/%Y %H:%M")
