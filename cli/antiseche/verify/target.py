"""The hosts to check: how to reach each and what is expected of it, read from the generated inventory."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from antiseche.errors import AnswersError
from antiseche.fast_yaml import load_yaml
from antiseche.i18n import _
from antiseche.practice.folder import PracticeFolder

_KINDS = {"workstations": "workstation", "servers": "server"}


@dataclass(frozen=True)
class Target:
    """One host to check.

    ``expected`` holds the host's inventory variables; vault files are never read, so no secret is among them.
    """

    name: str
    address: str
    user: str
    kind: str
    system: str
    known_hosts: str
    identities: list[str] = field(default_factory=list)
    port: int = 22
    expected: dict[str, Any] = field(default_factory=dict, repr=False)

    def as_json(self) -> dict[str, Any]:
        """Return what the checking process needs."""
        return asdict(self)


def practice_targets(folder: PracticeFolder, hosts: tuple[str, ...] = ()) -> list[Target]:
    """Return the hosts of the inventory, or those asked for, in its order.

    Raises:
        AnswersError: no inventory, or one that is not ours.
    """
    groups = _groups(folder)
    common = _variables(folder.inventory_dir / "group_vars" / "all" / "main.yml", folder)
    names = list(dict.fromkeys(name for members in groups.values() for name in members))
    targets = []
    for name in names:
        if hosts and name not in hosts:
            continue
        expected = {**common, **_variables(folder.inventory_dir / "host_vars" / name / "main.yml", folder)}
        kind = next((kind for group, kind in _KINDS.items() if name in groups.get(group, [])), "workstation")
        system = next((group for group in groups if group.startswith("debian") and name in groups[group]), "")
        targets.append(
            Target(
                name=name,
                address=str(expected.get("ansible_host", name)),
                user=str(expected.get("ansible_user", "antiseche")),
                kind=kind,
                system=system,
                known_hosts=str(folder.known_hosts),
                port=_port(expected.get("ansible_port", 22), name, folder),
                expected={key: value for key, value in expected.items() if not key.startswith("ansible_")},
            )
        )
    return targets


def _groups(folder: PracticeFolder) -> dict[str, list[str]]:
    data = _read(folder.hosts_file, folder)
    try:
        children = data["all"]["children"]
        return {str(group): [str(name) for name in (content or {}).get("hosts") or {}] for group, content in children.items()}
    except (KeyError, TypeError, AttributeError):
        raise _unreadable(folder.hosts_file, folder) from None


def _variables(path: Path, folder: PracticeFolder) -> dict[str, Any]:
    """Return variables; a file that is missing or odd would let checks expect less than the answers want."""
    if not path.exists():
        raise _unreadable(path, folder)
    data = _read(path, folder)
    if not isinstance(data, dict):
        raise _unreadable(path, folder)
    return data


def _port(value: Any, name: str, folder: PracticeFolder) -> int:
    if isinstance(value, int) and 0 < value < 65536:
        return value
    raise AnswersError(
        _("L'inventaire de « {name} » donne à {host} un ansible_port qui n'est pas un port : {value}.").format(
            name=folder.name, host=name, value=value
        )
    )


def _read(path: Path, folder: PracticeFolder) -> Any:
    try:
        return load_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AnswersError(
            _("« {name} » n'a pas encore d'inventaire : lancez « antiseche inventory {name} ».").format(name=folder.name)
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise _unreadable(path, folder) from None


def _unreadable(path: Path, folder: PracticeFolder) -> AnswersError:
    return AnswersError(
        _("L'inventaire {path} est illisible : relancez « antiseche inventory {name} ».").format(path=path, name=folder.name)
    )
