# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""The card module in the browsers: Firefox by its policies, Chromium by each person's NSS database.

Firefox's policies belong to the practice: ours are merged into them. A person's database is read and written under that
person's own account, so that a link in a home folder leads nowhere its owner could not go.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

POLICIES = Path("/etc/firefox/policies/policies.json")
MODULE_NAME = "CPS (Antiseche)"  # ASCII: Firefox's documentation warns of anything else in a module's name
SECONDS = 60
# $1: the library; $2: the module's name; then a certificate's name, its PEM file and NSS's trust flags, for each one.
_LOOK = """
set -eu; database="$HOME/.pki/nssdb"; library=$1; shift 2
grep -qxF "library=$library" "$database/pkcs11.txt" 2>/dev/null || { echo module; exit; }
while [ $# -gt 0 ]; do
  certutil -L -d "sql:$database" -n "$1" >/dev/null 2>&1 </dev/null || { echo certificates; exit; }
  shift 3
done
"""
_REGISTER = """
set -eu; umask 077; database="$HOME/.pki/nssdb"; library=$1; name=$2; shift 2
if [ ! -f "$database/cert9.db" ]; then mkdir -p "$database"; certutil -N -d "sql:$database" --empty-password; fi
if ! grep -qxF "library=$library" "$database/pkcs11.txt"; then
  modutil -force -dbdir "sql:$database" -delete "$name" >/dev/null 2>&1 || true
  modutil -force -dbdir "sql:$database" -add "$name" -libfile "$library" >/dev/null
fi
while [ $# -gt 0 ]; do
  certutil -L -d "sql:$database" -n "$1" >/dev/null 2>&1 || certutil -A -d "sql:$database" -n "$1" -t "$3" -i "$2"
  shift 3
done
"""


Certificate = tuple[str, str, str]
"""Name in the database, PEM file, trust flags as certutil(1) writes them."""


class BrowserError(RuntimeError):
    """A browser's settings cannot be read or written."""


def merged(found: Mapping[str, Any], library: str, certificates: list[str]) -> dict[str, Any]:
    """Return Firefox's policies with the module, and the authorities if any, in them; everything else stays as it is.

    Raises:
        BrowserError: a policy of ours has another shape than Firefox's documentation gives it.
    """
    policies = _mapping(found.get("policies"), "policies")
    devices = _mapping(policies.get("SecurityDevices"), "SecurityDevices")
    if devices and not {"Add", "Delete"} & set(devices):  # the former flat form
        devices = {"Add": devices}
    add = {name: path for name, path in _mapping(devices.get("Add"), "Add").items() if path != library}
    policies["SecurityDevices"] = {**devices, "Add": {**add, MODULE_NAME: library}}
    if certificates:
        trust = _mapping(policies.get("Certificates"), "Certificates")
        installed = trust.get("Install", [])
        if not isinstance(installed, list):
            raise BrowserError(f"{POLICIES}: Certificates.Install is not a list; nothing was changed")
        policies["Certificates"] = {**trust, "Install": [*installed, *(path for path in certificates if path not in installed)]}
    return {**found, "policies": policies}


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BrowserError(f"{POLICIES}: {name} is not a group; nothing was changed")
    return dict(value)


def read_policies(path: Path = POLICIES) -> dict[str, Any]:
    """Return what the file holds; nothing when there is none.

    Raises:
        BrowserError: it is not what Firefox could read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BrowserError(f"{path} cannot be read ({error}); nothing was changed: correct or remove it") from error
    if not isinstance(found, dict):
        raise BrowserError(f"{path} is not a group of policies; nothing was changed: correct or remove it")
    return found


def write_policies(policies: Mapping[str, Any], path: Path = POLICIES) -> None:
    """Replace the file in one step."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".policies-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(policies, file, ensure_ascii=False, indent=2)
        file.write("\n")
        os.fchmod(file.fileno(), 0o644)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)


def _as_person(login: str, script: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    account = pwd.getpwnam(login)
    rights: dict[str, Any] = {}
    if os.geteuid() == 0:
        rights = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    environment = {"HOME": account.pw_dir, "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    argv = ["sh", "-c", script, "antiseche-cps", *arguments]
    try:
        return subprocess.run(
            argv, cwd="/", env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            check=False, timeout=SECONDS, **rights,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BrowserError(f"{login}: the browser's database did not answer in {SECONDS} seconds") from error


def _exists(login: str) -> bool:
    try:
        return Path(pwd.getpwnam(login).pw_dir).is_dir()
    except KeyError:
        return False


def unregistered(people: list[str], library: str, certificates: list[Certificate], *, to_come: bool) -> list[str]:
    """Return the people whose database lacks the module, or one of the certificates.

    Without a home folder there is no database; ``to_come`` counts on the accounts that check mode has only announced.
    """
    arguments = [library, MODULE_NAME, *(part for certificate in certificates for part in certificate)]
    return [login for login in people if (_as_person(login, _LOOK, arguments).stdout.strip() if _exists(login) else to_come)]


def register(login: str, library: str, certificates: list[Certificate]) -> None:
    """Write the module, and the certificates, into a person's database.

    Raises:
        BrowserError: NSS refused.
    """
    done = _as_person(login, _REGISTER, [library, MODULE_NAME, *(part for certificate in certificates for part in certificate)])
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}")[-200:]
        raise BrowserError(f"{login}: the browser's database cannot be written: {said}")
