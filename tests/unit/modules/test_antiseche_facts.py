"""The few facts, from machines of every kind and condition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from module_process import FakeCommands, answer_of, load

MODULE = load("antiseche_facts")


def write(root: Path, name: str, text: str | bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def test_an_empty_machine_has_facts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert MODULE.gather(tmp_path) == {
        "release": {"id": "", "version": "", "codename": ""},
        "container": "none",
        "packages": {},
        "users": [],
        "machine_id": "",
        "units": [],
        "undone": [],
        "root_encrypted": False,
    }


def test_the_module_changes_nothing_and_gives_one_fact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: FakeCommands
) -> None:
    monkeypatch.setattr(MODULE, "ROOT", tmp_path)
    commands.add("dpkg-query", "echo installed nftables 1.1.3-1")
    for check in (True, False):
        done = answer_of(MODULE, {}, check=check)
        assert (done["changed"], done["changes"]) == (False, [])
        assert list(done["ansible_facts"]) == ["antiseche"]
        assert done["ansible_facts"]["antiseche"]["packages"] == {"nftables": "1.1.3-1"}
    assert not list(tmp_path.glob("[!f]*")), "nothing is written"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n', ("debian", "13", "trixie")),
        ("ID='debian'\nVERSION_ID=12\n", ("debian", "12", "")),
        ("garbage\n=x\nID=\n", ("", "", "")),
        (b"ID=debian\nNAME=\xff\xfe\n", ("debian", "", "")),
        ("", ("", "", "")),
    ],
)
def test_release(tmp_path: Path, text: str | bytes, expected: tuple[str, str, str]) -> None:
    write(tmp_path, "etc/os-release", text)
    assert tuple(MODULE.release(tmp_path).values()) == expected


def test_release_where_the_distribution_keeps_it(tmp_path: Path) -> None:
    write(tmp_path, "usr/lib/os-release", "ID=debian\n")
    assert MODULE.release(tmp_path)["id"] == "debian"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"run/systemd/container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({"proc/1/environ": b"HOME=/\0container=lxc\0"}, "lxc"),
        ({"proc/1/environ": b"nocontainer=lxc\0HOME=/\0"}, "none"),
        ({"proc/1/environ": b"container=\xff\0"}, "\ufffd"),
        ({".dockerenv": ""}, "docker"),
        ({}, "none"),
    ],
)
def test_container(tmp_path: Path, files: dict[str, str | bytes], name: str) -> None:
    for path, text in files.items():
        write(tmp_path, path, text)
    assert MODULE.container(tmp_path) == name


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("installed a 1\\nconfig-files b 2\\nhalf-configured c 3\\nnot-installed d \\n", {"a": "1"}),
        ("installed a 1\\ninstalled a 2\\n", {"a": "1"}),
        ("installed a\\ninstalled\\n\\n", {}),
        ("installed a 1\\351\\n", {"a": "1\ufffd"}),
        ("", {}),
    ],
)
def test_packages(commands: FakeCommands, answer: str, expected: dict[str, str]) -> None:
    commands.add("dpkg-query", f"printf '{answer}'")
    assert MODULE.packages() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("root:x:0:0::/:/bin/sh\nanne:x:1:1::/:/bin/sh\n", ["root", "anne"]),
        ("+::::::\n-eve::::::\n+@net:\n# a:b\n:x\nnothing\n\n", []),
        ("eve:x:1:1:a\u2028b:/:/bin/sh\nanne:\n", ["eve", "anne"]),
        (b"h\xe9l:x\n", ["h\ufffdl"]),
    ],
)
def test_users(tmp_path: Path, text: str | bytes, expected: list[str]) -> None:
    write(tmp_path, "etc/passwd", text)
    assert MODULE.users(tmp_path) == expected


TRACE = {"name": "firewall", "at": "2026-01-01T00:00:00Z", "why": "timer", "token": "x"}


@pytest.mark.parametrize(
    ("text", "why"),
    [(json.dumps(TRACE), "timer"), ("", "unreadable trace"), ("{", "unreadable trace"), ("[1]", "unreadable trace")],
)
def test_undone_changes(tmp_path: Path, text: str, why: str) -> None:
    write(tmp_path, "var/lib/antiseche/undone/firewall.json", text)
    write(tmp_path, "var/lib/antiseche/undone/.firewall.json.new", "x")
    (found,) = MODULE.undone(tmp_path)
    assert (found["name"], found["why"]) == ("firewall", why)


@given(st.binary(max_size=200))
def test_no_file_breaks_the_facts(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    root = tmp_path_factory.mktemp("machine")
    for name in ("etc/os-release", "etc/passwd", "run/systemd/container", "etc/machine-id", "var/lib/antiseche/undone/x.json"):
        write(root, name, data)
    facts: dict[str, Any] = {
        "release": MODULE.release(root),
        "container": MODULE.container(root),
        "users": MODULE.users(root),
        "units": [],
        "undone": MODULE.undone(root),
    }
    json.dumps(facts).encode()


def test_our_own_units(tmp_path: Path) -> None:
    for name in ("antiseche-backup.timer", "antiseche-backup.service", "ssh.service", "antiseche-x.conf", ".antiseche-y.timer"):
        write(tmp_path, f"etc/systemd/system/{name}", "")
    (tmp_path / "etc/systemd/system/antiseche-backup.service.d").mkdir()
    assert MODULE.units(tmp_path) == ["antiseche-backup.service", "antiseche-backup.timer"]


@pytest.mark.parametrize(
    ("uuid", "encrypted"),
    [("CRYPT-LUKS2-00", True), ("CRYPT-LUKS1-00", True), ("CRYPT-PLAIN-x", True), ("LVM-00", False), ("", False)],
)
def test_a_system_on_a_logical_volume_is_encrypted_when_what_carries_it_is(tmp_path: Path, uuid: str, encrypted: bool) -> None:
    write(tmp_path, "proc/self/mounts", "proc /proc proc rw 0 0\n/dev/mapper/vg-root / ext4 rw 0 0\n")
    write(tmp_path, "dev/dm-1", "")
    (tmp_path / "dev/mapper").mkdir()
    (tmp_path / "dev/mapper/vg-root").symlink_to("../dm-1")
    write(tmp_path, "sys/class/block/dm-1/dm/uuid", "LVM-77\n")
    write(tmp_path, "sys/class/block/dm-1/slaves/dm-0", "")
    write(tmp_path, "sys/class/block/dm-0/dm/uuid", f"{uuid}\n")
    assert MODULE.root_encrypted(tmp_path) is encrypted


@pytest.mark.parametrize("mounts", ["", "overlay / overlay rw 0 0\n", "/dev/vda1 / ext4 rw 0 0\n", "/dev/x\n"])
def test_a_system_on_anything_else_is_not_encrypted(tmp_path: Path, mounts: str) -> None:
    write(tmp_path, "proc/self/mounts", mounts)
    assert MODULE.root_encrypted(tmp_path) is False
