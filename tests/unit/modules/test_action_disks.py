"""The controller's half of the encrypted disks: keys read back before anything happens, headers kept before a step counts."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultSecret
from test_action_and_lookup import load_plugin

from antiseche import i18n
from antiseche.practice import escrow
from antiseche.practice.secrets import Vault

ROOT = Path(__file__).parents[3]
ACTION = load_plugin("action", "antiseche_disks")
PASSWORD = b"essai"
KEYS = escrow.with_keys({}, ["donnees"])[escrow.KEYS]
DISK = {"name": "donnees", "device": "/dev/vdb", "mount": "/srv/donnees"}
DIGEST = "ab" * 32
HEADER = {"name": "donnees", "digest": DIGEST, "device": "/dev/vdb", "data": "SECRETHEADER"}


class Site:
    """An action on one machine; the module is a function of the test."""

    def __init__(self, root: Path) -> None:
        self.vault, self.escrow = root / "vault.yml", root / "escrow" / "serveur"
        self.write({escrow.KEYS: KEYS})
        self.asked: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {"changed": True, "changes": ["volume donnees: encrypted"], "headers": [HEADER]}
        self.arguments: dict[str, Any] = {"disks": [DISK], "keys": KEYS}
        self.check_mode = False

    def write(self, values: dict[str, Any]) -> None:
        self.vault.write_text(Vault(PASSWORD).encrypt(values), encoding="utf-8")

    def run(self) -> dict[str, Any]:
        loader = DataLoader()
        loader.set_vault_secrets([("default", VaultSecret(PASSWORD))])
        action = ACTION.ActionModule.__new__(ACTION.ActionModule)
        action._loader = loader
        arguments = {**self.arguments, "vault": str(self.vault), "escrow": str(self.escrow)}
        action._task = SimpleNamespace(args=arguments, check_mode=self.check_mode, async_val=0)

        def module(module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
            self.asked.append(module_args)
            return dict(self.answer)

        action._execute_module = module
        result: dict[str, Any] = action.run(None, {})
        return result


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(ACTION.ActionBase, "run", lambda *_args, **_more: {})
    return Site(tmp_path)


def test_the_header_is_kept_encrypted_and_leaves_the_result(site: Site) -> None:
    result = site.run()
    assert result["changed"] is True
    assert "headers" not in result
    assert "SECRETHEADER" not in json.dumps(result)
    [path] = site.escrow.iterdir()
    assert path.name == f"donnees.{DIGEST}.header"
    assert path.stat().st_mode & 0o777 == 0o600
    assert site.escrow.stat().st_mode & 0o777 == 0o700
    assert "SECRETHEADER" not in path.read_text(encoding="utf-8")
    assert Vault(PASSWORD).read(path)["data"] == "SECRETHEADER"


def test_the_module_is_told_what_is_kept_already(site: Site) -> None:
    site.run()
    (site.escrow / ".unfinished.new").touch()
    (site.escrow / "notes.txt").touch()
    site.run()
    assert [asked["held"] for asked in site.asked] == [[], [DIGEST]]
    assert all("vault" not in asked and "escrow" not in asked for asked in site.asked)


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {escrow.KEYS: {}},
        {escrow.KEYS: {"archives": KEYS["donnees"]}},
        {escrow.KEYS: {"donnees": {**KEYS["donnees"], "recovery_key": "another"}}},
        {escrow.KEYS: {"donnees": {**KEYS["donnees"], "passphrase": "another"}}},
        {escrow.KEYS: {"donnees": {**KEYS["donnees"], "uuid": "another"}}},
        {escrow.KEYS: "text"},
    ],
)
def test_keys_that_are_not_in_the_vault_touch_no_disk(site: Site, stored: dict[str, Any]) -> None:
    site.write(stored)
    result = site.run()
    assert result["failed"] is True
    assert result["changed"] is False
    assert "Rien n'a été chiffré" in result["msg"]
    assert site.asked == []


def test_a_vault_in_the_clear_is_no_vault(site: Site) -> None:
    site.vault.write_text(json.dumps({escrow.KEYS: KEYS}), encoding="utf-8")
    assert "Rien n'a été chiffré" in site.run()["msg"]
    assert site.asked == []


@pytest.mark.parametrize("damage", [b"", b"$ANSIBLE_VAULT;1.1;AES256\n00\n", b"\xff\xfe"])
def test_a_damaged_or_missing_vault_touches_no_disk(site: Site, damage: bytes) -> None:
    site.vault.write_bytes(damage)
    assert site.run()["failed"] is True
    site.vault.unlink()
    assert site.run()["failed"] is True
    assert site.asked == []


def test_the_vault_of_another_password_touches_no_disk(site: Site) -> None:
    site.vault.write_text(Vault(b"autre").encrypt({escrow.KEYS: KEYS}), encoding="utf-8")
    assert site.run()["failed"] is True
    assert site.asked == []


def test_the_system_disks_keys_are_read_back_too(site: Site) -> None:
    root = {"passphrase": "abc", "recovery_key": KEYS["donnees"]["recovery_key"]}
    site.arguments = {"disks": [], "keys": {}, "root": root}
    assert site.run()["failed"] is True
    site.write({escrow.ROOT: root})
    assert "failed" not in site.run()
    site.write({escrow.ROOT: {**root, "recovery_key": "another"}})
    assert site.run()["failed"] is True
    assert len(site.asked) == 1


def test_a_header_that_cannot_be_kept_fails_the_step(site: Site) -> None:
    site.escrow.parent.write_text("a file where the folder should be", encoding="utf-8")
    result = site.run()
    assert result["failed"] is True
    assert "n'a pas pu être rangé" in result["msg"]
    assert "SECRETHEADER" not in json.dumps(result)


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "", "DONNEES", "a b"])
def test_a_machine_does_not_choose_where_files_go(site: Site, name: str) -> None:
    site.answer["headers"] = [{**HEADER, "name": name}]
    assert site.run()["failed"] is True
    assert not site.escrow.exists()


@pytest.mark.parametrize("header", [{}, {"name": "donnees"}, "text", None, {"name": "donnees", "digest": "ab"}])
def test_a_header_without_its_parts_fails_the_step(site: Site, header: Any) -> None:
    site.answer["headers"] = [header]
    assert site.run()["failed"] is True
    assert not site.escrow.exists()


def test_check_mode_writes_nothing(site: Site) -> None:
    site.check_mode = True
    assert "headers" not in site.run()
    assert not site.escrow.exists()


def test_the_headers_of_whole_volumes_are_kept_when_another_volume_fails(site: Site) -> None:
    site.answer = {"failed": True, "msg": "l'autre volume", "changed": True, "changes": [], "headers": [HEADER]}
    result = site.run()
    assert (result["failed"], result["msg"]) == (True, "l'autre volume")
    assert len(list(site.escrow.iterdir())) == 1


def test_an_encryption_that_does_not_read_back_is_not_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible.parsing.vault import VaultLib

    real = VaultLib.decrypt
    monkeypatch.setattr(
        VaultLib, "decrypt", lambda self, text, *a, **m: b"x" if b"0" in text and site.asked else real(self, text, *a, **m)
    )
    assert site.run()["failed"] is True
    assert not site.escrow.exists()


class TestLanguage:
    """What a machine says is told in the reader's language; a machine chooses no format string."""

    @pytest.fixture(autouse=True)
    def _english(self) -> Iterator[None]:
        before = i18n.language()
        i18n.select("en")
        yield
        i18n.select(before)

    def said(self, site: Site, said: Any) -> str:
        site.answer = {"failed": True, "msg": "une phrase.", "said": said, "headers": []}
        result = site.run()
        assert "said" not in result
        return str(result["msg"])

    def test_each_part_is_translated(self, site: Site) -> None:
        blank = "{name} n'est pas vierge (octets non nuls au début ou à la fin) : rien n'y est touché"
        parts = [{"text": blank, "values": {"name": f"/dev/vd{letter}"}} for letter in "bc"]
        told = self.said(site, {"parts": parts})
        assert told.count("is not blank") == 2
        assert "/dev/vdc" in told
        assert told.endswith(".")

    def test_a_sentence_inside_a_sentence_is_translated(self, site: Site) -> None:
        inner = {"text": "« {key} » y figure deux fois", "values": {"key": "/srv"}}
        told = self.said(
            site, {"text": "{path} : {error} ; corrigez le fichier à la main", "values": {"path": "/x", "error": inner}}
        )
        assert "stands there twice" in told

    @pytest.mark.parametrize(
        "said",
        [
            None,
            [],
            {},
            {"text": "{name.__class__}", "values": {"name": "x"}},
            {"text": "{name} est en lecture seule : rien n'y est touché", "values": {}},
            {"text": "{name} est en lecture seule : rien n'y est touché", "values": []},
            {"parts": [{"text": "unknown {x}", "values": {"x": "y"}}]},
        ],
    )
    def test_what_is_not_known_is_shown_as_it_came(self, site: Site, said: Any) -> None:
        assert self.said(site, said) == "une phrase."


def test_french_readers_see_what_the_machine_said(site: Site) -> None:
    text = "{name} est en lecture seule : rien n'y est touché"
    site.answer = {"failed": True, "msg": "/dev/vdb est …", "said": {"text": text, "values": {"name": "/dev/vdb"}}, "headers": []}
    assert site.run()["msg"] == "/dev/vdb est …"


def test_every_sentence_of_the_module_is_in_the_english_catalogue() -> None:
    i18n.select("en")
    try:
        texts = set()
        for path in [*ROOT.glob("plugins/module_utils/antiseche_disks_*.py"), ROOT / "plugins/modules/antiseche_disks.py"]:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "DiskError":
                    assert not isinstance(node.args[0], ast.JoinedStr | ast.Constant), f"{path.name}:{node.lineno}"
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "N_":
                    texts.add(ast.literal_eval(node.args[0]))
        assert len(texts) > 40
        assert [text for text in sorted(texts) if i18n._(text) == text] == []
    finally:
        i18n.select("fr")
