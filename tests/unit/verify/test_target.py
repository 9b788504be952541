"""Hosts to check, from the inventory on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiseche.errors import AnswersError
from antiseche.kit import kit_dir
from antiseche.practice import inventory
from antiseche.practice.answers import load_answers
from antiseche.practice.folder import PracticeFolder
from antiseche.verify.target import practice_targets


@pytest.fixture
def folder(tmp_path: Path) -> PracticeFolder:
    made = PracticeFolder(tmp_path / "tilleuls")
    made.root.mkdir()
    made.answers_file.write_bytes((kit_dir() / "inventories/exemple/practice.yml").read_bytes())
    inventory.build(made, load_answers(made), lambda _create: b"the password of the vault")
    return made


def test_each_host_comes_with_what_is_expected_of_it(folder: PracticeFolder) -> None:
    targets = {target.name: target for target in practice_targets(folder)}
    assert list(targets) == ["accueil", "cabinet-1", "cabinet-2", "serveur"]
    server, laptop = targets["serveur"], targets["cabinet-2"]
    assert (server.kind, server.system, server.address, server.user) == ("server", "debian13", "192.168.42.2", "antiseche")
    assert (laptop.kind, laptop.system) == ("workstation", "debian12")
    assert server.expected["firewall_shares"] is True
    assert laptop.expected["firewall_shares"] is False
    assert laptop.expected["password_policy_profile"] == "anssi-cnil"
    assert server.known_hosts == str(folder.known_hosts)
    assert server.port == 22


def test_no_secret_and_no_connection_setting_is_handed_to_checks(folder: PracticeFolder) -> None:
    for target in practice_targets(folder):
        assert not [name for name in target.expected if name.startswith("ansible_")]
        assert "accounts_initial_passwords" not in target.expected
        assert "ANSIBLE_VAULT" not in json.dumps(target.as_json())
        assert "expected" not in repr(target)


def test_hosts_may_be_chosen_and_keep_their_order(folder: PracticeFolder) -> None:
    assert [target.name for target in practice_targets(folder, ("serveur", "accueil"))] == ["accueil", "serveur"]


def test_another_port_is_used(folder: PracticeFolder) -> None:
    path = folder.inventory_dir / "host_vars/accueil/main.yml"
    path.write_text(path.read_text() + "ansible_port: 2222\n")
    assert next(t for t in practice_targets(folder) if t.name == "accueil").port == 2222


@pytest.mark.parametrize("text", ["", "[]", "all: 3", "all: {children: []}", "all: {children: {linux: 3}}", "a: b: c", "\x00"])
def test_an_inventory_that_is_not_ours_is_one_sentence(folder: PracticeFolder, text: str) -> None:
    folder.hosts_file.write_text(text)
    with pytest.raises(AnswersError, match="illisible"):
        practice_targets(folder)


def test_no_inventory_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(AnswersError, match="antiseche inventory rien"):
        practice_targets(PracticeFolder(tmp_path / "rien"))


@pytest.mark.parametrize("name", ["host_vars/accueil/main.yml", "group_vars/all/main.yml"])
@pytest.mark.parametrize("text", ["a: [", "\x00", "- a\n- b\n", "3"])
def test_variables_that_cannot_be_read_are_an_error_not_a_lighter_check(folder: PracticeFolder, name: str, text: str) -> None:
    """A check that expects less than the answers want could pass on a bad machine."""
    (folder.inventory_dir / name).write_text(text)
    with pytest.raises(AnswersError, match="illisible"):
        practice_targets(folder)


@pytest.mark.parametrize("name", ["host_vars/accueil/main.yml", "group_vars/all/main.yml"])
def test_variables_that_are_missing_are_an_error(folder: PracticeFolder, name: str) -> None:
    (folder.inventory_dir / name).unlink()
    with pytest.raises(AnswersError, match="relancez « antiseche inventory tilleuls »"):
        practice_targets(folder)


@pytest.mark.parametrize("port", ["ssh", "[22]", "70000", "0", "-1", "null"])
def test_a_port_that_is_none_is_one_sentence(folder: PracticeFolder, port: str) -> None:
    path = folder.inventory_dir / "host_vars/accueil/main.yml"
    path.write_text(path.read_text() + f"ansible_port: {port}\n")
    with pytest.raises(AnswersError, match="ansible_port"):
        practice_targets(folder)
