"""``antiseche drill``: restore part of the backups on another machine, compare, erase, and keep the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from antiseche.commands.options import json_option, key_option, practice_argument, vault_option
from antiseche.errors import AnswersError, AntisecheError, ExitCode
from antiseche.i18n import _, n_

_SHOWN = 10
# Only one code comes out: the most pressing, as for every command.
_PRESSING = (ExitCode.OK, ExitCode.NOT_CONFORMING, ExitCode.UNREACHABLE, ExitCode.FAILURE, ExitCode.TASK_FAILED)


@click.command("drill", help=_("Exerce une restauration sur une autre machine, et la compare."))
@practice_argument
@click.option("--host", "hosts", multiple=True, metavar=_("MACHINE"), help=_("Seulement cette machine (répétable)."))
@click.option("--on", "scratch", metavar=_("MACHINE"), help=_("Où restaurer ; sinon, sur le serveur de sauvegarde."))
@click.option(
    "--sample", type=click.IntRange(1, 1000), default=20, show_default=True, help=_("Combien de fichiers tirer au sort.")
)
@click.option("--offsite", is_flag=True, help=_("Restaure depuis la copie distante."))
@click.option("--operator", metavar=_("NOM"), help=_("Qui fait l'exercice ; sinon, le prestataire des réponses."))
@click.option("--requester", metavar=_("NOM"), help=_("Qui l'a demandé ; sinon, le cabinet."))
@vault_option
@key_option
@json_option
def command(
    practice: str,
    hosts: tuple[str, ...],
    scratch: str | None,
    sample: int,
    offsite: bool,
    operator: str | None,
    requester: str | None,
    vault_password_file: Path | None,
    private_key: Path | None,
    as_json: bool,
) -> int:
    """Drill every backed-up machine, or those asked for; each ends in a record or in a reason."""
    from antiseche.commands.drilling import Drills
    from antiseche.verify.drill import NoPlaceError

    drills = Drills.of(practice, scratch, sample, vault_password_file, private_key)
    drills.people = (operator or drills.people[0], requester or drills.people[1])
    drills.offsite = offsite
    names = drills.checked(hosts)
    done: list[dict[str, Any]] = []
    worst = ExitCode.OK
    for name in names:
        try:
            entry = drills.run(name)
            code = ExitCode.OK if entry["status"] == "verified" else ExitCode.NOT_CONFORMING
        except NoPlaceError as error:
            entry, code = {"host": name, "status": "failed", "reason": str(error)}, ExitCode.NOT_CONFORMING
        except AnswersError:
            raise
        except AntisecheError as error:
            entry, code = {"host": name, "status": "failed", "reason": str(error)}, error.exit_code
        done.append(entry)
        worst = max(worst, code, key=_PRESSING.index)
        if not as_json:
            _show(entry)
    if as_json:
        document = {"command": "drill", "exit_code": int(worst), "drills": done}
        click.echo(json.dumps(document, ensure_ascii=False, indent=1))
    return int(worst)


def _show(entry: dict[str, Any]) -> None:
    if entry["status"] == "failed":
        click.echo(_("{host} : exercice manqué. {reason}").format(host=entry["host"], reason=entry["reason"]))
        return
    click.secho(
        _("{host} : restauration vérifiée").format(host=entry["host"])
        if entry["status"] == "verified"
        else _("{host} : la restauration n'est pas bonne").format(host=entry["host"]),
        bold=True,
    )
    for line in _lines(entry):
        click.echo("  " + line)


def _lines(entry: dict[str, Any]) -> list[str]:
    lines = [
        n_(
            "{n} fichier de la sauvegarde du {date} restauré sur {scratch} en {seconds} s",
            "{n} fichiers de la sauvegarde du {date} restaurés sur {scratch} en {seconds} s",
            entry["restored"],
        ).format(n=entry["restored"], date=_local(entry["backup_date"]), scratch=entry["scratch"], seconds=entry["seconds"]),
        n_("{n} fichier comparé, {same} identique", "{n} fichiers comparés, {same} identiques", entry["compared"]).format(
            n=entry["compared"], same=entry["identical"]
        ),
    ]
    if not entry["compared"]:
        lines.append(_("rien n'a pu être comparé : tous ces fichiers ont changé depuis, relancez après la prochaine sauvegarde"))
    for text, paths in (
        (_("contenu différent : {path}"), entry["different"]),
        (_("n'est pas revenu : {path}"), entry["absent"]),
        (_("devait survivre, et n'est pas dans la sauvegarde : {path}"), entry["missing"]),
    ):
        lines += [text.format(path=path) for path in paths[:_SHOWN]]
        if len(paths) > _SHOWN:
            lines.append(_("et {n} autres").format(n=len(paths) - _SHOWN))
    if not entry["erased"]:
        lines.append(_("les fichiers restaurés n'ont pas pu être effacés de {scratch}").format(scratch=entry["scratch"]))
    if entry.get("warning"):
        lines.append(entry["warning"])
    lines.append(_("compte rendu : {path}").format(path=entry["record"]))
    return lines


def _local(stamp: str) -> str:
    """Return a date of restic, which may have nanoseconds, as people read it."""
    from antiseche.commands.results_report import local

    head, _dot, tail = stamp.partition(".")
    zone = tail.lstrip("0123456789") if tail else ""
    return local((head + zone).replace("Z", "+00:00"))
