"""Holds, overdue updates and foreign sources, from what apt answers."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from module_process import FakeCommands, answer_of, load

DAY = 86400
DEBIAN = "deb.debian.org|http://deb.debian.org/debian|trixie|Debian|Debian|trixie"
SECURITY = "security.debian.org|http://security.debian.org/debian-security|trixie-security|Debian|Debian-Security|trixie-security"
THIRD = "repo.exemple.fr|https://repo.exemple.fr/apt|stable|Logiciel Exemple|exemple|stable"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    loaded = load("antiseche_updates")
    periodic = tmp_path / "periodic"
    periodic.mkdir()
    monkeypatch.setattr(loaded, "PERIODIC", periodic)
    monkeypatch.setattr(loaded, "WORKED", periodic / "unattended-upgrades-stamp")
    monkeypatch.setattr(loaded, "DAILY_LOCK", tmp_path / "daily_lock")
    monkeypatch.setattr(loaded, "OS_RELEASE", tmp_path / "os-release")
    monkeypatch.setattr(loaded, "LOCK_SECONDS", 1)
    monkeypatch.setattr(loaded, "STOP_SECONDS", 5)
    (tmp_path / "os-release").write_text('NAME="Debian"\nVERSION_CODENAME=trixie\n')
    return loaded


class Apt:
    """Fake apt tools around a few files."""

    def __init__(self, module: Any, commands: FakeCommands, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module, self.commands = module, commands
        monkeypatch.setattr(module, "ENVIRONMENT", {**os.environ, "LC_ALL": "C"})
        for name in ("held", "installed", "read", "configured"):
            (commands.folder / f"{name}.txt").write_text("")
        self.holds("")
        commands.add("dpkg-query", 'cat "$(dirname "$0")/installed.txt"')
        commands.add(
            "apt-get",
            """case " $* " in
*" update "*) : ;;
*no-release-info*) cat "$(dirname "$0")/configured.txt" ;;
*) cat "$(dirname "$0")/read.txt" ;;
esac""",
        )
        commands.add(
            "apt-mark",
            """held=$(dirname "$0")/held.txt
case $1 in
showhold) cat "$held" ;;
hold) shift; printf '%s\\n' "$@" >>"$held" ;;
unhold) shift; for name; do grep -vxF "$name" "$held" >"$held.new"; mv "$held.new" "$held"; done ;;
esac""",
        )
        commands.add("unattended-upgrade", f"touch '{module.WORKED}'")

    def says(self, name: str, text: str) -> None:
        (self.commands.folder / f"{name}.txt").write_text(text)

    def holds(self, text: str) -> None:
        self.says("held", text)

    def fresh(self, days: float = 0) -> None:
        for name in self.module.STAMPS:
            (self.module.PERIODIC / name).touch()
            os.utime(self.module.PERIODIC / name, (time.time() - days * DAY,) * 2)

    def asked(self, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
        return answer_of(self.module, arguments, check=check)

    def calls(self, start: str) -> list[str]:
        return [call for call in self.commands.calls if call.startswith(start)]


@pytest.fixture
def apt(module: Any, commands: FakeCommands, monkeypatch: pytest.MonkeyPatch) -> Apt:
    return Apt(module, commands, monkeypatch)


# ---- pure rules


@pytest.mark.parametrize(
    ("declared", "held", "installed", "expected"),
    [
        ([], [], [], ([], [])),
        (["a"], [], ["a"], (["a"], [])),
        (["a"], [], [], ([], [])),
        (["a"], ["a"], ["a"], ([], [])),
        ([], ["a", "b"], ["a"], ([], ["a", "b"])),
        (["a"], ["a:i386"], ["a"], (["a"], ["a:i386"])),
        (["b", "a"], ["z", "y"], ["b", "a"], (["a", "b"], ["y", "z"])),
    ],
)
def test_holds(module: Any, declared: list[str], held: list[str], installed: list[str], expected: Any) -> None:
    assert module.hold_plan(declared, held, installed) == expected


names = st.lists(st.sampled_from("abcdef"), unique=True)


@given(declared=names, held=names, installed=names)
def test_after_a_pass_exactly_the_declared_installed_packages_are_held(
    declared: list[str], held: list[str], installed: list[str]
) -> None:
    rules = load("antiseche_updates")
    held = [name for name in held if name in installed]
    hold, release = rules.hold_plan(declared, held, installed)
    after = (set(held) | set(hold)) - set(release)
    assert after == set(declared) & set(installed)
    assert rules.hold_plan(declared, sorted(after), installed) == ([], [])


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("stamps", "late"),
    [
        ([NOW, NOW], False),
        ([NOW - 7 * DAY, NOW], False),
        ([NOW - 7 * DAY - 1, NOW], True),
        ([NOW, NOW - 8 * DAY], True),
        ([None, NOW], True),
        ([NOW, None], True),
        ([NOW + 1800, NOW], False),
        ([NOW + 2 * DAY, NOW], True),
        ([0.0, NOW], True),
        ([], False),
    ],
)
def test_overdue(module: Any, stamps: list[float | None], late: bool) -> None:
    assert module.overdue(stamps, NOW, 7) is late


@pytest.mark.parametrize(
    ("read", "configured", "origins", "foreign"),
    [
        ([DEBIAN, SECURITY], [], [], []),
        ([DEBIAN, THIRD], [], [], ["Logiciel Exemple (https://repo.exemple.fr/apt stable)"]),
        ([DEBIAN, THIRD], [], ["Logiciel Exemple"], []),
        ([DEBIAN, THIRD], [], ["exemple"], []),
        ([DEBIAN, THIRD], [], ["repo.exemple.fr"], []),
        (
            [DEBIAN.replace("|trixie|Debian|Debian|trixie", "|sid|Debian|Debian|sid")],
            [],
            [],
            ["Debian (http://deb.debian.org/debian sid)"],
        ),
        (["x|http://x|trixie||"], [], [], ["? (http://x trixie)"]),
        (["x|http://x|trixie|Debian|Debian|trixie-evil"], [], [], []),
        (["x|http://x|trixie|Debian|Debian|trixies"], [], [], ["Debian (http://x trixie)"]),
        ([DEBIAN], ["deb.debian.org|http://deb.debian.org/debian|trixie", "y.fr|http://y.fr|z"], [], ["? (http://y.fr z)"]),
        ([DEBIAN], ["y.fr|http://y.fr|z"], ["y.fr"], []),
        ([], ["deb.debian.org|http://deb.debian.org/debian|trixie"], [], []),
        ([DEBIAN, ""], ["", "|"], [], ["? ( )"]),
    ],
)
def test_foreign_sources(module: Any, read: list[str], configured: list[str], origins: list[str], foreign: list[str]) -> None:
    assert module.foreign_sources("\n".join(read), "\n".join(configured), "trixie", origins) == foreign


@given(st.text(), st.text(), st.lists(st.text(max_size=3)))
def test_no_answer_of_apt_breaks_the_reading(read: str, configured: str, origins: list[str]) -> None:
    found = load("antiseche_updates").foreign_sources(read, configured, "trixie", origins)
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    ("text", "name"),
    [("VERSION_CODENAME=bookworm\n", "bookworm"), ('VERSION_CODENAME="trixie"\n', "trixie"), ("ID=debian\n", ""), ("", "")],
)
def test_codename(module: Any, text: str, name: str) -> None:
    module.OS_RELEASE.write_text(text)
    assert module.codename() == name


# ---- the module


def test_an_up_to_date_machine_is_left_alone(apt: Apt) -> None:
    apt.fresh()
    apt.says("read", f"{DEBIAN}\n{THIRD}\n")
    done = apt.asked()
    assert (done["changed"], done["changes"], done["late"]) == (False, [], "")
    assert done["foreign"] == ["Logiciel Exemple (https://repo.exemple.fr/apt stable)"]
    assert not apt.calls("unattended-upgrade")


def test_holds_are_predicted_made_and_then_left_alone(apt: Apt) -> None:
    apt.fresh()
    apt.holds("stray\n")
    apt.says("installed", "installed kept\nconfig-files removed\nnot-installed x\n")
    asked = {"held": ["kept", "removed", "unknown"]}
    assert apt.asked(check=True, **asked)["changes"] == ["hold kept", "release stray"]
    assert apt.calls("apt-mark") == ["apt-mark showhold"]
    assert apt.asked(**asked)["changes"] == ["hold kept", "release stray"]
    assert apt.asked(**asked)["changes"] == []


@pytest.mark.parametrize("days", [8, -2])
def test_overdue_updates_are_predicted_applied_and_noted(apt: Apt, days: float) -> None:
    apt.fresh(days)
    assert apt.asked(check=True)["changes"] == ["updates security: applied"]
    assert not apt.calls("unattended-upgrade")
    done = apt.asked()
    assert (done["changes"], done["late"]) == (["updates security: applied"], "")
    assert apt.asked()["changes"] == []


def test_updates_that_declined_to_work_are_not_a_success(apt: Apt) -> None:
    """unattended-upgrade ends well, too, when its configuration tells it to do nothing today."""
    apt.commands.add("unattended-upgrade")
    done = apt.asked()
    assert done["changes"] == []
    assert "declined to work" in done["late"]
    assert not (apt.module.PERIODIC / "upgrade-stamp").exists()
    apt.module.WORKED.touch()
    os.utime(apt.module.WORKED, (1000, 1000))
    assert "declined to work" in apt.asked()["late"], "an old success is none"


@pytest.mark.parametrize(
    ("tool", "said", "expected"),
    [
        ("apt-get", "W: x\nE: Failed to fetch http://a\nE: Some index files failed\nend", "E: Failed to fetch http://a; E: Some"),
        (
            "unattended-upgrade",
            "System is on battery power, stopping",
            "unattended-upgrade: System is on battery power, stopping",
        ),
        ("unattended-upgrade", "", "unattended-upgrade: exit 1"),
    ],
)
def test_what_keeps_updates_away_is_reported_and_is_no_failure(apt: Apt, tool: str, said: str, expected: str) -> None:
    read = "case $* in *indextargets*) exit 0 ;; esac"
    apt.commands.add(tool, f"{read}\nprintf '{said}' >&2; exit 1")
    done = apt.asked()
    assert not done.get("failed")
    assert done["changes"] == []
    assert expected in done["late"]
    assert not (apt.module.PERIODIC / "upgrade-stamp").exists()


def test_a_broken_list_of_sources_fails_and_tells_the_holds_that_were_made(apt: Apt) -> None:
    apt.says("installed", "installed a\n")
    apt.commands.add("apt-get", "echo 'E: Malformed entry 3 in list file /etc/apt/sources.list' >&2; exit 100")
    done = apt.asked(held=["a"])
    assert done["failed"]
    assert done["msg"] == "apt-get: E: Malformed entry 3 in list file /etc/apt/sources.list"
    assert (done["changed"], done["changes"]) == (True, ["hold a"])


@pytest.mark.parametrize(
    "said",
    [
        "dpkg: error: dpkg frontend lock was locked by another process with pid 7\nE: Executing dpkg failed. Are you root?",
        "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 769 (python3)\nE: Unable to lock directory",
    ],
)
def test_another_package_manager_at_work_is_waited_for(apt: Apt, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    waits: list[float] = []
    monkeypatch.setattr(apt.module.time, "sleep", waits.append)
    apt.fresh()
    apt.says("installed", "installed a\n")
    once = apt.commands.folder / "once"
    apt.commands.add(
        "apt-mark", f"[ $1 = showhold ] || [ -e '{once}' ] || {{ touch '{once}'; printf '%s' '{said}' >&2; exit 100; }}"
    )
    assert apt.asked(held=["a"])["changes"] == ["hold a"]
    assert apt.calls("apt-mark hold") == ["apt-mark hold a"] * 2
    assert waits


def test_a_package_manager_that_never_ends_is_told(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt.module, "LOCK_SECONDS", -1)
    apt.says("installed", "installed a\n")
    apt.commands.add("apt-mark", "[ $1 = showhold ] || { echo 'E: Could not get lock x' >&2; exit 100; }")
    done = apt.asked(held=["a"])
    assert done["failed"]
    assert "Could not get lock" in done["msg"]


def test_apt_s_own_timers_are_kept_out_and_waited_for(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt.module, "LOCK_SECONDS", -1)
    with apt.module.DAILY_LOCK.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert apt.asked()["late"] == "apt: another update is running"
    seen = apt.commands.folder / "seen"
    apt.commands.add(
        "unattended-upgrade", f"flock -n '{apt.module.DAILY_LOCK}' true || touch '{seen}'; touch '{apt.module.WORKED}'"
    )
    assert apt.asked()["changes"] == ["updates security: applied"]
    assert seen.exists(), "the lock is held while updates run"


def test_a_disk_that_takes_no_mark_is_reported(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt.module, "DAILY_LOCK", apt.module.PERIODIC / "no/such/lock")
    done = apt.asked()
    assert not done.get("failed")
    assert os.strerror(errno.ENOENT) in done["late"]


def test_a_machine_without_apt_is_told(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt.module, "ENVIRONMENT", {"PATH": "/nonexistent"})
    done = apt.asked()
    assert done["failed"]
    assert done["msg"] == f"apt-mark: {os.strerror(errno.ENOENT)}"


def test_an_installation_is_asked_to_end_and_never_killed(module: Any, tmp_path: Path) -> None:
    mark = tmp_path / "ended"
    gentle = f"trap 'touch {mark}; exit 0' TERM; sleep 60 & wait"
    with pytest.raises(module.UpdateError, match="stopped after 1 seconds"):
        module.run("sh", "-c", gentle, seconds=1)
    assert mark.exists()


def test_an_installation_that_does_not_end_is_left_alone(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.2)
    pid = tmp_path / "pid"
    deaf = f"trap '' TERM; echo $$ >{pid}; exec sleep 60"
    with pytest.raises(module.UpdateError, match="still at work after 1 seconds; left alone"):
        module.run("sh", "-c", deaf, seconds=1)
    number = int(pid.read_text())
    try:
        assert subprocess.run(["ps", "-o", "stat=", "-p", str(number)], capture_output=True, check=True).stdout
    finally:
        os.kill(number, 9)
        os.waitpid(number, 0)


def test_bytes_that_are_no_utf_8_do_not_break_anything(apt: Apt) -> None:
    apt.fresh()
    apt.commands.add("apt-get", "printf 'x|http://h\\351|s|O|L|c\\n'")
    assert len(apt.asked()["foreign"]) == 1
