"""The middleware installed once, asked for when it is missing, and its folders kept closed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from module_process import FakeCommands, answer_of, load

DIGEST = hashlib.sha256(b"rpm").hexdigest()
GIVEN = {"source": "a/CryptolibCPS-5.2.2-1.x86_64.rpm", "sha256": DIGEST.upper(), "version": "5.2.2"}
COFFRE = "etc/opt/santesocial/CPS/Coffre"


@pytest.fixture
def cps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: FakeCommands) -> ModuleType:
    """The module on a machine of the test's own."""
    root = tmp_path / "root"
    root.mkdir()
    commands.add("dpkg")
    module = load("antiseche_cps")
    monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(module.cas, "VAULT", root / COFFRE)
    monkeypatch.setattr(module.cas, "TRUSTED", root / "trusted")
    policies = root / "policies" / "policies.json"
    monkeypatch.setattr(module.browsers, "POLICIES", policies)
    read, write = module.browsers.read_policies, module.browsers.write_policies
    monkeypatch.setattr(module.browsers, "read_policies", lambda: read(policies))
    monkeypatch.setattr(module.browsers, "write_policies", lambda wanted: write(wanted, policies))
    monkeypatch.setattr(module, "install", lambda asked: put(root, asked))
    return module


def put(root: Path, asked: dict[str, Any], **changed: Any) -> None:
    """Do what an installation of the package leaves."""
    library = root / "opt/santesocial/CPS/lib/libcps3_pkcs11_lux.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    library.write_bytes(b"library")
    (root / COFFRE).mkdir(parents=True, exist_ok=True)
    for path in (root / "opt/santesocial", root / "etc/opt/santesocial"):
        for one in (path, *path.rglob("*")):
            one.chmod(0o755 if one.is_dir() else 0o644)
    digests = {"installed_sha256": hashlib.sha256(b"library").hexdigest()}
    name = "/opt/santesocial/CPS/lib/libcps3_pkcs11_lux.so"
    record = {
        "sha256": asked["sha256"].lower(),
        "version": asked["version"],
        "recipe": 1,
        "libraries": {name: digests},
        **changed,
    }
    provenance = root / "usr/share/antiseche-cryptolib-cps/provenance.json"
    provenance.parent.mkdir(parents=True, exist_ok=True)
    provenance.write_text(json.dumps(record))


def ask(cps: ModuleType, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
    return answer_of(cps, {"middleware": GIVEN, **arguments}, check=check)


def test_the_file_is_asked_for_then_installed_then_left_alone(cps: ModuleType) -> None:
    predicted = ask(cps, check=True)
    assert predicted["needs_file"] is True
    assert not (cps.ROOT / "policies").exists()
    first = ask(cps)
    assert (first["needs_file"], first["changes"]) == (True, [])
    second = ask(cps, middleware={**GIVEN, "file": "/tmp/sent.rpm"})
    assert second["changes"] == predicted["changes"] == ["middleware CPS 5.2.2: installed", "firefox policies: CPS"]
    third = ask(cps)
    assert (third["changed"], third["changes"], third["needs_file"]) == (False, [], False)


@pytest.mark.parametrize(
    "changed",
    [{"sha256": "00"}, {"version": "5.2.1"}, {"recipe": 0}, {"libraries": {"/gone.so": {"installed_sha256": "x"}}}],
    ids=str,
)
def test_another_origin_or_a_changed_library_is_installed_again(cps: ModuleType, changed: dict[str, Any]) -> None:
    put(cps.ROOT, GIVEN)
    assert ask(cps)["needs_file"] is False
    put(cps.ROOT, GIVEN, **changed)
    assert ask(cps)["needs_file"] is True


def test_a_file_that_dpkg_misses_brings_the_package_back(cps: ModuleType, commands: FakeCommands) -> None:
    put(cps.ROOT, GIVEN)
    commands.add("dpkg", "echo 'missing     /usr/share/p11-kit/modules/antiseche-cryptolib-cps.module'")
    assert ask(cps)["needs_file"] is True


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"sha256": 1}'])
def test_a_damaged_record_counts_as_nothing(cps: ModuleType, text: str) -> None:
    put(cps.ROOT, GIVEN)
    (cps.ROOT / "usr/share/antiseche-cryptolib-cps/provenance.json").write_text(text)
    assert ask(cps)["needs_file"] is True


def test_without_middleware_nothing_is_touched(cps: ModuleType) -> None:
    answer = answer_of(cps, {})
    assert (answer["supplied"], answer["changed"], list(cps.ROOT.iterdir())) == (False, False, [])


def test_opened_folders_are_closed_and_links_are_not_followed(cps: ModuleType, tmp_path: Path) -> None:
    put(cps.ROOT, GIVEN)
    ask(cps)
    outside = tmp_path / "outside"
    outside.write_text("mine")
    outside.chmod(0o666)
    coffre = cps.ROOT / COFFRE
    (coffre / "link").symlink_to(outside)
    (coffre / "ca.cer").write_text("x")
    (coffre / "ca.cer").chmod(0o666)
    coffre.chmod(0o1777)
    wanted = [f"directory {coffre}: mode 1755", f"file {coffre}/ca.cer: mode 0644"]
    assert ask(cps, check=True)["changes"] == wanted
    assert coffre.stat().st_mode & 0o7777 == 0o1777
    assert ask(cps)["changes"] == wanted
    assert (coffre.stat().st_mode & 0o7777, outside.stat().st_mode & 0o777) == (0o1755, 0o666)
    assert ask(cps)["changed"] is False


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_the_trap_is_set_aside_not_deleted(cps: ModuleType, kind: str) -> None:
    put(cps.ROOT, GIVEN)
    ask(cps)
    trap = cps.ROOT / "tmp" / "CPS"
    trap.parent.mkdir()
    if kind == "folder":
        trap.mkdir()
        (trap / "adm_versions").write_text("evil")
    elif kind == "file":
        trap.write_text("evil")
    else:
        trap.symlink_to("/etc")
    assert ask(cps, check=True)["changes"] == [f"set aside {trap}"]
    assert os.path.lexists(trap)
    assert ask(cps)["changes"] == [f"set aside {trap}"]
    assert not os.path.lexists(trap)
    aside = cps.ROOT / "var/lib/antiseche/set-aside/tmp-CPS"
    assert aside.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in aside.glob("*/*")] == ["CPS"]


def test_authorities_are_announced_as_they_come(cps: ModuleType, commands: FakeCommands) -> None:
    commands.add("update-ca-certificates")
    content = b"\x30certificate"
    sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    known = {"name": "racine", "root": True, "sha1": sha1, "sha256": hashlib.sha256(content).hexdigest()[:16]}
    absent = {"name": "autre", "root": False, "sha1": "00" * 20, "sha256": "00" * 8}
    predicted = ask(cps, check=True, authorities=[known])
    put(cps.ROOT, GIVEN)
    (cps.ROOT / COFFRE / "ACR.cer").write_bytes(content)
    done = ask(cps, authorities=[known, absent])
    assert ["middleware CPS 5.2.2: installed", *done["changes"]] == predicted["changes"]
    assert done["changes"] == ["authorities IGC-Sante: trusted", "firefox policies: CPS"]
    assert done["missing_authorities"] == ["autre"]
    policies = json.loads((cps.ROOT / "policies/policies.json").read_text())["policies"]
    assert policies["Certificates"]["Install"] == [str(cps.ROOT / "trusted/racine.crt")]
    assert ask(cps, authorities=[known])["changed"] is False


def test_an_error_tells_what_was_done_before(cps: ModuleType) -> None:
    put(cps.ROOT, GIVEN)
    (cps.ROOT / "policies").mkdir()
    (cps.ROOT / "policies/policies.json").write_text("{")
    (cps.ROOT / COFFRE).chmod(0o777)
    answer = ask(cps)
    assert answer["failed"] is True
    assert "policies.json" in answer["msg"]
    assert answer["changes"] == [f"directory {cps.ROOT / COFFRE}: mode 0755"]


def test_a_library_that_changed_while_it_was_sent_installs_nothing(cps: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(asked: dict[str, Any]) -> None:
        raise cps.package.PackageError(f"{asked['file']}: another file")

    monkeypatch.setattr(cps, "install", refuse)
    answer = ask(cps, middleware={**GIVEN, "file": "/tmp/sent.rpm"})
    assert answer["failed"] is True
    assert "another file" in answer["msg"]
    assert not (cps.ROOT / "policies").exists()
