"""``antiseche status``: where all practices stand, from their records; no host is contacted."""

from __future__ import annotations

import json
from typing import Any

import click

from antiseche.commands.options import json_option
from antiseche.i18n import _


@click.command("status", help=_("Résume l'état de tous les cabinets."))
@click.argument("practices", nargs=-1, metavar=_("[CABINET]..."))
@json_option
def command(practices: tuple[str, ...], as_json: bool) -> int:
    """Show one block per practice."""
    from antiseche.evidence.overview import overview
    from antiseche.practice.folder import find_practice, known_practices, practices_dir

    folders = [find_practice(name) for name in practices] or known_practices()
    entries = [overview(folder) for folder in folders]
    if as_json:
        click.echo(json.dumps({"practices": entries}, ensure_ascii=False, indent=1))
        return 0
    if not entries:
        click.echo(_("Aucun cabinet dans {folder} : créez-en un avec « antiseche new NOM ».").format(folder=practices_dir()))
    for entry in entries:
        _show(entry)
    return 0


def _show(entry: dict[str, Any]) -> None:
    click.secho(entry["name"], bold=True)
    if entry["problem"]:
        click.echo("  " + entry["problem"])
    if entry["last"] is None:
        click.echo(_("  jamais vérifié : antiseche verify {name}").format(name=entry["folder"]))
    else:
        last = entry["last"]
        click.echo(
            _("  dernier passage : {date} (il y a {n} j), {run}").format(
                date=last["ended"][:16], n=last["age_days"], run=last["run"]
            )
        )
        click.echo(f"  {last['headline']}")
        for host in last["unreachable"]:
            click.echo(_("  injoignable : {host}").format(host=host))
        if last["stale"]:
            click.echo(_("  observations trop anciennes : {n}, comptées comme non vérifiées").format(n=last["stale"]))
    for run in entry["unfinished"]:
        click.echo(_("  passage inachevé : {run}").format(run=run))
    for waiver in entry["waivers"]:
        click.echo(
            _("  dérogation {id} ({control}) : jusqu'au {date}").format(
                id=waiver["id"], control=waiver["control"], date=waiver["expires_on"]
            )
        )
    for problem in entry["chain"]:
        click.echo(_("  registre : {problem}").format(problem=problem))
