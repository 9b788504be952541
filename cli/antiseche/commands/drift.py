"""``antiseche drift``: find what no longer is as it should be; ``--fix`` repairs."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
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
from antiseche.i18n import _, n_

if TYPE_CHECKING:
    from antiseche.commands.checking import Subject
    from antiseche.commands.running import Prepared
    from antiseche.engine.locking import PracticeLock
    from antiseche.engine.records import Run
    from antiseche.engine.summary import RunSummary
    from antiseche.evidence.grouping import Difference
    from antiseche.evidence.passes import Pass
    from antiseche.evidence.results import Result


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
        checking.close_unfinished(what)
        found = find(what, prepared, lock, quiet=as_json)
        if not as_json:
            _show_found(found, prepared.titles)
        repair = None
        if fix and _agreed(what, found, yes=yes):
            repair = mend(what, prepared, lock, found, again=running.same_command("drift", request), quiet=as_json)
    last = repair.after if repair else found
    code = repair.exit_code() if repair else found.exit_code()
    if as_json:
        click.echo(_document(what, found, repair, code))
        return int(code)
    if repair:
        _show_repaired(found, repair, prepared.titles)
    checking.show_end(last.pass_, last.report)
    if code == ExitCode.NOT_CONFORMING and not fix and found.roles:
        click.echo(_("Pour réparer : {command}").format(command=f"antiseche drift {practice} --fix"))
    return int(code)


@dataclass(frozen=True)
class Found:
    """What a drift pass found: controls that do not hold, and differences of configuration."""

    pass_: Pass
    summary: RunSummary
    differences: list[Difference]
    report: Path

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles to apply in order to repair."""
        names = {difference.role for difference in self.differences if difference.host in self.hosts}
        names |= {self.pass_.catalogue.role_of[result.control].role for result in self._repairable()}
        return tuple(role.role for role in self.pass_.catalogue.roles if role.role in names)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts to repair: those that answered and on which a deployment can mend something."""
        names = {difference.host for difference in self.differences} | {result.host for result in self._repairable()}
        return tuple(name for name in self.pass_.verification.reached if name in names)

    def _repairable(self) -> list[Result]:
        """Return what does not hold on hosts that answered, but for what only somebody's hands can mend."""
        from antiseche.catalogue import Repair
        from antiseche.evidence.results import Effective

        by_hand = {control.id for control in self.pass_.catalogue if control.repair is Repair.HAND}
        reached = self.pass_.verification.reached
        return [
            result
            for result in self.pass_.failing()
            if result.host in reached and not (result.effective is Effective.FAIL and result.control in by_hand)
        ]

    def exit_code(self) -> ExitCode:
        """A prediction that failed comes first, then a host that did not answer, then what was found."""
        playbook = self.summary.exit_code()
        if playbook not in (ExitCode.OK, ExitCode.UNREACHABLE):
            return playbook
        if self.pass_.verification.unreachable or playbook is ExitCode.UNREACHABLE:
            return ExitCode.UNREACHABLE
        found = self.pass_.exit_code()
        return ExitCode.NOT_CONFORMING if self.differences and found == ExitCode.OK else found


@dataclass(frozen=True)
class Repair:
    """What was applied, and what a second drift pass then found."""

    run: Run
    summary: RunSummary
    after: Found

    def exit_code(self) -> ExitCode:
        """What could not be repaired, or could not be proven so."""
        done = self.summary.exit_code()
        return self.after.exit_code() if done == ExitCode.OK else done

    def repaired(self, before: Found) -> list[Difference]:
        """Return the differences that are gone, on hosts where the second pass went to its end."""
        from antiseche.engine.summary import HostStatus

        ended = {name for name, host in self.after.summary.hosts.items() if host.status in (HostStatus.OK, HostStatus.CHANGED)}
        left = set(self.after.differences)
        return [difference for difference in before.differences if difference.host in ended and difference not in left]


def find(what: Subject, prepared: Prepared, lock: PracticeLock, *, parent: str | None = None, quiet: bool) -> Found:
    """Run the checks and the playbook in check mode, side by side, and record both as one run."""
    from antiseche.commands import checking
    from antiseche.engine.playbook import Stop
    from antiseche.engine.playbook_run import forwarded, run_playbook
    from antiseche.evidence import passes

    run = checking.new_run(what, "drift", parent, check=True)
    stop = Stop()
    with ThreadPoolExecutor(max_workers=1) as pool:
        prediction = pool.submit(run_playbook, prepared.spec("drift", check=True), run=run, lock=lock, stop=stop)
        try:
            verification = checking.checks(what, quiet=quiet)
            summary = prediction.result()[1]
        except BaseException:
            stop.request()
            with forwarded(stop):  # a second Ctrl-C kills the playbook instead of leaving it
                _close_interrupted(run, prediction)
            raise
    run.finish(summary, int(summary.exit_code()))
    pass_ = passes.record_pass(what.folder, what.answers, run, verification, what.roles)
    differences = _differences(prepared, summary)
    return Found(pass_, summary, differences, checking.report_of(what, pass_, differences))


def mend(what: Subject, prepared: Prepared, lock: PracticeLock, found: Found, *, again: str, quiet: bool) -> Repair:
    """Apply the roles concerned to the hosts concerned, then look again: only what is seen to hold counts as repaired."""
    from antiseche.commands import progress, run_report
    from antiseche.engine.playbook_run import run_playbook

    hosts, roles = found.hosts, found.roles
    spec = replace(prepared.spec("fix", parent=found.pass_.run.id), limit=hosts, roles=roles)
    shown = progress.Progress(prepared.titles, list(hosts), quiet=quiet)
    run, summary = run_playbook(spec, shown.update, lock=lock)
    shown.close()
    if summary.interrupted:
        run_report.show_interruption(summary, prepared.titles, again)
        raise KeyboardInterrupt
    after = find(what, replace(prepared, limit=hosts, roles=roles), lock, parent=run.id, quiet=quiet)
    return Repair(run, summary, after)


def _close_interrupted(run: Run, prediction: Future[tuple[Run, RunSummary]]) -> None:
    """Close the record of a pass that was cut; the playbook may have failed to start at all."""
    from antiseche.engine.summary import RunSummary

    summary = RunSummary() if prediction.exception() else prediction.result()[1]
    summary.interrupted = True
    run.finish(summary, None)


def _differences(prepared: Prepared, summary: RunSummary) -> list[Difference]:
    from antiseche.evidence.grouping import Difference

    return [
        Difference(host.name, change.role, prepared.titles.get(change.role, change.role), change.change)
        for host in summary.hosts.values()
        for change in host.changes
    ]


def _agreed(what: Subject, found: Found, *, yes: bool) -> bool:
    """Say whether there is something to repair, and ask."""
    from antiseche.commands import running
    from antiseche.commands.confirm import confirm

    if not found.hosts or found.pass_.blind:
        if found.pass_.failing():
            click.echo(_("Rien que le kit puisse réparer."), err=True)
        return False
    question = _("Réparer « {name} » sur {hosts} ?").format(
        name=what.folder.name, hosts=running.hosts_sentence(list(found.hosts))
    )
    if confirm(question, yes=yes):
        return True
    click.echo(_("Rien n'a été réparé."), err=True)
    return False


def _document(what: Subject, found: Found, repair: Repair | None, code: ExitCode) -> str:
    from antiseche.commands import checking

    last = repair.after if repair else found
    more = {
        "configuration": _as_json(last.differences),
        "found": {
            "run": found.pass_.run.id,
            "counts": found.pass_.counts,
            "configuration": _as_json(found.differences),
        },
        "repair": {
            "run": repair.run.id,
            "configuration_repaired": _as_json(repair.repaired(found)),
            "summary": repair.summary.as_json(),
        }
        if repair
        else None,
    }
    return checking.document("drift", what, last.pass_, last.report, code, **more)


def _as_json(differences: list[Difference]) -> list[dict[str, str]]:
    return [{"host": item.host, "role": item.role, "change": item.change} for item in differences]


def _show_found(found: Found, titles: dict[str, str]) -> None:
    from antiseche.commands import results_report
    from antiseche.evidence.drift import Cause

    pass_ = found.pass_
    _show_problems(found, titles)
    if not pass_.failing() and not found.differences:
        click.echo(_("Rien n'a dérivé."))
    elif pass_.previous is not None:
        click.echo(results_report.drift_sentence(pass_))
    results_report.show_findings(pass_)
    if found.differences:
        click.echo("\n" + _("Configuration différente de celle qui est voulue :"))
        results_report.show_differences(found.differences, found.pass_)
    told = [change for change in pass_.transitions if change.cause not in (Cause.DRIFT, Cause.REOPENED)]
    if told:
        click.echo("\n" + _("Autres changements depuis le passage précédent :"))
        results_report.show_transitions(pass_, but=(Cause.DRIFT, Cause.REOPENED))


def _show_problems(found: Found, titles: dict[str, str]) -> None:
    """Say who did not answer, once, and what failed."""
    from antiseche.commands import results_report, run_report

    told = found.pass_.verification.unreachable
    results_report.show_unreachable(found.pass_)
    hosts = {name: host for name, host in found.summary.hosts.items() if name not in told or host.failures}
    run_report.show_problems(replace(found.summary, hosts=hosts), titles)


def _show_repaired(found: Found, repair: Repair, titles: dict[str, str]) -> None:
    """Say what holds again, as seen by the pass that followed, and what does not."""
    from antiseche.commands import results_report, run_report

    after = repair.after
    run_report.show_problems(repair.summary, titles)
    _show_problems(after, titles)
    click.echo("\n" + _("Après réparation, vérifié de nouveau :"))
    results_report.show_transitions(after.pass_)
    repaired = repair.repaired(found)
    if repaired:
        n = len(repaired)
        click.echo(
            "  " + n_("{n} différence de configuration corrigée", "{n} différences de configuration corrigées", n).format(n=n)
        )
    results_report.show_findings(after.pass_)
    if after.differences:
        click.echo("\n" + _("Configuration encore différente de celle qui est voulue :"))
        results_report.show_differences(after.differences, after.pass_)
