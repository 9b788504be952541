"""Changes chosen answers of a file in place, keeping its comments; the whole must hold before anything is written."""

from __future__ import annotations

import difflib
import fnmatch
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from antiseche.errors import AnswersError
from antiseche.i18n import _
from antiseche.practice import answers_file, atomic, staging
from antiseche.practice.document import Path_, parse
from antiseche.practice.fields import Kind
from antiseche.practice.folder import printable
from antiseche.practice.load import check_document, dotted
from antiseche.practice.questionnaire import (
    Draft,
    Question,
    closing_key,
    get,
    is_later,
    of_file,
    previous,
    put,
    take_back,
    walk,
)

_NAMES = ("login", "name", "id")


class Asker(Protocol):
    """Who asks a question and takes the answer into the draft."""

    def one(self, question: Question) -> bool:
        """Ask one question; False when the person wants to go back instead."""

    def remember(self, question: Question) -> None:
        """Propose the answer that is being taken back."""


class Edition:
    """The answers of one file, being changed."""

    def __init__(self, path: Path, text: str, draft: Draft) -> None:
        self.path = path
        self.text = text
        self.draft = draft
        self._before = _leaves(draft)
        self._before_paths = {question.path for question in walk(draft, everything=True) if not question.adds}

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
        found = [question for question in self.matching((path,)) if not question.adds]
        if not found:
            raise AnswersError(_("« {path} » est un groupe : changez-le par les questions ou dans le fichier").format(path=path))
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
        named = [
            (question, _names(self.draft.values, question))
            for question in walk(self.draft, everything=True)
            if not (question.adds and question.value)  # one more item, not the items that are there
        ]
        chosen: set[int] = set()
        for pattern in globs:
            found = _matching(named, pattern) or _matching(named, pattern + ".*")
            if not found:
                close = difflib.get_close_matches(pattern, [names[0] for _question, names in named], n=1)
                hint = _(" (vouliez-vous dire « {word} » ?)").format(word=close[0]) if close else ""
                raise AnswersError(_("« {path} » : aucune réponse ne porte ce chemin").format(path=printable(pattern)) + hint)
            chosen |= found
        return [question for number, (question, _found) in enumerate(named) if number in chosen]

    def ask(self, asker: Asker, question: Question) -> bool:
        """Ask one chosen question again; for a group, ask for one more item and then for its answers.

        Returns:
            False when the person wants to go back to the question before.
        """
        if question.adds:
            return self._ask_more(asker, question.path[:-1])
        again = next(found for found in walk(self.draft, everything=True) if found.path == question.path and not found.adds)
        old = get(self.draft.values, again.path)
        if not asker.one(replace(again, problem="")):
            return False
        new = get(self.draft.values, again.path)
        if not again.written and new == again.field.default:
            take_back(self.draft, again)  # what goes without saying need not be written
            return True
        if again.kind is not Kind.OPTIONAL_PART:
            put(self.draft.values, again.path, old)
            answers_file.change(self.draft.values, again.path, new)
            return True
        return self._complete(asker, again.path)

    def _ask_more(self, asker: Asker, group: Path_) -> bool:
        self.draft.closed.discard(closing_key(group))
        if self._complete(asker, group):
            return True
        self.draft.closed.add(closing_key(group))
        return False

    def _complete(self, asker: Asker, part: Path_) -> bool:
        """Ask whatever a part still lacks, optional answers too: a person has just said that there is more of it."""
        self.draft.only_required = False
        try:
            while (question := self._lacking(part)) is not None:
                if asker.one(question):
                    continue
                before = previous(self.draft, question, everything=is_later(part))
                if before is None or before.path[: len(part)] != part or before.path in self._before_paths:
                    return False
                asker.remember(before)
                take_back(self.draft, before)
            return True
        finally:
            self.draft.only_required = True

    def _lacking(self, part: Path_) -> Question | None:
        inside = (found for found in walk(self.draft, everything=is_later(part)) if found.path[: len(part)] == part)
        return next((found for found in inside if not found.answered and found.path not in self._before_paths), None)

    def write(self) -> int:
        """Check the whole, write it, and return how many answers changed.

        Raises:
            AnswersFileError: something does not hold; nothing is written.
            AnswersError: somebody else changed the file meanwhile.
        """
        after = _leaves(self.draft)
        changed = sum(1 for key in after.keys() | self._before.keys() if after.get(key) != self._before.get(key))
        text = answers_file.rewritten(self.text, self.draft.values)
        check_document(parse(text.encode()), self.path)
        if not changed:
            return 0
        with staging.locked(self.path.parent):
            if answers_file.read(self.path)[0] != self.text:
                raise AnswersError(
                    _("{path} a changé entre-temps : rien n'a été écrit. Relancez la commande.").format(path=self.path)
                )
            self._refuse_closed()
            real = self.path.resolve()  # a link stays a link
            atomic.write_text(real, text, mode=real.stat().st_mode & 0o777)
        return changed

    def _refuse_closed(self) -> None:
        """Replacing a file needs no more than rights on its folder; who closed the file itself meant it."""
        try:
            os.close(os.open(self.path, os.O_WRONLY | os.O_CLOEXEC))
        except OSError as error:
            raise atomic.explained(error, self.path) from None


def _leaves(draft: Draft) -> dict[str, Any]:
    return {dotted(question.path): _text(question.value) for question in walk(draft, everything=True) if not question.adds}


def _text(value: Any) -> Any:
    if isinstance(value, dict):
        return True  # its own answers are counted one by one
    return [str(item) for item in value] if isinstance(value, list) else value if value is None else str(value)


def _matching(named: list[tuple[Question, tuple[str, ...]]], pattern: str) -> set[int]:
    pattern = re.sub(r"\[(\d+|\*)\]", r".\1", pattern.strip())
    return {
        number for number, (_question, names) in enumerate(named) if any(fnmatch.fnmatchcase(name, pattern) for name in names)
    }


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
