"""A small practice with a small kit, and passes over it whose outcomes the test decides."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from antiseche.engine import events, records
from antiseche.engine.records import Run
from antiseche.evidence.passes import Pass, close_run, record_pass
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Practice
from antiseche.verify.observation import observe
from antiseche.verify.run import Outcome, Verification

NOON = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)
HOSTS = ("accueil", "cabinet", "serveur")
ROLES = {"alpha": ("ALP-01", "ALP-02"), "beta": ("BET-01",)}
CONTROLS = tuple(control for controls in ROLES.values() for control in controls)
EVERYTHING = tuple((host, control) for host in HOSTS for control in CONTROLS)
Outcomes = Mapping[tuple[str, str], str]

ANSWERS: dict[str, Any] = {
    "practice": {"id": "tilleuls", "name": "Cabinet des Tilleuls"},
    "people": [{"login": "cexemple", "name": "Dr Camille Exemple", "function": "doctor", "admin": True}],
    "hosts": [
        {"name": "accueil", "address": "192.168.1.11", "users": ["cexemple"]},
        {"name": "cabinet", "address": "192.168.1.12", "users": ["cexemple"]},
        {"name": "serveur", "kind": "server", "address": "192.168.1.10", "users": ["cexemple"]},
    ],
    "network": {"lan": "192.168.1.0/24"},
    "maintenance": {
        "contractor": "Prestataire Exemple",
        "addresses": ["203.0.113.4/32"],
        "public_keys": [
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFyiQAW3QHF7pPP2vEiiMHAOaMKksR7O25bxafTvrx8h exemple",
        ],
    },
}
CONTROL = """\
  - id: {id}
    title: {{fr: "Titre {id}", en: "Title {id}"}}
    statement: {{fr: "Phrase {id}.", en: "Sentence {id}."}}
    broken: {{fr: "Cassé {id}.", en: "Broken {id}."}}
    remedy: {{fr: "Réparer {id}.", en: "Mend {id}."}}
    repair: {repair}
    severity: {severity}
    references: [{{source: HYG, id: "1"}}, {{source: PWD, id: "ANSSI 2021"}}]
    max_age_days: 30
"""
CHECK = """
@pytest.mark.control("{id}")
def test_{name}(host, expected):
    assert host.run("true").rc == expected["{role}_wish"]
"""


def waiver(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Return an accepted deviation, in force at `NOON`."""
    return {
        "id": f"D-{number:03}",
        "control": "ALP-01",
        "reason": "Le logiciel l'exige.",
        "compensating": "Machine isolée.",
        "accepted_by": "Dr Camille Exemple",
        "accepted_on": "2026-10-01",
        "expires_on": "2026-11-30",
        **changes,
    }


def answers(**changes: Any) -> Practice:
    """Return the practice, some top-level parts replaced."""
    return Practice.model_validate({**copy.deepcopy(ANSWERS), **changes})


def write_kit(kit: Path) -> None:
    """Write two roles, three controls and their checks."""
    for order, (role, controls) in enumerate(ROLES.items(), 1):
        base = kit / "roles" / role
        (base / "verify").mkdir(parents=True)
        head = f'role: {role}\norder: {order}\ntitle: {{fr: "Thème {role}", en: "Theme {role}"}}\ncontrols:\n'
        severity = {"ALP-01": "low", "ALP-02": "high", "BET-01": "medium"}
        repair = {"ALP-01": "kit", "ALP-02": "kit", "BET-01": "hand"}
        text = "".join(CONTROL.format(id=id_, severity=severity[id_], repair=repair[id_]) for id_ in controls)
        (base / "controls.yml").write_text(head + text, encoding="utf-8")
        checks = "".join(CHECK.format(id=id_, name=id_.lower().replace("-", "_"), role=role) for id_ in controls)
        (base / "verify" / f"test_{role}.py").write_text("import pytest\n" + checks, encoding="utf-8")


class Scene:
    """A practice folder and its history."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.folder = PracticeFolder(root)
        self.answers = answers()
        self.folder.answers_file.write_text(yaml.safe_dump(ANSWERS, allow_unicode=True), encoding="utf-8")
        self.folder.runs_dir.mkdir(mode=0o700, exist_ok=True)
        self.now = NOON
        self.write_inventory()

    def write_inventory(self, hosts: Iterable[str] = HOSTS, **variables: Any) -> None:
        """Write an inventory; ``variables`` go to all hosts."""
        group_vars = self.folder.inventory_dir / "group_vars" / "all"
        group_vars.mkdir(parents=True, exist_ok=True)
        (group_vars / "main.yml").write_text(yaml.safe_dump({"alpha_wish": 0, "beta_wish": 0, **variables}))
        members = {name: {} for name in hosts}
        groups = {"workstations": {"hosts": members}, "debian13": {"hosts": members}}
        self.folder.hosts_file.write_text(yaml.safe_dump({"all": {"children": groups}}))
        for host in hosts:
            own = self.folder.inventory_dir / "host_vars" / host
            own.mkdir(parents=True, exist_ok=True)
            (own / "main.yml").write_text(yaml.safe_dump({"ansible_host": "192.0.2.1"}))

    def replace_answers(self, **changes: Any) -> None:
        """Change the practice."""
        self.answers = answers(**changes)
        self.folder.answers_file.write_text(yaml.safe_dump({**ANSWERS, **changes}, allow_unicode=True), encoding="utf-8")

    def later(self, **duration: float) -> None:
        """Let time pass."""
        self.now += dt.timedelta(**duration)

    def verification(
        self,
        outcomes: Outcomes | None = None,
        *,
        hosts: Iterable[str] = HOSTS,
        roles: Iterable[str] = (),
        gone: Iterable[str] = (),
    ) -> Verification:
        """Return what checks would have found: everything passes but what is said otherwise."""
        found, wanted = Verification(expected=list(hosts)), tuple(roles) or tuple(ROLES)
        for host in found.expected:
            observation = observe(host, "true", 0, f"réponse de {host}".encode(), b"")
            if host in gone:
                found.unreachable[host] = f"{host} est injoignable : No route to host"
            else:
                found.observations.append(observation.as_json())
            found.skew_seconds[host] = 0
            for control in (control for role in wanted for control in ROLES[role]):
                word = "error" if host in gone else (outcomes or {}).get((host, control), "pass")
                message = {"fail": f"vu {control} autrement", "not-applicable": "conteneur"}.get(word, "")
                message = found.unreachable.get(host, message)
                leaves = (observation.leaf,) if word in ("pass", "fail") else ()
                found.outcomes.append(Outcome(host, control, word, message, leaves))
        return found

    def verify(self, outcomes: Outcomes | None = None, *, kind: str = "verify", **scope: Any) -> Pass:
        """Make a pass, a minute after the one before."""
        self.later(minutes=1)
        verification = self.verification(outcomes, **scope)
        roles = tuple(scope.get("roles", ()))
        run = records.create_run(self.folder, kind, expected=verification.expected, roles=list(roles))
        found = record_pass(self.folder, self.answers, run, verification, roles, self.now)
        close_run(run, verification)
        return found

    def deploy(self, *changed: tuple[str, str], kind: str = "deploy", check: bool = False) -> Run:
        """Record a finished run of a playbook that changed roles on hosts."""
        self.later(minutes=1)
        run = records.create_run(self.folder, kind, expected=list(HOSTS), check=check)
        for host, role in changed:
            events.append(
                run.events_file, "result", host=host, role=role, task="Write", status="changed", changes=[f"file {role}"]
            )
        for host in HOSTS:
            events.append(run.events_file, "stats", host=host, stats={"ok": 1})
        run.record |= {"ended": events.now(), "complete": True}
        run.save()
        return run


def everything(word: str) -> dict[tuple[str, str], str]:
    """Return one outcome for all."""
    return dict.fromkeys(EVERYTHING, word)


def causes(found: Pass) -> dict[tuple[str, str], str]:
    """Return what changed and why."""
    return {change.key: str(change.cause) for change in found.transitions}
