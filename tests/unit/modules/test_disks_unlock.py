"""The system disk's opening by the TPM: clevis's bindings, the images of the start, a cut told from a key of somebody."""

from __future__ import annotations

import base64
import importlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

boot: Any = importlib.import_module("ansible.module_utils.antiseche_disks_boot")
clevis: Any = importlib.import_module("ansible.module_utils.antiseche_disks_clevis")
read: Any = importlib.import_module("ansible.module_utils.antiseche_disks_read")


def token(pin: str, *slots: str, kind: str = "clevis") -> dict[str, Any]:
    protected = base64.urlsafe_b64encode(json.dumps({"alg": "dir", "clevis": {"pin": pin}}).encode()).decode().rstrip("=")
    return {"type": kind, "keyslots": list(slots), "jwe": {"protected": protected}}


def header(tokens: dict[str, Any], **slots: dict[str, Any]) -> Any:
    return read.Header(
        "u", "d", {"tokens": tokens, "keyslots": {name.removeprefix("s"): {"kdf": kdf} for name, kdf in slots.items()}}
    )


def test_only_bindings_to_a_tpm_count() -> None:
    found = header({"0": token("tpm2", "1"), "1": token("tang", "2"), "2": token("tpm2", "3", kind="systemd-tpm2")})
    assert clevis.bound(found) == ["1"]


@pytest.mark.parametrize("jwe", [None, {}, {"protected": "%%%"}, {"protected": "e30"}, {"protected": "W10"}, {"protected": 7}])
def test_a_binding_that_cannot_be_read_is_nobodys(jwe: Any) -> None:
    assert clevis.bound(header({"0": {"type": "clevis", "keyslots": ["1"], "jwe": jwe}})) == []


def test_a_binding_whose_slot_is_gone_is_empty() -> None:
    found = header({"0": token("tpm2"), "4": token("tpm2", "1"), "5": {"type": "systemd-recovery", "keyslots": []}})
    assert clevis.empty_tokens(found) == ["0"]


def test_a_passphrase_never_looks_like_a_binding_that_was_cut() -> None:
    found = header(
        {},
        s0={"type": "argon2id", "memory": 65536},
        s1={"type": "pbkdf2", "iterations": 1000},
        s2={"type": "pbkdf2", "iterations": 2000000},
    )
    assert [slot for slot in found.slots if clevis.looks_bound(found, slot)] == ["1"]
    assert clevis.looks_bound(found, "9") is False


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(boot, "BOOT", tmp_path)
    monkeypatch.setattr(boot, "MODULES", tmp_path / "modules")
    for name in ("6.1", "6.12"):
        (tmp_path / "modules" / name).mkdir(parents=True)
        (tmp_path / f"initrd.img-{name}").touch()
    (tmp_path / "initrd.img-5.10").touch()  # of a kernel that was removed
    (tmp_path / "initrd.img-6.12.new").touch()
    return tmp_path


def listing(text: str, code: int = 0) -> Any:
    return lambda *argv, **_options: subprocess.CompletedProcess(argv, code, text, "")


def test_images_of_installed_kernels_are_looked_at_and_a_change_is_seen(images: Path) -> None:
    assert [path.name for path in boot.images()] == ["initrd.img-6.1", "initrd.img-6.12"]
    before = boot.mark()
    assert boot.mark() == before
    (images / "initrd.img-6.1").write_text("x")
    assert boot.mark() != before


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("text", "code", "good"),
    [
        ("bin\nscripts/local-top/clevis\ncryptroot/crypttab\n", 0, True),
        ("scripts/local-top/clevis\n", 0, False),
        ("cryptroot/crypttab\nscripts/local-bottom/clevis\n", 0, False),
        ("scripts/local-top/clevis\ncryptroot/crypttab\n", 1, False),
        ("", 0, False),
    ],
)
def test_an_image_must_hold_all_that_the_unlocking_needs(
    monkeypatch: pytest.MonkeyPatch, text: str, code: int, good: bool
) -> None:
    monkeypatch.setattr(boot, "run", listing(text, code))
    assert boot.asks_the_tpm() is good


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("text", "chosen"), [("conf/conf.d/zz-resume-auto\n", True), ("conf/conf.d/resume\n", False), ("", False)]
)
def test_an_image_that_waits_for_a_swap_area_is_told(monkeypatch: pytest.MonkeyPatch, text: str, chosen: bool) -> None:
    monkeypatch.setattr(boot, "run", listing(text))
    assert boot.chose_resume() is chosen
