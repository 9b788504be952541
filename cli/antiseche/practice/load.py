"""From the answers file to the model: every problem at once, each with its place in the file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from antiseche.errors import AnswersError
from antiseche.i18n import _
from antiseche.practice import messages, rules
from antiseche.practice.document import Document, Path_, read_document
from antiseche.practice.schema import Practice

_SHOWN = 60


@dataclass(frozen=True)
class Problem:
    """One thing to correct: where (line and column from 1), which answer, what is expected, what was found."""

    file: str
    line: int
    column: int
    path: str
    message: str
    value: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: "
        path = f"{self.path} : " if self.path else ""
        found = _(" ; reçu : {value}").format(value=self.value) if self.value else ""
        return f"{place}{path}{self.message}{found}"

    def as_json(self) -> dict[str, Any]:
        """Return the problem for ``--json``."""
        return asdict(self)


class AnswersFileError(AnswersError):
    """The answers file has problems; all of them are told."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


def load_answers(path: Path) -> Practice:
    """Load and check an answers file.

    Raises:
        AnswersFileError: with every problem found.
    """
    return check_document(read_document(path), path)


def check_document(document: Document, path: Path) -> Practice:
    """Check what was read from a file.

    Raises:
        AnswersFileError: with every problem found.
    """
    problems = [Problem(str(path), f.position.line, f.position.column, "", f.message) for f in document.faults]
    if problems and document.values is None:
        raise AnswersFileError(problems)
    try:
        practice = Practice.model_validate(document.values)
    except ValidationError as error:
        problems += [_from_pydantic(dict(item), document, path) for item in error.errors()]
        raise AnswersFileError(_sorted(problems)) from None
    problems += [
        _problem(document, path, found.path, found.message, _value_at(document.values, found.path))
        for found in rules.check(practice)
    ]
    if problems:
        raise AnswersFileError(_sorted(problems))
    return practice


def dotted(path: Path_) -> str:
    """Return a path as people read it: ``hosts[1].name``, counted from one."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _from_pydantic(error: dict[str, Any], document: Document, path: Path) -> Problem:
    location: Path_ = tuple(part for part in error["loc"] if isinstance(part, int | str))
    kind = error["type"]
    found = "" if kind in ("missing", "extra_forbidden") else _shown(error.get("input"))
    text = messages.message(error)
    if kind == "string_pattern_mismatch" and "PRIVATE KEY" in str(error.get("input")):
        text, found = _("ceci est une clé privée : elle ne doit figurer nulle part, donnez la clé publique (fichier .pub)"), ""
    return _problem(document, path, location, text, found, of_key=kind == "extra_forbidden")


def _problem(document: Document, path: Path, location: Path_, text: str, found: str, *, of_key: bool = False) -> Problem:
    position = document.position(location, of_key=of_key)
    return Problem(str(path), position.line, position.column, dotted(location), text, found)


def _value_at(values: Any, path: Path_) -> str:
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return ""
    return "" if isinstance(values, dict | list) else _shown(values)


def _shown(value: Any) -> str:
    """Return a value as it may be shown: short, on one line."""
    if value is None:
        return _("rien")
    text = str(value) if isinstance(value, str | int | float) else type(value).__name__
    text = (
        {"dict": _("un groupe de clés"), "list": _("une liste")}.get(text, text) if not isinstance(value, str) else f"« {text} »"
    )
    text = "".join(character if character.isprintable() else "·" for character in text)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _sorted(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: (problem.line, problem.column, problem.path))
