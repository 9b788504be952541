"""Each deliberate breakage alone: found by its own control, named, and repaired, through the commands that a contractor types.

The demonstration does all of them at once, where one could hide another. Here a batch holds one breakage per role at most.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import zip_longest
from typing import Any

import pytest

from antiseche import kit
from antiseche.app import main
from antiseche.catalogue import load_catalogue
from antiseche.lab import labs, rehearsal
from antiseche.lab.breakages import Breakage, break_machine, breakages
from antiseche.lab.rehearsal import Rehearsal
from antiseche.lab.requirements import requirements
from antiseche.practice.answers import load_answers
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Waiver

pytestmark = pytest.mark.lab

HOSTS = ("accueil", "cabinet-2")  # a Debian 13 and a Debian 12


def batches() -> list[list[Breakage]]:
    """Spread the table: the first breakage of each role, then the second ones, and so on."""
    role_of = load_catalogue().role_of
    by_role: dict[str, list[Breakage]] = {}
    for breakage in breakages():
        by_role.setdefault(role_of[breakage.control].role, []).append(breakage)
    return [[breakage for breakage in row if breakage is not None] for row in zip_longest(*by_role.values())]


@pytest.fixture(scope="module")
def practice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """The example practice with two of its machines, deployed."""
    assert not requirements(), "this machine must be able to run a lab"
    example = load_answers(PracticeFolder(kit.kit_dir() / "inventories/exemple"))
    hosts = [host for host in example.hosts if host.name in HOSTS]
    # The backup server is not one of the two machines, and nobody supplied the card middleware.
    agreed = {"reason": "Machines d'essai", "accepted_by": "Dr Camille Exemple"}
    dates = {"accepted_on": date.today(), "expires_on": date.today() + timedelta(days=30)}
    lacking = {"D-001": "SAV-01", "D-002": "CPS-02"}
    waivers = [Waiver(id=number, control=control, **agreed, **dates) for number, control in lacking.items()]
    changes = {"hosts": hosts, "software": [], "shares": [], "backup": None, "waivers": waivers}
    answers = example.model_copy(update=changes)
    folder = PracticeFolder(tmp_path_factory.mktemp("breakages") / f"exemple-{os.getpid()}")
    try:
        started = rehearsal.start(answers, folder)
        assert main(["deploy", str(folder.root), "--yes", *started.arguments()]) == 0
        yield started
    finally:
        labs.down(rehearsal.lab_name(folder))


def drift(practice: Rehearsal, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["drift", str(practice.folder.root), "--json", *options, *practice.arguments()])
    return code, json.loads(capsys.readouterr().out)


def failing(document: dict[str, Any]) -> set[tuple[str, str]]:
    holds = ("pass", "not-applicable", "waived")
    return {(result["host"], result["control"]) for result in document["results"] if result["effective"] not in holds}


@pytest.mark.parametrize("batch", batches(), ids=lambda batch: "+".join(breakage.id for breakage in batch))
def test_each_breakage_is_found_by_its_control_and_repaired(
    practice: Rehearsal, batch: list[Breakage], capsys: pytest.CaptureFixture[str]
) -> None:
    for host in HOSTS:
        break_machine(practice.lab, host, batch)
    controls = {breakage.control for breakage in batch}
    role_of = load_catalogue().role_of

    code, found = drift(practice, capsys)
    assert code == 3
    assert {(host, control) for host in HOSTS for control in controls} <= failing(found)
    # An act may trip its control's neighbours, but no other role's.
    assert {role_of[control].role for _host, control in failing(found)} == {role_of[control].role for control in controls}

    code, repaired = drift(practice, capsys, "--fix", "--yes")
    assert code == 0
    assert failing(repaired) == set()


def test_an_untouched_practice_has_not_drifted(practice: Rehearsal, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = drift(practice, capsys)

    assert (code, failing(found)) == (0, set())
