"""A stand-in of the card middleware, faults included, becomes a safe package on both Debian releases, and loads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from antiseche.lab import labs
from antiseche.lab.labs import Lab
from antiseche.lab.model import MachineSpec
from antiseche.lab.requirements import requirements

pytestmark = pytest.mark.lab

SYSTEMS = ("debian12", "debian13")
MODULE_UTILS = Path(__file__).parents[2] / "plugins" / "module_utils"
STAND_IN = Path(__file__).parent / "stand_in"
LIBRARY = "/opt/santesocial/CPS/lib/libcps3_pkcs11_lux.so"
VENDORS = f"/root/stand-in/root{LIBRARY}"
ROOTS = "/opt/santesocial /etc/opt/santesocial /var/opt/santesocial"
TOOLS = "rpm rpm2cpio cpio opensc p11-kit pcscd libpcsclite1 gcc libc6-dev openssl"
INSTALL = (
    f"apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install {TOOLS} >/dev/null"
)
MAKE_RPM = "sh /root/stand-in/make.sh; mkdir /tmp/CPS && echo 'touch /root/script-ran' > /tmp/CPS/adm_versions"
MAKE_PACKAGE = """
import hashlib, json, pathlib, pwd, sys
sys.path.insert(0, "/root/stand-in")
import ansible.module_utils.antiseche_cps_package as package
rpm, work = pathlib.Path("/root/stand-in/middleware.rpm"), pathlib.Path("/run/making")
work.mkdir(mode=0o700)
source = {"file": rpm.name, "version": "5.2.2", "sha256": hashlib.sha256(rpm.read_bytes()).hexdigest()}
_made, record = package.make(rpm, source, work, pwd.getpwnam("nobody").pw_uid)
print(json.dumps(record))
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    assert not requirements(), "this machine must be able to run a lab"
    name = f"test-cps-{os.getpid()}"
    try:
        started = labs.up(name, [MachineSpec(system, system) for system in SYSTEMS])
        for system in SYSTEMS:
            sh(started, system, INSTALL)
        yield started
    finally:
        labs.down(name)


def sh(lab: Lab, machine: str, command: str, stdin: bytes = b"") -> str:
    done = lab.exec(machine, ["sh", "-euc", command], stdin=stdin, timeout=300)
    assert done.rc == 0, done
    return done.text()


def installed(lab: Lab, system: str) -> dict[str, Any]:
    """Make the stand-in and its package on a machine, install it, return the record of its making."""
    sh(lab, system, "mkdir -p /root/stand-in/ansible/module_utils")
    for name in ("antiseche_elf_stack.py", "antiseche_cps_package.py"):
        sh(lab, system, f"cat > /root/stand-in/ansible/module_utils/{name}", (MODULE_UTILS / name).read_bytes())
    for path in STAND_IN.iterdir():
        sh(lab, system, f"cat > /root/stand-in/{path.name}", path.read_bytes())
    sh(lab, system, MAKE_RPM)
    record: dict[str, Any] = json.loads(sh(lab, system, "python3 -", MAKE_PACKAGE.encode()).splitlines()[-1])
    sh(lab, system, "dpkg -i /run/making/antiseche-cryptolib-cps.deb >/dev/null")
    return record


@pytest.fixture(scope="module")
def records(lab: Lab) -> dict[str, dict[str, Any]]:
    return {system: installed(lab, system) for system in SYSTEMS}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_stand_in_is_installed_safely_and_loads(lab: Lab, records: dict[str, dict[str, Any]], system: str) -> None:
    record = records[system]
    # Without a reader it says who it is, then that there is no slot, and ends with 1.
    said = sh(lab, system, f"pkcs11-tool --module {LIBRARY} -I || true").splitlines()
    assert [line.split() for line in said if line.startswith("Manufacturer")] == [["Manufacturer", "ANS"]]
    assert "library-manufacturer: ANS" in sh(lab, system, "p11-kit list-modules")
    digests = record["libraries"][LIBRARY]
    assert sh(lab, system, f"sha256sum {LIBRARY}").split()[0] == digests["installed_sha256"]
    assert sh(lab, system, f"sha256sum {VENDORS}").split()[0] == digests["vendor_sha256"] != digests["installed_sha256"]
    kept = json.loads(sh(lab, system, "cat /usr/share/antiseche-cryptolib-cps/provenance.json"))
    assert kept == record
    assert kept["sha256"] == sh(lab, system, "sha256sum /root/stand-in/middleware.rpm").split()[0]
    assert len(record["closed"]) == 4
    assert sh(lab, system, f"find {ROOTS} ! -type l -perm /022") == ""
    assert sh(lab, system, "test -e /root/script-ran && echo ran || true") == ""
    assert sh(lab, system, "dpkg --verify antiseche-cryptolib-cps") == ""
    sh(lab, system, f"dpkg --purge antiseche-cryptolib-cps >/dev/null; test ! -e {LIBRARY}")


@pytest.mark.usefixtures("records")
def test_the_vendors_library_as_it_is_does_not_load_on_debian_13(lab: Lab) -> None:
    said = sh(lab, "debian13", f"pkcs11-tool --module {VENDORS} -I 2>&1 || true")
    assert "executable stack" in said
    assert "ANS" not in said
