"""Questions answered by oui or non; Click's own accept English letters only."""

from __future__ import annotations

import sys

import click

from antiseche.i18n import _

_YES = frozenset(("o", "oui", "y", "yes"))
_NO = frozenset(("", "n", "non", "no"))


def confirm(question: str, *, yes: bool) -> bool:
    """Ask on a terminal; true without asking for ``--yes`` or when nobody is there to answer."""
    if yes or not sys.stdin.isatty():
        return True
    while True:
        answer: str = click.prompt(_("{question} [oui/NON]").format(question=question), default="", show_default=False, err=True)
        if answer.strip().lower() in _YES:
            return True
        if answer.strip().lower() in _NO:
            return False
        click.echo(_("Répondez par oui ou par non."), err=True)
