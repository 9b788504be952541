"""What must be right before anything is changed: this machine, the practice, and each host. Reads only."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from antiseche.errors import AntisecheError
from antiseche.i18n import _
from antiseche.practice import host_keys, inventory, vault_password
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Host, Practice
from antiseche.verify.doctor_host import check_host

OK, WARNING, PROBLEM, UNREACHABLE = "ok", "warning", "problem", "unreachable"
_OLDEST_SANE_CLOCK = 1_750_000_000  # this code did not exist before
_PARALLEL = 16


@dataclass(frozen=True)
class Finding:
    """One line of the table. ``host`` is empty for this machine."""

    host: str
    subject: str
    status: str
    detail: str

    def as_json(self) -> dict[str, str]:
        """Return the line for ``--json``."""
        return {"host": self.host, "subject": self.subject, "status": self.status, "detail": self.detail}


@dataclass(frozen=True)
class Request:
    """What to look at."""

    folder: PracticeFolder
    practice: Practice
    hosts: tuple[Host, ...]
    vault_password_file: Path | None = None
    private_key: Path | None = None


def examine(request: Request) -> list[Finding]:
    """Return every finding: this machine first, then the hosts in order."""
    return [*_controller(request), *_hosts(request)]


def _controller(request: Request) -> list[Finding]:
    checks: list[tuple[str, Callable[[Request], tuple[str, str]]]] = [
        ("Python", _python),
        ("Ansible", _ansible),
        (_("client SSH"), _ssh_client),
        (_("horloge"), _clock),
        (_("clé SSH"), _key),
        (_("mot de passe du coffre"), _vault_source),
        (_("inventaire"), _inventory),
        (_("clés d'hôte"), _known_hosts),
    ]
    found = []
    for subject, check in checks:
        try:
            status, detail = check(request)
        except (AntisecheError, OSError) as error:
            status, detail = PROBLEM, str(error)
        found.append(Finding("", subject, status, detail))
    return found


def _python(_request: Request) -> tuple[str, str]:
    return OK, ".".join(map(str, sys.version_info[:3]))  # too old a Python could not have started


def _ansible(_request: Request) -> tuple[str, str]:
    try:
        version = metadata.version("ansible-core")
    except metadata.PackageNotFoundError:
        return PROBLEM, _("ansible-core n'est pas installé : réinstallez Antisèche")
    if tuple(map(int, version.split(".")[:2])) < (2, 17):
        return PROBLEM, _("ansible-core {version} est trop ancien : il faut la 2.17").format(version=version)
    beside = Path(sys.executable).with_name("ansible-playbook")
    if not beside.exists() and shutil.which("ansible-playbook") is None:
        return PROBLEM, _("la commande ansible-playbook est introuvable")
    spec = util.find_spec("ansible.constants")
    compiled = spec is not None and spec.cached is not None and Path(spec.cached).exists()
    if not compiled:
        return WARNING, _("{version}, non précompilé : chaque passage perd une demi-seconde (python -m compileall)").format(
            version=version
        )
    return OK, version


def _ssh_client(_request: Request) -> tuple[str, str]:
    missing = [tool for tool in ("ssh", "ssh-keyscan", "ssh-keygen") if shutil.which(tool) is None]
    if missing:
        return PROBLEM, _("il manque {tools} : installez le paquet openssh-client").format(tools=", ".join(missing))
    done = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return OK, (done.stderr or done.stdout).split(",")[0].strip()


def _clock(_request: Request) -> tuple[str, str]:
    if time.time() < _OLDEST_SANE_CLOCK:
        return PROBLEM, _("l'horloge de ce poste retarde de plusieurs mois : mettez-la à l'heure")
    return OK, time.strftime("%Y-%m-%d %H:%M:%S %z")


def _key(request: Request) -> tuple[str, str]:
    declared = {" ".join(key.split()[:2]) for key in request.practice.maintenance.public_keys}
    if request.private_key is not None:
        if request.private_key.stat().st_mode & 0o077:
            return PROBLEM, _("{path} est lisible par d'autres que vous : ssh la refusera (chmod 600)").format(
                path=request.private_key
            )
        argv = ["ssh-keygen", "-y", "-P", "", "-f", str(request.private_key)]
    else:
        argv = ["ssh-add", "-L"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=10)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return PROBLEM, _("{tool} ne répond pas").format(tool=argv[0])
    if done.returncode != 0 and request.private_key is not None:
        return WARNING, _("clé protégée par une phrase : chargez-la dans l'agent SSH (ssh-add)")
    if done.returncode != 0:
        return PROBLEM, _("aucune clé : donnez --private-key FICHIER ou chargez-la dans l'agent SSH (ssh-add)")
    offered = {" ".join(line.split()[:2]) for line in done.stdout.splitlines()}
    if not offered & declared:
        return PROBLEM, _("la clé disponible n'est pas parmi celles du prestataire dans les réponses")
    return OK, str(request.private_key) if request.private_key else _("agent SSH")


def _vault_source(request: Request) -> tuple[str, str]:
    practice_id = request.practice.practice.id
    if not vault_password.has_source(practice_id, request.vault_password_file):
        return WARNING, _("sera demandé (ni fichier ni trousseau)")
    vaults = sorted(request.folder.inventory_dir.glob("host_vars/*/vault.yml"))
    if not vaults:
        return OK, _("disponible ; aucun coffre à ouvrir encore")
    from antiseche.practice.secrets import Vault

    vault = Vault(vault_password.obtain(practice_id, request.vault_password_file))
    for path in vaults:
        vault.read(path)
    return OK, _("ouvre les coffres")


def _inventory(request: Request) -> tuple[str, str]:
    if inventory.compare(request.folder, request.practice).current:
        return OK, _("à jour")
    return WARNING, _("à reconstruire : antiseche inventory {practice}").format(practice=request.folder.name)


def _known_hosts(request: Request) -> tuple[str, str]:
    names = {name for pin in host_keys.pinned_keys(request.folder) for name in pin.names}
    missing = [host.name for host in request.practice.hosts if str(host.address) not in names]
    if missing:
        return PROBLEM, _("à épingler (antiseche bootstrap) : {hosts}").format(hosts=", ".join(missing))
    return OK, _("toutes épinglées")


def _hosts(request: Request) -> list[Finding]:
    def one(host: Host) -> list[Finding]:
        try:
            rows = check_host(request.folder, request.practice, host, request.private_key)
        except (AntisecheError, OSError) as error:
            rows = [(_("connexion"), PROBLEM, str(error))]
        return [Finding(host.name, *row) for row in rows]

    with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
        return [finding for found in pool.map(one, request.hosts) for finding in found]
