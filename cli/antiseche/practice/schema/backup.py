"""What is backed up, where it goes, and how long it is kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from antiseche.i18n import N_
from antiseche.practice.schema.base import MOST, Answers
from antiseche.practice.schema.types import (
    AnyPath,
    ClockTime,
    FileName,
    FolderPath,
    HostName,
    Login,
    OffsitePlace,
    PublicKey,
    Text,
    Whole,
    YesNo,
)

Rate = Annotated[int, Field(ge=0, le=10_000_000), Whole]


class Dump(Answers):
    """A command whose output is backed up: a database cannot be copied as a file while it runs."""

    name: FileName = Field(
        title=N_("Nom de l'extraction"), description=N_("Celui du fichier sauvegardé, par exemple « base.sql ».")
    )
    command: list[Text] = Field(
        min_length=1,
        max_length=MOST,
        title=N_("Commande"),
        description=N_("Le programme et ses arguments, un par élément : aucun interpréteur ne les lit."),
    )
    user: Login | None = Field(
        None, title=N_("Sous quel compte ?"), description=N_("Aucun : celui de l'administrateur. Pour PostgreSQL : postgres.")
    )


class HostBackup(Answers):
    """What one machine backs up."""

    host: HostName = Field(title=N_("Machine"), description=N_("L'une des machines citées."))
    paths: list[AnyPath] = Field(
        min_length=1,
        max_length=MOST,
        title=N_("Dossiers à sauvegarder"),
        description=N_("Ce que personne ne saurait refaire : dossiers des patients, courriers, base du logiciel."),
    )
    exclude: list[Text] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Ce qui n'a pas à l'être"),
        description=N_("Des motifs, par exemple « *.tmp » ou « /home/*/.cache »."),
    )
    must_survive: list[AnyPath] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Ce qui doit survivre à tout"),
        description=N_("Chaque exercice de restauration relit ces fichiers et les compare."),
    )
    dumps: list[Dump] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Extractions de bases"),
        description=N_("Une base en service ne se copie pas : son outil en fait d'abord une extraction."),
    )
    snapshots: YesNo = Field(
        default=False,
        title=N_("Figer les fichiers le temps de la sauvegarde ?"),
        description=N_("Pour un disque sous LVM ou btrfs : un fichier qui change pendant la copie y est tel qu'au départ."),
    )


class Keep(Answers):
    """How long snapshots are kept on the practice's server; the off-site copy keeps everything."""

    days: Annotated[int, Field(ge=7, le=3650), Whole] = Field(
        30, title=N_("Une sauvegarde par jour pendant combien de jours ?"), description=N_("Sept au moins.")
    )
    weeks: Annotated[int, Field(ge=4, le=520), Whole] = Field(
        12, title=N_("Une par semaine pendant combien de semaines ?"), description=N_("Quatre au moins.")
    )
    months: Annotated[int, Field(ge=3, le=360), Whole] = Field(
        24, title=N_("Une par mois pendant combien de mois ?"), description=N_("Trois au moins.")
    )


class Offsite(Answers):
    """The copy that a fire or a burglary does not reach."""

    kind: Literal["rest", "s3", "sftp"] = Field(
        title=N_("Genre du dépôt distant"),
        description=N_("Ce que propose l'hébergeur : un serveur restic, un stockage S3, ou un compte SFTP."),
    )
    url: OffsitePlace = Field(
        title=N_("Adresse du dépôt distant"),
        description=N_("En https sans identifiant, ou « sftp://compte@serveur:port/dossier » ; les secrets vont au coffre."),
    )
    host_key: PublicKey | None = Field(
        None,
        title=N_("Clé publique du serveur SFTP"),
        description=N_("Celle que publie l'hébergeur : sans elle, n'importe quel serveur pourrait se faire passer pour le sien."),
    )
    supplier: Text | None = Field(
        None,
        title=N_("Hébergeur de la copie distante"),
        description=N_("L'un des fournisseurs cités, dont le rôle est la sauvegarde ; son certificat HDS y figure."),
    )
    limit_kib: Rate = Field(0, title=N_("Débit d'envoi au plus, en Kio par seconde"), description=N_("Zéro : pas de limite."))


class Backup(Answers):
    """Where backups go, and what they hold."""

    server: HostName = Field(
        title=N_("Serveur de sauvegarde"), description=N_("La machine sous Debian 13 qui reçoit les sauvegardes des autres.")
    )
    path: FolderPath = Field(
        "/srv/antiseche-backup",
        title=N_("Dossier des sauvegardes"),
        description=N_("Sur le serveur, de préférence sur un disque à part."),
    )
    hour: ClockTime = Field(
        "12:30",
        title=N_("Heure de la sauvegarde"),
        description=N_("Quand les postes sont allumés : une heure manquée se rattrape."),
    )
    maintenance_hour: ClockTime = Field(
        "21:30",
        title=N_("Heure de l'entretien"),
        description=N_("Le serveur vérifie alors les sauvegardes et les copie au loin."),
    )
    limit_kib: Rate = Field(0, title=N_("Débit des postes au plus, en Kio par seconde"), description=N_("Zéro : pas de limite."))
    hosts: list[HostBackup] = Field(
        min_length=1,
        max_length=MOST,
        title=N_("Les machines sauvegardées"),
        description=N_("Celles qui portent des données que rien d'autre ne garde."),
    )
    keep: Keep | None = Field(
        None, title=N_("Durées de conservation"), description=N_("Sans réponse, rien n'est jamais retiré du serveur.")
    )
    offsite: Offsite | None = Field(
        None,
        title=N_("La copie distante"),
        description=N_("Un incendie ou un vol n'atteint pas une copie qui est ailleurs, chez un hébergeur certifié HDS."),
    )
