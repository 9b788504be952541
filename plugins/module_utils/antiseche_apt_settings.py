# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Settings of apt that are read after ours and win over them, and the machine's time zone."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

APT = Path("/etc/apt")
ZONES = Path("/usr/share/zoneinfo")
LOCALTIME, TIMEZONE = Path("/etc/localtime"), Path("/etc/timezone")
# What decides whether security updates come, and whether what comes is genuine.
OURS = re.compile(
    r"APT::Periodic(::|$)|Unattended-Upgrade(::|$)|APT::Get::AllowUnauthenticated$"
    r"|Acquire::(AllowInsecureRepositories|AllowWeakRepositories|AllowDowngradeToInsecureRepositories|Check-Valid-Until|Check-Date)$",
    re.IGNORECASE,
)
# apt's own rule for the names that it reads in a folder of parts.
PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
ALONE = 'Dir::Etc::parts "/dev/null";\nDir::Etc::main "/dev/null";\n'


def later_files(ours: Path) -> list[Path]:
    """Return the configuration files that apt reads after ours, in its order."""
    parts = sorted(ours.parent.iterdir()) if ours.parent.is_dir() else []
    later = [
        path
        for path in parts
        if path.name > ours.name and PART.fullmatch(path.name) and ("." not in path.name or path.suffix == ".conf")
    ]
    return [path for path in [*later, APT / "apt.conf"] if path.is_file()]


def keys_of(path: Path) -> set[str]:
    """Return the settings that one file makes; empty for a file that apt does not understand."""
    with tempfile.NamedTemporaryFile("w", prefix="antiseche-apt-", suffix=".conf") as alone:
        alone.write(ALONE)
        alone.flush()
        environment = {**os.environ, "APT_CONFIG": alone.name, "LC_ALL": "C.UTF-8"}

        def dump(*options: str) -> set[str]:
            argv = ["apt-config", *options, "dump"]
            done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False, env=environment)
            return set(done.stdout.splitlines()) if done.returncode == 0 else set()

        made = dump("-c", str(path)) - dump()
    named = {line.split(" ", 1)[0].rstrip(":") for line in made if not line.startswith("CommandLine::")}
    # A block's own name is printed too, with an empty value.
    return {key for key in named if not any(other.startswith(f"{key}::") for other in named)}


def overriding(ours: Path) -> tuple[list[Path], list[Path]]:
    """Return the files that win over ours: those that do nothing else, and those that hold other settings too."""
    only: list[Path] = []
    mixed: list[Path] = []
    for path in later_files(ours):
        keys = keys_of(path)
        meddling = {key for key in keys if OURS.match(key)}
        if meddling:
            (only if meddling == keys else mixed).append(path)
    return only, mixed


def zone_change(zone: str) -> str:
    """Return the time zone that the machine has instead of the one wanted; empty when it is the right one.

    Raises:
        ValueError: there is no such time zone.
    """
    if not (ZONES / zone).is_file() or ".." in zone:
        raise ValueError(f"there is no time zone {zone}")
    if LOCALTIME.is_symlink():
        target = os.path.normpath(LOCALTIME.parent / LOCALTIME.readlink())
        found = target.partition(f"{ZONES}/")[2]
    else:
        found = "a copy" if LOCALTIME.exists() else "UTC"
    return "" if found == zone else found or "unknown"


def set_zone(zone: str) -> None:
    """Make a time zone the machine's; systemd's timers and every program follow at once."""
    new = LOCALTIME.with_name(".localtime.antiseche-new")
    new.unlink(missing_ok=True)
    new.symlink_to(f"..{ZONES}/{zone}" if LOCALTIME.parent == Path("/etc") else ZONES / zone)
    new.replace(LOCALTIME)
    if TIMEZONE.exists():  # Debian 12 keeps the name a second time
        new = TIMEZONE.with_name(".timezone.antiseche-new")
        new.write_text(f"{zone}\n", encoding="ascii")
        new.chmod(0o644)
        new.replace(TIMEZONE)
