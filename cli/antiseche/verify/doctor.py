"""What must be right before anything is changed: this machine, the practice, and each host. Reads only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from antiseche.engine import records
from antiseche.engine.identities import offered
from antiseche.engine.locking import practice_lock
from antiseche.errors import AntisecheError
from antiseche.i18n import N_, _
from antiseche.practice import host_keys, inventory, vault_password
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Host, Practice
from antiseche.verify.doctor_cards import middleware_problem
from antiseche.verify.doctor_host import check_host

OK, WARNING, PROBLEM, UNREACHABLE = "ok", "warning", "problem", "unreachable"
_OLDEST_SANE_CLOCK = 1_750_000_000  # this code did not exist before
_PARALLEL = 16
_MIN_FREE_MB = 200
_ANSIBLE_SECONDS = 60  # a slow disk, the first time
_NOT_DECLARED = N_("la clé disponible n'est pas parmi celles du prestataire dans les réponses")

Row = tuple[str, str]


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
    checks: list[tuple[str, Callable[[Request], Row]]] = [
        ("Python", _python),
        ("Ansible", _ansible),
        (_("client SSH"), _ssh_client),
        (_("horloge"), _clock),
        (_("espace"), _space),
        (_("dossier du cabinet"), _folder),
        (_("clé SSH"), _key),
        (_("mot de passe du coffre"), _vault_source),
        (_("inventaire"), _inventory),
        (_("clés d'hôte"), _known_hosts),
    ]
    if any(host.card_reader for host in request.hosts):
        checks.append((_("Cryptolib CPS"), _middleware))
    found = []
    for subject, check in checks:
        try:
            status, detail = check(request)
        except (AntisecheError, OSError) as error:
            status, detail = PROBLEM, str(error)
        found.append(Finding("", subject, status, detail))
    return found


def _middleware(request: Request) -> Row:
    stops, said = middleware_problem(request.folder, request.practice)
    supplied = request.practice.cps.middleware is not None
    return (PROBLEM if stops else OK if supplied else WARNING), said


def _python(_request: Request) -> Row:
    return OK, ".".join(map(str, sys.version_info[:3]))  # too old a Python could not have started


def _ansible(_request: Request) -> Row:
    """Start it as the engine does: versions of packages say little of a broken installation."""
    try:
        version = metadata.version("ansible-core")
    except metadata.PackageNotFoundError:
        return PROBLEM, _("ansible-core n'est pas installé : réinstallez Antisèche")
    if tuple(map(int, version.split(".")[:2])) < (2, 17):
        return PROBLEM, _("ansible-core {version} est trop ancien : il faut la 2.17").format(version=version)
    rc, said = _run([sys.executable, "-P", "-m", "ansible", "playbook", "--version"], _ANSIBLE_SECONDS)
    if rc != 0:
        return PROBLEM, _("ansible-core {version} ne démarre pas : {reason}").format(version=version, reason=said or "?")
    spec = util.find_spec("ansible.constants")
    compiled = spec is not None and spec.cached is not None and Path(spec.cached).exists()
    if not compiled:
        folder = Path(spec.origin).parent if spec is not None and spec.origin else "ansible"
        return WARNING, _("{version}, non précompilé : chaque passage perd une demi-seconde ; « {command} »").format(
            version=version, command=f"{sys.executable} -m compileall -q {folder}"
        )
    return OK, version


def _ssh_client(_request: Request) -> Row:
    missing = [tool for tool in ("ssh", "ssh-keyscan", "ssh-keygen") if shutil.which(tool) is None]
    if missing:
        return PROBLEM, _("il manque {tools} : installez le paquet openssh-client").format(tools=", ".join(missing))
    return OK, _run(["ssh", "-V"], 10)[1].split(",")[0].strip()


def _clock(_request: Request) -> Row:
    if time.time() < _OLDEST_SANE_CLOCK:
        return PROBLEM, _("l'horloge de ce poste retarde de plusieurs mois : mettez-la à l'heure")
    return OK, time.strftime("%Y-%m-%d %H:%M:%S %z")


def _space(request: Request) -> Row:
    """Events, observations and reports go to the practice's folder, Ansible's own files to the temporary one."""
    free = {}
    for place in (request.folder.root, Path(tempfile.gettempdir())):
        found = os.statvfs(place)
        free[place] = 0 if found.f_files and not found.f_favail else found.f_bavail * found.f_frsize // 1_000_000
    place = min(free, key=lambda one: free[one])
    if free[place] < _MIN_FREE_MB:
        return PROBLEM, _("{n} Mo libres dans {path} : il en faut {least}").format(n=free[place], path=place, least=_MIN_FREE_MB)
    return OK, _("{n} Mo libres").format(n=free[place])


def _folder(request: Request) -> Row:
    root = request.folder.root
    if not os.access(root, os.W_OK | os.X_OK):
        return PROBLEM, _("{path} n'est pas inscriptible : les passages n'y seraient pas enregistrés").format(path=root)
    if not request.folder.runs_dir.is_dir():
        return OK, str(root)
    try:
        with practice_lock(request.folder):
            pass
    except AntisecheError as busy:
        return WARNING, str(busy)
    unfinished = [run.id for run in records.runs(request.folder) if not run.finished]
    if unfinished:
        return WARNING, _("passage resté inachevé : {runs} ; le prochain le clora").format(runs=", ".join(unfinished))
    return OK, str(root)


def _key(request: Request) -> Row:
    """A key that ssh would not be able to use is found here, not on the fourth host."""
    declared = {" ".join(key.split()[:2]) for key in request.practice.maintenance.public_keys}
    rc, said = _run(["ssh-add", "-L"], 10)
    agent = {" ".join(line.split()[:2]) for line in said.splitlines()} if rc == 0 else set()
    if request.private_key is None:
        own = [path for path in offered(request.folder.root, None, declared) if not path.endswith(".pub")]
        if own:
            return _usable(Path(own[0]), declared, agent)
        if not agent:
            return PROBLEM, _("aucune clé : donnez --private-key FICHIER ou chargez-la dans l'agent SSH (ssh-add)")
        return (OK, _("agent SSH")) if agent & declared else (PROBLEM, _(_NOT_DECLARED))
    return _usable(request.private_key, declared, agent)


def _usable(path: Path, declared: set[str], agent: set[str]) -> Row:
    """Say whether ssh could use a private key without asking anybody."""
    if path.stat().st_mode & 0o077:
        return PROBLEM, _("{path} est lisible par d'autres que vous : ssh la refusera (chmod 600)").format(path=path)
    rc, said = _run(["ssh-keygen", "-y", "-P", "", "-f", str(path)], 10)
    if rc == 0:
        return (OK, str(path)) if {" ".join(said.split()[:2])} & declared else (PROBLEM, _(_NOT_DECLARED))
    if "passphrase" not in said:
        return PROBLEM, _("{path} n'est pas une clé privée lisible : {reason}").format(
            path=path, reason=(said.splitlines() or ["?"])[-1]
        )
    if agent & declared:
        return OK, _("{path}, ouverte par l'agent SSH").format(path=path)
    return PROBLEM, _("clé protégée par une phrase, que personne ne pourra taper : chargez-la dans l'agent SSH (ssh-add)")


def _run(argv: list[str], seconds: float) -> tuple[int, str]:
    """Run a tool of this machine; return its code and what it said."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL, timeout=seconds
        )
    except FileNotFoundError:
        return 127, _("{tool} est introuvable").format(tool=argv[0])
    except subprocess.TimeoutExpired:
        return 124, _("{tool} ne répond pas").format(tool=argv[0])
    return done.returncode, (done.stdout.strip() or done.stderr.strip())


def _vault_source(request: Request) -> Row:
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


def _inventory(request: Request) -> Row:
    if inventory.compare(request.folder, request.practice).current:
        return OK, _("à jour")
    return WARNING, _("à reconstruire : antiseche inventory {practice}").format(practice=request.folder.name)


def _known_hosts(request: Request) -> Row:
    names = {name for pin in host_keys.pinned_keys(request.folder) for name in pin.names}
    missing = [host.name for host in request.practice.hosts if str(host.address) not in names]
    if missing:
        return PROBLEM, _("à épingler (antiseche bootstrap) : {hosts}").format(hosts=", ".join(missing))
    owners: dict[str, list[str]] = {}
    for pin in host_keys.pinned_keys(request.folder):
        owners.setdefault(pin.key, []).append(pin.names[-1])
    copied = [names for names in owners.values() if len(names) > 1]
    if copied:
        # Whoever holds one of these machines can pass for the other.
        return WARNING, _(
            "la même clé sert à {hosts} : machines clonées ; sur l'une, « rm /etc/ssh/ssh_host_* », "
            "relancez le script, puis --forget et --pin"
        ).format(hosts=", ".join(copied[0]))
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
