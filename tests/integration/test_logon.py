"""What people live through at the keyboard of a deployed machine: first logon, weak passwords, end of a stay, lock-out.

Everything here is done as a person does it, on a terminal, after a real deployment of the two roles.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from antiseche.lab import labs, maintenance
from antiseche.lab.model import MachineSpec

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
SYSTEMS = ("debian12", "debian13")
YESTERDAY = (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)).isoformat()
FIRST = {
    "anne": "Bcde-Fghj-2345-kNpR",
    "adm-anne": "Xcde-Fghj-2345-kNpR",
    "lea": "Ycde-Fghj-2345-kNpR",
    "paul": "Vcde-Fghj-2345-kNpR",
}
PEOPLE: list[dict[str, Any]] = [
    {"login": "anne", "name": "Anne Dupré", "groups": ["cabinet-medecins"], "state": "active", "expires": ""},
    {"login": "adm-anne", "name": "Anne Dupré (administration)", "groups": ["cabinet-admins"], "state": "active", "expires": ""},
    {"login": "lea", "name": "Léa Remplaçante", "groups": ["cabinet-medecins"], "state": "active", "expires": YESTERDAY},
    {"login": "paul", "name": "Paul Parti", "groups": [], "state": "active", "expires": ""},
]
VARIABLES: dict[str, Any] = {
    "antiseche_only_roles": ["accounts", "password_policy"],
    "accounts_groups": ["cabinet-medecins", "cabinet-admins"],
    "accounts_maintenance_user": "antiseche",
    "accounts_initial_passwords": FIRST,
    "password_policy_profile": "anssi-cnil",
    "password_policy_exempt_users": ["antiseche"],
}
GOOD, OTHER, GOOD_ADMIN = "Trois Poules rousses 7", "Dix chats gris dorment 42", "Quatre Renards bleus 88"


@pytest.fixture(scope="module")
def lab() -> Iterator[labs.Lab]:
    lab = labs.up(f"logon-{os.getpid()}", [MachineSpec(system, system) for system in SYSTEMS])
    try:
        labs.authorise(lab)
        maintenance.bootstrap(lab)
        deploy(lab, PEOPLE)
        yield lab
    finally:
        labs.down(lab.name)


def ssh(lab: labs.Lab, *more: str) -> list[str]:
    known = ["-o", f"UserKnownHostsFile={lab.folder / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"]
    return [*known, "-o", "IdentitiesOnly=yes", "-i", str(lab.private_key), *more]


def deploy(lab: labs.Lab, people: list[dict[str, Any]]) -> str:
    hosts = {m.name: {"ansible_host": m.address} for m in lab.machines.values()}
    common = {"ansible_user": "antiseche", "ansible_become": True, "ansible_ssh_common_args": " ".join(ssh(lab))}
    inventory = lab.folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": {**common, **VARIABLES, "accounts_people": people}}}))
    inventory.chmod(0o600)
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(ROOT / "playbooks/site.yml"), "-v"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANTISECHE_LIB": str(ROOT / "cli")}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return done.stdout


def sh(lab: labs.Lab, system: str, command: str) -> str:
    return lab.exec(system, ["sh", "-c", command]).text()


def console(lab: labs.Lab, system: str, login: str) -> pexpect.spawn[str]:
    # exec: login hangs up its terminal, which must not end a shell between the two.
    argv = lab.driver.console(lab.machine(system), ["script", "-qec", f"exec login {login}", "/dev/null"])  # type: ignore[attr-defined]
    return pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=15)


def logon(lab: labs.Lab, system: str, login: str, password: str) -> pexpect.spawn[str]:
    terminal = console(lab, system, login)
    terminal.expect("assword: ")
    terminal.sendline(password)
    return terminal


def choose(terminal: pexpect.spawn[str], old: str, new: str) -> None:
    terminal.expect("Current password: ")
    terminal.sendline(old)
    terminal.expect("New password: ")
    terminal.sendline(new)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_first_logon_forces_a_good_new_password(lab: labs.Lab, system: str) -> None:
    terminal = logon(lab, system, "anne", FIRST["anne"])
    terminal.expect("required to change your password")
    choose(terminal, FIRST["anne"], "court1A-")
    terminal.expect("BAD PASSWORD: .*shorter than 14")
    terminal.expect("New password: ")
    terminal.sendline("MonCabinet-2026-bien")
    terminal.expect("BAD PASSWORD")
    terminal.expect("New password: ")
    terminal.sendline(GOOD)
    terminal.expect("Retype new password: ")
    terminal.sendline(GOOD)
    terminal.expect(r"\$ ")
    terminal.sendline("umask; touch new; stat -c %a new; id -nG")
    terminal.expect("0077\r\n600\r\nanne cabinet-medecins")
    terminal.close(force=True)
    assert sh(lab, system, "getent shadow anne").split(":")[1].startswith("$y$")
    deploy(lab, PEOPLE)  # a later deployment must not give the first password back
    again = logon(lab, system, "anne", GOOD)
    again.expect(r"\$ ")
    again.sendline("passwd")
    choose(again, GOOD, OTHER)
    again.expect("Retype new password: ")
    again.sendline(OTHER)
    again.expect("updated successfully")
    again.sendline("passwd")
    choose(again, OTHER, GOOD)
    again.expect("Retype new password: ")
    again.sendline(GOOD)
    again.expect("has been already used")
    again.close(force=True)


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_administrator_needs_a_longer_one_and_is_recorded(lab: labs.Lab, system: str) -> None:
    terminal = logon(lab, system, "adm-anne", FIRST["adm-anne"])
    choose(terminal, FIRST["adm-anne"], "Quinze-signes-7")
    terminal.expect("BAD PASSWORD: .*shorter than 16")
    terminal.expect("New password: ")
    terminal.sendline(GOOD_ADMIN)
    terminal.expect("Retype new password: ")
    terminal.sendline(GOOD_ADMIN)
    terminal.expect(r"\$ ")
    terminal.sendline("sudo sh -c 'echo seen-by-''root; umask'")
    terminal.expect("assword for adm-anne: ")
    terminal.sendline(GOOD_ADMIN)
    terminal.expect("seen-by-root\r\n0022")
    terminal.close(force=True)
    assert "adm-anne" in sh(lab, system, "cat /var/log/sudo.log")
    assert "seen-by-root" in sh(
        lab, system, "sudoreplay -d /var/log/sudo-io/adm-anne -l >/dev/null; zcat -f $(find /var/log/sudo-io -name ttyout)"
    )


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_locum_whose_stay_is_over_is_refused(lab: labs.Lab, system: str) -> None:
    terminal = logon(lab, system, "lea", FIRST["lea"])
    terminal.expect("expired|incorrect|permission")
    assert terminal.expect([r"\$ ", "login: ", pexpect.EOF]) != 0
    terminal.close(force=True)


def test_somebody_who_leaves_is_put_out_and_refused(lab: labs.Lab) -> None:
    terminals = {}
    for system in SYSTEMS:
        terminal = logon(lab, system, "paul", FIRST["paul"])
        choose(terminal, FIRST["paul"], GOOD)
        terminal.expect("Retype new password: ")
        terminal.sendline(GOOD)
        terminal.expect(r"\$ ")
        terminal.sendline("echo mine > letter; loginctl list-sessions --no-legend | grep -c paul")
        terminal.expect("\r\n[12]\r\n")
        terminals[system] = terminal
    deploy(lab, [person | {"state": "locked"} if person["login"] == "paul" else person for person in PEOPLE])
    for system, terminal in terminals.items():
        terminal.expect(pexpect.EOF)
        terminal.close(force=True)
        again = logon(lab, system, "paul", GOOD)
        assert again.expect([r"\$ ", "incorrect", "expired", pexpect.EOF]) != 0
        again.close(force=True)
        assert sh(lab, system, "cat /home/paul/letter") == "mine\n", "nothing of the person's is deleted"
    deploy(lab, PEOPLE)
    for system in SYSTEMS:
        back = logon(lab, system, "paul", GOOD)
        back.expect(r"\$ ")
        back.close(force=True)


@pytest.mark.parametrize("system", SYSTEMS)
def test_failures_lock_a_person_but_never_maintenance(lab: labs.Lab, system: str) -> None:
    """Twenty wrong passwords under its name, by the console and by ssh: the key and sudo still work."""
    attempt = "script -qec 'su - {login} -c true' /dev/null"
    for login, count in (("anne", 11), ("antiseche", 20)):
        # As a member of the administrators' group, or su would refuse before it asks.
        guess = f"(sleep 0.3; echo wrong) | setpriv --reuid=adm-anne --regid=adm-anne --init-groups {attempt.format(login=login)}"
        sh(lab, system, "\n".join(f"{guess} >/dev/null 2>&1 &" for _ in range(count)) + "\nwait")
    assert sh(lab, system, "faillock --user anne").count(" V\n") >= 10
    refused = console(lab, system, "anne")
    refused.expect("locked due to [0-9]+ failed logins")
    refused.close(force=True)
    assert sh(lab, system, "faillock --user antiseche").count(" V\n") >= 10
    address = lab.machine(system).address
    done = subprocess.run(
        ["ssh", *ssh(lab, f"antiseche@{address}"), "sudo -n id -u"], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stdout.strip() == "0", done.stderr
    sh(lab, system, "faillock --user anne --reset")
    time.sleep(0.1)
    assert sh(lab, system, "faillock --user anne").count(" V\n") == 0


def test_no_first_password_in_any_output(lab: labs.Lab) -> None:
    output = deploy(lab, PEOPLE)
    assert not [password for password in FIRST.values() if password in output]
