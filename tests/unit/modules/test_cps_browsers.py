"""Browsers: what the practice wrote stays, ours is added once, and people's own folders are touched as themselves."""

from __future__ import annotations

import getpass
import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from module_process import FakeCommands

browsers = importlib.import_module("ansible.module_utils.antiseche_cps_browsers")
LIBRARY = "/opt/lib.so"
OURS = {"Add": {browsers.MODULE_NAME: LIBRARY}}
ME = getpass.getuser()


@pytest.mark.parametrize(
    ("before", "devices"),
    [
        ({}, OURS),
        ({"policies": {}}, OURS),
        ({"policies": {"SecurityDevices": {"Add": {"x": "/x.so"}}}}, {"Add": {"x": "/x.so", **OURS["Add"]}}),
        ({"policies": {"SecurityDevices": {"x": "/x.so"}}}, {"Add": {"x": "/x.so", **OURS["Add"]}}),
        ({"policies": {"SecurityDevices": {"Delete": ["y"]}}}, {"Delete": ["y"], **OURS}),
        ({"policies": {"SecurityDevices": {"Add": {"Carte à puce": LIBRARY}}}}, OURS),
    ],
    ids=["nothing", "empty", "other-module", "flat-form", "deletions", "same-library-other-name"],
)
def test_the_module_joins_what_is_there(before: dict[str, Any], devices: dict[str, Any]) -> None:
    after = browsers.merged(before, LIBRARY, [])
    assert after["policies"]["SecurityDevices"] == devices
    assert browsers.merged(after, LIBRARY, []) == after


def test_other_policies_and_certificates_stay() -> None:
    before = {"note": 1, "policies": {"DisableTelemetry": True, "Certificates": {"Install": ["/a.crt"], "Import": True}}}
    after = browsers.merged(before, LIBRARY, ["/a.crt", "/b.crt"])
    assert after["note"] == 1
    assert after["policies"]["DisableTelemetry"] is True
    assert after["policies"]["Certificates"] == {"Install": ["/a.crt", "/b.crt"], "Import": True}
    assert "Certificates" not in browsers.merged({}, LIBRARY, [])["policies"]


@pytest.mark.parametrize(
    "odd",
    [
        {"policies": []},
        {"policies": {"SecurityDevices": "x"}},
        {"policies": {"SecurityDevices": {"Add": []}}},
        {"policies": {"Certificates": {"Install": "/a.crt"}}},
        {"policies": {"Certificates": []}},
    ],
    ids=str,
)
def test_odd_policies_are_refused(odd: dict[str, Any]) -> None:
    with pytest.raises(browsers.BrowserError, match="nothing was changed"):
        browsers.merged(odd, LIBRARY, ["/a.crt"])


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"3"])
def test_an_unreadable_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policies.json"
    path.write_bytes(content)
    with pytest.raises(browsers.BrowserError, match="nothing was changed"):
        browsers.read_policies(path)
    assert path.read_bytes() == content


def test_the_file_is_replaced_whole_and_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "firefox" / "policies.json"
    assert browsers.read_policies(path) == {}
    browsers.write_policies({"policies": {"é": 1}}, path)
    assert json.loads(path.read_text()) == browsers.read_policies(path) == {"policies": {"é": 1}}
    assert path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in path.parent.iterdir()] == ["policies.json"]


def test_a_name_in_ascii_only() -> None:
    assert browsers.MODULE_NAME.isascii()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    real = browsers.pwd.getpwnam(ME)
    account = SimpleNamespace(pw_dir=str(tmp_path), pw_uid=real.pw_uid, pw_gid=real.pw_gid)

    def known(login: str) -> SimpleNamespace:
        if login != ME:
            raise KeyError(login)
        return account

    monkeypatch.setattr(browsers, "pwd", SimpleNamespace(getpwnam=known))
    return tmp_path


def test_who_lacks_the_module(home: Path) -> None:
    assert browsers.unregistered([ME, "nobody-here"], LIBRARY, [], to_come=False) == [ME]
    assert browsers.unregistered([ME, "nobody-here"], LIBRARY, [], to_come=True) == [ME, "nobody-here"]
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    (database / "pkcs11.txt").write_text(f"library={LIBRARY}.old\nname=x\n")
    assert browsers.unregistered([ME], LIBRARY, [], to_come=False) == [ME]
    (database / "pkcs11.txt").write_text(f"library=\nname=x\n\nlibrary={LIBRARY}\nname=y\n")
    assert browsers.unregistered([ME], LIBRARY, [], to_come=False) == []


def test_a_refusal_of_nss_names_the_person(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".pki").write_text("no folder")
    with pytest.raises(browsers.BrowserError, match=ME):
        browsers.register(ME, LIBRARY, [])


def test_root_becomes_the_person(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def run(argv: list[str], **options: Any) -> SimpleNamespace:
        asked.update(options, argv=argv)
        return SimpleNamespace(returncode=0, stdout="", stderr="")

    monkeypatch.setattr(browsers.os, "geteuid", lambda: 0)
    monkeypatch.setattr(browsers.subprocess, "run", run)
    browsers.register(ME, LIBRARY, [("a", "/a.crt", "C,,")])
    account = browsers.pwd.getpwnam(ME)
    assert (asked["user"], asked["group"], asked["extra_groups"]) == (account.pw_uid, account.pw_gid, [])
    assert asked["env"] == {"HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    assert asked["argv"][-5:] == [LIBRARY, browsers.MODULE_NAME, "a", "/a.crt", "C,,"]
    assert asked["timeout"]


def test_a_person_whose_folder_hangs_is_an_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browsers, "SECONDS", 0.1)
    monkeypatch.setattr(browsers, "_REGISTER", "exec sleep 5")
    with pytest.raises(browsers.BrowserError, match="did not answer"):
        browsers.register(ME, LIBRARY, [])


def test_no_code_of_a_card_is_ever_presented(commands: FakeCommands) -> None:
    del commands
    root = Path(browsers.__file__).parents[2]
    sources = [*root.glob("plugins/*/*cps*.py"), *root.glob("roles/cps/**/*")]
    texts = {path: path.read_text(encoding="utf-8") for path in sources if path.is_file() and path.suffix != ".pyc"}
    assert len(texts) > 10
    for path, text in texts.items():
        words = text.replace("neither ``--login`` nor", "")
        assert "--login" not in words, path
        assert "C_Login" not in words, path
        assert "--pin" not in words, path
