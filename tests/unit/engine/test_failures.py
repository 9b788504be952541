"""Why modules fail is told in the reader's language: each sentence that they can raise is known."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from antiseche import i18n
from antiseche.engine.failures import REASONS, TABLE, failure_text

pytestmark = pytest.mark.usefixtures("in_french")
PLUGINS = Path(__file__).parents[3] / "plugins"
TABLE_LINES = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
# Words that no French sentence holds.
ENGLISH = re.compile(r"\b(is|the|cannot|not|nothing|was|give|failed|its|could|does)\b", re.IGNORECASE)


def sentence(node: ast.expr) -> str | None:
    """Return a text with a token for each expression in it; None when it is not written out here."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else f"«{number}»" for number, part in enumerate(node.values)]
        return "".join(map(str, parts))
    return None


def raised() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each failure that is written out in a module."""
    for path in sorted(PLUGINS.glob("module*/*.py")):
        if path.name.startswith("antiseche_disks"):
            continue  # speaks French itself
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            given: list[ast.expr] = []
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                given = node.exc.args[:1]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fail_json":
                given = [keyword.value for keyword in node.keywords if keyword.arg == "msg"]
            for text in filter(None, map(sentence, given)):
                yield f"{path.name}:{node.lineno}", text


# A tool's or the system's own words are all that such a sentence holds.
WORDS_OF_OTHERS = re.compile(r"(«\d+»|apt-get|dpkg-deb|update-ca-certificates|systemctl( show)?|/|:|;|\s)+")


@pytest.mark.parametrize(("place", "text"), [pytest.param(*one, id=one[0]) for one in raised()])
def test_each_failure_is_told_in_french(place: str, text: str) -> None:
    if WORDS_OF_OTHERS.fullmatch(text):
        return
    told = failure_text(text)
    assert told != text, f"{place}: a sentence is missing in failures.yml"
    assert not ENGLISH.search(told), told
    assert sorted(re.findall(r"«\d+»", told)) == sorted(re.findall(r"«\d+»", text)), "something got lost"


def test_the_modules_are_read() -> None:
    assert len(list(raised())) > 80


@pytest.mark.parametrize("line", TABLE_LINES, ids=lambda line: line["said"][:40])
def test_both_sides_of_a_line_hold_the_same_names(line: dict[str, str]) -> None:
    said, told = (set(re.findall(r"\{(\w+)\}", line[side])) for side in ("said", "told"))
    assert said == told
    assert not ENGLISH.search(re.sub(r"\{\w+\}|Certificates\.Install|copy_of|content", "", line["told"]))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "guard ssh: the undo timer does not start; nothing was changed",
            "changement sous surveillance (ssh) : la minuterie d'annulation ne démarre pas ; rien n'a été changé",
        ),
        (
            "/etc/a: the new content is refused by visudo; nothing was changed: /etc/a:1: syntax error",
            "/etc/a : le nouveau contenu est refusé par visudo ; rien n'a été changé : /etc/a:1: syntax error",
        ),
        ("mexemple: /home/x is not a folder", "mexemple : /home/x n'est pas un dossier"),
        ("pc1: there is no time zone Lune", "pc1 : le fuseau horaire Lune n'existe pas"),
    ],
)
def test_reasons_within_reasons(said: str, told: str) -> None:
    assert failure_text(said) == told


@pytest.mark.parametrize("said", ["", ":", ": ", "a: b: c", "E: Unable to locate package x", "{0} {reason}", "x; y", "«\n»: \n"])
def test_the_words_of_tools_are_left_as_they_are(said: str) -> None:
    assert failure_text(said) == said


def test_an_english_reader_gets_the_sentence_itself() -> None:
    i18n.select("en")
    assert failure_text("there is no time zone Lune") == "there is no time zone Lune"


def test_reasons_are_used() -> None:
    assert all(any(f"{{{name}}}" in line["said"] for line in TABLE_LINES) for name in REASONS)
