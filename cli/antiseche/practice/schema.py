"""The answers about a practice.

One pydantic model serves the questionnaire, the editor's JSON Schema, ``check-answers`` and the inventory builder.
Titles are the questions asked and descriptions say why; both are French source strings.
Unknown answers are ``None`` where the field allows it, and show as gaps.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.networks import IPvAnyAddress, IPvAnyNetwork

from antiseche.i18n import N_

Address = IPvAnyAddress
Network = IPvAnyNetwork


def _oui_non(value: object) -> object:
    """YAML 1.2 knows true and false only; a French file may also say oui and non."""
    return {"oui": True, "non": False}.get(value.strip().lower(), value) if isinstance(value, str) else value


# An editor follows the schema to the letter: it must know the French words too.
YesNo = Annotated[
    bool,
    BeforeValidator(_oui_non),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": ["oui", "non"]}]}),
]

Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
Login = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,30}$")]
HostName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,13}[a-z0-9]$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
ClockTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
PublicKey = Annotated[
    str,
    Field(pattern=r"^(ssh-ed25519|sk-ssh-ed25519@openssh\.com|ecdsa-sha2-nistp256|ssh-rsa) [A-Za-z0-9+/=]+( .*)?$"),
]


class Answers(BaseModel):
    """Base of every part: unknown keys are errors, nothing is coerced silently."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Function(StrEnum):
    """What a person does in the practice; decides the groups of the account."""

    DOCTOR = "doctor"
    LOCUM = "locum"
    SECRETARY = "secretary"
    NURSE = "nurse"
    OTHER = "other"


class HostKind(StrEnum):
    """Workstation or server."""

    WORKSTATION = "workstation"
    SERVER = "server"


class System(StrEnum):
    """Operating systems the kit hardens."""

    DEBIAN12 = "debian12"
    DEBIAN13 = "debian13"


class Protocol(StrEnum):
    """Transport protocol of a network flow."""

    TCP = "tcp"
    UDP = "udp"


class PracticeIdentity(Answers):
    """Who the practice is."""

    id: Slug = Field(
        title=N_("Identifiant court du cabinet"),
        description=N_("Il nomme le dossier et les fichiers : minuscules, chiffres et tirets, par exemple « tilleuls »."),
    )
    name: Text = Field(title=N_("Nom du cabinet"), description=N_("Tel qu'il figurera sur les documents remis."))
    address: Text | None = Field(None, title=N_("Adresse postale"), description=N_("Pour l'annexe au contrat."))
    phone: Text | None = Field(None, title=N_("Téléphone du cabinet"), description=N_("Pour la fiche réflexe en cas d'incident."))
    timezone: Literal[
        "Europe/Paris",
        "America/Cayenne",
        "America/Guadeloupe",
        "America/Martinique",
        "Indian/Mayotte",
        "Indian/Reunion",
        "Pacific/Noumea",
        "Pacific/Tahiti",
    ] = Field("Europe/Paris", title=N_("Fuseau horaire"), description=N_("Les journaux et les redémarrages suivent cette heure."))


class Person(Answers):
    """One person; gets one personal account on each host that lists the login."""

    login: Login = Field(
        title=N_("Identifiant de session"),
        description=N_("Un identifiant par personne, jamais partagé : minuscules, chiffres, tiret, 31 caractères au plus."),
    )
    name: Text = Field(title=N_("Nom complet"), description=N_("Le compte est nominatif : la personne répond de ses actes."))
    function: Function = Field(title=N_("Fonction"), description=N_("Elle décide des groupes, donc des droits."))
    admin: YesNo = Field(
        False,
        title=N_("Un compte d'administration séparé est-il nécessaire ?"),
        description=N_("Le compte de tous les jours n'administre jamais ; ce second compte s'appelle « adm-<identifiant> »."),
    )
    until: dt.date | None = Field(
        None,
        title=N_("Dernier jour de présence"),
        description=N_("Pour un remplaçant ou un départ prévu (AAAA-MM-JJ) : le compte expire de lui-même le lendemain."),
    )
    left: YesNo = Field(
        False,
        title=N_("La personne a-t-elle quitté le cabinet ?"),
        description=N_("Ses comptes sont alors verrouillés sur tous les postes, jamais supprimés."),
    )
    note: Text | None = Field(None, title=N_("Remarque"))


class Host(Answers):
    """One machine of the practice."""

    name: HostName = Field(
        title=N_("Nom de la machine"),
        description=N_("2 à 15 caractères : minuscules, chiffres, tirets, par exemple « accueil »."),
    )
    kind: HostKind = Field(HostKind.WORKSTATION, title=N_("Poste de travail ou serveur ?"))
    system: System = Field(System.DEBIAN13, title=N_("Système d'exploitation"))
    address: Address = Field(title=N_("Adresse IP"), description=N_("Fixe, ou réservée dans la box ou le routeur."))
    users: list[Login] = Field(
        default_factory=list,
        title=N_("Qui s'en sert ? (identifiants)"),
        description=N_("Chaque personne citée reçoit un compte personnel sur cette machine."),
    )
    laptop: YesNo = Field(
        False, title=N_("Est-ce un portable ?"), description=N_("Un portable se vole : son disque doit être chiffré.")
    )
    card_reader: YesNo = Field(False, title=N_("A-t-elle un lecteur de carte CPS ?"))
    note: Text | None = Field(None, title=N_("Remarque"))


class Printer(Answers):
    """A printer or scanner on the local network."""

    name: Text = Field(title=N_("Nom de l'imprimante"))
    address: Address = Field(title=N_("Adresse IP de l'imprimante"))


class LocalNetwork(Answers):
    """The practice's local network."""

    lan: Network = Field(title=N_("Réseau local"), description=N_("Par exemple 192.168.1.0/24."))
    printers: list[Printer] = Field(default_factory=list, title=N_("Imprimantes et numériseurs"))
    discovery: YesNo = Field(
        False,
        title=N_("Faut-il la découverte automatique (imprimantes, partages) ?"),
        description=N_("Elle ouvre le port 5353/udp sur le réseau local ; à refuser si les adresses sont connues."),
    )


class Flow(Answers):
    """An inbound network flow to open on some hosts."""

    name: Text = Field(title=N_("À quoi sert ce flux ?"))
    protocol: Protocol = Field(Protocol.TCP, title=N_("Protocole"))
    ports: list[Port] = Field(min_length=1, title=N_("Ports"))
    sources: list[Network] = Field(
        default_factory=list, title=N_("Depuis quelles adresses ?"), description=N_("Vide : tout le réseau local du cabinet.")
    )
    hosts: list[HostName] = Field(default_factory=list, title=N_("Sur quelles machines ?"), description=N_("Vide : toutes."))


class Software(Answers):
    """Medical software and what it needs from the network."""

    name: Text = Field(title=N_("Nom du logiciel métier"))
    supplier: Text | None = Field(None, title=N_("Éditeur"), description=N_("Tel que nommé dans les fournisseurs."))
    hosts: list[HostName] = Field(default_factory=list, title=N_("Machines concernées"))
    inbound: list[Flow] = Field(default_factory=list, title=N_("Flux entrants"))


class Share(Answers):
    """A shared folder of the server."""

    name: Slug = Field(title=N_("Nom du partage"))
    host: HostName = Field(title=N_("Serveur"))
    users: list[Login] = Field(default_factory=list, title=N_("Qui y a accès ?"))


class Maintenance(Answers):
    """The contractor and how he reaches the hosts."""

    contractor: Text = Field(title=N_("Nom du prestataire informatique"))
    phone: Text | None = Field(None, title=N_("Téléphone du prestataire"))
    account: Login = Field(
        "antiseche",
        title=N_("Compte de maintenance"),
        description=N_("Réservé à la maintenance, une clé par prestataire, joignable depuis ses seules adresses."),
    )
    addresses: list[Network] = Field(
        min_length=1,
        title=N_("Adresses du prestataire"),
        description=N_("Seules ces adresses peuvent ouvrir une session de maintenance."),
    )
    public_keys: list[PublicKey] = Field(min_length=1, title=N_("Clés publiques SSH du prestataire"))
    remote_help: list[Text] = Field(
        default_factory=list,
        title=N_("Outils de prise en main à distance convenus"),
        description=N_("Tout autre outil présent sera signalé comme écart."),
    )
    sshd_options: dict[str, str] = Field(
        default_factory=dict,
        title=N_("Options SSH particulières"),
        description=N_("Ajoutées au réglage durci ; annulées d'elles-mêmes si elles coupent l'accès."),
    )


class HdsCertificate(Answers):
    """Health data hosting certificate of a supplier, as declared."""

    number: Text = Field(title=N_("Numéro du certificat HDS"))
    activities: list[Annotated[int, Field(ge=1, le=6)]] = Field(min_length=1, title=N_("Activités couvertes (1 à 6)"))
    expires: dt.date = Field(title=N_("Fin de validité"))


class SupplierRole(StrEnum):
    """What a supplier does for the practice."""

    IT = "it"
    SOFTWARE = "software"
    HOSTING = "hosting"
    MAIL = "mail"
    BACKUP = "backup"
    OTHER = "other"


class Supplier(Answers):
    """A third party under contract."""

    name: Text = Field(title=N_("Nom du fournisseur"))
    role: SupplierRole = Field(title=N_("Rôle"))
    contact: Text | None = Field(None, title=N_("Contact"))
    hds: HdsCertificate | None = Field(None, title=N_("Certificat HDS"))


class Mssante(Answers):
    """Secure health mail."""

    operator: Text | None = Field(None, title=N_("Opérateur de messagerie sécurisée de santé"))
    client: YesNo = Field(True, title=N_("Un logiciel de messagerie s'y connecte-t-il (IMAP 143, SMTP 587) ?"))


class Choices(Answers):
    """Choices on which authorities disagree, or which are the practice's own."""

    password_policy: Literal["anssi-cnil", "pgssi-s-strict"] = Field(
        "anssi-cnil",
        title=N_("Politique de mots de passe"),
        description=N_(
            "« anssi-cnil » : longs, sans expiration ; « pgssi-s-strict » : 90 jours et 3 essais, si un contrat l'exige."
        ),
    )
    reboot_time: ClockTime | None = Field(
        "03:30",
        title=N_("Heure de redémarrage après mise à jour"),
        description=N_("Vide : jamais de redémarrage automatique, il reste signalé."),
    )
    outbound: Literal["open", "declared"] = Field(
        "open",
        title=N_("Trafic sortant"),
        description=N_(
            "« open » : tout est permis ; « declared » : seulement le web, le courriel, l'heure, les noms et les flux déclarés."
        ),
    )
    outbound_flows: list[Flow] = Field(
        default_factory=list,
        title=N_("Flux sortants supplémentaires"),
        description=N_("Utiles avec « declared » ; les adresses sont alors des destinations."),
    )
    inbound_flows: list[Flow] = Field(default_factory=list, title=N_("Flux entrants supplémentaires"))
    third_party_origins: list[Text] = Field(
        default_factory=list,
        title=N_("Dépôts de logiciels tiers admis"),
        description=N_("Noms d'origine APT ; tout autre dépôt est signalé comme écart."),
    )
    held_packages: list[Text] = Field(default_factory=list, title=N_("Paquets volontairement figés"))
    confirm_seconds: Annotated[int, Field(ge=20, le=600)] = Field(
        60,
        title=N_("Délai d'annulation automatique (secondes)"),
        description=N_("Un pare-feu ou un accès SSH qui coupe la maintenance est annulé par le poste après ce délai."),
    )


class PaperAnswer(Answers):
    """What the practice declares about an organisational control."""

    control: Annotated[str, Field(pattern=r"^[A-Z]{2,5}-[0-9]{2}$")] = Field(title=N_("Contrôle"))
    answer: Literal["yes", "partly", "no", "unknown"] = Field(title=N_("Réponse"))
    on: dt.date = Field(title=N_("Déclaré le"))
    by: Text = Field(title=N_("Déclaré par"))
    proof: Text | None = Field(None, title=N_("Preuve"), description=N_("Un document daté, et où il se trouve."))
    expires: dt.date | None = Field(None, title=N_("Valable jusqu'au"))


class Waiver(Answers):
    """An accepted deviation: reason, compensating measure, acceptance and end."""

    id: Annotated[str, Field(pattern=r"^D-[0-9]{3}$")] = Field(
        title=N_("Numéro de la dérogation"), description=N_("« D- » et trois chiffres ; un numéro ne sert qu'une fois.")
    )
    control: Annotated[str, Field(pattern=r"^[A-Z]{2,5}-[0-9]{2}$")] = Field(title=N_("Contrôle"))
    hosts: list[HostName] = Field(default_factory=list, title=N_("Machines concernées"), description=N_("Vide : toutes."))
    reason: Text = Field(title=N_("Motif"))
    compensating: Text | None = Field(None, title=N_("Mesure compensatoire"))
    accepted_by: Text = Field(title=N_("Acceptée par"), description=N_("Le médecin responsable, pas le prestataire."))
    accepted_on: dt.date = Field(title=N_("Acceptée le"))
    expires_on: dt.date = Field(title=N_("Finit le"), description=N_("Douze mois au plus, puis elle se renouvelle."))


class Practice(Answers):
    """Everything the kit knows about a practice."""

    version: Literal[1] = Field(1, title=N_("Version du fichier"))
    practice: PracticeIdentity = Field(title=N_("Le cabinet"))
    people: list[Person] = Field(min_length=1, title=N_("Les personnes"))
    hosts: list[Host] = Field(min_length=1, title=N_("Les machines"))
    network: LocalNetwork = Field(title=N_("Le réseau local"))
    software: list[Software] = Field(default_factory=list, title=N_("Les logiciels métier"))
    shares: list[Share] = Field(default_factory=list, title=N_("Les partages"))
    mssante: Mssante = Field(default_factory=Mssante, title=N_("La messagerie sécurisée de santé"))
    maintenance: Maintenance = Field(title=N_("La maintenance"))
    suppliers: list[Supplier] = Field(default_factory=list, title=N_("Les fournisseurs"))
    choices: Choices = Field(default_factory=Choices, title=N_("Les choix"))
    attestations: list[PaperAnswer] = Field(default_factory=list, title=N_("Les déclarations"))
    waivers: list[Waiver] = Field(default_factory=list, title=N_("Les dérogations"))
