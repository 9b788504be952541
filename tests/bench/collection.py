"""The yardstick: a second, unchanged run of devsec.hardening's os_hardening and ssh_hardening roles."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from practice import BenchError

from antiseche.lab import labs, maintenance
from antiseche.lab.model import MachineSpec

PLAY = """\
- hosts: all
  become: true
  gather_facts: true
  roles: [devsec.hardening.os_hardening, devsec.hardening.ssh_hardening]
"""
# The collection's own switch for settings that a container cannot change.
UNSUPPORTED = [
    "fs.protected_hardlinks",
    "fs.protected_symlinks",
    "fs.protected_fifos",
    "fs.protected_regular",
    "fs.suid_dumpable",
    "kernel.core_uses_pid",
    "kernel.kptr_restrict",
    "kernel.kexec_load_disabled",
    "kernel.sysrq",
    "kernel.randomize_va_space",
    "kernel.yama.ptrace_scope",
    "kernel.unprivileged_userns_clone",
    "kernel.unprivileged_bpf_disabled",
    "vm.mmap_min_addr",
    "vm.mmap_rnd_bits",
    "vm.mmap_rnd_compat_bits",
]


def find() -> tuple[Path | None, str | None]:
    """Return the folder that holds ``ansible_collections``, or why there is none."""
    given = os.environ.get("DEVSEC_COLLECTIONS")
    if given:
        path = Path(given)
        if (path / "ansible_collections" / "devsec" / "hardening").is_dir():
            return path, None
        return None, f"no ansible_collections/devsec/hardening in {path}"
    path = Path(tempfile.mkdtemp(prefix="antiseche-devsec-"))
    line = [sys.executable, "-m", "ansible", "galaxy", "collection", "install", "devsec.hardening", "-p", str(path)]
    done = subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False)
    if done.returncode == 0:
        return path, None
    shutil.rmtree(path, ignore_errors=True)
    reason = (done.stderr.strip().splitlines() or ["ansible-galaxy failed"])[-1]
    return None, f"the collection cannot be fetched here, set DEVSEC_COLLECTIONS: {reason}"


def measure(name: str, system: str, collections: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Converge a fresh machine twice, untimed, then time one more run: nothing is left to change."""
    labs.down(name)
    lab = labs.up(name, [MachineSpec("poste-01", system)], notify=say)
    work = Path(tempfile.mkdtemp(prefix="antiseche-devsec-run-"))
    try:
        maintenance.bootstrap(lab)
        line, environment = command(lab, work, collections)
        say("devsec.hardening: converging")
        run(line, environment)
        run(line, environment)
        say("devsec.hardening: timing an unchanged run")
        start = time.monotonic()
        output = run(line, environment)
        seconds = time.monotonic() - start
    finally:
        shutil.rmtree(work, ignore_errors=True)
        labs.down(name)
    recap = {key: int(value) for key, value in re.findall(r"(ok|changed|skipped)=(\d+)", output.rpartition("PLAY RECAP")[2])}
    return {
        "seconds": round(seconds, 2),
        "tasks": recap["ok"] + recap["skipped"],
        "executed": recap["ok"],
        "changed": recap["changed"],
    }


def command(lab: labs.Lab, work: Path, collections: Path) -> tuple[list[str], dict[str, str]]:
    """Write the play and return how to run it, with the same connection settings as ours."""
    known_hosts = lab.folder / "known_hosts"
    hosts = {machine.name: {"ansible_host": machine.address} for machine in lab.machines.values()}
    variables = {
        "ansible_user": maintenance.ACCOUNT,
        "ansible_ssh_private_key_file": str(lab.private_key),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={known_hosts}",
        "sysctl_unsupported_entries": UNSUPPORTED,
    }
    (work / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}), encoding="utf-8")
    (work / "play.yml").write_text(PLAY, encoding="utf-8")
    (work / "ansible.cfg").write_text(
        "[defaults]\ninterpreter_python = /usr/bin/python3\n"
        "[ssh_connection]\npipelining = True\nssh_args = -o ControlMaster=auto -o ControlPersist=60s\n",
        encoding="utf-8",
    )
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/root"),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": str(work / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": f"{collections}:{sysconfig.get_path('purelib')}",
        # The collection predates the strict conditionals of recent Ansible releases.
        "ANSIBLE_ALLOW_BROKEN_CONDITIONALS": "true",
    }
    line = [sys.executable, "-m", "ansible", "playbook", "-i", str(work / "hosts.json"), str(work / "play.yml")]
    return line, environment


def run(line: list[str], environment: dict[str, str]) -> str:
    """Run the play; it must end well."""
    done = subprocess.run(line, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise BenchError(f"devsec.hardening: code {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout
