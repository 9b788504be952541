"""The practice, its people and its machines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from antiseche.i18n import N_
from antiseche.practice.schema.base import MOST, Answers
from antiseche.practice.schema.disks import DataDisk
from antiseche.practice.schema.types import Address, Date, HostName, Login, PersonName, Slug, Text, YesNo
from antiseche.practice.schema.words import Function, HostKind, System


class PracticeIdentity(Answers):
    """Who the practice is."""

    id: Slug = Field(
        title=N_("Identifiant court du cabinet"),
        description=N_("Désigne le cabinet dans l'inventaire et dans le trousseau ; à ne donner qu'à un seul."),
    )
    name: Text = Field(title=N_("Nom du cabinet"), description=N_("Tel qu'il figurera sur les documents remis."))
    address: Text | None = Field(None, title=N_("Adresse postale"), description=N_("Pour l'annexe au contrat et le registre."))
    phone: Text | None = Field(
        None, title=N_("Téléphone du cabinet"), description=N_("Pour la fiche réflexe, à suivre en cas d'incident.")
    )
    timezone: Literal[
        "Europe/Paris",
        "America/Cayenne",
        "America/Guadeloupe",
        "America/Martinique",
        "America/Miquelon",
        "Indian/Mayotte",
        "Indian/Reunion",
        "Pacific/Noumea",
        "Pacific/Tahiti",
        "Pacific/Wallis",
    ] = Field(
        "Europe/Paris",
        title=N_("Fuseau horaire"),
        description=N_("Les journaux sont datés et les machines redémarrent à cette heure."),
    )


class Person(Answers):
    """One person; gets one personal account on each host that lists the login."""

    name: PersonName = Field(
        title=N_("Nom complet"), description=N_("Chaque compte est nominatif : la personne répond de ce qui s'y fait.")
    )
    login: Login = Field(
        title=N_("Identifiant de session"),
        description=N_("Un par personne, jamais partagé : ce qu'elle tape pour ouvrir sa session."),
    )
    function: Function = Field(title=N_("Fonction"), description=N_("Décide des groupes du compte, donc de ses droits."))
    admin: YesNo = Field(
        False,
        title=N_("Cette personne doit-elle pouvoir administrer les machines ?"),
        description=N_(
            "Si oui, elle reçoit un second compte, « adm-… », réservé à cela : le compte de tous les jours n'administre jamais."
        ),
    )
    until: Date | None = Field(
        None,
        title=N_("Dernier jour de présence"),
        description=N_("Pour un remplaçant ou un départ prévu : le compte expire de lui-même le lendemain."),
    )
    left: YesNo = Field(
        False,
        title=N_("La personne a-t-elle quitté le cabinet ?"),
        description=N_("Ses comptes sont alors verrouillés sur toutes les machines, jamais supprimés."),
    )
    note: Text | None = Field(
        None,
        title=N_("Remarque"),
        description=N_("Pour mémoire, rien n'en dépend ; plus sûre qu'un commentaire, qu'une modification peut déplacer."),
    )


class Host(Answers):
    """One machine of the practice."""

    name: HostName = Field(
        title=N_("Nom de la machine"),
        description=N_("La désigne partout, rapports compris : 2 à 15 minuscules, chiffres ou tirets, comme « accueil »."),
    )
    kind: HostKind = Field(
        HostKind.WORKSTATION,
        title=N_("Poste de travail ou serveur ?"),
        description=N_("Un serveur peut partager des dossiers et n'a pas forcément d'utilisateur attitré."),
    )
    system: System = Field(
        System.DEBIAN13,
        title=N_("Système d'exploitation"),
        description=N_("La version réellement installée : la fin de ses mises à jour est surveillée."),
    )
    address: Address = Field(
        title=N_("Adresse IP"), description=N_("Fixe, ou réservée dans la box ou le routeur : le kit joint la machine par elle.")
    )
    users: list[Login] = Field(
        default_factory=list,
        title=N_("Qui s'en sert ?"),
        description=N_("Chaque personne citée reçoit un compte personnel sur cette machine, et les autres n'en ont pas."),
    )
    laptop: YesNo = Field(
        False,
        title=N_("Est-ce un portable ?"),
        description=N_("Un portable se perd et se vole : le chiffrement de son disque compte d'autant plus."),
    )
    data_disks: list[DataDisk] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Disques de données à chiffrer"),
        description=N_("Disques vierges, en plus de celui du système, que le kit chiffre et monte. Aucun : rien n'est formaté."),
    )
    system_tpm_unlock: YesNo = Field(
        False,
        title=N_("Son disque système chiffré s'ouvre-t-il par la puce TPM ?"),
        description=N_(
            "Pour un disque chiffré à l'installation, dont la phrase est au coffre : la machine démarre sans qu'on la tape."
        ),
    )
    encrypted_swap: YesNo = Field(
        False,
        title=N_("Faut-il chiffrer sa mémoire d'échange ?"),
        description=N_("Une clé nouvelle à chaque démarrage, que personne ne garde : la veille prolongée devient impossible."),
    )
    card_reader: YesNo = Field(
        False,
        title=N_("A-t-elle un lecteur de carte CPS ?"),
        description=N_("La carte identifie le professionnel ; la machine doit savoir la lire et se verrouiller quand elle sort."),
    )
    note: Text | None = Field(
        None,
        title=N_("Remarque"),
        description=N_("Pour mémoire, rien n'en dépend ; plus sûre qu'un commentaire, qu'une modification peut déplacer."),
    )
