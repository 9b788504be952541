"""What status says of the backups."""

from __future__ import annotations

import pytest

from antiseche.catalogue import load_catalogue
from antiseche.evidence.backups import backups
from antiseche.evidence.results import Effective, Result

ROLE_OF = load_catalogue().role_of


def result(control: str, effective: Effective, message: str = "", run: str = "r1") -> Result:
    measured = "fail" if effective is Effective.FAIL else "pass"
    return Result("accueil", control, measured, effective, message, run=run)


@pytest.mark.parametrize("effective", [Effective.FAIL, Effective.ERROR, Effective.WAIVED, Effective.UNKNOWN])
def test_what_does_not_hold_is_said(effective: Effective) -> None:
    (entry,) = backups([result("SAV-01", effective, "Le disque est plein.")], ROLE_OF)
    assert entry == {"host": "accueil", "control": "SAV-01", "result": str(effective), "message": "Le disque est plein."}


def test_size_and_date_are_said_although_all_is_well() -> None:
    (entry,) = backups([result("SAV-01", Effective.PASS, "3 fichiers, 1,3 ko")], ROLE_OF)
    assert entry["message"] == "3 fichiers, 1,3 ko"


@pytest.mark.parametrize(
    "silent",
    [
        result("SAV-03", Effective.PASS),
        result("SAV-06", Effective.NOT_APPLICABLE, "ne concerne pas ce système"),
        result("MAJ-01", Effective.FAIL, "autre chose"),
        result("XXX-01", Effective.FAIL, "contrôle disparu"),
        result("SAV-01", Effective.UNKNOWN, run=""),
    ],
)
def test_what_says_nothing_of_backups_is_left_out(silent: Result) -> None:
    assert backups([silent], ROLE_OF) == []
