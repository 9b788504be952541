"""``antiseche rehearse``: any verb over a practice, on machines that the kit starts for it."""

from __future__ import annotations

import json

import click

from antiseche.commands.options import json_option, practice_argument
from antiseche.errors import AnswersError
from antiseche.i18n import _, language

# Verbs that act on machines; the value says whether they take a key and a vault password.
VERBS = {
    "doctor": True,
    "plan": True,
    "deploy": True,
    "verify": True,
    "drift": True,
    "drill": True,
    "inventory": False,
    "bootstrap": False,
    "check-answers": False,
}


@click.command(
    "rehearse",
    help=_("Répète un cabinet sur des machines d'essai."),
    context_settings={"ignore_unknown_options": True},
)
@practice_argument
@click.argument("verb", nargs=-1, type=click.UNPROCESSED, metavar=_("[VERBE [OPTIONS]]"))
@click.option("--stop", is_flag=True, help=_("Arrête les machines d'essai de ce cabinet et n'en laisse rien."))
@json_option
def command(practice: str, verb: tuple[str, ...], stop: bool, as_json: bool) -> int:
    """Start the machines if needed, then run the verb over them."""
    from antiseche.lab import rehearsal
    from antiseche.lab.requirements import require
    from antiseche.practice.answers import load_answers
    from antiseche.practice.folder import find_practice

    source = find_practice(practice)
    folder = rehearsal.folder_of(source)
    if verb and verb[0] not in VERBS:
        raise AnswersError(_("« {verb} » ne se répète pas ; au choix : {verbs}.").format(verb=verb[0], verbs=", ".join(VERBS)))
    if stop:
        found = rehearsal.stop(folder)
        _tell(
            _("Machines d'essai arrêtées.") if found else _("Aucune machine d'essai ne tourne pour ce cabinet."), as_json=as_json
        )
        return 0
    answers = load_answers(source)
    require()
    running = rehearsal.start(answers, folder, lambda text: _tell(text, as_json=as_json))
    if not verb:
        _show(running, as_json=as_json)
        return 0
    return run_verb(running, verb[0], [*verb[1:], *(["--json"] if as_json else [])])


def run_verb(running: object, name: str, arguments: list[str]) -> int:
    """Run another command of the kit over the rehearsal; its exit code is ours."""
    from antiseche.app import main
    from antiseche.lab.rehearsal import Rehearsal

    assert isinstance(running, Rehearsal)
    access = running.arguments() if VERBS[name] else []
    return main(["--lang", language(), name, str(running.folder.root), *arguments, *access])


def _tell(text: str, *, as_json: bool) -> None:
    click.echo(text, err=as_json)


def _show(running: object, *, as_json: bool) -> None:
    from antiseche.lab.rehearsal import Rehearsal

    assert isinstance(running, Rehearsal)
    if as_json:
        click.echo(json.dumps(running.as_json(), ensure_ascii=False, indent=1))
        return
    for name, machine in running.lab.as_json()["machines"].items():
        click.echo(f"  {name:<16} {machine['address']:<16} {machine['system']}")
    click.echo(_("Dossier de la répétition : {folder}").format(folder=running.folder.root))
