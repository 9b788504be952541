"""What the doctor says of this machine and of the hosts: one test per finding, and answers that nobody expects."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antiseche import app
from antiseche.engine import records
from antiseche.engine.locking import practice_lock
from antiseche.kit import kit_dir
from antiseche.practice import host_keys, inventory
from antiseche.practice.answers import load_answers
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Host, Practice
from antiseche.verify import doctor, doctor_host
from antiseche.verify.doctor import OK, PROBLEM, UNREACHABLE, WARNING, Request

HEALTHY = {
    "clock": "{now}",
    "from": "{contractor}",
    "sudo": "yes",
    "python": "3.13.5",
    "system": "debian13",
    "space": ["20000 900000 /", "20000 900000 /var", "4000 0 /tmp"],
    "writable": "yes",
    "end": "yes",
}


def debian13(practice: Practice) -> Host:
    return next(host for host in practice.hosts if host.system.value == "debian13")


def key(folder: Path, name: str = "id", passphrase: str = "") -> Path:
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)], check=True)
    return path


@pytest.fixture
def practice(tmp_path: Path) -> Practice:
    answers = load_answers(PracticeFolder(kit_dir() / "inventories/exemple"))
    public = key(tmp_path).with_suffix(".pub").read_text().strip()
    return answers.model_copy(update={"maintenance": answers.maintenance.model_copy(update={"public_keys": [public]})})


@pytest.fixture
def folder(tmp_path: Path) -> PracticeFolder:
    root = tmp_path / "tilleuls"
    root.mkdir()
    return PracticeFolder(root)


@pytest.fixture
def request_(folder: PracticeFolder, practice: Practice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(doctor, "_run", fast_run(doctor._run))
    return Request(folder, practice, (), None, tmp_path / "id")


def fast_run(real: Callable[[list[str], float], tuple[int, str]]) -> Callable[[list[str], float], tuple[int, str]]:
    """Starting Ansible takes a second; only the test of that starts it."""
    return lambda argv, seconds: (0, "") if argv[0] == sys.executable else real(argv, seconds)


def found(request: Request, subject: str) -> tuple[str, str]:
    rows = {finding.subject: (finding.status, finding.detail) for finding in doctor.examine(request) if not finding.host}
    return rows[subject]


def test_a_machine_that_is_ready(request_: Request) -> None:
    statuses = {finding.subject: finding.status for finding in doctor.examine(request_)}
    assert {subject for subject, status in statuses.items() if status == PROBLEM} == {"clés d'hôte"}
    assert statuses["clé SSH"] == OK
    assert statuses["espace"] == OK


def test_ansible_is_started_for_real() -> None:
    assert doctor._ansible(None)[0] in (OK, WARNING)  # type: ignore[arg-type]


def test_an_ansible_that_does_not_start(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_run", lambda _argv, _seconds: (1, "ModuleNotFoundError: No module named 'yaml'"))
    status, detail = found(request_, "Ansible")
    assert status == PROBLEM
    assert "No module named 'yaml'" in detail


def test_an_ansible_that_is_too_old(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.metadata, "version", lambda _name: "2.14.18")
    assert found(request_, "Ansible") == (PROBLEM, "ansible-core 2.14.18 est trop ancien : il faut la 2.17")


def test_no_ssh_client(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert found(request_, "client SSH")[0] == PROBLEM
    assert "openssh-client" in found(request_, "client SSH")[1]
    assert found(request_, "clé SSH")[0] == PROBLEM


def test_a_clock_that_lost_its_battery(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.time, "time", lambda: 86400.0)
    assert found(request_, "horloge")[0] == PROBLEM


@pytest.mark.parametrize(("free", "inodes"), [(0, 1000), (10, 1000), (10**9, 0)])
def test_a_full_disk(request_: Request, monkeypatch: pytest.MonkeyPatch, free: int, inodes: int) -> None:
    real = os.statvfs

    def full(path: Any) -> Any:
        fields = list(real(path))
        fields[1], fields[4], fields[5], fields[7] = 1, free, 5000, inodes
        return os.statvfs_result([*fields, 0])

    monkeypatch.setattr(doctor.os, "statvfs", full)
    assert found(request_, "espace")[0] == PROBLEM


def test_a_folder_that_cannot_be_written(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda _path, _mode: False)
    assert found(request_, "dossier du cabinet")[0] == PROBLEM


def test_a_run_that_goes_on_or_was_killed(request_: Request) -> None:
    with practice_lock(request_.folder):
        status, detail = found(request_, "dossier du cabinet")
        assert status == WARNING
        assert str(os.getpid()) in detail
    run = records.create_run(request_.folder, "deploy")
    assert found(request_, "dossier du cabinet") == (WARNING, f"passage resté inachevé : {run.id} ; le prochain le clora")


def test_keys(request_: Request, tmp_path: Path) -> None:
    other = key(tmp_path, "other")
    assert "parmi celles du prestataire" in doctor._key(Request(request_.folder, request_.practice, (), None, other))[1]
    locked = key(tmp_path, "locked", "phrase de passe")
    status, detail = doctor._key(Request(request_.folder, request_.practice, (), None, locked))
    assert (status, "agent SSH" in detail) == (PROBLEM, True)
    (tmp_path / "id").chmod(0o644)
    assert "chmod 600" in doctor._key(request_)[1]
    text = tmp_path / "text"
    text.write_text("not a key\n")
    text.chmod(0o600)
    status, detail = doctor._key(Request(request_.folder, request_.practice, (), None, text))
    assert (status, "n'est pas une clé privée" in detail) == (PROBLEM, True)
    assert "aucune clé" in doctor._key(Request(request_.folder, request_.practice, ()))[1]


def test_a_key_in_the_agent(request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        while not (tmp_path / "agent").exists():
            assert agent.poll() is None
        bare = Request(request_.folder, request_.practice, ())
        assert doctor._key(bare)[0] == PROBLEM
        subprocess.run(["ssh-add", "-q", str(key(tmp_path, "other"))], check=True)
        assert "parmi celles du prestataire" in doctor._key(bare)[1]
        subprocess.run(["ssh-add", "-q", str(tmp_path / "id")], check=True)
        assert doctor._key(bare) == (OK, "agent SSH")
        subprocess.run(["ssh-keygen", "-q", "-p", "-N", "une phrase", "-f", str(tmp_path / "id")], check=True)
        assert doctor._key(request_)[0] == OK
    finally:
        agent.kill()
        agent.wait()


def test_the_vault(request_: Request, tmp_path: Path) -> None:
    assert found(request_, "mot de passe du coffre")[0] == WARNING
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    for path in (right, wrong):
        path.write_text(f"{path.name} password\n")
        path.chmod(0o600)
    inventory.build(request_.folder, request_.practice, lambda _create: b"right password")
    for path, status in ((right, OK), (wrong, PROBLEM)):
        asked = Request(request_.folder, request_.practice, (), path, request_.private_key)
        assert found(asked, "mot de passe du coffre")[0] == status
        assert found(asked, "inventaire")[0] == OK
    right.chmod(0o644)
    assert found(Request(request_.folder, request_.practice, (), right), "mot de passe du coffre")[0] == PROBLEM


def test_pinned_keys(request_: Request, tmp_path: Path) -> None:
    for number, host in enumerate(request_.practice.hosts):
        assert host.name in found(request_, "clés d'hôte")[1]
        public = key(tmp_path, f"host{number}").with_suffix(".pub").read_text()
        host_keys.pin_host_key(request_.folder, str(host.address), host.name, public)
    assert found(request_, "clés d'hôte") == (OK, "toutes épinglées")


def test_machines_that_are_copies_of_each_other(request_: Request, tmp_path: Path) -> None:
    public = key(tmp_path, "host").with_suffix(".pub").read_text()
    for host in request_.practice.hosts:
        host_keys.pin_host_key(request_.folder, str(host.address), host.name, public)
    status, detail = found(request_, "clés d'hôte")
    assert status == WARNING
    assert all(host.name in detail for host in request_.practice.hosts)


@pytest.fixture
def machine(request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """A machine whose answers are what the test says; its port is open and its key the pinned one."""
    host = debian13(request_.practice)
    public = " ".join(key(tmp_path, "hostkey").with_suffix(".pub").read_text().split()[:2])
    host_keys.pin_host_key(request_.folder, str(host.address), host.name, public)
    monkeypatch.setattr(doctor_host.host_keys, "offered_key", lambda _address: public)
    monkeypatch.setattr(doctor_host.socket, "create_connection", lambda *_a, **_k: socket.socket())
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    contractor = str(next(iter(request_.practice.maintenance.addresses)).network_address)

    def examine(error: str = "", **changed: Any) -> dict[str, tuple[str, str]]:
        lines = []
        for name, value in (HEALTHY | changed).items():
            for one in value if isinstance(value, list) else [value]:
                if one is not None:
                    lines.append(f"{name}={one}".format(now="$(date +%s)", contractor=contractor))
        text = "\n".join(lines)
        script = f"#!/bin/sh\ncat <<EOF\n{text}\nEOF\n" if not error else f"#!/bin/sh\necho '{error}' >&2\nexit 255\n"
        (tmp_path / "bin/ssh").write_text(script)
        (tmp_path / "bin/ssh").chmod(0o755)
        rows = doctor_host.check_host(request_.folder, request_.practice, host, request_.private_key)
        return {subject: (status, detail) for subject, status, detail in rows}

    return examine


def test_a_healthy_machine(machine: Callable[..., dict[str, Any]]) -> None:
    assert {status for status, _detail in machine().values()} == {OK}


@pytest.mark.parametrize(
    ("changed", "subject", "status", "words"),
    [
        ({"sudo": None}, "sudo", PROBLEM, "script de prise en main"),
        ({"python": None}, "python3", PROBLEM, "absent"),
        ({"python": "3.7.3"}, "python3", PROBLEM, "trop ancien : il faut la 3.8"),
        ({"python": "2.7.18"}, "python3", PROBLEM, "trop ancien"),
        ({"python": "Segmentation fault"}, "python3", PROBLEM, "ne démarre pas : Segmentation fault"),
        ({"system": "debian12"}, "système", PROBLEM, "debian12 au lieu de debian13"),
        ({"system": None}, "système", PROBLEM, "? au lieu de"),
        ({"space": ["20000 900000 /", "12 900000 /var"]}, "disque", PROBLEM, "12 Mo libres dans /var"),
        ({"space": ["20000 900000 /", "20000 3 /var"]}, "disque", PROBLEM, "inodes"),
        ({"space": []}, "disque", PROBLEM, "inconnue"),
        ({"space": ["lots none /", "x"]}, "disque", PROBLEM, "inconnue"),
        ({"writable": None}, "disque", PROBLEM, "lecture seule"),
        ({"dpkg": "broken"}, "paquets", PROBLEM, "dpkg --configure -a"),
        ({"apt": "busy"}, "paquets", WARNING, "attendez"),
        ({"reboot": "wanted"}, "redémarrage", WARNING, "attendu"),
        ({"clock": "$(($(date +%s) - 120))"}, "horloge", WARNING, "écart de 1"),
        ({"clock": "$(($(date +%s) + 86400))"}, "horloge", PROBLEM, "mettez-la à l'heure"),
        ({"clock": "soon"}, "horloge", PROBLEM, "inconnue"),
        ({"from": "203.0.113.99"}, "votre adresse", PROBLEM, "203.0.113.99"),
        ({"from": "::ffff:203.0.113.99"}, "votre adresse", PROBLEM, "203.0.113.99"),
        ({"from": "2001:db8::99"}, "votre adresse", PROBLEM, "2001:db8::99"),
        ({"end": None}, "connexion", UNREACHABLE, "pas de réponse"),
    ],
)
def test_a_sick_machine(
    machine: Callable[..., dict[str, Any]], changed: dict[str, Any], subject: str, status: str, words: str
) -> None:
    rows = machine(**changed)
    assert rows[subject][0] == status
    assert words in rows[subject][1]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("antiseche@192.0.2.1: Permission denied (publickey).", "la clé est refusée"),
        ("Host key verification failed.", "clé d'hôte"),
        ("This account is currently not available.", "le compte y est fermé"),
        ("ssh: connect to host x port 22: Connection timed out", "éteinte"),
        ("something never seen", "something never seen"),
        ("\033]0;hacked\007boo", "boo"),
    ],
)
def test_a_machine_that_lets_nobody_in(machine: Callable[..., dict[str, Any]], error: str, words: str) -> None:
    status, detail = machine(error)["connexion"]
    assert status == UNREACHABLE
    assert words in detail
    assert "\033" not in detail


def test_a_machine_cannot_write_to_the_terminal(machine: Callable[..., dict[str, Any]]) -> None:
    assert "\033" not in str(machine(system="\033[2Jdebian13", python="\0333.13"))


def test_another_machine_behind_the_address(
    machine: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = " ".join(key(tmp_path, "stranger").with_suffix(".pub").read_text().split()[:2])
    monkeypatch.setattr(doctor_host.host_keys, "offered_key", lambda _address: stranger)
    rows = machine()
    assert rows["clé d'hôte"][0] == PROBLEM
    assert "connexion" not in rows  # nothing is sent to a machine that is not the right one


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "éteinte"),
        (ConnectionRefusedError(111, "Connection refused"), "rien n'écoute"),
        (OSError(113, "No route to host"), "éteinte"),
    ],
)
def test_a_closed_port(request_: Request, monkeypatch: pytest.MonkeyPatch, error: OSError, words: str) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(doctor_host.socket, "create_connection", refuse)
    rows = doctor_host.check_host(request_.folder, request_.practice, debian13(request_.practice), None)
    assert len(rows) == 1
    assert rows[0][1] == UNREACHABLE
    assert words in rows[0][2]


@pytest.mark.parametrize(("arguments", "code"), [(["nulle-part"], 2), (["exemple", "--limit", "nobody"], 2)])
def test_wrong_command_lines(
    arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANTISECHE_PRACTICES", str(kit_dir() / "inventories"))
    assert app.main(["doctor", *arguments]) == code
    assert "Traceback" not in capsys.readouterr().err
