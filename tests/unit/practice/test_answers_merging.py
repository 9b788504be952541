"""Changes carried into a text that somebody else laid out: whatever the layout, nothing but the answer changes."""

from __future__ import annotations

import re
from pathlib import Path

from answers_samples import GOOD
from hypothesis import given, settings
from hypothesis import strategies as st

from antiseche.practice import answers_file
from antiseche.practice.document import parse
from antiseche.practice.merging import merged

NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=40).filter(
    lambda text: text.strip()
)


def strange(text: str, choices: list[int]) -> str:
    """Lay a file out in ways that no program would: spaces after colons and commas, empty lines, comments anywhere."""
    lines = []
    for line, choice in zip(text.split("\n"), choices * (text.count("\n") + 1), strict=False):
        if choice == 1:
            line = re.sub(r"^( *(?:- )?[a-z_]+):(?= \S)", r"\1:   ", line)
        elif choice == 2:
            line = line.replace(", ", " , ").replace("[", "[ ") if "[" in line and '"' not in line else line
        elif choice == 3:
            lines.append("")
        elif choice == 4:
            lines.append("      # quelqu'un a écrit ceci")
        elif choice == 5 and line.strip():
            line = line + "   "
        lines.append(line)
    return "\n".join(lines)


@settings(max_examples=60, deadline=None)
@given(choices=st.lists(st.integers(0, 5), min_size=1, max_size=40), name=NAMES)
def test_any_layout_survives_a_change(tmp_path_factory: object, choices: list[int], name: str) -> None:
    text = strange(GOOD, choices)
    path = Path(str(tmp_path_factory.getbasetemp())) / "strange.yml"  # type: ignore[attr-defined]
    path.write_text(text, encoding="utf-8", newline="")
    read, values = answers_file.read(path)
    assert read == text
    answers_file.change(values, ("people", 1, "name"), name)
    after = answers_file.rewritten(text, values)
    assert parse(after.encode()).values["people"][1]["name"] == name
    old, new = text.split("\n"), after.split("\n")
    assert len(old) == len(new)
    assert [line for line, other in zip(old, new, strict=True) if line != other] in ([next(x for x in old if "Dr Noé" in x)], [])


def test_nothing_changed_is_nothing_written() -> None:
    assert merged(GOOD, GOOD, GOOD) == GOOD


def test_what_cannot_be_told_apart_is_left_to_the_writer() -> None:
    assert merged("a: {b: 1,\n    c: 2}\n", "a: {b: 1, c: 2}\n", "a: {b: 1, c: 3}\n") is None


def test_new_lines_stand_above_the_heading_that_follows() -> None:
    original = "x:\n  - a\n\n# autre partie\ny: 1\n"
    after = "x:\n  - a\n\n# autre partie\n  - b\ny: 1\n"
    assert merged(original, original, after) == "x:\n  - a\n  - b\n\n# autre partie\ny: 1\n"
