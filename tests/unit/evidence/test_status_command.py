"""``status`` as typed, and what all three verbs share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import scene as scenes
from scene import Scene
from stage import DONE, FAIL, Stage, fixing

from antiseche import app
from antiseche.errors import ExitCode
from antiseche.evidence.drift import Cause, cause_label


def status(stage: Stage, *arguments: str) -> int:
    return stage.run("status", *arguments)


def test_status_of_a_practice_that_was_never_verified(stage: Stage) -> None:
    assert status(stage) == ExitCode.OK
    assert "jamais vérifié : antiseche verify tilleuls" in stage.out


def test_status_says_where_things_stand(stage: Stage) -> None:
    stage.scene.replace_answers(waivers=[scenes.waiver(expires_on="2026-10-31")])
    stage.checks = [{"outcomes": FAIL, "gone": ("serveur",)}]
    stage.run("verify", "--limit", "accueil", "--limit", "serveur")
    run = scenes.records.create_run(stage.scene.folder, "deploy")

    assert status(stage) == ExitCode.OK
    for words in (
        "Cabinet des Tilleuls", "2 conformes sur 9 vérifiables", "1 écart", "injoignables : serveur",
        "jamais vérifiées : cabinet", f"passage inachevé : {run.id}", "dérogation D-001 (ALP-01) : échue le 2026-10-31",
    ):  # fmt: skip
        assert words in stage.out, words


def test_status_says_what_is_wrong_with_the_register(stage: Stage) -> None:
    for _ in range(8):
        stage.run("verify")
    for path in stage.scene.folder.runs_dir.glob("*/results.json"):
        path.write_text("{}")

    assert status(stage) == ExitCode.FAILURE
    assert stage.out.count("registre :") == 6
    assert "et 3 autres anomalies" in stage.out


def test_status_in_json(stage: Stage) -> None:
    stage.run("verify")
    document = stage.json("status")

    (entry,) = document["practices"]
    assert set(document) == {"command", "exit_code", "practices"}
    assert set(entry) == {"folder", "name", "rehearsal", "problem", "last", "unfinished", "waivers", "chain"}
    assert set(entry["last"]) == {
        "run", "ended", "age_days", "counts", "headline", "unreachable", "never_verified", "stale", "backups",
    }  # fmt: skip


def test_status_of_all_practices(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def show(base: Any) -> str:
        monkeypatch.setenv("ANTISECHE_PRACTICES", str(base))
        assert app.main(["status"]) == ExitCode.OK
        return capsys.readouterr().out

    empty = tmp_path_factory.mktemp("aucun")
    assert str(empty) in show(empty)
    many = tmp_path_factory.mktemp("plusieurs")
    for n in range(20):
        Scene(many / f"cabinet-{n}")
    assert show(many).count("jamais vérifié") == 20


def test_status_of_an_unknown_practice(stage: Stage) -> None:
    assert app.main(["status", "inconnu"]) == ExitCode.USAGE


@pytest.mark.parametrize("verb", ["verify", "drift", "status"])
def test_every_verb_speaks_english_too(stage: Stage, verb: str) -> None:
    stage.checks = [{"outcomes": FAIL}]

    code = app.main(["--lang", "en", verb, str(stage.scene.folder.root)])
    out, err = stage._capsys.readouterr()
    app.main(["--lang", "fr", "--help"])

    assert code in (ExitCode.OK, ExitCode.NOT_CONFORMING)
    assert not re.search(r"\b(machine injoignable|conformes|écart|à faire|Rapport|jamais|passage)\b", out + err)


def keys(value: Any) -> set[str]:
    """Return every key of a document, but names of hosts and what a playbook's own summary holds."""
    if isinstance(value, list):
        return set().union(*map(keys, value)) if value else set()
    if isinstance(value, dict):
        own = {key for key in value if key not in scenes.HOSTS}
        return own.union(*(keys(item) for key, item in value.items() if key not in ("summary", "known")))
    return set()


def test_every_key_of_the_documents_is_in_the_guide(stage: Stage) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guide" / "derive.md").read_text(encoding="utf-8")
    fixing(stage, before={"outcomes": FAIL, "gone": ("serveur",)}, after={"gone": ("serveur",)}, fix=DONE)
    found = keys(stage.json("drift", "--fix", "--yes")) | keys(stage.json("status"))

    assert {key for key in found if f"`{key}`" not in guide} == set()


def test_every_cause_is_in_the_guide() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guide" / "derive.md").read_text(encoding="utf-8")

    assert [cause for cause in Cause if f"| {cause_label(cause)} | `{cause}` |" not in guide] == []
