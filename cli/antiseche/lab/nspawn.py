"""Machines made by systemd-nspawn: a real systemd in under a second, a network stack of its own.

What a container cannot show (kernel settings, LUKS, TPM, boot loader) needs a full machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from antiseche.i18n import _
from antiseche.lab import network, process, rootfs
from antiseche.lab.machine_files import machine_files, machine_id
from antiseche.lab.model import CONSOLE_ENVIRONMENT, READY, RELEASES, ExecResult, LabError, LabState, Machine

_INNER = Path(__file__).with_name("inner.py")
_LINK = "host0"
_ARCHIVES = Path("var/cache/apt/archives")


class NspawnDriver:
    """The machines of one lab."""

    def __init__(self, lab: LabState, folder: Path) -> None:
        self.lab = lab
        self.folder = folder

    @staticmethod
    def prepare(systems: Sequence[str], notify: Callable[[str], None]) -> None:
        """Build what machines of these systems stand on."""
        for system in sorted(set(systems)):
            rootfs.ensure_tree(RELEASES[system], notify)

    def create(self, machine: Machine) -> None:
        """Prepare the machine's disk: a layer of its own over the shared tree, which is never written."""
        home = self._home(machine)
        for name in ("upper", "work", "root"):
            (home / name).mkdir(parents=True, exist_ok=True)
        (home / "tree").write_text(str(rootfs.ensure_tree(machine.suite)), encoding="utf-8")
        for name, text in machine_files(self.lab, machine, _LINK).items():
            _write(home / "upper", name, text)
        secret = (home / "host_key").read_text(encoding="ascii")
        _write(home / "upper", "etc/ssh/ssh_host_ed25519_key", secret, mode=0o600)
        _write(home / "upper", "etc/ssh/ssh_host_ed25519_key.pub", f"{machine.host_key} root@{machine.name}\n")
        self._lend_packages(machine)

    def power_on(self, machine: Machine, timeout: float = 60) -> None:
        """Start the machine; it is up when its systemd says so."""
        if self.pid(machine) is None:
            self._stop(machine)
            self._launch(machine)
        deadline = time.monotonic() + timeout
        state = ""
        while time.monotonic() < deadline:
            if self._supervisor(machine) is None:
                break
            with contextlib.suppress(LabError, subprocess.TimeoutExpired):
                state = self.exec(machine, ["systemctl", "is-system-running"], timeout=10).text().strip()
            if state in READY:
                return
            time.sleep(0.1)
        raise LabError(_("La machine d'essai {machine} ne démarre pas ({state}) : voyez {log}.").format(
            machine=machine.name, state=state or "?", log=self._home(machine) / "console.log"))  # fmt: skip

    def _launch(self, machine: Machine) -> None:
        home = self._home(machine)
        spec = {
            "cgroup": self._cgroup(machine),
            "lower": (home / "tree").read_text(encoding="utf-8"),
            **{name: str(home / name) for name in ("upper", "work", "root")},
            "label": self.lab.label(machine),
            "hostname": machine.name,
            "machine_id": machine_id(self.lab, machine),
            "bridge": self.lab.bridge,
        }
        argv = ["unshare", "--mount", "--propagation", "private", sys.executable, "-I", str(_INNER), "boot", json.dumps(spec)]
        with (home / "console.log").open("ab") as log:
            started = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")
        process.remember(home / "pid", started.pid)

    def power_cut(self, machine: Machine) -> None:
        """Kill everything at once; the disk layer stays."""
        self._stop(machine)

    def network_cut(self, machine: Machine) -> None:
        """Pull the cable at the bridge's end."""
        network.set_link(self.lab.link(machine), up=False)

    def network_restore(self, machine: Machine) -> None:
        """Plug it again."""
        network.set_link(self.lab.link(machine), up=True)

    def exec(self, machine: Machine, argv: Sequence[str], stdin: bytes = b"", timeout: float | None = None) -> ExecResult:
        """Run a command as root inside the machine."""
        done = subprocess.run(self.console(machine, argv), input=stdin, capture_output=True, timeout=timeout, check=False)
        return ExecResult(done.returncode, done.stdout, done.stderr)

    def console(self, machine: Machine, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs a command inside the machine.

        Raises:
            LabError: the machine is off.
        """
        pid = self.pid(machine)
        if pid is None:
            raise LabError(_("La machine d'essai {machine} est éteinte.").format(machine=machine.name))
        enter = ["nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wdns=/"]
        return [*enter, "--", "env", "-i", *CONSOLE_ENVIRONMENT, *argv]

    def pid(self, machine: Machine) -> int | None:
        """Return the process that is PID 1 inside the machine."""
        supervisor = self._supervisor(machine)
        if supervisor is None:
            return None
        children = _children()
        for nspawn in children.get(supervisor, ()):
            for candidate in children.get(nspawn, ()):
                if _is_init(candidate):
                    return candidate
        return None

    def destroy(self, machine: Machine) -> None:
        """Stop the machine, keep the packages it fetched for the next ones, and forget the rest."""
        self._stop(machine)
        home = self._home(machine)
        if home.is_dir():
            self.keep_packages(machine)
            shutil.rmtree(home)

    def keep_packages(self, machine: Machine) -> None:
        """Move the packages that the machine fetched into the cache; apt has checked their signatures."""
        target = rootfs.deb_cache(machine.suite)
        target.mkdir(parents=True, exist_ok=True)
        for package in (self._home(machine) / "upper" / _ARCHIVES).glob("*.deb"):
            kept = target / package.name
            if package.is_file() and not package.is_symlink() and not kept.exists():
                _link_or_copy(package, kept)

    def _lend_packages(self, machine: Machine) -> None:
        """Put the packages already fetched where apt looks; it checks them again before it uses them."""
        target = self._home(machine) / "upper" / _ARCHIVES
        target.mkdir(parents=True, exist_ok=True)
        for package in rootfs.deb_cache(machine.suite).glob("*.deb"):
            if not (target / package.name).exists():
                _link_or_copy(package, target / package.name)

    def _stop(self, machine: Machine) -> None:
        supervisor = self._supervisor(machine)
        if supervisor is not None:
            leader = self.pid(machine)
            for pid in (supervisor, leader):
                if pid is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        # What a killed supervisor left is found by its cgroup, which holds this machine's processes only.
        subprocess.run(
            ["unshare", "--mount", "--propagation", "private", sys.executable, "-I", str(_INNER), "clean", self._cgroup(machine)],
            check=False, capture_output=True, stdin=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        (self._home(machine) / "pid").unlink(missing_ok=True)
        link = self.lab.link(machine)
        deadline = time.monotonic() + 5
        while Path("/sys/class/net", link).exists() and time.monotonic() < deadline:
            network.run("ip", "link", "delete", link, check=False)
            time.sleep(0.02)

    def _supervisor(self, machine: Machine) -> int | None:
        return process.recorded(self._home(machine) / "pid")

    def _home(self, machine: Machine) -> Path:
        return self.folder / "machines" / machine.name

    def _cgroup(self, machine: Machine) -> str:
        return f"antiseche-{self.lab.label(machine)}"


def _write(root: Path, name: str, text: str, mode: int = 0o644) -> None:
    path = root / name
    for parent in list(path.relative_to(root).parents)[-2::-1]:
        folder = root / parent
        if not folder.is_dir():
            folder.mkdir()
            folder.chmod(0o755)
    path.touch(mode=mode)
    path.chmod(mode)
    path.write_text(text, encoding="utf-8")


def _link_or_copy(source: Path, target: Path) -> None:
    with contextlib.suppress(FileExistsError):
        try:
            target.hardlink_to(source)
        except FileExistsError:
            raise
        except OSError:  # another file system
            unfinished = target.with_name(f".{target.name}.{os.getpid()}")
            shutil.copyfile(source, unfinished)
            unfinished.rename(target)


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = path.read_text(encoding="utf-8", errors="replace")
            found.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(path.parent.name))
    return found


def _is_init(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
    return len(numbers) > 1 and numbers[-1] == "1"
