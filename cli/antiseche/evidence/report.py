"""The report of a pass: one HTML file, no script, nothing fetched, readable on paper."""

from __future__ import annotations

import datetime as dt
from importlib import resources
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, StrictUndefined

from antiseche import i18n
from antiseche.catalogue import Control, Repair, RoleControls, Severity, load_sources
from antiseche.evidence import grouping, results
from antiseche.evidence.drift import Cause, cause_label
from antiseche.evidence.grouping import Change, Difference, Finding, WholeHost
from antiseche.evidence.passes import Pass
from antiseche.evidence.results import Effective, Result, headline, label
from antiseche.i18n import _, n_
from antiseche.practice.atomic import write_text
from antiseche.practice.schema import Practice, Waiver

REPORT_NAME = "report.html"
# Enough to see why; the whole answers are in observations.jsonl, beside the report.
_SHOWN_OBSERVATIONS = 4
_SHOWN_CHARACTERS = 1200
_SHOWN_COMMAND = 200
# A sign beside each word: a printout in black and white says the same.
_SIGNS = {
    Effective.PASS: "✓",
    Effective.FAIL: "✗",
    Effective.WAIVED: "◆",
    Effective.NOT_APPLICABLE: "–",
    Effective.ERROR: "!",
    Effective.UNKNOWN: "?",
}


def write_report(pass_: Pass, answers: Practice, *, differences: list[Difference]) -> Path:
    """Write ``report.html`` beside the results and return its path.

    Raises:
        AntisecheError: the disk refuses.
    """
    path = pass_.run.dir / REPORT_NAME
    write_text(path, render(pass_, answers, differences), mode=0o600)
    return path


def render(pass_: Pass, answers: Practice, differences: list[Difference]) -> str:
    """Return the report; what hosts answered is hostile text and is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {"_": _, "n_": n_, "colon": results.colon()}
    source = resources.files("antiseche.evidence").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(view(pass_, answers, differences))


def view(pass_: Pass, answers: Practice, differences: list[Difference]) -> dict[str, Any]:
    """Return everything the report says, ready to be laid out."""
    zone, data = ZoneInfo(answers.practice.timezone), pass_.snapshot.data
    observed = {entry["leaf"]: entry["value"] for entry in pass_.verification.observations}
    failing = grouping.findings(pass_)
    return {
        "lang": i18n.language(),
        "practice": answers.practice,
        "contractor": answers.maintenance.contractor,
        "operator": data["operator"],
        "title": _("Rapport de dérive") if pass_.run.kind == "drift" else _("Rapport de vérification"),
        "date": _local(pass_.snapshot.ended, zone),
        "zone": str(zone),
        "run": pass_.snapshot.run_id,
        "rehearsal": data["rehearsal"],
        "partial": _partial(pass_) if pass_.partial else "",
        "headline": headline(pass_.counts),
        "tiles": _tiles(pass_.counts),
        "findings": [_finding(finding, observed) for finding in failing],
        "by_kit": sum(finding.control.repair is Repair.KIT for finding in failing),
        "unreachable": pass_.verification.unreachable,
        "changes": _changes(pass_, zone),
        "compared": _local(pass_.previous.ended, zone) if pass_.previous else "",
        "differences": [{"what": group.first, "hosts": group.hosts} for group in grouping.same_differences(differences)],
        "waivers": [_waiver(waiver, pass_) for waiver in answers.waivers],
        "matrix": _matrix(pass_),
        "roles": [_role(pass_, role, zone, observed) for role in _roles(pass_)],
        "scope": data["scope"],
        "skew": {host: seconds for host, seconds in data["skew_seconds"].items() if abs(seconds) > 1},
        "provenance": data["provenance"],
        "digest": pass_.snapshot.sha256,
        "previous_digest": data["prev"],
        "sources": [source for source in load_sources().values() if source.id in _cited(pass_)],
        "signs": {str(effective): sign for effective, sign in _SIGNS.items()},
        "labels": {str(effective): label(effective) for effective in Effective},
    }


def _partial(pass_: Pass) -> str:
    scope = pass_.snapshot.data["scope"]
    hosts = n_("{n} machine sur {total}", "{n} machines sur {total}", len(scope["expected"])).format(
        n=len(scope["expected"]), total=len(scope["hosts"])
    )
    themes = ", ".join(str(role.title) for role in pass_.catalogue.roles if role.role in scope["roles"])
    return results.semicolon().join(part for part in (hosts, themes) if part)


def _tiles(counts: dict[str, int]) -> list[dict[str, Any]]:
    """Return the figures of the score, each with its word and sign; their sum is the total."""
    rows = [
        (Effective.PASS, n_("conforme", "conformes", counts["pass"]), counts["pass"]),
        (Effective.FAIL, n_("écart", "écarts", counts["fail"]), counts["fail"]),
        (Effective.WAIVED, n_("dérogation", "dérogations", counts["waived"]), counts["waived"]),
        (
            Effective.UNKNOWN,
            n_("non vérifié", "non vérifiés", counts["error"] + counts["unknown"]),
            counts["error"] + counts["unknown"],
        ),
        (Effective.NOT_APPLICABLE, _("sans objet"), counts["not-applicable"]),
    ]
    return [{"class": str(effective), "sign": _SIGNS[effective], "n": n, "word": word} for effective, word, n in rows]


def _finding(finding: Finding, observed: dict[str, dict[str, Any]]) -> dict[str, Any]:
    control = finding.control
    return {
        "id": control.id,
        "title": str(control.title),
        "sentence": str(control.broken) if finding.effective is Effective.FAIL else _why_unseen(finding.effective),
        "statement": str(control.statement),
        "class": str(finding.effective),
        "result": label(finding.effective),
        "severity": severity_label(control.severity),
        "grave": control.severity is Severity.HIGH,
        "remedy": remedy(control, finding.effective),
        "by_kit": control.repair is Repair.KIT,
        "references": _references(control),
        "seen": [
            {"hosts": seen.hosts, "message": seen.message, "observations": _excerpts(seen.results[0], observed)}
            for seen in finding.seen
        ],
    }


def severity_label(severity: Severity) -> str:
    """Return what a severity is called."""
    return {Severity.HIGH: _("élevée"), Severity.MEDIUM: _("moyenne"), Severity.LOW: _("faible")}[severity]


def remedy(control: Control, effective: Effective) -> str:
    """Return what to do about a control that asks for action."""
    if effective is Effective.FAIL:
        return str(control.remedy)
    return _("Vérifier de nouveau ; si l'erreur revient, regarder sur la machine ce que la commande répond.")


def _why_unseen(effective: Effective) -> str:
    if effective is Effective.ERROR:
        return _("Ce contrôle n'a pas pu conclure : rien ne dit qu'il tient.")
    return _("Ce contrôle n'a pas été vérifié, ou l'a été il y a trop longtemps.")


def _excerpts(result: Result, observed: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """Return the first observations that a result rests on, cut."""
    values = [observed[leaf] for leaf in result.leaves if leaf in observed][:_SHOWN_OBSERVATIONS]
    return [
        {"command": _cut(value["command"], _SHOWN_COMMAND), "answer": _cut(value["stdout"] or value["stderr"], _SHOWN_CHARACTERS)}
        for value in values
    ]


def _cut(text: str, limit: int) -> str:
    text = text.strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _changes(pass_: Pass, zone: ZoneInfo) -> list[dict[str, Any]]:
    """Return what changed, cause by cause: what no longer holds first, then in the order of the catalogue."""
    place = {control.id: n for n, control in enumerate(pass_.catalogue)}
    whole, rest = grouping.whole_hosts(pass_.transitions)
    groups = sorted(grouping.changes(rest), key=lambda change: place.get(change.first.control, -1))
    found = []
    for cause in Cause:
        rows = [_change(pass_, change, zone) for change in groups if change.first.cause is cause]
        hosts = [whole_host(item) for item in whole if item.cause is cause]
        if rows or hosts:
            bad = cause in (Cause.DRIFT, Cause.REOPENED)
            found.append({"cause": cause_label(cause), "bad": bad, "hosts": hosts, "rows": rows})
    return found


def whole_host(item: WholeHost) -> str:
    """Return what is said of a host that came into sight or left it."""
    return n_("{host}, {n} contrôle", "{host}, {n} contrôles", item.controls).format(host=item.host, n=item.controls)


def _change(pass_: Pass, change: Change, zone: ZoneInfo) -> dict[str, Any]:
    first = change.first
    compared = _local(pass_.previous.ended, zone) if pass_.previous else ""
    since = _local(first.seen_before, zone)
    return {
        "control": first.control,
        "title": _title(pass_, first.control),
        "hosts": change.hosts,
        "from": label(Effective(first.before)) if first.before else _("absent"),
        "to": label(Effective(first.after)) if first.after else _("absent"),
        # Said only where it is not the pass that everything else is compared with.
        "since": "" if since == compared else since,
    }


def _waiver(waiver: Waiver, pass_: Pass) -> dict[str, Any]:
    moment = dt.datetime.fromisoformat(pass_.snapshot.ended)
    if results.in_force(waiver, moment):
        used = any(result.waiver == waiver.id for result in pass_.snapshot.entries)
        state = _("en vigueur") if used else _("en vigueur, sans écart à couvrir")
    else:
        state = _("échue, ne compte plus") if waiver.expires_on < results.paris_day(moment) else _("pas encore commencée")
    if waiver.control not in pass_.catalogue.by_id:
        state = _("sans effet : ce contrôle n'existe pas")
    return {
        "waiver": waiver,
        "title": _title(pass_, waiver.control),
        "from": f"{waiver.accepted_on:%d/%m/%Y}",
        "until": f"{waiver.expires_on:%d/%m/%Y}",
        "state": state,
    }


def _roles(pass_: Pass) -> list[RoleControls]:
    """Return the roles that this pass looked at."""
    looked_at = {result.control for result in pass_.results}
    return [role for role in pass_.catalogue.roles if any(control.id in looked_at for control in role.controls)]


def _matrix(pass_: Pass) -> list[dict[str, Any]]:
    rows = []
    for host in dict.fromkeys(result.host for result in pass_.results):
        cells = []
        for role in _roles(pass_):
            ids = {control.id for control in role.controls}
            counts = results.count(r for r in pass_.results if r.host == host and r.control in ids)
            held, total = counts["pass"], counts["verifiable"]
            cells.append({"role": str(role.title), "held": held, "total": total, "left": total - held - counts["waived"]})
        rows.append({"host": host, "cells": cells, "unreachable": host in pass_.verification.unreachable})
    return rows


def _role(pass_: Pass, role: RoleControls, zone: ZoneInfo, observed: dict[str, dict[str, Any]]) -> dict[str, Any]:
    by_control: dict[str, list[Result]] = {}
    for result in pass_.results:
        by_control.setdefault(result.control, []).append(result)
    controls = [_control(control, by_control.get(control.id, []), zone, observed) for control in role.controls]
    return {"title": str(role.title), "controls": controls}


def _control(control: Control, found: list[Result], zone: ZoneInfo, observed: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a control and its results, hosts that say the same together."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in found:
        groups.setdefault((str(result.effective), _reason(result), _series(result, zone)), []).append(result)
    commands = dict.fromkeys(
        _cut(observed[leaf]["command"], _SHOWN_COMMAND) for result in found for leaf in result.leaves if leaf in observed
    )
    return {
        "id": control.id,
        "title": str(control.title),
        "statement": str(control.statement),
        "severity": severity_label(control.severity),
        "references": _references(control),
        "max_age_days": control.max_age_days,
        "commands": list(commands)[:8],
        "results": [
            {
                "hosts": tuple(result.host for result in group),
                "class": effective,
                "waiver": group[0].waiver,
                "reason": reason,
                "series": series,
            }
            for (effective, reason, series), group in groups.items()
        ],
    }


def _reason(result: Result) -> str:
    """Return what the check said: why not, or what it remarked although the control holds."""
    return result.message


def _series(result: Result, zone: ZoneInfo) -> str:
    """Return for how long, and over how many passes, a control has held without a break."""
    if result.effective is not Effective.PASS:
        return ""
    if result.passes == 1:
        return _("constaté à ce passage")
    return _("à chaque passage depuis le {date} ({n} passages)").format(date=_local(result.since, zone), n=result.passes)


def _references(control: Control) -> str:
    sources = load_sources()
    return results.semicolon().join(f"{sources[reference.source].label} {reference.id}" for reference in control.references)


def _title(pass_: Pass, control: str) -> str:
    known = pass_.catalogue.by_id.get(control)
    return str(known.title) if known else ""


def _cited(pass_: Pass) -> set[str]:
    return {reference.source for role in _roles(pass_) for control in role.controls for reference in control.references}


def _local(moment: str, zone: ZoneInfo) -> str:
    return dt.datetime.fromisoformat(moment).astimezone(zone).strftime("%d/%m/%Y %H:%M")
