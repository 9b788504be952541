"""Choices among sources, or of the practice's own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from antiseche.i18n import N_
from antiseche.practice.schema.base import MOST, Answers
from antiseche.practice.schema.network import Flow
from antiseche.practice.schema.types import ClockTime, PackageName, Text, Whole


class Choices(Answers):
    """Choices on which authorities disagree, or which are the practice's own."""

    password_policy: Literal["anssi-cnil", "pgssi-s-strict"] = Field(
        "anssi-cnil",
        title=N_("Politique de mots de passe"),
        description=N_("Les autorités divergent ; la seconde ne s'impose que si un contrat l'exige."),
    )
    reboot_time: ClockTime | None = Field(
        "03:30",
        title=N_("Heure de redémarrage après mise à jour"),
        description=N_(
            "Certains correctifs n'agissent qu'après un redémarrage. Aucune heure : le besoin reste seulement signalé."
        ),
    )
    outbound: Literal["open", "declared"] = Field(
        "open",
        title=N_("Trafic sortant"),
        description=N_("Limité : seuls sortent le web, le courriel, l'heure, les noms et les flux déclarés."),
    )
    outbound_flows: list[Flow] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Flux sortants supplémentaires"),
        description=N_("Utiles quand le trafic sortant est limité."),
    )
    inbound_flows: list[Flow] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Flux entrants supplémentaires"),
        description=N_("Ceux qui ne viennent pas d'un logiciel métier, un standard téléphonique par exemple."),
    )
    third_party_origins: list[Text] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Dépôts de logiciels tiers admis"),
        description=N_("Noms d'origine APT ; tout autre dépôt est signalé comme écart."),
    )
    held_packages: list[PackageName] = Field(
        default_factory=list,
        max_length=MOST,
        title=N_("Paquets volontairement figés"),
        description=N_("Ne reçoivent plus de correctifs ; tout autre paquet figé est signalé comme écart."),
    )
    confirm_seconds: Annotated[int, Field(ge=20, le=600), Whole] = Field(
        60,
        title=N_("Délai d'annulation automatique (secondes)"),
        description=N_("La machine annule d'elle-même un pare-feu ou un accès SSH qui couperait la maintenance plus longtemps."),
    )
