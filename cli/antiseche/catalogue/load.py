"""Reads ``controls.yml`` of every role and the list of sources; errors name file and line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from antiseche import kit
from antiseche.catalogue.model import Control, RoleControls, Source
from antiseche.errors import AntisecheError
from antiseche.fast_yaml import load_yaml
from antiseche.i18n import _

SOURCES_FILE = Path(__file__).parent / "sources.yml"
Model = TypeVar("Model", bound=BaseModel)


class CatalogueError(AntisecheError):
    """A file of the catalogue is wrong: a fault of the kit, not of the practice."""


@dataclass(frozen=True)
class Catalogue:
    """All controls, role by role in the order in which roles are applied."""

    roles: tuple[RoleControls, ...]

    def __iter__(self) -> Iterator[Control]:
        for role in self.roles:
            yield from role.controls

    @property
    def by_id(self) -> dict[str, Control]:
        """Controls by id."""
        return {control.id: control for control in self}

    @property
    def role_of(self) -> dict[str, RoleControls]:
        """Role of each control id."""
        return {control.id: role for role in self.roles for control in role.controls}

    def only(self, roles: tuple[str, ...]) -> Catalogue:
        """Keep these roles; empty keeps all."""
        return Catalogue(tuple(role for role in self.roles if not roles or role.role in roles))


@lru_cache(maxsize=8)
def load_catalogue(roles_dir: Path | None = None) -> Catalogue:
    """Load the controls of all roles.

    Raises:
        CatalogueError: a file cannot be read, is not as it should be, or repeats a control id.
    """
    base = roles_dir or kit.roles_dir()
    found = [_role(path) for path in sorted(base.glob("*/controls.yml"))]
    roles = tuple(sorted(found, key=lambda role: (role.order, role.role)))
    seen: dict[str, str] = {}
    for role in roles:
        if not (base / role.role).is_dir():
            raise CatalogueError(_("{role} : ce rôle n'existe pas dans {folder}.").format(role=role.role, folder=base))
        for control in role.controls:
            if control.id in seen:
                raise CatalogueError(
                    _("Le contrôle {id} existe deux fois : {first} et {second}.").format(
                        id=control.id, first=seen[control.id], second=role.role
                    )
                )
            seen[control.id] = role.role
    return Catalogue(roles)


@lru_cache(maxsize=1)
def load_sources() -> dict[str, Source]:
    """Return the texts that controls may refer to, by id."""
    entries = _parsed(SOURCES_FILE)
    if not isinstance(entries, list):
        raise CatalogueError(_("{path} : une liste est attendue.").format(path=SOURCES_FILE))
    sources = [Source.model_validate(entry) for entry in entries]
    return {source.id: source for source in sources}


def catalogue_digest(catalogue: Catalogue) -> str:
    """Return the SHA-256 of what the controls say: it changes when a rule changes, not when a comment does."""
    return hashlib.sha256("\n".join(role.model_dump_json() for role in catalogue.roles).encode()).hexdigest()


def _parsed(path: Path) -> object:
    try:
        return load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError(_("{path} : illisible ({error}).").format(path=path, error=error)) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise CatalogueError(
            _("{path}:{line} : YAML incorrect ({problem}).").format(path=path, line=line, problem=error.problem)
        ) from None


def _role(path: Path) -> RoleControls:
    """Read the controls of a role, and refuse a reference that its source cannot hold."""
    role, sources = _validated(path, RoleControls), load_sources()
    for number, control in enumerate(role.controls):
        for place, reference in enumerate(control.references):
            source = sources.get(reference.source)
            if source is None or not re.fullmatch(source.numbering, reference.id):
                raise CatalogueError(
                    _("{path}:{line} : la référence « {reference} » n'existe pas.").format(
                        path=path, line=_line(path, ("controls", number, "references", place)), reference=reference
                    )
                )
    return role


def _validated(path: Path, model: type[Model]) -> Model:
    try:
        return model.model_validate(_parsed(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise CatalogueError(
            _("{path}:{line} : {place} : {message}.").format(
                path=path,
                line=_line(path, first["loc"]),
                place=".".join(str(part) for part in first["loc"]) or "-",
                message=first["msg"],
            )
        ) from None


def _line(path: Path, location: tuple[int | str, ...]) -> int:
    """Return the line of the deepest part of the location that the file holds."""
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    line = 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(part)]
            if not pairs:
                break
            line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
