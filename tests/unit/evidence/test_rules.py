"""What a result was judged by: a wording that changes is no rule that changes; an answer is."""

from __future__ import annotations

from pathlib import Path

import scene as scenes

from antiseche import kit
from antiseche.catalogue import load_catalogue
from antiseche.evidence.rules import rule_digests, wish_digests
from antiseche.verify.target import Target

CATALOGUE = load_catalogue()


def digests(root: Path) -> dict[str, str]:
    load_catalogue.cache_clear()
    return rule_digests(load_catalogue(root / "roles"), root / "roles")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def changed(root: Path, name: str, old: str, new: str) -> set[str]:
    before = digests(root)
    edit(root / "roles" / "alpha" / name, old, new)
    after = digests(root)
    return {control for control in before if before[control] != after[control]}


def test_every_control_of_the_kit_has_a_rule_of_its_own() -> None:
    found = rule_digests(CATALOGUE)

    assert set(found) == {control.id for control in CATALOGUE}
    assert len(set(found.values())) == len(found)


def test_a_wording_is_not_a_rule(small_kit: Path) -> None:
    assert changed(small_kit, "controls.yml", "Phrase ALP-01.", "Une autre phrase.") == set()


def test_where_it_applies_and_how_long_it_counts_are(small_kit: Path) -> None:
    text = 'references: [{source: HYG, id: "1"}, {source: PWD, id: "ANSSI 2021"}]\n    max_age_days: 30\n  - id: ALP-02'

    assert changed(small_kit, "controls.yml", text, text.replace("30", "7")) == {"ALP-01"}


def test_the_code_of_a_check_is_its_own_rule(small_kit: Path) -> None:
    assert changed(small_kit, "verify/test_alpha.py", "def test_alp_01(host", "def test_alp_one(host") == {"ALP-01"}


def test_what_checks_share_is_the_rule_of_all_of_them(small_kit: Path) -> None:
    assert changed(small_kit, "verify/test_alpha.py", "import pytest\n", "import pytest\nLIMIT = 3\n") == {"ALP-01", "ALP-02"}


def test_a_check_that_does_not_parse_is_still_a_rule(small_kit: Path) -> None:
    assert changed(small_kit, "verify/test_alpha.py", "import pytest\n", "import pytest (\n") == {"ALP-01", "ALP-02"}


def target(**expected: object) -> Target:
    return Target("accueil", "a", "u", "workstation", "debian13", "/dev/null", expected=dict(expected))


def test_an_answer_that_a_role_looks_at_is_its_wish(small_kit: Path) -> None:
    catalogue = load_catalogue(small_kit / "roles")

    def wishes(**expected: object) -> dict[tuple[str, str], str]:
        return wish_digests(catalogue, [target(**expected)], small_kit / "roles")

    before = wishes(alpha_wish=0, beta_wish=0, gamma_wish=0)
    after = wishes(alpha_wish=1, beta_wish=0, gamma_wish=1)

    assert {key for key in before if before[key] != after[key]} == {("accueil", "ALP-01"), ("accueil", "ALP-02")}


def test_every_role_of_the_kit_looks_at_answers_by_their_names() -> None:
    for role in CATALOGUE.roles:
        text = "".join(path.read_text(encoding="utf-8") for path in (kit.roles_dir() / role.role / "verify").glob("*.py"))
        assert f"{role.role}_" in text, role.role


def test_scene_and_kit_agree(small_kit: Path) -> None:
    assert {control.id for control in load_catalogue()} == set(scenes.CONTROLS)
