"""The command line: a lazy group, so that ``--help`` stays fast, and the one error boundary."""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import sys
from types import FrameType
from typing import Any

import click
from click.shell_completion import CompletionItem

from antiseche import __version__, i18n
from antiseche.errors import AntisecheError, ExitCode
from antiseche.i18n import N_, _

# name: (module, attribute, one-line summary). Summaries are static so that listing the
# commands imports none of them; a test compares each with the command's own short help.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "new": ("antiseche.commands.new", "command", N_("Questionnaire guidé : crée ou reprend un cabinet.")),
    "edit": ("antiseche.commands.edit", "command", N_("Repose seulement les questions choisies.")),
    "check-answers": ("antiseche.commands.check_answers", "command", N_("Vérifie les réponses, toutes les erreurs d'un coup.")),
    "inventory": ("antiseche.commands.inventory", "command", N_("Écrit l'inventaire Ansible du cabinet.")),
    "bootstrap": ("antiseche.commands.bootstrap", "command", N_("Affiche le script de prise en main de chaque machine.")),
    "envelope": ("antiseche.commands.envelope", "command", N_("Écrit la fiche scellée du premier mot de passe d'une personne.")),
    "escrow": ("antiseche.commands.escrow", "command", N_("Clés de secours des disques chiffrés.")),
    "doctor": ("antiseche.commands.doctor", "command", N_("Contrôle ce poste et les machines avant toute action.")),
    "plan": ("antiseche.commands.plan", "command", N_("Montre ce qui changerait, sans rien changer.")),
    "deploy": ("antiseche.commands.deploy", "command", N_("Met les machines dans l'état attendu.")),
    "verify": ("antiseche.commands.verify", "command", N_("Prouve l'état des machines, contrôle par contrôle.")),
    "drift": ("antiseche.commands.drift", "command", N_("Trouve ce qui a dérivé ; --fix répare.")),
    "schedule": ("antiseche.commands.schedule", "command", N_("Planifie la recherche de dérive à heures fixes.")),
    "drill": ("antiseche.commands.drill", "command", N_("Exerce une restauration sur une autre machine, et la compare.")),
    "status": ("antiseche.commands.status", "command", N_("Résume l'état de tous les cabinets.")),
    "rehearse": ("antiseche.commands.rehearse", "command", N_("Répète un cabinet sur des machines d'essai.")),
    "demo": ("antiseche.commands.demo", "command", N_("Démonstration complète sur le cabinet d'exemple.")),
}


class LazyGroup(click.Group):
    """Lists commands from the static table and imports only the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of a practice's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _summary = COMMANDS[cmd_name]
        loaded: Any = getattr(importlib.import_module(module), attribute)
        return loaded if isinstance(loaded, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their static summaries."""
        rows = [(name, _(summary)) for name, (_module, _attribute, summary) in COMMANDS.items()]
        with formatter.section(_("Commandes")):
            formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer command names; Click's own would import every command to read its help."""
        names = [CompletionItem(name, help=_(row[2])) for name, row in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)


def build_app() -> click.Group:
    """Build the application after the language has been chosen."""

    @click.group(
        cls=LazyGroup,
        help=_("Antisèche installe, durcit et prouve l'informatique d'un cabinet médical."),
        subcommand_metavar=_("COMMANDE [ARGUMENTS]..."),
    )
    @click.version_option(__version__, prog_name="antiseche", message="%(prog)s %(version)s")
    @click.option("--lang", type=click.Choice(i18n.LANGUAGES), help=_("Langue des messages."))
    def app(lang: str | None) -> None:
        # The value was read from argv before help texts were evaluated; Click only validates it.
        del lang

    return app


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code; the only place that turns errors into codes."""
    arguments = sys.argv[1:] if argv is None else argv
    i18n.select(i18n.requested_language(arguments, os.environ))
    try:
        result = build_app().main(arguments, prog_name="antiseche", standalone_mode=False)
    except AntisecheError as error:
        return _failed(arguments, error.exit_code, str(error))
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _failed(arguments, ExitCode.INTERRUPTED, _("Interrompu."))
    except click.ClickException as error:
        error.show()
        return _failed(arguments, ExitCode.USAGE, error.format_message(), shown=True)
    except BrokenPipeError:
        return int(ExitCode.INTERRUPTED)  # nobody reads any more
    except Exception as error:
        if os.environ.get("ANTISECHE_DEBUG"):
            raise
        text = _(
            "Erreur interne d'Antisèche : {error}. Relancez avec ANTISECHE_DEBUG=1 pour obtenir la trace à transmettre."
        ).format(error=f"{type(error).__name__}: {error}")
        return _failed(arguments, ExitCode.FAILURE, text)
    return int(result) if isinstance(result, int) else int(ExitCode.OK)


def _failed(arguments: list[str], code: ExitCode, message: str, *, shown: bool = False) -> int:
    """Say why a command did not go to its end, to programs too: ``--json`` prints one document whatever happens."""
    if not shown:
        click.echo(message, err=True)
    if "--json" in arguments:
        click.echo(json.dumps({"error": message, "exit_code": int(code)}, ensure_ascii=False, indent=1))
    return int(code)


def entry_point() -> None:
    """Console script."""
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        # A terminal in an old encoding shows a question mark rather than breaking a run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = main()
    except KeyboardInterrupt:  # impatience while the first one was being told
        code = int(ExitCode.INTERRUPTED)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """End on a polite kill as on Ctrl-C: what was started is ended, what happened is recorded."""
    raise KeyboardInterrupt
