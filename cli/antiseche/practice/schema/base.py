"""What every part of the answers has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

MOST = 200
"""Greatest number of people, hosts and other items: a practice has a few dozen."""


class Answers(BaseModel):
    """Base of every part: unknown keys are errors, nothing is coerced silently."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)
