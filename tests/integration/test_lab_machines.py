"""Lab machines for real: started, cut from power and network, restarted, killed, and nothing left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from antiseche.lab import labs, maintenance, rootfs
from antiseche.lab.labs import Lab
from antiseche.lab.model import LabError, MachineSpec
from antiseche.lab.requirements import requirements

pytestmark = pytest.mark.lab

CLI = Path(__file__).parents[2] / "cli"
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


@pytest.fixture(autouse=True)
def _possible() -> None:
    assert not requirements(), "this machine must be able to run a lab"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    name = f"test-lab-{os.getpid()}"
    try:
        started = labs.up(name, [MachineSpec("alpha", "debian13"), MachineSpec("beta", "debian12")])
        maintenance.bootstrap(started)
        yield started
    finally:
        labs.down(name)


def ssh(lab: Lab, machine: str, *argv: str, timeout: int = 3) -> subprocess.CompletedProcess[str]:
    options = ["-o", f"UserKnownHostsFile={lab.folder / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"]
    target = f"antiseche@{lab.machine(machine).address}"
    command = ["ssh", "-i", str(lab.private_key), "-o", f"ConnectTimeout={timeout}", *options, target, *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def eventually(condition: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return False


def test_each_machine_is_itself(lab: Lab) -> None:
    seen = {}
    for name, suite in (("alpha", "trixie"), ("beta", "bookworm")):
        script = "hostname; . /etc/os-release; echo $VERSION_CODENAME; cat /etc/machine-id; systemctl is-system-running"
        hostname, codename, identity, state = lab.exec(name, ["sh", "-c", script]).text().split()
        assert (hostname, codename, state) == (name, suite, "running")
        seen[identity] = name
    assert len(seen) == 2


def test_only_the_maintenance_account_with_the_labs_key_gets_in(lab: Lab) -> None:
    for name in lab.machines:
        assert ssh(lab, name, "sudo", "id", "-u").stdout.strip() == "0"
    assert "root@" not in ssh(lab, "alpha", "true").stderr
    target = f"root@{lab.machine('alpha').address}"
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
    done = subprocess.run(["ssh", "-i", str(lab.private_key), *options, target, "true"], capture_output=True, check=False)
    assert done.returncode == 255


def test_packages_can_be_fetched(lab: Lab) -> None:
    for name in lab.machines:
        done = lab.exec(name, ["apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update"], timeout=120)
        assert done.rc == 0, done.stderr
        sources = lab.exec(name, ["sh", "-c", "cat /etc/apt/sources.list.d/*"]).text()
        assert "-security" in sources


def test_machines_see_each_other_but_not_this_machines_services(lab: Lab) -> None:
    probe = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"
    reach = lab.exec("alpha", ["python3", "-c", probe, lab.machine("beta").address, "22"])
    assert reach.rc == 0
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", lab.gateway, "8099"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as service:
        try:
            time.sleep(0.5)
            assert lab.exec("alpha", ["python3", "-c", probe, lab.gateway, "8099"]).rc != 0
        finally:
            service.kill()


def test_a_console_command_gets_its_input_and_returns_its_code(lab: Lab) -> None:
    done = lab.exec("alpha", ["sh", "-c", "cat; echo error >&2; exit 7"], b"h\xc3\xa9\x00")
    assert (done.rc, done.stdout, done.stderr) == (7, b"h\xc3\xa9\x00", b"error\n")
    assert "HOME=/root" in lab.exec("alpha", ["env"]).text()
    assert not any(line.startswith("ANTISECHE") for line in lab.exec("alpha", ["env"]).text().splitlines())


def test_a_power_cut_keeps_the_disk_and_loses_the_memory(lab: Lab) -> None:
    machine = lab.machine("beta")
    lab.exec("beta", ["sh", "-c", "echo kept > /root/kept; sync; echo gone > /run/gone"])
    lab.driver.power_cut(machine)
    assert lab.driver.pid(machine) is None
    with pytest.raises(LabError, match="éteinte"):
        lab.exec("beta", ["true"])
    lab.driver.power_on(machine)
    assert lab.exec("beta", ["cat", "/root/kept"]).text() == "kept\n"
    assert lab.exec("beta", ["test", "-e", "/run/gone"]).rc == 1
    assert ssh(lab, "beta", "true").returncode == 0


def test_a_machine_can_restart_itself(lab: Lab) -> None:
    machine = lab.machine("alpha")
    before = lab.driver.pid(machine)
    lab.exec("alpha", ["touch", "/run/before"])
    ssh(lab, "alpha", "sudo", "systemctl", "reboot")
    assert eventually(lambda: lab.driver.pid(machine) not in (None, before))
    lab.driver.power_on(machine)  # waits until it is up
    assert lab.exec("alpha", ["test", "-e", "/run/before"]).rc == 1
    assert eventually(lambda: ssh(lab, "alpha", "true").returncode == 0)


def test_a_pulled_cable_cuts_the_network_and_nothing_else(lab: Lab) -> None:
    machine = lab.machine("alpha")
    lab.driver.network_cut(machine)
    try:
        assert ssh(lab, "alpha", "true", timeout=2).returncode == 255
        assert lab.exec("alpha", ["true"]).rc == 0
        assert ssh(lab, "beta", "true").returncode == 0
    finally:
        lab.driver.network_restore(machine)
    assert eventually(lambda: ssh(lab, "alpha", "true").returncode == 0)


def test_firewall_rules_of_a_machine_stay_inside(lab: Lab) -> None:
    before = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    assert lab.exec("alpha", ["nft", "add", "table", "inet", "inside"]).rc == 0
    assert "inside" not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    assert before == subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout


def test_the_shared_tree_is_never_written(lab: Lab) -> None:
    tree = rootfs.ensure_tree("trixie")
    lab.exec("alpha", ["sh", "-c", "echo written > /etc/motd && rm /etc/issue"])
    assert (tree / "etc/issue").exists()
    assert (tree / "etc/motd").read_text(encoding="utf-8") != "written\n"
    assert not list((tree / "etc/ssh").glob("ssh_host_*"))


def test_asking_again_changes_nothing(lab: Lab) -> None:
    before = {name: lab.driver.pid(machine) for name, machine in lab.machines.items()}
    again = labs.up(lab.name, [MachineSpec("alpha", "debian13")])
    assert {name: again.driver.pid(machine) for name, machine in again.machines.items()} == before


def leftovers(index: int) -> list[str]:
    """Name everything of a lab that can still be seen on this machine."""
    links = [p.name for p in Path("/sys/class/net").iterdir() if p.name == f"asbr{index}" or p.name.startswith(f"vb-as{index}-")]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    mounts = [line for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines() if "antiseche-lab" in line]
    script = f"mount -t cgroup2 none /mnt && ls -d /mnt/antiseche-as{index}-* 2>/dev/null; true"
    groups = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=True).stdout.split()
    return [*links, *(["table"] if f"antiseche_lab_{index}\n" in tables else []), *mounts, *groups]


def alive(pid: int) -> bool:
    """Say whether a process still runs; a dead one may wait for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@pytest.mark.parametrize("killed", ["nothing", "supervisor", "machine", "bridge"])
def test_down_leaves_nothing_whatever_happened_before(killed: str) -> None:
    name = f"test-down-{os.getpid()}"
    forwarding = FORWARD.read_text(encoding="ascii")
    lab = labs.up(name, [MachineSpec("solo", "debian13")])
    machine, index = lab.machine("solo"), lab.state.index
    leader = lab.driver.pid(machine)
    assert leader is not None
    if killed == "supervisor":
        os.kill(int((lab.folder / "machines/solo/pid").read_text(encoding="ascii").split()[0]), signal.SIGKILL)
    elif killed == "machine":
        os.kill(leader, signal.SIGKILL)
    elif killed == "bridge":
        subprocess.run(["ip", "link", "delete", lab.state.bridge], check=True)
    if killed in ("supervisor", "machine"):
        assert eventually(lambda: lab.driver.pid(machine) is None)
    assert labs.down(name)
    assert leftovers(index) == []
    assert not lab.folder.exists()
    assert not alive(leader)
    assert FORWARD.read_text(encoding="ascii") == forwarding
    assert not labs.down(name), "a second time, there is nothing to do"


def test_a_lab_whose_supervisor_was_killed_starts_again() -> None:
    name = f"test-again-{os.getpid()}"
    try:
        lab = labs.up(name, [MachineSpec("solo", "debian12")])
        lab.exec("solo", ["sh", "-c", "echo kept > /root/kept"])
        os.kill(int((lab.folder / "machines/solo/pid").read_text(encoding="ascii").split()[0]), signal.SIGKILL)
        assert eventually(lambda: lab.driver.pid(lab.machine("solo")) is None)
        lab = labs.up(name, [MachineSpec("solo", "debian12")])
        assert lab.exec("solo", ["cat", "/root/kept"]).text() == "kept\n"
    finally:
        labs.down(name)


def command(*argv: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(CLI)}
    line = [sys.executable, "-m", "antiseche.lab", *argv]
    return subprocess.run(line, capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL)


def test_the_command_line_says_what_programs_need(lab: Lab) -> None:
    shown = json.loads(command("show", lab.name).stdout)
    assert shown["machines"]["alpha"]["release"] == "trixie"
    assert Path(shown["private_key"]).stat().st_mode & 0o077 == 0
    assert command("exec", lab.name, "alpha", "--", "sh", "-c", "exit 9").returncode == 9
    listed = {entry["name"]: entry["state"] for entry in json.loads(command("list", "--json").stdout)}
    assert listed[lab.name] == "running"


@pytest.mark.parametrize(
    "argv",
    [
        ("up", "x"),
        ("up", "x", "--machine", "web:windows"),
        ("up", "../x", "--machine", "web:debian13"),
        ("up", "x", "--machine", "web:debian13", "--subnet", "8.8.8.0/24"),
        ("up", "x", "--machine", "web:debian13:192.0.2.200"),
        ("exec", "no-such-lab", "web", "--", "true"),
        ("power-cut", "no-such-lab", "web"),
    ],
)
def test_wrong_command_lines_leave_nothing(argv: tuple[str, ...]) -> None:
    before = {lab.name for lab in labs.all_labs()}
    done = command(*argv)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert {lab.name for lab in labs.all_labs()} == before


def test_somebody_who_is_not_root_gets_one_sentence(tmp_path: Path) -> None:
    state = tmp_path / "state"
    # Imported first: another user may not read the interpreter's own folder.
    code = "import os,sys; from antiseche.lab.__main__ import run; os.setgid(65534); os.setuid(65534); sys.exit(run())"
    environment = {**os.environ, "PYTHONPATH": str(CLI), "ANTISECHE_LAB": str(state), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-c", code, "up", "x", "--machine", "web:debian13"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, cwd="/", stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "sudo" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not state.exists()
