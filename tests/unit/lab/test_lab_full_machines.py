"""What QEMU is told, and whether it may use the processor's own virtualisation."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antiseche.lab import acceleration, encrypted, images, process
from antiseche.lab.model import Equipment, LabError, LabState, Machine
from antiseche.lab.qemu import QemuDriver


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Equipment], list[str]]:
    """Return QEMU's command line for a machine with this equipment."""
    monkeypatch.setattr(acceleration, "acceleration", lambda _image: acceleration.SOFTWARE)

    def command(equipment: Equipment) -> list[str]:
        machine = Machine("web", "debian13", "10.213.7.10", "ssh-ed25519 AAAA", 1, equipment)
        home = tmp_path / "machines" / "web"
        home.mkdir(parents=True)
        (home / "tree").write_text("/cache/trixie", encoding="utf-8")
        return QemuDriver(LabState("demo", 7, "10.213.7.0/24", {"web": machine}), tmp_path).command(machine)

    return command


def test_a_plain_machine_has_a_kernel_a_tpm_and_one_disk(made: Callable[[Equipment], list[str]]) -> None:
    argv = made(Equipment())
    assert argv[argv.index("-kernel") + 1] == "/cache/trixie/vmlinuz"
    assert [word for word in argv if word.startswith("virtio-blk")] == ["virtio-blk-pci,drive=system,serial=antiseche-system"]
    assert "tpm-tis,tpmdev=tpm0" in argv
    assert not [word for word in argv if "ccid" in word]


def test_data_disks_come_after_the_system_disk(made: Callable[[Equipment], list[str]]) -> None:
    argv = made(Equipment((64, 128)))
    found = [word.partition("serial=")[2] for word in argv if word.startswith("virtio-blk")]
    assert found == ["antiseche-system", "antiseche-data1", "antiseche-data2"]


def test_a_reader_holds_a_card(made: Callable[[Equipment], list[str]]) -> None:
    argv = made(Equipment(card_reader=True))
    reader = next(word for word in argv if word.startswith("usb-ccid"))
    card = next(word for word in argv if word.startswith("ccid-card-emulated"))
    assert "id=reader" in reader
    assert "bus=reader.0" in card


def test_nothing_listens_on_the_network(made: Callable[[Equipment], list[str]]) -> None:
    """Monitor, console and agent are files of the lab's folder, which root alone may enter."""
    argv = made(Equipment((64,), card_reader=True))
    assert not [word for word in argv if "tcp:" in word or "host=" in word or "-vnc" in word]


@pytest.mark.parametrize("name", ["missing", "../system"])
def test_a_copy_that_was_never_made_cannot_come_back(name: str, tmp_path: Path) -> None:
    machine = Machine("web", "debian13", "10.213.7.10", "", 1)
    driver = QemuDriver(LabState("demo", 7, "10.213.7.0/24", {"web": machine}), tmp_path)
    with pytest.raises(LabError, match="n'a pas de copie"):
        driver.restore(machine, name)


def test_a_machine_that_is_off_runs_nothing(tmp_path: Path) -> None:
    machine = Machine("web", "debian13", "10.213.7.10", "", 1)
    driver = QemuDriver(LabState("demo", 7, "10.213.7.0/24", {"web": machine}), tmp_path)
    with pytest.raises(LabError, match="éteinte"):
        driver.exec(machine, ["true"])


def test_a_machine_that_runs_keeps_its_disks(tmp_path: Path) -> None:
    machine = Machine("web", "debian13", "10.213.7.10", "", 1)
    driver = QemuDriver(LabState("demo", 7, "10.213.7.0/24", {"web": machine}), tmp_path)
    (tmp_path / "machines" / "web").mkdir(parents=True)
    process.remember(tmp_path / "machines" / "web" / "pid", os.getpid())
    for change in (
        lambda: driver.snapshot(machine, "a"),
        lambda: driver.restore(machine, "a"),
        lambda: driver.forget_tpm(machine),
    ):
        with pytest.raises(LabError, match="éteignez-la"):
            change()


def test_a_folder_too_deep_for_a_socket_is_refused(tmp_path: Path) -> None:
    machine = Machine("web", "debian13", "10.213.7.10", "", 1)
    driver = QemuDriver(LabState("demo", 7, "10.213.7.0/24", {"web": machine}), tmp_path / ("x" * 100))
    with pytest.raises(LabError, match="ANTISECHE_LAB"):
        driver.create(machine)


def test_a_number_reused_by_another_process_is_not_the_machine(tmp_path: Path) -> None:
    process.remember(tmp_path / "pid", os.getpid())
    assert process.recorded(tmp_path / "pid") == os.getpid()
    (tmp_path / "pid").write_text(f"{os.getpid()} 1", encoding="ascii")
    assert process.recorded(tmp_path / "pid") is None


@pytest.mark.parametrize("text", ["", "abc", "1", "x y", "1 2 3"])
def test_a_damaged_note_of_a_process_is_no_process(text: str, tmp_path: Path) -> None:
    (tmp_path / "pid").write_text(text, encoding="ascii")
    assert process.recorded(tmp_path / "pid") is None


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make /dev/kvm look usable, and forget what was found before."""
    monkeypatch.setattr(os, "access", lambda _path, _mode: True)
    monkeypatch.setattr(acceleration, "state_root", lambda: tmp_path)
    return tmp_path / "image"


def _trial(monkeypatch: pytest.MonkeyPatch, outcome: bytes | Exception) -> list[list[str]]:
    tried: list[list[str]] = []

    def run(argv: list[str], **_rest: Any) -> subprocess.CompletedProcess[bytes]:
        tried.append(argv)
        if isinstance(outcome, Exception):
            raise outcome
        return subprocess.CompletedProcess(argv, 0, outcome, b"")

    monkeypatch.setattr(subprocess, "run", run)
    return tried


def test_hardware_is_used_once_a_kernel_has_booted_with_it(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = _trial(monkeypatch, b"... Run /bin/true as init process ...")
    assert acceleration.acceleration(kernel) == acceleration.HARDWARE
    assert acceleration.acceleration(kernel) == acceleration.HARDWARE
    assert len(tried) == 1
    assert str(kernel / images.KERNEL) in tried[0]


@pytest.mark.parametrize("outcome", [b"", b"KVM: entry failed", subprocess.TimeoutExpired("qemu", 20)])
def test_hardware_that_does_not_boot_is_not_used(
    outcome: bytes | Exception, kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _trial(monkeypatch, outcome)
    assert acceleration.acceleration(kernel) == acceleration.SOFTWARE


def test_without_the_device_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    assert acceleration.acceleration(tmp_path) == acceleration.SOFTWARE


def test_an_encrypted_system_disk_is_opened_by_the_initramfs(made: Callable[[Equipment], list[str]]) -> None:
    argv = made(Equipment(encrypted_system=True))
    options = argv[argv.index("-append") + 1].split()
    assert "root=/dev/mapper/systeme" in options
    assert f"cryptopts=target=systeme,source=UUID={encrypted.UUID}" in options
    assert not [option for option in options if encrypted.PASSPHRASE.split()[0] in option]


@pytest.mark.skipif(shutil.which("cryptsetup") is None, reason="cryptsetup is not installed on this machine")
def test_an_image_encrypted_without_device_mapper_has_a_header_that_its_passphrase_opens(tmp_path: Path) -> None:
    plain, made_disk = tmp_path / "plain", tmp_path / "disk"
    plain.write_bytes(b"\x11" * 4096 + b"\x22" * 4096 * 3)
    encrypted.encrypt(plain, made_disk)
    opening = ["cryptsetup", "open", "--test-passphrase", "--key-file", "-", str(made_disk)]
    assert subprocess.run(opening, input=encrypted.PASSPHRASE.encode(), check=False).returncode == 0
    assert subprocess.run(opening, input=b"autre", check=False, capture_output=True).returncode != 0
    dump = subprocess.run(["cryptsetup", "luksDump", str(made_disk)], check=True, capture_output=True, text=True).stdout
    assert encrypted.UUID in dump
    assert "offset: 16777216 [bytes]" in dump
    data = made_disk.read_bytes()[16 * 1024 * 1024 :]
    assert len(data) == 4096 * 4
    assert len({data[i : i + 16] for i in range(0, len(data), 16)}) == len(data) // 16  # no two blocks alike: the tweak counts
