"""The bootstrap script, the pinned host keys, the vault's password and the sealed sheet."""

from __future__ import annotations

import base64
import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inventory_samples import KEY, PASSWORD, SAMPLE, folder_in, password, sample

from antiseche.errors import AnswersError, AntisecheError
from antiseche.practice import host_keys, inventory, vault_password
from antiseche.practice.bootstrap import BootstrapSpec, script, spec_for
from antiseche.practice.envelope import as_html, as_text, envelope_for
from antiseche.practice.secrets import Vault, VaultError, new_password

NASTY = "Cabinet d'« Ô » $(touch /tmp/x) `id` \"; rm -rf /\nFIN_DES_CLES\n@KEYS@ \\ é\r\n#"


def host_key(seed: int) -> str:
    raw = host_keys._RAW_PREFIX + bytes([seed]) * 32
    return f"ssh-ed25519 {base64.b64encode(raw).decode()}"


def spec(**changes: object) -> BootstrapSpec:
    values: dict[str, object] = {
        "host": "accueil",
        "practice_id": "tilleuls",
        "practice": "Cabinet",
        "contractor": "Info",
        "account": "antiseche",
        "public_keys": [KEY],
        "addresses": ["203.0.113.4/32", "2001:db8::/64"],
    }
    return BootstrapSpec(**{**values, **changes})  # type: ignore[arg-type]


def code_of(text: str) -> list[str]:
    """Return what the shell runs: no comment, no empty line."""
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def test_script_is_posix_sh_and_says_what_matters() -> None:
    text = script(spec_for(sample(), sample().hosts[1]))
    for shell in ("sh", "bash"):
        subprocess.run([shell, "-n"], input=text, text=True, check=True)
    assert text.startswith("#!/bin/sh\n")
    assert "set -eu" in text
    assert f'restrict,pty,from="203.0.113.4/32" {KEY}' in text
    assert "version_attendue=12" in text
    assert "visudo -cqf" in text
    assert len(text.splitlines()) < 110


@settings(max_examples=150, deadline=None)
@given(st.text(min_size=1, max_size=60))
def test_no_text_reaches_the_shell(text: str) -> None:
    plain = code_of(script(spec()))
    hostile = script(spec(practice=text, contractor=text))
    assert code_of(hostile) == plain


def test_hostile_names_and_key_comments() -> None:
    text = script(spec(practice=NASTY, contractor=NASTY, public_keys=[f"{KEY} {NASTY}"]))
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    lines = text.splitlines()
    assert lines.count("FIN_DES_CLES") == 1
    assert sum(line.startswith("restrict,") for line in lines) == 1


@pytest.mark.parametrize("changes", [{"public_keys": []}, {"addresses": []}, {"account": "root"}])
def test_script_refuses_what_would_open_too_much(changes: dict[str, object]) -> None:
    with pytest.raises(AnswersError):
        script(spec(**changes))


def test_account_is_quoted() -> None:
    assert f"compte={shlex.quote('a b')}" in script(spec(account="a b"))


def test_pin_twice_then_refuse_another(tmp_path: Path) -> None:
    folder = folder_in(tmp_path / "c")
    assert host_keys.pin_host_key(folder, "192.168.1.11", "accueil", host_key(1) + " root@accueil")
    assert not host_keys.pin_host_key(folder, "192.168.1.11", "accueil", host_key(1))
    assert folder.known_hosts.read_text() == f"192.168.1.11,accueil {host_key(1)}\n"
    with pytest.raises(AntisecheError) as caught:
        host_keys.pin_host_key(folder, "192.168.1.11", "accueil", host_key(2))
    for key in (host_key(1), host_key(2)):
        assert host_keys.fingerprint(key) in str(caught.value)
    assert folder.known_hosts.read_text() == f"192.168.1.11,accueil {host_key(1)}\n"
    with pytest.raises(AntisecheError):
        host_keys.pin_host_key(folder, "192.168.1.11", "autre", host_key(2))
    assert host_keys.forget_host_key(folder, "accueil")
    assert not host_keys.forget_host_key(folder, "accueil")
    assert host_keys.pin_host_key(folder, "192.168.1.11", "accueil", host_key(2))


def test_a_new_address_replaces_the_old_one(tmp_path: Path) -> None:
    folder = folder_in(tmp_path / "c")
    host_keys.pin_host_key(folder, "192.168.1.11", "accueil", host_key(1))
    assert host_keys.pin_host_key(folder, "192.168.1.99", "accueil", host_key(1))
    assert folder.known_hosts.read_text() == f"192.168.1.99,accueil {host_key(1)}\n"


def test_foreign_lines_stay(tmp_path: Path) -> None:
    folder = folder_in(tmp_path / "c")
    folder.known_hosts.write_text("# mine\n|1|hashed= ssh-rsa AAAA\n@revoked * ssh-rsa AAAA\n")
    host_keys.pin_host_key(folder, "192.168.1.11", "accueil", host_key(1))
    assert len(folder.known_hosts.read_text().splitlines()) == 4


def test_fingerprint_is_the_one_of_ssh_keygen(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "k")], check=True)
    shown = subprocess.run(["ssh-keygen", "-lf", str(tmp_path / "k.pub")], capture_output=True, text=True, check=True).stdout
    assert host_keys.fingerprint((tmp_path / "k.pub").read_text()) == shown.split()[1]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-rsa AAAAB3NzaC1yc2E=",
        "ssh-ed25519 é",
        "SHA256:abc",
        "ssh-ed25519 " + "A" * 68,
        "x" * 5000,
    ],
)
def test_bad_host_keys(tmp_path: Path, line: str) -> None:
    folder = folder_in(tmp_path / "c")
    with pytest.raises(AnswersError):
        host_keys.pin_host_key(folder, "192.168.1.11", "accueil", line)
    assert not folder.known_hosts.exists()


def password_file(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_password_file_is_read_as_ansible_does(tmp_path: Path) -> None:
    assert vault_password.obtain("x", password_file(tmp_path / "pw", b"  secret words \n")) == b"secret words"


@pytest.mark.parametrize(
    ("data", "mode"),
    [
        (b"", 0o600),
        (b" \n", 0o600),
        (b"x", 0o640),
        (b"x", 0o604),
        (b"x", 0o666),
        (b"x", 0o700),
        (b"x" * 5000, 0o600),
        (b"$ANSIBLE_VAULT;1", 0o600),
    ],
)
def test_bad_password_files(tmp_path: Path, data: bytes, mode: int) -> None:
    with pytest.raises(AnswersError, match="pw"):
        vault_password.obtain("x", password_file(tmp_path / "pw", data, mode))


def test_password_from_a_pipe_but_not_from_a_folder(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"from a pipe\n")
    os.close(writing)
    assert vault_password.read_password_file(Path(f"/dev/fd/{reading}")) == b"from a pipe"
    os.close(reading)
    for path in (tmp_path, tmp_path / "absent", Path("/dev/null")):
        with pytest.raises(AnswersError):
            vault_password.read_password_file(path)


def test_no_terminal_means_a_sentence_not_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_password, "_from_keyring", lambda _id: None)
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115, PTH123
    with pytest.raises(AnswersError, match="--vault-password-file"):
        vault_password.obtain("tilleuls", None)


def test_wrong_password_tells_nothing(tmp_path: Path) -> None:
    text = Vault(PASSWORD).encrypt({"a": "précieux"})
    with pytest.raises(VaultError) as caught:
        Vault(b"wrong").decrypt(text, "ici")
    assert caught.value.__cause__ is None
    assert "précieux" not in str(caught.value)
    assert PASSWORD.decode() not in repr(Vault(PASSWORD))


def test_passwords_are_readable_and_strong() -> None:
    made = {new_password() for _index in range(200)}
    assert len(made) == 200
    for text in made:
        assert len(text) == 19
        assert not set(text) & set("01OIlaqzwmAQZWM")
        assert any(c.islower() for c in text)
        assert any(c.isupper() for c in text)
        assert any(c.isdigit() for c in text)


def test_envelope(tmp_path: Path) -> None:
    folder = folder_in(tmp_path / "c")
    people = [{**SAMPLE["people"][0], "name": "Dr <Claire> & « Co »"}, *SAMPLE["people"][1:]]
    practice = sample(people=people)
    inventory.build(folder, practice, password)
    sheet = envelope_for(folder, practice, "claire", Vault(PASSWORD))
    assert [(row.host, row.login) for row in sheet.rows] == [
        ("cabinet1", "claire"),
        ("cabinet1", "adm-claire"),
        ("serveur", "claire"),
        ("serveur", "adm-claire"),
    ]
    for row in sheet.rows:
        assert row.password in as_text(sheet)
        assert row.password in as_html(sheet)
        assert row.password not in repr(sheet)
    assert "<Claire>" not in as_html(sheet)
    with pytest.raises(VaultError):
        envelope_for(folder, practice, "claire", Vault(b"wrong"))


@pytest.mark.parametrize("login", ["inconnue", "paul", ""])
def test_no_envelope(tmp_path: Path, login: str) -> None:
    folder = folder_in(tmp_path / "c")
    inventory.build(folder, sample(), password)
    with pytest.raises(AnswersError):
        envelope_for(folder, sample(), login, Vault(PASSWORD))


def test_envelope_before_inventory(tmp_path: Path) -> None:
    with pytest.raises(AnswersError, match="antiseche inventory"):
        envelope_for(folder_in(tmp_path / "c"), sample(), "claire", Vault(PASSWORD))


def test_vault_files_never_readable_by_others(tmp_path: Path) -> None:
    folder = folder_in(tmp_path / "c")
    old = os.umask(0)
    try:
        inventory.build(folder, sample(), password)
    finally:
        os.umask(old)
    for path in folder.root.rglob("vault.yml"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
