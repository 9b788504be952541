"""The documents say what the program does: commands, options, exit codes, links."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest

from antiseche import app
from antiseche.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("roles/*/README.md")])
GUIDE = ROOT / "docs" / "guide"
# A command line is in a code span or a code block and starts with the program's name.
CALL = re.compile(r"(?:^|[`$ ])antiseche((?: [^`\n|;&>#»]+)?)", flags=re.MULTILINE)


def code(text: str) -> str:
    """Only what is set as code; prose also says "antiseche"."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return "\n".join(blocks + spans)


def commands() -> dict[str, click.Command]:
    return {name: getattr(importlib.import_module(row[0]), row[1]) for name, row in app.COMMANDS.items()}


def options(command: click.Command) -> set[str]:
    names = {
        name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("-")
    }
    return names | {"--help", "--lang", "--version"}


def calls(document: Path) -> list[list[str]]:
    found = []
    for line in code(document.read_text(encoding="utf-8")).splitlines():
        match = re.match(r"(?:\$ |sudo |[A-Z_]+=\S+ )*antiseche( .*)?$", line.strip())
        if match:
            words = re.split(r"\s[|;&>#]", match[1] or "")[0].split()
            found.append(words)
    return found


def problem(words: list[str]) -> str | None:
    """What is wrong with this command line, or None."""
    known = commands()
    rest = [word for word in words if word not in {"fr", "en"}]
    named = next((word for word in rest if not word.startswith("-")), None)
    allowed = {"--help", "--lang", "--version"}
    if named is not None and not named.isupper():
        if named not in known:
            return f"no such command: {named}"
        allowed = options(known[named])
        if isinstance(group := known[named], click.Group):
            verbs = group.commands
            verb = next((word for word in rest[rest.index(named) + 1 :] if not word.startswith("-")), None)
            if verb is not None and verb not in verbs:
                return f"no such command: {named} {verb}"
            allowed |= options(verbs[verb]) if verb else set()
        if named == "rehearse":  # the verb rehearsed brings its own options
            allowed |= {name for verb in rest if verb in known for name in options(known[verb])}
    wrong = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in allowed]
    return f"no such option: {wrong}" if wrong else None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_line_in_the_documents_exists(document: Path) -> None:
    assert {" ".join(words): why for words in calls(document) if (why := problem(words))} == {}


def test_the_test_finds_a_wrong_command_line() -> None:
    assert problem(["deploiement"]) is not None
    assert problem(["drift", "exemple", "--reparer"]) is not None
    assert problem(["drift", "exemple", "--fix"]) is None


@pytest.mark.parametrize("name", list(app.COMMANDS))
def test_every_command_is_in_the_guide(name: str) -> None:
    guide = "\n".join(path.read_text(encoding="utf-8") for path in GUIDE.glob("*.md"))
    assert re.search(rf"(`|^)(sudo )?antiseche {name}\b", guide, flags=re.MULTILINE)


def test_exit_codes_are_those_of_the_program() -> None:
    table = re.findall(r"^\| (\d+) \| `(\w+)` \|", (GUIDE / "codes-de-sortie.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {name: int(number) for number, name in table} == {code.name: int(code) for code in ExitCode}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    broken = [
        target
        for target in targets
        if not target.startswith(("http", "#", "mailto:")) and not (document.parent / target.partition("#")[0]).exists()
    ]
    assert broken == []


def test_make_targets_in_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    named = {
        target
        for document in DOCUMENTS
        for target in re.findall(r"^(?:sudo )?make ([a-z]+)", code(document.read_text(encoding="utf-8")), flags=re.MULTILINE)
    }
    assert named - targets == set()
    assert {"demo", "test", "lint", "bench"} <= named


def test_every_document_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    forgotten = [
        str(path.relative_to(ROOT / "docs"))
        for path in (ROOT / "docs").rglob("*.md")
        if path.name != "README.md" and f"({path.relative_to(ROOT / 'docs')})" not in index
    ]
    assert forgotten == []


def test_decisions_are_numbered_without_gap() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_dependency_has_earned_its_place() -> None:
    """Each package that users install is argued for in a decision."""
    decisions = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", project, flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    names = re.findall(r'"([a-zA-Z0-9.-]+)', block[1])
    assert [name for name in names if f"`{name}`" not in decisions] == []


def test_every_role_has_a_readme() -> None:
    roles = [path.parent for path in ROOT.glob("roles/*/controls.yml")]
    assert [role.name for role in roles if not (role / "README.md").is_file()] == []
