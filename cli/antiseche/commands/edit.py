"""``antiseche edit``: ask again only what was chosen, or set it without asking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from antiseche.commands.options import practice_argument
from antiseche.errors import AnswersError, ExitCode
from antiseche.i18n import _, n_

if TYPE_CHECKING:
    from antiseche.commands.asking import Conversation
    from antiseche.practice.editing import Edition
    from antiseche.practice.questionnaire import Question


@click.command("edit", help=_("Repose seulement les questions choisies."))
@practice_argument
@click.argument("paths", nargs=-1, metavar=_("[CHEMIN]..."))
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar=_("CHEMIN=VALEUR"),
    help=_("Change une réponse sans rien demander (répétable)."),
)
def command(practice: str, paths: tuple[str, ...], settings: tuple[str, ...]) -> int:
    """Change answers in place; nothing is written unless the whole holds."""
    from antiseche.commands.asking import Conversation, StoppedError, at_the_end_of_input, require_someone
    from antiseche.practice import editing
    from antiseche.practice.folder import find_practice

    if not paths and not settings:
        raise AnswersError(
            _("Dites quoi changer, par exemple : antiseche edit {practice} 'hosts.*.address'").format(practice=practice)
        )
    folder = find_practice(practice)
    edition = editing.Edition.of(folder.answers_file)
    for setting in settings:
        edition.set(setting)
    if paths:
        chosen = edition.matching(paths)
        require_someone()
        talk = Conversation(edition.draft, lambda _draft: None)
        try:
            _ask(edition, talk, chosen)
        except StoppedError:
            click.echo(_("Arrêté : rien n'a été changé."))
            return int(ExitCode.OK)
        except click.exceptions.Abort as error:
            raise at_the_end_of_input(error) from None
    changed = edition.write()
    click.echo(
        n_("{n} réponse changée dans {path}", "{n} réponses changées dans {path}", changed).format(
            n=changed, path=folder.answers_file
        )
    )
    if changed:
        click.echo(_("Ensuite : antiseche inventory {practice}").format(practice=practice))
    return int(ExitCode.OK)


def _ask(edition: Edition, talk: Conversation, chosen: list[Question]) -> None:
    """Ask the chosen questions in order, back and forth as the person likes."""
    number = 0
    while number < len(chosen):
        if edition.ask(talk, chosen[number]):
            number += 1
        elif number:
            number -= 1
        else:
            click.echo("  ! " + _("C'est la première question."))
