"""The yardstick: an unchanged run of devsec.hardening's os_hardening and ssh_hardening roles."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from practice import BenchError, forget_connections, hosts_seconds

from antiseche.lab import labs, maintenance
from antiseche.lab.model import MachineSpec

PLAY = """\
- hosts: all
  become: true
  gather_facts: true
  roles: [devsec.hardening.os_hardening, devsec.hardening.ssh_hardening]
"""
# Kernel settings that a container cannot change.
UNSUPPORTED = """
    fs.protected_hardlinks fs.protected_symlinks fs.protected_fifos fs.protected_regular fs.suid_dumpable
    kernel.core_uses_pid kernel.kptr_restrict kernel.kexec_load_disabled kernel.sysrq kernel.randomize_va_space
    kernel.yama.ptrace_scope kernel.unprivileged_userns_clone kernel.unprivileged_bpf_disabled
    vm.mmap_min_addr vm.mmap_rnd_bits vm.mmap_rnd_compat_bits
""".split()
# Some of its tasks change something on the second run as well; the third is unchanged.
CONVERGING_RUNS = 3


def find() -> tuple[Path | None, str]:
    """Return the folder that holds ``ansible_collections``, or None and why there is none."""
    given = os.environ.get("DEVSEC_COLLECTIONS")
    if given:
        path = Path(given).resolve()
        if (path / "ansible_collections" / "devsec" / "hardening" / "roles").is_dir():
            return path, ""
        return None, f"no ansible_collections/devsec/hardening in {path}"
    path = Path(tempfile.mkdtemp(prefix="antiseche-devsec-"))
    line = [sys.executable, "-m", "ansible", "galaxy", "collection", "install", "devsec.hardening", "-p", str(path)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        done = None
    if done is not None and done.returncode == 0:
        return path, ""
    shutil.rmtree(path, ignore_errors=True)
    return None, "Ansible Galaxy did not give it; DEVSEC_COLLECTIONS names a folder that holds ansible_collections"


@dataclass(frozen=True)
class Recap:
    """How many tasks a run had, executed (not skipped) and changed."""

    tasks: int
    executed: int
    changed: int


@dataclass
class Yardstick:
    """A machine that the collection has hardened."""

    lab: labs.Lab
    collections: Path
    work: Path
    recap: Recap = field(default=Recap(0, 0, 0))

    def run(self) -> None:
        """Run the two roles over new connections; they must end well."""
        forget_connections(self.work / "cp")
        line = [sys.executable, "-m", "ansible", "playbook", "-i", str(self.work / "hosts.json"), str(self.work / "play.yml")]
        done = subprocess.run(
            line, env=self._environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode != 0:
            raise BenchError(f"devsec.hardening: code {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
        self.recap = read_recap(done.stdout)

    def unchanged(self) -> None:
        """Run, and refuse a run that changed something: it would not be the one to compare with."""
        self.run()
        if self.recap.changed:
            raise BenchError(f"devsec.hardening: {self.recap.changed} changed where nothing should")

    def hosts_seconds(self) -> float:
        """Return the processor seconds that its machine has used."""
        return hosts_seconds(self.lab, 1)

    def stop(self) -> None:
        """Take the machine down."""
        labs.down(self.lab.name)
        shutil.rmtree(self.work, ignore_errors=True)

    def prepare(self) -> None:
        """Write the play, with the same connection settings as ours."""
        hosts = {machine.name: {"ansible_host": machine.address} for machine in self.lab.machines.values()}
        variables = {
            "ansible_user": maintenance.ACCOUNT,
            "ansible_ssh_private_key_file": str(self.lab.private_key),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.lab.folder / 'known_hosts'}",
            # Its own switches: an account that it must not take its shell from, and what a container cannot do.
            "os_ignore_users": [maintenance.ACCOUNT],
            "sysctl_unsupported_entries": UNSUPPORTED,
            "molecule_yml": {"driver": {"name": "docker"}},
        }
        (self.work / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}), encoding="utf-8")
        (self.work / "play.yml").write_text(PLAY, encoding="utf-8")
        (self.work / "ansible.cfg").write_text(
            f"[defaults]\ninterpreter_python = /usr/bin/python3\n[ssh_connection]\npipelining = True\n"
            f"control_path_dir = {self.work / 'cp'}\nssh_args = -o ControlMaster=auto -o ControlPersist=60s\n",
            encoding="utf-8",
        )

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/root"),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(self.work / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": f"{self.collections}:{sysconfig.get_path('purelib')}",
            # The collection predates the strict conditionals of recent Ansible releases.
            "ANSIBLE_ALLOW_BROKEN_CONDITIONALS": "true",
        }


def start(name: str, system: str, collections: Path, say: Callable[[str], None]) -> Yardstick:
    """Start a machine like ours and let the collection harden it, untimed, until nothing is left to change."""
    labs.down(name)
    lab = labs.up(name, [MachineSpec("poste-01", system)], notify=say)
    yardstick = Yardstick(lab, collections, Path(tempfile.mkdtemp(prefix="antiseche-devsec-run-")))
    try:
        maintenance.bootstrap(lab)
        yardstick.prepare()
        for number in range(1, CONVERGING_RUNS + 1):
            yardstick.run()
            say(f"devsec.hardening, run {number}: changed={yardstick.recap.changed}")
            if number > 1 and not yardstick.recap.changed:
                break
    except BaseException:
        yardstick.stop()
        raise
    return yardstick


def read_recap(output: str) -> Recap:
    """Read the last lines that ``ansible-playbook`` prints for its only host."""
    found = {key: int(value) for key, value in re.findall(r"\b(ok|changed|skipped)=(\d+)", output.rpartition("PLAY RECAP")[2])}
    return Recap(found["ok"] + found["skipped"], found["ok"], found["changed"])
