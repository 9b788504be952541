"""The model as a whole: a sentence for every refusal, a question for every field, and what it shares with the roles."""

from __future__ import annotations

import json
import re
import runpy
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from answers_samples import GOOD
from command_line import say
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from antiseche import i18n
from antiseche.practice import messages, provisional, questionnaire
from antiseche.practice.document import parse
from antiseche.practice.fields import Kind, fields_of
from antiseche.practice.json_schema import json_schema
from antiseche.practice.labels import LABELS
from antiseche.practice.rules.reserved import is_system_login
from antiseche.practice.schema import Answers, Practice, types

ROOT = Path(__file__).resolve().parents[3]

# What pydantic may answer for each kind of node of its own schema; a kind that is not here fails the test until it is told.
ERRORS: dict[str, set[str]] = {
    "model": {"model_type", "model_attributes_type"},
    "model-fields": {"missing", "extra_forbidden"},
    "list": {"list_type"},
    "dict": {"dict_type"},
    "str": {"string_type", "string_sub_type", "string_unicode"},
    "int": {"int_type", "int_parsing", "int_parsing_size", "int_from_float"},
    "bool": {"bool_type", "bool_parsing"},
    "date": {"date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact"},
    "enum": {"enum"},
    "literal": {"literal_error"},
    "function-plain": {"ip_any_address", "ip_any_network"},
    "default": set(),
    "nullable": set(),
    "function-before": set(),
    "function-after": set(),
    "no-info": set(),
    "definitions": set(),
    "definition-ref": set(),
    "model-field": set(),
}
LIMITS = {
    ("str", "min_length"): "string_too_short",
    ("str", "max_length"): "string_too_long",
    ("str", "pattern"): "string_pattern_mismatch",
    ("list", "min_length"): "too_short",
    ("list", "max_length"): "too_long",
    ("dict", "max_length"): "too_long",
    ("int", "ge"): "greater_than_equal",
    ("int", "le"): "less_than_equal",
}
CONSTRAINTS = {"min_length", "max_length", "pattern", "ge", "le", "gt", "lt", "multiple_of", "ge_date"}


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every node of pydantic's own schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("type"), str):
            yield schema
        for key, value in schema.items():
            if key not in ("metadata", "serialization", "ref"):
                yield from nodes(value)
    elif isinstance(schema, list | tuple):
        for item in schema:
            yield from nodes(item)


def reachable() -> set[str]:
    """Return every code that a wrong answer may get: pydantic's own, and those of our types."""
    codes: set[str] = set(re.findall(r'_refusal\("(\w+)"', Path(types.__file__).read_text(encoding="utf-8")))
    for node in nodes(Practice.__pydantic_core_schema__):
        codes |= ERRORS[node["type"]]
        codes |= {LIMITS[node["type"], name] for name in CONSTRAINTS & set(node)}
    return codes


def models(model: type[Answers] = Practice) -> Iterator[type[Answers]]:
    yield model
    for item in fields_of(model):
        if item.model is not None:
            yield from models(item.model)


def test_the_walk_finds_what_is_there() -> None:
    codes = reachable()
    assert {"missing", "string_pattern_mismatch", "too_long", "enum", "private_key", "network_host_bits", "bool_type"} <= codes
    assert len(codes) > 35


@pytest.mark.parametrize("language", ["fr", "en"])
def test_every_refusal_has_a_sentence_in_both_languages(language: str) -> None:
    i18n.select(language)
    without = [code for code in sorted(reachable()) if code not in messages.MESSAGES]
    assert without == []
    sentences = {code: i18n._(text) for code, text in messages.MESSAGES.items()}
    if language == "en":
        assert [code for code, text in sentences.items() if text == messages.MESSAGES[code]] == []


TYPED = ["2027-02-31", "1.2.3.4/5", "oui", "ssh-ed25519 AAAA", "{{", "é"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["2027-02-31", "1.2.3.4/5", "oui"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_value_anywhere_gets_a_refusal_without_a_sentence(data: st.DataObject) -> None:
    """Put anything in the place of anything: the codes that come back are known, and their texts can be filled in."""
    values = parse(GOOD.encode()).values
    here, key = values, data.draw(st.sampled_from(sorted(values)))
    while isinstance(here[key], dict | list) and here[key] and data.draw(st.booleans()):
        here = here[key]
        key = data.draw(st.sampled_from(sorted(here))) if isinstance(here, dict) else data.draw(st.integers(0, len(here) - 1))
    here[key] = data.draw(VALUES)
    try:
        Practice.model_validate(values)
    except ValidationError as error:
        for item in error.errors():
            assert item["type"] in messages.MESSAGES
            assert "{" not in messages.message(dict(item)).replace("{{", "").replace("{%", "").replace("{#", "")


def test_every_pattern_has_a_sentence_of_its_own() -> None:
    """« Wrong form » alone helps nobody."""
    found = set()

    def walk(model: type[Answers], path: tuple[str, ...]) -> None:
        properties = model.model_json_schema()["properties"]
        for item in fields_of(model):
            if item.model is not None:
                walk(item.model, (*path, item.name))
            elif '"pattern"' in json.dumps(properties[item.name]):
                found.add(".".join((*path, item.name)))

    walk(Practice, ())
    assert found == set(messages._PATTERNS)


@pytest.mark.parametrize("model", sorted(set(models()), key=lambda model: model.__name__), ids=lambda model: model.__name__)
def test_every_field_has_a_title_and_says_why(model: type[Answers]) -> None:
    obvious = {"name", "title", "reason", "on", "by", "accepted_on", "number", "version"}
    mute = [item.name for item in fields_of(model) if not item.info.title]
    unexplained = [item.name for item in fields_of(model) if not item.info.description and item.name not in obvious]
    assert (mute, unexplained) == ([], [])


def test_titles_and_reasons_read_like_french() -> None:
    for model in set(models()):
        for item in fields_of(model):
            title, why = item.info.title or "", item.info.description or ""
            assert title[0].isupper()
            assert not title.endswith((".", ":"))
            assert not why or ((why[0].isupper() or why[0] in "«") and why.endswith(".")), why
            for text in (title, why):
                assert not re.search(r"\s[,.](?!pub)|\S[;:?!](?=\s|$)|  ", text), text
                assert '"' not in text


def test_every_choice_that_is_asked_has_a_label() -> None:
    asked = [item for model in set(models()) for item in fields_of(model) if item.kind is Kind.CHOICE and item.name != "version"]
    assert {choice for item in asked for choice in item.choices} - set(LABELS) == {"tcp", "udp"}


def test_provisional_answers_are_right_by_themselves() -> None:
    for values in (
        {},
        None,
        [],
        "x",
        {"people": [{}] * 300},
        {"hosts": [{"name": "a"}], "suppliers": [{"hds": {}}], "waivers": [{}]},
        {"backup": {}},
    ):
        provisional.complete(values)


def test_every_obligatory_answer_can_be_filled_in() -> None:
    keys = {
        f"{model.__name__}.{item.name}": item
        for model in {Practice, *models()}
        for item in fields_of(model)
        if item.required and item.model is None
    }
    assert set(provisional.FILLERS) == set(keys)
    for key, item in keys.items():
        filler = provisional.FILLERS[key]
        assert item.check(filler.format(n=7) if isinstance(filler, str) else filler, (key,))[1] == "", key


def test_every_group_has_its_questions() -> None:
    groups = set()

    def walk(model: type[Answers], path: tuple[str, ...]) -> None:
        for item in fields_of(model):
            if item.model is not None:
                if item.kind is Kind.GROUP:
                    groups.add(".".join((*path, item.name)))
                walk(item.model, (*path, item.name))

    walk(Practice, ())
    assert groups == set(questionnaire._ANOTHER)


BASE_PASSWD = (
    "root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc nobody adm tty disk kmem dialout "
    "fax voice cdrom floppy tape sudo audio dip operator src shadow utmp video sasl plugdev staff users nogroup"
).split()


@pytest.mark.parametrize("login", BASE_PASSWD)
def test_names_of_debian_are_reserved(login: str) -> None:
    assert is_system_login(login)


def test_the_groups_that_the_kit_makes_are_reserved() -> None:
    from antiseche.practice.inventory_vars import ADMIN_GROUP, FUNCTION_GROUPS

    assert all(is_system_login(group) for group in (*FUNCTION_GROUPS.values(), ADMIN_GROUP))


def test_keys_that_the_answers_take_are_keys_that_the_hosts_take() -> None:
    """A key of another type would pass here and lock the contractor out there."""
    variables = yaml.safe_load((ROOT / "roles" / "remote_access" / "vars" / "main.yml").read_text(encoding="utf-8"))
    accepted = {"ssh-rsa" if name.startswith("rsa-sha2") else name for name in variables["remote_access_key_types"]}
    assert set(types.KEY_TYPES) == accepted
    assert variables["remote_access_hardening"]["RequiredRSASize"] == types.RSA_MIN_BITS


def test_what_is_generated_from_the_model_is_current() -> None:
    generator = runpy.run_path(str(ROOT / ".ci" / "reference"))
    assert generator["GUIDE"].read_text(encoding="utf-8") == generator["reference"](), "run « make reference »"
    assert generator["SCHEMA"].read_text(encoding="utf-8") == generator["schema"](), "run « make reference »"


def test_the_reference_describes_every_key() -> None:
    text = (ROOT / "docs" / "guide" / "reponses.md").read_text(encoding="utf-8")
    for model in set(models()):
        assert [name for name in model.model_fields if f"| `{name}` | " not in text] == []


def test_the_schema_is_a_schema_and_speaks_both_languages(capsys: pytest.CaptureFixture[str]) -> None:
    for language, title in (
        ("fr", "Réponses au sujet d'un cabinet (practice.yml)"),
        ("en", "Answers about a practice (practice.yml)"),
    ):
        said = say(capsys, "--lang", language, "check-answers", "--schema")
        schema = json.loads(said.out)
        assert (said.code, said.err, schema["title"]) == (0, "", title)
        jsonschema.Draft202012Validator.check_schema(schema)


def as_json(text: str) -> Any:
    """Return answers as an editor's YAML reader would hand them to the schema: dates are texts."""
    return parse(text.encode()).values


@pytest.mark.parametrize("path", sorted((ROOT / "inventories").glob("*/practice.yml")), ids=lambda path: path.parent.name)
def test_every_example_is_valid_for_the_schema(path: Path) -> None:
    jsonschema.validate(as_json(path.read_text(encoding="utf-8")), json_schema())


WRONG_FOR_EDITORS = {
    "function: doctor": "function: médecin",
    "login: nmodele": "logn: nmodele",
    "[5432]": "[0]",
    "admin: true": "admin: 1",
}


def test_the_sample_is_valid_for_the_schema_and_a_wrong_one_is_not() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    assert list(validator.iter_errors(as_json(GOOD))) == []
    for old, new in (
        ("function: doctor", "function: médecin"),
        ("login: nmodele", "logn: nmodele"),
        ("[5432]", "[0]"),
        ("admin: true", "admin: 1"),
    ):
        assert list(validator.iter_errors(as_json(GOOD.replace(old, new, 1)))), new


def test_messages_use_only_what_pydantic_gives() -> None:
    fields = {name for text in messages.MESSAGES.values() for _, name, _, _ in string.Formatter().parse(text) if name}
    assert fields <= {
        "max_length", "number", "mark", "ge", "le", "expected", "first", "last", "network", "address", "found", "bits", "least",
    }  # fmt: skip
