"""What a question shows: its heading, why it is asked, choices, hints. Plain lines, no redraw."""

from __future__ import annotations

from typing import Any, NamedTuple

import click

from antiseche.i18n import N_, _
from antiseche.practice.document import Path_
from antiseche.practice.fields import NOTHING, Kind, field_at
from antiseche.practice.labels import label
from antiseche.practice.proposals import items
from antiseche.practice.questionnaire import Question, key_of, step_of
from antiseche.practice.schema import Answers, Practice

_ONE_LINE = 100
# One item of a group: « Personne n° 2 ».
_ITEMS: dict[str, str] = {
    "people": N_("Personne"),
    "hosts": N_("Machine"),
    "hosts.data_disks": N_("Disque de données"),
    "network.printers": N_("Imprimante ou numériseur"),
    "suppliers": N_("Fournisseur"),
    "suppliers.hds": N_("Certificat HDS"),
    "cps.middleware": N_("Cryptolib CPS"),
    "software": N_("Logiciel métier"),
    "software.inbound": N_("Flux entrant"),
    "shares": N_("Partage"),
    "backup.hosts": N_("Machine sauvegardée"),
    "backup.hosts.dumps": N_("Extraction de base"),
    "choices.inbound_flows": N_("Flux entrant"),
    "choices.outbound_flows": N_("Flux sortant"),
    "attestations": N_("Déclaration"),
    "waivers": N_("Dérogation"),
}
NAMED: dict[str, tuple[tuple[str, ...], str, str]] = {
    "hosts.users": (("people",), "login", "name"),
    "shares.users": (("people",), "login", "name"),
    "shares.host": (("hosts",), "name", "kind"),
    "backup.server": (("hosts",), "name", "kind"),
    "backup.hosts.host": (("hosts",), "name", "kind"),
    "backup.offsite.supplier": (("suppliers",), "name", "role"),
    "software.hosts": (("hosts",), "name", "kind"),
    "software.inbound.hosts": (("hosts",), "name", "kind"),
    "choices.inbound_flows.hosts": (("hosts",), "name", "kind"),
    "choices.outbound_flows.hosts": (("hosts",), "name", "kind"),
    "waivers.hosts": (("hosts",), "name", "kind"),
    "software.supplier": (("suppliers",), "name", "role"),
}
"""Answers that name something said before: the group, the key that names an item, and what helps to recognise it."""


class Choice(NamedTuple):
    """Something that can be chosen by its number."""

    value: str
    shown: str


def choices(question: Question, values: Any) -> list[Choice]:
    """Return what can be chosen: the words of the model, or names given before."""
    if question.adds:
        return []
    key = key_of(question.path)
    if key not in NAMED:
        return [Choice(choice, label(choice)) for choice in question.field.choices]
    group, name, detail = NAMED[key]
    known = [item for item in items(values, *group) if name in item and not item.get("left")]
    if key in ("shares.host", "backup.server"):
        known = [item for item in known if item.get("kind") == "server"]
    return [
        Choice(str(item[name]), f"{item[name]} ({label(str(item[detail]))})" if detail in item else str(item[name]))
        for item in known
    ]


def show_choices(found: list[Choice]) -> None:
    """Print the choices with their numbers, on one line where they fit."""
    lines = [f"  {number}) {choice.shown}" for number, choice in enumerate(found, 1)]
    for line in ["   ".join(lines)] if sum(map(len, lines)) <= _ONE_LINE and lines else lines:
        click.echo(line)


def prompt(question: Question, proposed: Any) -> str:
    """Return the line that waits for the answer."""
    shown = _shown(question, proposed)
    hint = f" [{shown}]" if shown else ""
    if _is_optional(question):
        hint += _(" (« {nothing} » : aucune)").format(nothing=NOTHING) if proposed else "" if shown else _(" (facultatif)")
    return question.title + hint


def _is_optional(question: Question) -> bool:
    """A list of names says itself what an empty answer means, and a workstation needs a user."""
    if question.adds or question.kind is Kind.OPTIONAL_PART or not question.field.may_be_empty:
        return False
    return key_of(question.path) not in NAMED or question.field.nullable


def suffix(text: str) -> str:
    """Return what ends a prompt: a question has its own mark."""
    return " " if text.endswith("?") else " : "


def heading(part: Path_) -> str:
    """Return the title of a part, with its number in a group."""
    model: type[Answers] = Practice
    title = str(part[0])
    for depth, name in enumerate(part):
        item = field_at(model, name) if isinstance(name, str) else None
        if item is not None and item.model is not None:
            key = key_of(part[: depth + 1])
            model, title = item.model, _(_ITEMS[key]) if key in _ITEMS and part[depth + 1 :] else _(item.info.title or item.name)
    numbers = [number + 1 for number in part if isinstance(number, int)]
    return title + _(" n° {number}").format(number=".".join(map(str, numbers))) if numbers else title


def step(part: Path_) -> str:
    """Return how far the questionnaire has come."""
    found = step_of(part)
    return (
        _("Étape {n} sur {total} — {title}").format(n=found[0], total=found[1], title=heading(part[:1]))
        if found
        else heading(part)
    )


def about(part: Path_) -> str:
    """Return what a step is about."""
    item = field_at(Practice, str(part[0]))
    return _(item.info.description) if item is not None and item.info.description else ""


def explain(question: Question, found: list[Choice]) -> list[str]:
    """Return the lines of « ? »."""
    lines = [question.why] if question.why else []
    if question.kind is Kind.LIST:
        lines.append(_("Plusieurs réponses se séparent par des virgules."))
    if question.kind is Kind.DATE:
        lines.append(_("Jour, mois, année : 30/06/2027."))
    if found:
        lines.append(_("Répondez par un numéro ou par un nom."))
    if question.adds or question.kind in (Kind.YES_NO, Kind.OPTIONAL_PART):
        lines.append(_("Répondez par oui ou par non ; o et n suffisent."))
    elif question.field.may_be_empty:
        lines.append(_("« {nothing} » : aucune réponse.").format(nothing=NOTHING))
    lines.append(_("Entrée garde ce qui est entre crochets, « < » revient en arrière, « ! » arrête."))
    return lines


def _shown(question: Question, proposed: Any) -> str:
    if question.adds or question.kind is Kind.OPTIONAL_PART:
        return _("non") if proposed is not True else _("oui")
    if isinstance(proposed, bool):
        return _("oui") if proposed else _("non")
    if isinstance(proposed, list):
        return ", ".join(_short(str(item)) for item in proposed)
    return "" if proposed is None else label(str(proposed))


def _short(text: str) -> str:
    """A key is long: its two ends tell which one it is."""
    return text if len(text) <= 60 else f"{text[:24]}…{text[-28:]}"
