"""What the commands that run checks share: from a practice's name to a recorded pass."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import click

from antiseche.catalogue import load_catalogue
from antiseche.commands import results_report
from antiseche.commands.screen import Screen
from antiseche.engine import records, scope
from antiseche.engine.records import Run
from antiseche.errors import ExitCode
from antiseche.evidence import passes
from antiseche.evidence.grouping import Difference
from antiseche.evidence.passes import Pass
from antiseche.evidence.report import write_report
from antiseche.i18n import _
from antiseche.practice import inventory
from antiseche.practice.answers import load_answers
from antiseche.practice.folder import PracticeFolder, find_practice
from antiseche.practice.schema import Practice
from antiseche.verify.run import Outcome, Verification, run_checks


@dataclass(frozen=True)
class Subject:
    """A practice to check, and how much of it."""

    folder: PracticeFolder
    answers: Practice
    hosts: list[str]
    limit: tuple[str, ...]
    roles: tuple[str, ...]
    private_key: Path | None


def subject(practice: str, limit: tuple[str, ...], roles: tuple[str, ...], private_key: Path | None) -> Subject:
    """Check names; no vault is opened and nothing is written.

    Raises:
        AnswersError: wrong answers, no inventory, unknown host or role.
    """
    folder = find_practice(practice)
    answers = load_answers(folder)
    known = scope.inventory_hosts(folder)
    wanted = scope.checked_hosts(limit, known)
    if not inventory.compare(folder, answers).current:
        click.echo(
            _("Les réponses ont changé depuis le dernier inventaire : ce passage vérifie l'état voulu d'avant. "
              "Pour le mettre à jour : antiseche inventory {name}").format(name=practice),
            err=True,
        )  # fmt: skip
    return Subject(folder, answers, list(wanted) or known, wanted, scope.checked_roles(roles, scope.known_roles()), private_key)


def close_unfinished(what: Subject) -> None:
    """Close the records that killed commands left open, and say so. To be called under the practice's lock."""
    for run in passes.close_cut(what.folder):
        click.echo(_("Le passage {run} avait été coupé ; son compte rendu est clos.").format(run=run.id), err=True)


def new_run(what: Subject, kind: str, parent: str | None = None, **details: Any) -> Run:
    """Create the run that a pass is recorded in."""
    return records.create_run(what.folder, kind, expected=what.hosts, parent=parent, roles=list(what.roles), **details)


def checks(what: Subject, *, quiet: bool) -> Verification:
    """Run the checks, with a live count per host on stderr."""
    shown = CheckProgress(what.hosts, len(list(load_catalogue().only(what.roles))), quiet=quiet)
    result = run_checks(what.folder, what.limit, what.roles, what.private_key, shown.update)
    shown.close()
    return result


def verify_pass(what: Subject, kind: str, *, parent: str | None = None, quiet: bool = False) -> Pass:
    """Run the checks and record them. To be called under the practice's lock."""
    run = new_run(what, kind, parent)
    verification = checks(what, quiet=quiet)
    pass_ = passes.record_pass(what.folder, what.answers, run, verification, what.roles)
    passes.close_run(run, verification)
    return pass_


def document(command: str, what: Subject, pass_: Pass, report: Path, code: ExitCode, **more: Any) -> str:
    """Return the one document of ``--json``; its keys are described in the user guide."""
    data = {
        "command": command,
        "practice": what.folder.name,
        "run": pass_.run.id,
        "run_dir": str(pass_.run.dir),
        "report": str(report),
        "exit_code": int(code),
        "rehearsal": pass_.snapshot.data["rehearsal"],
        "partial": pass_.partial,
        "scope": pass_.snapshot.data["scope"],
        "counts": pass_.counts,
        "unreachable": pass_.verification.unreachable,
        "results": [result.as_json() for result in pass_.results],
        "transitions": [change.as_json() for change in pass_.transitions],
        **more,
    }
    return json.dumps(data, ensure_ascii=False, indent=1)


def show(pass_: Pass, report: Path) -> None:
    """Show the table, what does not hold, the score, and where the report is."""
    click.echo(results_report.table(pass_))
    sys.stdout.flush()
    results_report.show_unreachable(pass_)
    results_report.show_findings(pass_)
    show_end(pass_, report)


def show_end(pass_: Pass, report: Path) -> None:
    """Show the score and where the report is, and say when nothing at all could be checked."""
    if pass_.blind:
        click.echo(_("Aucun contrôle n'a pu être exécuté : c'est une panne du kit, pas un état des machines."), err=True)
    results_report.show_headline(pass_)
    click.echo(_("Rapport : {path}").format(path=report))


def report_of(what: Subject, pass_: Pass, differences: list[Difference] | None = None) -> Path:
    """Write the report of a pass."""
    return write_report(pass_, what.answers, differences=differences or [])


class CheckProgress:
    """How many controls of each host are done: redrawn on a terminal, one line per finished host elsewhere."""

    def __init__(self, hosts: list[str], controls: int, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._done = dict.fromkeys(hosts, 0)
        self._controls = controls
        self._quiet = quiet
        self._screen = Screen(stream or sys.stderr, len(hosts))

    def update(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self._done[outcome.host] = self._done.get(outcome.host, 0) + 1
        if self._quiet:
            return
        if self._screen.live:
            if self._screen.due:
                self._draw()
        elif self._done[outcome.host] == self._controls:
            self._screen.say(_("{host} : {n} contrôles faits").format(host=outcome.host, n=self._controls))

    def close(self) -> None:
        """Draw the last state."""
        if self._screen.live and not self._quiet:
            self._draw()

    def _draw(self) -> None:
        width = max(map(len, self._done), default=0)
        self._screen.draw(
            [
                _("{host}  contrôles {n}/{total}").format(host=host.ljust(width), n=n, total=self._controls)
                for host, n in self._done.items()
            ]
        )
