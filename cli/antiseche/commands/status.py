"""``antiseche status``: where all practices stand, from their records; no host is contacted."""

from __future__ import annotations

import json
from typing import Any

import click

from antiseche.commands.options import json_option
from antiseche.errors import ExitCode
from antiseche.i18n import _, n_

_SHOWN_PROBLEMS = 5


@click.command("status", help=_("Résume l'état de tous les cabinets."))
@click.argument("practices", nargs=-1, metavar=_("[CABINET]..."))
@json_option
def command(practices: tuple[str, ...], as_json: bool) -> int:
    """Show one block per practice; a register that was tampered with is a failure. Named practices are read in full."""
    from antiseche.evidence.overview import overview
    from antiseche.practice.folder import find_practice, known_practices, practices_dir

    folders = [find_practice(name) for name in practices] or known_practices()
    entries = [overview(folder, whole_store=bool(practices)) for folder in folders]
    code = ExitCode.FAILURE if any(entry["chain"] for entry in entries) else ExitCode.OK
    if as_json:
        click.echo(json.dumps({"command": "status", "exit_code": int(code), "practices": entries}, ensure_ascii=False, indent=1))
        return int(code)
    if not entries:
        click.echo(_("Aucun cabinet dans {folder} : créez-en un avec « antiseche new NOM ».").format(folder=practices_dir()))
    for number, entry in enumerate(entries):
        if number:
            click.echo()
        _show(entry)
    return int(code)


def _show(entry: dict[str, Any]) -> None:
    name = str(entry["name"])
    if entry["rehearsal"]:
        name += " – " + _("répétition sur des machines d'essai")
    click.secho(name, bold=True)
    for line in _lines(entry):
        click.echo("  " + line)


def _lines(entry: dict[str, Any]) -> list[str]:
    """Return what there is to say of a practice, the last pass first."""
    lines = [entry["problem"]] if entry["problem"] else []
    if entry["last"] is None:
        lines.append(_("jamais vérifié : antiseche verify {name}").format(name=entry["folder"]))
    else:
        lines += _last_pass(entry["last"])
    lines += [_("passage inachevé : {run}").format(run=run) for run in entry["unfinished"]]
    for waiver in entry["waivers"]:
        text = (
            _("dérogation {id} ({control}) : échue le {date}")
            if waiver["expired"]
            else _("dérogation {id} ({control}) : jusqu'au {date}")
        )
        lines.append(text.format(id=waiver["id"], control=waiver["control"], date=waiver["expires_on"]))
    lines += [_("registre : {problem}").format(problem=problem) for problem in entry["chain"][:_SHOWN_PROBLEMS]]
    more = len(entry["chain"]) - _SHOWN_PROBLEMS
    if more > 0:
        lines.append(n_("registre : et {n} autre anomalie", "registre : et {n} autres anomalies", more).format(n=more))
    return lines


def _backups(entries: list[dict[str, Any]]) -> list[str]:
    """Return a line per machine and observation of its backups; the worst word of a result comes first in the line."""
    from antiseche.evidence.results import Effective, colon, label

    lines = []
    for entry in entries:
        effective = Effective(entry["result"])
        words = entry["message"] or label(effective)
        if effective is not Effective.PASS and entry["message"]:
            words = f"{label(effective)} ({entry['control']}){colon()}{entry['message']}"
        lines.append(_("sauvegarde de {host} : {words}").format(host=entry["host"], words=words))
    return lines


def _last_pass(last: dict[str, Any]) -> list[str]:
    from antiseche.commands.results_report import local
    from antiseche.evidence.results import colon

    when = n_("{date}, il y a {n} jour", "{date}, il y a {n} jours", last["age_days"]).format(
        date=local(last["ended"]), n=last["age_days"]
    )
    lines = [_("dernier passage : {when} ({run})").format(when=when, run=last["run"]), last["headline"]]
    for title, hosts in ((_("injoignables"), last["unreachable"]), (_("jamais vérifiées"), last["never_verified"])):
        if hosts:
            lines.append(title + colon() + ", ".join(hosts))
    if last["stale"]:
        lines.append(
            n_(
                "{n} observation trop ancienne, comptée comme non vérifiée",
                "{n} observations trop anciennes, comptées comme non vérifiées",
                last["stale"],
            ).format(n=last["stale"])
        )
    return lines + _backups(last["backups"])
