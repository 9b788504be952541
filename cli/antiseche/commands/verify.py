"""``antiseche verify``: prove the state of the hosts, control by control."""

from __future__ import annotations

from pathlib import Path

import click

from antiseche.commands.options import json_option, key_option, limit_option, practice_argument, role_option, vault_option
from antiseche.i18n import _


@click.command("verify", help=_("Prouve l'état des machines, contrôle par contrôle."))
@practice_argument
@limit_option
@role_option
@vault_option
@key_option
@json_option
def command(
    practice: str,
    limit: tuple[str, ...],
    roles: tuple[str, ...],
    vault_password_file: Path | None,
    private_key: Path | None,
    as_json: bool,
) -> int:
    """Run the checks; hosts are read, never changed."""
    from antiseche.commands import checking, results_report
    from antiseche.engine.locking import practice_lock

    del vault_password_file  # accepted so that one set of options fits all verbs; checks read no secret
    what = checking.subject(practice, limit, roles, private_key)
    with practice_lock(what.folder):
        checking.close_unfinished(what)
        pass_ = checking.verify_pass(what, "verify", quiet=as_json)
        report = checking.report_of(what, pass_)
    code = pass_.exit_code()
    if as_json:
        click.echo(checking.document("verify", what, pass_, report, code))
        return int(code)
    checking.show(pass_, report)
    if results_report.by_kit(pass_):
        click.echo(_("Pour réparer : {command}").format(command=f"antiseche drift {practice} --fix"))
    return int(code)
