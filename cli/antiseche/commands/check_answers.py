"""``antiseche check-answers``: every error of the answers at once, each with its place."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from antiseche.commands.options import json_option
from antiseche.errors import AnswersError, ExitCode
from antiseche.i18n import _, n_

if TYPE_CHECKING:
    from antiseche.practice.gaps import Gap
    from antiseche.practice.load import Problem


@click.command("check-answers", help=_("Vérifie les réponses, toutes les erreurs d'un coup."))
@click.argument("practice", required=False, metavar=_("CABINET"))
@click.option("--schema", is_flag=True, help=_("Affiche le schéma JSON des réponses, pour un éditeur."))
@json_option
def command(practice: str | None, schema: bool, as_json: bool) -> int:
    """Check the answers of a practice, or one answers file."""
    from antiseche.practice.document import read_document
    from antiseche.practice.gaps import gaps
    from antiseche.practice.json_schema import json_schema
    from antiseche.practice.load import AnswersFileError, check_document, in_order, problem_at
    from antiseche.practice.remarks import remarks

    if schema:
        click.echo(json.dumps(json_schema(), ensure_ascii=False, indent=2))
        return int(ExitCode.OK)
    if practice is None:
        raise AnswersError(_("Nommez un cabinet, ou donnez un fichier de réponses."))
    path = _answers_path(practice)
    document = read_document(path)
    try:
        answers = check_document(document, path)
    except AnswersFileError as error:
        if not as_json:
            raise
        _show_json(False, problems=error.problems)
        return int(error.exit_code)
    unknown = gaps(answers)
    doubtful = in_order(problem_at(document, path, remark) for remark in remarks(answers, dt.date.today()))
    if as_json:
        _show_json(True, remarks=doubtful, gaps=unknown)
        return int(ExitCode.OK)
    click.echo(
        _("Réponses correctes : {people}, {hosts}.").format(
            people=n_("{n} personne", "{n} personnes", len(answers.people)).format(n=len(answers.people)),
            hosts=n_("{n} machine", "{n} machines", len(answers.hosts)).format(n=len(answers.hosts)),
        )
    )
    for remark in doubtful:
        click.echo(_("À vérifier : {remark}").format(remark=remark))
    for gap in unknown:
        click.echo(_("Encore sans réponse : {path} ({title})").format(path=gap.path, title=gap.title))
    if not _is_file(practice):
        click.echo(_("Ensuite : {command}").format(command=f"antiseche inventory {practice}"))
    return int(ExitCode.OK)


def _show_json(ok: bool, *, problems: Sequence[Problem] = (), remarks: Sequence[Problem] = (), gaps: Sequence[Gap] = ()) -> None:
    data = {
        "ok": ok,
        "problems": [problem.as_json() for problem in problems],
        "remarks": [remark.as_json() for remark in remarks],
        "gaps": [gap._asdict() for gap in gaps],
    }
    click.echo(json.dumps(data, ensure_ascii=False, indent=1))


def _answers_path(practice: str) -> Path:
    from antiseche.practice.folder import find_practice

    return Path(practice) if _is_file(practice) else find_practice(practice).answers_file


def _is_file(practice: str) -> bool:
    """A file that is missing is still told as one by its suffix."""
    from antiseche.practice.folder import is_file

    return practice.endswith((".yml", ".yaml")) or is_file(Path(practice))
