"""Backups in the answers: what is refused, what the roles get, and secrets that are made once."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from inventory_samples import PASSWORD, SAMPLE, folder_in, password, sample
from pydantic import ValidationError

from antiseche.practice import backup_secrets, inventory
from antiseche.practice.backup_secrets import REPOSITORY, SERVER, htpasswd_hash, server_certificate, with_secrets
from antiseche.practice.inventory_vars import common_variables, host_variables
from antiseche.practice.rules.backup import backup
from antiseche.practice.schema import Practice
from antiseche.practice.secrets import Vault

BACKUP: dict[str, Any] = {
    "server": "serveur",
    "hosts": [
        {"host": "accueil", "paths": ["/home"], "must_survive": ["/home/lucie/courriers"]},
        {"host": "serveur", "paths": ["/srv/dossiers"]},
    ],
    "offsite": {"kind": "rest", "url": "https://copie.example:8443/tilleuls", "supplier": "Copies Exemple"},
}
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE3WgC5WKWjujxy22vCJNo5yps7svkprtAw75EuMvRe2"
SFTP = {"kind": "sftp", "url": "sftp://tilleuls@copie.example:2222/copies", "host_key": f"{HOST_KEY} depot"}
SUPPLIERS = [{"name": "Copies Exemple", "role": "backup"}, {"name": "Éditeur", "role": "software"}]


def practice(suppliers: list[dict[str, str]] | None = None, **changes: Any) -> Practice:
    return sample(backup={**copy.deepcopy(BACKUP), **changes}, suppliers=suppliers or SUPPLIERS)


def found(**changes: Any) -> dict[str, str]:
    return {".".join(map(str, one.path)): one.message for one in backup(practice(**changes))}


def test_sound_answers_are_accepted() -> None:
    assert found() == {}
    assert list(backup(sample())) == []


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"server": "serveurr"}, "backup.server", "machine inconnue"),
        ({"server": "cabinet1"}, "backup.server", "Debian 13"),
        ({"hosts": [{"host": "ailleurs", "paths": ["/a"]}]}, "backup.hosts.0.host", "machine inconnue"),
        ({"hosts": [BACKUP["hosts"][0]] * 2}, "backup.hosts.1.host", "déjà plus haut"),
        ({"hosts": [{"host": "accueil", "paths": ["/home/../etc"]}]}, "backup.hosts.0.paths.0", "« .. »"),
        ({"hosts": [{"host": "accueil", "paths": ["/a"], "must_survive": ["/a/.."]}]}, "backup.hosts.0.must_survive.0", "« .. »"),
        ({"hosts": [{"host": "serveur", "paths": ["/srv"]}]}, "backup.hosts.0.paths.0", "elles-mêmes"),
        ({"hosts": [{"host": "serveur", "paths": ["/srv/antiseche-backup"]}]}, "backup.hosts.0.paths.0", "elles-mêmes"),
        (
            {"hosts": [{"host": "accueil", "paths": ["/a"], "dumps": [{"name": "b", "command": ["x"]}] * 2}]},
            "backup.hosts.0.dumps.1.name",
            "déjà pris",
        ),
        ({"offsite": {**SFTP, "host_key": None}}, "backup.offsite.host_key", "absente"),
        ({"offsite": {**SFTP, "url": "https://copie.example/"}}, "backup.offsite.url", "sftp://"),
        ({"offsite": {**SFTP, "url": "sftp://a@copie.example"}}, "backup.offsite.url", "dossier"),
        ({"offsite": {**SFTP, "url": "sftp://a@copie.example:65536/b"}}, "backup.offsite.url", "65535"),
        ({"offsite": {**BACKUP["offsite"], "url": SFTP["url"]}}, "backup.offsite.url", "https"),
        ({"offsite": {**BACKUP["offsite"], "kind": "s3", "url": SFTP["url"]}}, "backup.offsite.url", "https"),
        ({"offsite": {**BACKUP["offsite"], "host_key": HOST_KEY}}, "backup.offsite.host_key", "retirez-la"),
        ({"offsite": {**BACKUP["offsite"], "supplier": "Copie"}}, "backup.offsite.supplier", "fournisseur inconnu"),
        ({"offsite": {**BACKUP["offsite"], "supplier": "Éditeur"}}, "backup.offsite.supplier", "HDS"),
    ],
)
def test_what_contradicts_the_rest_is_refused(changes: dict[str, Any], path: str, words: str) -> None:
    problems = found(**changes)
    assert set(problems) == {path}
    assert words in problems[path]


def test_another_folder_with_the_same_beginning_is_no_contradiction() -> None:
    assert found(hosts=[{"host": "serveur", "paths": ["/srv/antiseche"]}, {"host": "accueil", "paths": ["/srv"]}]) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "/srv"},
        {"path": "srv/sauvegardes"},
        {"path": "/srv/sauve gardes"},
        {"path": "/srv/../etc"},
        {"path": "/srv/%i"},
        {"hour": "24:00"},
        {"hour": 1230},
        {"limit_kib": -1},
        {"hosts": []},
        {"hosts": [{"host": "accueil", "paths": []}]},
        {"hosts": [{"host": "accueil", "paths": ["home"]}]},
        {"hosts": [{"host": "accueil", "paths": ["/"]}]},
        {"hosts": [{"host": "accueil", "paths": ["/home/{{ x }}"]}]},
        {"hosts": [{"host": "accueil", "paths": ["/home\n/etc"]}]},
        {"hosts": [{"host": "accueil", "paths": ["/a"], "dumps": [{"name": "../b", "command": ["x"]}]}]},
        {"hosts": [{"host": "accueil", "paths": ["/a"], "dumps": [{"name": "b", "command": []}]}]},
        {"hosts": [{"host": "accueil", "paths": ["/a"], "dumps": [{"name": "b", "command": "pg_dumpall"}]}]},
        {"keep": {"days": 1}},
        {"offsite": {"kind": "ftp", "url": "https://a.example/"}},
        {"offsite": {"kind": "rest", "url": "http://a.example/"}},
        {"offsite": {**SFTP, "url": "sftp://a.example/copies"}},  # whose account?
        {"offsite": {**SFTP, "url": "sftp://moi:secret@a.example/copies"}},
        {"offsite": {**SFTP, "url": "sftp://-oProxyCommand=x@a.example/copies"}},
        {"offsite": {**SFTP, "url": "sftp://moi@-a.example/copies"}},
        {"offsite": {**SFTP, "url": "sftp://moi@a.example/co pies"}},
        {"offsite": {**SFTP, "host_key": "depot.example"}},
        {"offsite": {**SFTP, "host_key": HOST_KEY[:-6]}},
        {"offsite": {**SFTP, "host_key": "ssh-dss AAAA"}},
        {"offsite": {**SFTP, "host_key": HOST_KEY + "\n* " + HOST_KEY}},
        {"offsite": {"kind": "rest", "url": "https://moi:secret@a.example/"}},
    ],
)
def test_what_has_the_wrong_form_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        practice(**changes)


def test_machines_get_what_they_need_and_no_more() -> None:
    answers = practice()
    hosts = {host.name: host_variables(answers, host) for host in answers.hosts}
    assert common_variables(answers)["backup_server"] == {"host": "serveur", "address": "192.168.1.10"}
    assert hosts["accueil"]["backup_paths"] == ["/home"]
    assert not [name for name in hosts["cabinet1"] if name.startswith("backup_")]
    assert "backup_offsite" not in hosts["accueil"]
    assert hosts["serveur"]["backup_clients"] == ["accueil", "serveur"]
    assert hosts["serveur"]["backup_keep"] == {}


def test_the_firewall_lets_in_the_backed_up_machines_only() -> None:
    answers = practice()
    hosts = {host.name: host_variables(answers, host) for host in answers.hosts}
    (flow,) = [flow for flow in hosts["serveur"]["firewall_inbound"] if 8000 in flow["ports"]]
    assert flow["sources"] == ["192.168.1.11"]
    assert not [flow for flow in hosts["accueil"]["firewall_inbound"] if 8000 in flow["ports"]]
    assert [flow["ports"] for flow in hosts["serveur"]["firewall_outbound"]] == [[8443]]


def vault_of(root: Path, host: str) -> dict[str, Any]:
    return Vault(PASSWORD).read(root / "inventory/host_vars" / host / "vault.yml")


def test_each_machine_gets_secrets_once(tmp_path: Path) -> None:
    folder = folder_in(tmp_path / "tilleuls")
    report = inventory.build(folder, practice(), password)
    first = {host: vault_of(folder.root, host) for host in ("accueil", "cabinet1", "serveur")}
    assert REPOSITORY in report.new_secrets["accueil"]
    assert not [name for name in first["cabinet1"] if name.startswith("backup_")]
    assert first["accueil"]["backup_password"] != first["serveur"]["backup_password"]
    assert "backup_tls_key" not in first["accueil"]
    assert inventory.build(folder, practice(), password).current
    text = "".join(path.read_text(encoding="utf-8") for path in folder.inventory_dir.rglob("main.yml"))
    assert first["accueil"]["backup_password"] not in text
    # One more person: the vault is written again, its keys are the same.
    hosts = [{**SAMPLE["hosts"][0], "users": ["lucie", "remi"]}, *SAMPLE["hosts"][1:]]
    inventory.build(folder, sample(backup=BACKUP, suppliers=SUPPLIERS, hosts=hosts), password)
    again = vault_of(folder.root, "accueil")
    assert {**again, **{k: v for k, v in first["accueil"].items() if k.startswith("backup_")}} == again


def test_answers_that_drop_the_backups_drop_no_key(tmp_path: Path) -> None:
    folder = folder_in(tmp_path / "tilleuls")
    inventory.build(folder, practice(), password)
    first = vault_of(folder.root, "accueil")["backup_password"]
    inventory.build(folder, sample(), password)
    inventory.build(folder, practice(), password)
    assert vault_of(folder.root, "accueil")["backup_password"] == first


def test_a_new_address_gets_a_certificate_and_keeps_the_key() -> None:
    old = with_secrets({}, [f"{SERVER}192.168.1.10"])
    new = with_secrets(old, [f"{SERVER}192.168.1.99"])
    assert new["backup_tls_key"] == old["backup_tls_key"]
    names = x509.load_pem_x509_certificate(new["backup_tls_certificate"].encode()).extensions
    assert "192.168.1.99" in str(names.get_extension_for_class(x509.SubjectAlternativeName).value)
    assert with_secrets(new, [f"{SERVER}192.168.1.99"]) == new


def test_half_a_secret_is_completed_never_replaced() -> None:
    whole = with_secrets({"backup_password": "gardé"}, [REPOSITORY])
    assert whole["backup_password"] == "gardé"
    assert whole["backup_rest_hash"] == htpasswd_hash(whole["backup_rest_password"])
    assert backup_secrets.held({"backup_password": "x"}) == []


def test_the_certificate_is_for_that_address_and_for_a_server() -> None:
    _key, pem = server_certificate("fd00::2", None)
    certificate = x509.load_pem_x509_certificate(pem.encode())
    assert "fd00::2" in str(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def test_an_sftp_repository_is_accepted_and_its_server_is_pinned() -> None:
    assert found(offsite=SFTP) == {}
    answers = practice(offsite=SFTP)
    server = next(host_variables(answers, host) for host in answers.hosts if host.name == "serveur")
    where = {"user": "tilleuls", "host": "copie.example", "port": 2222, "path": "/copies", "host_key": HOST_KEY}
    assert server["backup_offsite"]["sftp"] == where
    assert [flow["ports"] for flow in server["firewall_outbound"]] == [[2222]]
    usual = practice(offsite={**SFTP, "url": "sftp://tilleuls@copie.example/a/b/"})
    server = next(host_variables(usual, host) for host in usual.hosts if host.name == "serveur")
    assert (server["backup_offsite"]["sftp"]["port"], server["backup_offsite"]["sftp"]["path"]) == (22, "/a/b")
    assert [flow["ports"] for flow in server["firewall_outbound"]] == [[22]]


def test_the_sftp_key_is_made_once_and_only_its_public_half_is_in_the_clear(tmp_path: Path) -> None:
    folder = folder_in(tmp_path / "tilleuls")
    report = inventory.build(folder, practice(offsite=SFTP), password)
    assert backup_secrets.OFFSITE in report.new_secrets["serveur"]
    key = vault_of(folder.root, "serveur")["backup_offsite_key"]
    assert "backup_offsite_key" not in vault_of(folder.root, "accueil")
    public = (folder.inventory_dir / "host_vars/serveur" / inventory.OFFSITE_PUBLIC_KEY).read_text(encoding="utf-8")
    assert public.startswith("ssh-ed25519 ")
    assert public.endswith("antiseche-tilleuls\n")
    assert inventory.build(folder, practice(offsite=SFTP), password).current
    inventory.build(folder, practice(), password)
    inventory.build(folder, practice(offsite=SFTP), password)
    assert vault_of(folder.root, "serveur")["backup_offsite_key"] == key
    for path in folder.root.rglob("*"):
        assert not path.is_file() or key.splitlines()[1] not in path.read_text(encoding="utf-8"), path


def test_an_sftp_key_that_was_given_is_kept() -> None:
    given = backup_secrets.offsite_key()
    assert with_secrets({"backup_offsite_key": given}, [backup_secrets.OFFSITE])["backup_offsite_key"] == given
    assert backup_secrets.held({"backup_offsite_key": ""}) == []


@pytest.mark.parametrize("values", [{}, {"backup_offsite_key": ""}, {"backup_offsite_key": "abîmée"}])
def test_a_key_that_cannot_be_read_has_no_public_half(values: dict[str, Any]) -> None:
    assert backup_secrets.offsite_public_key(values, "x") is None
