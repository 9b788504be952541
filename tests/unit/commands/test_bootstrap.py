"""``antiseche bootstrap``: what a contractor pastes from the machine's screen, and what is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from antiseche import app
from antiseche.kit import kit_dir
from antiseche.practice import host_keys
from antiseche.practice.folder import PracticeFolder


@pytest.fixture
def folder(tmp_path: Path) -> PracticeFolder:
    made = PracticeFolder(tmp_path / "exemple")
    made.root.mkdir()
    made.answers_file.write_bytes((kit_dir() / "inventories/exemple/practice.yml").read_bytes())
    return made


@pytest.fixture
def key(tmp_path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "k")], check=True)
    return " ".join((tmp_path / "k.pub").read_text().split()[:2])


@pytest.mark.parametrize("pasted", ["{key}", " {key}\n", "{key} root@accueil", "host-key: {key}", "host-key:{key}"])
def test_the_line_of_the_screen_is_pinned_as_it_is_copied(
    folder: PracticeFolder, key: str, pasted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = pasted.format(key=key)
    assert app.main(["bootstrap", str(folder.root), "--pin", "accueil", "--host-key", given, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["host"], told["changed"], told["fingerprint"]) == ("accueil", True, host_keys.fingerprint(key))
    assert folder.known_hosts.read_text() == f"192.168.42.11,accueil {key}\n"


@pytest.mark.parametrize("pasted", ["{print}", "fingerprint: {print}"])
def test_a_fingerprint_is_compared_with_what_the_machine_offers(
    folder: PracticeFolder, key: str, pasted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_keys, "offered_key", lambda _address: key)
    right = pasted.format(print=host_keys.fingerprint(key))
    assert app.main(["bootstrap", str(folder.root), "--pin", "accueil", "--host-key", right[:-3] + "AAA"]) == 1
    assert not folder.known_hosts.exists()
    assert app.main(["bootstrap", str(folder.root), "--pin", "accueil", "--host-key", right]) == 0
    assert key in folder.known_hosts.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--pin", "accueil"],
        ["--host-key", "x"],
        ["--pin", "inconnue", "--host-key", "x"],
        ["--pin", "accueil", "--host-key", "ssh-rsa AAAA"],
        ["--pin", "accueil", "--host-key", "x", "--forget", "accueil"],
        ["--forget", "accueil", "--host", "accueil"],
        ["--host", "inconnue"],
    ],
)
def test_what_makes_no_sense_is_refused(folder: PracticeFolder, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["bootstrap", str(folder.root), *arguments]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not folder.known_hosts.exists()
