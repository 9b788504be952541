"""``verify``, ``drift`` and ``status`` as typed, over hosts and playbooks that are made up."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
import scene as scenes
from scene import Scene

from antiseche import app
from antiseche.commands import checking, running
from antiseche.engine import playbook_run
from antiseche.engine.records import Run
from antiseche.engine.spec import RunSpec
from antiseche.engine.summary import Change, Failure, HostSummary, RunSummary
from antiseche.verify.run import Verification

KEY = ("accueil", "ALP-01")
FAIL = {KEY: "fail"}
Changes = Iterable[tuple[str, str]]


class Stage:
    """Decides what the checks and the playbook find, pass after pass, and keeps what was asked of them."""

    def __init__(self, scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.scene = scene
        self.checks: list[dict[str, Any]] = []
        self.predictions: list[RunSummary | Exception] = []
        self.fixes: list[RunSummary] = []
        self.specs: list[RunSpec] = []
        self._capsys = capsys
        monkeypatch.setattr(checking, "run_checks", self._run_checks)
        monkeypatch.setattr(playbook_run, "run_playbook", self._run_playbook)
        monkeypatch.setattr(running, "prepare", self._prepare)
        self.out = self.err = ""

    def run(self, *arguments: str) -> int:
        """Type a command."""
        code = app.main([arguments[0], str(self.scene.folder.root), *arguments[1:]])
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self, *arguments: str) -> dict[str, Any]:
        """Type a command with ``--json``; its output is one document and its exit code is in it."""
        code = self.run(*arguments, "--json")
        document: dict[str, Any] = json.loads(self.out)
        assert document["exit_code"] == code
        return document

    def _run_checks(self, _folder: Any, hosts: Any, roles: Any, *_others: Any) -> Verification:
        found = self.checks.pop(0) if self.checks else {}
        self.scene.later(minutes=1)
        return self.scene.verification(
            found.get("outcomes"), hosts=hosts or scenes.HOSTS, roles=roles, gone=found.get("gone", ())
        )

    def _run_playbook(self, spec: RunSpec, *_arguments: Any, run: Run | None = None, **_options: Any) -> tuple[Run, RunSummary]:
        self.specs.append(spec)
        if spec.kind == "fix":
            summary = self.fixes.pop(0)
            changed = [(host.name, change.role) for host in summary.hosts.values() for change in host.changes]
            return self.scene.deploy(*changed, kind="fix"), summary
        answer = self.predictions.pop(0) if self.predictions else playbook(hosts=spec.limit)
        if isinstance(answer, Exception):
            raise answer
        assert run is not None
        return run, answer

    def _prepare(self, request: running.Request) -> running.Prepared:
        hosts = list(request.limit) or list(scenes.HOSTS)
        titles = {"alpha": "Thème alpha", "beta": "Thème beta"}
        return running.Prepared(self.scene.folder, hosts, request.limit, request.roles, titles, None, None, False)


def playbook(
    changes: Changes = (), *, failed: Iterable[str] = (), gone: Iterable[str] = (), hosts: Iterable[str] = ()
) -> RunSummary:
    """Return what a playbook would have done."""
    found = {name: HostSummary(name, finished=True, tasks=3) for name in hosts or scenes.HOSTS}
    for name, role in changes:
        found[name].changes.append(Change(role, "Write", f"file /etc/{role}"))
        found[name].changed += 1
    for name in failed:
        found[name].failures.append(Failure("alpha", "Write", "boum"))
    for name in gone:
        found[name].unreachable = "No route to host"
    summary = RunSummary(found, complete=True)
    summary.close()
    return summary


def fixing(
    stage: Stage, *, before: dict[str, Any], after: dict[str, Any], fix: RunSummary, again: RunSummary | None = None
) -> None:
    """Prepare a drift pass, a repair and the pass that follows."""
    stage.run("verify")
    stage.checks = [before, after]
    stage.predictions = [playbook([("accueil", "alpha")]), again or playbook(hosts=["accueil"])]
    stage.fixes = [fix]


DONE = playbook([("accueil", "alpha")], hosts=["accueil"])
