"""The keys that ssh may offer to a host: the contractor's, and no other.

A hardened host allows few attempts. An agent that holds many keys would use them up before the right one comes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from antiseche.engine.environment import private_directory


def offered(practice: Path, private_key: Path | None, public_keys: Iterable[str]) -> list[str]:
    """Return the files to give to ssh with ``IdentitiesOnly``.

    The private key, if one is named. Otherwise, for each of the contractor's public keys, this user's private key of
    that name in ``~/.ssh``, else the public key itself: ssh then asks the agent for it.
    """
    if private_key is not None:
        return [str(private_key.resolve())]
    usual = {_content(path): path.with_suffix("") for path in sorted((_home() / ".ssh").glob("id_*.pub"))}
    found = []
    for key in public_keys:
        own = usual.get(_key(key))
        found.append(str(own if own is not None and own.is_file() else _public_file(practice, key)))
    return found


def ssh_options(identities: Iterable[str]) -> list[str]:
    """Return what makes ssh offer these files and nothing else; ssh reads ``%`` as the start of a token."""
    options = ["IdentitiesOnly=yes", *(f'IdentityFile="{path.replace("%", "%%")}"' for path in identities)]
    return [word for option in options for word in ("-o", option)]


def _public_file(practice: Path, key: str) -> Path:
    path = private_directory(practice) / f"{hashlib.sha256(_key(key).encode()).hexdigest()[:16]}.pub"
    if _content(path) != _key(key):
        path.write_text(_key(key) + "\n", encoding="ascii", errors="replace")
    return path


def _content(path: Path) -> str:
    """Return the public key in a file, empty for what cannot be read: it is then nobody's key."""
    try:
        return _key(path.read_text(errors="replace"))
    except OSError:
        return ""


def _key(line: str) -> str:
    """Return a public key without its comment."""
    return " ".join(line.split()[:2])


def _home() -> Path:
    return Path("~").expanduser()
