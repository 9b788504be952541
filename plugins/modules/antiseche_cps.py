#!/usr/bin/python
# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""The card middleware installed from the contractor's file, and made known to browsers, in one execution."""
# ruff: noqa: E402 (Ansible wants its documentation before the imports)

from __future__ import annotations

DOCUMENTATION = r"""
module: antiseche_cps
short_description: Card middleware as a removable package, known to Firefox and Chromium; IGC-Santé authorities
description:
  - The vendor's RPM is repackaged on the machine with its faults repaired, and none of its scripts is run.
  - The action plugin of the same name sends the file only when the machine asks for it.
options:
  middleware:
    type: dict
    description: The vendor's package; none is no failure.
    options:
      source: {type: str, description: "Path on the controller, or http(s) address; the action plugin's business."}
      sha256: {type: str, required: true, description: The file's digest.}
      version: {type: str, required: true, description: The package's version.}
      file: {type: path, description: The file on this machine; without it the answer says needs_file when it is needed.}
  people: {type: list, elements: str, default: [], description: Logins whose Chromium knows the card.}
  chromium: {type: bool, default: false, description: Whether a browser with NSS databases is installed.}
  authorities:
    type: list
    elements: dict
    default: []
    description: Authorities to trust.
    options:
      name: {type: str, required: true, description: Name of its file.}
      root: {type: bool, required: true, description: Whether it is a root.}
      sha1: {type: str, required: true, description: SHA-1.}
      sha256: {type: str, required: true, description: At least 16 digits of SHA-256.}
author: ["The Antisèche authors (@antiseche)"]
"""

EXAMPLES = r"""
- name: Install the middleware
  antiseche_cps:
    middleware: {source: CryptolibCPS-5.2.4-1.x86_64.rpm, sha256: "…", version: 5.2.4}
    people: [cexemple]
"""

RETURN = r"""
changes: {description: What was (or would be) changed, type: list, elements: str, returned: always}
supplied: {description: Whether the vendor's package was declared, type: bool, returned: success}
missing_authorities: {description: Authorities that no file of the middleware holds, type: list, elements: str, returned: success}
needs_file: {description: Whether the vendor's file must be sent, type: bool, returned: always}
"""

import hashlib
import json
import os
import pwd
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils import antiseche_cps_authorities as cas
from ansible.module_utils import antiseche_cps_browsers as browsers
from ansible.module_utils import antiseche_cps_package as package
from ansible.module_utils.basic import AnsibleModule

ROOT = Path("/")
INSTALL_SECONDS = 600
ERRORS = (package.PackageError, browsers.BrowserError, cas.AuthorityError, OSError, subprocess.TimeoutExpired)


def is_installed(asked: dict[str, Any]) -> bool:
    """Say whether the package made from this very file by this very recipe is there, and its libraries are untouched."""
    try:
        record = json.loads((ROOT / package.PROVENANCE).read_text(encoding="utf-8"))
        verified = subprocess.run(
            ["dpkg", "--verify", package.NAME], capture_output=True, text=True, errors="replace", check=False, timeout=60
        )
        if verified.returncode or verified.stdout.strip():  # a file is missing or was changed
            return False
        same = (record["sha256"], record["version"], record["recipe"]) == (asked["sha256"], asked["version"], package.RECIPE)
        return same and all(
            hashlib.sha256((ROOT / name.lstrip("/")).read_bytes()).hexdigest() == digests["installed_sha256"]
            for name, digests in record["libraries"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def install(asked: dict[str, Any]) -> None:
    """Make the package from the vendor's file and install it."""
    file = Path(asked["file"])
    source = {"file": Path(asked["source"] or file.name).name, "version": asked["version"], "sha256": asked["sha256"]}
    with tempfile.TemporaryDirectory(prefix="antiseche-cps-", dir="/run") as folder:
        made, _record = package.make(file, source, Path(folder), pwd.getpwnam("nobody").pw_uid)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        # A file of the package that somebody removed or changed by hand comes back too.
        argv = ["apt-get", "-qq", "-y", "--reinstall", "--allow-downgrades", "--no-install-recommends"]
        done = subprocess.run(
            [*argv, "-o", "DPkg::Lock::Timeout=300", "-o", "APT::Sandbox::User=root", "install", str(made)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=INSTALL_SECONDS,
            env=environment,
        )
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise package.PackageError(f"apt-get: {'; '.join(lines[-3:])[-400:]}")


def close(changes: list[str], check_mode: bool) -> None:
    """Take everybody else's right to write away from the middleware's folders and files: dpkg leaves existing folders alone."""
    for top in package.OWN_FOLDERS:
        for path in (ROOT / top, *sorted((ROOT / top).rglob("*"))):
            info = path.lstat() if os.path.lexists(path) else None
            if info is None or stat.S_ISLNK(info.st_mode):
                continue
            folder = stat.S_ISDIR(info.st_mode)
            kind, mode = "directory" if folder else "file", stat.S_IMODE(info.st_mode) & ~0o022
            if folder and info.st_uid:
                changes.append(f"directory {path}: owner")
                if not check_mode:
                    os.chown(path, 0, 0, follow_symlinks=False)
            if stat.S_IMODE(info.st_mode) & 0o022:
                changes.append(f"{kind} {path}: mode {mode:04o}")
                if not check_mode:
                    _chmod(path, mode)


def _chmod(path: Path, mode: int) -> None:
    """Change a mode without following a link that somebody might put there meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def clear_trap(changes: list[str], check_mode: bool) -> None:
    """Remove the folder that the vendor's script would have read commands from, as root; its content goes aside with it."""
    trap = ROOT / "tmp/CPS"
    if not os.path.lexists(trap):
        return
    changes.append(f"set aside {trap}")
    if not check_mode:
        aside = ROOT / "var/lib/antiseche/set-aside/tmp-CPS"
        aside.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside.chmod(0o700)
        moved = Path(tempfile.mkdtemp(dir=aside)) / "CPS"
        subprocess.run(["mv", "--no-target-directory", "--", str(trap), str(moved)], check=True, timeout=60)


def adjust_authorities(asked: list[dict[str, Any]], check_mode: bool, to_come: bool) -> tuple[list[str], list[str], list[str]]:
    """Trust the authorities whose fingerprints are right; return the changes, the names found and those that are missing.

    Before the middleware is there, check mode counts on its bringing them.
    """
    texts, missing = cas.found(asked, cas.VAULT)
    if not cas.untrusted(texts) and not (asked and to_come):
        return [], list(texts), missing
    if not check_mode:
        cas.trust(texts)
    return ["authorities IGC-Sante: trusted"], list(texts), [] if to_come else missing


def adjust_browsers(asked: dict[str, Any], found: list[str], check_mode: bool) -> list[str]:
    """Make the library known to Firefox and Chromium; return the changes."""
    library = f"/{package.LIBRARY}"
    roots = {one["name"] for one in asked["authorities"] if one["root"]}
    changes = []
    before = browsers.read_policies()
    after = browsers.merged(before, library, [str(cas.trusted_path(name)) for name in found if name in roots])
    if before != after:
        changes.append("firefox policies: CPS")
        if not check_mode:
            browsers.write_policies(after)
    if not asked["chromium"]:
        return changes
    certificates = [(f"IGC-Sante {name}", str(cas.trusted_path(name)), "C,," if name in roots else ",,") for name in found]
    for login in browsers.unregistered(asked["people"], library, certificates, to_come=check_mode):
        changes.append(f"chromium {login}: CPS")
        if not check_mode:
            browsers.register(login, library, certificates)
    return changes


def execute(asked: dict[str, Any], check_mode: bool, changes: list[str]) -> dict[str, Any]:
    """Do what differs; ``changes`` grows, so that a failure tells what was done before it."""
    clear_trap(changes, check_mode)
    given = asked["middleware"]
    if not given:
        return {"needs_file": False, "supplied": False, "missing_authorities": []}
    given["sha256"] = given["sha256"].lower()
    missing = not is_installed(given)
    if missing:
        if not given["file"] and not check_mode:
            return {"needs_file": True, "supplied": True, "missing_authorities": []}
        changes.append(f"middleware CPS {given['version']}: installed")
        if not check_mode:
            install(given)
    close(changes, check_mode)
    more, found, lacking = adjust_authorities(asked["authorities"], check_mode, check_mode and missing)
    changes += more
    changes += adjust_browsers(asked, found, check_mode)
    return {"needs_file": missing and check_mode, "supplied": True, "missing_authorities": lacking}


def main() -> None:
    """Entry point."""
    middleware = {
        "source": {"type": "str"},
        "sha256": {"type": "str", "required": True},
        "version": {"type": "str", "required": True},
        "file": {"type": "path"},
    }
    text = {"type": "str", "required": True}
    authority = {"name": text, "root": {"type": "bool", "required": True}, "sha1": text, "sha256": text}
    module = AnsibleModule(
        argument_spec={
            "middleware": {"type": "dict", "options": middleware},
            "people": {"type": "list", "elements": "str", "default": []},
            "chromium": {"type": "bool", "default": False},
            "authorities": {"type": "list", "elements": "dict", "default": [], "options": authority},
        },
        supports_check_mode=True,
    )
    changes: list[str] = []
    try:
        result = execute(module.params, module.check_mode, changes)
    except ERRORS as error:
        module.fail_json(msg=str(error), changed=bool(changes), changes=changes)
    module.exit_json(changed=bool(changes), changes=changes, **result)


if __name__ == "__main__":
    main()
