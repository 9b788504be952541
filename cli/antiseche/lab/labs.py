"""Labs: several machines on a network of their own, started together and taken down together."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from antiseche.errors import AnswersError
from antiseche.i18n import _
from antiseche.lab import network
from antiseche.lab.model import (
    Driver,
    Equipment,
    ExecResult,
    LabError,
    LabState,
    Machine,
    MachineSpec,
    check_lab_name,
    state_root,
)
from antiseche.lab.nspawn import NspawnDriver
from antiseche.lab.qemu import QemuDriver
from antiseche.lab.requirements import require

DRIVERS: dict[str, type[NspawnDriver] | type[QemuDriver]] = {"nspawn": NspawnDriver, "qemu": QemuDriver}
"""Fast machines, and full ones."""

_FIRST_HOST = 10
_MAX_LABS = 200


class Lab:
    """A lab that exists on disk, with the driver that runs its machines."""

    def __init__(self, state: LabState, folder: Path) -> None:
        self.state = state
        self.folder = folder
        if state.driver not in DRIVERS:
            raise LabError(_("Une autre version du kit a monté le banc d'essai « {name} » : prenez-la.").format(name=state.name))
        self.driver: Driver = DRIVERS[state.driver](state, folder)

    @property
    def name(self) -> str:
        """Name of the lab."""
        return self.state.name

    @property
    def machines(self) -> dict[str, Machine]:
        """Its machines by name."""
        return self.state.machines

    @property
    def gateway(self) -> str:
        """Address of this machine inside the lab: where maintenance comes from."""
        return network.gateway(self.state.subnet)

    @property
    def private_key(self) -> Path:
        """The contractor's key for this lab."""
        return self.folder / "id_ed25519"

    @property
    def public_key(self) -> str:
        """The public half."""
        return self.private_key.with_suffix(".pub").read_text(encoding="utf-8").strip()

    def machine(self, name: str) -> Machine:
        """Return a machine by name.

        Raises:
            AnswersError: the lab has no such machine.
        """
        if name not in self.machines:
            raise AnswersError(_("Le banc d'essai « {lab} » n'a pas de machine « {name} » (il a : {known}).").format(
                lab=self.name, name=name, known=", ".join(self.machines)))  # fmt: skip
        return self.machines[name]

    def exec(self, name: str, argv: Sequence[str], stdin: bytes = b"", timeout: float | None = None) -> ExecResult:
        """Run a command on a machine's console."""
        return self.driver.exec(self.machine(name), argv, stdin, timeout)

    def full(self) -> QemuDriver:
        """Return the driver of full machines, for what only they have.

        Raises:
            AnswersError: the lab's machines are containers.
        """
        if not isinstance(self.driver, QemuDriver):
            raise AnswersError(
                _("Les machines du banc d'essai « {name} » sont des conteneurs : démarrez-le avec « --driver qemu ».").format(
                    name=self.name
                )
            )
        return self.driver

    def start(self) -> None:
        """Start all machines at once; those that run are left alone."""
        self._each(
            self.driver.create, [m for m in self.machines.values() if not (self.folder / "machines" / m.name / "tree").is_file()]
        )
        self._each(self.driver.power_on, list(self.machines.values()))

    def keep_packages(self) -> None:
        """Keep the packages fetched so far for later labs."""
        if isinstance(self.driver, NspawnDriver):
            for machine in self.machines.values():
                self.driver.keep_packages(machine)

    def _each(self, action: Callable[[Machine], None], machines: Sequence[Machine]) -> None:
        with ThreadPoolExecutor(max_workers=max(1, len(machines))) as pool:
            for future in [pool.submit(action, machine) for machine in machines]:
                future.result()

    def as_json(self) -> dict[str, Any]:
        """Return what programs need to reach the lab."""
        machines = {
            m.name: {
                "address": m.address,
                "release": m.suite,
                "system": m.system,
                "pid": self.driver.pid(m),
                "host_key": m.host_key,
            }
            for m in self.machines.values()
        }
        return {
            "name": self.name,
            "subnet": self.state.subnet,
            "gateway": self.gateway,
            "machines": machines,
            "private_key": str(self.private_key),
            "public_key": self.public_key,
            "known_hosts": str(self.folder / "known_hosts"),
        }


def up(
    name: str,
    specs: Sequence[MachineSpec],
    *,
    subnet: str | None = None,
    driver: str | None = None,
    notify: Callable[[str], None] = lambda _text: None,
) -> Lab:
    """Start a lab; when it exists already, its missing or stopped machines are started.

    Raises:
        MissingRequirementError: this machine cannot run a lab.
        LabError: a machine did not start; a lab that this call created is taken down again.
    """
    check_lab_name(name)
    known = _load(_folder(name))
    chosen = driver or (known.driver if known else "nspawn")
    require(full=chosen == "qemu")
    DRIVERS[chosen].prepare([spec.system for spec in specs], notify)
    existed = _folder(name).is_dir()
    try:
        with _locked():
            state = _planned(name, specs, subnet, chosen)
            _save(state)
            network.raise_network(state, state_root())
        lab = Lab(state, _folder(name))
        lab.start()
    except BaseException:
        if not existed:
            down(name)
        raise
    return lab


def reserve(name: str, subnet: str | None = None) -> Lab:
    """Make sure that a lab exists, with its network's addresses known, and no machine yet when it is new.

    Raises:
        MissingRequirementError: this machine cannot run a lab.
    """
    check_lab_name(name)
    require()
    with _locked():
        state = _planned(name, (), subnet)
        _save(state)
    return Lab(state, _folder(name))


def remove(lab: Lab, name: str) -> Lab:
    """Throw one machine away."""
    with _locked():
        machine = lab.machine(name)
        lab.driver.destroy(machine)
        state = replace(lab.state, machines={k: m for k, m in lab.machines.items() if k != name})
        _save(state)
    return Lab(state, lab.folder)


def find(name: str) -> Lab:
    """Return an existing lab.

    Raises:
        AnswersError: no lab has this name.
    """
    state = _load(_folder(check_lab_name(name)))
    if state is None:
        known = ", ".join(lab.name for lab in all_labs()) or _("aucun")
        raise AnswersError(_("Il n'y a pas de banc d'essai « {name} » (existants : {known}).").format(name=name, known=known))
    return Lab(state, _folder(name))


def all_labs() -> list[Lab]:
    """Return the labs that left something on this machine, running or not, but those that only another version knows."""
    return [Lab(state, _folder(state.name)) for state in _states() if state.driver in DRIVERS]


def _states() -> list[LabState]:
    root = state_root()
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return [state for folder in folders if (state := _load(folder)) is not None]


def down(name: str) -> bool:
    """Take a lab down and leave nothing; say whether there was one."""
    folder = _folder(check_lab_name(name))
    if not folder.is_dir():
        return False
    require()
    state = _load(folder)
    if state is not None:
        lab = Lab(state, folder)
        lab._each(lab.driver.destroy, list(lab.machines.values()))
        network.drop_network(state)
    with _locked():
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            raise LabError(_("Le dossier {folder} n'a pas pu être supprimé.").format(folder=folder))
        if not any(path.is_dir() for path in state_root().iterdir()):
            network.restore_forwarding(state_root())
    return True


def authorise(lab: Lab) -> None:
    """Write the lab's own ``known_hosts``: the keys are known since the kit made them."""
    lines = [f"{m.address},{m.name} {m.host_key}\n" for m in lab.machines.values()]
    (lab.folder / "known_hosts").write_text("".join(lines), encoding="utf-8")


def _folder(name: str) -> Path:
    return state_root() / name


@contextmanager
def _locked() -> Iterator[None]:
    root = state_root()
    root.mkdir(parents=True, exist_ok=True, mode=0o711)
    descriptor = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _load(folder: Path) -> LabState | None:
    try:
        return LabState.from_json(json.loads((folder / "lab.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _save(state: LabState) -> None:
    folder = _folder(state.name)
    unfinished = folder / ".lab.json"
    unfinished.write_text(json.dumps(state.as_json(), indent=1), encoding="utf-8")
    unfinished.replace(folder / "lab.json")
    authorise(Lab(state, folder))


def _planned(name: str, specs: Sequence[MachineSpec], subnet: str | None, driver: str = "nspawn") -> LabState:
    """Return the lab's state with the asked machines in it; keys are made here, once."""
    folder = _folder(name)
    state = _load(folder)
    if state is None:
        state = replace(_new_state(name, subnet), driver=driver)
        folder.mkdir(mode=0o711, exist_ok=True)
    if state.driver != driver:
        raise AnswersError(_("Le banc d'essai « {name} » existe déjà, avec des machines d'un autre genre.").format(name=name))
    if not (folder / "id_ed25519").is_file():
        make_key(folder / "id_ed25519", f"antiseche-lab-{name}")
    machines = dict(state.machines)
    for spec in specs:
        if spec.equipment != Equipment() and driver != "qemu":
            raise AnswersError(
                _("La machine « {name} » a des disques ou un lecteur : démarrez-la avec « --driver qemu ».").format(
                    name=spec.name
                )
            )
        known = machines.get(spec.name)
        if known is not None and known.system != spec.system:
            raise AnswersError(
                _("La machine « {name} » existe déjà dans ce banc d'essai, avec un autre système.").format(name=spec.name)
            )
        if known is None:
            machines[spec.name] = _new_machine(state, machines, spec, folder)
    return replace(state, machines=machines)


def _new_state(name: str, subnet: str | None) -> LabState:
    others = _states()
    taken = [state.subnet for state in others]
    used = {state.index for state in others}
    for index in range(1, _MAX_LABS):
        if index in used or Path("/sys/class/net", f"asbr{index}").exists():
            continue
        chosen = network.choose_subnet(index, subnet, taken)
        if chosen is not None:
            return LabState(name, index, chosen)
    raise LabError(_("Aucun réseau libre pour un banc d'essai : démontez-en un."))


def _new_machine(state: LabState, machines: dict[str, Machine], spec: MachineSpec, folder: Path) -> Machine:
    net = ip_network(state.subnet)
    used = {machine.address for machine in machines.values()} | {network.gateway(state.subnet)}
    if spec.address:
        with contextlib.suppress(ValueError):
            if ip_address(spec.address) in net and spec.address not in used:
                used.discard(spec.address)
                return _keyed(machines, spec, spec.address, folder)
        raise AnswersError(_("L'adresse {address} n'est pas libre dans le réseau {subnet} du banc d'essai.").format(
            address=spec.address, subnet=state.subnet))  # fmt: skip
    start = min(_FIRST_HOST, net.num_addresses // 2)
    free = (str(net[i]) for i in range(start, net.num_addresses - 1) if str(net[i]) not in used)
    address = next(free, None)
    if address is None:
        raise LabError(_("Plus d'adresse libre dans le réseau {subnet} du banc d'essai.").format(subnet=state.subnet))
    return _keyed(machines, spec, address, folder)


def _keyed(machines: dict[str, Machine], spec: MachineSpec, address: str, folder: Path) -> Machine:
    home = folder / "machines" / spec.name
    home.mkdir(parents=True, exist_ok=True)
    (folder / "machines").chmod(0o711)
    make_key(home / "host_key", spec.name)
    public = " ".join((home / "host_key.pub").read_text(encoding="utf-8").split()[:2])
    number = max((machine.number for machine in machines.values()), default=0) + 1
    return Machine(spec.name, spec.system, address, public, number, spec.equipment)


def make_key(path: Path, comment: str) -> None:
    """Make an ed25519 key pair without passphrase, for lab use only."""
    path.unlink(missing_ok=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True, stdin=subprocess.DEVNULL
    )
