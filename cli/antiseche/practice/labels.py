"""How choices are shown to people; a choice without a label shows as it is written in the file."""

from __future__ import annotations

from antiseche.i18n import N_, _

LABELS: dict[str, str] = {
    "doctor": N_("médecin"),
    "locum": N_("remplaçant"),
    "secretary": N_("secrétaire"),
    "nurse": N_("soignant"),
    "workstation": N_("poste de travail"),
    "server": N_("serveur"),
    "debian12": "Debian 12",
    "debian13": "Debian 13",
    "it": N_("prestataire informatique"),
    "software": N_("éditeur de logiciel"),
    "hosting": N_("hébergeur"),
    "mail": N_("messagerie"),
    "backup": N_("sauvegarde"),
    "other": N_("autre"),
    "rest": N_("serveur restic"),
    "s3": N_("stockage S3"),
    "sftp": N_("compte SFTP"),
    "open": N_("ouvert"),
    "declared": N_("limité à ce qui est déclaré"),
    "anssi-cnil": N_("longs et sans expiration, ANSSI et CNIL"),
    "pgssi-s-strict": N_("90 jours et 3 essais, PGSSI-S"),
    "yes": N_("oui"),
    "partly": N_("en partie"),
    "no": N_("non"),
    "unknown": N_("ne sait pas"),
    "Europe/Paris": N_("métropole"),
    "America/Cayenne": N_("Guyane"),
    "America/Guadeloupe": N_("Guadeloupe, Saint-Martin, Saint-Barthélemy"),
    "America/Martinique": N_("Martinique"),
    "America/Miquelon": N_("Saint-Pierre-et-Miquelon"),
    "Indian/Mayotte": N_("Mayotte"),
    "Indian/Reunion": N_("La Réunion"),
    "Pacific/Noumea": N_("Nouvelle-Calédonie"),
    "Pacific/Tahiti": N_("Polynésie française"),
    "Pacific/Wallis": N_("Wallis-et-Futuna"),
}


def label(choice: str) -> str:
    """Return a choice as people read it."""
    return _(LABELS[choice]) if choice in LABELS else choice
