"""The answers about a practice.

One pydantic model serves the questionnaire, the editor's JSON Schema, ``check-answers`` and the inventory builder.
Titles are the questions asked and descriptions say why; both are French source strings.
Unknown answers are ``None`` where the field allows it, and show as gaps.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from antiseche.i18n import N_
from antiseche.practice.schema.base import MOST, Answers
from antiseche.practice.schema.choices import Choices
from antiseche.practice.schema.contracts import HdsCertificate, Maintenance, PaperAnswer, Supplier, Waiver
from antiseche.practice.schema.identity import Host, Person, PracticeIdentity
from antiseche.practice.schema.network import Flow, LocalNetwork, Mssante, Printer, Share, Software
from antiseche.practice.schema.types import Network, Whole
from antiseche.practice.schema.words import Function, HostKind, Protocol, SupplierRole, System

__all__ = [
    "Answers",
    "Choices",
    "Flow",
    "Function",
    "HdsCertificate",
    "Host",
    "HostKind",
    "LocalNetwork",
    "Maintenance",
    "Mssante",
    "Network",
    "PaperAnswer",
    "Person",
    "Practice",
    "PracticeIdentity",
    "Printer",
    "Protocol",
    "Share",
    "Software",
    "Supplier",
    "SupplierRole",
    "System",
    "Waiver",
]


class Practice(Answers):
    """Everything the kit knows about a practice."""

    version: Annotated[Literal[1], Whole] = Field(
        1, title=N_("Version du fichier"), description=N_("Celle du format ; le kit refuse un format qu'il ne connaît pas.")
    )
    practice: PracticeIdentity = Field(title=N_("Le cabinet"))
    people: list[Person] = Field(min_length=1, max_length=MOST, title=N_("Les personnes"))
    hosts: list[Host] = Field(min_length=1, max_length=MOST, title=N_("Les machines"))
    network: LocalNetwork = Field(title=N_("Le réseau local"))
    software: list[Software] = Field(default_factory=list, max_length=MOST, title=N_("Les logiciels métier"))
    shares: list[Share] = Field(default_factory=list, max_length=MOST, title=N_("Les partages"))
    mssante: Mssante = Field(default_factory=Mssante, title=N_("La messagerie sécurisée de santé"))
    maintenance: Maintenance = Field(title=N_("La maintenance"))
    suppliers: list[Supplier] = Field(default_factory=list, max_length=MOST, title=N_("Les fournisseurs"))
    choices: Choices = Field(default_factory=Choices, title=N_("Les choix"))
    attestations: list[PaperAnswer] = Field(default_factory=list, max_length=MOST, title=N_("Les déclarations"))
    waivers: list[Waiver] = Field(default_factory=list, max_length=MOST, title=N_("Les dérogations"))
