"""What the last pass saw of the backups, machine by machine: freshness, size, failures, drills."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from antiseche.catalogue.model import RoleControls
from antiseche.evidence.results import Effective, Result

ROLE = "backup"
_SAID = (Effective.FAIL, Effective.ERROR, Effective.WAIVED, Effective.UNKNOWN)


def backups(found: Iterable[Result], role_of: Mapping[str, RoleControls]) -> list[dict[str, Any]]:
    """Return what to show, in the order of the results: what does not hold, and what a check remarked although it holds.

    Args:
        found: results judged for the moment.
        role_of: the role that each control belongs to.
    """
    return [
        {"host": one.host, "control": one.control, "result": str(one.effective), "message": one.message}
        for one in found
        if one.control in role_of
        and role_of[one.control].role == ROLE
        and one.run
        and (one.effective in _SAID or (one.effective is Effective.PASS and one.message))
    ]
