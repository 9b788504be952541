"""What the backup role costs over plain restic on the same machines, data and server.

    python tests/bench/backup.py                        10 000 small files and one file of 2 GB, first and second backup, restore
    python tests/bench/backup.py --megabytes 200        a smaller second file

Plain restic and the role's program run in turn; only their ratios mean something. Root is needed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import practice
from report import rounded

from antiseche import i18n
from antiseche.errors import AntisecheError
from antiseche.lab import labs, maintenance
from antiseche.lab.model import MachineSpec
from antiseche.practice.host_keys import pin_host_key

LAB, CLIENT, SERVER = "bench-backup", "poste", "serveur"
GOAL = 1.1
DATA = "/srv/mesure"
SETTINGS = "/etc/antiseche/backup"
PROGRAM = "python3 -B /usr/local/lib/antiseche/backup/client.py"
RESTORE = "restore latest --target /srv/retour"
MAKE = """
import os, pathlib, random, sys
small, megabytes, folder = int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
for number in range(small):
    place = folder / f"{number % 100:02}"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{number}.dat").write_bytes(os.urandom(random.randrange(1000, 20000)))
with (folder / "grand.img").open("wb") as stream:
    for _ in range(megabytes):
        stream.write(os.urandom(1_000_000))
"""


def plain(command: str) -> str:
    """Return a call of restic as a person would type it, into a repository of its own on the same server."""
    return (
        f'env RESTIC_REPOSITORY="$(tr -d "\\n" < {SETTINGS}/repository)plain/" RESTIC_PASSWORD_FILE={SETTINGS}/password'
        f" RESTIC_CACHE_DIR=/root/plain restic --quiet --cacert {SETTINGS}/server.pem {command}"
    )


def own(command: str) -> str:
    """Return a call of restic on what the role backed up."""
    return plain(command).replace("plain/", "", 1).replace("/root/plain", "/var/cache/antiseche-backup")


class Bench:
    """A workstation and its server, deployed with the backup role only."""

    def __init__(self) -> None:
        labs.down(LAB)
        self.lab = labs.up(LAB, [MachineSpec(CLIENT, "debian13"), MachineSpec(SERVER, "debian13")])
        maintenance.bootstrap(self.lab)
        self.deployed = practice.Bench(self.lab, Path(tempfile.mkdtemp(prefix="antiseche-bench-")))
        folder = self.deployed.folder
        folder.root.mkdir()
        folder.answers_file.write_text(json.dumps(self._answers(), ensure_ascii=False), encoding="utf-8")
        password = self.deployed.root / "vault-password"
        password.touch(mode=0o600)
        password.write_text("mot de passe de mesure\n", encoding="utf-8")
        self.deployed.cli("inventory")
        for machine in self.lab.machines.values():
            pin_host_key(folder, machine.address, machine.name, machine.host_key)

    def _answers(self) -> dict[str, Any]:
        answers = practice.answers(self.lab)
        for host in answers["hosts"]:
            host["kind"] = "server" if host["name"] == SERVER else "workstation"
        answers["backup"] = {"server": SERVER, "hosts": [{"host": CLIENT, "paths": [DATA]}]}
        return answers

    def sh(self, host: str, script: str, *arguments: str) -> float:
        """Run a script on a machine; return how long it took, in seconds."""
        started = time.monotonic()
        done = self.lab.exec(host, ["sh", "-c", script, "sh", *arguments])
        if done.rc != 0:
            raise practice.BenchError(f"{host}: {script[:200]}\n{done.text()[-500:]}{done.stderr.decode()[-1500:]}")
        return time.monotonic() - started

    def prepare(self, small: int, megabytes: int) -> None:
        """Make the data, deploy the role, and stop what would start by itself."""
        self.sh(CLIENT, f"mkdir -p {DATA}")
        self.deployed.cli("deploy", "--role", "backup", "--yes")
        self.sh(
            CLIENT, "systemctl stop antiseche-backup.timer; while systemctl is-active -q antiseche-backup; do sleep 1; done; true"
        )
        self.sh(CLIENT, f"python3 -c {shlex.quote(MAKE)} {small} {megabytes} {DATA}")

    def fresh(self) -> None:
        """Empty both repositories and both caches, and forget what the kernel kept of the data."""
        self.sh(SERVER, f"rm -rf /srv/antiseche-backup/{CLIENT}")
        self.sh(CLIENT, "rm -rf /root/plain /var/cache/antiseche-backup/*; sync")

    def once(self, plain_first: bool) -> dict[str, tuple[float, float]]:
        """Return role and plain seconds of a first backup, an unchanged one, and a restore.

        Args:
            plain_first: whether plain restic begins: who comes second finds the data in the kernel's memory.
        """
        self.fresh()
        sides = (1, 0) if plain_first else (0, 1)
        commands = {
            "first backup": (f"{PROGRAM} --accept-new-repository", f"{plain('init')} && {plain('backup ' + DATA)}"),
            "unchanged backup": (f"{PROGRAM} --now", plain(f"backup {DATA}")),
            "restore": (own(RESTORE), plain(RESTORE)),
        }
        found = {}
        for name, pair in commands.items():
            seconds = [0.0, 0.0]
            for side in sides:
                seconds[side] = self.sh(CLIENT, pair[side])
                if name == "restore":
                    self.sh(CLIENT, f"diff -r {DATA} /srv/retour{DATA} && rm -rf /srv/retour")
            found[name] = (seconds[0], seconds[1])
        return found


def main() -> int:
    """Measure, print, keep the figures; 1 when the goal is missed or a step failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000, help="small files")
    parser.add_argument("--megabytes", type=int, default=2000, help="size of the large file")
    parser.add_argument("--repeat", type=int, default=4, help="runs of each kind, in turn; medians count")
    parser.add_argument("--json", type=Path, default=Path("dist/bench-backup.json"), help="where the figures go")
    options = parser.parse_args()
    i18n.select("fr")
    try:
        bench = Bench()
        bench.prepare(options.files, options.megabytes)
        runs = [bench.once(plain_first=bool(number % 2)) for number in range(options.repeat)]
    except (AntisecheError, practice.BenchError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        labs.down(LAB)
    figures: dict[str, Any] = {"files": options.files, "megabytes": options.megabytes, "repeat": options.repeat}
    size = options.files * 10.5 / 1000 + options.megabytes
    for name in runs[0]:
        ratio = statistics.median(run[name][0] / run[name][1] for run in runs)
        seconds = [statistics.median(run[name][side] for run in runs) for side in (0, 1)]
        figures[name] = {"role": seconds[0], "plain": seconds[1], "ratio": ratio, "mb_per_second": size / seconds[0]}
        sys.stdout.write(
            f"{name:17} role {seconds[0]:7.1f} s ({size / seconds[0]:5.0f} MB/s)  plain {seconds[1]:7.1f} s  ratio {ratio:.2f}\n"
        )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(rounded(figures), indent=1) + "\n", encoding="utf-8")
    return 0 if all(figures[name]["ratio"] <= GOAL for name in runs[0]) else 1


if __name__ == "__main__":
    sys.exit(main())
