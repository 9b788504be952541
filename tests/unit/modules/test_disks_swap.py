"""Clear swap: where it is found, what is refused, what stays of the tables, on ordinary files."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

read: Any = importlib.import_module("ansible.module_utils.antiseche_disks_read")
state: Any = importlib.import_module("ansible.module_utils.antiseche_disks_state")
places: Any = importlib.import_module("ansible.module_utils.antiseche_disks_swap_places")
swap: Any = importlib.import_module("ansible.module_utils.antiseche_disks_swap")

pytestmark = pytest.mark.skipif(shutil.which("mkswap") is None, reason="mkswap is not installed on this machine")
MIB = 1024 * 1024


class Machine:
    """A machine that swaps to an ordinary file, and has no initramfs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "swapfile"
        self.file.write_bytes(bytes(4 * MIB))
        subprocess.run(["mkswap", str(self.file)], check=True, capture_output=True)
        self.fstab, self.crypttab, self.swaps = root / "fstab", root / "crypttab", root / "swaps"
        self.fstab.write_text(f"# disks\n/dev/vda1 / ext4 defaults 0 1\n{self.file} none swap sw 0 0\n")
        self.swap_to(self.file)

    def swap_to(self, *files: Path) -> None:
        lines = [f"{file} file 4092 0 -2\n" for file in files]
        self.swaps.write_text("Filename Type Size Used Priority\n" + "".join(lines))

    def area(self) -> Any:
        ((place, memory),) = places.places()
        return swap.Swap(place, memory)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    for module in (places, swap):
        monkeypatch.setattr(module, "FSTAB", made.fstab)
        monkeypatch.setattr(module, "MAPPER", tmp_path / "mapper")
    monkeypatch.setattr(swap, "CRYPTTAB", made.crypttab)
    monkeypatch.setattr(swap, "SLEEP", tmp_path / "sleep.conf.d" / "antiseche.conf")
    monkeypatch.setattr(places, "DISKS", tmp_path / "disk")
    monkeypatch.setattr(places, "STATE", tmp_path / "state")
    monkeypatch.setattr(places, "SWAPS", made.swaps)
    for name in ("CMDLINE", "INITRAMFS", "GRUB"):
        monkeypatch.setattr(places, name, tmp_path / name.lower())
    monkeypatch.setattr(places, "encrypted", lambda _real: False)
    monkeypatch.setattr(swap.boot, "supported", lambda: False)
    return made


def test_a_clear_area_is_found_once_though_fstab_and_the_kernel_name_it(machine: Machine) -> None:
    area = machine.area()
    assert (area.name, area.problem()) == ("cryptswap", "")
    assert area.missing() == ["hibernation off", "swap off", "fstab", "old contents overwritten", "crypttab", "swap on"]


def test_what_concerns_the_whole_machine_is_announced_once(machine: Machine) -> None:
    ((place, memory),) = places.places()
    assert swap.Swap(place, memory, first=True).missing()[0] == "hibernation off"
    assert swap.Swap(place, memory, first=False).missing()[0] == "swap off"


def test_an_area_on_an_encrypted_volume_is_left_alone(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "encrypted", lambda _real: True)
    assert places.places() == []


def test_looking_writes_nothing(machine: Machine) -> None:
    before = (machine.fstab.read_bytes(), machine.file.read_bytes())
    machine.area().missing()
    machine.area().problem()
    assert (machine.fstab.read_bytes(), machine.file.read_bytes()) == before
    assert not (machine.root / "state").exists()


def test_each_cut_is_taken_up_where_it_happened(machine: Machine) -> None:
    machine.area().do("hibernation off")
    assert machine.area().missing()[0] == "swap off"
    machine.swap_to()  # swapoff is the kernel's
    machine.area().do("fstab")
    text = machine.fstab.read_text()
    assert text.startswith("# disks\n/dev/vda1 / ext4 defaults 0 1\n")
    assert str(machine.file) not in text
    area = machine.area()  # no table names the file any more: the note does
    assert (area.problem(), area.missing()) == ("", ["old contents overwritten", "crypttab", "swap on"])
    area.do("old contents overwritten")
    assert machine.file.read_bytes() == bytes(4 * MIB)
    area = machine.area()
    assert (area.problem(), area.missing()) == ("", ["crypttab", "swap on"])
    area.do("crypttab")
    assert machine.area().missing() == ["swap on"]
    assert machine.crypttab.read_text().split()[:4] == ["cryptswap", str(machine.file), "/dev/urandom", swap.OPTIONS]


def test_a_cut_while_the_old_contents_go_is_taken_up(machine: Machine) -> None:
    machine.swap_to()
    machine.area().do("fstab")
    machine.file.write_bytes(bytes(2 * MIB) + b"x" * 2 * MIB)  # its signature is gone already
    area = machine.area()
    assert area.problem() == ""
    area.do("old contents overwritten")
    assert machine.file.read_bytes() == bytes(4 * MIB)


@pytest.mark.parametrize("noted", [False, True])
def test_what_is_no_swap_area_is_refused_whatever_fstab_says(machine: Machine, noted: bool) -> None:
    machine.swap_to()
    if noted:
        machine.area().do("fstab")
    subprocess.run(["mkfs.ext4", "-q", "-F", str(machine.file)], check=True, capture_output=True)
    before = machine.file.read_bytes()
    area = machine.area()
    assert "n'est pas une zone d'échange (porte : ext4)" in area.problem()
    with pytest.raises(read.DiskError):
        area.do("old contents overwritten")
    assert machine.file.read_bytes() == before


def test_bytes_that_nobody_recognises_are_refused_unless_they_are_ours(machine: Machine) -> None:
    machine.swap_to()
    machine.file.write_bytes(b"x" * 4 * MIB)
    assert "n'est pas une zone d'échange (porte : ?)" in machine.area().problem()


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("cmdline", "quiet resume=UUID=1", "resume="),
        ("initramfs/conf.d/resume", "RESUME=UUID=1\n", "conf.d/resume"),
        ("initramfs/initramfs.conf", 'RESUME="/dev/vda5"\n', "initramfs.conf"),
        ("grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet resume=/dev/vda5"\n', "grub"),
    ],
)
def test_a_machine_that_hibernates_is_refused(machine: Machine, name: str, text: str, where: str) -> None:
    path = machine.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    said = machine.area().problem()
    assert "veille prolongée" in said
    assert where in said


def test_what_the_installer_wrote_about_resuming_goes_first_and_the_images_are_made_anew(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bool] = []
    monkeypatch.setattr(swap.boot, "supported", lambda: True)
    monkeypatch.setattr(swap.boot, "mark", lambda: f"m{len(made)}")
    monkeypatch.setattr(swap.boot, "chose_resume", lambda: False)
    monkeypatch.setattr(swap.boot, "rebuild", lambda: made.append(True))
    path = machine.root / "initramfs/conf.d/resume"
    path.parent.mkdir(parents=True)
    path.write_text(f"# installer\nRESUME={machine.file} # swap\n")
    area = machine.area()
    assert area.problem() == ""
    assert (area.missing()[0], area.missing()[-1]) == ("hibernation off", "boot image")
    area.do("hibernation off")
    assert path.read_text() == "# installer\nRESUME=none\n"
    assert "AllowHibernation=no" in swap.SLEEP.read_text()
    area = machine.area()
    assert "hibernation off" not in area.missing()
    assert area.missing()[-1] == "boot image"
    area.do("boot image")
    assert "boot image" not in machine.area().missing()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cmdline", "noresume resume=UUID=1"),
        ("cmdline", "quiet resumedelay=5"),
        ("initramfs/conf.d/resume", "RESUME=none\n"),
        ("initramfs/conf.d/resume", "#RESUME=UUID=1\nRESUME=auto\n"),
        ("grub", '#GRUB_CMDLINE_LINUX="resume=x"\nGRUB_CMDLINE_LINUX="noresume"\n'),
    ],
)
def test_a_machine_that_does_not_hibernate_is_not_refused(machine: Machine, name: str, text: str) -> None:
    path = machine.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert machine.area().problem() == ""


def test_an_area_without_a_name_that_stays_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "kept_name", lambda _real: "")
    assert "n'a pas de nom qui reste" in machine.area().problem()


def test_a_mapping_of_that_name_on_something_else_stops(machine: Machine) -> None:
    (machine.root / "mapper").mkdir()
    (machine.root / "mapper/cryptswap").touch()
    assert machine.area().name == "cryptswap2"
    machine.swap_to()
    (machine.root / "mapper/cryptswap").unlink()
    area = machine.area()
    (machine.root / "mapper/cryptswap").touch()
    with pytest.raises(read.DiskError, match="existe déjà"):
        area.problem()


def test_other_lines_of_fstab_stay_byte_for_byte(machine: Machine) -> None:
    path = machine.file
    text = f"# {path} none swap\n{path} none swap sw 0 0\nUUID=1\t/srv ext4 x 0 0\n{path} swap swap pri=1 0 0\n"
    changed = places.fstab_without(text, str(machine.file), "new line")
    assert changed == f"# {machine.file} none swap\nnew line\nUUID=1\t/srv ext4 x 0 0\n"


def test_an_image_that_waits_for_the_old_area_is_made_anew_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bool] = []
    monkeypatch.setattr(swap.boot, "supported", lambda: True)
    monkeypatch.setattr(swap.boot, "mark", lambda: f"m{len(made)}")
    monkeypatch.setattr(swap.boot, "rebuild", lambda: made.append(True))
    monkeypatch.setattr(swap.boot, "chose_resume", lambda: True)  # of another area, even: it is made anew all the same, once
    assert machine.area().missing()[-1] == "boot image"
    machine.area().do("boot image")
    assert "boot image" not in machine.area().missing()


def test_images_that_wait_for_nothing_are_unpacked_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap.boot, "supported", lambda: True)
    monkeypatch.setattr(swap.boot, "mark", lambda: "m")
    monkeypatch.setattr(swap.boot, "chose_resume", lambda: False)
    machine.area().do("crypttab")
    assert "boot image" not in machine.area().missing()
    machine.area().settle()
    monkeypatch.setattr(swap.boot, "chose_resume", lambda: pytest.fail("unpacked again though nothing changed"))
    assert "boot image" not in machine.area().missing()
