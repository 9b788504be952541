"""Reading account files as the C library does, hostile ones first; and running the tools."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from accounts_samples import account, person, state, texts, wanted
from ansible.module_utils import antiseche_accounts_read as reader
from ansible.module_utils import antiseche_set_aside
from hypothesis import given
from hypothesis import strategies as st
from module_process import FakeCommands, answer_of, load

ROOT_LINE = "root:x:0:0:root:/root:/bin/bash\n"
ANNE = "anne:x:1001:1001:Anne,,:/home/anne:/bin/bash\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def machine(root: Path, passwd: str = ROOT_LINE + ANNE, shadow: str = "", group: str = "", gshadow: str = "") -> Path:
    (root / "etc").mkdir()
    for name, text in (("passwd", passwd), ("shadow", shadow), ("group", group), ("gshadow", gshadow)):
        (root / "etc" / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    return root


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    loaded = load("antiseche_accounts")
    monkeypatch.setattr(loaded, "ROOT", tmp_path)
    monkeypatch.setattr(loaded.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(antiseche_set_aside, "SET_ASIDE", tmp_path / "aside")
    return loaded


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


@needs_root
def test_the_backup_of_an_open_file_is_closed_with_it(module: Any, tmp_path: Path) -> None:
    """The tools copy the rights of the file that they replace."""
    machine(tmp_path, group="shadow:x:42:\n")
    for name in ("gshadow", "gshadow-"):
        (tmp_path / "etc" / name).touch()
        (tmp_path / "etc" / name).chmod(0o644)
    module.Applier({}).do_protect("/etc/gshadow")
    for name in ("gshadow", "gshadow-"):
        info = (tmp_path / "etc" / name).stat()
        assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o640, 0, 42)
    (tmp_path / "etc/gshadow").unlink()
    (tmp_path / "etc/gshadow").symlink_to(tmp_path / "victim")
    (tmp_path / "victim").touch(mode=0o644)
    with pytest.raises(OSError, match="symbolic links"):
        module.Applier({}).do_protect("/etc/gshadow")
    assert stat.S_IMODE((tmp_path / "victim").stat().st_mode) == 0o644


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


# ---- running the tools


def test_a_busy_account_file_is_tried_again(module: Any, commands: FakeCommands, tmp_path: Path) -> None:
    busy = 'echo "usermod: cannot lock /etc/passwd; try again later." >&2; exit 1'
    commands.add("usermod", f"[ -e {tmp_path}/once ] || {{ touch {tmp_path}/once; {busy}; }}")
    module.Applier({}).run(["usermod", "-L", "anne"])
    assert commands.calls == ["usermod -L anne"] * 2
    commands.add("usermod", busy)
    with pytest.raises(RuntimeError, match="cannot lock"):
        module.Applier({}).run(["usermod", "-L", "anne"])


def test_a_failing_tool_is_told_and_the_password_is_not(module: Any, commands: FakeCommands) -> None:
    commands.add("chpasswd", "echo no way >&2; exit 3")
    with pytest.raises(RuntimeError, match="chpasswd failed") as caught:
        module.Applier({"initial_passwords": {"anne": "S3cret"}}).do_password("anne")
    assert "S3cret" not in str(caught.value)
    assert "S3cret" not in "".join(commands.calls)


def test_killed_between_the_password_and_the_order_to_change_it(module: Any, commands: FakeCommands, tmp_path: Path) -> None:
    """The next run finishes: a first password that need not be changed would be known to us for ever."""
    machine(tmp_path, shadow="anne:$y$x:20000:0:99999:7:::\n", group="anne:x:1001:\n")
    commands.add("chpasswd", 'cat >"$0.stdin"')
    commands.add("chage", "exit 9")
    with pytest.raises(RuntimeError, match="chage failed"):
        module.Applier({"initial_passwords": {"anne": "S3cret"}}).do_password("anne")
    assert (commands.folder / "chpasswd.stdin").read_text() == "anne:S3cret\n"
    found = reader.read_state(tmp_path, {})
    assert "password anne: to be changed at first logon" in texts(found, wanted(person()))
    commands.add("chage")
    module.Applier({}).do_renew_first("anne")
    assert reader.read_state(tmp_path, {}).half_set == set()
    assert commands.calls[-1] == "chage -d 0 -- anne"


@needs_root
def test_a_home_is_closed_without_following_links(module: Any, tmp_path: Path) -> None:
    machine(tmp_path)
    home = tmp_path / "home/anne"
    home.mkdir(parents=True)
    module.Applier({}).do_home("anne")
    assert (stat.S_IMODE(home.stat().st_mode), home.stat().st_uid, home.stat().st_gid) == (0o700, 1001, 1001)
    home.rmdir()
    (tmp_path / "victim").mkdir()
    home.symlink_to(tmp_path / "victim")
    os.chown(home, 1001, 1001, follow_symlinks=False)
    with pytest.raises(RuntimeError, match="not a folder"):
        module.Applier({}).do_home("anne")
    assert (tmp_path / "victim").stat().st_uid == 0


@pytest.mark.parametrize("login", ["nobody-here", "anne"])
def test_an_account_or_a_home_that_vanished_meanwhile_is_told(module: Any, tmp_path: Path, login: str) -> None:
    machine(tmp_path)
    with pytest.raises(RuntimeError, match=r"gone|does not exist"):
        module.Applier({}).do_home(login)


def test_a_machine_without_logind_has_no_sessions_to_end(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    module.Applier({}).do_sessions("anne")


def test_foreign_sudo_files_are_kept_aside(module: Any, tmp_path: Path) -> None:
    folder = tmp_path / "sudoers.d"
    folder.mkdir()
    (folder / "odd").write_text("eve ALL=(ALL) ALL\n")
    module.Applier({"sudoers_dir": str(folder)}).do_aside("odd")
    kept = list((tmp_path / "aside").iterdir())
    assert not list(folder.iterdir())
    assert len(kept) == 1
    assert kept[0].name.startswith("sudoers.d-odd.")
    assert kept[0].read_text() == "eve ALL=(ALL) ALL\n"
    assert stat.S_IMODE(kept[0].stat().st_mode) == 0o600


# ---- the module as a whole


ASKED = {"people": [{"login": "anne", "name": "Anne"}], "maintenance_user": "antiseche"}


def test_check_mode_runs_no_tool_and_predicts(module: Any, commands: FakeCommands, tmp_path: Path) -> None:
    machine(tmp_path, ROOT_LINE, shadow="root:*:1:0:99999:7:::\n")
    done = answer_of(module, {**ASKED, "initial_passwords": {"anne": "S3cret-S3cret"}}, check=True)
    assert done["changes"] == ["account anne: created", "password anne: first password, to be changed at first logon"]
    assert commands.calls == []
    assert "S3cret" not in json.dumps(done)


def test_tools_that_claim_to_have_worked_are_not_believed(module: Any, commands: FakeCommands, tmp_path: Path) -> None:
    machine(tmp_path, ROOT_LINE + ANNE, shadow="root:*:1:0:99999:7:::\n", group="anne:x:1001:\n")
    home = tmp_path / "home/anne"
    home.mkdir(parents=True, mode=0o700)
    os.chown(home, 1001 if os.geteuid() == 0 else -1, -1)
    for tool in ("usermod", "chage", "loginctl"):
        commands.add(tool)
    done = answer_of(module, {**ASKED, "people": [{"login": "anne", "name": "Anne", "state": "locked"}]})
    assert done["failed"]
    assert "reported success after 1 changes, yet this is still to do: account anne: locked (left)" in done["msg"]
    assert done["changes"] == ["account anne: locked (left)"]


def test_a_failure_half_way_tells_what_was_made(module: Any, commands: FakeCommands, tmp_path: Path) -> None:
    machine(tmp_path, ROOT_LINE, shadow="root:*:1:0:99999:7:::\n")
    commands.add("groupadd")
    commands.add("useradd", "echo broken >&2; exit 4")
    done = answer_of(module, {**ASKED, "groups": ["cabinet"]})
    assert done["failed"]
    assert done["msg"] == "useradd failed (4): broken"
    assert done["changes"] == ["group cabinet: created"]
    assert done["changed"]


@pytest.mark.parametrize("check", [True, False])
def test_a_malformed_file_fails_alike_in_both_modes(module: Any, tmp_path: Path, check: bool) -> None:
    machine(tmp_path, f"{ROOT_LINE}evil:x:0:0\n")
    done = answer_of(module, ASKED, check=check)
    assert done["failed"]
    assert "line 2 is malformed" in done["msg"]
    assert done["changes"] == []


def test_every_option_says_whether_it_is_a_secret(module: Any) -> None:
    """Ansible warns about names that sound like secrets unless they say that they are none."""
    assert module.SPEC["initial_passwords"]["no_log"] is True
    assert module.SPEC["protect_password_files"]["no_log"] is False


def test_a_stopped_tool_is_told(module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(tmp_path, ROOT_LINE, shadow="root:*:1:0:99999:7:::\n")

    def hangs(*_arguments: Any, **_options: Any) -> Any:
        raise subprocess.TimeoutExpired("useradd", 120)

    monkeypatch.setattr(module.subprocess, "run", hangs)
    done = answer_of(module, ASKED)
    assert done["failed"]
    assert "useradd" in done["msg"]
