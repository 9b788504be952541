"""Command lines that cannot be meant: every verb answers with one message and exit code 2, and nothing is touched."""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path

import click
import pytest
from answers_samples import GOOD, KEY
from command_line import Said, say, spawn, tree

from antiseche import app

Capture = pytest.CaptureFixture[str]


def command(verb: str) -> click.Command:
    module, attribute, _summary = app.COMMANDS[verb]
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, click.Command)
    return found


def has(verb: str, name: str) -> bool:
    return any(name in parameter.opts or parameter.name == name for parameter in command(verb).params)


# What a verb needs beside the practice to be a whole command line; a new verb that needs something fails here until it is told.
ALSO: dict[str, list[str]] = {
    "new": ["--from", "reponses.yml"],
    "edit": ["--set", "mssante.client=non"],
    "envelope": ["--person", "nmodele", "--show"],
    "rehearse": ["verify"],
    "deploy": ["--yes"],
}
VERBS = [verb for verb in app.COMMANDS if has(verb, "practice")]
EXISTING = [verb for verb in VERBS if verb != "new"]
LIMITED = [verb for verb in VERBS if has(verb, "--limit")]
ROLES = [verb for verb in VERBS if has(verb, "--role")]
# Checks read no secret, the doctor tells it among the rest, a schedule wants the private key first, and a drill declared backups.
LOCKED = [verb for verb in VERBS if has(verb, "--vault-password-file") and verb not in ("verify", "doctor", "schedule", "drill")]
KEYED = [verb for verb in VERBS if has(verb, "--private-key")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with good answers and their inventory, made once."""
    root = tmp_path_factory.mktemp("modele")
    (root / "tilleuls").mkdir()
    (root / "tilleuls" / "practice.yml").write_text(GOOD, encoding="utf-8")
    secret = root / "mot-de-passe"
    _secret(secret, b"un mot de passe assez long", 0o600)
    made = spawn("inventory", str(root / "tilleuls"), "--vault-password-file", str(secret))
    assert made.code == 0, made.err
    return root / "tilleuls"


@pytest.fixture
def cabinet(practices: Path, built: Path) -> Path:
    """Return the folder of a practice with good answers and an inventory."""
    folder = practices / "tilleuls"
    shutil.copytree(built, folder)
    (practices.parent / "reponses.yml").write_text(GOOD, encoding="utf-8")
    return folder


def untouched(cabinet: Path) -> dict[str, object]:
    """Return everything around a practice but the lock that commands take."""
    return {name: entry for name, entry in tree(cabinet.parent.parent).items() if "/runs" not in name}


def refused(said: Said, *words: str) -> None:
    """Expect one message on stderr, exit code 2 and nothing else."""
    assert said.code == 2, said
    assert said.out == ""
    assert said.err.strip()
    for forbidden in ("Traceback", "Erreur interne", "Error:"):
        assert forbidden not in said.err
    for word in words:
        assert word in said.err


def test_every_verb_is_covered() -> None:
    # The verbs of `escrow` are tried in test_escrow_command.py.
    assert set(VERBS) == set(app.COMMANDS) - {"status", "demo", "escrow"}
    assert {"deploy", "drift", "plan"} <= set(LIMITED) & set(ROLES) & set(LOCKED) & set(KEYED)


NOWHERE = [
    "absent",
    "../absent",
    "/etc",
    "a b",
    "É",
    "x" * 300,
    "a\nb",
    "a\0b",
    "\x1b[31m",
    "$(id)",
    "tilleuls/practice.yml",
    "~",
]


@pytest.mark.parametrize("practice", NOWHERE)
@pytest.mark.parametrize("verb", EXISTING)
def test_a_practice_that_is_not_there(verb: str, practice: str, cabinet: Path, capsys: Capture) -> None:
    before = untouched(cabinet)
    words = [verb, practice, *ALSO.get(verb, [])]
    said = say(capsys, *words)
    if verb == "check-answers" and practice.endswith(".yml"):
        refused(said, "fichier introuvable")
    else:
        refused(said, "introuvable", "antiseche new")
    assert said.err.count("\n") == 1
    assert "\x1b" not in said.err
    assert untouched(cabinet) == before


@pytest.mark.parametrize("practice", ["-x", "--nope", "--json=1"])
@pytest.mark.parametrize("verb", VERBS)
def test_words_that_are_no_practice(verb: str, practice: str, cabinet: Path, capsys: Capture) -> None:
    before = untouched(cabinet)
    refused(say(capsys, verb, practice, *ALSO.get(verb, [])))
    assert untouched(cabinet) == before


@pytest.mark.parametrize("verb", VERBS)
def test_no_practice_at_all(verb: str, cabinet: Path, capsys: Capture) -> None:
    refused(say(capsys, verb), "CABINET" if verb != "check-answers" else "Nommez un cabinet")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("edit", "rehearse")])
def test_one_practice_at_a_time(verb: str, cabinet: Path, capsys: Capture) -> None:
    refused(say(capsys, verb, "tilleuls", "autre", *ALSO.get(verb, [])), "autre")


HOSTS = ["absent", "Accueil", "accueil,serveur", "all", "*", "../accueil", "", " ", "accueil\n", "!serveur", "@hosts", "-x"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("verb", LIMITED)
def test_a_host_that_is_not_there(verb: str, host: str, cabinet: Path, capsys: Capture) -> None:
    before = untouched(cabinet)
    said = say(capsys, verb, "tilleuls", *ALSO.get(verb, []), "--limit", host)
    refused(said, "accueil, cabinet-1, serveur" if host != "Accueil" else "accueil")
    assert untouched(cabinet) == before


@pytest.mark.parametrize("role", ["absent", "Firewall", "firewall,accounts", "*", "../firewall", "", "firewall/tasks"])
@pytest.mark.parametrize("verb", ROLES)
def test_a_role_that_is_not_there(verb: str, role: str, cabinet: Path, capsys: Capture) -> None:
    before = untouched(cabinet)
    refused(say(capsys, verb, "tilleuls", *ALSO.get(verb, []), "--role", role), "firewall")
    assert untouched(cabinet) == before


def _secret(path: Path, text: bytes, mode: int) -> None:
    path.touch()
    path.write_bytes(text)
    path.chmod(mode)


BAD_PASSWORD_FILES = {
    "absent": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "dangling": lambda path: path.symlink_to("absent"),
    "empty": lambda path: _secret(path, b"", 0o600),
    "blank": lambda path: _secret(path, b" \n\n", 0o600),
    "readable_by_all": lambda path: _secret(path, b"secret", 0o644),
    "readable_by_the_group": lambda path: _secret(path, b"secret", 0o640),
    "executable": lambda path: _secret(path, b"secret", 0o700),
    "vault": lambda path: _secret(path, b"$ANSIBLE_VAULT;1.1;AES256\n3161", 0o600),
    "huge": lambda path: _secret(path, b"x" * 10_000, 0o600),
    "endless": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", BAD_PASSWORD_FILES)
@pytest.mark.parametrize("verb", LOCKED)
def test_a_vault_password_file_that_cannot_be_one(verb: str, kind: str, cabinet: Path, capsys: Capture) -> None:
    if verb == "inventory":
        shutil.rmtree(cabinet / "inventory")  # an inventory that is current asks for nothing
    secret = cabinet.parent.parent / "mot-de-passe"
    BAD_PASSWORD_FILES[kind](secret)
    before = untouched(cabinet)
    said = say(capsys, verb, "tilleuls", *ALSO.get(verb, []), "--vault-password-file", str(secret))
    refused(said, "mot-de-passe")
    assert "secret" not in said.err
    assert untouched(cabinet) == before


@pytest.mark.parametrize("verb", [verb for verb in LOCKED if verb != "envelope"])
def test_nobody_to_type_the_vault_password(verb: str, cabinet: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    if verb == "inventory":
        shutil.rmtree(cabinet / "inventory")
    before = untouched(cabinet)
    with open(os.devnull) as nobody:  # noqa: PTH123 - a descriptor, as a scheduled run has
        monkeypatch.setattr("sys.stdin", nobody)
        refused(say(capsys, verb, "tilleuls", *ALSO.get(verb, [])), "--vault-password-file")
    assert untouched(cabinet) == before


@pytest.mark.parametrize("kind", ["absent", "folder"])
@pytest.mark.parametrize("verb", KEYED)
def test_a_private_key_that_is_not_there(verb: str, kind: str, cabinet: Path, capsys: Capture) -> None:
    key = cabinet.parent.parent / "cle"
    if kind == "folder":
        key.mkdir()
    before = untouched(cabinet)
    refused(say(capsys, verb, "tilleuls", *ALSO.get(verb, []), "--private-key", str(key)), "cle")
    assert untouched(cabinet) == before


ODD: list[tuple[list[str], str]] = [
    (["new", "tilleuls", "--from"], "--from"),
    (["new", "lilas", "--from", "absent.yml"], "fichier introuvable"),
    (["new", ""], "ne peut pas nommer un cabinet"),
    (["new", "", "--from", "reponses.yml"], "ne peut pas nommer un cabinet"),
    (["new", "tilleuls", "--from", "reponses.yml"], "existe déjà et n'est pas remplacé"),
    (["check-answers", "absent.yml"], "fichier introuvable"),
    (["check-answers", "cabinets"], "introuvable"),
    (["check-answers", "/dev/null"], "introuvable"),
    (["check-answers", "/dev/zero.yml"], "fichier introuvable"),
    (["inventory", "tilleuls", "--check=oui"], "--check"),
    (["bootstrap", "tilleuls", "--pin", "accueil"], "vont ensemble"),
    (["bootstrap", "tilleuls", "--host-key", KEY], "vont ensemble"),
    (["bootstrap", "tilleuls", "--pin", "accueil", "--host-key", KEY, "--forget", "accueil"], "Une chose à la fois"),
    (["bootstrap", "tilleuls", "--pin", "absent", "--host-key", KEY], "Machine inconnue"),
    (["bootstrap", "tilleuls", "--pin", "accueil", "--host-key", "ssh-ed25519 AAAA"], "Clé d'hôte illisible"),
    (["bootstrap", "tilleuls", "--pin", "accueil", "--host-key", "-----BEGIN OPENSSH PRIVATE KEY-----"], "Clé d'hôte illisible"),
    (["bootstrap", "tilleuls", "--forget", "../accueil"], "Machine inconnue"),
    (["bootstrap", "tilleuls", "--host", "absent"], "Machine inconnue"),
    (["bootstrap", "tilleuls", "--output", "reponses.yml"], "reponses.yml"),
    (["envelope", "tilleuls"], "--person"),
    (["envelope", "tilleuls", "--person"], "--person"),
    (["deploy", "tilleuls", "--limit"], "--limit"),
    (["deploy", "tilleuls", "--yes=non"], "--yes"),
    (["plan", "tilleuls", "--yes"], "--yes"),
    (["verify", "tilleuls", "--fix"], "--fix"),
    (["drift", "tilleuls", "--reparer"], "--reparer"),
    (["rehearse", "tilleuls", "inconnu"], "ne se répète pas"),
    (["rehearse", "tilleuls", "rehearse"], "ne se répète pas"),
    (["rehearse", "tilleuls", "../verify"], "ne se répète pas"),
    (["status", "absent"], "introuvable"),
    (["demo", "tilleuls"], "tilleuls"),
    (["demo", "--keep", "a", "b"], "b"),
    (["--lang", "de", "status"], "de"),
    (["Deploy", "tilleuls"], "Deploy"),
    (["deploy\n", "tilleuls"], "deploy"),
]


@pytest.mark.parametrize(("words", "word"), ODD, ids=[" ".join(words) for words, _word in ODD])
def test_odd_command_lines(words: list[str], word: str, cabinet: Path, capsys: Capture) -> None:
    before = untouched(cabinet)
    refused(say(capsys, *words), word)
    assert untouched(cabinet) == before


@pytest.mark.parametrize("words", [["check-answers", "tilleuls", "--json"], ["check-answers", "reponses.yml", "--json"]])
def test_the_sample_itself_is_taken(words: list[str], cabinet: Path, capsys: Capture) -> None:
    assert say(capsys, *words).code == 0
