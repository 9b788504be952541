"""What a lab and its machines are, and what a driver must be able to do with them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from antiseche.errors import AnswersError, AntisecheError
from antiseche.i18n import _

RELEASES = {"debian12": "bookworm", "debian13": "trixie"}
"""System names of the answers, and the Debian suite of each."""

_LAB_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}\Z")
_MACHINE_NAME = re.compile(r"[a-z][a-z0-9-]{0,13}[a-z0-9]\Z")


class LabError(AntisecheError):
    """A lab or one of its machines could not do what was asked."""


@dataclass(frozen=True)
class MachineSpec:
    """A machine to start."""

    name: str
    system: str
    address: str = ""
    """Address inside the lab; empty: the next free one."""


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
            m.name: {"system": m.system, "address": m.address, "host_key": m.host_key, "number": m.number}
            for m in self.machines.values()
        }
        return {"version": 1, "name": self.name, "index": self.index, "subnet": self.subnet, "machines": machines}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LabState:
        """Read what `as_json` wrote."""
        machines = {
            name: Machine(name, str(m["system"]), str(m["address"]), str(m["host_key"]), int(m["number"]))
            for name, m in data["machines"].items()
        }
        return cls(str(data["name"]), int(data["index"]), str(data["subnet"]), machines)


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
    """Read ``name:system`` or ``name:system:address``.

    Raises:
        AnswersError: the text names no machine that a lab can start.
    """
    name, _colon, rest = text.partition(":")
    system, _colon, address = rest.partition(":")
    if not _MACHINE_NAME.match(name) or system not in RELEASES:
        raise AnswersError(
            _("« {text} » ne décrit pas une machine : écrivez NOM:SYSTÈME, avec un système parmi {systems}.").format(
                text=text, systems=", ".join(RELEASES)
            )
        )
    return MachineSpec(name, system, address)


def state_root() -> Path:
    """Return the folder that holds the state of the labs: ``ANTISECHE_LAB``, else under /var/lib."""
    return Path(os.environ.get("ANTISECHE_LAB") or "/var/lib/antiseche-lab")


def cache_root() -> Path:
    """Return the folder of what is kept between labs: ``ANTISECHE_CACHE``, else under /var/cache."""
    return Path(os.environ.get("ANTISECHE_CACHE") or "/var/cache/antiseche")
