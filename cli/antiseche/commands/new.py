"""``antiseche new``: the guided questionnaire."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from antiseche.commands.options import practice_argument
from antiseche.errors import AnswersError, ExitCode
from antiseche.i18n import _

if TYPE_CHECKING:
    from antiseche.practice.folder import PracticeFolder


@click.command("new", help=_("Questionnaire guidé : crée ou reprend un cabinet."))
@practice_argument
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar=_("FICHIER"),
    help=_("Reprend un fichier de réponses complet, sans rien demander."),
)
def command(practice: str, source: Path | None) -> int:
    """Create a practice, or resume where its questionnaire stopped."""
    from antiseche.practice.folder import new_folder

    folder = new_folder(practice)
    _refuse_complete(folder, practice, source)
    if source is not None:
        _install(folder, source)
    elif not _ask(folder, practice):
        return int(ExitCode.OK)
    click.echo(_("Réponses écrites : {path}").format(path=folder.answers_file))
    click.echo(_("Ensuite : antiseche check-answers {practice}").format(practice=practice))
    return int(ExitCode.OK)


def _refuse_complete(folder: PracticeFolder, practice: str, source: Path | None) -> None:
    from antiseche.practice.load import AnswersFileError, load_answers

    if not folder.answers_file.exists():
        return
    try:
        load_answers(folder.answers_file)
    except AnswersFileError:
        if source is None:
            return
    raise AnswersError(
        _("{path} existe déjà et n'est pas remplacé. Pour le changer : antiseche edit {practice}").format(
            path=folder.answers_file, practice=practice
        )
    )


def _install(folder: PracticeFolder, source: Path) -> None:
    from antiseche.practice import atomic
    from antiseche.practice.load import load_answers

    load_answers(source)
    atomic.make_folder(folder.root)
    atomic.write_text(folder.answers_file, source.read_bytes().decode("utf-8-sig"))


def _ask(folder: PracticeFolder, practice: str) -> bool:
    """Ask what is missing; False when the person stopped before the end."""
    from antiseche.commands.asking import Conversation, StoppedError, at_the_end_of_input, require_someone
    from antiseche.practice import answers_file, atomic, staging

    require_someone()
    draft = answers_file.read_draft(folder)
    atomic.make_folder(folder.root)
    with staging.locked(folder.root):
        resumed = bool(draft.values)
        click.echo(
            _("Reprise du questionnaire.") if resumed else _("Questionnaire du cabinet « {name} ».").format(name=folder.name)
        )
        click.echo(_("« ? » explique, « < » revient, « ! » arrête ; chaque réponse est gardée aussitôt."))
        talk = Conversation(draft, lambda kept: answers_file.write_draft(folder, kept), {("practice", "id"): folder.name})
        try:
            talk.run()
        except StoppedError:
            click.echo(_("Réponses gardées. Pour reprendre : antiseche new {practice}").format(practice=practice))
            return False
        except click.exceptions.Abort as error:
            click.echo(
                "\n" + _("Réponses gardées. Pour reprendre : antiseche new {practice}").format(practice=practice), err=True
            )
            raise at_the_end_of_input(error) from None
        answers_file.finish(folder, draft)
    return True
