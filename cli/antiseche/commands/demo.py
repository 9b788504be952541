"""``antiseche demo``: the example practice on real machines, from its answers to its report."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from antiseche.errors import AntisecheError, ExitCode
from antiseche.i18n import _, language

if TYPE_CHECKING:
    from antiseche.engine.records import Run
    from antiseche.lab.figures import Figures, Pair
    from antiseche.lab.rehearsal import Rehearsal
    from antiseche.practice.folder import PracticeFolder

_EXAMPLE = Path("inventories/exemple/practice.yml")


@click.command("demo", help=_("Démonstration complète sur le cabinet d'exemple."))
@click.option("--keep", is_flag=True, help=_("Laisse les machines d'essai tourner à la fin."))
def command(keep: bool) -> int:
    """Run every step; the machines go away however it ends, the report stays."""
    from antiseche.lab.requirements import require

    require()
    with _interruptible():
        return Demo(_new_folder(), keep=keep).run()


class Demo:
    """One demonstration: each step is a command that a contractor types."""

    def __init__(self, source: PracticeFolder, *, keep: bool) -> None:
        from antiseche.lab import rehearsal

        self.source = source
        self.folder = rehearsal.folder_of(source)
        self.keep = keep
        self.running: Rehearsal | None = None
        self.found: set[Pair] = set()
        self.repaired: set[Pair] = set()

    def run(self) -> int:
        """Go through the steps; the exit code is 0 only when all of them showed what they must."""
        steps: list[tuple[str, Callable[[], None]]] = [
            (_("Contrôler les réponses du cabinet d'exemple"), self.answers),
            (_("Démarrer ses machines et les prendre en main"), self.machines),
            (_("Prévoir ce qui va changer, puis déployer"), self.deploy),
            (_("Déployer une seconde fois : rien ne doit changer"), self.deploy_again),
            (_("Prouver l'état des machines"), self.verify),
            (_("Abîmer chaque machine à la main"), self.break_machines),
            (_("Trouver ce qui a dérivé"), self.drift),
            (_("Réparer"), self.fix),
            (_("Prouver de nouveau"), self.verify),
        ]
        try:
            for number, (title, step) in enumerate(steps, 1):
                click.secho(f"\n[{number}/{len(steps)}] {title}", bold=True)
                begun = time.monotonic()
                try:
                    step()
                except AntisecheError as error:
                    click.echo(_("demo : échec à l'étape « {step} » : {reason}").format(step=title, reason=error), err=True)
                    return int(ExitCode.FAILURE)
                click.echo(_("  … {n} s").format(n=round(time.monotonic() - begun)))
            return self.conclude()
        finally:
            self.clean()

    def answers(self) -> None:
        """The answers come with the kit."""
        self._command("check-answers", self.source, access=False)

    def machines(self) -> None:
        """Start one machine per host of the answers."""
        from antiseche.lab import rehearsal
        from antiseche.practice.answers import load_answers

        self.running = rehearsal.start(load_answers(self.source), self.folder, click.echo)
        for name, machine in self.running.lab.as_json()["machines"].items():
            click.echo(f"  {name:<16} {machine['address']:<16} {machine['system']}")

    def deploy(self) -> None:
        """Check mode must announce exactly what the deployment then does."""
        from antiseche.lab import figures

        announced = figures.playbook_summary(self._command("plan", self.folder))
        done = figures.playbook_summary(self._command("deploy", self.folder, "--yes"))
        difference = figures.difference(announced, done)
        wrong = sorted(difference.only_predicted | difference.only_done)
        if wrong or not done.changes():
            raise AntisecheError(
                _("la prévision et le déploiement diffèrent : {what}.").format(
                    what=", ".join(" ".join(item) for item in wrong[:5]) or "-"
                )
            )
        click.echo(_("  {n} changements annoncés, les mêmes effectués.").format(n=len(done.changes())))

    def deploy_again(self) -> None:
        """What is as declared is left alone."""
        from antiseche.lab import figures

        changes = figures.playbook_summary(self._command("deploy", self.folder, "--yes")).changes()
        if changes:
            listed = ", ".join(" ".join(item) for item in sorted(changes)[:5])
            raise AntisecheError(_("un second déploiement a encore changé quelque chose : {what}.").format(what=listed))
        click.echo(_("  Rien n'a changé."))

    def verify(self) -> None:
        """Every control must hold, by checks that share no code with what deployed."""
        self._command("verify", self.folder)

    def break_machines(self) -> None:
        """Do by hand what drift must find."""
        from antiseche.lab.breakages import break_machine, breakages

        table = breakages()
        lab = self._started().lab
        for name in lab.machines:
            break_machine(lab, name, table)
        for breakage in table:
            click.echo(f"  - {breakage.does}")
        click.echo(_("  {n} dégâts sur chacune des {hosts} machines.").format(n=len(table), hosts=len(lab.machines)))

    def drift(self) -> None:
        """Each breakage must be found on each machine, and the exit code must say so."""
        from antiseche.evidence.drift import Cause
        from antiseche.lab import figures
        from antiseche.lab.breakages import breakages

        runs = self._command("drift", self.folder, expected=ExitCode.NOT_CONFORMING)
        self.found = figures.changed_pairs(runs, Cause.DRIFT, Cause.REOPENED)
        wanted = {(host, breakage.control) for host in self._started().lab.machines for breakage in breakages()}
        missed = sorted(wanted - self.found)
        if missed:
            raise AntisecheError(_("dérives non trouvées : {what}.").format(what=", ".join(" ".join(pair) for pair in missed)))

    def fix(self) -> None:
        """The kit repairs, and knows that it was the kit."""
        from antiseche.evidence.drift import Cause
        from antiseche.lab import figures

        runs = self._command("drift", self.folder, "--fix", "--yes")
        self.repaired = figures.changed_pairs(runs, Cause.REPAIRED_BY_KIT)

    def conclude(self) -> int:
        """Print the figures and where the report is."""
        from antiseche.lab import figures

        result: Figures = figures.figures(self.folder, self.found, self.repaired)
        report = figures.report(self.folder)
        if report is not None:
            click.echo("\n" + _("Rapport à ouvrir dans un navigateur : {path}").format(path=report))
        if result.failed or result.passed + result.waived != result.controls or result.drift_fixed != result.drift_found:
            reason = result.line().removeprefix("demo: ok ")
            click.echo(_("demo : échec : {reason}").format(reason=reason), err=True)
            return int(ExitCode.FAILURE)
        click.echo(result.line())
        return int(ExitCode.OK)

    def clean(self) -> None:
        """Throw the machines away; a second Ctrl-C must not leave half of them."""
        from antiseche.lab import rehearsal

        if self.keep:
            if self.running is not None:
                click.echo(
                    _("Les machines tournent encore ; pour les arrêter : antiseche rehearse {folder} --stop").format(
                        folder=self.source.root
                    )
                )
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            rehearsal.stop(self.folder)
        finally:
            signal.signal(signal.SIGINT, before)

    def _started(self) -> Rehearsal:
        assert self.running is not None
        return self.running

    def _command(
        self, verb: str, folder: PracticeFolder, *options: str, expected: ExitCode = ExitCode.OK, access: bool = True
    ) -> list[Run]:
        """Run a command as typed and return the runs that it recorded.

        Raises:
            AntisecheError: it ended with another exit code than expected.
        """
        from antiseche.app import main
        from antiseche.lab import figures

        known = figures.run_ids(folder)
        arguments = [verb, str(folder.root), *options, *(self._started().arguments() if access else [])]
        click.secho(f"$ antiseche {verb} {folder.name} {' '.join(options)}".rstrip(), dim=True)
        code = main(["--lang", language(), *arguments])
        if code == ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        if code != expected:
            raise AntisecheError(
                _("« antiseche {verb} » a fini avec le code {code} au lieu de {expected}.").format(
                    verb=verb, code=code, expected=int(expected)
                )
            )
        return figures.runs_after(folder, known)


def _new_folder() -> PracticeFolder:
    """Copy the example to a folder of its own: what a demonstration leaves is never mixed with real practices."""
    from antiseche.kit import kit_dir
    from antiseche.practice.atomic import write_text
    from antiseche.practice.folder import PracticeFolder

    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    root = state / "antiseche/demo" / f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}" / "exemple"
    folder = PracticeFolder(root)
    try:
        root.mkdir(mode=0o700, parents=True)
        write_text(folder.answers_file, (kit_dir() / _EXAMPLE).read_text(encoding="utf-8"), mode=0o644)
    except OSError as error:
        raise AntisecheError(
            _("Le dossier de la démonstration {folder} ne peut pas être écrit : {error}.").format(
                folder=root, error=error.strerror or error
            )
        ) from None
    return folder


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let a closed terminal or a polite kill end the demonstration the way Ctrl-C does: the machines go."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
