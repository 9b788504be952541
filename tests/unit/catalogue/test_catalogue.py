from __future__ import annotations

import re
from pathlib import Path

import pytest

from antiseche import kit
from antiseche.catalogue import Control, catalogue_digest, load_catalogue, load_sources
from antiseche.catalogue.load import CatalogueError
from antiseche.catalogue.model import Bilingual

CONTROLS = """\
role: sample
order: 50
title: {fr: "Exemple", en: "Sample"}
controls:
  - id: EXE-01
    title: {fr: "Un titre", en: "A title"}
    statement: {fr: "Une phrase.", en: "A sentence."}
    broken: {fr: "Cassé.", en: "Broken."}
    remedy: {fr: "Réparer.", en: "Mend."}
    repair: kit
    severity: high
    references: [{source: HYG, id: "1"}]
"""


def roles(tmp_path: Path, text: str, name: str = "sample") -> Path:
    (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / name / "controls.yml").write_text(text, encoding="utf-8")
    return tmp_path


def test_every_control_has_exactly_one_check_and_every_check_a_control() -> None:
    for role in load_catalogue().roles:
        text = "".join(path.read_text() for path in (kit.roles_dir() / role.role / "verify").glob("test_*.py"))
        marked = re.findall(r'pytest\.mark\.control\("([A-Z]{3}-[0-9]{2})"\)', text)

        assert sorted(marked) == sorted(control.id for control in role.controls), role.role


def test_references_are_to_known_sources_only() -> None:
    known = load_sources()

    assert {reference.source for control in load_catalogue() for reference in control.references} <= set(known)
    assert all(source.confidence in ("A", "B") for source in known.values())


def test_every_role_has_its_parts() -> None:
    parts = ("README.md", "meta/argument_specs.yml", "meta/main.yml", "defaults/main.yml", "tasks/main.yml", "verify")
    missing = [f"{role.name}/{part}" for role in kit.roles_dir().iterdir() for part in parts if not (role / part).exists()]

    assert missing == []


def test_roles_have_distinct_places_and_the_firewall_is_last() -> None:
    orders = [role.order for role in load_catalogue().roles]

    assert len(set(orders)) == len(orders)
    assert load_catalogue().roles[-1].role == "firewall"


def test_only_keeps_the_roles_asked_for() -> None:
    assert [role.role for role in load_catalogue().only(("firewall",)).roles] == ["firewall"]
    assert load_catalogue().only(()) == load_catalogue()


def test_digest_follows_the_rule_and_not_the_comments(tmp_path: Path) -> None:
    texts = {"a": CONTROLS, "b": "# a comment\n" + CONTROLS, "c": CONTROLS.replace("high", "low")}
    digests = {}
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        digests[name] = catalogue_digest(load_catalogue(roles(tmp_path / name, text)))

    assert digests["a"] == digests["b"] != digests["c"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CONTROLS.replace("severity: high", "severity: huge"), "controls.yml:11 : controls.0.severity"),
        (CONTROLS.replace("    broken:", "    borken:"), "controls.yml:"),
        (CONTROLS.replace("EXE-01", "exe-1"), "controls.yml:5 : controls.0.id"),
        (CONTROLS.replace("role: sample", "role: [sample"), "YAML"),
        (CONTROLS.replace("role: sample", "role: ghost"), "ghost"),
        ("", "controls.yml:1"),
        ("- 1\n- 2\n", "controls.yml:1"),
        (CONTROLS.replace('en: "A title"', 'en: ""'), "controls.yml:6"),
        (CONTROLS.replace('references: [{source: HYG, id: "1"}]', "references: []"), "controls.yml:12"),
    ],
)
def test_a_wrong_file_gives_one_sentence_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(CatalogueError) as error:
        load_catalogue(roles(tmp_path, text))

    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_an_id_given_twice_is_refused(tmp_path: Path) -> None:
    roles(tmp_path, CONTROLS)
    roles(tmp_path, CONTROLS.replace("role: sample", "role: other"), name="other")

    with pytest.raises(CatalogueError, match="EXE-01"):
        load_catalogue(tmp_path)


@pytest.mark.parametrize(
    ("source", "number"),
    [
        ("HYG", "0"), ("HYG", "43"), ("HYG", "8.1"), ("BP28", "R0"), ("BP28", "R81"), ("BP28", "31"), ("CNILG", "26"),
        ("CNILG", "4.12.1"), ("PSSI", "4"), ("PSSI", "6.1"), ("PSSI", "8.1.1.1"), ("MISSION", "A6"), ("MISSION", "F1"),
        ("TPE", "14"), ("RECYF", "21.A"), ("CLAU", "9.3"), ("PWD", "CNIL"), ("MAGAZINE", "1"), ("hyg", "1"),
    ],
)  # fmt: skip
def test_a_reference_that_its_source_cannot_hold_is_refused(tmp_path: Path, source: str, number: str) -> None:
    with pytest.raises(CatalogueError, match=r"controls\.yml:12 .*n'existe pas"):
        load_catalogue(roles(tmp_path, CONTROLS.replace('{source: HYG, id: "1"}', f'{{source: {source}, id: "{number}"}}')))


def texts(control: Control) -> dict[str, Bilingual]:
    return {name: getattr(control, name) for name in ("statement", "broken", "remedy")}


@pytest.mark.parametrize("control", list(load_catalogue()), ids=lambda control: control.id)
def test_texts_are_whole_sentences_in_both_languages(control: Control) -> None:
    for name, text in texts(control).items():
        for sentence in (text.fr, text.en):
            assert sentence[0].isupper(), name
            assert sentence.endswith("."), name
            assert "  " not in sentence
            assert len(sentence) <= 220, name
        assert text.fr != text.en
        # French double punctuation takes a space before it, English none.
        assert not re.search(r"\w[:;!?»]", text.fr), text.fr
        assert not re.search(r"\s[:;!?]|[«»]", text.en), text.en
    assert not str(control.title).endswith(".")
    assert len({text.fr for text in texts(control).values()}) == 3


def test_titles_are_all_different() -> None:
    for language in ("fr", "en"):
        titles = [getattr(control.title, language) for control in load_catalogue()]
        assert len(set(titles)) == len(titles)
