#!/usr/bin/python
# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""The few facts that the roles need, in one cheap execution."""
# ruff: noqa: E402 (Ansible wants its documentation before the imports)

from __future__ import annotations

DOCUMENTATION = r"""
module: antiseche_facts
short_description: Release, container, installed packages, accounts, our units, undone changes and encryption of a machine
description:
  - Reads files and runs dpkg-query once. Changes nothing.
options: {}
author: ["The Antisèche authors (@antiseche)"]
"""

EXAMPLES = r"""
- name: Learn the few facts that the roles need
  antiseche_facts:
"""

RETURN = r"""
ansible_facts:
  description: One fact, antiseche, with release, container, packages, users, machine_id, units, undone and root_encrypted.
  type: dict
  returned: always
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

ROOT = Path("/")
UNDONE = Path("var/lib/antiseche/undone")


def read(path: Path) -> str:
    """Return a small file's text, empty when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def release(root: Path) -> dict[str, str]:
    """Return what os-release says."""
    values = {}
    for line in (read(root / "etc/os-release") or read(root / "usr/lib/os-release")).splitlines():
        key, separator, value = line.partition("=")
        if separator:
            values[key.strip()] = value.strip().strip("\"'")
    return {"id": values.get("ID", ""), "version": values.get("VERSION_ID", ""), "codename": values.get("VERSION_CODENAME", "")}


def container(root: Path) -> str:
    """Return the container manager's name, or none on a machine of its own."""
    name = read(root / "run/systemd/container").strip()
    if not name:
        try:
            environment = (root / "proc/1/environ").read_bytes().split(b"\0")
        except OSError:
            environment = []
        name = next((item[10:].decode(errors="replace") for item in environment if item.startswith(b"container=")), "")
    return name or ("docker" if (root / ".dockerenv").exists() else "none")


def packages() -> dict[str, str]:
    """Return the installed packages and their versions; a foreign architecture does not hide the native one."""
    argv = ["dpkg-query", "-W", "-f=${db:Status-Status} ${Package} ${Version}\n"]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", check=False, env={**os.environ, "LC_ALL": "C"}, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[0] == "installed":
            found.setdefault(fields[1], fields[2])
    return found


def users(root: Path) -> list[str]:
    """Return the local accounts' names; comments and the + and - of NIS are no accounts."""
    lines = [line.strip() for line in read(root / "etc/passwd").split("\n")]
    return [line.split(":", 1)[0] for line in lines if ":" in line and not line.startswith(("#", "+", "-", ":"))]


def units(root: Path) -> list[str]:
    """Return the systemd units that the kit has written, so that what is no longer wanted can be stopped."""
    return sorted(
        path.name for path in (root / "etc/systemd/system").glob("antiseche-*.*") if path.suffix in (".service", ".timer")
    )


def undone(root: Path) -> list[dict[str, Any]]:
    """Return the guarded changes that this machine has undone by itself and that were not made good since."""
    found = []
    for path in sorted((root / UNDONE).glob("*.json")):
        try:
            trace = json.loads(read(path))
        except ValueError:
            trace = None
        found.append(trace if isinstance(trace, dict) else {"name": path.stem, "at": "", "why": "unreadable trace"})
    return found


def root_encrypted(root: Path) -> bool:
    """Say whether the system stands on an encrypted volume, through whatever lies between."""
    rows = [line.split() for line in read(root / "proc/self/mounts").splitlines()]
    source = next((row[0] for row in rows if len(row) > 1 and row[1] == "/"), "")
    found = (root / source.lstrip("/")).resolve().name if source.startswith("/dev/") else ""
    return bool(found) and _encrypted(root / "sys/class/block" / found)


def _encrypted(device: Path) -> bool:
    if read(device / "dm/uuid").startswith("CRYPT-"):
        return True
    return any(_encrypted(device.parent / below.name) for below in (device / "slaves").glob("*"))


def gather(root: Path) -> dict[str, Any]:
    """Return everything."""
    return {
        "release": release(root),
        "container": container(root),
        "packages": packages(),
        "users": users(root),
        "machine_id": read(root / "etc/machine-id").strip(),
        "units": units(root),
        "undone": undone(root),
        "root_encrypted": root_encrypted(root),
    }


def main() -> None:
    """Gather, and say nothing else."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, changes=[], ansible_facts={"antiseche": gather(ROOT)})


if __name__ == "__main__":
    main()
