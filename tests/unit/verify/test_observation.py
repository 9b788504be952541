"""What is kept of a machine's answers: never a secret, always enough to be checked later."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiseche.verify.observation import KEPT_BYTES, canonical, leaf_digest, masked, observe

SECRET = "S3cr3tS3cr3tS3cr3t"


@pytest.mark.parametrize(
    "text",
    [
        f"anne:$y$j9T${SECRET}$abcdefgh:20000:0:99999:7:::",
        f"anne:!$6$rounds=5000${SECRET}$abcdefgh:20000::::::",
        f"anne:$2b$10${SECRET}abcdefgh:1:",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n-----END OPENSSH PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
        f"password={SECRET}",
        f"passwd: '{SECRET} and more'",
        f'"token": "{SECRET}"',
        f"--password {SECRET}",
        f"https://anne:{SECRET}@depot.example/x",
        f"Authorization: Bearer {SECRET}",
        f"$ANSIBLE_VAULT;1.1;AES256\n{SECRET.encode().hex()}\n",
        "Abcd-Efgh-2345-kNpR est à changer",
    ],
)
def test_secrets_are_masked_in_answers_errors_and_commands(text: str) -> None:
    kept = json.dumps(observe("poste", text, 0, text.encode(), text.encode()).value)
    assert SECRET not in kept
    assert SECRET.encode().hex() not in kept
    assert "kNpR" not in kept
    assert "***" in kept


@pytest.mark.parametrize(
    "text",
    [
        "PasswordAuthentication no",
        "passwordauthentication no\npermitemptypasswords no",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE3WgC5WKWjujxy22vCJNo5yps7svkprtAw75EuMvRe2 exemple",
        "SHA256:Esa1Na8B6nyB5fcvTWrxP6w6t/Tu0VqVbJ/F0ktffQs",
        "password requisite pam_pwquality.so retry=3",
        "root:*:20000:0:99999:7:::",
        "anne:!:20000:0:99999:7:::",
        "secretariat:x:1003:sacha",
        '{"nftables": [{"metainfo": {"version": "1.1.3"}}]}',
        "minlen = 14",
        "/etc/apt/apt.conf.d/52antiseche",
    ],
)
def test_what_was_observed_stays(text: str) -> None:
    assert masked(text) == text


def test_the_digest_is_of_the_whole_masked_answer_and_the_text_is_capped() -> None:
    answer = b"x" * (3 * KEPT_BYTES)
    value = observe("poste", "cat", 0, answer, answer).value
    assert len(value["stdout"]) == KEPT_BYTES
    assert len(value["stderr"]) < KEPT_BYTES
    assert value["stdout_sha256"] == hashlib.sha256(answer).hexdigest()


def test_a_secret_across_the_cut_is_masked_first() -> None:
    answer = ("x" * (KEPT_BYTES - 12) + f"\npassword={SECRET}").encode()
    assert "S3cr" not in observe("poste", "cat", 0, answer, b"").value["stdout"]


def test_a_leaf_commits_to_its_value_and_tells_nothing_without_its_salt() -> None:
    one, two = (observe("poste", "id", 0, b"root", b"") for _ in range(2))
    assert one.leaf == leaf_digest(one.salt, one.value)
    assert one.salt != two.salt
    assert one.leaf != two.leaf
    assert leaf_digest(one.salt, {**one.value, "rc": 1}) != one.leaf


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_one_value_has_one_form(value: object) -> None:
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(json.loads(text)) == text


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(-255, 255))
def test_any_bytes_make_an_observation(out: bytes, err: bytes, rc: int) -> None:
    made = observe("poste", "x", rc, out, err)
    assert leaf_digest(made.salt, json.loads(json.dumps(made.value))) == made.leaf


def test_hostile_answers_cost_linear_time() -> None:
    """A pattern that explodes would not come back."""
    for text in ("$a" * 200000, "-----BEGIN " * 40000, "password=" * 40000, "a:" * 200000, "\\" * 300000, "A" * 500000 + ":"):
        assert masked(text)
