"""Asks questions one line at a time: plain prompts, which work over ssh, in a screen reader and from a pipe."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from typing import Any

import click

from antiseche.errors import AnswersError
from antiseche.i18n import _
from antiseche.practice.document import Path_
from antiseche.practice.fields import NO, NOTHING, YES, Kind, field_at
from antiseche.practice.labels import label
from antiseche.practice.load import dotted
from antiseche.practice.questionnaire import Draft, Question, answer, current, get, key_of, objection, previous, take_back
from antiseche.practice.schema import Answers, Practice

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
        self.part: Path_ = ()

    def run(self) -> None:
        """Ask everything that is missing or wrong.

        Raises:
            StoppedError: the person asked to stop.
        """
        while (question := current(self.draft)) is not None:
            if not question.title:
                raise AnswersError(
                    _("{path} : {message}. Corrigez le fichier, puis relancez.").format(
                        path=dotted(question.path), message=question.problem
                    )
                )
            self.one(question)

    def one(self, question: Question) -> None:
        """Ask one question until it is answered, or taken back."""
        self._heading(question)
        if question.problem:
            click.echo("  ! " + question.problem)
        while True:
            typed = self._type(question)
            if typed == STOP:
                raise StoppedError
            if typed == WHY:
                self._explain(question)
            elif typed == BACK:
                before = previous(self.draft, question)
                if before is not None:
                    self.proposals[before.path] = before.value
                    take_back(self.draft, before)
                    self.keep(self.draft)
                    return
                click.echo("  ! " + _("C'est la première question."))
            elif self._take(question, typed):
                return

    def _take(self, question: Question, typed: str) -> bool:
        value = self._read(question, typed)
        wrong = _("réponse obligatoire") if value is _NONE else objection(self.draft, question, value)
        if wrong:
            click.echo("  ! " + wrong)
            return False
        answer(self.draft, question, value)
        self.keep(self.draft)
        return True

    def _read(self, question: Question, typed: str) -> Any:
        if not typed:
            proposed = self._proposed(question)
            if proposed is not None:
                return proposed
            if question.adds or question.kind is Kind.OPTIONAL_PART:
                return False
            return ([] if question.kind is Kind.LIST else None) if question.field.may_be_empty else _NONE
        if question.adds:
            return _yes_no(typed)
        choices = question.field.choices
        if choices and typed.isdecimal() and 1 <= int(typed) <= len(choices):
            return choices[int(typed) - 1]
        if choices:
            return next((choice for choice in choices if typed.lower() in (choice.lower(), label(choice).lower())), typed)
        return question.field.read(typed)

    def _proposed(self, question: Question) -> Any:
        if question.adds:
            return None
        for proposed in (self.proposals.get(question.path), None if question.problem else question.value, question.field.default):
            if proposed is not None and not (question.kind is Kind.OPTIONAL_PART and not isinstance(proposed, bool)):
                return proposed
        return None

    def _type(self, question: Question) -> str:
        if question.field.choices and not question.adds:
            click.echo("   ".join(f"  {n}) {label(choice)}" for n, choice in enumerate(question.field.choices, 1)))
        shown = _shown(question, self._proposed(question))
        hint = f" [{shown}]" if shown else ""
        reply = click.prompt(
            question.title + hint,
            default="",
            show_default=False,
            prompt_suffix=" " if question.title.endswith("?") and not hint else " : ",
        )
        return str(reply).strip()

    def _explain(self, question: Question) -> None:
        click.echo("  " + (question.why or _("Cette réponse figure sur les documents ou décide du réglage des machines.")))
        known = _known(question, self.draft.values)
        if known:
            click.echo("  " + _("Connus : {names}").format(names=", ".join(known)))
        if question.kind is Kind.LIST:
            click.echo("  " + _("Plusieurs réponses se séparent par des virgules."))
        if not question.adds and question.field.may_be_empty:
            click.echo("  " + _("« {nothing} » : aucune réponse.").format(nothing=NOTHING))
        click.echo("  " + _("« < » revient en arrière, « ! » arrête ; la même commande reprendra ici."))

    def _heading(self, question: Question) -> None:
        depth = max((index for index, part in enumerate(question.path) if isinstance(part, int)), default=0)
        part: Path_ = question.path[: depth + 1] if not question.adds else self.part
        if part == self.part:
            return
        self.part = part
        title = _part_title(part)
        numbers = [part + 1 for part in part if isinstance(part, int)]
        click.echo("\n" + click.style(title + "".join(f" — {n}" for n in numbers), bold=True))


_NONE = object()


def _part_title(part: Path_) -> str:
    model: type[Answers] = Practice
    title = str(part[0])
    for name in part:
        item = field_at(model, name) if isinstance(name, str) else None
        if item is not None and item.model is not None:
            model, title = item.model, _(item.info.title or item.name)
    return title


def _yes_no(typed: str) -> Any:
    return True if typed.lower() in YES else False if typed.lower() in NO else typed


def _shown(question: Question, proposed: Any) -> str:
    if question.adds or question.kind is Kind.OPTIONAL_PART:
        return _("non") if proposed is not True else _("oui")
    if isinstance(proposed, bool):
        return _("oui") if proposed else _("non")
    if isinstance(proposed, list):
        return ", ".join(str(item) for item in proposed)
    return "" if proposed is None else label(str(proposed))


def _known(question: Question, values: Any) -> list[str]:
    """Return the names already given that this answer may use."""
    key = key_of(question.path)
    source, name = {
        "hosts.users": ("people", "login"),
        "shares.users": ("people", "login"),
        "shares.host": ("hosts", "name"),
        "software.hosts": ("hosts", "name"),
        "software.inbound.hosts": ("hosts", "name"),
        "software.supplier": ("suppliers", "name"),
    }.get(key, ("", ""))
    return [str(item[name]) for item in get(values, (source,)) or [] if isinstance(item, dict) and name in item]


def at_the_end_of_input(error: click.exceptions.Abort) -> Exception:
    """Return what to say when the answers ran out: a person who left, or a pipe too short."""
    if sys.stdin is not None and sys.stdin.isatty():
        return error
    return AnswersError(_("Les réponses reçues s'arrêtent avant la fin du questionnaire."))
