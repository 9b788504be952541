"""Options and arguments that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path

import click

from antiseche.i18n import _

practice_argument = click.argument("practice", metavar=_("CABINET"))
json_option = click.option("--json", "as_json", is_flag=True, help=_("Sortie lisible par un programme."))
limit_option = click.option(
    "--limit", "limit", multiple=True, metavar=_("MACHINE"), help=_("Seulement cette machine (répétable).")
)
role_option = click.option("--role", "roles", multiple=True, metavar=_("ROLE"), help=_("Seulement ce rôle (répétable)."))
yes_option = click.option("--yes", is_flag=True, help=_("Ne rien demander."))
vault_option = click.option(
    "--vault-password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="ANTISECHE_VAULT_PASSWORD_FILE",
    help=_("Fichier (0600) du mot de passe du coffre ; sinon trousseau, sinon question."),
)
key_option = click.option(
    "--private-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="ANTISECHE_SSH_KEY",
    help=_("Clé SSH du compte de maintenance ; sinon l'agent SSH."),
)
