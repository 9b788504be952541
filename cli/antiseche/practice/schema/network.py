"""The local network, and what needs it."""

from __future__ import annotations

from pydantic import Field

from antiseche.i18n import N_
from antiseche.practice.schema.base import MOST, Answers
from antiseche.practice.schema.types import Address, HostName, Login, Network, Port, Slug, Text, YesNo
from antiseche.practice.schema.words import Protocol


class Printer(Answers):
    """A printer or scanner on the local network."""

    name: Text = Field(title=N_("Nom de l'imprimante"))
    address: Address = Field(
        title=N_("Adresse IP de l'imprimante"), description=N_("Le pare-feu des postes ne laisse passer que ce qui est déclaré.")
    )


class LocalNetwork(Answers):
    """The practice's local network."""

    lan: Network = Field(
        title=N_("Réseau local"),
        description=N_("Les machines du cabinet se parlent à l'intérieur ; par exemple 192.168.1.0/24."),
    )
    printers: list[Printer] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Imprimantes et numériseurs"),
        description=N_("Les appareils que les postes doivent pouvoir joindre."),
    )
    discovery: YesNo = Field(
        False,
        title=N_("Faut-il la découverte automatique des imprimantes et des partages ?"),
        description=N_("Ouvre le port 5353/udp au réseau local ; inutile quand les adresses sont connues."),
    )


class Flow(Answers):
    """An inbound network flow to open on some hosts."""

    name: Text = Field(title=N_("À quoi sert ce flux ?"), description=N_("Le rapport et le pare-feu le montrent sous ce nom."))
    protocol: Protocol = Field(
        Protocol.TCP, title=N_("Protocole"), description=N_("Selon la notice du logiciel ; presque toujours tcp.")
    )
    ports: list[Port] = Field(
        min_length=1,
        max_length=MOST,
        title=N_("Ports"),
        description=N_("Selon la notice du logiciel, par exemple 5432."),
    )
    sources: list[Network] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Depuis quelles adresses ?"),
        description=N_("Aucune : tout le réseau local du cabinet. Pour un flux sortant, ce sont les destinations."),
    )
    hosts: list[HostName] = Field(
        default_factory=list,
        title=N_("Sur quelles machines ?"),
        description=N_("Aucune : toutes celles du logiciel, ou du cabinet."),
    )


class Software(Answers):
    """Medical software and what it needs from the network."""

    name: Text = Field(title=N_("Nom du logiciel métier"))
    supplier: Text | None = Field(
        None, title=N_("Éditeur"), description=N_("L'un des fournisseurs cités : l'annexe au contrat les relie.")
    )
    hosts: list[HostName] = Field(
        default_factory=list,
        title=N_("Machines concernées"),
        description=N_("Celles qui le font tourner et reçoivent ses connexions. Aucune : toutes."),
    )
    inbound: list[Flow] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Flux entrants"),
        description=N_("Tout ce qui n'est pas déclaré est refusé par le pare-feu."),
    )


class Share(Answers):
    """A shared folder of the server."""

    name: Slug = Field(
        title=N_("Nom du partage"), description=N_("Tel que les postes le voient : minuscules, chiffres et tirets.")
    )
    host: HostName = Field(title=N_("Serveur"), description=N_("La machine de genre « serveur » qui porte le dossier."))
    users: list[Login] = Field(
        default_factory=list, title=N_("Qui y a accès ?"), description=N_("Personne d'autre ne pourra l'ouvrir.")
    )


class Mssante(Answers):
    """Secure health mail."""

    operator: Text | None = Field(
        None,
        title=N_("Opérateur de messagerie sécurisée de santé"),
        description=N_("Celui qui fournit la boîte par laquelle passent les courriers qui nomment un patient."),
    )
    client: YesNo = Field(
        True,
        title=N_("Un logiciel de messagerie s'y connecte-t-il depuis les postes ?"),
        description=N_("Oui ouvre les ports 143 et 587 vers l'extérieur ; non convient si elle se lit dans un navigateur."),
    )
