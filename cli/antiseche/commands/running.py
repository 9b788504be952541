"""What the commands that run a playbook share: from a practice's name to a shown summary."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from antiseche.commands import progress, run_report
from antiseche.engine import identities, records, scope
from antiseche.engine.locking import practice_lock
from antiseche.engine.playbook import Stop
from antiseche.engine.playbook_run import run_playbook
from antiseche.engine.spec import RunSpec
from antiseche.errors import AnswersError
from antiseche.i18n import _, n_
from antiseche.practice import inventory, vault_password
from antiseche.practice.folder import PracticeFolder, find_practice

if TYPE_CHECKING:
    from antiseche.engine.records import Run
    from antiseche.engine.summary import RunSummary


@dataclass(frozen=True)
class Request:
    """Options of a command that runs a playbook, as typed."""

    practice: str
    limit: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    vault_password_file: Path | None = None
    private_key: Path | None = None
    as_json: bool = False


@dataclass
class Prepared:
    """A practice that is ready to be acted on."""

    folder: PracticeFolder
    hosts: list[str]
    limit: tuple[str, ...]
    roles: tuple[str, ...]
    titles: dict[str, str]
    vault_password: bytes | None = field(repr=False)
    identities: tuple[str, ...]
    inventory_rebuilt: bool

    def spec(self, kind: str, **options: Any) -> RunSpec:
        """Return the request for the engine."""
        return RunSpec(
            self.folder,
            kind,
            limit=self.limit,
            roles=self.roles,
            vault_password=self.vault_password,
            identities=self.identities,
            **options,
        )


def prepare(request: Request) -> Prepared:
    """Check names, bring the inventory up to date, get the vault's password. Nothing touches a host.

    Raises:
        AnswersError: wrong answers, unknown host or role, no usable password.
    """
    from antiseche.practice.answers import load_answers

    folder = find_practice(request.practice)
    answers = load_answers(folder)
    limit = scope.checked_hosts(request.limit, [host.name for host in answers.hosts])
    roles = scope.checked_roles(request.roles, scope.known_roles())
    passwords: list[bytes] = []

    def password(create: bool) -> bytes:
        if not passwords:
            passwords.append(vault_password.obtain(answers.practice.id, request.vault_password_file, create=create))
        return passwords[0]

    rebuilt = not inventory.compare(folder, answers).current
    if rebuilt:
        with practice_lock(folder):  # a run that goes on reads the old one
            inventory.build(folder, answers, password)
        click.echo(_("Inventaire reconstruit : les réponses avaient changé depuis."), err=True)
    hosts = list(limit) or scope.inventory_hosts(folder)
    if not hosts:
        raise AnswersError(
            _("« {name} » n'a aucune machine : ajoutez-en avec « antiseche edit {name} ».").format(name=folder.name)
        )
    secret = password(False) if any(folder.inventory_dir.rglob("vault.yml")) else None
    keys = identities.offered(folder.root, request.private_key, answers.maintenance.public_keys)
    return Prepared(folder, hosts, limit, roles, scope.role_titles(), secret, tuple(keys), rebuilt)


def run_shown(prepared: Prepared, spec: RunSpec, *, quiet: bool = False) -> tuple[Run, RunSummary]:
    """Run with progress on stderr; says first what a killed command left."""
    shown = progress.Progress(prepared.titles, prepared.hosts, quiet=quiet)

    def stopping(requests: int) -> None:
        _say_stopping(requests)
        shown.screen.leave()

    stop = Stop(stopping)
    with practice_lock(prepared.folder) as lock:
        for run, summary in records.close_unfinished(prepared.folder):
            _say_unfinished(run, summary)
        result = run_playbook(spec, shown.update, lock=lock, stop=stop)
    shown.close()
    return result


def read_diffs(run: Run) -> dict[tuple[str, str, str], list[str]]:
    """Return the redacted differences of a run by host, role and task."""
    found: dict[tuple[str, str, str], list[str]] = {}
    try:
        lines = (run.dir / "diffs.jsonl").read_text(encoding="utf-8").split("\n")
    except OSError:
        return found
    for line in lines:
        try:
            item = json.loads(line)
            found.setdefault((item["host"], item["role"], item["task"]), []).append(str(item["diff"]))
        except (ValueError, KeyError, TypeError):
            continue  # cut by an interruption
    return found


def document(command: str, prepared: Prepared, run: Run, summary: RunSummary) -> str:
    """Return the one document of ``--json``."""
    data = {
        "command": command,
        "practice": prepared.folder.name,
        "run": run.id,
        "run_dir": str(run.dir),
        "inventory_rebuilt": prepared.inventory_rebuilt,
        **summary.as_json(),
    }
    return json.dumps(data, ensure_ascii=False, indent=1)


def declined(command: str, prepared: Prepared) -> str:
    """Return the document of ``--json`` when the question was answered by no: no run was made."""
    data = {"command": command, "practice": prepared.folder.name, "run": None, "declined": True, "exit_code": 0}
    return json.dumps(data, ensure_ascii=False, indent=1)


def same_command(verb: str, request: Request) -> str:
    """Return the command line to type again."""
    words = ["antiseche", verb, request.practice]
    for host in request.limit:
        words += ["--limit", host]
    for role in request.roles:
        words += ["--role", role]
    if request.vault_password_file:
        words += ["--vault-password-file", str(request.vault_password_file)]
    if request.private_key:
        words += ["--private-key", str(request.private_key)]
    return shlex.join(words)


def show_end(prepared: Prepared, run: Run, summary: RunSummary, *, check: bool, again: str) -> None:
    """Show the table, the problems, and where the details are."""
    click.echo(run_report.table(summary, check=check))
    sys.stdout.flush()
    run_report.show_problems(summary, prepared.titles)
    if summary.interrupted:
        run_report.show_interruption(summary, prepared.titles, again)
    if summary.exit_code() != 0:
        click.echo(_("Journal d'Ansible : {path}").format(path=run.dir / "ansible.log"), err=True)


def _say_unfinished(run: Run, summary: RunSummary) -> None:
    if summary.complete:
        text = _("Le passage {run} avait perdu sa commande ; il est allé au bout, et son compte rendu est complété.")
    else:
        text = _("Le passage {run} n'est pas allé au bout ; celui-ci reprend et termine.")
    click.echo(text.format(run=run.id), err=True)


def _say_stopping(requests: int) -> None:
    text = (
        _("\nArrêt demandé : la tâche en cours s'interrompt. Ctrl-C encore une fois pour tuer.\n")
        if requests == 1
        else _("\nArrêt forcé.\n")
    )
    # Called from a signal handler: the buffered streams may be in the middle of a write, or closed.
    with contextlib.suppress(OSError):
        os.write(2, text.encode("utf-8", "replace"))


def hosts_sentence(hosts: list[str]) -> str:
    """Return how many hosts, and which."""
    count = n_("{n} machine", "{n} machines", len(hosts)).format(n=len(hosts))
    return f"{count} ({', '.join(hosts)})"
