"""``antiseche plan``: what a deployment would change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from antiseche.commands.options import json_option, key_option, limit_option, practice_argument, role_option, vault_option
from antiseche.i18n import _

if TYPE_CHECKING:
    from antiseche.commands.running import Request


@click.command("plan", help=_("Montre ce qui changerait, sans rien changer."))
@practice_argument
@limit_option
@role_option
@click.option("--diff", is_flag=True, help=_("Montre aussi le contenu des fichiers qui changeraient, sans les secrets."))
@vault_option
@key_option
@json_option
def command(
    practice: str,
    limit: tuple[str, ...],
    roles: tuple[str, ...],
    diff: bool,
    vault_password_file: Path | None,
    private_key: Path | None,
    as_json: bool,
) -> int:
    """Predict; hosts are read, never changed."""
    from antiseche.commands.running import Request

    return plan(Request(practice, limit, roles, vault_password_file, private_key, as_json), diff=diff)


def plan(request: Request, *, diff: bool) -> int:
    """Run in check mode and show what would change."""
    from antiseche.commands import run_report, running

    prepared = running.prepare(request)
    run, summary = running.run_shown(prepared, prepared.spec("plan", check=True, diff=diff), quiet=request.as_json)
    if request.as_json:
        click.echo(running.document("plan", prepared, run, summary))
        return int(summary.exit_code())
    run_report.show_changes(summary, prepared.titles, running.read_diffs(run))
    running.show_end(prepared, run, summary, check=True, again=running.same_command("plan", request))
    if summary.changes():
        click.echo(_("Pour appliquer : {command}").format(command=running.same_command("deploy", request)))
    elif summary.exit_code() == 0:
        click.echo(_("Rien à changer. Pour le prouver : {command}").format(command=f"antiseche verify {request.practice}"))
    return int(summary.exit_code())
