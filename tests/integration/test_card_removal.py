"""A card pulled out of a real reader locks whoever works at the machine; putting it back opens nothing."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from antiseche.lab import labs, maintenance
from antiseche.lab.labs import Lab
from antiseche.lab.model import Equipment, MachineSpec
from antiseche.lab.requirements import requirements

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
TERMINAL = Path(__file__).parent / "stand_in" / "terminal.py"
HOST = "poste"
PASSWORD = "Trois Poules rousses 7"
# What QEMU's emulated card answers: no professional card, hence a table of the test's own.
EMULATED = {"name": "essai", "atr": "3B7A18000073667465206364313434", "mask": "FF" * 15}
# A graphical session as a display manager opens it, on a screen that nobody sees, with a locker that logind tells to lock.
LOCKER = "#!/bin/sh\nexec sleep infinity\n"
GRAPHICAL = (
    "systemd-run -q --unit=bureau -p PAMName=login -p User=lea -E XDG_SESSION_TYPE=x11 -E XDG_SESSION_CLASS=user"
    " xvfb-run -a xss-lock -- /usr/local/bin/locker"
)
APT = "DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install xvfb xauth xss-lock >/dev/null"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    assert not requirements(full=True), "this machine must be able to run full machines"
    name = f"card-{os.getpid()}"
    try:
        started = labs.up(name, [MachineSpec(HOST, "debian13", equipment=Equipment((), card_reader=True))], driver="qemu")
        maintenance.bootstrap(started)
        prepare(started)
        yield started
    finally:
        labs.down(name)


def prepare(lab: Lab) -> None:
    deploy(lab, {})
    said(lab, "cat > /root/terminal.py", TERMINAL.read_bytes())
    said(lab, f"useradd -m -s /bin/bash lea; echo {shlex.quote('lea:' + PASSWORD)} | chpasswd")
    said(lab, "systemd-run -q --unit=ecran python3 /root/terminal.py lea /run/keys /run/screen")
    said(lab, APT)
    said(lab, "cat > /usr/local/bin/locker; chmod 0755 /usr/local/bin/locker", LOCKER.encode())
    said(lab, GRAPHICAL)
    assert eventually(lambda: "lea@" in screen(lab))
    assert eventually(lambda: graphical(lab) == "Type=x11 LockedHint=no")
    time.sleep(10)  # the locker listens a moment after its session is there


def deploy(lab: Lab, variables: dict[str, Any]) -> str:
    known = f"-o UserKnownHostsFile={lab.folder / 'known_hosts'} -o StrictHostKeyChecking=yes -o BatchMode=yes"
    common = {
        "ansible_host": lab.machine(HOST).address,
        "ansible_user": "antiseche",
        "ansible_become": True,
        "ansible_ssh_common_args": f"{known} -o IdentitiesOnly=yes -i {lab.private_key}",
        "antiseche_only_roles": ["cps"],
        "cps_reader": True,
    }
    inventory = lab.folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": {HOST: {**common, **variables}}}}))
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(ROOT / "playbooks/site.yml")]
    # An emulated machine on a busy one: sudo may take its time.
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANTISECHE_LIB": str(ROOT / "cli"),
        "ANSIBLE_TIMEOUT": "120",
    }
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return done.stdout


def said(lab: Lab, script: str, stdin: bytes = b"") -> str:
    done = lab.exec(HOST, ["sh", "-c", script], stdin=stdin, timeout=900)
    assert done.rc == 0, done
    return done.text().strip()


def eventually(condition: Callable[[], bool], seconds: float = 90) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.5)
    return False


def screen(lab: Lab) -> str:
    return said(lab, "cat /run/screen 2>/dev/null || true")


def typed(lab: Lab, text: str) -> None:
    said(lab, "cat > /run/keys", text.encode())


def frozen(lab: Lab) -> bool:
    """Say whether the text session's processes stand still."""
    scope = (
        "$(loginctl show-session $(loginctl list-sessions --no-legend | awk '/pts/ && / lea /{print $1; exit}') -p Scope --value)"
    )
    return said(lab, f"systemctl show -p FreezerState --value {scope}") == "frozen"


def graphical(lab: Lab) -> str:
    """Return what logind says of the graphical session."""
    sessions = said(lab, "loginctl list-sessions --no-legend | awk '/ lea /{print $1}'").split()
    told = [said(lab, f"loginctl show-session {one} -p Type -p LockedHint | xargs") for one in sessions]
    return next((one for one in told if "Type=x11" in one), "")


def card_in(lab: Lab, *, present: bool) -> bool:
    word = " Yes " if present else " No "
    return eventually(lambda: word in said(lab, "opensc-tool --list-readers || true"))


def pull(lab: Lab) -> None:
    lab.full().pull_card(lab.machine(HOST))
    assert card_in(lab, present=False)


def insert(lab: Lab) -> None:
    lab.full().insert_card(lab.machine(HOST))
    assert card_in(lab, present=True)


def journal(lab: Lab) -> int:
    return said(lab, "journalctl -u antiseche-card-watch -o cat --no-pager").count("card removed")


def test_another_card_locks_nothing(lab: Lab) -> None:
    assert card_in(lab, present=True)
    pull(lab)
    time.sleep(5)
    assert (journal(lab), graphical(lab), frozen(lab)) == (0, "Type=x11 LockedHint=no", False)
    insert(lab)


def test_a_known_card_that_leaves_locks_and_its_return_opens_nothing(lab: Lab) -> None:
    deploy(lab, {"cps_cards": [EMULATED]})
    assert eventually(lambda: said(lab, "systemctl is-active antiseche-card-watch") == "active")
    time.sleep(5)
    # The card service's own restart is no removal.
    said(lab, "systemctl restart pcscd.service")
    assert card_in(lab, present=True)
    time.sleep(10)
    assert (journal(lab), graphical(lab), frozen(lab)) == (0, "Type=x11 LockedHint=no", False)

    pull(lab)
    assert eventually(lambda: journal(lab) == 1)
    assert eventually(lambda: frozen(lab))
    assert eventually(lambda: "session est verrouillée" in screen(lab))
    assert eventually(lambda: graphical(lab) == "Type=x11 LockedHint=yes")

    insert(lab)
    time.sleep(5)
    assert frozen(lab)
    assert graphical(lab) == "Type=x11 LockedHint=yes"
    typed(lab, "\r")
    assert eventually(lambda: "lea's Password:" in screen(lab))
    typed(lab, "id -u > /tmp/inside\r")
    assert eventually(lambda: "failure" in screen(lab).lower())
    assert frozen(lab)
    assert said(lab, "test -e /tmp/inside && echo opened || true") == ""


def test_the_password_opens_the_session_as_it_was(lab: Lab) -> None:
    assert frozen(lab)
    for _attempt in range(3):  # the prompt may be waiting for another line first
        shown = screen(lab).count("lea's Password:")
        typed(lab, "\r")
        if not eventually(lambda shown=shown: screen(lab).count("lea's Password:") > shown, 15):
            continue
        typed(lab, PASSWORD + "\r")
        if eventually(lambda: not frozen(lab), 30):
            break
    assert not frozen(lab)
    typed(lab, "echo again-$((6*7))\r")
    assert eventually(lambda: "again-42" in screen(lab))


def test_a_second_deployment_changes_nothing(lab: Lab) -> None:
    assert "changed=0" in deploy(lab, {"cps_cards": [EMULATED]})
