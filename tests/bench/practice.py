"""A practice on lab machines, driven through the command line as a contractor would."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from antiseche.engine.environment import private_directory
from antiseche.engine.records import runs
from antiseche.lab import labs, maintenance
from antiseche.lab.model import MachineSpec
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.host_keys import pin_host_key

DONE = {"ok", "changed", "failed"}


class BenchError(Exception):
    """A step of the bench failed; what follows would mean nothing."""


@dataclass
class Bench:
    """A deployed practice."""

    lab: labs.Lab
    root: Path

    @property
    def folder(self) -> PracticeFolder:
        """The practice's folder."""
        return PracticeFolder(self.root / "bench")

    def cli(self, verb: str, *arguments: str, expect: int = 0) -> None:
        """Run a command on the practice, as a person would."""
        line = [sys.executable, "-m", "antiseche", verb, str(self.folder.root), *arguments]
        line += ["--vault-password-file", str(self.root / "vault-password")]
        if verb != "inventory":
            line += ["--private-key", str(self.lab.private_key)]
        done = subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != expect:
            raise BenchError(f"antiseche {verb}: code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def drift(self, count: int) -> None:
        """Make a drift pass over the first hosts, over new connections; nothing has drifted: it must end with 0."""
        forget_connections(private_directory(self.folder.root) / "cp")
        self.cli("drift", *(part for name in list(self.lab.machines)[:count] for part in ("--limit", name)))

    def hosts_seconds(self, count: int) -> float:
        """Return the processor seconds that the first hosts have used."""
        return hosts_seconds(self.lab, count)

    def tasks(self) -> int:
        """Return how many tasks the last run executed on the busiest host, skipped ones left out."""
        last = list(runs(self.folder))[-1]
        done: Counter[str] = Counter()
        for line in last.events_file.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            if event.get("event") == "result" and event.get("status") in DONE:
                done[event["host"]] += 1
        return max(done.values(), default=0)

    def stop(self) -> None:
        """Take everything down."""
        labs.down(self.lab.name)
        shutil.rmtree(self.root, ignore_errors=True)


def forget_connections(sockets: Path) -> None:
    """Make the next run open connections of its own: a person's pass is rarely the second within a minute."""
    for path in sockets.glob("*"):
        path.unlink(missing_ok=True)


def hosts_seconds(lab: labs.Lab, count: int) -> float:
    """Return the processor seconds that the first machines of a lab have used since they started."""
    total = 0
    for name in list(lab.machines)[:count]:
        figures = dict(line.split() for line in lab.exec(name, ["cat", "/sys/fs/cgroup/cpu.stat"]).text().splitlines())
        total += int(figures["usage_usec"])
    return total / 1e6


def start(name: str, count: int, system: str, say: Callable[[str], None]) -> Bench:
    """Start the machines, write the answers and deploy them."""
    labs.down(name)
    say(f"starting {count} machines")
    lab = labs.up(name, [MachineSpec(f"poste-{number:02}", system) for number in range(1, count + 1)], notify=say)
    bench = Bench(lab, Path(tempfile.mkdtemp(prefix="antiseche-bench-")))
    try:
        maintenance.bootstrap(lab)
        bench.folder.root.mkdir()
        bench.folder.answers_file.write_text(json.dumps(answers(lab), ensure_ascii=False, indent=1), encoding="utf-8")
        password = bench.root / "vault-password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24) + "\n", encoding="utf-8")
        bench.cli("inventory")
        for machine in lab.machines.values():
            pin_host_key(bench.folder, machine.address, machine.name, machine.host_key)
        say("deploying")
        bench.cli("deploy", "--yes")
    except BaseException:
        if os.environ.get("ANTISECHE_BENCH_KEEP"):
            say(f"kept: {bench.root}")
        else:
            bench.stop()
        raise
    return bench


def answers(lab: labs.Lab) -> dict[str, Any]:
    """Return answers in which every host has two users, a shared flow and a printer. JSON is YAML."""
    return {
        "version": 1,
        "practice": {"id": "bench", "name": "Cabinet de mesure"},
        "people": [
            {"login": "mdurand", "name": "Dr Marie Durand", "function": "doctor", "admin": True},
            {"login": "lpetit", "name": "Lucie Petit", "function": "secretary"},
        ],
        "hosts": [
            {"name": m.name, "kind": "workstation", "system": m.system, "address": m.address, "users": ["mdurand", "lpetit"]}
            for m in lab.machines.values()
        ],
        "network": {"lan": lab.state.subnet, "printers": [{"name": "Accueil", "address": str(lab.gateway)}]},
        "software": [{"name": "Logiciel métier", "inbound": [{"name": "Synchronisation", "protocol": "tcp", "ports": [8080]}]}],
        "maintenance": {
            "contractor": "Prestataire de mesure",
            "account": maintenance.ACCOUNT,
            "addresses": [f"{lab.gateway}/32"],
            "public_keys": [lab.public_key],
        },
        # No server receives backups here; a pass must end with 0 all the same.
        "waivers": [
            {
                "id": "D-001",
                "control": "SAV-01",
                "reason": "Machines de mesure, sans données.",
                "accepted_by": "Dr Marie Durand",
                "accepted_on": date.today().isoformat(),
                "expires_on": (date.today() + timedelta(days=300)).isoformat(),
            }
        ],
    }
