# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""What a disk carries: signatures, bytes, users; and what a LUKS2 header says. Reads only."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.antiseche_disks_say import N_, say

ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8"}
LOOK = 1024 * 1024
"""Bytes looked at, at the start and at the end of a disk: where tables, labels and superblocks are."""
LEAST = 64 * 1024 * 1024
"""A LUKS2 header takes 16 MiB; a smaller disk is a mistake."""
# LUKS2 on-disk format, version 1.1.4, section 2.1: magic, version, size of the binary and JSON areas (big endian).
_MAGIC = b"LUKS\xba\xbe"
_HEADER_SIZES = range(0x4000, 0x400000 + 1)
_UUID = slice(168, 208)


class DiskError(RuntimeError):
    """A disk cannot be brought to what is wanted; the sentence says why and what to do."""


@contextmanager
def secret_file(secret: str) -> Iterator[tuple[str, int]]:
    """Offer a secret as a file in memory, never in an argument or on a disk; give its path and its descriptor."""
    descriptor = os.memfd_create("key")
    try:
        os.write(descriptor, secret.encode())
        yield f"/proc/self/fd/{descriptor}", descriptor
    finally:
        os.close(descriptor)


def run(
    *argv: str,
    fds: Sequence[int] = (),
    seconds: int = 300,
    stdin: int = subprocess.DEVNULL,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> subprocess.CompletedProcess[str]:
    """Run a command; its output goes to files, since a helper that it leaves behind may hold a pipe open.

    Raises:
        DiskError: it does not exist, or does not end in time.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as output, tempfile.TemporaryFile("w+", errors="replace") as errors:
        try:
            done = subprocess.run(
                argv,
                stdin=stdin,
                stdout=output,
                stderr=errors,
                env=environment,
                pass_fds=tuple(fds),
                timeout=seconds,
                check=False,
            )
        except FileNotFoundError as error:
            raise DiskError(say(N_("« {command} » n'est pas installé sur la machine"), command=argv[0])) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DiskError(
                say(N_("« {command} » n'a pas pu s'exécuter : {reason}"), command=argv[0], reason=type(error).__name__)
            ) from error
        for stream in (output, errors):
            stream.seek(0)
        return subprocess.CompletedProcess(argv, done.returncode, output.read(), errors.read())


def checked(
    *argv: str,
    fds: Sequence[int] = (),
    seconds: int = 300,
    stdin: int = subprocess.DEVNULL,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> str:
    """Run a command that must succeed.

    Raises:
        DiskError: it failed; the sentence holds its last line, never its arguments.
    """
    done = run(*argv, fds=fds, seconds=seconds, stdin=stdin, environment=environment)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "?").splitlines()
        raise DiskError(
            say(
                N_("« {command} » a échoué (code {code}) : {reason}"),
                command=" ".join(argv[:2]),
                code=done.returncode,
                reason=lines[-1][:200],
            )
        )
    return done.stdout


@dataclass
class Device:
    """A block device as the kernel and blkid see it."""

    path: str
    real: str
    size: int
    serial: str
    read_only: bool
    mounts: list[str] = field(default_factory=list)
    holders: list[str] = field(default_factory=list)
    signatures: list[tuple[str, str]] = field(default_factory=list)
    """Type and usage, as wipefs names them."""

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this very disk from another one that took its name."""
        return {"size": self.size, "serial": self.serial}


def look(path: str) -> Device | None:
    """Return a device, or None when there is none of that name.

    Raises:
        DiskError: it is not a block device, or it cannot be read.
    """
    real = os.path.realpath(path)
    try:
        mode = Path(real).stat().st_mode
    except OSError:
        return None
    if not stat.S_ISBLK(mode):
        raise DiskError(say(N_("{path} n'est pas un disque : corrigez data_disks dans les réponses"), path=path))
    listed = json.loads(checked("lsblk", "--json", "--bytes", "--output", "NAME,PATH,SIZE,RO,SERIAL,WWN,MOUNTPOINTS,TYPE", real))[
        "blockdevices"
    ][0]
    below = list(_below(listed.get("children") or []))
    mounts = [point for one in (listed, *below) for point in one.get("mountpoints") or [] if point]
    return Device(
        path,
        real,
        int(listed["size"]),
        str(listed.get("wwn") or listed.get("serial") or ""),
        bool(listed["ro"]),
        mounts,
        [str(one["name"]) for one in below],
        signatures(real),
    )


def _below(children: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for child in children:
        yield child
        yield from _below(child.get("children") or [])


def signatures(path: str) -> list[tuple[str, str]]:
    """Return type and usage of everything that wipefs recognises on a device or file; changes nothing."""
    text = checked("wipefs", "--no-act", "--json", "--output", "TYPE,USAGE", path)
    found = json.loads(text).get("signatures", []) if text.strip() else []
    return [(str(one.get("type") or "?"), str(one.get("usage") or "?")) for one in found]


def written(path: str) -> bool:
    """Say whether a byte other than zero stands at the start or at the end of a device or file."""
    with Path(path).open("rb", buffering=0) as device:
        size = device.seek(0, os.SEEK_END)
        for start in (0, max(0, size - LOOK)):
            device.seek(start)
            left = min(LOOK, size)
            while left > 0:
                block = device.read(left)
                if not block:
                    break
                if block.count(0) != len(block):
                    return True
                left -= len(block)
    return False


def busy(path: str) -> bool:
    """Say whether the kernel holds the device for something else: RAID, LVM, swap, a mount in another namespace."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError:
        return True
    return False


def refusal(device: Device) -> str:
    """Return why a disk must not be formatted; empty when it is blank and free."""
    name = device.path
    kinds, usages = {kind for kind, _usage in device.signatures}, {usage for _kind, usage in device.signatures}
    if device.mounts:
        return say(
            N_("{name} est en service (monté sur {places}) : rien n'y est touché"), name=name, places=", ".join(device.mounts)
        )
    if "crypto_LUKS" in kinds:
        return say(
            N_("{name} porte déjà un volume LUKS que ce kit n'a pas fait : il peut contenir des données, rien n'y est touché"),
            name=name,
        )
    if "LVM2_member" in kinds:
        return say(N_("{name} appartient à un groupe de volumes LVM : rien n'y est touché"), name=name)
    if "raid" in usages:
        return say(
            N_("{name} appartient à un ensemble RAID ({kinds}) : rien n'y est touché"), name=name, kinds=", ".join(sorted(kinds))
        )
    if "partition-table" in usages:
        return say(
            N_("{name} porte une table de partitions ({kinds}) : rien n'y est touché"), name=name, kinds=", ".join(sorted(kinds))
        )
    if "filesystem" in usages:
        return say(
            N_("{name} porte un système de fichiers ({kinds}) : rien n'y est touché"), name=name, kinds=", ".join(sorted(kinds))
        )
    if kinds:
        return say(N_("{name} porte une signature ({kinds}) : rien n'y est touché"), name=name, kinds=", ".join(sorted(kinds)))
    if device.holders:
        return say(
            N_("{name} est en service (utilisé par {users}) : rien n'y est touché"), name=name, users=", ".join(device.holders)
        )
    if device.read_only:
        return say(N_("{name} est en lecture seule : rien n'y est touché"), name=name)
    if device.size < LEAST:
        return say(
            N_("{name} est trop petit ({size} Mio, au moins {least}) : rien n'y est touché"),
            name=name,
            size=device.size // 2**20,
            least=LEAST // 2**20,
        )
    if busy(device.real):
        return say(N_("{name} est en service : rien n'y est touché"), name=name)
    if written(device.real):
        return say(N_("{name} n'est pas vierge (octets non nuls au début ou à la fin) : rien n'y est touché"), name=name)
    return ""


@dataclass(frozen=True)
class Header:
    """A LUKS2 header's metadata."""

    uuid: str
    digest: str
    """SHA-256 of both copies of the header, binary and JSON; changes with every slot and token."""
    metadata: dict[str, Any]

    @property
    def slots(self) -> list[str]:
        """Numbers of the key slots in use."""
        return sorted(self.metadata.get("keyslots", {}), key=int)

    def tokens(self, kind: str) -> list[dict[str, Any]]:
        """Return the tokens of a type."""
        return [token for token in self.metadata.get("tokens", {}).values() if token.get("type") == kind]

    @property
    def loose(self) -> list[str]:
        """Slots that no token points to: a passphrase's, or what an enrolment left when it was cut."""
        held = {str(slot) for token in self.metadata.get("tokens", {}).values() for slot in token.get("keyslots", [])}
        return [slot for slot in self.slots if slot not in held]

    def slots_of(self, kind: str) -> list[str]:
        """Return the key slots that tokens of a type point to."""
        return [str(slot) for token in self.tokens(kind) for slot in token.get("keyslots", [])]


def header(path: str) -> Header | None:
    """Return the LUKS2 header of a device or file, or None when it has none that cryptsetup accepts."""
    uuid = run("cryptsetup", "luksUUID", path)
    if uuid.returncode:
        return None
    dumped = run("cryptsetup", "luksDump", "--dump-json-metadata", path)
    if dumped.returncode:
        return None
    with Path(path).open("rb") as device:
        first = device.read(16)
        size = int.from_bytes(first[8:16], "big")
        if not first.startswith(_MAGIC) or size not in _HEADER_SIZES:
            return None
        device.seek(0)
        digest = hashlib.sha256(device.read(2 * size)).hexdigest()
    return Header(uuid.stdout.strip(), digest, json.loads(dumped.stdout))


def claimed_uuid(path: str) -> str:
    """Return the number that a LUKS2 header gives, whole or torn; empty when there is no such header."""
    with Path(path).open("rb") as device:
        first = device.read(_UUID.stop)
    return first[_UUID].rstrip(b"\0").decode("ascii", "replace") if first.startswith(_MAGIC) else ""


def opening_slot(path: str, secret: str, slot: str = "") -> str | None:
    """Return the number of the slot that a passphrase or recovery key opens, or None; only that slot when one is given.

    Activates nothing. Each slot that is tried costs a key derivation.

    Raises:
        DiskError: the key could not be tried.
    """
    with secret_file(secret) as (key, descriptor):
        # LUKS2 tokens would open it without the key: they are left out.
        argv = ("cryptsetup", "open", "--verbose", "--test-passphrase", "--disable-external-tokens", "--key-file", key, path)
        done = run(*argv, *(("--key-slot", slot) if slot else ()), fds=[descriptor])
    if done.returncode not in (0, 1, 2):
        raise DiskError(
            say(
                N_("une clé n'a pas pu être essayée (cryptsetup, code {code}) : {reason}"),
                code=done.returncode,
                reason=done.stderr.strip()[-200:],
            )
        )
    found = re.search(r"Key slot (\d+) unlocked", done.stdout + done.stderr)
    return found[1] if found and done.returncode == 0 else None


def tpm_opens(path: str) -> bool:
    """Say whether this machine's TPM opens the volume as it will at the next start. Activates nothing."""
    done = run("cryptsetup", "open", "--test-passphrase", "--token-only", "--token-type", "systemd-tpm2", path)
    return done.returncode == 0


def has_tpm() -> bool:
    """Say whether the machine has a TPM 2 that programs can use."""
    return Path("/dev/tpmrm0").exists()
