"""Host keys pinned at bootstrap: the only ones a connection accepts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import subprocess
from dataclasses import dataclass

from antiseche.errors import AnswersError, AntisecheError, HostUnreachableError, MissingRequirementError
from antiseche.i18n import _
from antiseche.practice import staging
from antiseche.practice.atomic import write_text
from antiseche.practice.folder import PracticeFolder

KEY_TYPE = "ssh-ed25519"
_RAW_PREFIX = b"\x00\x00\x00\x0b" + KEY_TYPE.encode() + b"\x00\x00\x00\x20"
_RAW_LENGTH = len(_RAW_PREFIX) + 32


class HostKeyMismatchError(AntisecheError):
    """Another key is already pinned, or the host offers another key."""


@dataclass(frozen=True)
class PinnedKey:
    """One line of ``known_hosts``."""

    names: tuple[str, ...]
    key: str

    @property
    def fingerprint(self) -> str:
        """SHA256 fingerprint, as ``ssh-keygen -l`` shows it."""
        return fingerprint(self.key)


def normalise(key_line: str) -> str:
    """Return ``ssh-ed25519 <base64>`` without comment.

    Raises:
        AnswersError: not an ed25519 public key.
    """
    parts = key_line.split()
    if len(parts) >= 2 and parts[0] == KEY_TYPE:
        try:
            raw = base64.b64decode(parts[1], validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if raw.startswith(_RAW_PREFIX) and len(raw) == _RAW_LENGTH:
            return f"{KEY_TYPE} {parts[1]}"
    raise AnswersError(
        _("Clé d'hôte illisible : donnez la ligne « ssh-ed25519 AAAA… » ou l'empreinte « SHA256:… » affichée par le script.")
    )


def fingerprint(key_line: str) -> str:
    """Return the SHA256 fingerprint of a key line."""
    raw = base64.b64decode(normalise(key_line).split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")


def pinned_keys(folder: PracticeFolder) -> list[PinnedKey]:
    """Return the pinned keys; lines that are not ours are ignored."""
    return [pin for pin in map(_parse, _lines(folder)) if pin is not None]


def pinned_for(folder: PracticeFolder, name: str) -> PinnedKey | None:
    """Return the key pinned for a host name or an address."""
    return next((pin for pin in pinned_keys(folder) if name in pin.names), None)


def pin_host_key(folder: PracticeFolder, address: str, name: str, key_line: str) -> bool:
    """Pin a host's key under its address and its name; say whether anything changed.

    Raises:
        AnswersError: not an ed25519 key.
        HostKeyMismatchError: another key is pinned under this name or address.
    """
    key = normalise(key_line)
    with staging.locked(folder.root):
        lines = _lines(folder)
        kept: list[str] = []
        for line in lines:
            pin = _parse(line)
            if pin is None or not {address, name} & set(pin.names):
                kept.append(line)
            elif pin.key != key:
                raise HostKeyMismatchError(
                    _(
                        "Une autre clé est déjà épinglée pour {names} : {old}, et non {new}. "
                        "Si la machine a été réinstallée, lancez « antiseche bootstrap {practice} --forget {host} », "
                        "puis épinglez la nouvelle. Sinon, quelqu'un se fait passer pour elle."
                    ).format(
                        names=", ".join(pin.names),
                        old=pin.fingerprint,
                        new=fingerprint(key),
                        practice=folder.name,
                        host=pin.names[-1],
                    )
                )
        updated = [*kept, f"{address},{name} {key}"]
        return _save(folder, lines, updated)


def forget_host_key(folder: PracticeFolder, name: str) -> bool:
    """Drop the key pinned under a host name or address; say whether there was one."""
    with staging.locked(folder.root):
        lines = _lines(folder)
        kept = [line for line in lines if (pin := _parse(line)) is None or name not in pin.names]
        return _save(folder, lines, kept)


def offered_key(address: str, *, timeout: int = 5) -> str:
    """Ask a host for its ed25519 key; it proves nothing until compared with a known fingerprint.

    Raises:
        HostUnreachableError: no answer.
        MissingRequirementError: no ssh client on this machine.
    """
    try:
        done = subprocess.run(
            ["ssh-keyscan", "-t", "ed25519", "-T", str(timeout), address],
            capture_output=True,
            text=True,
            timeout=timeout * 3,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        output = done.stdout
    except FileNotFoundError:
        raise MissingRequirementError(_("Le client SSH manque sur ce poste : installez le paquet openssh-client.")) from None
    except subprocess.TimeoutExpired:
        output = ""
    for line in output.splitlines():
        if not line.startswith("#") and len(line.split()) >= 3:
            return normalise(line.split(None, 1)[1])
    raise HostUnreachableError(
        _("{address} n'a pas donné de clé d'hôte ed25519 : la machine est-elle allumée, le script y a-t-il été lancé ?").format(
            address=address
        )
    )


def verify_offered(address: str, expected_fingerprint: str) -> str:
    """Return the key that a host offers, after comparing it with the fingerprint brought back.

    Raises:
        HostKeyMismatchError: the host offers another key.
    """
    key = offered_key(address)
    if fingerprint(key) != expected_fingerprint.rstrip("="):
        raise HostKeyMismatchError(
            _("{address} présente {offered}, et non {expected} : rien n'est épinglé. Relisez l'écran de la machine.").format(
                address=address, offered=fingerprint(key), expected=expected_fingerprint
            )
        )
    return key


def _lines(folder: PracticeFolder) -> list[str]:
    try:
        return folder.known_hosts.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise AntisecheError(_("{path} est illisible : {error}").format(path=folder.known_hosts, error=error)) from None


def _parse(line: str) -> PinnedKey | None:
    names, _space, key = line.strip().partition(" ")
    if names.startswith(("#", "@", "|")) or not key:
        return None
    try:
        return PinnedKey(tuple(names.split(",")), normalise(key))
    except AnswersError:
        return None


def _save(folder: PracticeFolder, before: list[str], after: list[str]) -> bool:
    if sorted(before) == sorted(after):
        return False
    write_text(folder.known_hosts, "".join(f"{line}\n" for line in after), mode=0o644)
    return True
