"""Whole files: planned, validated, landed."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from module_process import answer_of, load, run_module

MODULE = load("antiseche_files")
ME = pwd.getpwuid(os.geteuid()).pw_name
MY_GROUP = grp.getgrgid(os.getegid()).gr_name


def entry(path: Path, content: str = "new\n", **options: Any) -> dict[str, Any]:
    return {"path": str(path), "content": content, "owner": ME, "group": MY_GROUP, **options}


def files(*entries: dict[str, Any], check: bool = False, **others: Any) -> dict[str, Any]:
    return answer_of(MODULE, {"files": list(entries), **others}, check=check)


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(p.relative_to(root)): (p.lstat().st_mode, os.fsencode(p.readlink()) if p.is_symlink() else p.read_bytes())
        for p in sorted(root.rglob("*"))
        if p.is_symlink() or p.is_file()
    }


def test_as_a_process_of_its_own(tmp_path: Path) -> None:
    wanted = {"files": [entry(tmp_path / "x")]}
    assert run_module("antiseche_files", wanted, check=True)["changes"] == [f"file {tmp_path}/x"]
    assert run_module("antiseche_files", wanted)["changed"]
    assert not run_module("antiseche_files", wanted)["changed"]


def test_create_then_nothing_left_to_do(tmp_path: Path) -> None:
    wanted = entry(tmp_path / "a/b.conf", mode="0640")
    predicted = files(wanted, check=True)
    assert not list(tmp_path.iterdir())
    done = files(wanted)
    assert done["changed"]
    assert done["changes"] == predicted["changes"] == [f"file {tmp_path}/a/b.conf"]
    assert done["diff"] == predicted["diff"]
    assert (tmp_path / "a/b.conf").read_text() == "new\n"
    assert (tmp_path / "a/b.conf").stat().st_mode & 0o7777 == 0o640
    again = files(wanted)
    assert not again["changed"]
    assert again["changes"] == []
    assert again["diff"] == []


def test_one_refusal_leaves_every_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("old")
    (tmp_path / "two").write_text("old")
    before = tree(tmp_path)
    done = files(
        entry(tmp_path / "one", validate="true %s"),
        entry(tmp_path / "two", "secret word\n", validate="grep -q impossible %s"),
        absent=[str(tmp_path / "gone")],
    )
    assert done["failed"]
    assert "two" in done["msg"]
    assert "nothing was changed" in done["msg"]
    assert tree(tmp_path) == before


def test_the_validation_sees_the_new_content_under_its_own_name(tmp_path: Path) -> None:
    done = files(entry(tmp_path / "x.conf", "marker\n", validate="grep -H marker %s"))
    assert done["changed"]
    refused = files(entry(tmp_path / "x.conf", "other\n", validate="ls %s/no"))
    assert refused["failed"]
    assert str(tmp_path / "x.conf") in refused["msg"]


def test_a_missing_validator_fails_for_real_and_is_skipped_in_check_mode(tmp_path: Path) -> None:
    wanted = entry(tmp_path / "x", validate="no-such-validator-here %s")
    assert files(wanted, check=True)["changed"]
    done = files(wanted)
    assert done["failed"]
    assert not (tmp_path / "x").exists()


def test_an_unchanged_file_is_not_validated_again(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("new\n")
    (tmp_path / "x").chmod(0o644)
    assert not files(entry(tmp_path / "x", validate="false %s"))["changed"]


@pytest.mark.parametrize("mode", [0o666, 0o600, 0o4644])
def test_mode_drift_is_seen_and_repaired(tmp_path: Path, mode: int) -> None:
    (tmp_path / "x").write_text("new\n")
    (tmp_path / "x").chmod(mode)
    predicted = files(entry(tmp_path / "x"), check=True)
    done = files(entry(tmp_path / "x"))
    assert predicted["changes"] == done["changes"] == [f"file {tmp_path}/x: mode {mode:04o}"]
    assert (tmp_path / "x").stat().st_mode & 0o7777 == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_drift_is_seen_and_repaired(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("new\n")
    (tmp_path / "x").chmod(0o644)
    os.chown(tmp_path / "x", 12345, 12345)
    assert files(entry(tmp_path / "x"))["changes"] == [f"file {tmp_path}/x: owner"]
    assert (tmp_path / "x").stat().st_uid == 0


def test_an_unknown_owner_is_predicted_and_then_refused(tmp_path: Path) -> None:
    wanted = {**entry(tmp_path / "x"), "owner": "nobody-by-this-name"}
    assert files(wanted, check=True)["changed"]
    assert files(wanted)["failed"]
    assert not (tmp_path / "x").exists()


def test_a_link_is_replaced_and_never_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "x").symlink_to(tmp_path / "target")
    done = files(entry(tmp_path / "x"))
    assert done["changes"] == [f"file {tmp_path}/x: link"]
    assert not (tmp_path / "x").is_symlink()
    assert (tmp_path / "target").read_text() == "precious"


def test_a_hard_link_is_cut(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("new\n")
    (tmp_path / "other").chmod(0o644)
    os.link(tmp_path / "other", tmp_path / "x")
    assert files(entry(tmp_path / "x"))["changes"] == [f"file {tmp_path}/x: hard link"]
    assert (tmp_path / "x").stat().st_nlink == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another account's link")
def test_a_folder_that_is_another_accounts_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "real")
    os.chown(tmp_path / "home", 12345, 12345, follow_symlinks=False)
    done = files(entry(tmp_path / "home/authorized_keys"))
    assert done["failed"]
    assert "link" in done["msg"]
    assert not list((tmp_path / "real").iterdir())


def test_absent_removes_files_and_links_and_refuses_folders(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "l").symlink_to("/nowhere")
    (tmp_path / "d").mkdir()
    gone = [str(tmp_path / n) for n in ("f", "l", "never")]
    assert files(absent=gone, check=True)["changes"] == [f"absent {tmp_path}/f", f"absent {tmp_path}/l"]
    assert (tmp_path / "f").exists()
    assert files(absent=gone)["changed"]
    assert not (tmp_path / "f").exists()
    assert not (tmp_path / "l").is_symlink()
    assert not files(absent=gone)["changed"]
    refused = files(absent=[str(tmp_path / "d")])
    assert refused["failed"]
    assert (tmp_path / "d").is_dir()


def test_folders_are_made_and_corrected(tmp_path: Path) -> None:
    folder = {"path": str(tmp_path / "d"), "mode": "0700", "owner": ME, "group": MY_GROUP}
    assert files(entry(tmp_path / "d/f"), directories=[folder])["changes"] == [f"directory {tmp_path}/d", f"file {tmp_path}/d/f"]
    (tmp_path / "d").chmod(0o777)
    assert files(directories=[folder])["changes"] == [f"directory {tmp_path}/d: mode 0777"]
    assert (tmp_path / "d").stat().st_mode & 0o7777 == 0o700


def test_secret_content_is_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("old-s3cr3t")
    done = files(entry(tmp_path / "s", "new-s3cr3t", secret=True, mode="0600", validate="true %s"))
    assert done["changed"]
    assert "s3cr3t" not in str(done)
    refused = files(entry(tmp_path / "s", "other-s3cr3t", secret=True, mode="0600", validate="grep -H -v -z impossible %s --bad"))
    assert refused["failed"]
    assert "other-s3cr3t" not in str(refused)


def test_copy_of_follows_the_machines_own_file(tmp_path: Path) -> None:
    (tmp_path / "packaged").write_text("as shipped\n")
    wanted = {"path": str(tmp_path / "x"), "copy_of": str(tmp_path / "packaged"), "owner": ME, "group": MY_GROUP}
    assert files(wanted)["changed"]
    assert (tmp_path / "x").read_text() == "as shipped\n"
    missing = {**wanted, "copy_of": str(tmp_path / "no")}
    assert files(missing)["failed"]
    assert files(missing, check=True)["changed"]


def test_a_thousand_unchanged_files_cost_one_quick_execution(tmp_path: Path) -> None:
    wanted = [entry(tmp_path / f"{n:04}") for n in range(1000)]
    assert len(files(*wanted)["changes"]) == 1000
    again = files(*wanted)
    assert not again["changed"]


@pytest.mark.parametrize(
    "bad",
    [
        {"path": "relative", "content": "x"},
        {"path": "/tmp/../etc/x", "content": "x"},
        {"path": "/tmp/a\nb", "content": "x"},
        {"path": "/tmp/x", "content": "x", "mode": "rw-r--r--"},
        {"path": "/tmp/x", "content": "x", "mode": "999"},
        {"path": "/tmp/x"},
        {"path": "/tmp/x", "content": "x", "copy_of": "/etc/hostname"},
        {"path": "/tmp/x", "content": "x", "validate": "true"},
        {"path": "/dev/null", "content": "x"},
        {"path": "/etc/hostname/x", "content": "x"},
        {"path": "//tmp/x", "content": "x"},
        {"path": "/tmp/x/", "content": "x"},
        {"path": "/tmp/a\x1bb", "content": "x"},
        {"path": "/tmp/x", "copy_of": "relative"},
        {"path": "/tmp/x", "content": "x", "validate": "sh -c 'never closed %s"},
        {"content": "x"},
        {"path": "/tmp/x", "content": "x", "unknown": 1},
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_bad_arguments_are_refused_in_both_modes(bad: dict[str, Any], check: bool) -> None:
    assert files(bad, check=check)["failed"]


@pytest.mark.parametrize("bad", [{"absent": ["x"]}, {"absent": ["/tmp//x"]}, {"exclusive": [{"path": "tmp"}]}])
@pytest.mark.parametrize("check", [True, False])
def test_bad_places_are_refused_in_both_modes(bad: dict[str, Any], check: bool) -> None:
    assert "not a plain absolute path" in files(check=check, **bad)["msg"]


def test_one_path_asked_twice_is_refused(tmp_path: Path) -> None:
    done = files(entry(tmp_path / "x"), entry(tmp_path / "x", "other"))
    assert done["failed"]
    assert "twice" in done["msg"]


def test_a_full_disk_leaves_no_half_written_file(tmp_path: Path) -> None:
    """The second file cannot be staged: the first must not have landed."""
    (tmp_path / "one").write_text("old")
    before = tree(tmp_path)
    done = files(entry(tmp_path / "one"), entry(Path("/proc/antiseche-no/two")))
    assert done["failed"]
    assert tree(tmp_path) == before
