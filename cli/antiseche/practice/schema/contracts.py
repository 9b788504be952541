"""Third parties, and what is declared or accepted on paper."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from antiseche.i18n import N_
from antiseche.practice.schema.base import MOST, Answers
from antiseche.practice.schema.types import ControlId, Date, HostName, Login, Network, PublicKey, Text, WaiverId, Whole
from antiseche.practice.schema.words import SupplierRole


class Maintenance(Answers):
    """The contractor and how he reaches the hosts."""

    contractor: Text = Field(
        title=N_("Nom du prestataire informatique"),
        description=N_("Pour l'annexe au contrat et le compte de maintenance des machines."),
    )
    phone: Text | None = Field(
        None, title=N_("Téléphone du prestataire"), description=N_("Pour la fiche réflexe, à suivre en cas d'incident.")
    )
    account: Login = Field(
        "antiseche",
        title=N_("Compte de maintenance"),
        description=N_("Un compte à part, sans mot de passe, ouvert par la seule clé du prestataire depuis ses seules adresses."),
    )
    addresses: list[Network] = Field(
        min_length=1,
        max_length=MOST,
        title=N_("Adresses du prestataire"),
        description=N_("D'où il se connecte ; le SSH des machines refuse toute autre adresse, y compris dans le cabinet."),
    )
    public_keys: list[PublicKey] = Field(
        min_length=1,
        max_length=MOST,
        title=N_("Clés publiques SSH du prestataire"),
        description=N_("Seules ces clés ouvrent une session de maintenance : la ligne d'un fichier .pub, jamais la clé privée."),
    )
    remote_help: list[Text] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Outils de prise en main à distance convenus"),
        description=N_("Tout autre outil trouvé sur une machine sera signalé comme écart."),
    )
    sshd_options: dict[str, str] = Field(
        default_factory=dict,
        max_length=MOST,
        title=N_("Options SSH particulières"),
        description=N_("Remplacent celles du réglage durci ; annulées d'elles-mêmes si elles coupent l'accès."),
    )


class HdsCertificate(Answers):
    """Health data hosting certificate of a supplier, as declared."""

    number: Text = Field(title=N_("Numéro du certificat HDS"))
    activities: list[Annotated[int, Field(ge=1, le=6), Whole]] = Field(
        min_length=1,
        max_length=6,
        title=N_("Activités couvertes (1 à 6)"),
        description=N_("Telles que le certificat les énumère ; la sauvegarde externalisée est la sixième."),
    )
    expires: Date = Field(
        title=N_("Fin de validité"), description=N_("Un certificat périmé ne couvre plus rien : il sera signalé.")
    )


class Supplier(Answers):
    """A third party under contract."""

    name: Text = Field(title=N_("Nom du fournisseur"))
    role: SupplierRole = Field(
        title=N_("Rôle"), description=N_("Décide de ce que l'annexe lui demande : un hébergeur doit son certificat HDS.")
    )
    contact: Text | None = Field(
        None,
        title=N_("Téléphone ou courriel du fournisseur"),
        description=N_("Pour la fiche réflexe, à suivre en cas d'incident."),
    )
    hds: HdsCertificate | None = Field(
        None,
        title=N_("Certificat HDS"),
        description=N_("La loi l'exige de qui héberge des données de santé pour le compte du cabinet."),
    )


class PaperAnswer(Answers):
    """What the practice declares about an organisational control."""

    control: ControlId = Field(title=N_("Contrôle"), description=N_("L'identifiant du contrôle, par exemple « ORG-01 »."))
    answer: Literal["yes", "partly", "no", "unknown"] = Field(
        title=N_("Réponse"), description=N_("Ce que le cabinet déclare : aucune machine ne peut le mesurer.")
    )
    on: Date = Field(title=N_("Déclaré le"))
    by: Text = Field(title=N_("Déclaré par"))
    proof: Text | None = Field(None, title=N_("Preuve"), description=N_("Un document daté, et où il se trouve."))
    expires: Date | None = Field(
        None, title=N_("Valable jusqu'au"), description=N_("Passé ce jour, la déclaration est à renouveler.")
    )


class Waiver(Answers):
    """An accepted deviation: reason, compensating measure, acceptance and end."""

    id: WaiverId = Field(
        title=N_("Numéro de la dérogation"), description=N_("« D- » et trois chiffres ; un numéro ne sert qu'une fois.")
    )
    control: ControlId = Field(
        title=N_("Contrôle"), description=N_("L'identifiant que montrent les rapports, par exemple « MAJ-03 ».")
    )
    hosts: list[HostName] = Field(default_factory=list, title=N_("Machines concernées"), description=N_("Aucune : toutes."))
    reason: Text = Field(title=N_("Motif"), description=N_("Le rapport le montre à côté de l'écart accepté."))
    compensating: Text | None = Field(
        None, title=N_("Mesure compensatoire"), description=N_("Ce qui réduit le risque tant que dure l'écart.")
    )
    accepted_by: Text = Field(title=N_("Acceptée par"), description=N_("Le médecin responsable, pas le prestataire."))
    accepted_on: Date = Field(title=N_("Acceptée le"))
    expires_on: Date = Field(title=N_("Finit le"), description=N_("Douze mois au plus, puis elle se renouvelle."))
