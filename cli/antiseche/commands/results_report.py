"""What a pass found, for people: French tables and sentences that fit a terminal."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import textwrap
from collections.abc import Iterable

import click

from antiseche.catalogue import Repair
from antiseche.commands.run_report import unreachable_reason
from antiseche.evidence import grouping
from antiseche.evidence.drift import Cause, broken, cause_label
from antiseche.evidence.grouping import Difference, Finding
from antiseche.evidence.passes import Pass
from antiseche.evidence.report import remedy, severity_label, whole_host
from antiseche.evidence.results import Effective, colon, count, headline, label
from antiseche.i18n import _, n_

_NARROWEST, _WIDEST = 60, 110
_MESSAGE_CHARACTERS = 400
_MANY = 4
_SIGNS = {Effective.FAIL: "✗", Effective.ERROR: "!", Effective.UNKNOWN: "?"}


def width() -> int:
    """Return how many columns to fill."""
    return min(max(shutil.get_terminal_size((80, 24)).columns, _NARROWEST), _WIDEST)


def table(pass_: Pass) -> str:
    """Return one line per host: conforming out of verifiable, and what is left."""
    header = [_("machine"), _("conformes"), _("écarts"), _("dérogations"), _("non vérifiés")]
    rows = [header]
    unreachable = _("injoignable")
    for host in dict.fromkeys(result.host for result in pass_.results):
        counts = count(result for result in pass_.results if result.host == host)
        left = [counts["fail"], counts["waived"], counts["error"] + counts["unknown"]]
        name = f"{host} ({unreachable})" if host in pass_.verification.unreachable else host
        rows.append([name, f"{counts['pass']}/{counts['verifiable']}", *(str(n) if n else "–" for n in left)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    widths[0] = min(widths[0], width() - sum(widths[1:]) - 2 * len(widths[1:]))
    lines = [
        "  ".join([_cell(row[0], widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]) for row in rows
    ]
    lines.insert(1, "  ".join("─" * w for w in widths))
    return "\n".join(lines)


def show_findings(pass_: Pass) -> None:
    """Name each control that does not hold, the hosts, what was seen there and what to do; equal things once."""
    for finding in grouping.findings(pass_):
        click.echo()
        _show_finding(finding, pass_)


def _show_finding(finding: Finding, pass_: Pass) -> None:
    control = finding.control
    failed = finding.effective is Effective.FAIL
    sentence = str(control.broken) if failed else f"{label(finding.effective)}{colon()}{control.title}"
    severity = _("gravité {severity}").format(severity=severity_label(control.severity))
    head = f"{_SIGNS[finding.effective]} {control.id} {sentence} ({severity})"
    click.secho(_wrapped(head, "", "  "), bold=True)
    for seen in finding.seen:
        text = _hosts(seen.hosts, pass_) + (colon() + plain(seen.message) if seen.message else "")
        click.echo(_wrapped(text, "    ", "      "))
    text = _("à faire : {what}").format(what=remedy(control, finding.effective))
    if failed and control.repair is Repair.HAND:
        text += " " + _("(à la main)")
    click.echo(_wrapped(text, "    ", "      "))


def show_unreachable(pass_: Pass) -> None:
    """Say who did not answer, on stderr: none of its controls could be verified."""
    for host, reason in pass_.verification.unreachable.items():
        click.echo(
            _("{host} : injoignable, aucun de ses contrôles n'a pu être vérifié ({reason})").format(
                host=host, reason=plain(unreachable_reason(reason))
            ),
            err=True,
        )


def show_transitions(pass_: Pass, *, but: Iterable[Cause] = ()) -> None:
    """Say what is no longer what it was, cause by cause, hosts together.

    Args:
        pass_: the pass.
        but: causes that are told elsewhere.
    """
    left_out = tuple(but)
    whole, rest = grouping.whole_hosts(change for change in pass_.transitions if change.cause not in left_out)
    for cause in Cause:
        by_control: dict[str, list[str]] = {}
        for change in rest:
            if change.cause is cause:
                by_control.setdefault(change.control, []).append(change.host)
        hosts = [item for item in whole if item.cause is cause]
        if by_control or hosts:
            total = sum(map(len, by_control.values())) + sum(item.controls for item in hosts)
            click.echo(f"  {cause_label(cause)} ({total})")
        for item in hosts:
            click.echo(f"    {whole_host(item)}")
        for control, names in by_control.items():
            click.echo(_wrapped(_named(pass_, control) + colon() + _hosts(tuple(names), pass_), "    ", "      "))


def show_differences(differences: list[Difference], pass_: Pass) -> None:
    """List what a deployment would change, theme by theme, hosts together."""
    groups = grouping.same_differences(differences)
    for title in dict.fromkeys(group.first.title for group in groups):
        click.echo(f"  {title}")
        for group in groups:
            if group.first.title == title:
                click.echo(_wrapped(f"~ {plain(group.first.text)}{colon()}{_hosts(group.hosts, pass_)}", "    ", "      "))


def show_headline(pass_: Pass) -> None:
    """Show the score with its denominator, and say when it is not that of the whole practice."""
    click.echo("\n" + _wrapped(headline(pass_.counts), "", "  "))
    if pass_.partial:
        scope = pass_.snapshot.data["scope"]
        text = n_(
            "Passage partiel : {n} machine sur {total}, {controls} contrôles sur {all} ; rien n'est dit du reste.",
            "Passage partiel : {n} machines sur {total}, {controls} contrôles sur {all} ; rien n'est dit du reste.",
            len(scope["expected"]),
        )
        values = {"total": len(scope["hosts"]), "controls": len(pass_.results), "all": len(pass_.snapshot.entries)}
        click.echo(_wrapped(text.format(n=len(scope["expected"]), **values), "", "  "))


def drift_sentence(pass_: Pass) -> str:
    """Return how much drifted, and since when."""
    assert pass_.previous is not None
    n = len(broken(pass_.transitions))
    if n:
        what = n_("{n} contrôle tenait et ne tient plus.", "{n} contrôles tenaient et ne tiennent plus.", n).format(n=n)
    else:
        what = _("aucune dérive nouvelle.")
    return _("Depuis le {date} : {what}").format(date=local(pass_.previous.ended), what=what)


def by_kit(pass_: Pass) -> bool:
    """Say whether something was found that the kit can repair."""
    return any(f.effective is Effective.FAIL and f.control.repair is Repair.KIT for f in grouping.findings(pass_))


def local(moment: str) -> str:
    """Return a UTC time as this machine's clock shows it."""
    return dt.datetime.fromisoformat(moment).astimezone().strftime("%d/%m/%Y %H:%M")


def plain(text: str) -> str:
    """Return what a host answered as one printable line: its control characters must not drive our terminal."""
    line = "".join(character if character.isprintable() else "�" for character in " ".join(text.split()))
    return line if len(line) <= _MESSAGE_CHARACTERS else line[: _MESSAGE_CHARACTERS - 1] + "…"


def _hosts(names: tuple[str, ...], pass_: Pass) -> str:
    """Name hosts, or say that it is all of those that were looked at, where that is shorter."""
    if len(names) >= _MANY and len(names) == len(pass_.verification.expected):
        return _("les {n} machines").format(n=len(names))
    return ", ".join(names)


def _named(pass_: Pass, control: str) -> str:
    known = pass_.catalogue.by_id.get(control)
    return f"{control} {known.title}" if known else control


def _cell(text: str, size: int) -> str:
    return text.ljust(size) if len(text) <= size else text[: max(size - 1, 0)] + "…"


def _wrapped(text: str, first: str, following: str) -> str:
    """Fill lines; French punctuation stays with its word."""
    tied = re.sub(r" (?=[:;!?»])|(?<=«) ", "\u00a0", text)
    return textwrap.fill(tied, width(), initial_indent=first, subsequent_indent=following, break_on_hyphens=False).replace(
        "\u00a0", " "
    )
