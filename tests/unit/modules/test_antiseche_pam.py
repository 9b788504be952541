"""The PAM module: what it builds, what it refuses, and that nothing lands when the new stacks do not work."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import stat
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils import antiseche_set_aside
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from module_process import answer_of, load

TEMPLATES = Path(__file__).parents[3] / "roles/password_policy/templates"
FIRST = (TEMPLATES / "pam-faillock-first.j2").read_text()
LAST = (TEMPLATES / "pam-faillock-last.j2").read_text()
UNIX = """Name: Unix
Default: yes
Priority: 256
Auth-Type: Primary
Auth:
	[success=end default=ignore]	pam_unix.so try_first_pass
Account-Type: Primary
Account:
	[success=end new_authtok_reqd=done default=ignore]	pam_unix.so
Password-Type: Primary
Password:
	[success=end default=ignore]	pam_unix.so obscure yescrypt
"""


@pytest.fixture
def pam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load("antiseche_pam")
    root = tmp_path / "root"
    for folder in (module.PROFILES, module.STACKS, module.SAVED):
        (root / folder).mkdir(parents=True)
    (root / module.PROFILES / "unix").write_text(UNIX)
    monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(antiseche_set_aside, "SET_ASIDE", tmp_path / "aside")
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
    for kind in pam.KINDS:
        (pam.ROOT / pam.SAVED / kind).write_text("Module: unix\nx\nModule: replaced\nx\n")
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


# ---- texts

TEXTS = load("antiseche_pam")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_written_and_shown(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """A comment in Latin 1 or an end of line from Windows must neither hide an edit nor stop its repair."""
    module, folder = TEXTS, tmp_path_factory.mktemp("pam")
    (folder / "a").write_bytes(data)
    module.write(folder / "b", module.read(folder / "a"))
    assert (folder / "b").read_bytes() == data
    module.show(module.read(folder / "a")).encode()


@given(st.text(), st.sampled_from(["pam_unix.so", "pam_x1_y.so"]))
def test_the_modules_of_a_stack_are_found_and_those_of_comments_not(text: str, name: str) -> None:
    module = TEXTS
    line = text.replace("\n", " ").replace("\r", " ")
    assert name in module.named_modules(f"auth [success=1 default=ignore] {name} x\n#{line}\n")
    assert name not in module.named_modules(f"# auth required {name} {line}\n")


# ---- building


def build(pam: ModuleType, sandbox: Path, profiles: dict[str, str], disabled: list[str] | None = None) -> Any:
    pam.build(sandbox, profiles, disabled or [])
    pam.keep_known(sandbox, disabled or [])
    return pam.difference(sandbox, profiles, list(pam.KINDS))


OURS = {"a-first": FIRST, "a-last": LAST}


def landed(pam: ModuleType, tmp_path: Path) -> None:
    sandbox = tmp_path / "landed"
    pam.land(sandbox, build(pam, sandbox, OURS))


@needs_debian
@pytest.mark.parametrize(
    "edit",
    [
        lambda path: path.write_bytes(path.read_bytes() + "# modifié\n".encode("latin-1")),
        lambda path: path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n")),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: path.chmod(0o666),
        lambda path: path.chmod(0o664),
        lambda path: (path.rename(path.with_name("elsewhere")), path.symlink_to("elsewhere")),
    ],
    ids=["latin1", "crlf", "empty", "gone", "writable", "group writable", "link"],
)
@pytest.mark.parametrize("name", ["etc/pam.d/common-auth", "var/lib/pam/auth", "usr/share/pam-configs/a-first"])
def test_every_way_of_bending_a_stack_is_found_and_repaired(pam: ModuleType, tmp_path: Path, edit: Any, name: str) -> None:
    landed(pam, tmp_path)
    good = (pam.ROOT / name).read_bytes()
    edit(pam.ROOT / name)
    sandbox = tmp_path / "again"
    changed = build(pam, sandbox, OURS)
    assert Path(name) in changed
    pam.land(sandbox, changed)
    assert (pam.ROOT / name).read_bytes() == good
    assert not (pam.ROOT / name).is_symlink()
    assert stat.S_IMODE((pam.ROOT / name).stat().st_mode) == 0o644


@needs_debian
@pytest.mark.parametrize("lost", [["auth"], ["auth", "account", "password", "session", "session-noninteractive"]])
def test_lost_records_never_cost_the_password(pam: ModuleType, tmp_path: Path, lost: list[str]) -> None:
    """With "seen" alone, pam-auth-update would think that an administrator had switched pam_unix off."""
    landed(pam, tmp_path)
    for kind in lost:
        (pam.ROOT / pam.SAVED / kind).unlink()
    sandbox = tmp_path / "again"
    build(pam, sandbox, OURS)
    assert "pam_unix.so" in pam.stack(sandbox, "auth")


@needs_debian
def test_stacks_without_passwords_never_land(pam: ModuleType, tmp_path: Path) -> None:
    sandbox = tmp_path / "sandbox"
    build(pam, sandbox, OURS, ["unix"])
    with pytest.raises(RuntimeError, match="pam_unix is missing"):
        pam.refuse_passwordless(sandbox)
    (pam.ROOT / pam.PROFILES / "unix").unlink()
    pam.refuse_passwordless(sandbox)


@needs_debian
def test_folders_and_leftovers_among_the_profiles_are_passed_over(pam: ModuleType, tmp_path: Path) -> None:
    (pam.ROOT / pam.PROFILES / "folder").mkdir()
    for name in ("old~", ".hidden", "#auto#"):
        (pam.ROOT / pam.PROFILES / name).write_text("garbage")
    build(pam, tmp_path / "sandbox", OURS)


ENTRIES = ["requisite pam_a.so", "[success=end default=ignore] pam_b.so x=y", "optional pam_c.so", "[default=die] pam_d.so"]
profile = st.builds(
    lambda entries, priority, kind: (
        f"Name: x\nDefault: yes\nPriority: {priority}\n{kind}-Type: Primary\n{kind}:\n" + "".join(f"\t{e}\n" for e in entries)
    ),
    st.lists(st.sampled_from(ENTRIES), min_size=1, max_size=3),
    st.integers(0, 2000),
    st.sampled_from(["Auth", "Account", "Password"]),
)


@needs_debian
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(profiles=st.dictionaries(st.sampled_from(["one", "two", "three"]), profile, max_size=3))
def test_any_profiles_build_to_the_same_stacks_once_they_landed(
    pam: ModuleType, tmp_path_factory: pytest.TempPathFactory, profiles: dict[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("rounds")
    pam.land(folder / "one", build(pam, folder / "one", profiles))
    assert build(pam, folder / "two", profiles) == {}
    for name in ("one", "two", "three"):
        (pam.ROOT / pam.PROFILES / name).unlink(missing_ok=True)


# ---- trying and landing


def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise RuntimeError("the new PAM stacks would refuse root (code 7); nothing was changed")


@pytest.mark.parametrize(
    ("trial", "complaint"),
    [(lambda: None, ""), (crash, "crashes"), (refuse, "would refuse root"), (lambda: time.sleep(60), "do not answer in time")],
    ids=["works", "crashes", "refuses", "hangs"],
)
def test_a_trial_takes_nothing_down_with_it(pam: ModuleType, monkeypatch: pytest.MonkeyPatch, trial: Any, complaint: str) -> None:
    monkeypatch.setattr(pam, "MAXIMUM_WAIT", 1 if complaint.startswith("do not") else 30)
    if complaint:
        with pytest.raises(RuntimeError, match=complaint):
            pam.isolated(trial)
    else:
        pam.isolated(trial)


@needs_debian
def test_killed_at_any_step_of_landing_every_file_is_whole_and_the_next_run_finishes(pam: ModuleType, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    sandbox = tmp_path / "sandbox"
    wanted = build(pam, sandbox, OURS)
    real = Path.replace
    for step in itertools.count(1):
        shutil.rmtree(pam.ROOT / pam.STACKS)
        (pam.ROOT / pam.STACKS).mkdir()
        (pam.ROOT / pam.STACKS / "common-auth").write_text("old\n")
        count = itertools.count(1)

        def deadly(self: Path, target: Path, count: Any = count, step: int = step) -> Path:
            if next(count) == step:
                raise Killed
            return real(self, target)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "replace", deadly)
            try:
                pam.land(sandbox, wanted)
                killed = False
            except Killed:
                killed = True
        for path, (_before, after) in wanted.items():
            assert pam.read(pam.ROOT / path) in ("", "old\n", after)
        again = tmp_path / str(step)
        pam.land(again, build(pam, again, OURS))
        assert all(pam.read(pam.ROOT / path) == after for path, (_before, after) in wanted.items())
        assert not list((pam.ROOT / pam.STACKS).glob(".*"))
        if not killed:
            break
    assert step > 5


# ---- the module


def asked(**more: Any) -> dict[str, Any]:
    return {"profiles": [{"name": "a-first", "content": FIRST}], "stacks": ["auth", "account"], **more}


@needs_debian
def test_check_mode_tries_predicts_and_leaves_everything(pam: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(pam, "isolated", lambda trial: trial())
    monkeypatch.setattr(pam, "try_login_path", lambda _sandbox, user: tried.append(user))
    monkeypatch.setattr(pam, "missing_modules", lambda _sandbox: [])
    predicted = answer_of(pam, asked(), check=True)
    assert not list((pam.ROOT / pam.STACKS).iterdir())
    done = answer_of(pam, asked())
    assert done["changes"] == predicted["changes"] == ["pam profile a-first", "pam common-auth", "pam common-account"]
    assert done["diff"] == predicted["diff"]
    assert tried == ["root", "root"], "what a run would refuse, check mode refuses"
    assert answer_of(pam, asked())["changes"] == []
    assert len(tried) == 2, "what is in use is not tried again"


@needs_debian
@pytest.mark.parametrize("check", [True, False])
def test_a_refused_stack_fails_alike_in_both_modes(pam: ModuleType, monkeypatch: pytest.MonkeyPatch, check: bool) -> None:
    monkeypatch.setattr(pam, "missing_modules", lambda _sandbox: [])
    monkeypatch.setattr(pam, "try_login_path", lambda _sandbox, _user: refuse())
    done = answer_of(pam, asked(), check=check)
    assert "PAM: the new PAM stacks would refuse root" in done["msg"]
    assert not list((pam.ROOT / pam.STACKS).iterdir())


@needs_debian
def test_a_module_that_is_still_to_be_installed_is_predicted_and_then_refused(pam: ModuleType) -> None:
    assert answer_of(pam, asked(), check=True)["changed"]
    done = answer_of(pam, asked())
    assert done["failed"]
    assert "PAM modules are not installed: pam_deny.so, pam_faillock.so" in done["msg"]


@pytest.mark.parametrize("name", ["../evil", "a b", "", "~", "a~", ".hidden", "#x", "a/b", "a\n"])
def test_names_that_are_no_profiles_are_refused(pam: ModuleType, name: str) -> None:
    assert "not names of profiles" in answer_of(pam, asked(profiles=[{"name": name, "content": "x"}]))["msg"]
    assert "not names of profiles" in answer_of(pam, asked(disabled=[name]))["msg"]


def test_a_machine_without_pam_auth_update_is_told(pam: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    done = answer_of(pam, asked())
    assert done["failed"]
    assert "pam-auth-update" in done["msg"]
