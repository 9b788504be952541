"""Which keys ssh offers, seen by ssh itself."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from antiseche.engine import identities
from antiseche.engine.identities import offered, ssh_options
from antiseche.engine.playbook import command
from antiseche.engine.spec import RunSpec
from antiseche.practice.folder import PracticeFolder

KEYS = [f"ssh-ed25519 AAAA{letter} contractor {letter}" for letter in "ab"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "home/.ssh").mkdir(parents=True)
    (tmp_path / "runtime").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setattr(identities, "_home", lambda: tmp_path / "home")
    return tmp_path / "home"


def test_the_key_that_is_named_is_the_only_one(home: Path, tmp_path: Path) -> None:
    assert offered(tmp_path, Path("rel/key"), KEYS) == [str(Path("rel/key").resolve())]


def test_the_agent_is_asked_for_the_contractor_s_keys_only(home: Path, tmp_path: Path) -> None:
    found = offered(tmp_path, None, KEYS)
    assert [Path(path).read_text() for path in found] == ["ssh-ed25519 AAAAa\n", "ssh-ed25519 AAAAb\n"]
    assert offered(tmp_path, None, KEYS) == found
    for path in map(Path, found):
        assert path.parent.stat().st_mode & 0o077 == 0
    Path(found[0]).write_text("ssh-ed25519 other\n")
    assert Path(offered(tmp_path, None, KEYS)[0]).read_text() == "ssh-ed25519 AAAAa\n"


def test_a_usual_key_of_the_user_is_used_when_it_is_the_contractor_s(home: Path, tmp_path: Path) -> None:
    (home / ".ssh/id_ed25519").write_text("private")
    (home / ".ssh/id_ed25519.pub").write_text("ssh-ed25519 AAAAb me@laptop\n")
    (home / ".ssh/id_rsa.pub").write_text("ssh-rsa AAAAc me@laptop\n")
    found = offered(tmp_path, None, KEYS)
    assert found[0].endswith(".pub")
    assert found[1] == str(home / ".ssh/id_ed25519")


def test_what_cannot_be_read_among_the_usual_keys_is_passed_over(home: Path, tmp_path: Path) -> None:
    (home / ".ssh/id_folder.pub").mkdir()
    (home / ".ssh/id_gone.pub").symlink_to("nowhere")
    (home / ".ssh/id_bytes.pub").write_bytes(b"\xff\x00 \xfe")
    (home / ".ssh/id_empty.pub").write_text("")
    (home / ".ssh/id_rsa").write_text("private")
    (home / ".ssh/id_rsa.pub").write_text("ssh-ed25519 AAAAb me@laptop\n")
    assert offered(tmp_path, None, KEYS[1:]) == [str(home / ".ssh/id_rsa")]


@pytest.mark.parametrize("path", ["/k/plain", "/k/with space", "/k/100%h", "/k/l'ete"])
def test_ssh_and_ansible_read_the_path_that_was_meant(path: str, tmp_path: Path) -> None:
    direct = subprocess.run(
        ["ssh", "-F", "/dev/null", "-G", *ssh_options([path]), "host"], capture_output=True, text=True, check=True
    )
    assert "identitiesonly yes" in direct.stdout
    spec = RunSpec(PracticeFolder(tmp_path), "deploy", identities=(path,))
    handed = next(word for word in command(spec, tmp_path) if word.startswith("--ssh-extra-args="))
    assert shlex.split(handed.partition("=")[2]) == ssh_options([path])
    tried = subprocess.run(
        ["ssh", "-F", "/dev/null", "-v", "-o", "ProxyCommand=false", *ssh_options([path]), "host"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"identity file {path} type" in tried.stderr
