"""What a lab and its machines are, and what a driver must be able to do with them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from antiseche.errors import AnswersError, AntisecheError
from antiseche.i18n import _

RELEASES = {"debian12": "bookworm", "debian13": "trixie"}
"""System names of the answers, and the Debian suite of each."""

READY = ("running", "degraded")
"""What systemd says of a machine that is up."""

CONSOLE_ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    "HOME=/root",
    "TERM=dumb",
)
"""Environment of commands on a machine's console."""

_LAB_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}\Z")
_DISK = re.compile(r"disk=([1-9][0-9]{0,3})([MG])\Z")
_UNITS = {"M": 1, "G": 1024}
_MACHINE_NAME = re.compile(r"[a-z][a-z0-9-]{0,13}[a-z0-9]\Z")


class LabError(AntisecheError):
    """A lab or one of its machines could not do what was asked."""


@dataclass(frozen=True)
class Equipment:
    """What a full machine has besides its processor, system disk, TPM and network link."""

    disks: tuple[int, ...] = ()
    """Blank data disks, in MiB; the machine sees them as ``/dev/vdb`` and on."""
    card_reader: bool = False
    """A USB reader with a card in it."""
    encrypted_system: bool = False
    """The system disk is LUKS2; somebody types its passphrase at each start."""


@dataclass(frozen=True)
class MachineSpec:
    """A machine to start."""

    name: str
    system: str
    address: str = ""
    """Address inside the lab; empty: the next free one."""
    equipment: Equipment = Equipment()


@dataclass(frozen=True)
class Machine:
    """A machine of a lab, as its driver needs it."""

    name: str
    system: str
    address: str
    host_key: str
    """Public ed25519 host key, ``ssh-ed25519 AAAA...``."""
    number: int
    """Distinguishes the machine's links and processes from those of its lab's other machines."""
    equipment: Equipment = Equipment()

    @property
    def suite(self) -> str:
        """The Debian suite."""
        return RELEASES[self.system]


@dataclass(frozen=True)
class LabState:
    """A lab as it is written on disk."""

    name: str
    index: int
    """Number of the lab on this machine; its bridge, links and default subnet follow from it."""
    subnet: str
    machines: dict[str, Machine] = field(default_factory=dict)
    driver: str = "nspawn"

    @property
    def bridge(self) -> str:
        """Name of the lab's bridge."""
        return f"asbr{self.index}"

    @property
    def table(self) -> str:
        """Name of the lab's nftables table on this machine."""
        return f"antiseche_lab_{self.index}"

    def link(self, machine: Machine) -> str:
        """Name of this machine's end of the cable of a lab machine."""
        return f"vb-{self.label(machine)}"

    def label(self, machine: Machine) -> str:
        """Short name, unique on this machine: link names have 15 characters at most."""
        return f"as{self.index}-{machine.number}"

    def as_json(self) -> dict[str, Any]:
        """Return what is written to ``lab.json``."""
        machines = {
            m.name: {
                "system": m.system,
                "address": m.address,
                "host_key": m.host_key,
                "number": m.number,
                "disks": list(m.equipment.disks),
                "card_reader": m.equipment.card_reader,
                "encrypted_system": m.equipment.encrypted_system,
            }
            for m in self.machines.values()
        }
        return {
            "version": 1,
            "name": self.name,
            "index": self.index,
            "subnet": self.subnet,
            "driver": self.driver,
            "machines": machines,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LabState:
        """Read what `as_json` wrote."""
        machines = {
            name: Machine(
                name,
                str(m["system"]),
                str(m["address"]),
                str(m["host_key"]),
                int(m["number"]),
                Equipment(tuple(map(int, m.get("disks", ()))), bool(m.get("card_reader")), bool(m.get("encrypted_system"))),
            )
            for name, m in data["machines"].items()
        }
        return cls(str(data["name"]), int(data["index"]), str(data["subnet"]), machines, str(data.get("driver", "nspawn")))


@dataclass(frozen=True)
class ExecResult:
    """What a command run on a machine's console answered."""

    rc: int
    stdout: bytes
    stderr: bytes

    def text(self) -> str:
        """Return the standard output as text."""
        return self.stdout.decode(errors="replace")


class Driver(Protocol):
    """How machines are made. One object per lab; each method is about one machine."""

    @staticmethod
    def prepare(systems: Sequence[str], notify: Callable[[str], None]) -> None:
        """Build what machines of these systems stand on, once."""

    def create(self, machine: Machine) -> None:
        """Prepare the machine's disk; it stays off."""

    def power_on(self, machine: Machine, timeout: float = 60) -> None:
        """Start the machine from its disk and wait until it is up; nothing to do when it runs."""

    def power_cut(self, machine: Machine) -> None:
        """Stop the machine as a power failure does; its disk stays as it is."""

    def network_cut(self, machine: Machine) -> None:
        """Pull the network cable."""

    def network_restore(self, machine: Machine) -> None:
        """Plug the network cable again."""

    def exec(self, machine: Machine, argv: Sequence[str], stdin: bytes = b"", timeout: float | None = None) -> ExecResult:
        """Run a command as root, as on the machine's own console."""

    def pid(self, machine: Machine) -> int | None:
        """Return the process that is the machine, or None when it is off."""

    def destroy(self, machine: Machine) -> None:
        """Stop the machine and forget its disk; nothing of it is left."""


def check_lab_name(name: str) -> str:
    """Return the name of a lab, or refuse it.

    Raises:
        AnswersError: the name cannot be the name of a lab.
    """
    if not _LAB_NAME.match(name):
        raise AnswersError(
            _("« {name} » ne peut pas nommer un banc d'essai : minuscules, chiffres et tirets, 32 caractères au plus.").format(
                name=name
            )
        )
    return name


def parse_machine(text: str) -> MachineSpec:
    """Read ``name:system``, followed by ``:address``, ``:disk=SIZE`` (``M`` or ``G``), ``:reader``, ``:encrypted``.

    Raises:
        AnswersError: the text names no machine that a lab can start.
    """
    name, _colon, described = text.partition(":")
    system, *rest = described.split(":")
    disks = [_DISK.match(word) for word in rest if word.startswith("disk=")]
    others = [word for word in rest if not word.startswith("disk=") and word not in ("reader", "encrypted")]
    if not _MACHINE_NAME.match(name) or system not in RELEASES or not all(disks) or len(others) > 1:
        raise AnswersError(
            _("« {text} » ne décrit pas une machine : écrivez NOM:SYSTÈME, avec un système parmi {systems}.").format(
                text=text, systems=", ".join(RELEASES)
            )
        )
    sizes = tuple(int(disk[1]) * _UNITS[disk[2]] for disk in disks if disk)
    return MachineSpec(name, system, others[0] if others else "", Equipment(sizes, "reader" in rest, "encrypted" in rest))


def state_root() -> Path:
    """Return the folder that holds the state of the labs: ``ANTISECHE_LAB``, else under /var/lib."""
    return Path(os.environ.get("ANTISECHE_LAB") or "/var/lib/antiseche-lab")


def cache_root() -> Path:
    """Return the folder of what is kept between labs: ``ANTISECHE_CACHE``, else under /var/cache."""
    return Path(os.environ.get("ANTISECHE_CACHE") or "/var/cache/antiseche")
