"""Snapshots of the backup, without a disk: what the declared paths hold, what is ours, and what is told."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FILES = Path(__file__).resolve().parents[3] / "roles" / "backup" / "files"
NAMES = ("common", "volumes", "snapshots")
TABLE = r"""
1 0 8:1 / / rw - ext4 /dev/vda rw
2 1 252:0 / /srv/dossiers rw - ext4 /dev/mapper/donnees-dossiers rw
3 2 252:1 / /srv/dossiers/base\040de\040test rw shared:3 - xfs /dev/mapper/donnees-base rw
4 1 0:44 /@images /srv/images rw - btrfs /dev/vdc rw,subvol=/@images
5 4 0:50 / /srv/images/tmp rw - tmpfs tmpfs rw
6 1 8:1 /srv/autre /srv/lie rw - ext4 /dev/vda rw
7 1 0:60 / /srv/dossiersx rw - nfs nas:/x rw
"""


@pytest.fixture(scope="module")
def programs() -> Iterator[dict[str, Any]]:
    """The programs, imported as they import each other: from their own folder."""
    sys.path.insert(0, str(FILES))
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(str(FILES))
        for name in NAMES:
            sys.modules.pop(name, None)


@pytest.fixture
def snapshots(programs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(programs["snapshots"].Path, "exists", lambda _path: True)
    monkeypatch.setattr(programs["snapshots"].Path, "is_symlink", lambda _path: False)
    monkeypatch.setattr(programs["snapshots"].Path, "is_dir", lambda _path: True)
    monkeypatch.setattr(programs["snapshots"].os.path, "realpath", lambda path: path)
    return programs["snapshots"]


def places(snapshots: Any, *paths: str) -> dict[str, tuple[str, str]]:
    found = snapshots.parts_of(list(paths), snapshots.mounts(TABLE.strip()))
    return {part.place: (part.mount.source, part.inside) for part in found}


def test_each_path_is_found_in_its_file_system(snapshots: Any) -> None:
    assert places(snapshots, "/home/a", "/srv/images/2026", "/srv/lie/x") == {
        "/home/a": ("/dev/vda", "/home/a"),
        "/srv/images/2026": ("/dev/vdc", "/@images/2026"),
        "/srv/lie/x": ("/dev/vda", "/srv/autre/x"),
    }


def test_what_is_mounted_below_a_path_is_a_part_of_its_own(snapshots: Any) -> None:
    assert places(snapshots, "/srv/dossiers", "/srv/dossiers/deja", "/srv/images") == {
        "/srv/dossiers": ("/dev/mapper/donnees-dossiers", "/"),
        "/srv/dossiers/base de test": ("/dev/mapper/donnees-base", "/"),
        "/srv/images": ("/dev/vdc", "/@images"),
        "/srv/images/tmp": ("tmpfs", "/"),
    }


def test_outer_parts_come_before_inner_ones(snapshots: Any) -> None:
    found = snapshots.parts_of(["/srv"], snapshots.mounts(TABLE.strip()))
    places = [part.place for part in found]
    assert places.index("/srv") < places.index("/srv/dossiers") < places.index("/srv/dossiers/base de test")


def test_the_backups_own_folders_stay_writable(snapshots: Any) -> None:
    assert {"/var", "/var/lib/antiseche-backup", "/var/cache/antiseche-backup"} <= places(snapshots, "/var").keys()


def test_of_two_mounts_at_one_place_the_upper_counts(programs: dict[str, Any]) -> None:
    lines = "1 0 8:1 / /srv rw - ext4 /dev/vda rw\n2 1 8:2 / /srv rw - ext4 /dev/vdb rw"
    assert [one.source for one in programs["snapshots"].mounts(lines)] == ["/dev/vdb"]


@pytest.mark.parametrize(
    ("volume", "ours"),
    [
        ({"lv_name": "antiseche-backup-data", "lv_tags": "antiseche_backup", "origin": "data"}, True),
        ({"lv_name": "antiseche-backup-data", "lv_tags": "x,antiseche_backup", "origin": "data"}, True),
        ({"lv_name": "antiseche-backup-data", "lv_tags": "", "origin": "data"}, False),
        ({"lv_name": "antiseche-backup-data", "lv_tags": "antiseche_backups", "origin": "data"}, False),
        ({"lv_name": "data-snap", "lv_tags": "antiseche_backup", "origin": "data"}, False),
        ({"lv_name": "antiseche-backup-data", "lv_tags": "antiseche_backup", "origin": ""}, False),
    ],
)
def test_only_a_snapshot_with_our_name_and_our_tag_is_ours(programs: dict[str, Any], volume: dict[str, str], ours: bool) -> None:
    assert programs["volumes"].ours(volume) is ours


@pytest.mark.parametrize(
    ("subvolume", "inside", "expected"),
    [
        ("/", "/", "/top/.antiseche-backup/snapshot-3"),
        ("/", "/a/b", "/top/.antiseche-backup/snapshot-3/a/b"),
        ("/@home", "/@home", "/top/.antiseche-backup/snapshot-3"),
        ("/@home", "/@home/lucie", "/top/.antiseche-backup/snapshot-3/lucie"),
    ],
)
def test_a_path_is_found_again_in_its_snapshot(programs: dict[str, Any], subvolume: str, inside: str, expected: str) -> None:
    assert programs["volumes"].Btrfs(Path("/top"), subvolume, 3).path(inside) == expected


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        ({"vg_free": "4194304", "segtype": "linear", "pool_lv": ""}, "room"),
        ({"vg_free": "0", "segtype": "thin", "pool_lv": "pool"}, "room"),
    ],
)
def test_no_room_makes_no_snapshot(
    programs: dict[str, Any], monkeypatch: pytest.MonkeyPatch, seen: dict[str, str], code: str
) -> None:
    volumes = programs["volumes"]
    answer = {"vg_name": "g", "lv_name": "d", "lv_size": "10737418240", "data_percent": "97.1", **seen}
    monkeypatch.setattr(volumes, "lvs", lambda *_words, **_fields: [answer])
    monkeypatch.setattr(volumes, "run", lambda *words, **_options: pytest.fail(str(words)))
    with pytest.raises(volumes.VolumeError) as caught:
        volumes.Lvm("/dev/mapper/g-d", "ext4", Path("/run/x")).create()
    assert caught.value.code == code


def test_nothing_is_done_when_nothing_is_asked(programs: dict[str, Any], tmp_path: Path) -> None:
    with programs["snapshots"].Freeze(["/etc"], False, tmp_path) as freeze:
        pass
    assert (freeze.filled, freeze.report()) == (False, {"frozen": [], "live": []})
    assert list(tmp_path.iterdir()) == []


def test_two_runs_do_not_remove_each_others_snapshots(programs: dict[str, Any], tmp_path: Path) -> None:
    lock = programs["snapshots"].locked(tmp_path)
    with pytest.raises(programs["common"].BackupError) as caught, programs["snapshots"].Freeze(["/etc"], True, tmp_path):
        pytest.fail("entered")
    assert caught.value.code == "locked"
    lock.close()


def test_a_machine_that_lets_nothing_be_mounted_backs_up_live_and_says_so(
    programs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots = programs["snapshots"]

    def refuse() -> None:
        raise programs["volumes"].VolumeError("tool", "unshare: Operation not permitted")

    monkeypatch.setattr(snapshots, "isolate", refuse)
    with snapshots.Freeze(["/etc", "/home"], True, tmp_path) as freeze:
        pass
    assert freeze.report()["frozen"] == []
    assert [one["why"] for one in freeze.report()["live"]] == ["tool", "tool"]


def test_every_reason_has_a_sentence(programs: dict[str, Any]) -> None:
    text = (FILES.parent / "verify" / "test_backup.py").read_text(encoding="utf-8")
    for code in ("room", "kind", "filled", "many", "mount", "tool"):
        assert f'"{code}": "' in text.split("NOT_FROZEN = ")[1], code
