"""The programs that the backup role puts on machines, without a machine: what is due, what failed and why, what is believed."""

from __future__ import annotations

import datetime as dt
import importlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FILES = Path(__file__).resolve().parents[3] / "roles" / "backup" / "files"
SFTP_END = (
    "Fatal: unable to open repository at sftp://a@b:22//c: unable to start the sftp session,"
    " error: error receiving version packet from server: server unexpectedly closed connection: unexpected EOF"
)
PROGRAMS = ("common", "client", "server", "drill", "offsite", "volumes", "snapshots")
NOON = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)  # 13:00 in Paris


@pytest.fixture(scope="module")
def programs() -> Iterator[dict[str, Any]]:
    """The programs, imported as they import each other: from their own folder."""
    sys.path.insert(0, str(FILES))
    try:
        yield {name: importlib.import_module(name) for name in PROGRAMS}
    finally:
        sys.path.remove(str(FILES))
        for name in PROGRAMS:
            sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Fatal: wrong password or no key found", "password"),
        ("Save(<data/ab>) returned error, retrying after 1s: server response unexpected: 507 Insufficient Storage", "full"),
        ("write /srv/x: no space left on device", "full"),
        ("Fatal: unable to open repository: 401 Unauthorized", "refused"),
        ("blob not removed, server response: 403 Forbidden (403)", "refused"),
        ("x509: certificate signed by unknown authority", "certificate"),
        ("Fatal: repository does not exist: unable to open config file", "lost"),
        ("unable to create lock in backend: repository is already locked by PID 3", "locked"),
        ("Pack ID does not match, want aa, got bb", "corrupt"),
        ("ciphertext verification failed", "corrupt"),
        ("dial tcp 192.168.1.10:8000: connect: connection refused", "absent"),
        ("dial tcp 192.168.1.10:8000: i/o timeout", "absent"),
        ("dial tcp: lookup depot.example: no such host", "absent"),
        (f"subprocess ssh: Host key verification failed.\n{SFTP_END}", "host_key"),
        (f"subprocess ssh: No ED25519 host key is known for [depot.example]:2222 and you have requested\n{SFTP_END}", "host_key"),
        (f"subprocess ssh: tilleuls@depot.example: Permission denied (publickey).\n{SFTP_END}", "key"),
        (f"subprocess ssh: Permission denied (publickey,password).\n{SFTP_END}", "key"),
        (f'subprocess ssh: Load key "/run/x": error in libcrypto\n{SFTP_END}', "key"),
        (f"subprocess ssh: ssh: connect to host depot.example port 22: Connection refused\n{SFTP_END}", "absent"),
        (f"subprocess ssh: ssh: Could not resolve hostname depot.example\n{SFTP_END}", "absent"),
        (SFTP_END, "absent"),
        ("sftp: unexpected EOF", "corrupt"),
        ("something nobody has seen", "other"),
        ("", "other"),
    ],
)
def test_what_the_tool_says_has_a_code(programs: dict[str, Any], said: str, code: str) -> None:
    assert programs["common"].reason_of(said) == code


def test_every_code_has_a_sentence_for_people(programs: dict[str, Any]) -> None:
    text = (FILES.parent / "verify" / "test_backup.py").read_text(encoding="utf-8")
    for code, _pattern in programs["common"].REASONS:
        assert f'"{code}": "' in text, code


def test_a_failure_never_shows_credentials(programs: dict[str, Any]) -> None:
    error = programs["common"].BackupError("other", "Get https://accueil:tres-secret@192.168.1.10:8000/: refused")
    assert "tres-secret" not in json.dumps(error.as_json())
    assert "192.168.1.10" in error.detail


def fake(folder: Path, script: str) -> dict[str, str]:
    """Put a restic of our own into a folder; return the environment that finds it."""
    path = folder / "restic"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_what_will_not_get_better_is_not_waited_for(programs: dict[str, Any], tmp_path: Path) -> None:
    environment = fake(tmp_path, "echo 'returned error, retrying after 1s: 507 Insufficient Storage' >&2; exec sleep 600")
    done = programs["common"].restic(["backup"], environment)
    assert done.rc != 0
    assert programs["common"].failure_of(done).code == "full"


def test_an_answer_that_does_not_come_is_an_absence(programs: dict[str, Any], tmp_path: Path) -> None:
    done = programs["common"].restic(["cat", "config"], fake(tmp_path, "exec sleep 600"), 0.2)
    assert programs["common"].failure_of(done).code == "absent"


def test_a_short_absence_is_waited_for_and_a_long_one_is_not(programs: dict[str, Any]) -> None:
    class Deaf:
        stderr: tuple[bytes, ...] = ()

    listener = programs["common"].Listener(Deaf())
    moments = [0.0, 60, 120, 179]
    assert not any(listener._is_hopeless("absent", moment) for moment in moments)
    assert not listener._is_hopeless("absent", 1000), "another absence, hours of work later"
    assert [listener._is_hopeless("absent", 1000 + moment) for moment in (100, 170, 240)] == [False, False, True]


def test_no_restic_is_a_failure_with_words(programs: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(programs["common"].BackupError, match="restic"):
        programs["common"].restic(["version"], {"PATH": str(tmp_path)})


def test_a_state_is_replaced_whole_and_readable(programs: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    programs["common"].write_json(path, {"a": 1})
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    with pytest.raises(TypeError):
        programs["common"].write_json(path, {"a": object()})
    assert programs["common"].read_json(path) == {"a": 1}
    assert [one.name for one in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_a_damaged_state_is_no_state(programs: dict[str, Any], tmp_path: Path, content: str) -> None:
    (tmp_path / "s").write_text(content, encoding="utf-8")
    assert programs["common"].read_json(tmp_path / "s") == {}


@pytest.mark.parametrize(
    ("success", "expected"),
    [
        ("", True),
        ("2026-11-25T11:31:00+00:00", False),  # 12:31 in Paris: after the agreed 12:30
        ("2026-11-25T11:29:00+00:00", True),
        ("2026-11-24T20:00:00+00:00", True),
        ("2026-11-25T12:04:00+00:00", False),
        ("2027-01-01T00:00:00+00:00", True),  # a clock that was wrong must not stop backups until then
    ],
)
def test_a_backup_is_due_once_after_each_agreed_hour(programs: dict[str, Any], success: str, expected: bool) -> None:
    config = {"hour": "12:30", "timezone": "Europe/Paris"}
    assert programs["client"].due(config, {"success": {"at": success}}, NOON) is expected


def test_the_manifest_tells_what_is_there_and_what_is_missing(programs: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "patients").mkdir()
    (tmp_path / "patients" / "a").write_text("a", encoding="utf-8")
    (tmp_path / "patients" / "lien").symlink_to("/etc/passwd")
    (tmp_path / "vide").mkdir()
    files, missing = programs["client"].manifest([str(tmp_path / "patients"), str(tmp_path / "vide"), str(tmp_path / "parti")])
    assert [Path(path).name for path in files] == ["a"]
    assert [Path(path).name for path in missing] == ["vide", "parti"]


def test_a_manifest_that_says_the_same_is_left_alone(
    programs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = programs["client"]
    monkeypatch.setattr(client, "CONTENTS", tmp_path / "contents")
    monkeypatch.setattr(client, "MANIFEST", tmp_path / "contents" / "manifest.json")
    client.keep_manifest({"files": {"/srv/a": {"size": 1}}})
    first = client.MANIFEST.stat()
    assert stat.S_IMODE(first.st_mode) == 0o600
    client.keep_manifest({"files": {"/srv/a": {"size": 1}}})
    assert client.MANIFEST.stat().st_ino == first.st_ino
    client.keep_manifest({"files": {"/srv/a": {"size": 2}}})
    assert json.loads(client.MANIFEST.read_text(encoding="utf-8")) == {"files": {"/srv/a": {"size": 2}}}


def test_what_is_backed_up_is_not_below_what_each_run_writes(programs: dict[str, Any]) -> None:
    client = programs["client"]
    for path in (client.MANIFEST, client.DUMPS):
        assert not path.is_relative_to(client.STATE)
    assert str(client.MANIFEST) == programs["drill"].MANIFEST


def test_a_dump_that_fails_keeps_the_last_good_one(
    programs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs["client"], "DUMPS", tmp_path / "dumps")
    assert programs["client"].dump({"name": "base.sql", "command": ["printf", "bon"]}) == ""
    said = programs["client"].dump({"name": "base.sql", "command": ["sh", "-c", "echo mauvais; echo la base dort >&2; exit 3"]})
    assert said == "base.sql: la base dort"
    assert (tmp_path / "dumps" / "base.sql").read_text(encoding="utf-8") == "bon"
    assert programs["client"].dump({"name": "base.sql", "command": ["/nulle/part"]}).startswith("base.sql: ")
    assert [one.name for one in (tmp_path / "dumps").iterdir()] == ["base.sql"]


@pytest.mark.parametrize("text", ["2026-11-25T12:00:00.123456789+01:00", "2026-11-25T11:00:00Z", "2026-11-25T12:00:00+01:00"])
def test_dates_of_restic_are_read(programs: dict[str, Any], text: str) -> None:
    assert programs["common"].moment_of(text) == dt.datetime(2026, 11, 25, 11, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("hours", "strange"), [(0, False), (-3, False), (-11, False), (0.5, False), (2, True), (-30, True), (9000, True)]
)
def test_a_snapshot_is_believed_when_its_date_is_its_arrival(
    programs: dict[str, Any], tmp_path: Path, hours: float, strange: bool
) -> None:
    repository = programs["server"].Repository(tmp_path, {"name": "accueil", "password": "p"}, tmp_path)
    (tmp_path / "accueil" / "snapshots").mkdir(parents=True)
    file = tmp_path / "accueil" / "snapshots" / "ab"
    file.touch()
    os.utime(file, (NOON.timestamp(), NOON.timestamp()))
    one = {"id": "ab", "short_id": "ab", "time": (NOON + dt.timedelta(hours=hours)).isoformat()}
    assert bool(repository.strange([one])) is strange
    assert stat.S_IMODE(repository.secret.stat().st_mode) == 0o600


def test_nothing_is_forgotten_when_a_date_is_forged(
    programs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = programs["server"]
    repository = server.Repository(tmp_path, {"name": "accueil", "password": "p"}, tmp_path)
    monkeypatch.setattr(server.Repository, "run", lambda *_arguments: pytest.fail("something was run"))
    with pytest.raises(server.BackupError) as caught:
        server.retain(repository, {"days": 7, "weeks": 4, "months": 3}, ["ab"], {})
    assert caught.value.code == "clock"


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/srv/a", "/srv/a"),
        ("/srv/[a] *?", r"/srv/\[a\] \*\?"),
        ("/srv/$HOME", "/srv/$$HOME"),
        ("/srv/fin ", "/srv/fin?"),
        ("/srv/a\\b", "/srv/a\\\\b"),
    ],
)
def test_a_pattern_means_one_path(programs: dict[str, Any], path: str, line: str) -> None:
    assert programs["drill"].pattern(path) == line


def test_a_drill_takes_all_that_must_survive_and_a_sample_of_the_rest(programs: dict[str, Any]) -> None:
    files = {f"/srv/{number}": 10 for number in range(50)} | {
        "/srv/must/a": 10,
        "/srv/mustard": 10,
        programs["drill"].MANIFEST: 1,
    }
    wanted = programs["drill"].chosen(files, ["/srv/must"], 7)
    assert [path for path, why in wanted.items() if why == "must-survive"] == ["/srv/must/a"]
    assert len(wanted) == 8
    assert programs["drill"].MANIFEST not in wanted


def test_a_live_file_that_changed_proves_nothing(programs: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("a", encoding="utf-8")
    seen = path.stat()
    item = {"path": str(path), "size": seen.st_size, "mtime_ns": seen.st_mtime_ns}
    ask = programs["drill"].hashes
    assert ask({"files": [item]})["hashes"][str(path)] is not None
    assert ask({"files": [{**item, "mtime_ns": 1}]})["hashes"][str(path)] is None
    assert ask({"files": [{**item, "path": "/nulle/part"}]})["hashes"]["/nulle/part"] is None


def client_in(programs: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the client its folders; return its state's place."""
    client = programs["client"]
    settings = {"host": "accueil", "hour": "12:30", "timezone": "Europe/Paris", "paths": ["/etc"]}
    (folder / "client.json").write_text(json.dumps(settings), encoding="utf-8")
    monkeypatch.setattr(client, "SETTINGS", folder)
    monkeypatch.setattr(client, "STATE", folder / "state")
    monkeypatch.setattr(client, "FIRST_PAUSE", 0)
    monkeypatch.setattr(sys, "argv", ["client.py", "--now"])
    return folder / "state" / "state.json"


@pytest.mark.parametrize(
    ("error", "code", "rc"),
    [
        (lambda common: common.BackupError("absent", "no route to host"), "absent", 0),
        (lambda common: common.BackupError("password", "wrong password"), "password", 1),
        (lambda _common: OSError(28, "No space left on device"), "other", 1),
    ],
    ids=["absent", "password", "own-disk"],
)
def test_every_end_leaves_a_state(
    programs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any, code: str, rc: int
) -> None:
    place = client_in(programs, tmp_path, monkeypatch)

    def stop(*_arguments: Any) -> None:
        raise error(programs["common"])

    monkeypatch.setattr(programs["client"], "back_up", stop)
    assert programs["client"].main() == rc
    first = json.loads(place.read_text(encoding="utf-8"))
    assert first["failure"]["code"] == code
    assert programs["client"].main() == rc
    assert json.loads(place.read_text(encoding="utf-8"))["failure"]["since"] == first["failure"]["since"]


def test_only_a_first_backup_waits_for_its_server(
    programs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_in(programs, tmp_path, monkeypatch)
    tries: list[int] = []

    def absent(*_arguments: Any) -> None:
        tries.append(1)
        raise programs["common"].BackupError("absent", "no route to host")

    monkeypatch.setattr(programs["client"], "back_up", absent)
    with pytest.raises(programs["common"].BackupError):
        programs["client"].patiently({}, {}, False)
    assert len(tries) == programs["client"].FIRST_TRIES
    tries.clear()
    with pytest.raises(programs["common"].BackupError):
        programs["client"].patiently({}, {"success": {"at": "2026-11-25T11:00:00+00:00"}}, False)
    assert len(tries) == 1


SFTP = {"user": "a", "host": "depot.example", "port": 2222, "path": "/copies", "host_key": "ssh-ed25519 AAAA", "key": "secret"}


@pytest.fixture
def knocked(programs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines of ssh; it answers that all is well."""
    seen: list[list[str]] = []

    def ssh(argv: list[str], **_options: Any) -> Any:
        seen.append(argv)
        return programs["offsite"].subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(programs["offsite"].subprocess, "run", ssh)
    return seen


def test_ssh_believes_one_host_key_and_takes_nothing_of_the_machines_own(
    programs: dict[str, Any], tmp_path: Path, knocked: list[list[str]]
) -> None:
    place, options = programs["offsite"].of_machine({"sftp": SFTP}, "accueil", tmp_path)
    assert place == "sftp://a@depot.example:2222//copies/accueil"
    assert options == ["-o", f"sftp.args=-F {tmp_path}/ssh_config"]
    settings = (tmp_path / "ssh_config").read_text(encoding="utf-8").splitlines()
    for line in ("StrictHostKeyChecking yes", "BatchMode yes", "IdentityAgent none", "IdentitiesOnly yes", "UpdateHostKeys no"):
        assert line in settings
    assert (tmp_path / "ssh_known_hosts").read_text(encoding="utf-8") == "[depot.example]:2222 ssh-ed25519 AAAA\n"
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert "secret" not in " ".join([place, *options, *knocked[0]])


@pytest.mark.usefixtures("knocked")
def test_the_usual_port_has_no_brackets(programs: dict[str, Any], tmp_path: Path) -> None:
    programs["offsite"].of_machine({"sftp": {**SFTP, "port": 22}}, "accueil", tmp_path)
    assert (tmp_path / "ssh_known_hosts").read_text(encoding="utf-8").startswith("depot.example ssh-ed25519")


def test_other_kinds_have_no_options(programs: dict[str, Any], tmp_path: Path) -> None:
    assert programs["offsite"].of_machine({"repository": "s3:https://d/x"}, "accueil", tmp_path) == (
        "s3:https://d/x/accueil/",
        [],
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Host key verification failed.", "host_key"),
        ("tilleuls@depot.example: Permission denied (publickey).", "key"),
        ("ssh: connect to host depot.example port 22: Connection refused", "absent"),
        ("Connection closed by 192.0.2.1 port 22", "absent"),
        ("subsystem request failed on channel 0", "other"),
    ],
)
def test_a_provider_that_does_not_let_us_in_is_told_before_restic_starts(
    programs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, code: str
) -> None:
    offsite = programs["offsite"]
    answer = offsite.subprocess.CompletedProcess([], 255, "", said)
    monkeypatch.setattr(offsite.subprocess, "run", lambda *_argv, **_options: answer)
    with pytest.raises(offsite.BackupError) as caught:
        offsite.of_machine({"sftp": SFTP}, "accueil", tmp_path)
    assert caught.value.code == code


def test_a_new_provider_has_nothing_yet_even_when_it_does_not_answer(
    programs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = programs["server"]
    repository = server.Repository(tmp_path, {"name": "accueil", "password": "p"}, tmp_path)
    answer = programs["offsite"].subprocess.CompletedProcess([], 255, "", "Host key verification failed.")
    monkeypatch.setattr(programs["offsite"].subprocess, "run", lambda *_argv, **_options: answer)
    state = {"offsite": {"at": "2026-11-25T12:00:00+00:00", "place": "rest:https://avant.example/accueil/", "failure": None}}
    with pytest.raises(server.BackupError):
        server.copy_away(repository, {"sftp": SFTP}, tmp_path, ["ab"], state)
    assert state["offsite"] == {}
    same = {"offsite": {"at": "2026-11-25T12:00:00+00:00", "place": "sftp://a@depot.example:2222//copies/accueil"}}
    with pytest.raises(server.BackupError):
        server.copy_away(repository, {"sftp": SFTP}, tmp_path, ["ab"], same)
    assert same["offsite"]["at"], "the copy that was made there stays known"
