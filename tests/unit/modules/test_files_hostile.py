"""Whole files on machines where somebody lays traps, disks fail and runs are killed."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import antiseche_files_land as landing
from ansible.module_utils import antiseche_files_plan as planning
from ansible.module_utils import antiseche_set_aside as set_aside
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from module_process import answer_of, load
from test_files import entry, files

MODULE = load("antiseche_files")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs another account's files")
SOMEBODY = 12345


class Killed(BaseException):
    """Stands for kill -9: no handler of ours may catch it."""


@pytest.fixture(autouse=True)
def aside(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("var") / "set-aside"
    monkeypatch.setattr(set_aside, "SET_ASIDE", folder)
    return folder


def look(path: Path) -> Any:
    info = path.lstat()
    kind = path.readlink() if path.is_symlink() else (path.read_bytes(), stat.S_IMODE(info.st_mode))
    return (kind, info.st_uid, info.st_gid)


def tree(root: Path) -> dict[str, Any]:
    return {str(p.relative_to(root)): look(p) for p in sorted(root.rglob("*")) if p.is_symlink() or p.is_file()}


# ---- traps on the way


@needs_root
def test_a_folder_that_somebody_else_owns_is_refused(tmp_path: Path) -> None:
    """Its owner could replace what is in it by a link, between our look and our act."""
    (tmp_path / "home/x").mkdir(parents=True)
    os.chown(tmp_path / "home", SOMEBODY, SOMEBODY)
    for done in (
        files(entry(tmp_path / "home/x/file")),
        files(directories=[{"path": str(tmp_path / "home/x/d")}]),
        files(absent=[str(tmp_path / "home/x/file")]),
        files(exclusive=[{"path": str(tmp_path / "home/x")}]),
        files(entry(tmp_path / "home/x/file"), check=True),
    ):
        assert f"{tmp_path}/home belongs to another account" in done["msg"]
    assert not list((tmp_path / "home/x").iterdir())


@needs_root
def test_the_last_folder_may_belong_to_a_service_but_none_before(tmp_path: Path) -> None:
    """As polkitd's rules on Debian 12."""
    rules = tmp_path / "rules.d"
    (rules / "deeper").mkdir(parents=True)
    (rules / "foreign").write_text("x")
    os.chown(rules, 990, 0)
    done = files(entry(rules / "x"), exclusive=[{"path": str(rules)}])
    assert done["changes"] == [f"file {rules}/x", f"set aside {rules}/foreign"]
    assert "belongs to another account" in files(entry(rules / "deeper/x"))["msg"]
    (rules / "source").symlink_to("/etc/shadow")
    asked = {"path": str(tmp_path / "copy"), "copy_of": str(rules / "source")}
    assert "belongs to another account" in files(asked)["msg"]


def test_what_turns_into_a_link_or_a_pipe_behind_our_back_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(OSError, match=rf"Errno {errno.ELOOP}\b"):
        set_aside.read_plain(tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    assert set_aside.read_plain(tmp_path / "pipe") == b""


@needs_root
def test_a_link_of_root_into_somebody_s_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home/x").mkdir(parents=True)
    os.chown(tmp_path / "home", SOMEBODY, SOMEBODY)
    (tmp_path / "link").symlink_to(tmp_path / "home/x")
    assert "belongs to another account" in files(entry(tmp_path / "link/file"))["msg"]


@needs_root
def test_content_is_never_copied_by_a_way_that_somebody_else_controls(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/source").symlink_to("/etc/shadow")
    os.chown(tmp_path / "home", SOMEBODY, SOMEBODY)
    asked = {"path": str(tmp_path / "x"), "copy_of": str(tmp_path / "home/source")}
    assert "belongs to another account" in files(asked)["msg"]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("mode", "refused"), [(0o777, True), (0o1777, False), (0o755, False), (0o757, True)])
def test_a_folder_where_everybody_writes_is_refused_unless_sticky(tmp_path: Path, mode: int, refused: bool) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d").chmod(mode)
    done = files(entry(tmp_path / "d/file"))
    assert bool(done.get("failed")) is refused
    assert not refused or f"other accounts can write in {tmp_path}/d" in done["msg"]


@needs_root
@pytest.mark.parametrize(("gid", "refused"), [(50, False), (2000, True)])
def test_a_folder_where_a_group_of_people_writes_is_refused(tmp_path: Path, gid: int, refused: bool) -> None:
    (tmp_path / "d").mkdir()
    os.chown(tmp_path / "d", 0, gid)
    (tmp_path / "d").chmod(0o2775)
    assert bool(files(entry(tmp_path / "d/file")).get("failed")) is refused


@pytest.mark.parametrize("make", [os.mkfifo, lambda p: os.mknod(p, stat.S_IFSOCK | 0o600)], ids=["fifo", "socket"])
def test_what_is_neither_file_nor_link_is_told_at_once(tmp_path: Path, make: Any) -> None:
    (tmp_path / "d").mkdir()
    make(tmp_path / "d/odd")
    for check in (True, False):
        assert "neither a file nor a link" in files(entry(tmp_path / "d/odd"), check=check)["msg"]
        assert "neither a file nor a link" in files(absent=[str(tmp_path / "d/odd")], check=check)["msg"]
        assert "neither a file nor a link" in files(exclusive=[{"path": str(tmp_path / "d")}], check=check)["msg"]


def acl(path: Path, kind: str = "access") -> None:
    """Let account 12345 read and write."""
    entries = [(1, 6, 2**32 - 1), (2, 6, SOMEBODY), (4, 4, 2**32 - 1), (16, 6, 2**32 - 1), (32, 0, 2**32 - 1)]
    value = b"\2\0\0\0" + b"".join(
        a.to_bytes(2, "little") + b.to_bytes(2, "little") + c.to_bytes(4, "little") for a, b, c in entries
    )
    try:
        os.setxattr(path, f"system.posix_acl_{kind}", value)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        pytest.skip("this file system has no access lists")


def test_an_access_list_on_a_file_is_drift(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("new\n")
    acl(tmp_path / "x")
    (tmp_path / "x").chmod(0o640)
    asked = entry(tmp_path / "x", mode="0640")
    assert files(asked, check=True)["changes"] == files(asked)["changes"] == [f"file {tmp_path}/x: access list"]
    assert files(asked)["changes"] == []
    assert not planning.has_access_list(tmp_path / "x")


def test_a_folder_s_default_list_does_not_reach_our_files(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o755)
    acl(tmp_path / "d", "default")
    assert files(entry(tmp_path / "d/x"))["changed"]
    assert files(entry(tmp_path / "d/x"))["changes"] == []
    folder = {"path": str(tmp_path / "d")}
    assert files(directories=[folder])["changes"] == [f"directory {tmp_path}/d: access list"]
    assert files(directories=[folder])["changes"] == []


@pytest.mark.parametrize("check", [True, False])
def test_an_immutable_file_is_told_before_anything_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: bool) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text("old")
    frozen = (tmp_path / "two").stat().st_ino
    flags = {True: (0x10).to_bytes(4, "little"), False: bytes(4)}
    monkeypatch.setattr(planning.fcntl, "ioctl", lambda fd, *_rest: flags[os.fstat(fd).st_ino == frozen])
    before = tree(tmp_path)
    done = files(entry(tmp_path / "one"), entry(tmp_path / "two"), check=check)
    assert f"{tmp_path}/two was made immutable by hand" in done["msg"]
    assert "immutable" in files(absent=[str(tmp_path / "two")], check=check)["msg"]
    assert tree(tmp_path) == before


@pytest.mark.parametrize("check", [True, False])
def test_a_read_only_disk_is_told_before_anything_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: bool) -> None:
    (tmp_path / "rw").write_text("old")
    (tmp_path / "ro").mkdir()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "ro" and real(path, mode))
    for path in ("ro/x", "ro/deep/er/x"):
        done = files(entry(tmp_path / "rw"), entry(tmp_path / path), check=check)
        assert f"nothing can be written in {tmp_path}/ro" in done["msg"]
    assert (tmp_path / "rw").read_text() == "old"


# ---- other files of a folder


def test_foreign_files_are_set_aside_whatever_their_names(tmp_path: Path, aside: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    odd = [b"a b", b"-rf", b"\xff\xfe", b"a\nb", b"x" * 250, b"$(id)", b"\xc3\xa9"]
    for name in odd:
        (folder / os.fsdecode(name)).write_bytes(name)
    (folder / "link").symlink_to("/etc/shadow")
    (folder / "ours").write_text("new\n")
    (folder / "ours").chmod(0o644)
    (folder / "kept").touch()
    (folder / "sub").mkdir()
    asked = {"exclusive": [{"path": str(folder), "keep": ["kept"]}]}
    predicted = files(entry(folder / "ours"), check=True, **asked)
    done = files(entry(folder / "ours"), **asked)
    assert done["changes"] == predicted["changes"]
    assert len(done["changes"]) == len(odd) + 1
    assert sorted(path.name for path in folder.iterdir()) == ["kept", "ours", "sub"]
    kept = {path.readlink() if path.is_symlink() else path.read_bytes() for path in aside.iterdir()}
    assert kept == {*odd, Path("/etc/shadow")}
    assert all(path.is_symlink() or stat.S_IMODE(path.stat().st_mode) == 0o600 for path in aside.iterdir())
    assert stat.S_IMODE(aside.stat().st_mode) == 0o700
    assert files(entry(folder / "ours"), **asked)["changes"] == []


def test_two_files_set_aside_under_one_name_are_both_kept(tmp_path: Path, aside: Path) -> None:
    for text in ("first", "second"):
        (tmp_path / "x").write_text(text)
        set_aside.move(tmp_path / "x", "same/label")
    assert {path.read_text() for path in aside.iterdir()} == {"first", "second"}
    (tmp_path / "x").symlink_to(tmp_path / "victim")
    set_aside.move(tmp_path / "x", "same/label")
    (tmp_path / "x").write_text("third")
    set_aside.move(tmp_path / "x", "same/label")
    assert not (tmp_path / "victim").exists(), "no link is ever written through"


def test_set_aside_on_a_full_disk_nothing_is_lost(tmp_path: Path, aside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_text("precious")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        set_aside.move(tmp_path / "x", "x")
    assert (tmp_path / "x").read_text() == "precious"
    assert not list(aside.iterdir()), "no half copy stays"


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["fifo", "folder"])
def test_only_files_and_links_are_set_aside(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "odd")
    with pytest.raises(OSError, match="neither a file nor a link"):
        set_aside.move(tmp_path / "odd", "odd")
    with pytest.raises(OSError, match="neither a file nor a link"):
        set_aside.move(tmp_path / "missing", "missing")


def test_leftovers_of_killed_runs_are_swept_and_those_of_living_ones_not(tmp_path: Path) -> None:
    folder = tmp_path / "logrotate.d"
    folder.mkdir()
    dead = folder / ".antiseche-0123abcd.new"
    dead.write_text("half")
    with landing.Staged(folder / "other", b"x", 0o644, os.geteuid(), os.getegid()) as living:
        assert files(exclusive=[{"path": str(folder)}])["changes"] == [], "they are nobody's configuration"
        assert files(entry(folder / "x"))["changed"]
        assert not dead.exists()
        assert living.new.exists()
    assert [path.name for path in folder.iterdir()] == ["x"]


# ---- all or nothing


def prepared(root: Path) -> dict[str, Any]:
    """Make a folder where every kind of change is to be made; return the arguments."""
    (root / "aside.d").mkdir(parents=True)
    (root / "changed").write_text("old")
    (root / "changed").chmod(0o4750)
    (root / "mode").write_text("new\n")
    (root / "mode").chmod(0o600)
    (root / "link").symlink_to("changed")
    (root / "gone").write_text("gone")
    (root / "gone link").symlink_to("nowhere")
    (root / "aside.d/foreign").write_text("foreign")
    if os.geteuid() == 0:
        os.chown(root / "changed", SOMEBODY, SOMEBODY)
        (root / "changed").chmod(0o4750)
        os.chown(root / "link", SOMEBODY, SOMEBODY, follow_symlinks=False)
    return {
        "files": [entry(root / name) for name in ("created", "changed", "mode", "link", "deep/er/created")],
        "absent": [str(root / "gone"), str(root / "gone link")],
        "exclusive": [{"path": str(root / "aside.d")}],
    }


def fail_at(patch: pytest.MonkeyPatch, step: int, error: BaseException) -> None:
    """Let the step-th change of a name on the disk fail."""
    count = itertools.count(1)
    for name in ("replace", "unlink"):
        real = getattr(Path, name)

        def call(*arguments: Any, _real: Any = real, **options: Any) -> Any:
            if next(count) == step:
                raise error
            return _real(*arguments, **options)

        patch.setattr(Path, name, call)


def test_whatever_fails_half_way_is_taken_back(tmp_path: Path) -> None:
    for step in itertools.count(1):
        root = tmp_path / str(step)
        asked = prepared(root)
        before = tree(root)
        with pytest.MonkeyPatch.context() as patch:
            fail_at(patch, step, OSError(errno.EBUSY, "Device or resource busy"))
            done = answer_of(MODULE, asked)
        if not done.get("failed"):
            break
        assert "Device or resource busy; no file was changed" in done["msg"], f"step {step}"
        assert tree(root) == before, f"step {step}"
    assert step > 7, "every change was made to fail"
    assert answer_of(MODULE, asked)["changes"] == []


def test_killed_at_any_step_every_file_is_whole_and_the_next_run_finishes(tmp_path: Path) -> None:
    for step in itertools.count(1):
        root = tmp_path / str(step)
        asked = prepared(root)
        before = tree(root)
        with pytest.MonkeyPatch.context() as patch:
            # Not even the cleaning up happens after a kill.
            patch.setattr(landing.Staged, "__exit__", lambda self, *_exception: self._file.close())
            fail_at(patch, step, Killed())
            try:
                answer_of(MODULE, asked)
                killed = False
            except Killed:
                killed = True
        for name, state in tree(root).items():
            if not planning.STAGED.fullmatch(Path(name).name):
                assert state == before.get(name) or state[0] == (b"new\n", 0o644), f"step {step}: {name}"
        assert not answer_of(MODULE, asked).get("failed")
        assert answer_of(MODULE, asked)["changes"] == []
        assert sorted(tree(root)) == ["changed", "created", "deep/er/created", "link", "mode"], f"step {step}"
        if not killed:
            break
    assert step > 7


def test_what_cannot_be_taken_back_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = prepared(tmp_path / "root")
    real = Path.replace

    def broken(self: Path, target: Path) -> Path:
        if target.name in ("mode", "changed") and broken.calls.count(target.name) >= (target.name == "changed"):
            raise OSError(errno.EROFS, "Read-only file system")
        broken.calls.append(target.name)
        return real(self, target)

    broken.calls = []
    monkeypatch.setattr(Path, "replace", broken)
    done = answer_of(MODULE, asked)
    assert done["msg"].endswith(f"could not be put back: {tmp_path}/root/mode, {tmp_path}/root/changed")


def test_a_disk_that_is_full_when_staging_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = prepared(tmp_path / "root")
    before = tree(tmp_path)
    real, count = os.fsync, itertools.count(1)

    def full(descriptor: int) -> None:
        if next(count) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    done = answer_of(MODULE, asked)
    assert "cannot be written: No space left on device; no file was changed" in done["msg"]
    assert tree(tmp_path) == before


modes = st.sampled_from(["0600", "0644", "0755", "4750", "0000"])
contents = st.text(max_size=20)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    found=st.dictionaries(st.sampled_from("abcd"), st.tuples(contents, modes) | st.just("link"), max_size=4),
    asked=st.dictionaries(st.sampled_from("abcd"), st.tuples(contents, modes), max_size=4),
    absent=st.sets(st.sampled_from("abcd")),
    exclusive=st.booleans(),
)
def test_any_folder_converges_in_one_pass_as_predicted(
    tmp_path_factory: pytest.TempPathFactory, found: Any, asked: Any, absent: set[str], exclusive: bool
) -> None:
    root = tmp_path_factory.mktemp("root")
    for name, state in found.items():
        if state == "link":
            (root / name).symlink_to("/etc/hostname")
        else:
            (root / name).write_text(state[0], newline="")
            (root / name).chmod(int(state[1], 8))
    arguments = {
        "files": [entry(root / name, content, mode=mode) for name, (content, mode) in asked.items()],
        "absent": [str(root / name) for name in absent - set(asked)],
        "exclusive": [{"path": str(root)}] if exclusive else [],
    }
    predicted = answer_of(MODULE, arguments, check=True)
    done = answer_of(MODULE, arguments)
    assert not done.get("failed"), done
    assert (done["changes"], done["diff"]) == (predicted["changes"], predicted["diff"])
    assert answer_of(MODULE, arguments)["changes"] == []
    for name, (content, mode) in asked.items():
        assert (root / name).read_bytes() == content.encode()
        assert stat.S_IMODE((root / name).lstat().st_mode) == int(mode, 8)
    left = set(asked) if exclusive else (set(found) | set(asked)) - (absent - set(asked))
    assert {path.name for path in root.iterdir()} == left
    shutil.rmtree(root)


def test_the_validator_is_found_where_sbin_is_not_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else check mode would skip what a run then refuses."""
    tool = tmp_path / "sbin/refuse"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setattr(MODULE, "SEARCH_PATH", f"{tool.parent}:{MODULE.SEARCH_PATH}")
    done = answer_of(MODULE, {"files": [entry(tmp_path / "x", validate="refuse %s")]}, check=True)
    assert "refused by refuse" in done["msg"]
    assert "/usr/sbin" in MODULE.SEARCH_PATH
