"""A text session is locked as it stands: its programs wait, and its owner's password alone lets them go on."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from antiseche.lab import labs
from antiseche.lab.labs import Lab
from antiseche.lab.model import MachineSpec
from antiseche.lab.requirements import requirements

pytestmark = pytest.mark.lab

SYSTEMS = ("debian12", "debian13")
FILES = Path(__file__).parents[2] / "roles" / "cps" / "files"
TERMINAL = Path(__file__).parent / "stand_in" / "terminal.py"
PLACES = {
    "lock-text-session": "/usr/local/lib/antiseche/lock-text-session",
    "text-lock.service": "/etc/systemd/system/antiseche-text-lock@.service",
}
PASSWORD = "Trois Poules rousses 7"
APT = "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install vlock >/dev/null"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    assert not requirements(), "this machine must be able to run a lab"
    name = f"cps-text-{os.getpid()}"
    try:
        started = labs.up(name, [MachineSpec(system, system) for system in SYSTEMS])
        for system in SYSTEMS:
            said(started, system, APT + "; mkdir -p /usr/local/lib/antiseche")
            for source, place in PLACES.items():
                said(started, system, f"cat > {place}", (FILES / source).read_bytes())
            said(started, system, "cat > /root/terminal.py; systemctl daemon-reload", TERMINAL.read_bytes())
            said(started, system, f"useradd -m -s /bin/bash lea; echo {shlex.quote('lea:' + PASSWORD)} | chpasswd")
        yield started
    finally:
        labs.down(name)


def said(lab: Lab, system: str, script: str, stdin: bytes = b"") -> str:
    done = lab.exec(system, ["sh", "-ec", script], stdin=stdin, timeout=300)
    assert done.rc == 0, done
    return done.text().strip()


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.3)
    return False


class Desk:
    """A person at a terminal."""

    def __init__(self, lab: Lab, system: str) -> None:
        self.lab, self.system = lab, system
        self.sh("systemctl stop desk 2>/dev/null || true; rm -f /run/keys /run/screen")
        self.sh("systemd-run -q --collect --unit=desk python3 /root/terminal.py lea /run/keys /run/screen")
        assert eventually(lambda: "lea@" in self.screen())
        self.session = self.sh("loginctl list-sessions --no-legend | awk '/pts/ && / lea /{print $1; exit}'")
        self.unit = f"antiseche-text-lock@{self.session}.service"

    def sh(self, script: str, stdin: bytes = b"") -> str:
        return said(self.lab, self.system, script, stdin)

    def screen(self) -> str:
        return self.sh("cat /run/screen 2>/dev/null || true")

    def types(self, text: str) -> None:
        self.sh("cat > /run/keys", text.encode())

    def frozen(self) -> bool:
        return self.sh(f"systemctl show -p FreezerState --value session-{self.session}.scope") == "frozen"

    def lock(self) -> None:
        self.sh(f"systemctl start {self.unit}")
        assert eventually(self.frozen)
        assert eventually(lambda: "session est verrouillée" in self.screen())

    def prompt(self) -> None:
        asked = self.screen().count("lea's Password:")
        self.types("\r")
        assert eventually(lambda: self.screen().count("lea's Password:") > asked), self.screen()

    def opens(self) -> None:
        self.prompt()
        self.types(PASSWORD + "\r")
        assert eventually(lambda: not self.frozen()), self.screen()
        assert eventually(lambda: self.sh(f"systemctl is-active {self.unit} || true") == "inactive")


@pytest.fixture(params=SYSTEMS)
def desk(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Desk]:
    somebody = Desk(lab, request.param)
    yield somebody
    scope = f"session-{somebody.session}.scope"
    somebody.sh(f"systemctl stop {somebody.unit}; systemctl thaw {scope} || true; systemctl kill -s KILL {scope} || true")
    assert eventually(lambda: somebody.sh("loginctl list-sessions --no-legend | grep pts || true") == "")


def test_programs_wait_and_go_on_where_they_were(desk: Desk) -> None:
    desk.types("i=0; while sleep 0.2; do i=$((i+1)); echo $i > /tmp/count; done\r")
    assert eventually(lambda: desk.sh("cat /tmp/count 2>/dev/null || true") != "")
    desk.lock()
    before = desk.sh("cat /tmp/count")
    desk.types("\x03\x03")  # Ctrl-C must reach neither the frozen program nor the lock
    time.sleep(2)
    assert desk.sh("cat /tmp/count") == before
    assert desk.frozen()
    desk.opens()
    assert eventually(lambda: desk.sh("cat /tmp/count") != before)


def test_a_wrong_password_opens_nothing(desk: Desk) -> None:
    desk.lock()
    desk.prompt()
    desk.types("touch /tmp/inside\r")
    assert eventually(lambda: "ailure" in desk.screen())
    assert desk.frozen()
    assert desk.sh("ls /tmp/inside 2>/dev/null || true") == ""


def test_a_lock_that_is_killed_comes_back_and_the_session_never_opens(desk: Desk) -> None:
    desk.lock()
    shown = desk.screen().count("session est verrouillée")
    desk.sh("pkill -KILL vlock-main")
    assert eventually(lambda: desk.screen().count("session est verrouillée") > shown)
    assert desk.frozen()
    desk.sh(f"systemctl kill -s KILL {desk.unit}")
    assert eventually(lambda: desk.screen().count("session est verrouillée") > shown + 1)
    assert desk.frozen()
    desk.opens()
    desk.types("echo again-$((6*7))\r")
    assert eventually(lambda: "again-42" in desk.screen())


def test_a_second_removal_asks_no_second_time(desk: Desk) -> None:
    desk.lock()
    desk.sh(f"systemctl start {desk.unit}")
    desk.opens()
    assert not desk.frozen()


def test_a_session_that_is_over_leaves_nothing(desk: Desk) -> None:
    desk.lock()
    desk.sh(f"loginctl terminate-session {desk.session}")
    assert eventually(lambda: desk.sh(f"systemctl is-active {desk.unit} || true") in ("inactive", "failed"), 60)
    assert desk.sh("pgrep vlock-main || true") == ""
