"""Root file systems: built once per recipe, kept, never changed afterwards."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antiseche.i18n import _
from antiseche.lab.apt import AptSettings, settings
from antiseche.lab.model import LabError, cache_root

# An office machine before anybody cared for it: what a plain installation has, nothing that a role should bring.
_PACKAGES = (
    "ca-certificates", "cron", "dbus", "iproute2", "iputils-ping", "less", "libpam-systemd", "nftables", "openssh-server",
    "procps", "python3", "python3-apt", "sudo", "systemd-sysv", "udev",
)  # fmt: skip
_OPTIONS = ('Acquire::Languages "none";',)  # translations of package descriptions: megabytes that nobody reads here
_RECIPE_VERSION = 3
_NETWORK_SERVICE = "systemd-networkd.service"


@dataclass(frozen=True)
class Extra:
    """What a full machine has more than a container: packages, units that are enabled, shell commands run inside at the end."""

    packages: tuple[str, ...] = ()
    units: tuple[Path, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """Everything a root file system depends on."""

    suite: str
    apt: AptSettings
    extra: Extra = field(default_factory=Extra)

    @property
    def digest(self) -> str:
        """Short digest: same recipe, same tree."""
        content: list[Any] = [_RECIPE_VERSION, self.suite, self.packages, self.apt.sources_text(self.suite), self.apt.options]
        content += [unit.read_text(encoding="utf-8") for unit in self.extra.units]
        content += self.extra.commands
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:16]

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages besides those of a plain Debian."""
        return _PACKAGES + self.extra.packages


def ensure_tree(suite: str, notify: Callable[[str], None] = lambda _text: None, extra: Extra | None = None) -> Path:
    """Return the tree of a suite, building it first where it is missing.

    Raises:
        LabError: the build failed; nothing of it is left.
    """
    recipe = Recipe(suite, settings(), extra or Extra())
    folder = cache_root() / "rootfs"
    tree = folder / f"{suite}-{recipe.digest}"
    if tree.is_dir():
        return tree
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / f".{suite}.lock"):
        _drop_unfinished(folder, suite)
        if not tree.is_dir():  # another process may have built it while we waited
            notify(_("Préparation du système {suite} (une seule fois, environ une minute)…").format(suite=suite))
            _build(recipe, tree)
    return tree


def deb_cache(suite: str) -> Path:
    """Return the folder of the packages that machines of a suite have already fetched."""
    return cache_root() / "apt" / suite


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _drop_unfinished(folder: Path, suite: str) -> None:
    for leftover in folder.glob(f".{suite}-*.new"):
        shutil.rmtree(leftover, ignore_errors=True)


def _build(recipe: Recipe, tree: Path) -> None:
    stage = tree.with_name(f".{tree.name}.new")
    log = tree.with_name(f"{tree.name}.log")
    with tempfile.TemporaryDirectory(prefix="antiseche-rootfs-") as scratch, log.open("w", encoding="utf-8") as output:
        extra = Path(scratch)
        sources = extra / "debian.sources"
        sources.write_text(recipe.apt.sources_text(recipe.suite), encoding="utf-8")
        options = extra / "00antiseche-lab"
        options.write_text("".join(f"{line}\n" for line in (*_OPTIONS, *recipe.apt.options)), encoding="utf-8")
        done = subprocess.run(
            _command(recipe, stage, sources, options), stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False
        )
    if done.returncode != 0:
        shutil.rmtree(stage, ignore_errors=True)
        reason = _last_error(log)
        raise LabError(_("Le système {suite} n'a pas pu être préparé : {reason} (journal : {log}).").format(
            suite=recipe.suite, reason=reason, log=log))  # fmt: skip
    stage.rename(tree)


def _command(recipe: Recipe, stage: Path, sources: Path, options: Path) -> list[str]:
    hooks = [
        'rm -rf "$1"/etc/ssh/ssh_host_* "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/etc/apt/sources.list.d/*',
        f"copy-in {options} /etc/apt/apt.conf.d",
        f"copy-in {sources} /etc/apt/sources.list.d",
        ': > "$1"/etc/machine-id',
        f'chroot "$1" systemctl --quiet enable {_NETWORK_SERVICE}',
        # Waiting for a cable that a test has pulled would keep the machine from ever being up.
        'chroot "$1" systemctl --quiet mask systemd-networkd-wait-online.service',
        'chroot "$1" passwd --lock root >/dev/null',
        *(f"copy-in {unit} /etc/systemd/system" for unit in recipe.extra.units),
        *(f'chroot "$1" systemctl --quiet enable {unit.name}' for unit in recipe.extra.units),
        *(f'chroot "$1" sh -euc {shlex.quote(command)}' for command in recipe.extra.commands),
    ]
    return [
        *("mmdebstrap", "--mode=root", "--format=directory", "--variant=important", f"--include={','.join(recipe.packages)}"),
        "--skip=cleanup/apt/lists",  # deploy must find packages at once, as on a machine that is in use
        *(f"--aptopt={line}" for line in (*_OPTIONS, *recipe.apt.options)),
        *(f"--customize-hook={hook}" for hook in hooks),
        *(recipe.suite, str(stage), str(sources)),
    ]


def _last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "W:"))]
    return (errors or lines or ["?"])[-1][:300]
