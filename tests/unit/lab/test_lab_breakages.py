"""The table of breakages names real controls, each breakage once."""

from __future__ import annotations

import subprocess

from antiseche import i18n
from antiseche.catalogue import load_catalogue
from antiseche.lab.breakages import breakages


def test_at_least_ten_and_all_different() -> None:
    table = breakages()
    assert len(table) >= 10
    assert len({b.id for b in table}) == len(table)
    assert len({b.run for b in table}) == len(table)


def test_each_names_a_control_of_the_catalogue() -> None:
    known = {control.id for control in load_catalogue()}
    assert {b.control for b in breakages()} <= known


def test_each_is_a_shell_command_that_parses() -> None:
    for breakage in breakages():
        done = subprocess.run(["sh", "-n"], input=breakage.run, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"{breakage.id}: {done.stderr}"


def test_they_are_said_in_both_languages() -> None:
    french = [b.does for b in breakages()]
    i18n.select("en")
    try:
        english = [b.does for b in breakages()]
    finally:
        i18n.select("fr")
    assert all(a and b and a != b for a, b in zip(french, english, strict=True))
