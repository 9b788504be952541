# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Sentences for people: French on the machine, and all that the controller needs to tell them in the reader's language."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def N_(text: str) -> str:  # noqa: N802 (gettext's own name for what is to be translated later)
    """Mark a text for the catalogue of the controller."""
    return text


class Sentence(str):
    """A French sentence that remembers how it was made."""

    __slots__ = ("data",)
    data: dict[str, Any]


def say(template: str, **values: object) -> Sentence:
    """Return a sentence; values that are sentences themselves stay translatable."""
    made = Sentence(template.format(**values))
    made.data = {"text": template, "values": {name: data_of(value) for name, value in values.items()}}
    return made


def together(sentences: Iterable[str]) -> Sentence:
    """Return several sentences as one."""
    found = list(sentences)
    made = Sentence(" ; ".join(found))
    made.data = {"parts": [data_of(one) for one in found]}
    return made


def data_of(value: object) -> Any:
    """Return a sentence as the controller reads it; anything else as plain text, an error as what it was raised with."""
    inner = value.args[0] if isinstance(value, Exception) and value.args else value
    return inner.data if isinstance(inner, Sentence) else str(value)
