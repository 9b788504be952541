"""What a PAM stack decides: Debian's own, ours, and what somebody may do to them with one line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from antiseche.verify import pam

COMMON_AUTH = """\
# here are the per-package modules (the "Primary" block)
auth	requisite	pam_faillock.so preauth
auth	[success=2 default=ignore]	pam_unix.so nullok try_first_pass
auth	[default=die]	pam_faillock.so authfail
auth	requisite			pam_deny.so
auth	required			pam_permit.so
"""
COMMON_PASSWORD = """\
password	[success=1 default=ignore]	pam_succeed_if.so quiet user notingroup cabinet-admins
password	[success=1 default=die]	pam_pwquality.so retry=3 minlen=16
password	requisite	pam_pwquality.so retry=3
password	requisite	pam_pwhistory.so use_authtok remember=3
password	[success=1 default=ignore]	pam_unix.so obscure use_authtok try_first_pass yescrypt
password	requisite			pam_deny.so
password	required			pam_permit.so
"""
LOGIN = "auth optional pam_faildelay.so delay=3000000\nauth requisite pam_nologin.so\n@include common-auth\n"
FILES = {"common-auth": COMMON_AUTH, "common-password": COMMON_PASSWORD, "login": LOGIN, "passwd": "@include common-password\n"}


def auth(**changed: str) -> list[pam.Line]:
    return pam.stack({**FILES, **changed}, "login", "auth")


def only(module: str, *words: str) -> Callable[[pam.Line], str]:
    """Return results where one module refuses and all others are content."""
    return lambda line: "auth_err" if line.module == module and set(words) <= set(line.arguments) else "success"


@pytest.mark.parametrize("conditions", [True, False])
def test_a_wrong_password_is_refused_and_counted(conditions: bool) -> None:
    verdict = pam.walk(auth(), pam.wrong_password(conditions))
    assert not verdict.accepted
    assert verdict.reached("pam_faillock.so", "authfail")


def test_the_right_password_opens_and_counts_nothing() -> None:
    verdict = pam.walk(auth(), lambda _line: "success")
    assert verdict.accepted
    assert not verdict.reached("pam_faillock.so", "authfail")


def test_a_locked_account_stays_closed_to_the_right_password() -> None:
    verdict = pam.walk(auth(), only("pam_faillock.so", "preauth"))
    assert not verdict.accepted
    assert not verdict.reached("pam_unix.so")


@pytest.mark.parametrize(
    "line",
    [
        "auth sufficient pam_permit.so",
        "auth [success=done default=ignore] pam_permit.so",
        "auth [success=4 default=ignore] pam_permit.so",
        "AUTH SUFFICIENT /lib/security/pam_permit.so",
        "-auth sufficient pam_permit.so debug",
        "auth sufficient \\\n  pam_permit.so",
        "auth sufficient pam_exec.so /bin/true",
        "auth sufficient pam_succeed_if.so user ingroup friends",
    ],
)
def test_one_line_at_the_top_opens_the_door_and_is_seen(line: str) -> None:
    lines = auth(**{"common-auth": f"{line}\n{COMMON_AUTH}"})
    assert any(pam.walk(lines, pam.wrong_password(so)).accepted for so in (True, False))


@pytest.mark.parametrize(
    "line", ["auth optional pam_permit.so", "auth required pam_permit.so", "# auth sufficient pam_permit.so", ""]
)
def test_lines_that_open_nothing(line: str) -> None:
    lines = auth(**{"common-auth": f"{line}\n{COMMON_AUTH}"})
    assert not any(pam.walk(lines, pam.wrong_password(so)).accepted for so in (True, False))


def test_a_stack_that_decides_nothing_refuses() -> None:
    assert not pam.walk([], lambda _line: "success").accepted
    assert not pam.walk(auth(), lambda _line: "ignore").accepted


def test_a_jump_past_the_end_refuses() -> None:
    lines = pam.stack({"x": "auth required pam_permit.so\nauth [success=5 default=ignore] pam_unix.so\n"}, "x", "auth")
    assert not pam.walk(lines, lambda _line: "success").accepted


@pytest.mark.parametrize(
    ("control", "returned", "accepted"),
    [
        ("required", "success", True),
        ("required", "auth_err", False),
        ("requisite", "auth_err", False),
        ("optional", "auth_err", False),  # alone, it decides nothing, and nothing is a refusal
        ("sufficient", "success", True),
        ("sufficient", "auth_err", False),
        ("required", "new_authtok_reqd", True),
        ("[success=ok]", "auth_err", False),  # what is not said is a failure
        ("[default=ok]", "auth_err", False),  # "ok" keeps the failure
        ("[success=reset]", "success", False),
        ("nonsense", "success", False),
    ],
)
def test_what_one_line_decides(control: str, returned: str, accepted: bool) -> None:
    lines = pam.stack({"x": f"auth {control} pam_x.so\n"}, "x", "auth")
    assert pam.walk(lines, lambda _line: returned).accepted is accepted


def test_a_success_does_not_heal_a_failure() -> None:
    lines = pam.stack({"x": "auth required pam_a.so\nauth sufficient pam_b.so\nauth required pam_c.so\n"}, "x", "auth")
    verdict = pam.walk(lines, only("pam_a.so"))
    assert not verdict.accepted
    assert verdict.reached("pam_c.so")


@pytest.mark.parametrize("refuse_first", [False, True])
def test_administrators_go_by_their_own_line(refuse_first: bool) -> None:
    lines = pam.stack(FILES, "passwd", "password")
    verdict = pam.walk(lines, only("pam_succeed_if.so") if refuse_first else lambda _line: "success")
    checkers = [line for line in verdict.asked if line.module == "pam_pwquality.so"]
    assert len(checkers) == 1
    assert checkers[0].option("minlen") == ("16" if refuse_first else None)
    assert verdict.accepted


def test_a_refused_password_is_not_written() -> None:
    lines = pam.stack(FILES, "passwd", "password")
    assert not pam.walk(lines, only("pam_pwquality.so")).reached("pam_unix.so")
    bent = COMMON_PASSWORD.replace("success=1 default=ignore]\tpam_succeed_if", "success=2 default=ignore]\tpam_succeed_if")
    around = pam.walk(pam.stack({**FILES, "common-password": bent}, "passwd", "password"), only("pam_pwquality.so"))
    assert around.reached("pam_unix.so")


def test_files_are_taken_apart_and_included_ones_put_in_place() -> None:
    listing = (
        "==> /usr/lib/pam.d/su-l <==\nauth required pam_old.so\n\n==> /etc/pam.d/su-l <==\nauth include su\n\n"
        "==> /etc/pam.d/su <==\n"
    )
    texts = pam.files(listing + "auth sufficient pam_rootok.so # by root\n@include /etc/pam.d/common-auth\n")
    assert [line.module for line in pam.stack({**texts, "common-auth": COMMON_AUTH}, "su-l", "auth")][:2] == [
        "pam_rootok.so",
        "pam_faillock.so",
    ]
    assert pam.stack(texts, "su-l", "session") == []


@pytest.mark.parametrize("text", ["@include x\n", "auth include x\n", "auth substack x\n"])
def test_a_file_that_includes_itself_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="inclusions sans fin"):
        pam.stack({"x": text}, "x", "auth")


def test_a_line_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="incomprise"):
        pam.stack({"x": "auth\n"}, "x", "auth")


def test_arguments_in_brackets_and_the_last_of_a_name_count() -> None:
    (line,) = pam.stack({"x": "session optional pam_x.so umask=0022 [text=a b] umask=0077 bare\n"}, "x", "session")
    assert line.option("umask") == "0077"
    assert line.option("text") == "a b"
    assert line.option("bare") == ""
    assert line.option("missing") is None
