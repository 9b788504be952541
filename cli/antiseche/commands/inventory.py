"""``antiseche inventory``: write the practice's Ansible inventory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from antiseche.commands.options import json_option, practice_argument, vault_option
from antiseche.errors import ExitCode
from antiseche.i18n import _, n_

if TYPE_CHECKING:
    from antiseche.practice.inventory import InventoryReport


@click.command("inventory", help=_("Écrit l'inventaire Ansible du cabinet."))
@practice_argument
@click.option("--check", is_flag=True, help=_("Dit seulement si l'inventaire est à jour (code 3 sinon)."))
@vault_option
@json_option
def command(practice: str, check: bool, vault_password_file: Path | None, as_json: bool) -> int:
    """Write the inventory, or say whether it is current."""
    from antiseche.practice import inventory, vault_password
    from antiseche.practice.answers import load_answers
    from antiseche.practice.folder import find_practice

    folder = find_practice(practice)
    answers = load_answers(folder)
    if check:
        report = inventory.compare(folder, answers)
        code = ExitCode.OK if report.current else ExitCode.NOT_CONFORMING
        was_current = report.current
    else:
        was_current = inventory.compare(folder, answers).current
        report = inventory.build(
            folder, answers, lambda create: vault_password.obtain(answers.practice.id, vault_password_file, create=create)
        )
        code = ExitCode.OK
    if as_json:
        click.echo(json.dumps({**report.as_json(), "written": not check and not was_current}, ensure_ascii=False, indent=1))
    else:
        _show(report, check=check, was_current=was_current, target=folder.inventory_dir)
    return int(code)


def _show(report: InventoryReport, *, check: bool, was_current: bool, target: Path) -> None:
    from antiseche.practice.backup_secrets import OFFSITE
    from antiseche.practice.inventory import OFFSITE_PUBLIC_KEY

    if was_current:
        click.echo(_("Inventaire à jour : {target}").format(target=target))
        return
    for name in report.changed:
        click.echo(f"  ~ {name}")
    for name in report.removed_hosts:
        click.echo(_("  - {host} : retirée ; ses secrets sont gardés dans removed/{host}/").format(host=name))
    for host, secrets in report.new_secrets.items():
        logins = [one for one in secrets if " " not in one]
        if logins or not secrets:
            click.echo(_("  + {host} : premiers mots de passe pour {logins}").format(host=host, logins=", ".join(logins) or "-"))
        if len(logins) < len(secrets):
            click.echo(_("  + {host} : clés des sauvegardes").format(host=host))
        if OFFSITE in secrets and not check:
            place = target / "host_vars" / host / OFFSITE_PUBLIC_KEY
            click.echo(_("    à donner à l'hébergeur de la copie distante : {place}").format(place=place))
            click.echo(f"    {place.read_text(encoding='utf-8').strip()}")
    if check:
        click.echo(_("Inventaire périmé : relancez « antiseche inventory {practice} ».").format(practice=report.practice))
        return
    count = len(report.hosts)
    click.echo(n_("{n} machine écrite dans {target}", "{n} machines écrites dans {target}", count).format(n=count, target=target))
