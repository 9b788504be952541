"""Full machines made by QEMU: a kernel of their own, a TPM, disks, a card reader, a power switch.

The system disk is a layer over a shared image that is never written; it stays over a power cut and goes with the machine.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from antiseche.i18n import _
from antiseche.lab import acceleration, agent, card, encrypted, images, network, process, sockets
from antiseche.lab.machine_files import machine_files, machine_id
from antiseche.lab.model import CONSOLE_ENVIRONMENT, READY, RELEASES, ExecResult, LabError, LabState, Machine

# One processor: while the kernel patches its own code, another emulated one may run the old translation of it and panic (int3).
_MEMORY_MIB, _PROCESSORS = 1536, 1
_SOCKET_PATH = 107  # bytes: unix(7)


class QemuDriver:
    """The machines of one lab."""

    def __init__(self, lab: LabState, folder: Path) -> None:
        self.lab = lab
        self.folder = folder

    @staticmethod
    def prepare(systems: Sequence[str], notify: Callable[[str], None]) -> None:
        """Build what machines of these systems stand on."""
        for system in sorted(set(systems)):
            images.ensure_image(RELEASES[system], notify)

    def create(self, machine: Machine) -> None:
        """Prepare the machine's disks; a layer of its own over the shared image, and blank ones."""
        home = self._home(machine)
        if len(os.fsencode(home / "monitor.sock")) > _SOCKET_PATH:
            raise LabError(
                _("Le dossier {folder} a un nom trop long : indiquez-en un plus court avec ANTISECHE_LAB.").format(
                    folder=self.folder
                )
            )
        image = images.ensure_image(machine.suite, encrypted_system=machine.equipment.encrypted_system)
        disks = home / "disks"
        disks.mkdir(parents=True, exist_ok=True)
        _call("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(image / images.DISK), str(disks / "system"))
        for number, size in enumerate(machine.equipment.disks, 1):
            _call("qemu-img", "create", "-q", "-f", "qcow2", str(disks / f"data{number}"), f"{size}M")
        (disks / "tpm").mkdir(exist_ok=True)
        if machine.equipment.card_reader and not (home / "card").is_dir():
            card.make_card(home / "card")
        self._write_files(machine)
        (home / "tree").write_text(str(image), encoding="utf-8")

    def _write_files(self, machine: Machine) -> None:
        home = self._home(machine)
        secret = (home / "host_key").read_text(encoding="ascii")
        files = machine_files(self.lab, machine, "en*")
        files["etc/ssh/ssh_host_ed25519_key.pub"] = f"{machine.host_key} root@{machine.name}\n"
        files["etc/ssh/ssh_host_ed25519_key"] = secret  # last: it says that all the others are there
        archive = home / "files.tar"
        archive.touch(mode=0o600)
        with tarfile.open(archive, "w") as tar:
            for name, text in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(text.encode()), 0o600 if text == secret else 0o644
                tar.addfile(entry, io.BytesIO(text.encode()))

    def power_on(self, machine: Machine, timeout: float = 300, typed: str = encrypted.PASSPHRASE) -> None:
        """Start the machine; it is up when its systemd says so.

        Args:
            machine: the machine.
            timeout: seconds.
            typed: what somebody types where an encrypted system disk asks for its passphrase; empty: nobody is there.
        """
        deadline = time.monotonic() + timeout
        if self.pid(machine) is None:
            self._stop(machine)
            self._launch(machine)
            if machine.equipment.encrypted_system and typed:
                self._type(machine, encrypted.PROMPT, typed, deadline)
        state = ""
        while time.monotonic() < deadline and self.pid(machine) is not None:
            with contextlib.suppress(LabError, subprocess.TimeoutExpired):
                state = self.exec(machine, ["systemctl", "is-system-running"], timeout=15).text().strip()
            if state in READY:
                return
            time.sleep(0.5)
        raise LabError(_("La machine d'essai {machine} ne démarre pas ({state}) : voyez {log}.").format(
            machine=machine.name, state=state or "?", log=self._home(machine) / "console.log"))  # fmt: skip

    def _launch(self, machine: Machine) -> None:
        home = self._home(machine)
        (home / "console.log").unlink(missing_ok=True)  # what the last start asked is no question of this one
        _call("swtpm", "socket", "--tpm2", "--daemon", "--tpmstate", f"dir={home / 'disks' / 'tpm'}",
              "--ctrl", f"type=unixio,path={home / 'tpm.sock'}", "--pid", f"file={home / 'tpm.number'}")  # fmt: skip
        process.remember(home / "tpm.pid", int((home / "tpm.number").read_text(encoding="ascii")))
        link = self.lab.link(machine)
        network.run("ip", "tuntap", "add", link, "mode", "tap")
        network.run("ip", "link", "set", link, "master", self.lab.bridge, "up")
        with (home / "qemu.log").open("ab") as log:
            started = subprocess.Popen(
                self.command(machine), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        process.remember(home / "pid", started.pid)

    def _type(self, machine: Machine, prompt: bytes, text: str, deadline: float) -> None:
        """Type a line on the console once it asks for it; a machine that starts without asking is left alone."""
        home = self._home(machine)
        while prompt not in _read(home / "console.log"):
            if time.monotonic() > deadline or self.pid(machine) is None or self._answers(machine):
                return
            time.sleep(0.5)
        time.sleep(1)  # what it says and its reading of the keyboard are two things
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
            console.connect(str(home / "console.sock"))
            console.sendall(text.encode() + b"\r")
            time.sleep(1)

    def _answers(self, machine: Machine) -> bool:
        with contextlib.suppress(LabError, subprocess.TimeoutExpired):
            return self.exec(machine, ["true"], timeout=2).rc == 0
        return False

    def command(self, machine: Machine) -> list[str]:
        """Return QEMU's command line."""
        home = self._home(machine)
        image = Path((home / "tree").read_text(encoding="utf-8"))
        number = f"{self.lab.index:02x}:{machine.number:02x}"
        root = encrypted.KERNEL_OPTIONS if machine.equipment.encrypted_system else "root=/dev/vda"
        drives = ["system", *(f"data{n}" for n, _size in enumerate(machine.equipment.disks, 1))]
        return [
            *(acceleration.QEMU, *acceleration.acceleration(image), "-nodefaults", "-display", "none"),
            *("-m", str(_MEMORY_MIB), "-smp", str(_PROCESSORS), "-device", "virtio-rng-pci"),
            *("-kernel", str(image / images.KERNEL), "-initrd", str(image / images.INITRD)),
            *("-append", f"{root} rw console=ttyS0 quiet systemd.machine_id={machine_id(self.lab, machine)} "
                         f"systemd.hostname={machine.name}"),
            *("-fw_cfg", f"name=opt/antiseche/files,file={home / 'files.tar'}"),
            *(word for name in drives for word in (
                "-drive", f"if=none,id={name},format=qcow2,discard=unmap,file={home / 'disks' / name}",
                "-device", f"virtio-blk-pci,drive={name},serial=antiseche-{name}")),
            *("-netdev", f"tap,id=net,ifname={self.lab.link(machine)},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,id=link,netdev=net,mac=52:54:00:a5:{number}"),
            *("-chardev", f"socket,id=tpm,path={home / 'tpm.sock'}", "-tpmdev", "emulator,id=tpm0,chardev=tpm"),
            *("-device", "tpm-tis,tpmdev=tpm0"),
            *("-chardev", f"socket,id=agent,path={home / 'agent.sock'},server=on,wait=off", "-device", "virtio-serial-pci"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
            *("-qmp", f"unix:{home / 'monitor.sock'},server=on,wait=off", "-serial", "chardev:console"),
            *("-chardev", f"socket,id=console,path={home / 'console.sock'},server=on,wait=off,logfile={home / 'console.log'}"),
            *(card.options(home / "card") if machine.equipment.card_reader else ()),
        ]  # fmt: skip

    def power_cut(self, machine: Machine) -> None:
        """Kill the machine at once; its disks and its TPM's memory stay."""
        self._stop(machine)

    def network_cut(self, machine: Machine) -> None:
        """Pull the cable: the machine sees its link go down."""
        self._monitor(machine, "set_link", {"name": "link", "up": False})

    def network_restore(self, machine: Machine) -> None:
        """Plug it again."""
        self._monitor(machine, "set_link", {"name": "link", "up": True})

    def pull_card(self, machine: Machine) -> None:
        """Take the card out of the reader."""
        self._monitor(machine, "device_del", {"id": "card"})
        sockets.wait_until_gone(self._home(machine) / "monitor.sock", "card")

    def insert_card(self, machine: Machine) -> None:
        """Put it back."""
        self._monitor(machine, "device_add", card.device(self._home(machine) / "card"))

    def forget_tpm(self, machine: Machine) -> None:
        """Lose what the TPM holds, as with a new mainboard; the machine must be off."""
        self._must_be_off(machine)
        shutil.rmtree(self._home(machine) / "disks" / "tpm")
        (self._home(machine) / "disks" / "tpm").mkdir()

    def snapshot(self, machine: Machine, name: str) -> None:
        """Keep a copy of the disks and of the TPM's memory; the machine must be off."""
        self._must_be_off(machine)
        kept = self._home(machine) / "snapshots" / name
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self._home(machine) / "disks", kept)

    def restore(self, machine: Machine, name: str) -> None:
        """Go back to a copy; the machine must be off."""
        self._must_be_off(machine)
        home = self._home(machine)
        if not (home / "snapshots" / name).is_dir():
            raise LabError(_("La machine d'essai {machine} n'a pas de copie « {name} ».").format(machine=machine.name, name=name))
        shutil.rmtree(home / "disks")
        shutil.copytree(home / "snapshots" / name, home / "disks")

    def exec(self, machine: Machine, argv: Sequence[str], stdin: bytes = b"", timeout: float | None = None) -> ExecResult:
        """Run a command as root inside the machine."""
        self._must_be_on(machine)
        return agent.run(
            self._home(machine) / "agent.sock", ["env", "-i", "-C", "/", *CONSOLE_ENVIRONMENT, *argv], stdin, timeout
        )

    def pid(self, machine: Machine) -> int | None:
        """Return the process that is the machine."""
        return process.recorded(self._home(machine) / "pid")

    def destroy(self, machine: Machine) -> None:
        """Stop the machine and forget everything of it."""
        self._stop(machine)
        shutil.rmtree(self._home(machine), ignore_errors=True)

    def _stop(self, machine: Machine) -> None:
        home = self._home(machine)
        for name in ("pid", "tpm.pid"):
            pid = process.recorded(home / name)
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                while process.recorded(home / name) is not None:
                    time.sleep(0.02)
        for name in ("pid", "tpm.pid", "tpm.number", "tpm.sock", "agent.sock", "monitor.sock", "console.sock"):
            (home / name).unlink(missing_ok=True)
        if Path("/sys/class/net", self.lab.link(machine)).exists():
            network.run("ip", "link", "delete", self.lab.link(machine), check=False)

    def _monitor(self, machine: Machine, command: str, arguments: Mapping[str, Any]) -> None:
        self._must_be_on(machine)
        sockets.monitor(self._home(machine) / "monitor.sock", command, arguments)

    def _must_be_on(self, machine: Machine) -> None:
        if self.pid(machine) is None:
            raise LabError(_("La machine d'essai {machine} est éteinte.").format(machine=machine.name))

    def _must_be_off(self, machine: Machine) -> None:
        if self.pid(machine) is not None:
            raise LabError(_("La machine d'essai {machine} est allumée : éteignez-la d'abord.").format(machine=machine.name))

    def _home(self, machine: Machine) -> Path:
        return self.folder / "machines" / machine.name


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _call(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise LabError(f"{argv[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
