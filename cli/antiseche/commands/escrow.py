"""``antiseche escrow``: what the vault keeps so that no encrypted disk is ever lost."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from antiseche.commands.options import practice_argument, vault_option
from antiseche.errors import AnswersError
from antiseche.i18n import _


@click.group("escrow", help=_("Clés de secours des disques chiffrés."))
def command() -> None:
    """Group what concerns the escrow."""


@command.command("print", help=_("Écrit la fiche scellée des clés de secours."))
@practice_argument
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help=_("Fichier à écrire (0600) : .pdf ou .html à imprimer, du texte sinon."),
)
@click.option("--show", is_flag=True, help=_("Affiche les clés à l'écran, malgré les regards."))
@vault_option
def print_sheet(practice: str, output: Path | None, show: bool, vault_password_file: Path | None) -> int:
    """Write or print the sheet."""
    from antiseche.practice import vault_password
    from antiseche.practice.answers import load_answers
    from antiseche.practice.atomic import write_bytes
    from antiseche.practice.escrow_print import rendered
    from antiseche.practice.escrow_sheet import as_text, sheet_for
    from antiseche.practice.folder import find_practice
    from antiseche.practice.secrets import Vault

    if output is None and sys.stdout.isatty() and not show:
        raise AnswersError(
            _("La fiche contient des clés : donnez --output FICHIER, ou --show pour l'afficher quand même à l'écran.")
        )
    folder = find_practice(practice)
    answers = load_answers(folder)
    vault = Vault(vault_password.obtain(answers.practice.id, vault_password_file))
    sheet = sheet_for(folder, answers, vault)
    if output is None:
        click.echo(as_text(sheet), nl=False)
        return 0
    write_bytes(output, rendered(sheet, output.suffix), mode=0o600)
    click.echo(_("Fiche écrite : {path}. Imprimez-la, scellez-la, puis effacez le fichier.").format(path=output), err=True)
    return 0


@command.command("header", help=_("Rend la copie de l'en-tête d'un volume, quand celui du disque est perdu."))
@practice_argument
@click.option("--host", required=True, metavar=_("MACHINE"), help=_("La machine du volume."))
@click.option("--volume", required=True, metavar=_("NOM"), help=_("Le nom du volume ; « systeme » pour le disque système."))
@click.option(
    "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help=_("Fichier à écrire (0600), 16 Mio.")
)
@vault_option
def give_header(practice: str, host: str, volume: str, output: Path, vault_password_file: Path | None) -> int:
    """Write the newest copy of a volume's header, and say how it goes back."""
    from antiseche.practice import vault_password
    from antiseche.practice.answers import load_answers
    from antiseche.practice.atomic import write_bytes
    from antiseche.practice.escrow_header import newest
    from antiseche.practice.folder import find_practice
    from antiseche.practice.secrets import Vault

    folder = find_practice(practice)
    answers = load_answers(folder)
    if host not in {one.name for one in answers.hosts}:
        raise AnswersError(_("« {host} » n'est pas une machine de ce cabinet.").format(host=host))
    vault = Vault(vault_password.obtain(answers.practice.id, vault_password_file))
    kept = newest(folder, host, volume, vault)
    write_bytes(output, kept.content, mode=0o600)
    click.echo(
        _(
            "En-tête écrit : {path}. Sur {host}, volume fermé :"
            " cryptsetup luksHeaderRestore --header-backup-file FICHIER {device}, puis redéployez."
        ).format(path=output, host=host, device=kept.device),
        err=True,
    )
    return 0
