"""Names that a run may be limited to: hosts of the inventory, roles of the kit."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from antiseche import kit
from antiseche.errors import AnswersError
from antiseche.fast_yaml import load_yaml
from antiseche.i18n import _, language
from antiseche.practice.folder import PracticeFolder


def inventory_hosts(folder: PracticeFolder) -> list[str]:
    """Return the hosts of the inventory on disk, in its order.

    Raises:
        AnswersError: there is no inventory, or it is not one of ours.
    """
    try:
        data = load_yaml(folder.hosts_file.read_text(encoding="utf-8"))
        groups = data["all"]["children"].values()
        names = [str(name) for group in groups for name in (group or {}).get("hosts") or {}]
    except FileNotFoundError:
        raise AnswersError(
            _("« {name} » n'a pas encore d'inventaire : lancez « antiseche inventory {name} ».").format(name=folder.name)
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        raise AnswersError(
            _("L'inventaire {path} est illisible : supprimez-le et relancez « antiseche inventory {name} ».").format(
                path=folder.hosts_file, name=folder.name
            )
        ) from None
    return list(dict.fromkeys(names))


def known_roles(roles: Path | None = None) -> list[str]:
    """Return the names of the kit's roles."""
    return sorted(path.parent.name for path in (roles or kit.roles_dir()).glob("*/controls.yml"))


def role_titles(roles: Path | None = None) -> dict[str, str]:
    """Return each role's title in the language in force, in the order in which roles are applied."""
    found: list[tuple[int, str, str]] = []
    for path in (roles or kit.roles_dir()).glob("*/controls.yml"):
        name = path.parent.name
        try:
            data = load_yaml(path.read_text(encoding="utf-8"))
            found.append((int(data.get("order", 999)), name, str(data["title"][language()])))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
            found.append((999, name, name))  # a title is an ornament; the catalogue's own tests refuse the file
    return {name: title for _order, name, title in sorted(found)}


def checked_hosts(wanted: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return the hosts asked for.

    Raises:
        AnswersError: one of them is not known.
    """
    known = list(known)
    for name in wanted:
        if name not in known:
            raise AnswersError(
                _("Machine inconnue : « {name} »{hint}. Machines du cabinet : {known}.").format(
                    name=name, hint=_hint(name, known), known=", ".join(known) or "-"
                )
            )
    return tuple(dict.fromkeys(wanted))


def checked_roles(wanted: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return the roles asked for.

    Raises:
        AnswersError: one of them is not known.
    """
    known = list(known)
    for name in wanted:
        if name not in known:
            raise AnswersError(
                _("Rôle inconnu : « {name} »{hint}. Rôles : {known}.").format(
                    name=name, hint=_hint(name, known), known=", ".join(known) or "-"
                )
            )
    return tuple(dict.fromkeys(wanted))


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name.lower(), known, n=1)
    return _(" (vouliez-vous dire « {name} » ?)").format(name=close[0]) if close else ""
