"""Asks questions one line at a time: plain prompts, which work over ssh, in a screen reader and from a pipe."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable
from typing import Any

import click

from antiseche.commands import own_keys, prompts
from antiseche.errors import AnswersError
from antiseche.i18n import _
from antiseche.practice.document import Path_
from antiseche.practice.fields import NO, YES, Kind
from antiseche.practice.load import dotted
from antiseche.practice.proposals import proposal
from antiseche.practice.questionnaire import Draft, Question, answer, current, key_of, objection, previous, take_back

BACK, WHY, STOP = "<", "?", "!"


class StoppedError(Exception):
    """The person stopped; what was answered is kept."""


def require_someone() -> None:
    """Refuse to ask when nobody and no pipe can answer.

    Raises:
        AnswersError: no terminal, and nothing is piped in.
    """
    if sys.stdin is not None and not sys.stdin.closed and (sys.stdin.isatty() or _piped()):
        return
    raise AnswersError(_("Personne ne peut répondre : ni terminal, ni réponses sur l'entrée standard."))


def _piped() -> bool:
    """Say whether answers can come from a pipe or a file; /dev/null is neither."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return True  # a stand-in without descriptor
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


class Conversation:
    """Asks until the answers are complete, keeping each one as soon as it is given."""

    def __init__(self, draft: Draft, keep: Callable[[Draft], None], proposals: dict[Path_, Any] | None = None) -> None:
        self.draft = draft
        self.keep = keep
        self.proposals = proposals or {}
        self._part: Path_ = ()
        self._step = ""
        self._told: set[str] = set()

    def run(self) -> None:
        """Ask everything that is missing or wrong.

        Raises:
            StoppedError: the person asked to stop.
            AnswersError: something is wrong that no question can put right.
        """
        while (question := current(self.draft)) is not None:
            if not question.title:
                raise AnswersError(
                    _("{path} : {message}. Corrigez le fichier, puis relancez.").format(
                        path=dotted(question.path), message=question.problem
                    )
                )
            if self.one(question):
                continue
            before = previous(self.draft, question)
            if before is None:
                click.echo("  ! " + _("C'est la première question."))
                continue
            self.remember(before)
            take_back(self.draft, before)
            self.keep(self.draft)

    def remember(self, question: Question) -> None:
        """Propose the answer that is being taken back."""
        self.proposals[question.path] = question.value

    def one(self, question: Question) -> bool:
        """Ask one question until it is answered; False when the person wants to go back instead.

        Raises:
            StoppedError: the person asked to stop.
        """
        self._introduce(question)
        found = prompts.choices(question, self.draft.values)
        prompts.show_choices(found)
        while True:
            typed = self._type(question)
            if typed == STOP:
                raise StoppedError
            if typed == BACK:
                return False
            if typed == WHY:
                for line in prompts.explain(question, found):
                    click.echo("  " + line)
                prompts.show_choices(found)
            elif self._take(question, typed, found):
                return True

    def _introduce(self, question: Question) -> None:
        """Say where we are, and why this is asked: once for each kind of question."""
        depth = max((index for index, part in enumerate(question.path) if isinstance(part, int)), default=0)
        part: Path_ = question.path[: depth + 1] if not question.adds else question.path[:-1]
        step = prompts.step(part)
        if step != self._step:
            click.echo("\n" + click.style(step, bold=True))
            self._tell(key_of(part[:1]), prompts.about(part))
        if part != self._part and len(part) > 1 and not question.adds:
            click.echo("\n" + click.style(prompts.heading(part), bold=True))
        self._step, self._part = step, part
        key = key_of(question.path)
        if key != key_of(part[:1]):
            self._tell(key, question.why)
        if question.problem:
            click.echo("  ! " + question.problem)

    def _tell(self, key: str, why: str) -> None:
        if why and key not in self._told:
            click.echo(click.style("  " + why, dim=True))
            self._told.add(key)

    def _take(self, question: Question, typed: str, found: list[prompts.Choice]) -> bool:
        value = self._read(question, typed, found)
        wrong = _("réponse obligatoire") if value is _NONE else objection(self.draft, question, value)
        if wrong and found and not _in(found, value):
            wrong = _("répondez par un numéro ou par un mot de la liste")
        if wrong:
            click.echo("  ! " + wrong)
            return False
        answer(self.draft, question, value)
        self.keep(self.draft)
        return True

    def _read(self, question: Question, typed: str, found: list[prompts.Choice]) -> Any:
        if not typed:
            return self._nothing(question)
        if question.adds:
            return True if typed.lower() in YES else False if typed.lower() in NO else typed
        if key_of(question.path) == "maintenance.public_keys":
            typed = own_keys.from_files(typed)
        if found and question.kind is Kind.LIST:
            words = re.split(r"[\s,;]+", typed.strip("[] "))
            return question.field.read(" ".join(_chosen(word, found) for word in words))
        return question.field.read(_chosen(typed, found))

    def _nothing(self, question: Question) -> Any:
        proposed = self._proposed(question)
        if proposed is not None:
            return proposed
        if question.adds or question.kind is Kind.OPTIONAL_PART:
            return False
        return ([] if question.kind is Kind.LIST else None) if question.field.may_be_empty else _NONE

    def _proposed(self, question: Question) -> Any:
        if question.adds:
            return None
        if question.kind is Kind.OPTIONAL_PART and isinstance(question.value, dict):
            return True
        given = None if question.problem else question.value
        guess = proposal(self.draft.values, key_of(question.path), question.path)
        for proposed in (self.proposals.get(question.path), given, guess, question.field.default):
            if proposed is not None and not (question.kind is Kind.OPTIONAL_PART and not isinstance(proposed, bool)):
                return proposed
        return None

    def _type(self, question: Question) -> str:
        text = prompts.prompt(question, self._proposed(question))
        try:
            reply = click.prompt(text, default="", show_default=False, prompt_suffix=prompts.suffix(text))
        except UnicodeDecodeError:
            raise AnswersError(_("Caractères illisibles : répondez en UTF-8. Ce qui était répondu est gardé.")) from None
        return str(reply).strip()


_NONE = object()


def _chosen(typed: str, found: list[prompts.Choice]) -> str:
    """Return what a number, a word of the file or a shown word stands for."""
    if typed.isdecimal() and 1 <= int(typed) <= len(found):
        return found[int(typed) - 1].value
    return next((choice.value for choice in found if typed.lower() in (choice.value.lower(), choice.shown.lower())), typed)


def _in(found: list[prompts.Choice], value: Any) -> bool:
    known = {choice.value for choice in found}
    return all(item in known for item in value) if isinstance(value, list) else value in known or value is None


def at_the_end_of_input(error: click.exceptions.Abort) -> Exception:
    """Return what to say when the answers ran out: a person who left, or a pipe too short."""
    if sys.stdin is not None and sys.stdin.isatty():
        return error
    return AnswersError(_("Les réponses reçues s'arrêtent avant la fin du questionnaire."))
