"""From the answers file to the model: every problem at once, each with its place in the file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from antiseche.errors import AnswersError
from antiseche.i18n import _
from antiseche.practice import messages, provisional, rules
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
        found = rules.check(practice)
    except ValidationError as error:
        errors = _distinct([dict(item) for item in error.errors()])
        # What a fault took away would otherwise be told a second time, as missing.
        told = {(problem.line, problem.column) for problem in problems}
        misshapen = [_misshapen(item, document, path) for item in errors]
        problems += [problem for problem in misshapen if (problem.line, problem.column) not in told]
        found = _between_sound_answers(document, [_location(item) for item in errors])
    problems += [problem_at(document, path, item) for item in found]
    if problems:
        raise AnswersFileError(in_order(problems))
    return practice


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems as they stand in the file."""
    return sorted(problems, key=lambda problem: (problem.line, problem.column, problem.path))


def problem_at(document: Document, path: Path, found: rules.Found) -> Problem:
    """Return what a rule found, with its place and value."""
    value = "" if found.of_key else _value_at(document.values, found.path)
    return _problem(document, path, found.path, found.message, value, of_key=found.of_key)


def _between_sound_answers(document: Document, wrong: list[Path_]) -> list[rules.Found]:
    """Return what the rules find between answers that have the right shape: all errors at once, none of them twice."""
    parts = {path[0] for path in wrong if path}
    items = {path[:2] for path in wrong}
    return [
        found
        for found in rules.check(provisional.complete(document.values))
        if found.path[:-1] in document.values_at and not items & {found.path[:1], found.path[:2]} and found.refers not in parts
    ]


def dotted(path: Path_) -> str:
    """Return a path as people read it: ``hosts[1].name``, counted from one."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _distinct(errors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the keys that are missing because they were misspelt: that is told already."""
    meant = {messages.meant(error) for error in errors}
    return [error for error in errors if error["type"] != "missing" or tuple(error["loc"]) not in meant]


def _location(error: dict[str, Any]) -> Path_:
    return tuple(part for part in error["loc"] if isinstance(part, int | str))


def _misshapen(error: dict[str, Any], document: Document, path: Path) -> Problem:
    kind = error["type"]
    hidden = kind in ("missing", "extra_forbidden") or messages.is_secret(error)
    value = "" if hidden else _shown(error.get("input"))
    return _problem(document, path, _location(error), messages.message(error), value, of_key=kind == "extra_forbidden")


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
    if isinstance(value, dict):
        return _("un groupe de clés")
    if isinstance(value, list):
        return _("une liste")
    if value is None:
        return _("rien")
    text = str(value).lower() if isinstance(value, bool) else f"« {value} »" if isinstance(value, str) else str(value)
    text = "".join(character if character.isprintable() else "·" for character in text)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
