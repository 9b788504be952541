"""What the checks in ``roles/*/verify/`` may import."""

from __future__ import annotations

from typing import NoReturn

from _pytest.outcomes import Skipped


class NotApplicable(Skipped):  # pytest.skip.Exception is this class, but has no type
    """The control makes no sense on this host, for a reason that is shown."""


def not_applicable(reason: str) -> NoReturn:
    """Declare that the control does not apply here. Any other way of skipping counts as an error."""
    raise NotApplicable(reason)
