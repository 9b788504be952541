"""``antiseche deploy``: bring the hosts to their declared state."""

from __future__ import annotations

from pathlib import Path

import click

from antiseche.commands.options import (
    json_option,
    key_option,
    limit_option,
    practice_argument,
    role_option,
    vault_option,
    yes_option,
)
from antiseche.i18n import _


@click.command("deploy", help=_("Met les machines dans l'état attendu."))
@practice_argument
@limit_option
@role_option
@click.option("--check", is_flag=True, help=_("Ne change rien : comme « antiseche plan »."))
@yes_option
@vault_option
@key_option
@json_option
def command(
    practice: str,
    limit: tuple[str, ...],
    roles: tuple[str, ...],
    check: bool,
    yes: bool,
    vault_password_file: Path | None,
    private_key: Path | None,
    as_json: bool,
) -> int:
    """Deploy, or predict with ``--check``."""
    from antiseche.commands import running
    from antiseche.commands.confirm import confirm
    from antiseche.commands.plan import plan

    request = running.Request(practice, limit, roles, vault_password_file, private_key, as_json)
    if check:
        return plan(request, diff=False)
    prepared = running.prepare(request)
    question = _("Déployer « {name} » sur {hosts} ?").format(
        name=prepared.folder.name, hosts=running.hosts_sentence(prepared.hosts)
    )
    if not confirm(question, yes=yes):
        click.echo(_("Rien n'a été changé."), err=True)
        if as_json:
            click.echo(running.declined("deploy", prepared))
        return 0
    run, summary = running.run_shown(prepared, prepared.spec("deploy"), quiet=as_json)
    if as_json:
        click.echo(running.document("deploy", prepared, run, summary))
        return int(summary.exit_code())
    running.show_end(prepared, run, summary, check=False, again=running.same_command("deploy", request))
    if summary.exit_code() == 0:
        click.echo(_("Pour prouver l'état obtenu : {command}").format(command=f"antiseche verify {practice}"))
    return int(summary.exit_code())
