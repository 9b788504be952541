"""Whether this machine runs guests in hardware: tried with a real kernel, since ``/dev/kvm`` may be there and not work."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from antiseche.lab import images
from antiseche.lab.model import state_root

QEMU = "qemu-system-x86_64"
SOFTWARE = ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max")
HARDWARE = ("-accel", "kvm", "-cpu", "host")
_TRIAL_SECONDS = 20
_REACHED = b"Run /bin/true as init process"


def acceleration(image: Path) -> tuple[str, ...]:
    """Return QEMU's options; what was found is remembered until this machine starts again."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return SOFTWARE
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    known = state_root() / f".acceleration-{boot}"
    if not known.is_file():
        for old in state_root().glob(".acceleration-*"):
            old.unlink(missing_ok=True)
        known.write_text("hardware" if _boots(image) else "software", encoding="ascii")
    return HARDWARE if known.read_text(encoding="ascii") == "hardware" else SOFTWARE


def _boots(image: Path) -> bool:
    """Start a kernel whose first program ends at once: it panics, restarts, and QEMU ends."""
    argv = [
        *(QEMU, *HARDWARE, "-m", "512", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-kernel", str(image / images.KERNEL), "-initrd", str(image / images.INITRD)),
        *("-append", "console=ttyS0 rdinit=/bin/true panic=-1"),
    ]
    try:
        done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TRIAL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return _REACHED in done.stdout
