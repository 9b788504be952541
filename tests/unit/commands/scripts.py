"""Whole questionnaires, line by line as a person types them."""

from __future__ import annotations

from answers_samples import KEY

FULL: list[str] = [
    # the practice
    "", "Cabinet d'Été", "1 place des Tilleuls", "", "La Réunion",
    # the network, one printer
    "192.168.1.0/24", "oui", "Imprimante de l'accueil", "192.168.1.50", "", "n",
    # three people
    "Dr Jeanne Dupont", "", "1", "o", "o",
    "Luc Martin", "luc", "secrétaire", "", "oui",
    "Dr Robin Fictif", "", "2", "", "30/06/2027", "",
    # two machines
    "accueil", "", "Debian 12", "192.168.1.11", "1 2", "o", "o", "o",
    "serveur", "", "", "192.168.1.10", "jdupont", "",
    # two suppliers, the second with its certificate
    "o", "Prestataire Exemple", "1", "00 00 00 00 00", "o",
    "Sauvegarde Exemple", "sauvegarde", "", "o", "HDS-1", "1, 6", "2028-03-31", "",
    # one software with one flow
    "o", "Logiciel", "1", "", "o", "Base", "", "5432 5433", "", "", "", "",
    # one share
    "o", "documents", "", "1,2", "",
    # backups of both machines, kept by default durations, with a distant copy
    "o", "", "12h15", "1", "/home", "", "o", "serveur", "/srv/documents", "/srv/documents/a", "",
    "o", "", "", "", "o", "serveur restic", "https://depot.example/tilleuls", "2",
    # cards, without the middleware
    "n", "", "",
    # secure mail
    "", "non",
    # the contractor
    "", "", "", "203.0.113.4", KEY,
    # choices
    "", "4h", "",
]  # fmt: skip
"""Answers everything once, with defaults, numbers, words, French dates and times."""

SHORT: list[str] = [
    "", "Cabinet", "", "", "", "10.0.0.0/24", "", "", "Anne Petit", "", "3", "", "", "poste", "", "", "10.0.0.5", "1", "", "", "",
    "", "", "", "", "Info", "", "", "198.51.100.7", KEY, "", "", "",
]  # fmt: skip
"""A practice of one person and one machine, as many defaults as possible."""
