"""Running the account tools: busy, failing, lying, killed."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from accounts_samples import ANNE, ROOT_LINE, machine, needs_root, person, texts, wanted
from ansible.module_utils import antiseche_accounts_read as reader
from ansible.module_utils import antiseche_set_aside
from module_process import FakeCommands, answer_of, load


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    loaded = load("antiseche_accounts")
    monkeypatch.setattr(loaded, "ROOT", tmp_path)
    monkeypatch.setattr(loaded.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(antiseche_set_aside, "SET_ASIDE", tmp_path / "aside")
    return loaded


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
    login, _colon, hashed = (commands.folder / "chpasswd.stdin").read_text().partition(":")
    assert login == "anne"
    assert hashed.startswith("$y$")
    assert "S3cret" not in hashed
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


@pytest.mark.parametrize("check", [True, False])
def test_an_account_file_that_nobody_can_replace_is_told_alike_in_both_modes(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    machine(tmp_path, ROOT_LINE, shadow="root:*:1:0:99999:7:::\n")

    def frozen(path: Path) -> None:
        if path.name == "group":
            raise RuntimeError(f"{path} was made immutable by hand")

    monkeypatch.setattr(module, "refuse_frozen", frozen)
    done = answer_of(module, ASKED, check=check)
    assert done["msg"] == f"{tmp_path}/etc/group was made immutable by hand"
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
