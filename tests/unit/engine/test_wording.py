"""What modules announce is told in the reader's language, whatever the module."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from antiseche import i18n
from antiseche.engine import wording

pytestmark = pytest.mark.usefixtures("in_french")
ROOT = Path(__file__).parents[3]
MODULES = [*ROOT.glob("plugins/modules/*.py"), *ROOT.glob("plugins/module_utils/*_plan.py")]
# How changes begin that are plain texts; other texts in these files are errors and documentation.
FIRST_WORDS = (
    "file|absent|set aside|running state|guard|pam profile|hold|release|timezone|updates security"
    "|middleware CPS|authorities IGC|firefox policies|chromium 7"
)


def steps(what: str) -> tuple[str, ...]:
    """Return the steps that a part of antiseche_disks announces."""
    tree = ast.parse((ROOT / f"plugins/module_utils/antiseche_disks_{what}.py").read_text(encoding="utf-8"))
    found: tuple[str, ...] = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "STEPS"
    )
    return found


def announced() -> set[str]:
    """Every change that the sources of the modules can build, with made-up values in the holes."""
    found = set()
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node) if part is not node
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Change":
                found.add(_sample(node.args[0]))
            elif isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in parts:
                text = _sample(node)
                if re.match(rf"({FIRST_WORDS})\b", text) and "  " not in text and len(text) < 90 and "failed" not in text:
                    found.add(text)
    verbs = ("enable", "disable", "disable --runtime", "mask", "unmask", "unmask --runtime", "start", "stop", "restart", "reload")
    found |= {f"{verb} ssh.service" for verb in verbs} | {"daemon-reload", "pam common-auth", "pam state"}
    found |= {f"volume donnees: {step}" for step in (*steps("volume"), *steps("root"), "header copied to the vault")}
    found |= {f"swap /dev/vda5: {step}" for step in steps("swap")}
    return {text for text in found if re.search(r"[: ]", text)}


def _sample(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if not isinstance(node, ast.JoinedStr):
        return ""
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values)


def test_the_search_for_changes_finds_them() -> None:
    assert {"account 7: created", "group 7: +7", "password root: locked", "hold 7"} <= announced()


@pytest.mark.parametrize("change", sorted(announced()))
def test_every_change_of_a_module_has_a_french_sentence(change: str) -> None:
    assert wording.change_text(change) != change


@pytest.mark.parametrize(
    ("change", "french"),
    [
        ("account pancien: locked (left)", "compte pancien : verrouillage (personne partie)"),
        ("file /etc/a: access list", "fichier /etc/a : suppression des accès particuliers"),
        ("directory /etc/a: access list", "dossier /etc/a : suppression des accès particuliers"),
        ("file /etc/a: hard link", "fichier /etc/a : remplacement d'un lien"),
        ("disable --runtime a.timer", "service a.timer : désactivation au démarrage"),
        ("timezone Etc/UTC to Europe/Paris", "fuseau horaire : Etc/UTC → Europe/Paris"),
        ("group sudo: -cexemple", "groupe sudo : retrait de cexemple"),
        ("group sudo: -cexemple (primary)", "groupe sudo : retrait de cexemple (groupe principal)"),
        ("file /etc/nftables.conf", "fichier /etc/nftables.conf : écriture"),
        ("file /etc/a file: mode 0755", "fichier /etc/a file : correction des droits (0755)"),
        ("directory /etc/ssh/authorized_keys.d", "dossier /etc/ssh/authorized_keys.d : création"),
        ("pam common-auth", "authentification (common-auth) : correction"),
        ("release openssh-server", "paquet openssh-server : fin du gel"),
    ],
)
def test_some_sentences_to_the_letter(change: str, french: str) -> None:
    assert wording.change_text(change) == french


@pytest.mark.parametrize("change", ["", "something new", "account : ", "{path}", "group a: created twice"])
def test_what_is_not_known_is_shown_as_it_is(change: str) -> None:
    assert wording.change_text(change) == change


def test_english_readers_get_english() -> None:
    i18n.select("en")

    assert wording.change_text("account cexemple: created") == "account cexemple: created"
    assert wording.task_text("Install nftables", "firewall") == "Install nftables"


def test_every_task_of_a_role_has_a_french_name_and_no_name_is_stale() -> None:
    for role in sorted(path.parent.name for path in ROOT.glob("roles/*/controls.yml")):
        tasks = {
            task["name"]
            for path in (ROOT / "roles" / role / "tasks").glob("*.yml")
            for task in yaml.safe_load(path.read_text(encoding="utf-8"))
        }
        steps = yaml.safe_load((ROOT / "roles" / role / "controls.yml").read_text(encoding="utf-8")).get("steps", {})

        assert sorted(steps) == sorted(tasks), role


def test_a_task_without_listed_changes_is_told_by_its_name() -> None:
    assert wording.change_text("Install nftables", "firewall") == "installer nftables"
    assert wording.task_text("Install nftables", "nobody") == "Install nftables"
