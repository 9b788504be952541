"""``antiseche new``: the guided questionnaire."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from antiseche.commands.options import practice_argument
from antiseche.errors import AnswersError, AntisecheError, ExitCode
from antiseche.i18n import _

if TYPE_CHECKING:
    from antiseche.practice.document import Path_
    from antiseche.practice.folder import PracticeFolder


@click.command("new", help=_("Questionnaire guidé : crée ou reprend un cabinet."))
@practice_argument
@click.option(
    "--from",
    "source",
    type=click.Path(readable=False, path_type=Path),  # the answers' own reader tells what is wrong with a file
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
    from antiseche.practice.folder import is_file
    from antiseche.practice.load import AnswersFileError, load_answers

    if not is_file(folder.answers_file):
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
    from antiseche.practice.folder import is_folder
    from antiseche.practice.load import load_answers

    load_answers(source)
    text = source.read_bytes().decode("utf-8-sig")
    new = not is_folder(folder.root)
    atomic.make_folder(folder.root)
    try:
        atomic.write_text(folder.answers_file, text)
    except AntisecheError:
        if new:
            folder.root.rmdir()
        raise


def _ask(folder: PracticeFolder, practice: str) -> bool:
    """Ask what is missing; False when the person stopped before the end."""
    from antiseche.commands import own_keys
    from antiseche.commands.asking import Conversation, StoppedError, at_the_end_of_input, require_someone
    from antiseche.practice import answers_file, atomic, staging

    require_someone()
    draft = answers_file.read_draft(folder)
    atomic.make_folder(folder.root)
    kept = _("Réponses gardées. Pour reprendre : antiseche new {practice}").format(practice=practice)
    with staging.locked(folder.root):
        _welcome(folder, resumed=bool(draft.values))
        proposals: dict[Path_, Any] = {("practice", "id"): folder.name, ("maintenance", "public_keys"): own_keys.proposed()}
        talk = Conversation(draft, lambda answers: answers_file.write_draft(folder, answers), proposals)
        try:
            talk.run()
        except StoppedError:
            click.echo(kept)
            return False
        except click.exceptions.Abort as error:
            click.echo("\n" + kept, err=True)
            raise at_the_end_of_input(error) from None
        answers_file.finish(folder, draft)
    return True


def _welcome(folder: PracticeFolder, *, resumed: bool) -> None:
    if resumed:
        click.echo(_("Reprise du questionnaire du cabinet « {name} ».").format(name=folder.name))
    else:
        click.echo(_("Questionnaire du cabinet « {name} » : une dizaine de minutes.").format(name=folder.name))
        click.echo(_("À avoir sous la main : qui travaille au cabinet, l'adresse IP de chaque machine, votre clé publique SSH."))
    click.echo(_("Entrée garde ce qui est entre crochets ; « ? » explique, « < » revient, « ! » arrête et garde tout."))
