"""Names, environment, lock and records: nothing here starts Ansible."""

from __future__ import annotations

import configparser
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from antiseche import i18n
from antiseche.engine import environment, records, scope
from antiseche.engine.locking import LOCK_NAME, practice_lock
from antiseche.engine.playbook import command
from antiseche.engine.spec import RunSpec
from antiseche.engine.summary import summarize
from antiseche.errors import AnswersError, AntisecheError, ExitCode
from antiseche.kit import kit_dir
from antiseche.practice.folder import PracticeFolder


@pytest.fixture
def folder(tmp_path: Path) -> PracticeFolder:
    found = PracticeFolder(tmp_path / "cabinet")
    found.inventory_dir.mkdir(parents=True)
    found.answers_file.write_text("x: 1\n")
    return found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "all: 3",
        "all: {children: []}",
        "all: {children: {linux: 3}}",
        "a: b: c",
        "\x00",
        "all: {children: {linux: {hosts: 3}}}",
    ],
)
def test_an_unreadable_inventory_is_one_sentence(folder: PracticeFolder, text: str) -> None:
    folder.hosts_file.write_text(text)
    with pytest.raises(AnswersError, match="illisible"):
        scope.inventory_hosts(folder)


def test_a_missing_inventory_names_the_command(folder: PracticeFolder) -> None:
    with pytest.raises(AnswersError, match="antiseche inventory cabinet"):
        scope.inventory_hosts(folder)


def test_hosts_come_in_order_and_once(folder: PracticeFolder) -> None:
    folder.hosts_file.write_text("all: {children: {linux: {hosts: {b: , a: }}, servers: {hosts: {a: }}, debian12: {hosts: {}}}}")
    assert scope.inventory_hosts(folder) == ["b", "a"]


@pytest.mark.parametrize("wanted", ["acueil", "ACCUEIL", "", "accueil,serveur", "!accueil", "all", "~acc.*", "accueil:&x"])
def test_patterns_and_wrong_hosts_are_refused(wanted: str) -> None:
    with pytest.raises(AnswersError) as caught:
        scope.checked_hosts([wanted], ["accueil", "serveur"])
    assert caught.value.exit_code is ExitCode.USAGE
    if wanted == "acueil":
        assert "vouliez-vous dire « accueil »" in str(caught.value)


def test_wrong_roles_are_refused_with_the_nearest_one() -> None:
    with pytest.raises(AnswersError, match="vouliez-vous dire « firewall »"):
        scope.checked_roles(["firewal"], ["accounts", "firewall"])
    assert scope.checked_roles(["firewall", "firewall"], ["firewall"]) == ("firewall",)


def test_titles_survive_a_broken_file(tmp_path: Path) -> None:
    for name, text in {"good": "order: 5\ntitle: {fr: Bon, en: Good}", "bad": "title: [", "odd": "3"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "controls.yml").write_text(text)
    assert scope.role_titles(tmp_path) == {"good": "Bon", "bad": "bad", "odd": "odd"}


def test_the_environment_is_a_short_list(folder: PracticeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "ANSIBLE_HOST_KEY_CHECKING",
        "ANSIBLE_LIBRARY",
        "ANSIBLE_VAULT_PASSWORD_FILE",
        "SECRET_TOKEN",
        "PYTHONPATH",
        "PYTHONHOME",
    ):
        monkeypatch.setenv(name, "weak")
    spec = RunSpec(folder, "deploy", vault_password=b"topsecret")
    made = environment.environment(spec, folder.root, folder.root)
    assert "weak" not in made.values()
    assert "topsecret" not in str(made)
    assert "topsecret" not in repr(spec)
    assert "topsecret" not in str(command(spec, folder.root))


def test_sockets_are_private_short_and_one_per_practice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / ("long" * 20)
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    one, two = environment.private_directory(tmp_path / "a"), environment.private_directory(tmp_path / "b")
    assert one != two
    assert environment.private_directory(tmp_path / "a") == one
    for path in (one, two):
        assert len(str(path)) < 76
        assert path.stat().st_mode & 0o777 == 0o700
        path.rmdir()


def test_a_directory_that_someone_else_prepared_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run")
    wanted = environment.private_directory(tmp_path)
    wanted.rmdir()
    wanted.symlink_to(tmp_path)
    try:
        other = environment.private_directory(tmp_path)
        assert other != wanted
        other.rmdir()
    finally:
        wanted.unlink()


def test_an_old_lock_file_does_not_hold(folder: PracticeFolder) -> None:
    folder.runs_dir.mkdir()
    (folder.runs_dir / LOCK_NAME).write_text('{"pid": 999999, "run": "x"}')
    with practice_lock(folder) as lock:
        assert lock.holder()["pid"] == os.getpid()


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"pid": "x"}', '{"pid": -1}'])
def test_a_damaged_lock_file_still_gives_one_sentence(folder: PracticeFolder, text: str) -> None:
    with practice_lock(folder):
        (folder.runs_dir / LOCK_NAME).write_text(text)
        with pytest.raises(AntisecheError, match="déjà en cours"), practice_lock(folder):
            pass


def test_records_are_private_and_complete(folder: PracticeFolder) -> None:
    run = records.create_run(folder, "deploy", expected=["a", "b"], parent="earlier")
    assert run.dir.stat().st_mode & 0o777 == 0o700
    assert (run.dir / "run.json").stat().st_mode & 0o777 == 0o600
    first = json.loads((run.dir / "run.json").read_text())
    assert first["ended"] is None
    assert first["parent"] == "earlier"
    assert set(first["provenance"]) >= {
        "kit_version",
        "git_commit",
        "git_dirty",
        "answers_sha256",
        "kit_sha256",
        "ansible_version",
    }
    run.finish(summarize([]), 0)
    loaded = records.load_run(run.dir)
    assert loaded is not None
    assert loaded.finished
    assert loaded.record["scope"] == {"expected": ["a", "b"], "reached": [], "unreachable": []}


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_record_is_left_out(folder: PracticeFolder, text: str) -> None:
    run = records.create_run(folder, "deploy")
    (run.dir / "run.json").write_text(text)
    assert list(records.runs(folder)) == []
    assert records.close_unfinished(folder) == []


def test_a_run_without_a_playbook_is_not_closed_by_others(folder: PracticeFolder) -> None:
    run = records.create_run(folder, "verify")
    assert records.close_unfinished(folder) == []
    assert not records.load_run(run.dir).finished  # type: ignore[union-attr]


def test_only_pinned_keys_and_no_configuration_of_the_user_count() -> None:
    """Playbooks and checks must trust the same hosts: a key in /etc/ssh/ssh_known_hosts is not a pinned one."""
    settings = configparser.ConfigParser()
    settings.read(kit_dir() / "ansible.cfg")
    arguments = shlex.split(settings["ssh_connection"]["ssh_args"])
    options = {arguments[i + 1] for i, word in enumerate(arguments) if word == "-o"}
    assert arguments[arguments.index("-F") + 1] == "/dev/null"
    assert "GlobalKnownHostsFile=/dev/null" in options
    assert settings["defaults"].getboolean("host_key_checking")


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_plugins_speak_the_readers_language(lang: str) -> None:
    """They run in the playbook's process, which has no command line of ours."""
    script = "from antiseche.i18n import language; print(language())"
    around = {**os.environ, i18n.RUN_LANGUAGE: lang}
    done = subprocess.run([sys.executable, "-c", script], env=around, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == lang


def test_the_playbooks_process_is_told_the_language(folder: PracticeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(i18n, "language", lambda: "en")
    spec = RunSpec(folder, "deploy")
    assert environment.environment(spec, folder.root, folder.root)["ANTISECHE_RUN_LANG"] == "en"
