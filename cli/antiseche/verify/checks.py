"""What the checks in ``roles/*/verify/`` may import."""

from __future__ import annotations

from typing import NoReturn

from _pytest.outcomes import Skipped

_remarks: list[str] = []


class NotApplicable(Skipped):  # pytest.skip.Exception is this class, but has no type
    """The control makes no sense on this host, for a reason that is shown."""


def not_applicable(reason: str) -> NoReturn:
    """Declare that the control does not apply here. Any other way of skipping counts as an error."""
    raise NotApplicable(reason)


def remark(text: str) -> None:
    """Say something that the reader must see although the control holds: a date that comes near, what is accepted.

    Kept with the result if the check passes, forgotten otherwise.
    """
    _remarks.append(text)


def take_remarks() -> str:
    """Return what was remarked since the last call, as one text."""
    text = " ; ".join(_remarks)
    _remarks.clear()
    return text
