"""What users read for the failures of modules.

Modules say why they fail in English, always in the same words, which events, records and ``--json`` keep. ``failures.yml``
beside this file gives the French sentences; what it does not know, such as the words of a system tool, is told as it is.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import yaml

from antiseche.i18n import language

TABLE = Path(__file__).with_name("failures.yml")
REASONS = ("reason",)
"""Placeholders whose text is itself a failure."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def failure_text(message: str) -> str:
    """Return why a module failed in the reader's language; a message that is not known is returned unchanged."""
    if language() != "fr":
        return message
    for pattern, told in _sentences():
        found = pattern.fullmatch(message)
        if found is not None:
            return told.format(
                **{name: failure_text(text) if name in REASONS else text for name, text in found.groupdict().items()}
            )
    # A subject before a failure that is known: a path, a login, a tool.
    subject, colon, rest = message.partition(": ")
    if colon and (known := failure_text(rest)) != rest:
        return f"{subject} : {known}"
    return message


@lru_cache(maxsize=1)
def _sentences() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return the table, each line with the pattern of what modules say."""
    return tuple((_pattern(line["said"]), line["told"]) for line in yaml.safe_load(TABLE.read_text(encoding="utf-8")))


def _pattern(said: str) -> re.Pattern[str]:
    """Return the pattern of a sentence with names in braces, each standing for the shortest text that fits."""
    parts = _PLACEHOLDER.split(said)  # texts and names in turn
    return re.compile(
        "".join(f"(?P<{part}>.+?)" if number % 2 else re.escape(part) for number, part in enumerate(parts)), re.DOTALL
    )
