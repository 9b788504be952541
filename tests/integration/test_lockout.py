"""Nobody locked out: changes that cut the contractor off are undone by the machine itself, power cut or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from antiseche.lab import labs, maintenance
from antiseche.lab.labs import Lab
from antiseche.lab.model import MachineSpec
from antiseche.lab.requirements import requirements

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
SYSTEMS = ("debian12", "debian13")
SECONDS = 20
PENDING = ["sh", "-c", "ls /var/lib/antiseche/undo"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    assert not requirements(), "this machine must be able to run a lab"
    name = f"test-lockout-{os.getpid()}"
    try:
        started = labs.up(name, [MachineSpec(system, system) for system in SYSTEMS])
        maintenance.bootstrap(started)
        done = deploy(started, SYSTEMS, {})
        assert done.returncode == 0, done.stdout + done.stderr
        yield started
    finally:
        labs.down(name)


def variables(lab: Lab, system: str) -> dict[str, Any]:
    return {
        "ansible_host": lab.machine(system).address,
        "ansible_user": "antiseche",
        "ansible_become": True,
        "ansible_ssh_private_key_file": str(lab.private_key),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab.folder / 'known_hosts'} -o StrictHostKeyChecking=yes",
        "firewall_lan": [lab.state.subnet],
        "firewall_management_addresses": [f"{lab.gateway}/32"],
        "firewall_confirm_seconds": SECONDS,
        "remote_access_user": "antiseche",
        "remote_access_public_keys": [lab.public_key],
        "remote_access_addresses": [f"{lab.gateway}/32"],
        "remote_access_confirm_seconds": SECONDS,
        "antiseche_only_roles": ["remote_access", "firewall"],
    }


def arguments(lab: Lab, systems: tuple[str, ...], changed: dict[str, Any]) -> list[str]:
    inventory = lab.folder / "lockout.json"
    hosts = {system: {**variables(lab, system), **changed} for system in systems}
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "children": {"linux": {"hosts": {s: {} for s in systems}}}}}))
    return [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(ROOT / "playbooks/site.yml")]


def deploy(lab: Lab, systems: tuple[str, ...], changed: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    argv = arguments(lab, systems, changed)
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, cwd=ROOT, timeout=300)


def reachable(lab: Lab, system: str) -> bool:
    options = ["-o", f"UserKnownHostsFile={lab.folder / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"]
    target = f"antiseche@{lab.machine(system).address}"
    command = ["ssh", "-i", str(lab.private_key), "-o", "ConnectTimeout=3", *options, target, "sudo id -u"]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL).stdout.strip() == "0"


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.3)
    return False


CUTS: dict[str, dict[str, Any]] = {
    "firewall-from-a-wrong-address": {"firewall_management_addresses": ["203.0.113.9/32"]},
    "ssh-for-nobody": {"remote_access_sshd_options": {"AllowUsers": "nobody"}},
    "ssh-elsewhere": {"remote_access_sshd_options": {"Port": "2222"}},
    "ssh-for-itself": {"remote_access_sshd_options": {"ListenAddress": "127.0.0.1"}},
    "ssh-keys-from-a-wrong-address": {"remote_access_addresses": ["203.0.113.9/32"]},
}


@pytest.mark.parametrize("changed", CUTS.values(), ids=CUTS)
def test_a_change_that_cuts_is_undone_and_told(lab: Lab, changed: dict[str, Any]) -> None:
    done = deploy(lab, SYSTEMS, changed)
    assert done.returncode == 4, done.stdout + done.stderr
    assert done.stdout.count("UNREACHABLE!") == len(SYSTEMS), done.stdout
    assert "coupait l'accès de maintenance : la machine l'a annulé d'elle-même" in done.stdout + done.stderr
    for system in SYSTEMS:
        assert reachable(lab, system)
        assert lab.exec(system, PENDING).text().strip() == ""
    again = deploy(lab, SYSTEMS, {})
    assert again.returncode == 0
    assert again.stdout.count("changed=0") == len(SYSTEMS), again.stdout


@pytest.mark.parametrize("option", [{"NoSuchOption": "yes"}, {"Match": "all"}, {"Banner": "x\nPermitRootLogin yes"}])
def test_a_broken_option_is_refused_before_anything_changes(lab: Lab, option: dict[str, str]) -> None:
    done = deploy(lab, SYSTEMS, {"remote_access_sshd_options": option})
    assert done.returncode == 2
    assert done.stdout.count("FAILED!") == len(SYSTEMS)
    again = deploy(lab, SYSTEMS, {})
    assert again.stdout.count("changed=0") == len(SYSTEMS), again.stdout


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("cut", ["firewall-from-a-wrong-address", "ssh-for-nobody"])
def test_a_power_cut_while_waiting_for_the_confirmation(lab: Lab, cut: str, system: str) -> None:
    """The machine undoes the change when it starts again, long before the delay is over."""
    slow = {"firewall_confirm_seconds": 300, "remote_access_confirm_seconds": 300}
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    argv = arguments(lab, (system,), {**CUTS[cut], **slow})
    machine = lab.machine(system)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT) as run:
        try:
            assert eventually(lambda: lab.exec(system, PENDING).text().strip() != "", 60)
            assert eventually(lambda: not reachable(lab, system), 60)
            lab.driver.power_cut(machine)
            lab.driver.power_on(machine)
            assert eventually(lambda: reachable(lab, system), 30)
            output = run.communicate(timeout=90)[0]
        finally:
            run.kill()
    assert run.returncode == 4, output
    assert "la machine l'a annulé d'elle-même" in output, output
    role = "firewall" if cut.startswith("firewall") else "remote_access"
    trace = json.loads(lab.exec(system, ["cat", f"/var/lib/antiseche/undone/{role}.json"]).text())
    assert trace["why"] == "boot"
    again = deploy(lab, (system,), {})
    assert again.stdout.count("changed=0") == 1, again.stdout


def test_a_run_that_dies_before_confirming_is_undone_too(lab: Lab) -> None:
    """A good change whose controller is gone: undone in time, and the next run brings it again."""
    system = SYSTEMS[1]
    files = [{"path": "/etc/antiseche-try", "content": "new\n"}]
    script = json.dumps({"files": files, "guard": {"name": "essai", "seconds": 10, "apply": [["true"]]}})
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_ACTION_PLUGINS": "/nonexistent"}
    argv = [str(Path(sys.executable).with_name("ansible")), "-i", arguments(lab, (system,), {})[2], "-m", "antiseche_files", "-a"]
    done = subprocess.run([*argv, script, system], capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    there = ["test", "-e", "/etc/antiseche-try"]
    assert lab.exec(system, there).rc == 0
    assert eventually(lambda: lab.exec(system, there).rc != 0, 30)
    trace = json.loads(lab.exec(system, ["cat", "/var/lib/antiseche/undone/essai.json"]).text())
    assert trace["why"] == "timer"
    lab.exec(system, ["rm", "/var/lib/antiseche/undone/essai.json"])
