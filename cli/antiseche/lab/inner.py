"""Runs inside a mount namespace of its own: starts one machine, restarts it when it reboots.

A script of its own, standard library only, started as
``unshare --mount --propagation private python -I inner.py boot|clean ...``: mounts made here
disappear with it, so nothing is left on the host however it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_REBOOT = 133  # systemd-nspawn's exit code when the machine asked for a reboot
_PR_SET_PDEATHSIG = 1


def run(*argv: str) -> None:
    """Run a tool; its complaint goes to the console log."""
    subprocess.run(argv, check=True)


def mount_cgroups() -> None:
    """Give this namespace the unified hierarchy, whatever the host has mounted there."""
    subprocess.run(["umount", "-R", str(_CGROUPS)], check=False, stderr=subprocess.DEVNULL)
    run("mount", "-t", "cgroup2", "none", str(_CGROUPS))


def enter_cgroup(name: str) -> None:
    """Move this process into a cgroup of its own; the machine's processes stay below it."""
    group = _CGROUPS / name / "payload"
    group.mkdir(parents=True, exist_ok=True)
    (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


def die_with_parent() -> None:
    """Make the machine end with its supervisor, even when the supervisor is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def boot(spec: dict[str, str]) -> int:
    """Start the machine and stay until it is off."""
    mount_cgroups()
    enter_cgroup(spec["cgroup"])
    lower, upper, work, root = spec["lower"], spec["upper"], spec["work"], spec["root"]
    run("mount", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "none", root)
    run("mount", "-t", "tmpfs", "none", "/run")  # nspawn's own bookkeeping must not reach the host
    command = [
        *("systemd-nspawn", "--quiet", "--directory", root, "--boot", "--register=no", "--keep-unit", "--settings=no"),
        *("--console=read-only", "--resolv-conf=off", "--timezone=off", "--link-journal=no"),
        *(f"--machine={spec['label']}", f"--hostname={spec['hostname']}", f"--uuid={spec['machine_id']}"),
        f"--network-bridge={spec['bridge']}",
    ]
    environment = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    while True:
        # preexec is safe here: a single thread, and the one way to tie the two lives together.
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False, preexec_fn=die_with_parent)
        if done.returncode != _REBOOT:
            return done.returncode


def clean(name: str) -> int:
    """End what still runs in a cgroup, then remove it."""
    mount_cgroups()
    top = _CGROUPS / name
    deadline = time.monotonic() + 10
    while top.is_dir():
        groups = [top, *(p for p in top.rglob("*") if p.is_dir())]
        pids = [int(pid) for group in groups for pid in (group / "cgroup.procs").read_text(encoding="ascii").split()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for group in sorted(groups, key=lambda p: len(p.parts), reverse=True):
            with contextlib.suppress(OSError):
                group.rmdir()
        if top.is_dir():
            if time.monotonic() > deadline:
                return 1
            time.sleep(0.05)
    return 0


if __name__ == "__main__":
    sys.exit(boot(json.loads(sys.argv[2])) if sys.argv[1] == "boot" else clean(sys.argv[2]))
