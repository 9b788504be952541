"""Changes chosen answers of a file in place, keeping its comments; the whole must hold before anything is written."""

from __future__ import annotations

import difflib
import fnmatch
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from antiseche.errors import AnswersError
from antiseche.i18n import _
from antiseche.practice import answers_file, atomic
from antiseche.practice.document import Path_, parse
from antiseche.practice.fields import Kind
from antiseche.practice.load import check_document, dotted
from antiseche.practice.questionnaire import Draft, Question, closing_key, current, get, of_file, put, walk

_NAMES = ("login", "name", "id")


class Asker(Protocol):
    """Who asks a question and takes the answer into the draft."""

    def one(self, question: Question) -> None:
        """Ask one question."""


class Edition:
    """The answers of one file, being changed."""

    def __init__(self, path: Path, text: str, draft: Draft) -> None:
        self.path = path
        self.text = text
        self.draft = draft
        self._before = _leaves(draft)

    @classmethod
    def of(cls, path: Path) -> Edition:
        """Start from a file.

        Raises:
            AnswersFileError: it cannot be read.
        """
        text, values = answers_file.read(path)
        return cls(path, text, of_file(values))

    def set(self, setting: str) -> None:
        """Change one answer given as ``path=value``.

        Raises:
            AnswersError: unknown path, or a value that cannot be.
        """
        path, equals, typed = setting.partition("=")
        if not equals:
            raise AnswersError(_("« {setting} » : écrivez CHEMIN=VALEUR").format(setting=setting))
        found = [question for question in self.matching((path.strip(),)) if not question.adds]
        if len(found) != 1:
            raise AnswersError(
                _("« {path} » désigne {n} réponses : --set en change une seule à la fois").format(path=path, n=len(found))
            )
        question = found[0]
        if question.kind is Kind.OPTIONAL_PART:
            raise AnswersError(_("« {path} » est un groupe : changez-le par les questions ou dans le fichier").format(path=path))
        value = question.field.read(typed) if typed.strip() else ([] if question.kind is Kind.LIST else None)
        value, wrong = question.field.check(value, question.path)
        if wrong:
            raise AnswersError(f"{path} : {wrong}")
        answers_file.change(self.draft.values, question.path, value)

    def matching(self, globs: tuple[str, ...]) -> list[Question]:
        """Return the questions that the patterns choose, in order.

        Raises:
            AnswersError: a pattern chooses nothing.
        """
        named = [(question, _names(self.draft.values, question)) for question in walk(self.draft, everything=True)]
        for pattern in globs:
            if not any(_matches(names, pattern) for _question, names in named):
                known = [names[0] for _question, names in named]
                close = difflib.get_close_matches(pattern, known, n=1)
                hint = _(" (vouliez-vous dire « {word} » ?)").format(word=close[0]) if close else ""
                raise AnswersError(_("« {path} » : aucune réponse ne porte ce chemin").format(path=pattern) + hint)
        return [question for question, names in named if any(_matches(names, pattern) for pattern in globs)]

    def ask(self, asker: Asker, question: Question) -> None:
        """Ask one chosen question again; for a group, ask for one more item and then for its answers."""
        old = get(self.draft.values, question.path)
        if question.adds:
            self.draft.closed.discard(closing_key(question.path[:-1]))
            while (following := current(self.draft)) is not None and following.path[: len(question.path) - 1] == question.path[
                :-1
            ]:
                asker.one(following)
            return
        asker.one(replace(question, problem=""))
        new = get(self.draft.values, question.path)
        if question.kind is not Kind.OPTIONAL_PART:
            put(self.draft.values, question.path, old)
            answers_file.change(self.draft.values, question.path, new)

    def write(self) -> int:
        """Check the whole, write it, and return how many answers changed.

        Raises:
            AnswersFileError: something does not hold; nothing is written.
        """
        after = _leaves(self.draft)
        changed = sum(1 for key in after.keys() | self._before.keys() if after.get(key) != self._before.get(key))
        text = answers_file.shaped_like(self.text, self.draft.values)
        check_document(parse(text.encode()), self.path)
        if changed:
            atomic.write_text(self.path, text, mode=self.path.stat().st_mode & 0o777)
        return changed


def _leaves(draft: Draft) -> dict[str, Any]:
    return {dotted(question.path): _text(question.value) for question in walk(draft, everything=True) if not question.adds}


def _text(value: Any) -> Any:
    return [str(item) for item in value] if isinstance(value, list) else value if value is None else str(value)


def _matches(names: tuple[str, ...], pattern: str) -> bool:
    pattern = re.sub(r"\[(\d+|\*)\]", r".\1", pattern)
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def _names(values: Any, question: Question) -> tuple[str, ...]:
    """Return the ways to call an answer: items by their name, or by their number from one."""
    path: Path_ = question.path[:-1] if question.adds else question.path
    by_name, by_number = [], []
    for depth, part in enumerate(path):
        item = get(values, path[: depth + 1])
        name = next((str(item[key]) for key in _NAMES if isinstance(item, dict) and key in item), None)
        by_name.append(name if isinstance(part, int) and name else str(part))
        by_number.append(str(part + 1) if isinstance(part, int) else part)
    return ".".join(by_name), ".".join(by_number)
