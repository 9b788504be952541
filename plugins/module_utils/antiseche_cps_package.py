# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""The card middleware's RPM as a removable Debian package, with the vendor's faults repaired.

The vendor publishes no package for Debian. Its RPM is opened by rpm2cpio and cpio under an account without rights; what it
holds is laid out again with owners and modes of ours. Its scripts are never run: they are not in the payload, and the package
made here has none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.antiseche_elf_stack import ElfError, asks_executable_stack, is_elf, without_executable_stack

NAME = "antiseche-cryptolib-cps"
RECIPE = 1  # part of the package's version: a better repair replaces an older one
# Nothing of the vendor's lands anywhere else.
PLACES = (
    "opt/santesocial/",
    "etc/opt/santesocial/",
    "var/opt/santesocial/",
    "usr/local/galss/",
    "usr/bin/",
    "usr/lib/",
    "usr/lib64/",
)
# Of those, the folders that are the middleware's alone.
OWN_FOLDERS = ("opt/santesocial", "etc/opt/santesocial", "var/opt/santesocial", "usr/local/galss")
LIBRARY = "opt/santesocial/CPS/lib/libcps3_pkcs11_lux.so"
PROVENANCE = f"usr/share/{NAME}/provenance.json"
P11_KIT = f"usr/share/p11-kit/modules/{NAME}.module"
COMMAND_SECONDS = 300
_TRIGGERS = "activate-noawait ldconfig\n"  # the loader's cache is renewed by libc-bin, without a script of ours
_UNPACK = (
    'set -eu; rpm2cpio "$1" > payload; cpio --extract --make-directories --no-absolute-filenames --quiet < payload; rm payload'
)


class PackageError(RuntimeError):
    """The package cannot be made from this file."""


def checked_digest(rpm: Path, sha256: str) -> str:
    """Return the file's SHA-256 in hexadecimal once it is the pinned one.

    Raises:
        PackageError: it is another file.
    """
    found = hashlib.sha256(rpm.read_bytes()).hexdigest()
    if found != sha256.lower():
        raise PackageError(f"{rpm.name}: SHA-256 {found}, expected {sha256.lower()}; nothing was installed")
    return found


def refuse_version(rpm: Path, version: str) -> None:
    """Refuse a package that says another version of itself.

    Raises:
        PackageError: it is no RPM, or another version. Source: the lead of the RPM file format, which rpm(8) still writes.
    """
    with rpm.open("rb") as file:
        lead = file.read(96)
    name = lead[10:76].split(b"\0", 1)[0].decode("utf-8", "replace")
    if not lead.startswith(b"\xed\xab\xee\xdb"):
        raise PackageError(f"{rpm.name} is not an RPM package")
    if f"-{version}-" not in name:
        raise PackageError(f"{rpm.name} says that it is {name}, not version {version}")


def unpack(rpm: Path, folder: Path, account: int | None = None) -> None:
    """Unpack into an empty folder, as an account that can do no harm when we are root.

    Raises:
        PackageError: it is no RPM, or a tool is missing.
    """
    rights: dict[str, Any] = {}
    if account is not None:
        os.chown(folder, account, account)
        rights = {"user": account, "group": account, "extra_groups": [], "umask": 0o077}
    with rpm.open("rb") as given:
        # By descriptor: the account need not reach the folder where the file lies.
        argv = ["sh", "-c", _UNPACK, "unpack", "/dev/stdin"]
        done = subprocess.run(argv, cwd=folder, stdin=given, capture_output=True, check=False, timeout=COMMAND_SECONDS, **rights)
    if account is not None:  # what is copied from here on is out of that account's reach
        os.chown(folder, os.geteuid(), os.getegid())
        folder.chmod(0o700)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()[:300]
        raise PackageError(f"{rpm.name} cannot be unpacked: {said or f'exit {done.returncode}'}")


def lay_out(payload: Path, tree: Path, source: dict[str, str]) -> dict[str, Any]:
    """Copy the payload into the package's tree with the faults repaired; return what was done.

    ``source`` holds the vendor's file, version and sha256. No folder is writable by others than root, no file has
    special rights, no library asks for an executable stack.

    Raises:
        PackageError: something lies where the middleware has no business, or the library is missing.
    """
    record: dict[str, Any] = {**source, "recipe": RECIPE, "libraries": {}, "closed": []}
    for path in sorted(payload.rglob("*")):
        name, info = path.relative_to(payload).as_posix(), path.lstat()
        target = tree / name
        folder = stat.S_ISDIR(info.st_mode)
        if not any(name.startswith(place) or (folder and place.startswith(f"{name}/")) for place in PLACES):
            raise PackageError(f"/{name} is not a place of the card middleware")
        if folder:
            target.mkdir(mode=0o755, parents=True, exist_ok=True)
            if info.st_mode & 0o022:
                record["closed"].append(f"/{name}")
        elif stat.S_ISLNK(info.st_mode):
            target.symlink_to(path.readlink())
        elif stat.S_ISREG(info.st_mode):
            _lay_file(path, target, name, record)
        else:
            raise PackageError(f"/{name} is neither a file, a folder nor a link")
    if f"/{LIBRARY}" not in record["libraries"]:
        raise PackageError(f"/{LIBRARY} is missing: this is not the card middleware")
    return record


def _lay_file(path: Path, target: Path, name: str, record: dict[str, Any]) -> None:
    content = path.read_bytes()
    if is_elf(content):
        try:
            repaired = without_executable_stack(content)
            cleared = asks_executable_stack(content)
        except ElfError as error:
            raise PackageError(f"/{name}: {error}") from error
        digests = {"vendor_sha256": hashlib.sha256(content).hexdigest(), "installed_sha256": hashlib.sha256(repaired).hexdigest()}
        record["libraries"][f"/{name}"] = {**digests, "stack_cleared": cleared}
        content = repaired
    target.write_bytes(content)
    target.chmod(0o755 if path.stat().st_mode & 0o111 else 0o644)


def build(tree: Path, record: dict[str, Any], package: Path) -> None:
    """Complete the tree and write the package.

    Raises:
        PackageError: dpkg-deb refuses.
    """
    version = f"{record['version']}+antiseche{RECIPE}"
    control = (
        f"Package: {NAME}\nVersion: {version}\nArchitecture: amd64\nSection: non-free/misc\nPriority: optional\n"
        "Maintainer: Antiseche <root@localhost>\nDepends: libc6, libpcsclite1, pcscd\n"
        "Description: CPS card middleware of the ANS, repackaged for Debian\n"
        " Made on this machine from the vendor's file; its faults are repaired, its scripts left out.\n"
    )
    texts = {
        "DEBIAN/control": control,
        "DEBIAN/triggers": _TRIGGERS,
        PROVENANCE: json.dumps(record, indent=1, sort_keys=True) + "\n",
        P11_KIT: f"module: /{LIBRARY}\ncritical: no\ntrust-policy: no\n",
    }
    for name, text in texts.items():
        path = tree / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
    for path in [tree, *tree.rglob("*")]:  # whatever the caller's umask was
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    argv = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(package)]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False, timeout=COMMAND_SECONDS)
    if done.returncode:
        raise PackageError(f"dpkg-deb: {done.stderr.strip()[:300]}")


def make(rpm: Path, source: dict[str, str], work: Path, account: int | None = None) -> tuple[Path, dict[str, Any]]:
    """Make the package in an empty folder of ours; return it and the record of its making.

    Raises:
        PackageError: the file is not the pinned one, or not the card middleware.
    """
    checked_digest(rpm, source["sha256"])
    refuse_version(rpm, source["version"])
    payload, tree, package = work / "payload", work / "tree", work / f"{NAME}.deb"
    work.chmod(0o711)  # the account without rights crosses it, and lists nothing
    payload.mkdir(mode=0o700)
    tree.mkdir(mode=0o755)
    unpack(rpm, payload, account)
    record = lay_out(payload, tree, source)
    build(tree, record, package)
    shutil.rmtree(payload)
    return package, record
