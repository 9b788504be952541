"""Professional cards: the vendor's middleware and what the machines do with a card."""

from __future__ import annotations

from pydantic import Field

from antiseche.i18n import N_
from antiseche.practice.schema.base import Answers
from antiseche.practice.schema.types import MiddlewareVersion, Sha256, Text, YesNo


class Middleware(Answers):
    """The vendor's package, as the contractor obtained it."""

    source: Text = Field(
        title=N_("Fichier ou adresse du paquet RPM"),
        description=N_("Un chemin, compté depuis le dossier du cabinet, ou une adresse http(s) ; le kit ne le fournit pas."),
    )
    sha256: Sha256 = Field(
        title=N_("Empreinte SHA-256 du paquet"),
        description=N_("Ce que donne « sha256sum » sur le fichier obtenu de l'ANS : le kit refuse tout autre fichier."),
    )
    version: MiddlewareVersion = Field(
        title=N_("Version de la Cryptolib CPS"),
        description=N_("Celle que porte le nom du fichier, par exemple 5.2.4 ; le kit refuse les versions avant 5.2.1."),
    )


class Cards(Answers):
    """What the machines with a card reader do."""

    middleware: Middleware | None = Field(
        None,
        title=N_("Cryptolib CPS"),
        description=N_("Sans elle, tout le reste est préparé et le rapport dit « intergiciel non fourni »."),
    )
    authorities: YesNo = Field(
        False,
        title=N_("Installer les autorités de certification IGC-Santé ?"),
        description=N_("La machine se fiera aux sites qu'elles certifient ; à faire si un service du cabinet le demande."),
    )
    lock: YesNo = Field(
        True,
        title=N_("Verrouiller la session quand la carte est retirée ?"),
        description=N_("La remettre ne déverrouille rien : il faut le mot de passe."),
    )
