"""What a result was judged by: the rule (where it applies, and the code of its check) and the wish (the answers it looks at).

Kept as digests beside each result, so that a rule or an answer that moved is never taken for a machine that drifted.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from antiseche import kit
from antiseche.catalogue import Catalogue
from antiseche.verify.observation import canonical
from antiseche.verify.target import Target

DIGITS = 16


def rule_digests(catalogue: Catalogue, roles_dir: Path | None = None) -> dict[str, str]:
    """Return a digest per control: it changes with the check's code or where it applies, not with a wording."""
    base = roles_dir or kit.roles_dir()
    found = {}
    for role in catalogue.roles:
        checks = [_split(path.read_text(encoding="utf-8")) for path in _verify_files(base, role.role)]
        shared = [rest for _by_control, rest in checks]
        for control in role.controls:
            own = [by_control.get(control.id, "") for by_control, _rest in checks]
            found[control.id] = _digest([control.applies.model_dump(mode="json"), control.max_age_days, own, shared])
    return found


def wish_digests(catalogue: Catalogue, targets: Iterable[Target], roles_dir: Path | None = None) -> dict[tuple[str, str], str]:
    """Return a digest per host and control: it changes when an answer that the role's checks look at does."""
    base = roles_dir or kit.roles_dir()
    words = {
        role.role: set(re.findall(r"\w+", "".join(path.read_text(encoding="utf-8") for path in _verify_files(base, role.role))))
        for role in catalogue.roles
    }
    found: dict[tuple[str, str], str] = {}
    for target in targets:
        for role in catalogue.roles:
            looked_at = {name: value for name, value in target.expected.items() if name in words[role.role]}
            digest = _digest([target.kind, target.system, looked_at])
            found |= {(target.name, control.id): digest for control in role.controls}
    return found


def _verify_files(base: Path, role: str) -> list[Path]:
    return sorted((base / role / "verify").glob("*.py"))


def _split(source: str) -> tuple[dict[str, str], str]:
    """Return the source of each check by control, and what the checks of the file share.

    A file that does not parse is shared as a whole: its checks cannot run either, and say so.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return {}, source
    lines = source.splitlines()
    by_control: dict[str, str] = {}
    taken: set[int] = set()
    for node in tree.body:
        control = _control_of(node)
        if control is not None and isinstance(node, ast.FunctionDef):
            first = min(node.lineno, *(decorator.lineno for decorator in node.decorator_list))
            span = range(first - 1, node.end_lineno or node.lineno)
            taken.update(span)
            by_control[control] = "\n".join(lines[number] for number in span)
    return by_control, "\n".join(line for number, line in enumerate(lines) if number not in taken and line.strip())


def _control_of(node: ast.stmt) -> str | None:
    """Return the id in a function's ``pytest.mark.control("...")``."""
    for decorator in getattr(node, "decorator_list", []):
        match decorator:
            case ast.Call(func=ast.Attribute(attr="control"), args=[ast.Constant(value=str(control))]):
                return str(control)
    return None


def _digest(value: object) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()[:DIGITS]
