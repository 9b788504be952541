"""What sudo's own tools print, read: options in force, rules, and who is named in them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from antiseche.verify import sudo

LISTING = """\
Matching Defaults entries for adm-aupre on debian13:
    env_reset, mail_badpass, secure_path=/usr/local/sbin\\:/usr/local/bin, use_pty, logfile=/var/log/sudo.log,
    timestamp_timeout=5, passprompt="a\\, b", env_keep+=LANG, log_output, iolog_dir=/var/log/sudo-io/%{user}

User adm-aupre may run the following commands on debian13:
    (ALL : ALL) ALL
"""
NOTHING = "User camille is not allowed to run sudo on debian13.\n"


def test_options_in_force() -> None:
    options = sudo.options_in_force(LISTING)
    assert options["logfile"] == "/var/log/sudo.log"
    assert options["use_pty"] == ""
    assert options["passprompt"] == "a\\, b"
    assert options["timestamp_timeout"] == "5"
    assert "authenticate" not in options


def test_the_last_word_counts() -> None:
    later = LISTING.replace("log_output,", "log_output, !log_output, !logfile, logfile=/other,")
    assert sudo.options_in_force(later)["log_output"] == sudo.OFF
    assert sudo.options_in_force(later)["logfile"] == "/other"


@pytest.mark.parametrize("listing", ["", NOTHING, "sudo: a password is required\n"])
def test_nothing_allowed_has_no_options(listing: str) -> None:
    assert sudo.options_in_force(listing) == {}
    assert not sudo.may_use(listing)


def test_may_use() -> None:
    assert sudo.may_use(LISTING)


def spec(*users: dict[str, Any], commands: list[dict[str, Any]] | None = None, **options: bool) -> dict[str, Any]:
    given = {"Commands": commands or [{"command": "ALL"}], "Options": [{name: value} for name, value in options.items()]}
    return {"User_List": list(users), "Cmnd_Specs": [given]}


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ({"username": "camille"}, "camille"),
        ({"username": "ALL"}, "ALL"),
        ({"username": "camille", "negated": True}, "!camille"),
        ({"usergroup": "cabinet-admins"}, "%cabinet-admins"),
        ({"usergid": 1004}, "%1004"),
        ({"userid": 1004}, "1004"),
        ({"netgroup": "amis"}, "%amis"),
        ({}, "?"),
    ],
)
def test_how_a_rule_names_somebody(user: dict[str, Any], name: str) -> None:
    (rule,) = sudo.rules(json.dumps({"User_Specs": [spec(user)]}))
    assert rule == sudo.Rule(name, everything=True, asks=True)


def test_what_a_rule_gives() -> None:
    few = [{"command": "/usr/bin/apt-get update"}]
    printed = json.dumps({"User_Specs": [
        spec({"username": "agent"}, commands=few, authenticate=False),
        spec({"username": "agent"}, commands=[*few, {"command": "/usr/bin/passwd", "negated": True}]),
    ]})  # fmt: skip
    assert [(rule.everything, rule.asks) for rule in sudo.rules(printed)] == [(False, False), (True, True)]
    assert list(sudo.rules("")) == []


def test_switched_off_for_anybody() -> None:
    printed = json.dumps({"Defaults": [
        {"Options": [{"log_output": True}, {"logfile": "/x"}]},
        {"Binding": [{"command": "/usr/bin/bash"}], "Options": [{"log_output": False}]},
    ]})  # fmt: skip
    assert sudo.switched_off(printed) == {"log_output"}
    assert sudo.switched_off("") == set()


def test_what_is_no_output_is_an_error() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        list(sudo.rules("visudo: broken"))
