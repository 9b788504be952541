"""A drift pass at fixed times: the units that are written, and what is refused before anything is."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from antiseche import kit
from antiseche.app import main
from antiseche.engine import schedule as timers
from antiseche.engine.schedule import Schedule
from antiseche.practice.folder import PracticeFolder

SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$SEEN"
case "$*" in *"$REFUSED"*) echo "refused here" >&2; exit 1;; esac
"""


@pytest.fixture
def practice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PracticeFolder:
    """The example practice, a key, a password, and a systemctl that only takes notes."""
    root = tmp_path / "exemple"
    root.mkdir()
    shutil.copy(kit.kit_dir() / "inventories/exemple/practice.yml", root)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    (tmp_path / "password").touch(mode=0o600)
    (tmp_path / "password").write_text("un mot de passe\n", encoding="utf-8")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "systemctl").write_text(SYSTEMCTL, encoding="utf-8")
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    monkeypatch.setenv("REFUSED", "nothing at all")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(timers.os, "geteuid", lambda: 1000)
    return PracticeFolder(root)


def access(practice: PracticeFolder) -> list[str]:
    base = practice.root.parent
    return ["--private-key", str(base / "key"), "--vault-password-file", str(base / "password")]


def units(practice: PracticeFolder) -> list[str]:
    return sorted(path.suffix for path in (practice.root.parent / "config/systemd/user").glob("*"))


def test_a_practice_is_scheduled_then_no_longer(practice: PracticeFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedule", str(practice.root), "--at", "daily", *access(practice), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scheduled"] is True
    assert told["next"]
    schedule = timers.schedule_of(practice)
    service, timer = (path.read_text(encoding="utf-8") for path in schedule.files)
    assert f'"drift" "{practice.root}" "--yes"' in service
    assert "--fix" not in service
    assert "OnCalendar=daily" in timer
    assert "un mot de passe" not in service
    seen = (practice.root.parent / "seen").read_text(encoding="utf-8")
    assert seen == f"--user daemon-reload\n--user enable --now {schedule.files[1].name}\n"

    assert main(["schedule", str(practice.root), "--remove"]) == 0
    assert units(practice) == []
    assert main(["schedule", str(practice.root), "--remove"]) == 0
    assert "Rien n'était planifié" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--at", "quand on peut"], "n'est pas un horaire"),
        (["--at", ""], ""),
        (["--at", "daily\nExecStart=/bin/sh"], "n'est pas un horaire"),
        (["--at", "%h"], "n'est pas un horaire"),
        (["--at", "--help"], "n'est pas un horaire"),
    ],
)
def test_a_wrong_time_writes_nothing(
    practice: PracticeFolder, options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["schedule", str(practice.root), *options, *access(practice)])

    said = capsys.readouterr()
    assert (code, sentence in said.err) == ((2, True) if sentence else (0, True))
    assert units(practice) == ([] if sentence else [".service", ".timer"])


def test_nobody_is_there_to_type_a_passphrase(practice: PracticeFolder, capsys: pytest.CaptureFixture[str]) -> None:
    key = practice.root.parent / "protected"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key)], check=True)
    options = ["--private-key", str(key), "--vault-password-file", str(practice.root.parent / "password")]

    assert main(["schedule", str(practice.root), *options]) == 2
    assert "sans personne au clavier" in capsys.readouterr().err
    assert units(practice) == []


@pytest.mark.parametrize("kept", [0, 2])
def test_key_and_password_must_both_be_given(practice: PracticeFolder, kept: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedule", str(practice.root), *access(practice)[kept : kept + 2]]) == 2
    assert "--vault-password-file" in capsys.readouterr().err


def test_a_password_that_others_can_read_is_refused(practice: PracticeFolder) -> None:
    (practice.root.parent / "password").chmod(0o644)

    assert main(["schedule", str(practice.root), *access(practice)]) == 2
    assert units(practice) == []


@pytest.mark.parametrize("refused", ["daemon-reload", "enable"])
def test_what_systemd_refuses_leaves_nothing(
    practice: PracticeFolder, refused: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REFUSED", refused)

    assert main(["schedule", str(practice.root), *access(practice)]) == 1
    assert "refused here" in capsys.readouterr().err
    assert units(practice) == []


@pytest.mark.parametrize("name", ["plain", "l'été à 100 %", 'say "now"', "$HOME", "back\\slash", "a;b", "%i"])
def test_any_folder_gives_units_that_systemd_accepts_and_reads_back(tmp_path: Path, name: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.fail("systemd-analyze comes with systemd, which this test needs")
    (tmp_path / "units").mkdir()
    schedule = Schedule(PracticeFolder(tmp_path / name), user=False, units=tmp_path / "units")
    texts = timers.service_text(schedule, tmp_path / "key", tmp_path / "pw"), timers.timer_text(schedule, "daily")
    for path, text in zip(schedule.files, texts, strict=True):
        path.write_text(text, encoding="utf-8")

    done = subprocess.run(["systemd-analyze", "verify", *map(str, schedule.files)], capture_output=True, text=True, check=False)

    assert [line for line in done.stderr.splitlines() if schedule.name in line] == []


def test_two_folders_of_one_name_have_their_own_units(tmp_path: Path) -> None:
    one, two = (Schedule(PracticeFolder(tmp_path / part / "tilleuls"), True, tmp_path).name for part in "ab")

    assert one != two


def test_drills_are_scheduled_beside_drift(practice: PracticeFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedule", str(practice.root), *access(practice)]) == 0
    assert main(["schedule", str(practice.root), "--drill", *access(practice)]) == 0
    service, timer = (path.read_text(encoding="utf-8") for path in timers.schedule_of(practice, "drill").files)
    assert '"drill"' in service
    assert "--yes" not in service, "drill has no such option"
    assert f"OnCalendar={timers.DRILL_CALENDAR}\n" in timer
    assert len(units(practice)) == 4
    assert main(["schedule", str(practice.root), "--drill", "--remove"]) == 0
    assert timers.schedule_of(practice).exists
    capsys.readouterr()
