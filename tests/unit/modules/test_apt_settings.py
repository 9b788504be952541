"""Settings of apt that win over ours, and the machine's time zone."""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path

import pytest

settings = importlib.import_module("ansible.module_utils.antiseche_apt_settings")
needs_apt = pytest.mark.skipif(shutil.which("apt-config") is None, reason="apt-config is Debian's")


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "APT", tmp_path)
    folder = tmp_path / "apt.conf.d"
    folder.mkdir()
    (folder / "zz-antiseche").write_text('APT::Periodic::Enable "1";\n')
    return folder


def names(found: tuple[list[Path], list[Path]]) -> tuple[list[str], list[str]]:
    return [path.name for path in found[0]], [path.name for path in found[1]]


@needs_apt
@pytest.mark.parametrize(
    "text",
    [
        'APT::Periodic::Enable "0";',
        'APT { Periodic { Unattended-Upgrade "30"; }; };',
        'apt::periodic::enable "0";',
        'Unattended-Upgrade::Update-Days {"Sun"};',
        'Unattended-Upgrade::Package-Blacklist { ".*"; };',
        'Acquire::AllowInsecureRepositories "true";\nAcquire::Check-Valid-Until "false";',
    ],
)
def test_a_later_file_that_only_overrides_ours_is_found(parts: Path, text: str) -> None:
    (parts / "zzz-local").write_text(text + "\n")
    assert names(settings.overriding(parts / "zz-antiseche")) == (["zzz-local"], [])


@needs_apt
@pytest.mark.parametrize(
    "text",
    [
        "",
        '// APT::Periodic::Enable "0";',
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'APT::Install-Recommends "false";',
    ],
)
def test_other_settings_are_nobodys_business(parts: Path, text: str) -> None:
    (parts / "zzz-local").write_text(text + "\n")
    assert names(settings.overriding(parts / "zz-antiseche")) == ([], [])


@needs_apt
def test_a_file_that_holds_other_settings_too_is_told_and_left(parts: Path) -> None:
    (parts.parent / "apt.conf").write_text('Acquire::http::Proxy "http://proxy.example";\nAPT::Periodic::Enable "0";\n')
    assert names(settings.overriding(parts / "zz-antiseche")) == ([], ["apt.conf"])


@needs_apt
def test_what_is_read_before_ours_or_not_at_all_does_not_win(parts: Path) -> None:
    for name in ("50unattended-upgrades", "zzz.bak", "zzz~", "zzz.dpkg-old"):
        (parts / name).write_text('APT::Periodic::Enable "0";\n')
    assert names(settings.overriding(parts / "zz-antiseche")) == ([], [])
    (parts / "zzz.conf").write_text('APT::Periodic::Enable "0";\n')
    assert names(settings.overriding(parts / "zz-antiseche")) == (["zzz.conf"], [])


@needs_apt
def test_a_file_that_apt_does_not_understand_wins_over_nothing(parts: Path) -> None:
    (parts / "zzz-local").write_text("APT::Periodic { {\n")
    assert names(settings.overriding(parts / "zz-antiseche")) == ([], [])


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    zones = tmp_path / "zoneinfo"
    for name in ("Europe/Paris", "Indian/Reunion", "Etc/UTC"):
        (zones / name).parent.mkdir(parents=True, exist_ok=True)
        (zones / name).write_text(name)
    monkeypatch.setattr(settings, "ZONES", zones)
    monkeypatch.setattr(settings, "LOCALTIME", tmp_path / "localtime")
    monkeypatch.setattr(settings, "TIMEZONE", tmp_path / "timezone")
    return tmp_path


def test_a_zone_is_set_once(clock: Path) -> None:
    assert settings.zone_change("Europe/Paris") == "UTC"
    settings.set_zone("Europe/Paris")
    assert (clock / "localtime").read_text() == "Europe/Paris"
    assert settings.zone_change("Europe/Paris") == ""
    assert not (clock / "timezone").exists()


def test_the_second_name_follows_where_there_is_one(clock: Path) -> None:
    (clock / "timezone").write_text("Etc/UTC\n")
    settings.set_zone("Indian/Reunion")
    assert (clock / "timezone").read_text() == "Indian/Reunion\n"


@pytest.mark.parametrize("relative", [True, False])
def test_another_zone_is_named(clock: Path, relative: bool) -> None:
    target = clock / "zoneinfo/Etc/UTC"
    (clock / "localtime").symlink_to(os.path.relpath(target, clock) if relative else target)
    assert settings.zone_change("Europe/Paris") == "Etc/UTC"


def test_a_copy_of_a_zone_is_replaced_by_a_link(clock: Path) -> None:
    (clock / "localtime").write_text("Europe/Paris")
    assert settings.zone_change("Europe/Paris") == "a copy"
    settings.set_zone("Europe/Paris")
    assert (clock / "localtime").is_symlink()


def test_a_run_that_was_killed_leaves_nothing_in_the_way(clock: Path) -> None:
    (clock / ".localtime.antiseche-new").write_text("half")
    settings.set_zone("Europe/Paris")
    assert sorted(path.name for path in clock.iterdir()) == ["localtime", "zoneinfo"]


@pytest.mark.parametrize("zone", ["Europe/Lutece", "", "../../etc/shadow", "Europe"])
def test_a_zone_that_is_none_is_refused(clock: Path, zone: str) -> None:
    with pytest.raises(ValueError, match="there is no time zone"):
        settings.zone_change(zone)
