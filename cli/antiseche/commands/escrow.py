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
    help=_("Fichier à écrire (0600) ; en .html, une page à imprimer."),
)
@click.option("--show", is_flag=True, help=_("Affiche les clés à l'écran, malgré les regards."))
@vault_option
def print_sheet(practice: str, output: Path | None, show: bool, vault_password_file: Path | None) -> int:
    """Write or print the sheet."""
    from antiseche.practice import vault_password
    from antiseche.practice.answers import load_answers
    from antiseche.practice.atomic import write_text
    from antiseche.practice.escrow_sheet import as_html, as_text, sheet_for
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
    write_text(output, as_html(sheet) if output.suffix.lower() in (".html", ".htm") else as_text(sheet), mode=0o600)
    click.echo(_("Fiche écrite : {path}. Imprimez-la, scellez-la, puis effacez le fichier.").format(path=output), err=True)
    return 0
