"""``antiseche bootstrap``: open fresh machines to the contractor, and pin their host keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from antiseche.commands.options import json_option, practice_argument
from antiseche.errors import AnswersError
from antiseche.i18n import _

if TYPE_CHECKING:
    from antiseche.practice.folder import PracticeFolder
    from antiseche.practice.schema import Host, Practice


@click.command("bootstrap", help=_("Affiche le script de prise en main de chaque machine."))
@practice_argument
@click.option("--host", "names", multiple=True, metavar=_("MACHINE"), help=_("Seulement cette machine (répétable)."))
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help=_("Écrit un script par machine dans ce dossier.")
)
@click.option("--pin", metavar=_("MACHINE"), help=_("Épingle la clé d'hôte rapportée par le script."))
@click.option("--host-key", metavar=_("CLÉ"), help=_("La ligne « ssh-ed25519 … », ou l'empreinte « SHA256:… » à comparer."))
@click.option("--forget", metavar=_("MACHINE"), help=_("Oublie la clé d'hôte d'une machine réinstallée."))
@json_option
def command(
    practice: str,
    names: tuple[str, ...],
    output: Path | None,
    pin: str | None,
    host_key: str | None,
    forget: str | None,
    as_json: bool,
) -> int:
    """Print the scripts, or pin or forget a host key."""
    from antiseche.practice.answers import load_answers
    from antiseche.practice.folder import find_practice

    if bool(pin) != bool(host_key):
        raise AnswersError(_("--pin MACHINE et --host-key CLÉ vont ensemble."))
    if sum(map(bool, (pin, forget, output or names))) > 1:
        raise AnswersError(_("Une chose à la fois : scripts, --pin ou --forget."))
    folder = find_practice(practice)
    answers = load_answers(folder)
    if pin and host_key:
        _pin(folder, _host(answers, pin), host_key, as_json=as_json)
    elif forget:
        _forget(folder, _host(answers, forget).name, as_json=as_json)
    else:
        hosts = [_host(answers, name) for name in names] or answers.hosts
        _scripts(answers, hosts, output, as_json=as_json)
    return 0


def _host(answers: Practice, name: str) -> Host:
    for host in answers.hosts:
        if host.name == name:
            return host
    raise AnswersError(
        _("Machine inconnue : « {name} ». Machines du cabinet : {known}.").format(
            name=name, known=", ".join(host.name for host in answers.hosts)
        )
    )


def _scripts(answers: Practice, hosts: list[Host], output: Path | None, *, as_json: bool) -> None:
    from antiseche.practice.atomic import make_folder, write_text
    from antiseche.practice.bootstrap import script, spec_for

    rows = []
    for host in hosts:
        text = script(spec_for(answers, host))
        path = output / f"{host.name}.sh" if output else None
        if path:
            make_folder(path.parent)
            write_text(path, text, mode=0o700)
        rows.append({"host": host.name, "address": str(host.address), "script": text, "file": str(path) if path else None})
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    for row in rows:
        if row["file"]:
            click.echo(_("{host} : {file}, à lancer en root sur la machine").format(host=row["host"], file=row["file"]))
        else:
            if len(rows) > 1:
                click.echo(f"########## {row['host']} ({row['address']}) ##########")
            click.echo(str(row["script"]), nl=False)


def _pin(folder: PracticeFolder, host: Host, given: str, *, as_json: bool) -> None:
    from antiseche.practice import host_keys

    address = str(host.address)
    # As copied from the machine's screen, with the word before it.
    text = given.strip().removeprefix("host-key:").removeprefix("fingerprint:").strip()
    key = host_keys.verify_offered(address, text) if text.startswith("SHA256:") else text
    changed = host_keys.pin_host_key(folder, address, host.name, key)
    shown = host_keys.fingerprint(key)
    if as_json:
        click.echo(json.dumps({"host": host.name, "address": address, "fingerprint": shown, "changed": changed}))
    elif changed:
        click.echo(_("Clé de {host} épinglée : {fingerprint}").format(host=host.name, fingerprint=shown))
    else:
        click.echo(_("Clé de {host} déjà épinglée : {fingerprint}").format(host=host.name, fingerprint=shown))


def _forget(folder: PracticeFolder, name: str, *, as_json: bool) -> None:
    from antiseche.practice import host_keys

    changed = host_keys.forget_host_key(folder, name)
    if as_json:
        click.echo(json.dumps({"host": name, "forgotten": changed}))
    elif changed:
        click.echo(_("Clé de {host} oubliée : épinglez la nouvelle avec --pin.").format(host=name))
    else:
        click.echo(_("Aucune clé n'était épinglée pour {host}.").format(host=name))
