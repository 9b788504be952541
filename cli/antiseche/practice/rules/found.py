"""What a rule finds, and what several rules look for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from antiseche.i18n import _
from antiseche.practice.document import Path_
from antiseche.practice.messages import suggestion


class Found(NamedTuple):
    """A problem at a path."""

    path: Path_
    message: str
    of_key: bool = False
    """Whether the key itself is wrong, not its value."""
    refers: str = ""
    """Part of the answers in which something was looked up in vain."""


def unknown(words: Iterable[str], known: Collection[str], at: Path_, reason: str, refers: str) -> Iterator[Found]:
    """Yield the words of a list that a part of the answers does not know, or that are there twice."""
    seen: set[str] = set()
    for index, word in enumerate(words):
        if word not in known:
            yield Found((*at, index), reason + suggestion(word, list(known)), refers=refers)
        elif word in seen:
            yield Found((*at, index), _("cité deux fois"))
        seen.add(word)


def repeated(names: Iterable[str], at: Path_, key: str, reason: str) -> Iterator[Found]:
    """Yield the items of a group whose name an item before them has; capitals and spaces do not count."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        simple = " ".join(name.casefold().split())
        if simple in seen:
            yield Found((*at, index, key), reason)
        seen.add(simple)
