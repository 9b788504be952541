"""Restore drills: where they may be made, and what counts as verified."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from antiseche.errors import AnswersError, ExitCode, HostUnreachableError
from antiseche.evidence import drills
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Practice
from antiseche.verify import drill
from antiseche.verify.target import Target

NOON = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)
TARGET = Target("serveur", "192.168.1.10", "antiseche", "server", "debian13", "/known")


def practice(**backup: Any) -> Practice:
    return Practice.model_validate(
        {
            "practice": {"id": "tilleuls", "name": "Cabinet des Tilleuls"},
            "people": [{"login": "cexemple", "name": "Dr Camille Exemple", "function": "doctor"}],
            "hosts": [
                {"name": "accueil", "address": "192.168.1.11", "users": ["cexemple"]},
                {"name": "cabinet", "system": "debian12", "address": "192.168.1.12", "users": ["cexemple"]},
                {"name": "serveur", "kind": "server", "address": "192.168.1.10", "users": ["cexemple"]},
            ],
            "network": {"lan": "192.168.1.0/24"},
            "maintenance": {
                "contractor": "Prestataire Exemple",
                "addresses": ["203.0.113.4/32"],
                "public_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFyiQAW3QHF7pPP2vEiiMHAOaMKksR7O25bxafTvrx8h exemple"],
            },
            "backup": {
                "server": "serveur",
                "hosts": [{"host": name, "paths": ["/home"]} for name in ("accueil", "cabinet", "serveur")],
                **backup,
            },
        }
    )


def seen(path: str, sha256: str | None = "aa", why: str = "sample") -> dict[str, Any]:
    return {"path": path, "why": why, "size": 3, "mtime_ns": 7, "sha256": sha256}


def answer(files: list[dict[str, Any]], manifest: dict[str, Any] | None = None, missing: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "files": files, "manifest": manifest or {}, "missing": list(missing), "erased": True, "seconds": 1.5,
        "snapshot": {"id": "ab12", "time": "2026-11-25T11:00:00.123456789+01:00"}, "snapshot_files": 9,
    }  # fmt: skip


KNOWN = {"size": 3, "mtime_ns": 7, "sha256": "aa"}


def test_the_manifest_of_the_backup_judges() -> None:
    found = drill.compare(answer([seen("/a"), seen("/b", "bb")], {"/a": KNOWN, "/b": KNOWN}), {})
    assert (found.identical, found.different, found.verified) == (["/a"], ["/b"], False)


def test_the_live_file_judges_what_the_manifest_does_not_know() -> None:
    files = [seen("/a"), seen("/b"), seen("/c")]
    assert [one["path"] for one in drill.unknown_to_manifest(answer(files, {"/a": KNOWN}))] == ["/b", "/c"]
    found = drill.compare(answer(files, {"/a": KNOWN}), {"/b": "aa", "/c": None})
    assert (found.identical, found.changed, found.verified) == (["/a", "/b"], ["/c"], True)


def test_a_manifest_of_another_version_of_the_file_does_not_judge() -> None:
    found = drill.compare(answer([seen("/a", "cc")], {"/a": {**KNOWN, "mtime_ns": 6}}), {})
    assert found.changed == ["/a"]


@pytest.mark.parametrize(
    "bad",
    [
        answer([]),
        answer([seen("/a")]),
        answer([seen("/a", None)], {"/a": KNOWN}),
        answer([seen("/a"), seen("/b", None)], {"/a": KNOWN}),
        answer([seen("/a"), seen("/b", "zz")], {"/a": KNOWN, "/b": KNOWN}),
        answer([seen("/a")], {"/a": KNOWN}, missing=("/srv/perdu",)),
    ],
    ids=["nothing-restored", "nothing-compared", "did-not-come", "one-did-not-come", "one-differs", "declared-and-not-there"],
)
def test_a_drill_that_proves_nothing_or_finds_harm_is_not_verified(bad: dict[str, Any]) -> None:
    found = drill.compare(bad, {})
    assert not found.verified
    assert drills.record("accueil", "serveur", ("a", "b"), bad, found, NOON)["status"] == "not-verified"


def test_what_was_not_erased_is_not_verified() -> None:
    good = answer([seen("/a")], {"/a": KNOWN})
    left = {**good, "erased": False}
    assert drills.record("accueil", "serveur", ("a", "b"), good, drill.compare(good, {}), NOON)["status"] == "verified"
    assert drills.record("accueil", "serveur", ("a", "b"), left, drill.compare(left, {}), NOON)["status"] == "not-verified"


def test_the_record_has_the_fields_of_the_restore_sheet(tmp_path: Path) -> None:
    good = answer([seen("/a", why="must-survive")], {"/a": KNOWN})
    entry = drills.record("accueil", "serveur", ("Prestataire", "Dr Exemple"), good, drill.compare(good, {}), NOON)
    for name in ("operator", "requester", "files", "backup_date", "restore_date", "status"):
        assert entry[name], name
    folder = PracticeFolder(tmp_path)
    paths = [drills.keep(folder, entry), drills.keep(folder, entry)]
    assert len({*paths}) == 2, "an earlier record is never replaced"
    assert json.loads(paths[0].read_text(encoding="utf-8")) == entry
    assert paths[0].stat().st_mode & 0o777 == 0o600
    assert "/a" not in json.dumps(drills.for_the_host(entry))


@pytest.mark.parametrize(
    ("host", "wanted", "expected"),
    [("accueil", None, "serveur"), ("cabinet", None, "serveur"), ("serveur", None, "accueil"), ("cabinet", "accueil", "accueil")],
)
def test_the_scratch_machine_is_another_one(host: str, wanted: str | None, expected: str) -> None:
    answers = practice()
    assert answers.backup
    assert drill.scratch_for(answers, answers.backup, host, wanted) == expected


@pytest.mark.parametrize(("host", "wanted"), [("accueil", "accueil"), ("accueil", "cabinet"), ("accueil", "ailleurs")])
def test_a_machine_that_cannot_take_the_drill_is_refused(host: str, wanted: str) -> None:
    answers = practice()
    assert answers.backup
    with pytest.raises(AnswersError, match="serveur"):
        drill.scratch_for(answers, answers.backup, host, wanted)


def test_a_server_alone_cannot_be_drilled() -> None:
    answers = practice(hosts=[{"host": name, "paths": ["/home"]} for name in ("cabinet", "serveur")])
    assert answers.backup
    with pytest.raises(AnswersError, match="Debian 13"):
        drill.scratch_for(answers, answers.backup, "serveur", None)


SECRETS = {"backup_rest_password": "p", "backup_password": "q"}
SERVER = {"backup_tls_certificate": "pem", "backup_offsite_credentials": {"user": "u/", "password": "p@ss"}}


def test_secrets_that_are_missing_are_named() -> None:
    answers = practice()
    assert answers.backup
    with pytest.raises(AnswersError, match="backup_rest_password"):
        drill.local_request(answers, answers.backup.hosts[0], {}, SERVER, 5)
    with pytest.raises(AnswersError, match="backup_tls_certificate"):
        drill.local_request(answers, answers.backup.hosts[0], SECRETS, {}, 5)
    with pytest.raises(AnswersError, match="--offsite"):
        drill.offsite_request(answers, answers.backup.hosts[0], SECRETS, SERVER, 5)


@pytest.mark.parametrize(
    ("kind", "repository"),
    [
        ("rest", "rest:https://u%2F:p%40ss@copie.example/tilleuls/accueil/"),
        ("s3", "s3:https://copie.example/tilleuls/accueil/"),
    ],
)
def test_the_copy_elsewhere_has_its_own_credentials(kind: str, repository: str) -> None:
    answers = practice(offsite={"kind": kind, "url": "https://copie.example/tilleuls"})
    assert answers.backup
    request = drill.offsite_request(answers, answers.backup.hosts[0], SECRETS, SERVER, 5)
    assert request["repository"] == repository
    assert "certificate" not in request


def test_a_copy_by_sftp_is_reached_with_the_servers_key_and_the_pinned_host_key() -> None:
    host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE3WgC5WKWjujxy22vCJNo5yps7svkprtAw75EuMvRe2"
    answers = practice(offsite={"kind": "sftp", "url": "sftp://moi@copie.example/tilleuls", "host_key": f"{host_key} depot"})
    assert answers.backup
    with pytest.raises(AnswersError, match="backup_offsite_key"):
        drill.offsite_request(answers, answers.backup.hosts[0], SECRETS, SERVER, 5)
    request = drill.offsite_request(answers, answers.backup.hosts[0], SECRETS, {"backup_offsite_key": "k"}, 5)
    place = {"user": "moi", "host": "copie.example", "port": 22, "path": "/tilleuls", "host_key": host_key, "key": "k"}
    assert request["sftp"] == place
    assert "repository" not in request


@pytest.mark.parametrize(
    ("rc", "out", "err", "kind", "words", "code"),
    [
        (255, "", "ssh: connect to host: No route to host", HostUnreachableError, "No route", ExitCode.UNREACHABLE),
        (2, "", "python3: can't open file: [Errno 2] No such file", drill.DrillFailedError, "deploy", ExitCode.TASK_FAILED),
        (1, "", "Traceback\nKeyError: x", drill.DrillFailedError, "KeyError", ExitCode.TASK_FAILED),
        (0, "not json", "", drill.DrillFailedError, "serveur", ExitCode.TASK_FAILED),
        (0, '{"failure": {"code": "password", "detail": "d"}}', "", drill.DrillFailedError, "mot de passe", ExitCode.TASK_FAILED),
        (
            0,
            '{"failure": {"code": "empty", "detail": "d"}}',
            "",
            drill.DrillFailedError,
            "aucune sauvegarde",
            ExitCode.TASK_FAILED,
        ),
        (0, '{"failure": {"code": "other", "detail": "le reste"}}', "", drill.DrillFailedError, "le reste", ExitCode.TASK_FAILED),
    ],
)
def test_each_way_to_fail_has_its_sentence(
    monkeypatch: pytest.MonkeyPatch, rc: int, out: str, err: str, kind: type, words: str, code: ExitCode
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: subprocess.CompletedProcess([], rc, out, err))
    with pytest.raises(kind, match=words) as caught:
        drill.ask(TARGET, "restore", {}, 10)
    assert caught.value.exit_code == code


def test_the_secret_goes_by_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[list[str], str]] = []

    def run(argv: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append((argv, options["input"]))
        return subprocess.CompletedProcess(argv, 0, "{}", "")

    monkeypatch.setattr(subprocess, "run", run)
    drill.ask(TARGET, "record", {"password": "tres-secret"}, 10)
    assert "tres-secret" not in " ".join(calls[0][0])
    assert "tres-secret" in calls[0][1]


@pytest.mark.parametrize(
    ("verb", "out"), [("restore", "{}"), ("restore", '{"files": []}'), ("hash", "{}"), ("hash", '{"files": 1}')]
)
def test_an_answer_by_halves_is_a_drill_that_failed(verb: str, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: subprocess.CompletedProcess([], 0, out, ""))
    with pytest.raises(drill.DrillFailedError, match="incomplète"):
        drill.ask(TARGET, verb, {}, 10)
