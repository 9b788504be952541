"""Carries changes into a text that somebody else laid out, leaving every other line as it stands."""

from __future__ import annotations

import re
from difflib import SequenceMatcher


def merged(original: str, before: str, after: str) -> str | None:
    """Apply the difference between two renderings to the original that the first one comes from.

    Args:
        original: the text as a person wrote it.
        before: the same content, as our writer lays it out.
        after: the changed content, as our writer lays it out.

    Returns:
        The original with the changed lines only, or None when they cannot be told apart.
    """
    end = "\r\n" if "\r\n" in original else "\n"
    lines = original.split("\n")
    places = _places(before.split("\n"), lines)
    changes = SequenceMatcher(None, before.split("\n"), after.split("\n"), autojunk=False).get_opcodes()
    new = after.split("\n")
    for tag, start, stop, new_start, new_stop in reversed(changes):
        if tag == "equal":
            continue
        found = _span(places, start, stop)
        if found is None:
            return None
        inserted = new[new_start:new_stop]
        first, last = found
        if start == stop:
            first = last = _above(lines, first, inserted)
        while last > first and _is_spare(lines[last - 1]):
            last -= 1  # what stands below a passage that goes belongs to what follows
        lines[first:last] = [line + end[:-1] for line in inserted]
    return "\n".join(lines)


def _places(before: list[str], lines: list[str]) -> dict[int, int]:
    """Return where each line of the rendering stands in the original; spaces do not count."""
    matcher = SequenceMatcher(None, [_bare(line) for line in before], [_bare(line) for line in lines], autojunk=False)
    return {a + offset: b + offset for a, b, size in matcher.get_matching_blocks() for offset in range(size)}


def _bare(line: str) -> str:
    return re.sub(r"\s", "", line)


def _span(places: dict[int, int], start: int, stop: int) -> tuple[int, int] | None:
    """Return the lines of the original that a stretch of the rendering stands for."""
    if start == stop:
        above = places.get(start - 1, -1 if start == 0 else None)
        return None if above is None else (above + 1, above + 1)
    found = [places.get(index) for index in range(start, stop)]
    first = found[0]
    if first is None or found != list(range(first, first + stop - start)):
        return None
    return first, first + stop - start


def _above(lines: list[str], position: int, inserted: list[str]) -> int:
    """Return where new lines go: before the blank lines and headings that belong to what follows."""
    indent = _indent(inserted[0])
    while (
        position > 0
        and _is_spare(lines[position - 1])
        and not (lines[position - 1].strip() and _indent(lines[position - 1]) >= indent)
    ):
        position -= 1
    return position


def _is_spare(line: str) -> bool:
    """Say whether a line holds nothing, or a comment alone."""
    return not line.strip() or line.lstrip().startswith("#")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
