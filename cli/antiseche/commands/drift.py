"""``antiseche drift``: find what no longer is as it should be; ``--fix`` repairs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from antiseche.commands.options import (
    json_option,
    key_option,
    limit_option,
    practice_argument,
    role_option,
    vault_option,
    yes_option,
)
from antiseche.errors import ExitCode
from antiseche.i18n import _

if TYPE_CHECKING:
    from antiseche.commands.checking import Subject
    from antiseche.commands.running import Prepared
    from antiseche.engine.locking import PracticeLock
    from antiseche.engine.summary import RunSummary
    from antiseche.evidence.passes import Pass

Configuration = list[tuple[str, str, str]]


@click.command("drift", help=_("Trouve ce qui a dérivé ; --fix répare."))
@practice_argument
@limit_option
@role_option
@click.option("--fix", is_flag=True, help=_("Répare ce qui a été trouvé, puis vérifie de nouveau."))
@yes_option
@vault_option
@key_option
@json_option
def command(
    practice: str,
    limit: tuple[str, ...],
    roles: tuple[str, ...],
    fix: bool,
    yes: bool,
    vault_password_file: Path | None,
    private_key: Path | None,
    as_json: bool,
) -> int:
    """Compare effective state and configuration with what the answers want."""
    from antiseche.commands import checking, running
    from antiseche.engine.locking import practice_lock

    request = running.Request(practice, limit, roles, vault_password_file, private_key, as_json)
    prepared = running.prepare(request)
    what = checking.subject(practice, limit, roles, private_key)
    with practice_lock(what.folder) as lock:
        found = find(what, prepared, lock, quiet=as_json)
        repair = None
        if fix and found.roles and _agreed(what, found, yes=yes, as_json=as_json):
            repair = mend(what, prepared, lock, found, quiet=as_json)
    return _answer(what, found, repair, fix=fix, as_json=as_json)


@dataclass(frozen=True)
class Found:
    """What a drift pass found: controls that do not hold, and differences of configuration."""

    pass_: Pass
    summary: RunSummary
    configuration: Configuration
    report: Path

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles to apply in order to repair."""
        from antiseche.evidence.passes import failing

        names = {change.role for host in self.summary.hosts.values() for change in host.changes}
        names |= {self.pass_.catalogue.role_of[result.control].role for result in failing(self.pass_.results)}
        return tuple(role.role for role in self.pass_.catalogue.roles if role.role in names)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts to repair: those that answered and are not as they should be."""
        from antiseche.evidence.passes import failing

        names = {host for host, _title, _change in self.configuration} | {r.host for r in failing(self.pass_.results)}
        return tuple(name for name in self.pass_.verification.reached if name in names)

    def exit_code(self) -> ExitCode:
        """A host that did not answer, or a prediction that failed, comes before what was found."""
        playbook = self.summary.exit_code()
        if self.pass_.verification.unreachable:
            return ExitCode.UNREACHABLE
        if playbook != ExitCode.OK:
            return playbook
        return ExitCode.NOT_CONFORMING if self.configuration else self.pass_.exit_code()


@dataclass(frozen=True)
class Repair:
    """What was done, and what holds afterwards."""

    summary: RunSummary
    pass_: Pass
    report: Path

    def exit_code(self) -> ExitCode:
        """What could not be repaired, or could not be proven so."""
        return self.pass_.exit_code() if self.summary.exit_code() == ExitCode.OK else self.summary.exit_code()


def find(what: Subject, prepared: Prepared, lock: PracticeLock, *, quiet: bool) -> Found:
    """Run the checks and the playbook in check mode, side by side, and record both as one run."""
    from antiseche.commands import checking
    from antiseche.engine.playbook import Stop
    from antiseche.engine.playbook_run import run_playbook
    from antiseche.evidence import passes

    run = checking.new_run(what, "drift", check=True)
    stop = Stop()
    with ThreadPoolExecutor(max_workers=1) as pool:
        prediction = pool.submit(run_playbook, prepared.spec("drift", check=True), run=run, lock=lock, stop=stop)
        try:
            verification = checking.checks(what, quiet=quiet)
            summary = prediction.result()[1]
        except BaseException:
            stop.request()
            interrupted = prediction.result()[1]
            interrupted.interrupted = True
            run.finish(interrupted, None)
            raise
    run.finish(summary, int(summary.exit_code()))
    pass_ = passes.record_pass(what.folder, what.answers, run, verification, what.roles)
    configuration = [
        (host.name, prepared.titles.get(change.role, change.role), change.change)
        for host in summary.hosts.values()
        for change in host.changes
    ]
    return Found(pass_, summary, configuration, checking.report_of(what, pass_, configuration))


def mend(what: Subject, prepared: Prepared, lock: PracticeLock, found: Found, *, quiet: bool) -> Repair:
    """Apply the roles concerned to the hosts concerned, then check everything again."""
    from dataclasses import replace

    from antiseche.commands import checking, progress
    from antiseche.engine.playbook_run import run_playbook

    spec = replace(prepared.spec("fix", parent=found.pass_.run.id), limit=found.hosts, roles=found.roles)
    shown = progress.Progress(prepared.titles, list(found.hosts), quiet=quiet)
    run, summary = run_playbook(spec, shown.update, lock=lock)
    shown.close()
    if summary.interrupted:
        raise KeyboardInterrupt
    pass_ = checking.verify_pass(what, "verify", parent=run.id, quiet=quiet)
    return Repair(summary, pass_, checking.report_of(what, pass_))


def _agreed(what: Subject, found: Found, *, yes: bool, as_json: bool) -> bool:
    from antiseche.commands import running
    from antiseche.commands.confirm import confirm

    if not found.hosts:
        return False
    if not as_json:
        _show_found(found)
    question = _("Réparer « {name} » sur {hosts} ?").format(
        name=what.folder.name, hosts=running.hosts_sentence(list(found.hosts))
    )
    return confirm(question, yes=yes)


def _answer(what: Subject, found: Found, repair: Repair | None, *, fix: bool, as_json: bool) -> int:
    from antiseche.commands import checking, results_report, run_report

    last = repair or found
    if as_json:
        configuration = [{"host": host, "role": title, "change": change} for host, title, change in found.configuration]
        more = {
            "found": found.pass_.run.id,
            "configuration": configuration,
            "repair": repair.summary.as_json() if repair else None,
        }
        click.echo(checking.document("drift", what, last.pass_, last.report, **more))
        return int(last.exit_code())
    if repair is None:
        _show_found(found)
        run_report.show_problems(found.summary, {})
    else:
        run_report.show_problems(repair.summary, {})
        click.echo("\n" + _("Après réparation :"))
        results_report.show_transitions(repair.pass_)
        results_report.show_failing(repair.pass_)
    results_report.show_headline(last.pass_)
    click.echo(_("Rapport : {path}").format(path=last.report))
    if repair is None and last.exit_code() == ExitCode.NOT_CONFORMING and not fix:
        click.echo(_("Pour réparer : {command}").format(command=f"antiseche drift {what.folder.name} --fix"))
    return int(last.exit_code())


def _show_found(found: Found) -> None:
    from antiseche.commands import results_report
    from antiseche.evidence.passes import failing

    results_report.show_unreachable(found.pass_)
    if not failing(found.pass_.results) and not found.configuration:
        click.echo(_("Rien n'a dérivé."))
        return
    if found.pass_.previous is not None:
        click.echo(results_report.drift_sentence(found.pass_.transitions))
    results_report.show_failing(found.pass_)
    if found.configuration:
        click.echo("\n" + _("Configuration différente de celle qui est voulue :"))
        for host, title, change in found.configuration:
            click.echo(f"  {host} : {title} : {change}")
