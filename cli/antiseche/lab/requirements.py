"""Whether this machine can run lab machines, and what to do when it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from antiseche.errors import MissingRequirementError
from antiseche.i18n import _
from antiseche.lab import network
from antiseche.lab.model import state_root

# tool: Debian package that brings it
_TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "nft": "nftables",
    "ssh-keygen": "openssh-client",
    "ssh": "openssh-client",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "apt-get": "apt",
}
_FULL_TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "swtpm": "swtpm",
    "certutil": "libnss3-tools",
    "mkfs.ext4": "e2fsprogs",
}
# What a machine needs from the kernel, tried for real in a namespace that vanishes.
_TRIAL = """
umount -R /sys/fs/cgroup 2>/dev/null
mount -t cgroup2 none /sys/fs/cgroup || exit 3
cd "$1" && mkdir lower upper work root || exit 4
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none root || exit 5
unshare --net --pid --fork --uts --ipc true || exit 6
"""


def _which(tool: str) -> str | None:
    return shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass(frozen=True)
class Surroundings:
    """What is asked of this machine; replaced by tests."""

    uid: Callable[[], int] = os.geteuid
    which: Callable[[str], str | None] = _which
    os_release: Callable[[], str] = lambda: Path("/etc/os-release").read_text(encoding="utf-8")
    trial: Callable[[], int] = field(default_factory=lambda: _trial)
    resolvers: Callable[[], list[str]] = network.resolvers


def requirements(around: Surroundings | None = None, *, full: bool = False) -> list[str]:
    """Return what is missing, one sentence each with what to do; empty when a lab (of full machines) can run."""
    around = around or Surroundings()
    if not _is_debian(around.os_release):
        return [_("Les machines d'essai demandent un poste Debian 12 ou 13 : lancez cette commande sur un tel poste.")]
    if around.uid() != 0:
        return [_("Les machines d'essai demandent les droits de root : relancez avec « sudo ».")]
    tools = _TOOLS | _FULL_TOOLS if full else _TOOLS
    missing = sorted({package for tool, package in tools.items() if around.which(tool) is None})
    if missing:
        return [
            _("Il manque des outils pour les machines d'essai : lancez « apt-get install {packages} ».").format(
                packages=" ".join(missing)
            )
        ]
    refused = around.trial()
    problems = [_trial_problems().get(refused) or _trial_problems()[1]] if refused else []
    if not around.resolvers():
        problems.append(
            _(
                "Les machines d'essai n'auraient pas de serveur de noms : "
                "indiquez-en un dans /etc/resolv.conf, autre que 127.0.0.1."
            )
        )
    return problems


def require(around: Surroundings | None = None, *, full: bool = False) -> None:
    """Refuse to go on where a lab cannot run.

    Raises:
        MissingRequirementError: with the first thing to do.
    """
    problems = requirements(around, full=full)
    if problems:
        raise MissingRequirementError(" ".join(problems))


def _is_debian(os_release: Callable[[], str]) -> bool:
    try:
        text = os_release()
    except OSError:
        return False
    ids = [line.partition("=")[2].strip('"') for line in text.splitlines() if line.startswith(("ID=", "ID_LIKE="))]
    return any("debian" in value.split() for value in ids)


def _trial() -> int:
    root = state_root()
    base = root if root.is_dir() else next(parent for parent in root.parents if parent.is_dir())
    with tempfile.TemporaryDirectory(prefix=".antiseche-trial-", dir=base) as scratch:
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _TRIAL, "sh", scratch]
        return subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode


def _trial_problems() -> dict[int, str]:
    return {
        1: _("Ce poste refuse les espaces de noms : lancez cette commande hors d'un conteneur restreint."),
        3: _("Ce poste refuse de monter cgroup2 : lancez cette commande hors d'un conteneur restreint."),
        4: _("Le dossier {folder} n'accepte pas d'écriture : libérez de la place ou changez ANTISECHE_LAB.").format(
            folder=state_root()
        ),
        5: _(
            "Le disque de {folder} n'accepte pas de couche overlay : indiquez un dossier ext4 ou xfs avec ANTISECHE_LAB."
        ).format(folder=state_root()),
        6: _("Ce poste refuse les espaces de noms de réseau : lancez cette commande hors d'un conteneur restreint."),
    }
