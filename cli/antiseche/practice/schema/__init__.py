"""The answers about a practice.

One pydantic model serves the questionnaire, the editor's JSON Schema, ``check-answers`` and the inventory builder.
Titles are the questions asked and descriptions say why; both are French source strings.
Unknown answers are ``None`` where the field allows it, and show as gaps.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from antiseche.i18n import N_
from antiseche.practice.schema.backup import Backup, Dump, HostBackup, Keep, Offsite
from antiseche.practice.schema.base import MOST, Answers
from antiseche.practice.schema.cards import Cards, Middleware
from antiseche.practice.schema.choices import Choices
from antiseche.practice.schema.contracts import HdsCertificate, Maintenance, PaperAnswer, Supplier, Waiver
from antiseche.practice.schema.disks import DataDisk
from antiseche.practice.schema.identity import Host, Person, PracticeIdentity
from antiseche.practice.schema.network import Flow, LocalNetwork, Mssante, Printer, Share, Software
from antiseche.practice.schema.types import Network, Whole
from antiseche.practice.schema.words import Function, HostKind, Protocol, SupplierRole, System

__all__ = [
    "Answers",
    "Backup",
    "Cards",
    "Choices",
    "DataDisk",
    "Dump",
    "Flow",
    "Function",
    "HdsCertificate",
    "Host",
    "HostBackup",
    "HostKind",
    "Keep",
    "LocalNetwork",
    "Maintenance",
    "Middleware",
    "Mssante",
    "Network",
    "Offsite",
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
        1, title=N_("Version du fichier"), description=N_("Version du format ; le kit refuse un format qu'il ne connaît pas.")
    )
    practice: PracticeIdentity = Field(title=N_("Le cabinet"), description=N_("Qui est le cabinet."))
    people: list[Person] = Field(
        min_length=1,
        max_length=MOST,
        title=N_("Les personnes"),
        description=N_("Qui travaille au cabinet : une entrée par personne, qui reste après son départ."),
    )
    hosts: list[Host] = Field(
        min_length=1,
        max_length=MOST,
        title=N_("Les machines"),
        description=N_("Les postes et les serveurs que le kit installe, durcit et vérifie."),
    )
    network: LocalNetwork = Field(
        title=N_("Le réseau local"), description=N_("Ce que le pare-feu de chaque machine laisse passer en dépend.")
    )
    software: list[Software] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Les logiciels métier"),
        description=N_("Ceux qui reçoivent des connexions ont besoin d'une ouverture dans le pare-feu."),
    )
    shares: list[Share] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Les partages"),
        description=N_("Chaque dossier partagé ne s'ouvre qu'aux personnes citées."),
    )
    backup: Backup | None = Field(
        None,
        title=N_("Les sauvegardes"),
        description=N_("Ce qui est sauvegardé, où, et la copie que garde un hébergeur éloigné."),
    )
    mssante: Mssante = Field(
        default_factory=Mssante,
        title=N_("La messagerie sécurisée de santé"),
        description=N_("Chaque professionnel y a sa boîte, chez un opérateur."),
    )
    cps: Cards = Field(
        default_factory=Cards,
        title=N_("Les cartes CPS"),
        description=N_("Ce que font les machines qui ont un lecteur de carte."),
    )
    maintenance: Maintenance = Field(title=N_("La maintenance"), description=N_("Qui entretient les machines, et par où."))
    suppliers: list[Supplier] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Les fournisseurs"),
        description=N_("Prestataire, éditeurs, hébergeur, sauvegarde : l'annexe au contrat les énumère."),
    )
    choices: Choices = Field(
        default_factory=Choices,
        title=N_("Les choix"),
        description=N_("Ce qui revient au cabinet ; les valeurs proposées conviennent à la plupart."),
    )
    attestations: list[PaperAnswer] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Les déclarations"),
        description=N_("Ce qu'aucune machine ne mesure et que le cabinet déclare."),
    )
    waivers: list[Waiver] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Les dérogations"),
        description=N_("Les écarts que le médecin accepte, pour un temps et pour une raison."),
    )
