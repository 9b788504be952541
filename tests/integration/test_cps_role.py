"""The role for professional cards deployed for real: only the pinned file is taken, browsers and libraries know it."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from antiseche.lab import labs, maintenance
from antiseche.lab.labs import Lab
from antiseche.lab.model import MachineSpec
from antiseche.lab.requirements import requirements

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).parent / "stand_in"
SYSTEMS = ("debian12", "debian13")
LIBRARY = "/opt/santesocial/CPS/lib/libcps3_pkcs11_lux.so"
POLICIES = "/etc/firefox/policies/policies.json"
OWN_POLICIES = {"policies": {"DisableTelemetry": True, "SecurityDevices": {"Add": {"Autre": "/usr/lib/autre.so"}}}}
APT = "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install {} >/dev/null"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    assert not requirements(), "this machine must be able to run a lab"
    name = f"cps-role-{os.getpid()}"
    try:
        started = labs.up(name, [MachineSpec(system, system) for system in SYSTEMS])
        labs.authorise(started)
        maintenance.bootstrap(started)
        make_stand_in(started)
        yield started
    finally:
        labs.down(name)


def make_stand_in(lab: Lab) -> None:
    """Make the vendor's package on one machine and keep it where a contractor would: on the controller."""
    said(lab, "debian12", APT.format("gcc libc6-dev rpm openssl"))
    said(lab, "debian12", "mkdir -p /root/stand-in")
    for path in STAND_IN.iterdir():
        said(lab, "debian12", f"cat > /root/stand-in/{path.name}", path.read_bytes())
    said(lab, "debian12", "sh /root/stand-in/make.sh")
    for name in ("middleware.rpm", "facts.json"):
        (lab.folder / name).write_bytes(lab.exec("debian12", ["cat", f"/root/stand-in/{name}"]).stdout)


def said(lab: Lab, machine: str, command: str, stdin: bytes = b"") -> str:
    done = lab.exec(machine, ["sh", "-euc", command], stdin=stdin, timeout=600)
    assert done.rc == 0, done
    return done.text()


def facts(lab: Lab) -> dict[str, str]:
    found: dict[str, str] = json.loads((lab.folder / "facts.json").read_text())
    return found


def deploy(lab: Lab, middleware: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    known = f"-o UserKnownHostsFile={lab.folder / 'known_hosts'} -o StrictHostKeyChecking=yes -o BatchMode=yes"
    common = {
        "ansible_user": "antiseche",
        "ansible_become": True,
        "ansible_ssh_common_args": f"{known} -o IdentitiesOnly=yes -i {lab.private_key}",
        "antiseche_only_roles": ["cps"],
        "cps_reader": True,
        "cps_people": [],
        "cps_middleware": middleware,
    }
    inventory = lab.folder / "inventory" / "hosts.json"
    inventory.parent.mkdir(exist_ok=True)
    hosts = {name: {"ansible_host": lab.machine(name).address} for name in SYSTEMS}
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": common}}))
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(ROOT / "playbooks/site.yml")]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANTISECHE_LIB": str(ROOT / "cli")}
    return subprocess.run([*argv, *options], capture_output=True, text=True, check=False, env=environment, timeout=600)


@pytest.fixture(scope="module")
def server(lab: Lab) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(lab.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


WRONG = {
    "other-file": ({"sha256": "00" * 32}, "n'est pas le fichier attendu"),
    "other-version": ({"version": "5.9.9"}, "not version 5.9.9"),
    "no-file": ({"source": "absent.rpm"}, "La Cryptolib CPS est illisible"),
    "no-server": ({"source": "http://127.0.0.1:1/middleware.rpm"}, "n'a pas pu être téléchargée"),
}


@pytest.mark.parametrize(("wrong", "sentence"), WRONG.values(), ids=WRONG)
def test_what_is_not_the_agreed_file_is_refused(lab: Lab, wrong: dict[str, str], sentence: str) -> None:
    good = {"source": "middleware.rpm", "sha256": facts(lab)["rpm"], "version": "5.2.2"}
    done = deploy(lab, {**good, **wrong})
    assert done.returncode == 2, done.stdout
    assert sentence in done.stdout + done.stderr
    for system in SYSTEMS:
        assert said(lab, system, f"test -e {LIBRARY} && echo there || true") == ""


@pytest.mark.parametrize("way", ["file", "address"])
def test_the_agreed_file_is_installed_once(lab: Lab, server: str, way: str) -> None:
    source = "middleware.rpm" if way == "file" else f"{server}/middleware.rpm"
    for system in SYSTEMS:
        said(lab, system, "dpkg --purge antiseche-cryptolib-cps >/dev/null 2>&1 || true; mkdir -p /tmp/CPS /etc/firefox/policies")
        said(lab, system, "echo 'touch /root/script-ran' > /tmp/CPS/adm_versions")
        said(lab, system, f"cat > {POLICIES}", json.dumps(OWN_POLICIES).encode())
    middleware = {"source": source, "sha256": facts(lab)["rpm"].upper(), "version": "5.2.2"}
    done = deploy(lab, middleware)
    assert done.returncode == 0, done.stdout + done.stderr
    again = deploy(lab, middleware)
    assert again.stdout.count("changed=0") == len(SYSTEMS), again.stdout
    for system in SYSTEMS:
        assert "ANS" in said(lab, system, f"pkcs11-tool --module {LIBRARY} -I || true")
        assert "library-manufacturer: ANS" in said(lab, system, "p11-kit list-modules")
        record = json.loads(said(lab, system, "cat /usr/share/antiseche-cryptolib-cps/provenance.json"))
        assert record["sha256"] == facts(lab)["rpm"]
        digests = record["libraries"][LIBRARY]
        assert said(lab, system, f"sha256sum {LIBRARY}").split()[0] == digests["installed_sha256"] != digests["vendor_sha256"]
        assert said(lab, system, "find /opt/santesocial /etc/opt/santesocial /var/opt/santesocial ! -type l -perm /022") == ""
        assert said(lab, system, "ls -d /root/script-ran /tmp/CPS 2>/dev/null || true") == ""
        assert said(lab, system, "ls /run | grep antiseche-cps || true") == ""


@pytest.mark.parametrize("system", SYSTEMS)
def test_firefox_lists_the_module_under_its_policies(lab: Lab, system: str) -> None:
    said(lab, system, APT.format("firefox-esr"))
    seen = json.loads(said(lab, system, "python3 -", (STAND_IN / "firefox.py").read_bytes()))
    assert seen["status"] == 1, "its policies are active"
    assert seen["policies"]["DisableTelemetry"] is True
    assert seen["policies"]["SecurityDevices"]["Add"]["Autre"] == "/usr/lib/autre.so"
    assert ["CPS (Antiseche)", LIBRARY] in seen["modules"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_watcher_outlives_the_card_service(lab: Lab, system: str) -> None:
    state = "systemctl is-active antiseche-card-watch.service"
    pid = said(lab, system, "systemctl show -p MainPID --value antiseche-card-watch.service")
    said(lab, system, "systemctl stop pcscd.socket pcscd.service; sleep 3")
    assert said(lab, system, state).strip() == "active"
    said(lab, system, "systemctl start pcscd.socket; sleep 3")
    assert said(lab, system, "systemctl show -p MainPID --value antiseche-card-watch.service") == pid
    assert "03" in said(lab, system, f"grep pcscd.comm /proc/{pid.strip()}/net/unix")


def test_policies_that_cannot_be_read_are_left_as_they_are(lab: Lab) -> None:
    middleware = {"source": "middleware.rpm", "sha256": facts(lab)["rpm"], "version": "5.2.2"}
    for system in SYSTEMS:
        said(lab, system, f"printf '{{broken' > {POLICIES}")
    done = deploy(lab, middleware)
    assert done.returncode == 2
    assert "policies.json cannot be read" in done.stdout
    for system in SYSTEMS:
        assert said(lab, system, f"cat {POLICIES}") == "{broken"
