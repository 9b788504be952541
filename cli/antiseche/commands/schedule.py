"""``antiseche schedule``: a drift pass or a restore drill at fixed times."""

from __future__ import annotations

import json
from pathlib import Path

import click

from antiseche.commands.options import json_option, key_option, practice_argument, vault_option
from antiseche.errors import AnswersError
from antiseche.i18n import _


@click.command("schedule", help=_("Planifie la recherche de dérive à heures fixes."))
@practice_argument
@click.option("--at", "calendar", metavar=_("HORAIRE"), help=_("Horaire de systemd ; par défaut « Mon..Fri 12:45 »."))
@click.option("--drill", is_flag=True, help=_("L'exercice de restauration au lieu de la dérive ; par défaut chaque trimestre."))
@click.option("--remove", "removed", is_flag=True, help=_("Retire la planification."))
@vault_option
@key_option
@json_option
def command(
    practice: str,
    calendar: str | None,
    drill: bool,
    removed: bool,
    vault_password_file: Path | None,
    private_key: Path | None,
    as_json: bool,
) -> int:
    """Schedule a practice, or remove its schedule. Nothing is repaired without a person."""
    from antiseche.engine import schedule as timers
    from antiseche.practice import vault_password
    from antiseche.practice.answers import load_answers
    from antiseche.practice.folder import find_practice

    folder = find_practice(practice)
    schedule = timers.schedule_of(folder, "drill" if drill else "drift")
    if removed:
        existed = timers.remove(schedule)
        text = _("Planification retirée.") if existed else _("Rien n'était planifié pour ce cabinet.")
        _tell({"scheduled": False, "timer": schedule.files[1].name, "next": None}, text, as_json=as_json)
        return 0
    load_answers(folder)
    if private_key is None or vault_password_file is None:
        raise AnswersError(
            _("Personne ne sera au clavier : donnez --private-key et --vault-password-file, que la tâche relira chaque fois.")
        )
    vault_password.read_password_file(vault_password_file)
    timers.usable_key(private_key)
    calendar = calendar or (timers.DRILL_CALENDAR if drill else timers.DEFAULT_CALENDAR)
    following = timers.next_run(calendar)
    timers.install(schedule, calendar, private_key.resolve(), vault_password_file.resolve())
    text = _("Planifié : « {calendar} », prochain passage le {next}. Suivi : systemctl {user}status {unit}").format(
        calendar=calendar, next=following, user="--user " if schedule.user else "", unit=schedule.files[0].name
    )
    _tell({"scheduled": True, "timer": schedule.files[1].name, "next": following}, text, as_json=as_json)
    return 0


def _tell(data: dict[str, object], text: str, *, as_json: bool) -> None:
    click.echo(json.dumps(data, ensure_ascii=False, indent=1) if as_json else text)
