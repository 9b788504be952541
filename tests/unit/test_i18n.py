"""Catalogues: complete, not fuzzy, placeholders equal on both sides."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from antiseche import i18n

PACKAGE = Path(i18n.__file__).parent
Id = str | tuple[str, ...]
METHODS = [("**.py", "python"), ("**.j2", "jinja2.ext:babel_extract")]


def extracted(source: Path, keywords: dict[str, tuple[int, ...] | None]) -> set[Id]:
    return {message for _file, _line, message, _comments, _context in extract_from_dir(source, METHODS, keywords=keywords)}


def catalogue(language: str, domain: str) -> Catalog:
    with (i18n.LOCALE_DIR / language / "LC_MESSAGES" / f"{domain}.po").open("rb") as handle:
        return read_po(handle, locale=language)


KEYWORDS: dict[str, tuple[int, ...] | None] = {"_": None, "N_": None, "n_": (1, 2)}
OURS = extracted(PACKAGE, KEYWORDS) | extracted(PACKAGE.parents[1] / "plugins", KEYWORDS)
CLICKS = extracted(Path(click.__file__).parent, {"_": None, "gettext": None, "ngettext": (1, 2)})
CASES = [("en", "antiseche", OURS), ("fr", "messages", CLICKS)]


def forms(value: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def placeholders(text: str) -> set[str]:
    return {name for _literal, name, _spec, _conversion in string.Formatter().parse(text) if name is not None}


def entries(language: str, domain: str) -> Iterator[Message]:
    return (entry for entry in catalogue(language, domain) if entry.id)


def test_extraction_finds_the_sources() -> None:
    assert "Démonstration complète sur le cabinet d'exemple." in OURS
    assert "Ce qui ne va pas, et que faire" in OURS, "templates are extracted too"
    assert any("coupait l'accès de maintenance" in str(message) for message in OURS), "what our plugins say, too"
    assert "No such command {name!r}." in CLICKS


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_string_to_translate_stands_in_an_f_string(path: Path) -> None:
    """Extraction sees it there on Python 3.12 and later only: the catalogues would depend on who made them."""
    inside = [
        call.lineno
        for text in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(text, ast.JoinedStr)
        for call in ast.walk(text)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in KEYWORDS
        if any(isinstance(argument, ast.Constant) and isinstance(argument.value, str) for argument in call.args)
    ]
    assert inside == []


@pytest.mark.parametrize(("language", "domain", "source"), CASES)
def test_every_string_is_translated(language: str, domain: str, source: set[Id]) -> None:
    translated = {forms(e.id) for e in entries(language, domain) if all(forms(e.string)) and not e.fuzzy}
    missing = [message for message in source if forms(message) not in translated]
    assert missing == [], "run « make messages », then translate"


@pytest.mark.parametrize(("language", "domain", "source"), CASES)
def test_placeholders_are_equal_on_both_sides(language: str, domain: str, source: set[Id]) -> None:
    del source
    wrong = []
    for entry in entries(language, domain):
        allowed = set().union(*(placeholders(form) for form in forms(entry.id)))
        needed = set.intersection(*(placeholders(form) for form in forms(entry.id)))
        wrong += [form for form in forms(entry.string) if not needed <= placeholders(form) <= allowed]
    assert wrong == []


@pytest.mark.parametrize(("language", "domain", "source"), CASES)
def test_no_entry_without_a_source(language: str, domain: str, source: set[Id]) -> None:
    known = {forms(message) for message in source}
    assert [e.id for e in entries(language, domain) if forms(e.id) not in known] == [], "run « make messages »"


def test_our_source_strings_use_named_placeholders() -> None:
    unnamed = [m for m in OURS for form in forms(m) if "" in placeholders(form) or any(p.isdigit() for p in placeholders(form))]
    assert unnamed == []


def test_french_counts_zero_and_one_as_singular() -> None:
    i18n.select("fr")
    assert [i18n.n_("{n} poste", "{n} postes", n) for n in (0, 1, 2)] == ["{n} poste", "{n} poste", "{n} postes"]


def test_compiled_catalogues_are_what_the_sources_say() -> None:
    """Click's French and our English come from the compiled files; stale ones would hide a translation."""
    for language, domain, _source in CASES:
        po = i18n.LOCALE_DIR / language / "LC_MESSAGES" / f"{domain}.po"
        assert po.with_suffix(".mo").is_file(), "run « make » once: installing compiles the catalogues"
