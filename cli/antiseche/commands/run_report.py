"""What a playbook run did, for people: French tables and sentences."""

from __future__ import annotations

import re

import click

from antiseche.commands.progress import state_words
from antiseche.engine.failures import failure_text
from antiseche.engine.summary import HostStatus, HostSummary, RunSummary
from antiseche.engine.wording import change_text, task_text
from antiseche.i18n import N_, _, n_

_REASONS: tuple[tuple[str, str], ...] = (
    (r"host key verification failed|host identification has changed|no .* host key is known", N_(
        "sa clé d'hôte n'est pas celle de known_hosts : comparez l'empreinte affichée par « antiseche bootstrap »"
    )),
    (r"permission denied", N_("la machine refuse la clé du compte de maintenance : voyez --private-key ou l'agent SSH")),
    (r"could not resolve|name or service not known", N_("son adresse ne se résout pas : corrigez-la dans les réponses")),
    (r"connection refused", N_("rien n'écoute sur son port SSH")),
    (r"timed out|timeout|no route to host|unreachable|not responding", N_("éteinte, ou hors du réseau")),
    (r"closed|reset|broken pipe", N_("la connexion a été coupée")),
)  # fmt: skip


def unreachable_reason(message: str) -> str:
    """Return in plain words why a host could not be reached."""
    for pattern, reason in _REASONS:
        if re.search(pattern, message, re.IGNORECASE):
            return _(reason)
    return message


def table(summary: RunSummary, *, check: bool) -> str:
    """Return one line per host: state, changes, failures."""
    words = state_words(check=check)
    header = (_("machine"), _("état"), _("à changer") if check else _("changements"), _("échecs"))
    rows = [
        header,
        *((host.name, words[host.status], str(len(host.changes)), str(len(host.failures))) for host in summary.hosts.values()),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(lines)


def show_changes(summary: RunSummary, titles: dict[str, str], diffs: dict[tuple[str, str, str], list[str]] | None = None) -> None:
    """List, for each host and role, what changed or would change."""
    for host in summary.hosts.values():
        if not host.changes and not host.unpredicted:
            continue
        click.echo(f"{host.name}")
        seen = [change.role for change in host.changes] + [unknown.role for unknown in host.unpredicted]
        for role in sorted(set(seen), key=seen.index):
            _show_role(host, role, titles.get(role, role), diffs or {})
        click.echo()


def _show_role(host: HostSummary, role: str, title: str, diffs: dict[tuple[str, str, str], list[str]]) -> None:
    changes = [change for change in host.changes if change.role == role]
    count = n_("{n} changement", "{n} changements", len(changes)).format(n=len(changes))
    click.echo(f"  {title or '-'} : {count}")
    for change in changes:
        click.echo(f"    ~ {change_text(change.change, role)}")
    for unknown in (item for item in host.unpredicted if item.role == role):
        click.echo(_("    ? {task} : ne peut pas être prédit").format(task=task_text(unknown.task, role)))
    for task in dict.fromkeys(change.task for change in changes):
        for diff in diffs.get((host.name, role, task), []):
            click.echo("".join(f"      {line}\n" for line in diff.splitlines()), nl=False)


def show_problems(summary: RunSummary, titles: dict[str, str]) -> None:
    """Say what failed and who was not reached, on stderr."""
    for host in summary.hosts.values():
        for failure in host.failures:
            click.echo(
                _("{host} : {role} : « {task} » a échoué : {reason}").format(
                    host=host.name,
                    role=titles.get(failure.role, failure.role) or "-",
                    task=task_text(failure.task, failure.role),
                    reason=failure_text(failure.message) or _("motif masqué (secret)"),
                ),
                err=True,
            )
        if host.unreachable:
            click.echo(
                _("{host} : injoignable : {reason}").format(host=host.name, reason=unreachable_reason(host.unreachable)), err=True
            )
    if summary.error:
        click.echo(summary.error, err=True)


def show_interruption(summary: RunSummary, titles: dict[str, str], again: str) -> None:
    """Say in what state an interrupted run leaves each host."""
    click.echo(_("Interrompu. État de chaque machine :"), err=True)
    for host in summary.hosts.values():
        click.echo(f"  {host.name} : {_where(host, titles)}", err=True)
    if any(host.status is HostStatus.INTERRUPTED for host in summary.hosts.values()):
        click.echo(_("Une tâche déjà lancée peut encore s'achever sur sa machine."), err=True)
    click.echo(_("Rien n'est perdu : relancez « {command} », qui reprend et termine.").format(command=again), err=True)


def _where(host: HostSummary, titles: dict[str, str]) -> str:
    done = ", ".join(titles.get(role, role) for role in host.roles_done if role) or "-"
    if host.status is HostStatus.NOT_STARTED:
        return _("pas commencée")
    if host.status is HostStatus.UNREACHABLE:
        return _("injoignable")
    if host.status is HostStatus.FAILED:
        return _("en échec ; rôles terminés : {done}").format(done=done)
    if host.status is not HostStatus.INTERRUPTED:
        return _("terminée ; rôles : {done}").format(done=done)
    current = titles.get(host.role, host.role) or _("lecture de l'état")
    return _("rôles terminés : {done} ; en cours : {current}").format(done=done, current=current)
