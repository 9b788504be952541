"""Every mistake in the answers gives exactly one message, at its place, and nothing is written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from answers_samples import GOOD, unmarked
from command_line import say, tree

FOLDER = Path(__file__).parent / "fixtures" / "wrong_answers"
CASES: dict[str, Any] = {
    f"{path.stem}-{name}": case
    for path in sorted(FOLDER.glob("*.yml"))
    for name, case in yaml.safe_load(path.read_text(encoding="utf-8")).items()
}


def wrong(case: dict[str, Any]) -> tuple[str, list[tuple[int, int]]]:
    """Return the good answers with the case's mistakes, and where each stands."""
    text = GOOD
    for old, new in case["change"].items():
        assert old in text
        text = text.replace(old, new, 1)
    return unmarked(text)


def test_there_are_many_cases_and_the_sample_itself_is_right(practices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(CASES) > 200
    (practices / "bon.yml").write_text(GOOD, encoding="utf-8")
    said = say(capsys, "check-answers", str(practices / "bon.yml"))
    assert (said.code, said.err) == (0, "")


@pytest.mark.parametrize("name", CASES)
def test_one_message_per_mistake_with_its_place(name: str, practices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, places = wrong(CASES[name])
    path = practices / "cabinet" / "practice.yml"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    before = tree(practices)
    expected = [
        f"{path}:{line}:{column}: {said}" for (line, column), said in zip(sorted(places), CASES[name]["says"], strict=True)
    ]
    said = say(capsys, "check-answers", str(path))
    assert (said.code, said.out, said.err.splitlines()) == (2, "", expected)
    assert tree(practices) == before


@pytest.mark.parametrize(
    "words",
    [
        ["check-answers", "cabinet"],
        ["new", "autre", "--from", "cabinets/cabinet/practice.yml"],
        ["edit", "cabinet", "--set", "mssante.client=non"],
        ["inventory", "cabinet"],
        ["inventory", "cabinet", "--check"],
        ["bootstrap", "cabinet", "--output", "scripts"],
        ["envelope", "cabinet", "--person", "nmodele", "--show"],
        ["doctor", "cabinet"],
        ["plan", "cabinet"],
        ["deploy", "cabinet", "--yes"],
        ["verify", "cabinet"],
        ["drift", "cabinet", "--fix", "--yes"],
        ["rehearse", "cabinet", "verify"],
    ],
    ids=lambda words: " ".join(words),
)
def test_no_verb_acts_on_wrong_answers(words: list[str], practices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, places = wrong(CASES["contracts-several_at_once"])
    path = practices / "cabinet" / "practice.yml"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    before = tree(practices.parent)
    said = say(capsys, *words)
    assert (said.code, said.out) == (2, "")
    assert [re.search(r":(\d+):(\d+): ", line)[0] for line in said.err.splitlines()] == [  # type: ignore[index]
        f":{line}:{column}: " for line, column in sorted(places)
    ]
    assert tree(practices.parent) == before


@pytest.mark.parametrize("name", CASES)
def test_the_same_in_english(name: str, practices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, places = wrong(CASES[name])
    path = practices / "p.yml"
    path.write_text(text, encoding="utf-8")
    said = say(capsys, "--lang", "en", "check-answers", str(path))
    lines = [re.fullmatch(r".*?:(\d+):(\d+): (.*)", line) for line in said.err.splitlines()]
    assert said.code == 2
    assert [(int(line[1]), int(line[2])) for line in lines if line] == sorted(places)
    for line, french in zip(lines, CASES[name]["says"], strict=True):
        assert line is not None
        assert line[3] != french
        assert not re.search(r"attendue?|interdit|déjà|incorrecte|inconnue?|reçu|réservé", line[3].partition("; got")[0])


@pytest.mark.parametrize("name", ["people-one_login_two_people", "addresses-private_key", "contracts-several_at_once"])
def test_the_same_as_json(name: str, practices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, places = wrong(CASES[name])
    path = practices / "p.yml"
    path.write_text(text, encoding="utf-8")
    said = say(capsys, "check-answers", str(path), "--json")
    data = json.loads(said.out)
    assert (said.code, said.err, data["ok"]) == (2, "", False)
    assert [(problem["line"], problem["column"]) for problem in data["problems"]] == sorted(places)
    assert [f"{p['path']} : {p['message']}" for p in data["problems"]] == [
        says.partition(" ; reçu")[0] for says in CASES[name]["says"]
    ]


def test_a_private_key_is_never_shown(practices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, _places = wrong(CASES["addresses-private_key"])
    secret = "b3BlbnNzaC1rZXktdjEAAAAA"
    assert secret in text
    path = practices / "p.yml"
    path.write_text(text, encoding="utf-8")
    for words in (["check-answers", str(path)], ["check-answers", str(path), "--json"]):
        said = say(capsys, *words)
        assert secret not in said.out + said.err
