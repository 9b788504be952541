"""A whole practice on real machines, driven by the commands that a contractor types, while things go wrong around it.

The tests follow one another, as days at a practice do: what one leaves, the next finds.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from antiseche.engine import environment
from antiseche.lab import rehearsal
from antiseche.lab.requirements import requirements
from antiseche.practice.answers import load_answers
from antiseche.practice.folder import PracticeFolder

pytestmark = pytest.mark.lab

A, B = "accueil", "cabinet"
# Everything that a careless script would run, expand or end a text with.
NAME = r"Cabinet \"d'Été\" $(touch /etc/pwned) `touch /etc/pwned`; @KEYS@ %s 'x' && touch /etc/pwned \\"
ANSWERS = f"""\
version: 1
practice: {{id: tilleuls, name: "{NAME}"}}
people:
  - {{login: cexemple, name: "Dr Camille Exemple", function: doctor, admin: true}}
  - {{login: sspecimen, name: "Sacha Spécimen", function: secretary}}
hosts:
  - {{name: {A}, kind: workstation, system: debian13, address: 192.168.42.11, users: [sspecimen, cexemple]}}
  - {{name: {B}, kind: workstation, system: debian12, address: 192.168.42.12, users: [cexemple]}}
network: {{lan: 192.168.42.0/24}}
maintenance:
  contractor: "Prestataire Exemple"
  account: antiseche
  addresses: [192.168.42.200/32]
  public_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE3WgC5WKWjujxy22vCJNo5yps7svkprtAw75EuMvRe2 exemple]
choices: {{confirm_seconds: 20}}
waivers:
  - id: D-001
    control: SAV-01
    reason: "Aucun serveur ne reçoit encore de sauvegardes."
    accepted_by: "Dr Camille Exemple"
    accepted_on: {date.today()}
    expires_on: {date.today() + timedelta(days=300)}
"""
QUICK = ("--role", "accounts", "--role", "password_policy")
LAST = "password_policy"


class Site:
    """A rehearsed practice and the contractor's command line."""

    def __init__(self, root: Path) -> None:
        self.more: dict[str, str] = {}
        self.temporary = root / "tmp"
        self.temporary.mkdir()
        source = PracticeFolder(root / "tilleuls")
        source.root.mkdir()
        source.answers_file.write_text(ANSWERS, encoding="utf-8")
        self.folder = rehearsal.folder_of(source)
        self.running = rehearsal.start(load_answers(source), self.folder)
        self.lab = self.running.lab

    def start(self, verb: str, *options: str) -> subprocess.Popen[str]:
        access = self.running.arguments() if "SSH_AUTH_SOCK" not in self.more else self.running.arguments()[2:]
        argv = [sys.executable, "-m", "antiseche", verb, str(self.folder.root), *options, *access]
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Inherited by all that it starts, on this machine: what is left of it can be found.
            env={**os.environ, "TMPDIR": str(self.temporary), "ANTISECHE_LANG": "fr", **self.more},
            start_new_session=True,
        )

    def run(self, verb: str, *options: str) -> tuple[int, str, str]:
        with self.start(verb, *options) as process:
            out, err = process.communicate(timeout=300)
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def document(self, verb: str, *options: str, code: int = 0) -> dict[str, Any]:
        returned, out, err = self.run(verb, *options, "--json")
        found: dict[str, Any] = json.loads(out)
        assert (returned, found["exit_code"]) == (code, code), out + err
        return found

    def sh(self, host: str, script: str) -> str:
        done = self.lab.exec(host, ["sh", "-c", script])
        assert done.rc == 0, done.stderr.decode()
        return done.text()

    def newest_events(self) -> str:
        found = sorted(self.folder.runs_dir.glob("*/events.jsonl"))
        return found[-1].read_text(encoding="utf-8") if found else ""

    def until_task(self, role: str, known: str) -> None:
        """Wait until a run that is not the known one works on a role."""
        wait_for(lambda: f'"role": "{role}"' in self.newest_events() and self.newest_events()[:200] != known[:200])

    def children(self) -> dict[int, str]:
        """Return what runs on this machine because of our commands: number and command line."""
        marks = (f"TMPDIR={self.temporary}", f"{environment.SOCKETS}={environment.sockets_directory(self.folder.root)}")
        found = {}
        for path in (path for path in Path("/proc").iterdir() if path.name.isdecimal()):
            try:
                if {*marks} & {*(path / "environ").read_bytes().decode(errors="replace").split("\0")}:
                    found[int(path.name)] = (path / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")[:200]
            except OSError:
                continue
        return found


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    assert not requirements(), "this machine must be able to run a lab"
    root = tmp_path_factory.mktemp("runs")
    folder = rehearsal.folder_of(PracticeFolder(root / "tilleuls"))
    try:
        yield Site(root)
    finally:
        rehearsal.stop(folder)


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {name: host["status"] for name, host in found["hosts"].items()}


def changes(found: dict[str, Any]) -> dict[str, set[tuple[str, str]]]:
    return {name: {(c["role"], c["change"]) for c in host["changes"]} for name, host in found["hosts"].items()}


# Before anything


def test_a_hostile_name_is_only_a_name(site: Site) -> None:
    """The bootstrap script has run for real, as root, on each machine's console."""
    for host in (A, B):
        assert site.sh(host, "ls /etc/pwned 2>/dev/null || echo none") == "none\n"
        assert site.sh(host, "grep -c . /home/antiseche/.ssh/authorized_keys") == "1\n"
        again = site.sh(host, "id antiseche && visudo -c && sudo -l -U antiseche")
        assert "NOPASSWD: ALL" in again
    assert not Path("/etc/pwned").exists()


def test_another_host_key_is_refused(site: Site) -> None:
    wrong = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE3WgC5WKWjujxy22vCJNo5yps7svkprtAw75EuMvRe2"
    before = site.folder.known_hosts.read_bytes()
    for given in (wrong, "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"):
        done = subprocess.run(
            [sys.executable, "-m", "antiseche", "bootstrap", str(site.folder.root), "--pin", A, "--host-key", given],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert "clé" in done.stderr or "présente" in done.stderr
    assert site.folder.known_hosts.read_bytes() == before


def test_the_doctor_finds_healthy_machines_healthy(site: Site) -> None:
    found = site.document("doctor")["findings"]
    assert {f["status"] for f in found if f["host"]} == {"ok"}
    assert {f["host"] for f in found} == {"", A, B}
    assert not [f for f in found if f["status"] in ("problem", "unreachable")]


def test_an_agent_full_of_other_keys_still_finds_the_right_one(site: Site, tmp_path: Path) -> None:
    """A host that allows few attempts would hang up before the right key came."""
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    site.more = {"SSH_AUTH_SOCK": str(socket)}
    environment_ = {**os.environ, **site.more}
    try:
        wait_for(socket.exists)
        for number in range(8):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / f"k{number}")], check=True)
            subprocess.run(["ssh-add", "-q", str(tmp_path / f"k{number}")], check=True, env=environment_)
        assert site.run("doctor")[0] == 1
        subprocess.run(["ssh-add", "-q", str(site.lab.private_key)], check=True, env=environment_)
        assert {f["status"] for f in site.document("doctor")["findings"] if f["host"]} == {"ok"}
        assert set(statuses(site.document("plan", "--role", "accounts")).values()) == {"changed"}
        assert site.document("verify", "--role", "accounts", code=3)["unreachable"] == {}
    finally:
        site.more = {}
        agent.kill()
        agent.wait()


SICK = """
mv /usr/bin/date /usr/bin/date.real && printf '#!/bin/sh\\necho 1000000000\\n' >/usr/bin/date && chmod +x /usr/bin/date
mv /usr/bin/python3 /usr/bin/python3.real && printf '#!/bin/sh\\necho 3.7.3\\n' >/usr/bin/python3 && chmod +x /usr/bin/python3
cp -a /var/lib/dpkg/status /var/lib/dpkg/status.real
sed -i '0,/^Status: install ok installed/s//Status: install ok half-configured/' /var/lib/dpkg/status
mount -t tmpfs -o size=1m small /tmp
"""
HEALED = """
mv /usr/bin/date.real /usr/bin/date; mv /usr/bin/python3.real /usr/bin/python3; mv /var/lib/dpkg/status.real /var/lib/dpkg/status
umount /tmp
"""


def test_the_doctor_names_each_illness(site: Site) -> None:
    rule = "/etc/sudoers.d/antiseche-maintenance"
    keys = "/etc/ssh/ssh_host_ed25519_key"
    site.sh(A, SICK)
    site.sh(B, f"mv {keys} /root/; mv {keys}.pub /root/; ssh-keygen -A >/dev/null; systemctl restart ssh")
    found = site.document("doctor", code=1)["findings"]
    site.sh(A, HEALED)
    rows = {(f["host"], f["subject"]): (f["status"], f["detail"]) for f in found}
    assert rows[A, "horloge"][0] == "problem"
    assert rows[A, "python3"][0] == "problem"
    assert rows[A, "paquets"][0] == "problem"
    assert (rows[A, "disque"][0], "/tmp" in rows[A, "disque"][1]) == ("problem", True)
    assert rows[B, "clé d'hôte"][0] == "problem"
    assert (B, "connexion") not in rows

    site.sh(B, f"mv /root/ssh_host_ed25519_key* /etc/ssh/; systemctl restart ssh; mv {rule} /root/")
    site.sh(A, "usermod -s /usr/sbin/nologin antiseche")
    rows = {(f["host"], f["subject"]): (f["status"], f["detail"]) for f in site.document("doctor", code=1)["findings"]}
    assert rows[B, "sudo"][0] == "problem"
    assert rows[A, "connexion"][0] == "unreachable"
    assert "le compte y est fermé" in rows[A, "connexion"][1]

    site.sh(B, f"mv /root/antiseche-maintenance {rule}")
    site.sh(A, "usermod -s /bin/bash antiseche; systemctl stop ssh.socket ssh.service 2>/dev/null; systemctl stop ssh")
    rows = {(f["host"], f["subject"]): (f["status"], f["detail"]) for f in site.document("doctor", code=4)["findings"]}
    site.sh(A, "systemctl start ssh")
    assert rows[A, "port SSH"][0] == "unreachable"
    assert {status for (host, _s), (status, _d) in rows.items() if host == B} == {"ok"}


# Deploying


@contextmanager
def spied(secrets: list[str]) -> Iterator[list[str]]:
    """Look at every process of this machine and of the lab's (they share its kernel) as often as possible."""
    seen: list[str] = []
    over = False

    def look() -> None:
        while not over:
            processes = [path for path in Path("/proc").iterdir() if path.name.isdecimal()]
            for path in (path / name for path in processes for name in ("cmdline", "environ")):
                try:
                    text = path.read_bytes().decode(errors="replace")
                except OSError:
                    continue
                seen.extend(f"{path}: {text[:300]}" for secret in secrets if secret in text)
            time.sleep(0.02)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(look)
        try:
            yield seen
        finally:
            over = True
            done.result()


def secrets_of(site: Site) -> list[str]:
    """Return the vault's password and every first password."""
    found = [site.running.password_file.read_text().strip()]
    for path in site.folder.inventory_dir.glob("host_vars/*/vault.yml"):
        view = [
            sys.executable,
            "-m",
            "ansible",
            "vault",
            "view",
            "--vault-password-file",
            str(site.running.password_file),
            str(path),
        ]
        text = subprocess.run(view, capture_output=True, text=True, check=True).stdout
        found += re.findall(r"[A-Za-z0-9]{4}(?:-[A-Za-z0-9]{4}){3}", text)
    return found


def test_a_plan_is_what_the_deployment_does_and_secrets_stay_secret(site: Site) -> None:
    secrets = secrets_of(site)
    assert len(secrets) >= 4
    planned = site.document("plan")
    with spied(secrets) as seen:
        done = site.document("deploy", "--yes")
    assert changes(planned) == changes(done)
    assert all(changes(done).values())
    assert statuses(done) == {A: "changed", B: "changed"}
    assert seen == []
    for path in (path for path in site.folder.runs_dir.rglob("*") if path.is_file()):
        text = path.read_text(encoding="utf-8", errors="replace")
        assert not [secret for secret in secrets if secret in text], path
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_second_deployment_changes_nothing_and_nothing_has_drifted(site: Site) -> None:
    again = site.document("deploy", "--yes")
    assert statuses(again) == {A: "ok", B: "ok"}
    assert changes(again) == {A: set(), B: set()}
    assert site.document("drift")["configuration"] == []


def test_drift_is_found_named_and_mended(site: Site) -> None:
    site.sh(A, "passwd -x 99999 cexemple >/dev/null; usermod -aG sudo sspecimen")
    code, out, err = site.run("drift", *QUICK)
    assert code == 3, out + err
    assert A in out
    code, out, err = site.run("drift", "--fix", "--yes", "--limit", A, *QUICK)
    assert code == 0, out + err
    assert "sudo" not in site.sh(A, "id -nG sspecimen").split()


# Machines that are not there


def test_a_machine_that_is_off_does_not_stop_the_others(site: Site) -> None:
    machine = site.lab.machine(B)
    site.sh(A, "chmod 0755 /home/sspecimen")
    site.lab.driver.power_cut(machine)
    try:
        code, out, err = site.run("deploy", "--yes", *QUICK)
        assert code == 4, out + err
        assert f"{B} : injoignable : éteinte, ou hors du réseau" in err
        assert site.sh(A, "stat -c %a /home/sspecimen") == "700\n"
        found = site.document("drift", *QUICK, code=4)
        assert list(found["unreachable"]) == [B]
        assert {r["outcome"] for r in found["results"] if r["host"] == A} <= {"pass", "not-applicable"}
        assert {r["outcome"] for r in found["results"] if r["host"] == B} == {"error"}

        site.sh(A, "mv /etc/sudoers.d/antiseche-maintenance /root/")
        try:
            mixed = site.document("deploy", "--yes", *QUICK, code=5)
            assert statuses(mixed) == {A: "failed", B: "unreachable"}
        finally:
            site.sh(A, "mv /root/antiseche-maintenance /etc/sudoers.d/")
    finally:
        site.lab.driver.power_on(machine)
    assert statuses(site.document("deploy", "--yes", *QUICK)) == {A: "ok", B: "ok"}


def test_a_cable_pulled_in_the_middle(site: Site) -> None:
    machine, known = site.lab.machine(B), site.newest_events()
    process = site.start("deploy", "--yes", "--json")
    site.until_task("accounts", known)
    site.lab.driver.network_cut(machine)
    try:
        out, err = process.communicate(timeout=240)
    finally:
        site.lab.driver.network_restore(machine)
    found = json.loads(out)
    assert process.returncode == 4, out + err
    assert statuses(found) == {A: "ok", B: "unreachable"}
    assert statuses(site.document("deploy", "--yes", *QUICK, "--limit", B)) == {B: "ok"}


# Interruptions


def damaged(site: Site) -> None:
    """Give the next deployment something to do early and late."""
    for host in (A, B):
        site.sh(
            host,
            "chmod 0755 /home/cexemple; passwd -x 9999 cexemple; rm -rf /etc/security/pwquality.conf*",
        )


@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 1), (signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_a_deployment_that_is_interrupted_leaves_nothing_running(site: Site, number: signal.Signals, times: int) -> None:
    damaged(site)
    known = site.newest_events()
    process = site.start("deploy", "--yes", *QUICK)
    site.until_task("accounts", known)
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.3)
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Interrompu. État de chaque machine :" in err
    assert re.search(rf"{A} : .*(rôles terminés|terminée)", err), err
    assert "antiseche deploy" in err
    wait_for(lambda: site.children() == {}, 10)
    record = json.loads((sorted(site.folder.runs_dir.glob("*/run.json"))[-1]).read_text())
    assert (record["interrupted"], bool(record["ended"])) == (True, True)
    assert site.document("deploy", "--yes", *QUICK)["exit_code"] == 0


def test_what_was_interrupted_is_whole_again(site: Site) -> None:
    assert statuses(site.document("deploy", "--yes", *QUICK)) == {A: "ok", B: "ok"}


@pytest.mark.parametrize("verb", ["plan", "verify", "drift"])
@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_reading_that_is_interrupted_leaves_nothing_running(site: Site, verb: str, number: signal.Signals, times: int) -> None:
    process = site.start(verb, *QUICK, "--json")
    wait_for(lambda: any("ssh" in line.split(" ")[0] for line in site.children().values()))
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.2)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["exit_code"] == 130
    wait_for(lambda: site.children() == {}, 10)


def test_a_command_that_is_killed_is_told_by_the_next_one(site: Site) -> None:
    damaged(site)
    known = site.newest_events()
    process = site.start("deploy", "--yes", *QUICK)
    site.until_task("accounts", known)
    process.kill()
    process.communicate()
    code, out, err = site.run("plan", *QUICK)
    assert code == 1, out + err
    assert re.search(r"déjà en cours .*par .*@.*, depuis 20\d\d-", err), err
    wait_for(lambda: not [line for line in site.children().values() if "ansible" in line], 120)
    code, out, err = site.run("plan", *QUICK)
    assert code == 0, out + err
    assert "avait perdu sa commande ; il est allé au bout" in err
    assert "Rien à changer" in out


def test_checks_that_are_killed_leave_no_process(site: Site) -> None:
    process = site.start("verify", *QUICK)
    wait_for(lambda: any("ssh" in line.split(" ")[0] for line in site.children().values()))
    process.kill()
    process.communicate()
    wait_for(lambda: site.children() == {}, 30)
    code, out, err = site.run("verify", *QUICK)
    assert code == 0, out + err
    assert "avait été coupé" in err
    assert not list(site.temporary.glob("antiseche-verify-*"))


def test_two_runs_never_overlap(site: Site) -> None:
    first = site.start("plan", *QUICK, "--json")
    wait_for(lambda: any("ansible" in line for line in site.children().values()))
    code, out, err = site.run("deploy", "--yes", *QUICK, "--json")
    assert (code, json.loads(out)["exit_code"]) == (1, 1), out + err
    assert str(first.pid) in json.loads(out)["error"]
    first.communicate(timeout=120)
    assert first.returncode == 0


def test_everything_still_holds_at_the_end(site: Site) -> None:
    found = site.document("drift")
    assert found["configuration"] == []
    assert {r["effective"] for r in found["results"]} <= {"pass", "not-applicable", "waived"}
