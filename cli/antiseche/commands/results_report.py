"""What a pass found, for people: French tables and sentences."""

from __future__ import annotations

import click

from antiseche.evidence.drift import Cause, Transition, broken, cause_label
from antiseche.evidence.passes import Pass, failing
from antiseche.evidence.results import Effective, Result, headline, label
from antiseche.i18n import _, n_


def table(pass_: Pass) -> str:
    """Return one line per host and one column per role: conforming out of verifiable."""
    hosts = list(dict.fromkeys(result.host for result in pass_.results))
    roles = [role for role in pass_.catalogue.roles if any(_in(role.role, result, pass_) for result in pass_.results)]
    rows = [[_("machine"), *(str(role.title) for role in roles)]]
    for host in hosts:
        cells = [host]
        for role in roles:
            results = [result for result in pass_.results if result.host == host and _in(role.role, result, pass_)]
            wanted = [result for result in results if result.effective is not Effective.NOT_APPLICABLE]
            passed = sum(result.effective is Effective.PASS for result in wanted)
            cells.append(f"{passed}/{len(wanted)}" + ("" if passed == len(wanted) else " !"))
        rows.append(cells)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(lines)


def _in(role: str, result: Result, pass_: Pass) -> bool:
    return pass_.catalogue.role_of[result.control].role == role


def show_failing(pass_: Pass) -> None:
    """Name, host by host, what does not hold, in plain words, and what was observed."""
    host = ""
    for result in failing(pass_.results):
        if result.host != host:
            host = result.host
            click.echo(f"\n{host}")
        if host in pass_.verification.unreachable:
            continue
        control = pass_.catalogue.by_id[result.control]
        sentence = str(control.broken) if result.effective is Effective.FAIL else label(result.effective)
        click.echo(f"  ✗ {control.id} {sentence}")
        if result.message:
            click.echo(_("      constaté : {message}").format(message=" ".join(result.message.split())[:300]))


def show_unreachable(pass_: Pass) -> None:
    """Say who did not answer, on stderr: none of its controls could be verified."""
    for host, reason in pass_.verification.unreachable.items():
        click.echo(
            _("{host} : injoignable, aucun de ses contrôles n'a pu être vérifié ({reason})").format(host=host, reason=reason),
            err=True,
        )


def show_transitions(pass_: Pass) -> None:
    """Say what is no longer what it was, apart from what has just been listed as broken."""
    told = [change for change in pass_.transitions if change.cause not in (Cause.DRIFT, Cause.REOPENED)]
    for change in told:
        title = pass_.catalogue.by_id[change.control].title if change.control in pass_.catalogue.by_id else change.control
        click.echo(f"  {change.host} : {change.control} {title} : {cause_label(change.cause)}")


def show_headline(pass_: Pass) -> None:
    """Show the score with its denominator."""
    click.echo("\n" + headline(pass_.counts))


def drift_sentence(changes: list[Transition]) -> str:
    """Return how much drifted since the pass before."""
    n = len(broken(changes))
    return n_("{n} contrôle tenait et ne tient plus.", "{n} contrôles tenaient et ne tiennent plus.", n).format(n=n)
