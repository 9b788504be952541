"""What a control is: something that must be true of a host, in words a doctor understands, with references."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from antiseche.i18n import language

ControlId = Annotated[str, Field(pattern=r"^[A-Z]{3}-[0-9]{2}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bilingual(_Strict):
    """A text in French and in English."""

    fr: Annotated[str, Field(min_length=3)]
    en: Annotated[str, Field(min_length=3)]

    def __str__(self) -> str:
        return self.en if language() == "en" else self.fr


class Severity(StrEnum):
    """How much a control that fails matters."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Repair(StrEnum):
    """Who can put a control right: the kit by a deployment, or somebody by hand."""

    KIT = "kit"
    HAND = "hand"


class Source(_Strict):
    """A published text. Only texts read at the source (A) or through a concordant secondary one (B) may be cited.

    ``label`` is what a report calls it, ``numbering`` the regular expression of its ids.
    """

    id: str
    label: str
    title: str
    publisher: str
    address: str
    numbering: str
    confidence: Literal["A", "B"]
    licence: str


class Reference(_Strict):
    """A numbered place in a source."""

    source: str
    id: Annotated[str, Field(min_length=1)]

    def __str__(self) -> str:
        return f"{self.source} {self.id}"


class Applies(_Strict):
    """Where a control makes sense."""

    kinds: list[Literal["workstation", "server"]] = ["workstation", "server"]
    systems: list[Literal["debian12", "debian13"]] = ["debian12", "debian13"]
    container: bool = True


class Control(_Strict):
    """Something that must be true.

    ``statement`` says what holds, ``broken`` what is said when it no longer does, ``remedy`` what to do then and
    ``repair`` who can; ``max_age_days`` is how long an observation counts.
    """

    id: ControlId
    title: Bilingual
    statement: Bilingual
    broken: Bilingual
    remedy: Bilingual
    repair: Repair
    severity: Severity
    references: Annotated[list[Reference], Field(min_length=1)]
    applies: Applies = Applies()
    max_age_days: Annotated[int, Field(ge=1, le=400)] = 30


class RoleControls(_Strict):
    """``controls.yml`` of one role.

    ``order`` is its place in ``site.yml``; ``steps`` gives the French sentence of each task's name.
    """

    role: str
    order: Annotated[int, Field(ge=1, le=99)]
    title: Bilingual
    steps: dict[str, Annotated[str, Field(min_length=3)]] = {}
    controls: Annotated[list[Control], Field(min_length=1)]
