"""Answers that nobody has given yet: allowed, and shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from antiseche.i18n import _
from antiseche.practice.document import Path_
from antiseche.practice.fields import fields_of
from antiseche.practice.load import dotted
from antiseche.practice.schema import Answers, Practice, Supplier, SupplierRole

# Nothing is an answer there: a choice, or something that most have not.
_NOT_A_GAP = frozenset(("note", "until", "reboot_time", "compensating", "expires", "keep", "offsite", "user"))


class Gap(NamedTuple):
    """An answer still unknown."""

    path: str
    title: str


def gaps(practice: Practice) -> list[Gap]:
    """Return what is still unknown."""
    readers = any(host.card_reader for host in practice.hosts)
    return [gap for gap in _gaps(practice, ()) if readers or not gap.path.startswith("cps.")]


def _gaps(part: Answers, path: Path_) -> Iterator[Gap]:
    for item in fields_of(type(part)):
        value = getattr(part, item.name)
        here: Path_ = (*path, item.name)
        if value is None and item.name not in _NOT_A_GAP and _expected(part, item.name):
            yield Gap(dotted(here), _(item.info.title) if item.info.title else item.name)
        elif isinstance(value, Answers):
            yield from _gaps(value, here)
        elif isinstance(value, list):
            for index, inside in enumerate(value):
                if isinstance(inside, Answers):
                    yield from _gaps(inside, (*here, index))


def _expected(part: Answers, name: str) -> bool:
    """Only who hosts health data needs the certificate."""
    return not (isinstance(part, Supplier) and name == "hds" and part.role not in (SupplierRole.HOSTING, SupplierRole.BACKUP))
