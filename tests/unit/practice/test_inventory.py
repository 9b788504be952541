"""The inventory: rendered the same way every time, written in one step, secrets never lost."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from inventory_samples import KEY, PASSWORD, SAMPLE, folder_in, password, sample

from antiseche.errors import AnswersError, AntisecheError
from antiseche.practice import inventory, staging
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.inventory_yaml import to_yaml
from antiseche.practice.schema import Middleware
from antiseche.practice.secrets import Vault, VaultError, passwords_in

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30).filter(
    lambda t: t.strip() and not any(mark in t for mark in ("{{", "{%", "{#"))
)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def never(_create: bool) -> bytes:
    raise AssertionError("the password was asked for nothing")


def vault_of(folder: PracticeFolder, host: str) -> dict[str, str]:
    return passwords_in(Vault(PASSWORD).read(folder.inventory_dir / "host_vars" / host / "vault.yml"))


@pytest.fixture
def built(tmp_path: Path) -> PracticeFolder:
    folder = folder_in(tmp_path / "cabinet")
    inventory.build(folder, sample(), password)
    return folder


def test_same_answers_same_bytes(tmp_path: Path) -> None:
    assert inventory.render(sample()) == inventory.render(sample())


def test_groups_and_variables() -> None:
    files = inventory.render(sample())
    groups = yaml.safe_load(files["hosts.yml"])["all"]["children"]
    assert {name: list(group["hosts"]) for name, group in groups.items()} == {
        "linux": ["accueil", "cabinet1", "serveur"],
        "workstations": ["accueil", "cabinet1"],
        "servers": ["serveur"],
        "debian12": ["cabinet1"],
        "debian13": ["accueil", "serveur"],
    }
    cabinet1 = yaml.safe_load(files["host_vars/cabinet1/main.yml"])
    people = {account["login"]: account for account in cabinet1["accounts_people"]}
    assert set(people) == {"claire", "adm-claire", "remi", "paul"}
    assert people["remi"]["expires"] == "2027-01-01", "the first day without access follows the last day of presence"
    assert people["paul"]["state"] == "locked", "who left is locked everywhere, even where no longer listed"
    assert people["adm-claire"]["groups"] == ["cabinet-admins"]
    serveur = yaml.safe_load(files["host_vars/serveur/main.yml"])
    assert serveur["firewall_shares"] is True
    assert serveur["firewall_inbound"][0]["sources"] == ["192.168.1.0/24"], "no source means the local network"


def test_only_a_host_with_a_reader_hears_of_cards() -> None:
    practice = sample()
    given = {"source": "x.rpm", "sha256": "AB" * 32, "version": "5.2.4"}
    cards = practice.cps.model_copy(update={"middleware": Middleware(**given)})
    hosts = [host.model_copy(update={"card_reader": host.name == "accueil"}) for host in practice.hosts]
    files = inventory.render(practice.model_copy(update={"cps": cards, "hosts": hosts}))
    told = {name: yaml.safe_load(files[f"host_vars/{name}/main.yml"]) for name in ("accueil", "serveur")}
    cps = {name: {key: value for key, value in one.items() if key.startswith("cps_")} for name, one in told.items()}
    assert cps["serveur"] == {"cps_reader": False}
    assert cps["accueil"]["cps_middleware"] == {**given, "sha256": "ab" * 32}
    assert (cps["accueil"]["cps_lock"], cps["accueil"]["cps_install_authorities"]) == (True, False)
    assert set(cps["accueil"]["cps_people"]) <= {account["login"] for account in told["accueil"]["accounts_people"]}
    without = inventory.render(practice.model_copy(update={"hosts": hosts}))
    assert yaml.safe_load(without["host_vars/accueil/main.yml"])["cps_middleware"] == {}


def test_unchanged_answers_ask_nothing_and_write_nothing(built: PracticeFolder) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.root.rglob("*")}
    report = inventory.build(built, sample(), never)
    assert report.current
    assert before == {path: path.stat().st_mtime_ns for path in built.root.rglob("*")}


def test_vault_files_are_private_and_open(built: PracticeFolder) -> None:
    for host, logins in {"accueil": {"lucie"}, "cabinet1": {"claire", "adm-claire", "remi"}}.items():
        path = built.inventory_dir / "host_vars" / host / "vault.yml"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256")
        assert set(vault_of(built, host)) == logins
    everything = [secret for host in ("accueil", "cabinet1", "serveur") for secret in vault_of(built, host).values()]
    assert len(set(everything)) == len(everything), "each machine has its own"


def test_a_new_person_gets_a_secret_and_the_others_keep_theirs(built: PracticeFolder) -> None:
    old, untouched = vault_of(built, "accueil"), (built.inventory_dir / "host_vars/serveur/vault.yml").read_bytes()
    hosts = [{**SAMPLE["hosts"][0], "users": ["lucie", "paul", "remi"]}, *SAMPLE["hosts"][1:]]
    report = inventory.build(built, sample(hosts=hosts), password)
    assert report.new_secrets == {"accueil": ["remi"]}
    new = vault_of(built, "accueil")
    assert {**new, **old} == new
    assert set(new) == {"lucie", "remi"}
    assert (built.inventory_dir / "host_vars/serveur/vault.yml").read_bytes() == untouched


def test_other_secrets_of_a_vault_survive(built: PracticeFolder) -> None:
    path = built.inventory_dir / "host_vars/accueil/vault.yml"
    values = Vault(PASSWORD).read(path)
    path.write_text(Vault(PASSWORD).encrypt({**values, "luks_key": "précieux"}))
    hosts = [{**SAMPLE["hosts"][0], "users": ["lucie", "remi"]}, *SAMPLE["hosts"][1:]]
    inventory.build(built, sample(hosts=hosts), password)
    assert Vault(PASSWORD).read(path)["luks_key"] == "précieux"


def test_a_host_that_goes_leaves_its_secrets_and_finds_them_again(built: PracticeFolder) -> None:
    before = vault_of(built, "accueil")
    (built.inventory_dir / "host_vars/accueil/local.yml").write_text("mine: 1\n")
    report = inventory.build(built, sample(hosts=SAMPLE["hosts"][1:]), never)
    assert report.removed_hosts == ["accueil"]
    assert not (built.inventory_dir / "host_vars/accueil").exists()
    assert "accueil" not in (built.inventory_dir / "hosts.yml").read_text()
    kept = built.root / "removed/accueil/vault.yml"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert (built.root / "removed/accueil/local.yml").read_text() == "mine: 1\n"
    inventory.build(built, sample(), password)
    assert vault_of(built, "accueil") == before
    assert not kept.exists()


def test_a_second_vault_password_is_refused(built: PracticeFolder) -> None:
    before = tree(built.root)
    host = {"name": "nouveau", "address": "192.168.1.20", "users": ["lucie"]}
    with pytest.raises(VaultError, match=r"vault\.yml"):
        inventory.build(built, sample(hosts=[*SAMPLE["hosts"], host]), lambda _create: b"another password")
    assert tree(built.root) == before


def test_digest_ignores_nothing_that_matters(built: PracticeFolder) -> None:
    assert inventory.stored_digest(built) == inventory.answers_digest(sample())
    changed = sample(practice={"id": "tilleuls", "name": "Autre nom"})
    assert inventory.answers_digest(changed) != inventory.stored_digest(built)
    assert not inventory.compare(built, changed).current


def test_a_file_changed_by_hand_is_stale_then_restored(built: PracticeFolder) -> None:
    path = built.inventory_dir / "group_vars/all/main.yml"
    good = path.read_text()
    path.write_text(good.replace("03:30", "12:00"))
    assert inventory.compare(built, sample()).changed == ["group_vars/all/main.yml"]
    inventory.build(built, sample(), never)
    assert path.read_text() == good


@pytest.mark.parametrize("state", ["", "{", "[]", '{"version": 99}', "null", '{"version": 1, "vaults": 3}'])
def test_a_damaged_state_file_costs_no_secret(built: PracticeFolder, state: str) -> None:
    before = {host: vault_of(built, host) for host in ("accueil", "cabinet1", "serveur")}
    (built.inventory_dir / inventory.STATE_NAME).write_text(state)
    inventory.build(built, sample(), password)
    assert before == {host: vault_of(built, host) for host in before}
    assert inventory.compare(built, sample()).current


@pytest.mark.parametrize("name", ["all", "ungrouped", "linux", "workstations", "servers", "debian12", "debian13", "localhost"])
def test_reserved_host_names(tmp_path: Path, name: str) -> None:
    hosts = [{"name": name, "address": "192.168.1.9", "users": ["lucie"]}]
    with pytest.raises(AnswersError, match=name):
        inventory.build(folder_in(tmp_path / "c"), sample(hosts=hosts), never)
    assert list((tmp_path / "c").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"hosts": [SAMPLE["hosts"][0], SAMPLE["hosts"][0]]}, "accueil"),
        ({"hosts": [{"name": "poste", "address": "192.168.1.9", "users": ["inconnue"]}]}, "inconnue"),
        ({"people": [*SAMPLE["people"], {"login": "claire", "name": "X", "function": "other"}]}, "claire"),
        ({"people": [*SAMPLE["people"], {"login": "adm-claire", "name": "X", "function": "other"}]}, "adm-claire"),
        ({"people": [*SAMPLE["people"], {"login": "antiseche", "name": "X", "function": "other"}]}, "antiseche"),
        ({"people": [*SAMPLE["people"], {"login": "x" * 30, "name": "X", "function": "other", "admin": True}]}, "32"),
        ({"maintenance": {**SAMPLE["maintenance"], "sshd_options": {"{{ x }}": "yes"}}}, "x"),
    ],
)
def test_contradictory_answers(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(AnswersError, match=word):
        inventory.build(folder_in(tmp_path / "c"), sample(**changes), never)
    assert list((tmp_path / "c").iterdir()) == []


@pytest.mark.parametrize("text", ["{{ lookup('pipe', 'id') }}", "{% if x %}", "a {# b #}"])
@pytest.mark.parametrize("where", [lambda text: {"a": text}, lambda text: {"a": [{"b": text}]}, lambda text: {"a": {text: 1}}])
def test_no_template_gets_into_a_generated_file(text: str, where: Any) -> None:
    with pytest.raises(AnswersError, match=r"\{"):
        to_yaml(where(text))


@settings(max_examples=150, deadline=None)
@given(TEXT, TEXT, TEXT)
def test_any_text_comes_back_from_yaml(one: str, two: str, three: str) -> None:
    value = {"a": one, "b": [two, {"c": three, "d": [], "e": {}}]}
    assert yaml.safe_load(to_yaml(value)) == value


@settings(max_examples=60, deadline=None)
@given(TEXT, TEXT)
def test_any_name_renders(person: str, practice_name: str) -> None:
    people = [{**SAMPLE["people"][0], "name": person}, *SAMPLE["people"][1:]]
    try:
        practice = sample(people=people, practice={"id": "tilleuls", "name": practice_name})
    except ValueError:
        return  # the answers refuse it: nothing to render
    files = inventory.render(practice)
    assert yaml.safe_load(files["group_vars/all/main.yml"])["antiseche_practice_name"] == practice.practice.name
    accounts = yaml.safe_load(files["host_vars/cabinet1/main.yml"])["accounts_people"]
    assert accounts[0]["name"] == practice.people[0].name


def test_locked_folder_is_told(built: PracticeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_LOCK_SECONDS", 0.0)
    with staging.locked(built.root), pytest.raises(AntisecheError, match="cabinet"):
        inventory.build(built, sample(), never)


def test_ansible_reads_it_alone(tmp_path: Path) -> None:
    """Plain Ansible, a folder with a space and an apostrophe, one vault password file."""
    folder = folder_in(tmp_path / "cabinet d'été")
    inventory.build(folder, sample(), password)
    secret = tmp_path / "pw"
    secret.write_bytes(PASSWORD)
    secret.chmod(0o600)
    done = subprocess.run(
        ["ansible-inventory", "-i", str(folder.hosts_file), "--list", "--vault-password-file", str(secret)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "0"},
    )
    data = json.loads(done.stdout)
    accueil = data["_meta"]["hostvars"]["accueil"]
    assert accueil["accounts_initial_passwords"] == vault_of(folder, "accueil")
    assert accueil["remote_access_public_keys"] == [KEY]
    assert set(data["linux"]["hosts"]) == {"accueil", "cabinet1", "serveur"}
    debug = subprocess.run(
        [
            *("ansible", "-i", str(folder.hosts_file), "accueil", "-c", "local", "-m", "ansible.builtin.debug"),
            *("-a", "var=ansible_ssh_common_args", "--vault-password-file", str(secret), "-e", "ansible_become=false"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    options = json.loads(debug.stdout.split("=>", 1)[1])["ansible_ssh_common_args"]
    resolved = subprocess.run(["sh", "-c", f"ssh -G {options} 192.0.2.1"], capture_output=True, text=True, check=True).stdout
    line = next(line for line in resolved.splitlines() if line.startswith("userknownhostsfile"))
    assert Path(line.split(" ", 1)[1]).resolve() == folder.known_hosts.resolve() or "cabinet d'été" in line
    assert "stricthostkeychecking true" in resolved


def test_emptied_inventory_is_rebuilt(built: PracticeFolder) -> None:
    shutil.rmtree(built.inventory_dir)
    inventory.build(built, sample(), password)
    assert inventory.compare(built, sample()).current
