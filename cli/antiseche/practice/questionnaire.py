"""The questionnaire as a pure function: from the answers given so far to the next question.

Nothing is remembered beside the answers: kill it anywhere and the same function gives the same question.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from antiseche.i18n import N_, _
from antiseche.practice import messages, provisional, rules
from antiseche.practice.document import Path_
from antiseche.practice.fields import Field, Kind, field_at, fields_of
from antiseche.practice.schema import Answers, Practice

# The network and the suppliers come before the parts that name them, so that a wrong answer is told at once.
_SECTIONS = (
    "practice", "network", "people", "hosts", "suppliers", "software", "shares", "backup", "cps", "mssante",
    "maintenance", "choices",
)  # fmt: skip
# Rarely needed, or known only later: asked by « edit » alone, where they have a question at all.
_LATER = frozenset((
    "people.left", "people.note", "hosts.data_disks", "hosts.system_tpm_unlock", "hosts.encrypted_swap", "hosts.note",
    "maintenance.remote_help",
    "backup.path", "backup.maintenance_hour", "backup.limit_kib", "backup.hosts.exclude", "backup.hosts.dumps",
    "backup.hosts.snapshots", "backup.offsite.limit_kib", "choices.outbound_flows", "choices.inbound_flows",
    "choices.third_party_origins", "choices.held_packages", "choices.confirm_seconds",
))  # fmt: skip
_ANOTHER: dict[str, tuple[str, str]] = {
    "people": (N_("Y a-t-il quelqu'un ?"), N_("Une autre personne ?")),
    "hosts": (N_("Y a-t-il une machine ?"), N_("Une autre machine ?")),
    "hosts.data_disks": (N_("Y a-t-il un disque de données à chiffrer ?"), N_("Un autre disque à chiffrer ?")),
    "network.printers": (N_("Y a-t-il une imprimante ou un numériseur sur le réseau ?"), N_("Une autre imprimante ?")),
    "suppliers": (N_("Y a-t-il des fournisseurs à citer ?"), N_("Un autre fournisseur ?")),
    "software": (N_("Y a-t-il un logiciel métier ?"), N_("Un autre logiciel métier ?")),
    "software.inbound": (N_("Ce logiciel reçoit-il des connexions du réseau ?"), N_("Un autre flux entrant ?")),
    "shares": (N_("Le serveur partage-t-il des dossiers ?"), N_("Un autre partage ?")),
    "backup.hosts": (N_("Y a-t-il une machine à sauvegarder ?"), N_("Une autre machine à sauvegarder ?")),
    "backup.hosts.dumps": (N_("Y a-t-il une base à extraire avant ?"), N_("Une autre base ?")),
    "choices.inbound_flows": (N_("Y a-t-il un flux entrant à ouvrir ?"), N_("Un autre flux entrant ?")),
    "choices.outbound_flows": (N_("Y a-t-il un flux sortant à ouvrir ?"), N_("Un autre flux sortant ?")),
    "attestations": (N_("Y a-t-il une déclaration à noter ?"), N_("Une autre déclaration ?")),
    "waivers": (N_("Y a-t-il une dérogation à noter ?"), N_("Une autre dérogation ?")),
}
# An optional part is asked for by its question, and called by its title once it is there.
_IS_THERE: dict[str, str] = {
    "suppliers.hds": N_("Avez-vous son certificat HDS sous les yeux ?"),
    "cps.middleware": N_("Avez-vous le paquet de la Cryptolib CPS ?"),
    "backup": N_("Une machine du cabinet reçoit-elle les sauvegardes ?"),
    "backup.keep": N_("Les anciennes sauvegardes doivent-elles finir par être retirées du serveur ?"),
    "backup.offsite": N_("Un hébergeur garde-t-il une copie distante ?"),
}


_SHORT_LIST = 60


@dataclass(frozen=True)
class Question:
    """Something to ask, and whether the answers hold it already."""

    path: Path_
    field: Field
    title: str
    why: str = ""
    adds: bool = False
    """Whether it asks for one more item of a group."""
    answered: bool = False
    written: bool = False
    """Whether the answers hold it, rightly or not."""
    value: Any = None
    problem: str = ""

    @property
    def kind(self) -> Kind:
        """How to ask."""
        return Kind.YES_NO if self.adds else self.field.kind


@dataclass
class Draft:
    """Answers given so far, and the groups that were declared complete."""

    values: Any = field(default_factory=CommentedMap)
    closed: set[str] = field(default_factory=set)
    only_required: bool = False
    """Whether a missing optional answer means its default, as in a file that a person wrote."""


def step_of(path: Path_) -> tuple[int, int] | None:
    """Return which step of the questionnaire an answer belongs to, and how many there are."""
    return (_SECTIONS.index(str(path[0])) + 1, len(_SECTIONS)) if path[0] in _SECTIONS else None


def is_later(part: Path_) -> bool:
    """Say whether a part is left to « edit »: the questionnaire does not ask for it."""
    return str(part[0]) not in _SECTIONS or key_of(part) in _LATER


def key_of(path: Path_) -> str:
    """Return a path without its numbers: ``people.login``."""
    return ".".join(part for part in path if isinstance(part, str))


def closing_key(path: Path_) -> str:
    """Return the name under which a group is noted complete: ``software.0.inbound``."""
    return ".".join(str(part) for part in path)


def of_file(values: Any) -> Draft:
    """Return the draft of answers that a person wrote: groups are complete, only what is missing or wrong is asked."""
    draft = Draft(values, only_required=True)
    draft.closed = {closing_key(question.path[:-1]) for question in walk(draft, everything=True) if question.adds}
    return draft


def walk(draft: Draft, *, everything: bool = False) -> Iterator[Question]:
    """Yield every question in order, up to those that depend on answers not given yet."""
    fields = {item.name: item for item in fields_of(Practice)}
    names = [name for name in fields if name != "version"] if everything else _SECTIONS
    for name in names:
        yield from _walk_field(draft, fields[name], (), draft.values, everything)


def current(draft: Draft) -> Question | None:
    """Return the next question, or None when the answers are complete and agree with each other."""
    questions = []
    for question in walk(draft):
        if not question.answered:
            return question
        questions.append(question)
    for path, message in problems(draft.values):
        asked = [question for question in walk(draft, everything=True) if path[: len(question.path)] == question.path]
        if not asked:
            return Question(path, fields_of(Practice)[0], "", problem=message)
        return replace(asked[-1], answered=False, problem=message)
    return None


def previous(draft: Draft, now: Question, *, everything: bool = False) -> Question | None:
    """Return the question before this one, when there is one that can be taken back."""
    before = None
    for question in walk(draft, everything=everything):
        if question.path == now.path and question.adds == now.adds:
            break
        if question.adds and question.value and get(draft.values, question.path):
            continue  # taking it back would take the whole item away
        if question.written:
            before = question
    return before


def problems(values: Any) -> list[tuple[Path_, str]]:
    """Return everything wrong with complete answers."""
    try:
        practice = Practice.model_validate(values)
    except ValidationError as error:
        return [
            (tuple(part for part in item["loc"] if isinstance(part, int | str)), messages.message(dict(item)))
            for item in error.errors()
        ]
    return [(found.path, found.message) for found in rules.check(practice)]


def objection(draft: Draft, question: Question, value: Any) -> str:
    """Return why an answer cannot be taken, given the others; empty when it can."""
    if question.adds or question.kind is Kind.OPTIONAL_PART:
        return "" if isinstance(value, bool) else _("oui ou non attendu")
    wrong = question.field.check(value, question.path)[1]
    if wrong:
        return wrong
    tried = Draft(copy.deepcopy(draft.values), set(draft.closed))
    put(tried.values, question.path, value)
    for found in rules.check(provisional.complete(tried.values)):
        if found.path[: len(question.path)] == question.path and _sound(tried.values, found.refers):
            return found.message
    return ""


def _sound(values: Any, part: str) -> bool:
    """Say whether a part has all its obligatory answers: nothing can be missing from one that is not finished."""
    item = field_at(Practice, part)
    return item is None or not item.check(get(values, (part,)), (part,))[1]


def answer(draft: Draft, question: Question, value: Any) -> None:
    """Take an answer that has no objection."""
    if question.adds:
        group = question.path[:-1]
        if get(draft.values, group) is None:
            put(draft.values, group, CommentedSeq())
        if value:
            get(draft.values, group).append(CommentedMap())
        else:
            draft.closed.add(closing_key(group))
    elif question.kind is Kind.OPTIONAL_PART:
        given = get(draft.values, question.path)
        put(draft.values, question.path, None if not value else given if isinstance(given, dict) else CommentedMap())
    else:
        put(draft.values, question.path, _laid_out(question.field.check(value, question.path)[0]))


def _laid_out(value: Any) -> Any:
    """A short list stands on one line."""
    if not isinstance(value, list):
        return value
    items = CommentedSeq(value)
    if len(", ".join(map(str, value))) <= _SHORT_LIST:
        items.fa.set_flow_style()
    return items


def take_back(draft: Draft, question: Question) -> None:
    """Undo an answer; its question is the next one again."""
    if question.adds and not question.value:
        draft.closed.discard(closing_key(question.path[:-1]))
    elif get(draft.values, question.path[:-1]) is not None:
        del get(draft.values, question.path[:-1])[question.path[-1]]


def get(values: Any, path: Path_) -> Any:
    """Return what stands at a path, or None."""
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def put(values: Any, path: Path_, value: Any) -> None:
    """Put a value at a path, making the parts that lead to it."""
    for part, following in itertools.pairwise(path):
        inside = get(values, (part,))
        if not isinstance(inside, list if isinstance(following, int) else dict):
            inside = CommentedSeq() if isinstance(following, int) else CommentedMap()
            _put_one(values, part, inside)
        values = inside
    _put_one(values, path[-1], value)


def _put_one(values: Any, part: str | int, value: Any) -> None:
    if isinstance(part, int) and part >= len(values):
        values.append(value)
    else:
        values[part] = value


def _walk_model(draft: Draft, model: type[Answers], path: Path_, values: Any, everything: bool) -> Iterator[Question]:
    for item in fields_of(model):
        if everything or _asked((*path, item.name), values, draft.values):
            yield from _walk_field(draft, item, path, values, everything)


def _walk_field(draft: Draft, item: Field, path: Path_, values: Any, everything: bool) -> Iterator[Question]:
    here: Path_ = (*path, item.name)
    if not everything and not _asked(here, values, draft.values):
        return
    values = values if isinstance(values, dict) else {}
    given = values.get(item.name)
    if item.kind is Kind.PART and item.model is not None:
        yield from _walk_model(draft, item.model, here, given, everything)
    elif item.kind is Kind.GROUP and item.model is not None:
        yield from _walk_group(draft, item, here, given if isinstance(given, list) else [], everything)
    elif item.kind is not Kind.TABLE:
        yield _question(draft, item, here, values)
        if item.kind is Kind.OPTIONAL_PART and item.model is not None and isinstance(given, dict):
            yield from _walk_model(draft, item.model, here, given, everything)


def _walk_group(draft: Draft, item: Field, here: Path_, items: list[Any], everything: bool) -> Iterator[Question]:
    model = item.model
    if model is None:
        return
    if not items and item.minimum:
        yield from _walk_model(draft, model, (*here, 0), {}, everything)
        return
    for index, inside in enumerate(items):
        if index >= item.minimum:
            yield _another(item, (*here, index), answered=True, value=True)
        yield from _walk_model(draft, model, (*here, index), inside, everything)
    closed = closing_key(here) in draft.closed
    yield _another(item, (*here, len(items)), answered=closed or (draft.only_required and not items), value=False)


def _another(item: Field, path: Path_, *, answered: bool, value: bool) -> Question:
    first, others = _ANOTHER[key_of(path)]
    return Question(
        path,
        item,
        _(others) if path[-1] else _(first),
        _(item.info.description) if item.info.description and not path[-1] else "",
        adds=True,
        answered=answered,
        written=answered,
        value=value if answered else None,
    )


def _question(draft: Draft, item: Field, here: Path_, values: dict[str, Any]) -> Question:
    written = item.name in values
    given = values.get(item.name)
    wrong = ""
    if written and not (item.kind is Kind.OPTIONAL_PART and (given is None or isinstance(given, dict))):
        wrong = item.check(given, here)[1]
    answered = not wrong if written else draft.only_required and not item.required
    title = _(item.info.title) if item.info.title else item.name
    why = _(item.info.description) if item.info.description else ""
    if item.kind is Kind.OPTIONAL_PART:
        title = _(_IS_THERE[key_of(here)])
    return Question(here, item, title, why, answered=answered, written=written, value=given, problem=wrong)


def _asked(here: Path_, inside: Any, values: Any) -> bool:
    """Say whether the answers around make this question useful."""
    key = key_of(here)
    inside = inside if isinstance(inside, dict) else {}
    if key in _LATER:
        return False
    if key == "people.until":
        return inside.get("function") in ("locum", "other")
    if key in ("hosts.laptop", "hosts.card_reader"):
        return bool(inside.get("kind") != "server")
    if key == "software.supplier":
        return bool(get(values, ("suppliers",)))
    if key == "suppliers.hds":
        return inside.get("role") in ("hosting", "backup")
    if key in ("shares", "backup"):
        return any(get(host, ("kind",)) == "server" for host in _hosts(values))
    if key == "cps":
        return any(get(host, ("card_reader",)) is True for host in _hosts(values))
    if key == "backup.offsite.host_key":
        return bool(inside.get("kind") == "sftp")
    return True


def _hosts(values: Any) -> list[Any]:
    hosts = get(values, ("hosts",))
    return hosts if isinstance(hosts, list) else []
