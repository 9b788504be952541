"""``antiseche check-answers``: every error of the answers at once, each with its place."""

from __future__ import annotations

import json
from pathlib import Path

import click

from antiseche.commands.options import json_option
from antiseche.errors import AnswersError, ExitCode
from antiseche.i18n import _, n_


@click.command("check-answers", help=_("Vérifie les réponses, toutes les erreurs d'un coup."))
@click.argument("practice", required=False, metavar=_("CABINET"))
@click.option("--schema", is_flag=True, help=_("Affiche le schéma JSON des réponses, pour un éditeur."))
@json_option
def command(practice: str | None, schema: bool, as_json: bool) -> int:
    """Check the answers of a practice, or one answers file."""
    from antiseche.practice.gaps import gaps
    from antiseche.practice.json_schema import json_schema
    from antiseche.practice.load import AnswersFileError, load_answers

    if schema:
        click.echo(json.dumps(json_schema(), ensure_ascii=False, indent=2))
        return int(ExitCode.OK)
    if practice is None:
        raise AnswersError(_("Nommez un cabinet, ou donnez un fichier de réponses."))
    path = _answers_path(practice)
    try:
        answers = load_answers(path)
    except AnswersFileError as error:
        if not as_json:
            raise
        problems = [problem.as_json() for problem in error.problems]
        click.echo(json.dumps({"ok": False, "problems": problems}, ensure_ascii=False, indent=1))
        return int(error.exit_code)
    unknown = gaps(answers)
    if as_json:
        click.echo(
            json.dumps({"ok": True, "problems": [], "gaps": [gap._asdict() for gap in unknown]}, ensure_ascii=False, indent=1)
        )
        return int(ExitCode.OK)
    click.echo(
        _("Réponses correctes : {people}, {hosts}.").format(
            people=n_("{n} personne", "{n} personnes", len(answers.people)).format(n=len(answers.people)),
            hosts=n_("{n} machine", "{n} machines", len(answers.hosts)).format(n=len(answers.hosts)),
        )
    )
    for gap in unknown:
        click.echo(_("Encore sans réponse : {path} ({title})").format(path=gap.path, title=gap.title))
    click.echo(_("Ensuite : {command}").format(command=f"antiseche inventory {practice}"))
    return int(ExitCode.OK)


def _answers_path(practice: str) -> Path:
    from antiseche.practice.folder import find_practice

    path = Path(practice)
    return path if path.suffix in (".yml", ".yaml") or path.is_file() else find_practice(practice).answers_file
