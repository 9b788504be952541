"""The PAM module: what it builds, what it refuses, and that nothing lands when the new stacks do not work."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

MODULE = Path(__file__).parents[3] / "plugins/modules/antiseche_pam.py"
TEMPLATES = Path(__file__).parents[3] / "roles/password_policy/templates"
FIRST = (TEMPLATES / "pam-faillock-first.j2").read_text()
LAST = (TEMPLATES / "pam-faillock-last.j2").read_text()
UNIX = """Name: Unix
Default: yes
Priority: 256
Auth-Type: Primary
Auth:
	[success=end default=ignore]	pam_unix.so try_first_pass
"""


@pytest.fixture
def pam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("antiseche_pam_under_test", MODULE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    root = tmp_path / "root"
    for folder in (module.PROFILES, module.STACKS, module.SAVED):
        (root / folder).mkdir(parents=True)
    (root / module.PROFILES / "unix").write_text(UNIX)
    monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(sys.modules["ansible.module_utils.antiseche_set_aside"], "SET_ASIDE", tmp_path / "aside")
    return module


needs_debian = pytest.mark.skipif(shutil.which("pam-auth-update") is None, reason="needs Debian's pam-auth-update")


@needs_debian
def test_the_lock_surrounds_the_password(pam: ModuleType, tmp_path: Path) -> None:
    sandbox = tmp_path / "sandbox"
    pam.build(sandbox, {"a-first": FIRST, "a-last": LAST}, [])
    lines = [x for x in (sandbox / pam.STACKS / "common-auth").read_text().splitlines() if x.startswith("auth")]
    assert [line.split(".so")[0].split()[-1] for line in lines] == [
        "pam_faillock",
        "pam_unix",
        "pam_faillock",
        "pam_deny",
        "pam_permit",
    ]
    assert "success=2" in lines[1], "a right password must jump over the count of failures and the refusal"


@needs_debian
def test_hand_edits_are_found_and_a_second_pass_finds_nothing(pam: ModuleType, tmp_path: Path) -> None:
    kinds = ["auth"]
    first = tmp_path / "one"
    pam.build(first, {"a-first": FIRST, "a-last": LAST}, [])
    pam.keep_known(first, [])
    pam.land(first, pam.difference(first, {"a-first": FIRST, "a-last": LAST}, kinds))
    again = tmp_path / "two"
    pam.build(again, {"a-first": FIRST, "a-last": LAST}, [])
    pam.keep_known(again, [])
    assert pam.difference(again, {"a-first": FIRST, "a-last": LAST}, kinds) == {}
    stack = pam.ROOT / pam.STACKS / "common-auth"
    stack.write_text(
        "auth sufficient pam_permit.so\n" + stack.read_text().replace("requisite\tpam_faillock.so preauth", "# gone")
    )
    assert list(pam.difference(again, {"a-first": FIRST, "a-last": LAST}, kinds)) == [pam.STACKS / "common-auth"]
    pam.land(again, pam.difference(again, {"a-first": FIRST, "a-last": LAST}, kinds))
    assert "sufficient" not in stack.read_text()
    assert "preauth" in stack.read_text()
    kept = list((tmp_path / "aside").glob("pam.d-common-auth.*"))
    assert kept, "the edited file is set aside"
    assert "# gone" in kept[0].read_text()


@needs_debian
def test_a_profile_switched_off_stays_off_and_a_replaced_one_too(pam: ModuleType, tmp_path: Path) -> None:
    (pam.ROOT / pam.PROFILES / "off").write_text(UNIX.replace("pam_unix.so", "pam_off.so"))
    (pam.ROOT / pam.PROFILES / "replaced").write_text(UNIX.replace("pam_unix.so", "pam_replaced.so"))
    (pam.ROOT / pam.SAVED / "seen").write_text("off\nunix\nreplaced\n")
    (pam.ROOT / pam.SAVED / "auth").write_text("Module: unix\nx\nModule: replaced\nx\n")
    sandbox = tmp_path / "sandbox"
    pam.build(sandbox, {"a-first": FIRST}, ["replaced"])
    pam.keep_known(sandbox, ["replaced"])
    text = (sandbox / pam.STACKS / "common-auth").read_text()
    assert "pam_unix.so" in text
    assert "pam_off.so" not in text
    assert "pam_replaced.so" not in text
    assert "replaced" in (sandbox / pam.SAVED / "seen").read_text().split()


def test_modules_that_are_not_installed_are_named(pam: ModuleType, tmp_path: Path) -> None:
    (tmp_path / pam.STACKS).mkdir(parents=True)
    for kind in pam.KINDS:
        (tmp_path / pam.STACKS / f"common-{kind}").write_text(
            "auth required pam_here.so x=pam\n# pam_comment.so\nauth [a=1 b=2] pam_gone.so\n"
        )
    folder = pam.ROOT / "usr/lib/x86/security"
    folder.mkdir(parents=True)
    (folder / "pam_here.so").touch()
    assert pam.missing_modules(tmp_path) == ["pam_gone.so"]


STACK_THAT_WORKS = "auth requisite pam_deny.so\n", "account required pam_permit.so\n"


@pytest.mark.parametrize(
    ("auth", "account", "complaint"),
    [
        (*STACK_THAT_WORKS, ""),
        ("auth required pam_permit.so\n", "account required pam_permit.so\n", "wrong password"),
        ("auth requisite pam_deny.so\n", "account required pam_deny.so\n", "would refuse root"),
        ("auth requisite pam_deny.so\n", "account required pam_not_there.so\n", "would refuse root"),
        ("auth requisite pam_deny.so\n", "", "would refuse root"),
    ],
    ids=["works", "open", "closed", "module missing", "empty"],
)
def test_libpam_itself_judges_the_new_stacks(pam: ModuleType, tmp_path: Path, auth: str, account: str, complaint: str) -> None:
    (tmp_path / pam.STACKS).mkdir(parents=True)
    for kind, text in zip(pam.KINDS, (auth, account, "", "", ""), strict=True):
        (tmp_path / pam.STACKS / f"common-{kind}").write_text(text)
    if complaint:
        with pytest.raises(RuntimeError, match=complaint):
            pam.try_login_path(tmp_path, "root")
    else:
        pam.try_login_path(tmp_path, "root")
