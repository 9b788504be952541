"""A practice on lab machines: same answers, same bootstrap script, same inventory, other addresses."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from antiseche.errors import AntisecheError
from antiseche.i18n import _
from antiseche.lab import labs
from antiseche.lab.labs import Lab
from antiseche.lab.maintenance import run_script
from antiseche.lab.model import LabError, MachineSpec
from antiseche.lab.rewrite import rehearsal_answers
from antiseche.practice import bootstrap, host_keys, inventory
from antiseche.practice.atomic import write_text
from antiseche.practice.folder import REHEARSAL_NAME, PracticeFolder
from antiseche.practice.schema import Practice

FOLDER_NAME = "rehearsal"
_PASSWORD_NAME = ".vault-password"  # noqa: S105 - a file name
_HOST_KEY = "host-key: "


@dataclass(frozen=True)
class Rehearsal:
    """A practice that runs on lab machines."""

    folder: PracticeFolder
    lab: Lab

    @property
    def password_file(self) -> Path:
        """Password of the rehearsal's own vaults, which protect throw-away secrets only."""
        return self.folder.root / _PASSWORD_NAME

    def arguments(self) -> list[str]:
        """Return the options that let a command reach the machines."""
        return ["--private-key", str(self.lab.private_key), "--vault-password-file", str(self.password_file)]

    def as_json(self) -> dict[str, Any]:
        """Return the rehearsal for ``--json``."""
        return {"practice": str(self.folder.root), "lab": self.lab.as_json(), "vault_password_file": str(self.password_file)}


def folder_of(source: PracticeFolder) -> PracticeFolder:
    """Return the folder where a practice is rehearsed: inside its own, apart from its real runs."""
    return PracticeFolder(source.root / FOLDER_NAME)


def lab_name(folder: PracticeFolder) -> str:
    """Return the name of the lab of a rehearsal folder; two folders never share one."""
    digest = hashlib.sha256(os.fsencode(folder.root.resolve())).hexdigest()[:8]
    return f"rehearsal-{digest}"


def start(practice: Practice, folder: PracticeFolder, notify: Callable[[str], None] = lambda _text: None) -> Rehearsal:
    """Bring the machines, the answers, the inventory and the pinned keys of a rehearsal up to date.

    What runs already is left alone; when this call made the lab and fails, nothing of it is left.

    Raises:
        AntisecheError: this machine cannot run a lab, or a step failed.
    """
    name = lab_name(folder)
    existed = any(lab.name == name for lab in labs.all_labs())
    try:
        lab = labs.reserve(name)
        adapted = _write_answers(practice, folder, lab)
        _build_inventory(folder, adapted)
        notify(_("Démarrage de {n} machines d'essai…").format(n=len(adapted.hosts)))
        lab = _machines(lab, adapted, notify)
        _open(lab, adapted, folder, notify)
    except BaseException:
        if not existed:
            stop(folder)
        raise
    return Rehearsal(folder, lab)


def stop(folder: PracticeFolder) -> bool:
    """Throw the machines away; answers, runs and reports of the rehearsal stay. Say whether there were any."""
    folder.known_hosts.unlink(missing_ok=True)  # the next machines have other keys
    return labs.down(lab_name(folder))


def _write_answers(practice: Practice, folder: PracticeFolder, lab: Lab) -> Practice:
    data = rehearsal_answers(practice, subnet=lab.state.subnet, gateway=lab.gateway, public_key=lab.public_key)
    text = "# " + _("Répétition : écrit par « antiseche rehearse », ne pas modifier.") + "\n"
    text += yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=120)
    try:
        folder.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_text(folder.root / REHEARSAL_NAME, json.dumps({"lab": lab.name}) + "\n", mode=0o644)
        if not folder.answers_file.is_file() or folder.answers_file.read_text(encoding="utf-8") != text:
            write_text(folder.answers_file, text, mode=0o644)
        password = folder.root / _PASSWORD_NAME
        if not password.is_file():
            write_text(password, secrets.token_urlsafe(32) + "\n", mode=0o600)
    except OSError as error:
        raise AntisecheError(_("Le dossier de répétition {folder} ne peut pas être écrit : {error}.").format(
            folder=folder.root, error=error.strerror or error)) from None  # fmt: skip
    return Practice.model_validate(data)


def _build_inventory(folder: PracticeFolder, practice: Practice) -> None:
    password = (folder.root / _PASSWORD_NAME).read_bytes().strip()
    inventory.build(folder, practice, lambda _create: password)


def _machines(lab: Lab, practice: Practice, notify: Callable[[str], None]) -> Lab:
    """Start what is missing, throw away what the answers no longer hold or hold otherwise."""
    wanted = {host.name: MachineSpec(host.name, host.system.value, str(host.address)) for host in practice.hosts}
    for machine in list(lab.machines.values()):
        spec = wanted.get(machine.name)
        if spec is None or (spec.system, spec.address) != (machine.system, machine.address):
            lab = labs.remove(lab, machine.name)
    return labs.up(lab.name, list(wanted.values()), notify=notify)


def _open(lab: Lab, practice: Practice, folder: PracticeFolder, notify: Callable[[str], None]) -> None:
    """Run each machine's own bootstrap script on its console, and pin the host key that it reports."""
    pinned = {name for pin in host_keys.pinned_keys(folder) for name in pin.names if _current(lab, name, pin.key)}
    new = [host for host in practice.hosts if host.name not in pinned]
    if not new:
        return
    notify(_("Prise en main par le script de chaque machine…"))

    def one(name: str, text: str) -> str:
        output = run_script(lab, name, text)
        keys = [line.removeprefix(_HOST_KEY) for line in output.splitlines() if line.startswith(_HOST_KEY)]
        if not keys:
            raise LabError(_("Le script de prise en main de {machine} n'a pas rapporté de clé d'hôte.").format(machine=name))
        return keys[-1]

    with ThreadPoolExecutor(max_workers=len(new)) as pool:
        scripts = {host.name: bootstrap.script(bootstrap.spec_for(practice, host)) for host in new}
        keys = dict(zip(scripts, pool.map(one, scripts.keys(), scripts.values()), strict=True))
    for host in new:
        host_keys.forget_host_key(folder, host.name)
        host_keys.forget_host_key(folder, str(host.address))
        host_keys.pin_host_key(folder, str(host.address), host.name, keys[host.name])


def _current(lab: Lab, name: str, key: str) -> bool:
    return name in lab.machines and lab.machines[name].host_key == key
