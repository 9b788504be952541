"""Full machines for real: their own kernel, TPM, blank disks, card reader, cable and power switch; and nothing left of them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from antiseche.lab import labs, maintenance
from antiseche.lab.labs import Lab
from antiseche.lab.model import Equipment, LabError, MachineSpec
from antiseche.lab.requirements import requirements

pytestmark = pytest.mark.lab

MACHINES = ("alpha", "beta")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    assert not requirements(full=True), "this machine must be able to run full machines"
    name = f"test-full-{os.getpid()}"
    specs = [
        MachineSpec("alpha", "debian13", equipment=Equipment((256, 64), card_reader=True)),
        MachineSpec("beta", "debian12", equipment=Equipment((256,))),
    ]
    try:
        started = labs.up(name, specs, driver="qemu")
        maintenance.bootstrap(started)
        yield started
    finally:
        labs.down(name)


def said(lab: Lab, machine: str, script: str) -> str:
    done = lab.exec(machine, ["sh", "-c", script])
    assert done.rc == 0, done.stderr.decode()
    return done.text().strip()


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.5)
    return False


def test_each_machine_is_itself_with_a_kernel_of_its_own(lab: Lab) -> None:
    for name, suite in (("alpha", "trixie"), ("beta", "bookworm")):
        found = said(lab, name, "hostname; . /etc/os-release; echo $VERSION_CODENAME; systemctl is-system-running; uname -v")
        hostname, codename, state, version = found.splitlines()
        assert (hostname, codename, state) == (name, suite, "running")
        assert "Debian" in version
    assert len({said(lab, name, "cat /etc/machine-id") for name in MACHINES}) == 2


def test_the_maintenance_account_gets_in_with_the_pinned_key(lab: Lab) -> None:
    for machine in lab.machines.values():
        options = [
            "-o",
            f"UserKnownHostsFile={lab.folder / 'known_hosts'}",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "BatchMode=yes",
        ]
        argv = ["ssh", "-i", str(lab.private_key), *options, f"antiseche@{machine.address}", "sudo", "id", "-u"]
        assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip() == "0"


def test_the_tpm_answers(lab: Lab) -> None:
    for name in MACHINES:
        assert said(lab, name, "cat /sys/class/tpm/tpm0/tpm_version_major") == "2"
        assert len(said(lab, name, "tpm2_getrandom --hex 8")) == 16


def test_data_disks_are_blank(lab: Lab) -> None:
    assert said(lab, "alpha", "lsblk -bdno SIZE /dev/vdb /dev/vdc").split() == [str(256 << 20), str(64 << 20)]
    for name in MACHINES:
        assert said(lab, name, "wipefs /dev/vdb") == ""
        assert said(lab, name, "cmp -n 4194304 /dev/vdb /dev/zero && echo zero") == "zero"


def test_the_console_serves_several_callers_and_carries_input_and_codes(lab: Lab) -> None:
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(lab.exec, "alpha", ["sh", "-c", "sleep 0.3; cat; exit 5"], f"é{n}".encode()) for n in range(4)]
        assert [(f.result().rc, f.result().text()) for f in futures] == [(5, f"é{n}") for n in range(4)]


def test_a_card_is_pulled_and_put_back(lab: Lab) -> None:
    alpha, full = lab.machine("alpha"), lab.full()

    def seen() -> str:
        return lab.exec("alpha", ["opensc-tool", "--list-readers"]).text()

    assert eventually(lambda: " Yes " in seen())
    full.pull_card(alpha)
    assert eventually(lambda: " No " in seen())
    full.insert_card(alpha)
    assert eventually(lambda: " Yes " in seen())


def test_a_pulled_cable_is_seen_inside(lab: Lab) -> None:
    beta = lab.machine("beta")
    carrier = "cat /sys/class/net/en*/carrier"
    assert said(lab, "beta", carrier) == "1"
    lab.driver.network_cut(beta)
    assert eventually(lambda: said(lab, "beta", carrier) == "0")
    lab.driver.network_restore(beta)
    assert eventually(lambda: said(lab, "beta", carrier) == "1")


def test_disks_outlive_a_power_cut_and_a_copy_brings_them_back(lab: Lab) -> None:
    """One cut shows what stays (the disks, the TPM) and what goes (memory); then a copy and a TPM that has forgotten."""
    full, beta = lab.full(), lab.machine("beta")
    said(lab, "beta", "echo before > /kept; echo data | dd of=/dev/vdb conv=fsync status=none; sync; echo lost > /run/lost")
    said(lab, "beta", "tpm2_nvdefine -Q 0x1500016 -C o -s 4 && printf kept | tpm2_nvwrite -Q 0x1500016 -C o -i -")
    boot = said(lab, "beta", "cat /proc/sys/kernel/random/boot_id")
    full.power_cut(beta)
    full.snapshot(beta, "before")
    full.power_on(beta)
    assert said(lab, "beta", "cat /proc/sys/kernel/random/boot_id") != boot
    assert (
        said(lab, "beta", "cat /kept; head -c 4 /dev/vdb; test ! -e /run/lost; tpm2_nvread 0x1500016 -C o -s 4")
        == "before\ndatakept"
    )
    with pytest.raises(LabError):
        full.forget_tpm(beta)
    said(lab, "beta", "echo after > /kept; sync")

    full.power_cut(beta)
    full.restore(beta, "before")
    full.forget_tpm(beta)
    full.power_on(beta)
    assert said(lab, "beta", "cat /kept") == "before"
    assert lab.exec("beta", ["tpm2_nvread", "0x1500016", "-C", "o", "-s", "4"]).rc != 0


def test_nothing_is_left_of_a_lab_that_was_taken_down(lab: Lab) -> None:
    machines = list(lab.machines.values())
    pids = [lab.driver.pid(machine) for machine in machines]
    assert all(pids)
    assert labs.down(lab.name)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not [m.name for m in machines if Path("/sys/class/net", lab.state.link(m)).exists()]
    assert not Path("/sys/class/net", lab.state.bridge).exists()
    assert not lab.folder.exists()
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [argv for argv in running if os.fsencode(lab.folder) in argv]
