"""Reading account files as the C library does, hostile ones first; and running the tools."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from accounts_samples import ANNE, ROOT_LINE, account, machine, needs_root, person, state, texts, wanted
from ansible.module_utils import antiseche_accounts_read as reader
from hypothesis import given
from hypothesis import strategies as st
from module_process import FakeCommands


def test_reading_the_account_files(tmp_path: Path) -> None:
    home = tmp_path / "home/anne"
    home.mkdir(parents=True)
    home.chmod(0o750)
    machine(
        tmp_path,
        "root:x:0:0:root:/root:/bin/bash\nanne:x:1001:1001:Anne,,:/home/anne:\n# a comment\n\n+::::::\n-eve::::::\n+@net\nx\n",
        "root:*:20000:0:99999:7:::\nanne:$y$j9T$x:20001:1:90:14::21000:\n",
        "root:x:0:\ncabinet:x:2000:anne,eve, anne\n+:::\n",
    )
    found = reader.read_state(tmp_path, {})
    anne = found.accounts["anne"]
    assert list(found.accounts) == ["root", "anne"]
    assert (anne.ages, anne.last_change, anne.expires, anne.shell) == ((1, 90, 14), 20001, 21000, "/bin/sh")
    assert (anne.home_mode, anne.home_uid, anne.home_problem) == (0o750, os.geteuid(), "")
    assert found.groups["cabinet"] == (2000, ["anne", "eve"])
    assert not found.unshadowed


@pytest.mark.parametrize("fields", ["anne:$y$x:20001::::::", "anne:$y$x:20001:0:-1:7:::"])
def test_absent_ages_mean_endless(tmp_path: Path, fields: str) -> None:
    machine(tmp_path, shadow=fields + "\n")
    assert reader.read_state(tmp_path, {}).accounts["anne"].ages[1] >= 99999


def test_a_machine_without_any_account_file(tmp_path: Path) -> None:
    found = reader.read_state(tmp_path, {"protect_password_files": True})
    assert (found.accounts, found.groups, found.open_files) == ({}, {}, [])


def test_a_managed_group_with_a_second_name_is_refused(tmp_path: Path) -> None:
    machine(tmp_path, group="cabinet-admins:x:1004:\ncabinet-secretariat:x:1004:anne\nother:x:1005:\n")
    with pytest.raises(ValueError, match="groups cabinet-admins and cabinet-secretariat share the number 1004"):
        reader.read_state(tmp_path, {"groups": ["cabinet-admins"]})
    assert reader.read_state(tmp_path, {"groups": ["other", "to-come"]}).groups["other"] == (1005, [])


def test_days_after_the_end_of_a_password_are_read(tmp_path: Path) -> None:
    machine(tmp_path, shadow="anne:$y$x:20001:0:90:7:0::\n")
    assert reader.read_state(tmp_path, {}).accounts["anne"].inactive == 0


# ---- what somebody could hide


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r"])
def test_nobody_hides_an_account_by_an_odd_character_in_the_full_name(tmp_path: Path, separator: str) -> None:
    """Anybody may write most of these with chfn."""
    machine(tmp_path, f"{ROOT_LINE}eve:x:1001:1001:Eve,x{separator}y:/home/eve:/bin/bash\n")
    found = reader.read_state(tmp_path, {})
    assert list(found.accounts) == ["root", "eve"]
    assert "account eve: locked (unknown)" in texts(found, wanted())


@given(gecos=st.text(st.characters(blacklist_characters=":\n\0", blacklist_categories=["Cs"])))
def test_no_full_name_hides_an_account(tmp_path_factory: pytest.TempPathFactory, gecos: str) -> None:
    root = machine(tmp_path_factory.mktemp("machine"), f"{ROOT_LINE}eve:x:1001:1001:{gecos}:/home/eve:/bin/bash\n")
    assert reader.read_state(root, {}).accounts["eve"].gecos == gecos
    shutil.rmtree(root)


def test_bytes_that_are_no_utf_8_hide_nothing(tmp_path: Path) -> None:
    machine(tmp_path, ROOT_LINE + os.fsdecode(b"eve:x:1001:1001:H\xe9l\xe8ne:/home/eve:/bin/bash\n"))
    found = reader.read_state(tmp_path, {})
    assert texts(found, wanted(person("eve", name="Hélène")))[1] == "account eve: name"


# As tried with getent on Debian 12 and 13: each of these is read by the C library, the first six as root's number.
READ_BY_THE_LIBRARY = [
    "evil:x:0:0",
    "evil:x:0:0:name",
    "evil:x:+0:0::/:/bin/sh",
    "evil:x:-0:0::/:/bin/sh",
    "evil:x: 0:0::/:/bin/sh",
    "  evil:x:0:0::/:/bin/sh",
    "ev il:x:1:1::/:/bin/sh",
    "evil:x:1:1:a:b:/bin/sh:more",
]


@pytest.mark.parametrize("line", READ_BY_THE_LIBRARY)
def test_lines_that_give_rights_and_that_no_tool_can_mend_are_told(tmp_path: Path, line: str) -> None:
    machine(tmp_path, f"{ROOT_LINE}{line}\n")
    with pytest.raises(ValueError, match=r"/etc/passwd, line 2 is malformed, yet may give rights: mend it \(vipw"):
        reader.read_state(tmp_path, {})


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("shadow", "anne:$6$a:1:0:99999"),
        ("shadow", "anne:$6$a"),
        ("shadow", "anne:$6$a:1:0:99999:7::"),
        ("group", "sudo:x:+27:eve"),
        ("group", "sudo:x:27"),
        ("group", "sudo:x:27:eve:more"),
        ("gshadow", "sudo:*"),
        ("passwd", "anne:x:99999999999:1::/:/bin/sh"),
        ("passwd", "anne:x:0x0:1::/:/bin/sh"),
        ("passwd", "anne:x:٣:1::/:/bin/sh"),
    ],
)
def test_malformed_lines_are_told_with_their_place(tmp_path: Path, file: str, line: str) -> None:
    machine(tmp_path)
    (tmp_path / "etc" / file).write_text(f"# first\n{line}\n")
    with pytest.raises(ValueError, match=f"/etc/{file}, line 2 is malformed"):
        reader.read_state(tmp_path, {})


@pytest.mark.parametrize("file", ["passwd", "shadow", "group"])
def test_a_name_that_stands_twice_is_told(tmp_path: Path, file: str) -> None:
    """The C library takes the first line, so that a second one could hide what the first one gives."""
    lines = {"passwd": ANNE, "shadow": "anne:*:1:0:99999:7:::\n", "group": "anne:x:1001:\n"}
    machine(tmp_path)
    (tmp_path / "etc" / file).write_text(lines[file] * 2)
    with pytest.raises(ValueError, match=f"/etc/{file}, line 2 names anne a second time"):
        reader.read_state(tmp_path, {})


@pytest.mark.parametrize(
    ("field", "hashed", "usable"), [("$6$x", "$6$x", True), ("", "", True), ("*", "*", False), ("!$6$x", "!$6$x", False)]
)
def test_a_hash_in_passwd_itself_is_the_one_that_counts(tmp_path: Path, field: str, hashed: str, usable: bool) -> None:
    machine(tmp_path, f"{ROOT_LINE}eve:{field}:1001:1001::/home/eve:/bin/bash\n", "eve:!:1:0:99999:7:::\n")
    found = reader.read_state(tmp_path, {})
    assert found.accounts["eve"].hash == hashed
    assert found.accounts["eve"].last_change is None, "pwconv will write its own day"
    assert found.accounts["eve"].has_usable_password is usable
    assert found.unshadowed is (field != "*")


def test_who_is_a_member_for_newgrp_only_and_who_may_add_members(tmp_path: Path) -> None:
    gshadow = "sudo:$6$x:eve:eve,anne\nadm:!$6$x::\ndisk:*::\ngone:$6$x:eve:eve\n"
    machine(tmp_path, group="sudo:x:27:anne\nadm:x:4:\ndisk:x:6:\n", gshadow=gshadow)
    found = reader.read_state(tmp_path, {})
    assert found.hidden_members["sudo"] == ["eve"]
    assert found.group_admins["sudo"] == ["eve"]
    assert found.group_passwords == {"sudo"}


@pytest.mark.parametrize(
    ("line", "open_"), [("STATE=active", True), ("STATE=lingering", True), ("STATE=closing", False), ("", False)]
)
def test_sessions_are_seen_until_they_close(tmp_path: Path, line: str, open_: bool) -> None:
    machine(tmp_path)
    (tmp_path / "run/systemd/users").mkdir(parents=True)
    (tmp_path / "run/systemd/users/1001").write_text(f"# note\nNAME=anne\n{line}\n")
    assert reader.read_state(tmp_path, {}).accounts["anne"].in_session is open_


def test_a_first_password_half_set_is_seen(tmp_path: Path) -> None:
    machine(tmp_path)
    (tmp_path / reader.FIRST_PASSWORDS).mkdir(parents=True)
    (tmp_path / reader.FIRST_PASSWORDS / "anne").touch()
    assert reader.read_state(tmp_path, {}).half_set == {"anne"}


# ---- homes


def problem(root: Path) -> str:
    text: str = reader.read_state(root, {}).accounts["anne"].home_problem
    return text


def test_a_home_that_an_administrator_put_elsewhere(tmp_path: Path) -> None:
    machine(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "data/anne").mkdir(parents=True)
    (tmp_path / "home/anne").symlink_to(tmp_path / "data/anne")
    found = reader.read_state(tmp_path, {}).accounts["anne"]
    assert (found.home_mode, found.home_path, found.home_problem) == (0o755, str(tmp_path / "data/anne"), "")


def test_a_home_that_leads_into_the_system_is_never_touched(tmp_path: Path) -> None:
    machine(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/anne").symlink_to("/etc")
    assert "leads to /etc, which belongs to the system" in problem(tmp_path)


@needs_root
def test_a_link_that_a_person_laid_is_never_followed(tmp_path: Path) -> None:
    machine(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "srv/x").mkdir(parents=True)
    (tmp_path / "home/anne").symlink_to(tmp_path / "srv/x")
    os.chown(tmp_path / "home/anne", 1001, 1001, follow_symlinks=False)
    assert "is not a folder" in problem(tmp_path)


@needs_root
def test_a_home_inside_somebody_else_s_folder_is_never_touched(tmp_path: Path) -> None:
    machine(tmp_path, ROOT_LINE + ANNE.replace("/home/anne", "/srv/eve/anne"))
    (tmp_path / "srv/eve/anne").mkdir(parents=True)
    os.chown(tmp_path / "srv/eve", 1002, 1002)
    assert "belongs to another account" in problem(tmp_path)


def test_a_home_that_is_a_file_or_a_loop_is_told(tmp_path: Path) -> None:
    machine(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/anne").write_text("x")
    assert "is not a folder" in problem(tmp_path)
    (tmp_path / "home/anne").unlink()
    (tmp_path / "home/anne").symlink_to("anne")
    assert problem(tmp_path)


def test_a_home_that_is_not_there_is_just_missing(tmp_path: Path) -> None:
    machine(tmp_path)
    assert problem(tmp_path) == ""
    assert reader.read_state(tmp_path, {}).accounts["anne"].home_mode is None


# ---- files of hashes


@needs_root
@pytest.mark.parametrize(
    ("mode", "gid", "open_"), [(0o640, 42, False), (0o600, 0, False), (0o640, 100, True), (0o644, 42, True), (0o660, 42, True)]
)
def test_who_may_read_hashes(tmp_path: Path, mode: int, gid: int, open_: bool) -> None:
    machine(tmp_path, group="shadow:x:42:\n")
    (tmp_path / "etc/shadow").chmod(mode)
    os.chown(tmp_path / "etc/shadow", 0, gid)
    (tmp_path / "etc/gshadow").chmod(0o600)
    found = reader.read_state(tmp_path, {"protect_password_files": True})
    assert found.open_files == (["/etc/shadow"] if open_ else [])


# ---- sudo's folder


@pytest.mark.parametrize(
    ("rules", "foreign"),
    [
        ({"User_Specs": [{"User_List": [{"username": "anne"}]}]}, True),
        ({"User_Specs": [{"User_List": [{"usergroup": "staff"}]}]}, True),
        ({"User_Specs": [{"User_List": [{"userid": 105}]}]}, True),
        ({"User_Specs": [{"User_List": [{"netgroup": "svc"}]}]}, True),
        ({"User_Specs": [{"User_List": [{"username": "ALL"}]}]}, True),
        ({"User_Specs": [{"User_List": [{"username": "svc", "negated": True}]}]}, True),
        ({"User_Specs": [{"User_List": []}]}, True),
        ({"User_Specs": [{"User_List": [{"username": "svc"}]}]}, False),
        ({"User_Specs": [{"User_List": [{"username": "svc"}]}, {"User_List": [{"username": "anne"}]}]}, True),
        ({"Defaults": [{"Options": [{"authenticate": False}]}]}, True),
        ({"Defaults": [{"Options": [{"lecture": False}]}]}, False),
        ({"Defaults": [{"Options": [{"lecture": False}, {"use_pty": False}]}]}, True),
        ({"Defaults": [{"Binding": [{"username": "svc"}], "Options": [{"requiretty": False}]}]}, False),
        ({"Defaults": [{"Binding": [{"username": "anne"}], "Options": [{"authenticate": False}]}]}, True),
        ({"Defaults": [{"Options": [{"operation": "list_add", "env_keep": ["BASH_ENV"]}]}]}, True),
        ({}, False),
        (None, True),
        ([], True),
    ],
    ids=repr,
)
def test_which_sudo_files_are_foreign(tmp_path: Path, commands: FakeCommands, rules: Any, foreign: bool) -> None:
    folder = tmp_path / "sudoers.d"
    folder.mkdir()
    for name in ("antiseche", "odd", "skipped.bak", "old~"):
        (folder / name).write_text("x")
    (folder / "sub").mkdir()
    (tmp_path / "answer").write_text("no JSON" if rules is None else json.dumps(rules))
    commands.add("cvtsudoers", f"cat {tmp_path / 'answer'}")
    found = state(anne=account(), svc=account(105, "Svc"))
    assert reader.foreign_sudoers(folder, ["antiseche"], found) == (["odd"] if foreign else [])


needs_sudo = pytest.mark.skipif(shutil.which("cvtsudoers") is None, reason="needs sudo's own tools")


@needs_sudo
@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("# nothing\n", False),
        ("svc ALL=(ALL) NOPASSWD: /usr/bin/true\n", False),
        ("eve ALL=(ALL) NOPASSWD: ALL\n", True),
        ("eve ALL=(ALL) NOPASSWD: ALL\nthis line is (((\n", True),
        ("Defaults !authenticate\n", True),
        ("User_Alias X = svc, eve\nX ALL=(ALL) ALL\n", True),
        ("#1001 ALL=(ALL) ALL\n", True),
        ("ALL, !svc ALL=(ALL) ALL\n", True),
    ],
)
def test_sudo_s_own_reading_of_rules(tmp_path: Path, text: str, foreign: bool) -> None:
    """A line with an error makes cvtsudoers say nothing, but sudo still obeys the others."""
    (tmp_path / "rules").write_text(text)
    found = state(svc=account(105, "Svc"))
    assert reader.foreign_sudoers(tmp_path, [], found) == (["rules"] if foreign else [])
