"""Answers that can be guessed from those given before; each one is only proposed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

from antiseche.practice.document import Path_
from antiseche.practice.rules.reserved import is_shared_login, is_system_login

_TITLES = frozenset(("dr", "docteur", "pr", "professeur", "m", "mme", "mlle", "monsieur", "madame"))
_SERVER_NAMES = ("serv", "srv", "nas")


def proposal(values: Any, key: str, path: Path_) -> Any:
    """Return what to propose for an answer, or None.

    Args:
        values: answers given so far.
        key: path without its numbers, ``people.login``.
        path: where the answer will stand.
    """
    guess = _GUESSES.get(key)
    return guess(values, path) if guess else None


def items(values: Any, *names: str) -> list[dict[str, Any]]:
    """Return the items of a group that can be read."""
    for name in names:
        values = values.get(name) if isinstance(values, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def _login(values: Any, path: Path_) -> str | None:
    """First letter and last name, as most practices do: Jeanne Dupont gives jdupont."""
    people = items(values, "people")
    index = path[1]
    name = people[index].get("name") if isinstance(index, int) and index < len(people) else None
    if not isinstance(name, str):
        return None
    words = re.findall(r"[a-z]+", _ascii(name).replace("'", "").replace("-", ""))
    words = [word for word in words if word not in _TITLES]
    if not words:
        return None
    login = (words[0][0] + words[-1] if len(words) > 1 else words[0])[:20]
    taken = {person.get("login") for person in people}
    candidates = [login, *(f"{login}{number}" for number in range(2, 100))]
    return next((found for found in candidates if found not in taken and _is_personal(found)), None)


def _is_personal(login: str) -> bool:
    return not is_system_login(login) and not is_shared_login(login)


def _ascii(text: str) -> str:
    text = text.lower().replace("œ", "oe").replace("æ", "ae").replace("’", "'")
    return unicodedata.normalize("NFD", text).encode("ascii", "ignore").decode()


def _host_name(values: Any, _path: Path_) -> str:
    taken = {host.get("name") for host in items(values, "hosts")}
    return next(name for number in range(1, 1000) if (name := f"poste-{number}") not in taken)


def _kind(values: Any, path: Path_) -> str | None:
    hosts = items(values, "hosts")
    index = path[1]
    name = hosts[index].get("name") if isinstance(index, int) and index < len(hosts) else None
    return "server" if isinstance(name, str) and name.startswith(_SERVER_NAMES) else None


def _servers(values: Any) -> list[str]:
    return [str(host["name"]) for host in items(values, "hosts") if host.get("kind") == "server" and "name" in host]


def _only_server(values: Any, _path: Path_) -> str | None:
    servers = _servers(values)
    return servers[0] if len(servers) == 1 else None


def _software_hosts(values: Any, _path: Path_) -> list[str] | None:
    return _servers(values) or None


def _contractor(values: Any, _path: Path_) -> str | None:
    names = [supplier.get("name") for supplier in items(values, "suppliers") if supplier.get("role") == "it"]
    return str(names[0]) if names and names[0] else None


_GUESSES: dict[str, Callable[[Any, Path_], Any]] = {
    "people.login": _login,
    "hosts.name": _host_name,
    "hosts.kind": _kind,
    "shares.host": _only_server,
    "backup.server": _only_server,
    "software.hosts": _software_hosts,
    "maintenance.contractor": _contractor,
}
