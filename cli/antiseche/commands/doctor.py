"""``antiseche doctor``: look at this machine and the hosts before anything changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from antiseche.commands.options import json_option, key_option, limit_option, practice_argument, vault_option
from antiseche.errors import ExitCode
from antiseche.i18n import N_, _

if TYPE_CHECKING:
    from antiseche.verify.doctor import Finding

_MARKS = {"ok": N_("bon"), "warning": N_("à voir"), "problem": N_("PROBLÈME"), "unreachable": N_("INJOIGNABLE")}


@click.command("doctor", help=_("Contrôle ce poste et les machines avant toute action."))
@practice_argument
@limit_option
@vault_option
@key_option
@json_option
def command(
    practice: str, limit: tuple[str, ...], vault_password_file: Path | None, private_key: Path | None, as_json: bool
) -> int:
    """Show what was found; wrong answers end it before anything else, with exit code 2."""
    from antiseche.engine import scope
    from antiseche.practice.answers import load_answers
    from antiseche.practice.folder import find_practice
    from antiseche.verify import doctor

    folder = find_practice(practice)
    answers = load_answers(folder)
    names = scope.checked_hosts(limit, [host.name for host in answers.hosts])
    hosts = tuple(host for host in answers.hosts if not names or host.name in names)
    found = doctor.examine(doctor.Request(folder, answers, hosts, vault_password_file, private_key))
    code = _exit_code(found)
    if as_json:
        click.echo(json.dumps({"exit_code": int(code), "findings": [f.as_json() for f in found]}, ensure_ascii=False, indent=1))
    else:
        _show(found)
    return int(code)


def _exit_code(found: list[Finding]) -> ExitCode:
    statuses = {finding.status for finding in found}
    if "problem" in statuses:
        return ExitCode.FAILURE
    return ExitCode.UNREACHABLE if "unreachable" in statuses else ExitCode.OK


def _show(found: list[Finding]) -> None:
    width = max(len(finding.subject) for finding in found)
    current: str | None = None
    for finding in found:
        if finding.host != current:
            current = finding.host
            click.echo(click.style(current or _("Ce poste"), bold=True))
        colour = {"ok": "green", "warning": "yellow"}.get(finding.status, "red")
        mark = click.style(f"{_(_MARKS[finding.status]):<11}", fg=colour)
        click.echo(f"  {finding.subject:<{width}}  {mark}  {finding.detail}")
