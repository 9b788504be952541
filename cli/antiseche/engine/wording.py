"""What users read for the changes that modules announce and for the names of tasks.

Modules and tasks speak one language in events, records and ``--json``: short English strings that stay the same.
A French reader sees French sentences on the screen and in reports; an English one sees the strings themselves, and so does
everybody for what is not known here.
"""

from __future__ import annotations

import re
from functools import lru_cache

import yaml

from antiseche import kit
from antiseche.i18n import language

_CHANGES: tuple[tuple[str, str], ...] = (
    (r"volume (?P<name>\S+): encrypted", "volume {name} : chiffrement"),
    (r"volume (?P<name>\S+): recovery key", "volume {name} : inscription de la clé de secours"),
    (r"volume (?P<name>\S+): TPM unlock", "volume {name} : ouverture confiée à la puce TPM"),
    (r"volume (?P<name>\S+): opened", "volume {name} : ouverture"),
    (r"volume (?P<name>\S+): file system", "volume {name} : création du système de fichiers"),
    (r"volume (?P<name>\S+): crypttab", "volume {name} : ouverture prévue au démarrage"),
    (r"volume (?P<name>\S+): fstab", "volume {name} : montage prévu au démarrage"),
    (r"volume (?P<name>\S+): mounted", "volume {name} : montage"),
    (r"volume (?P<name>\S+): header copied to the vault", "volume {name} : copie de l'en-tête au coffre"),
    (r"swap (?P<path>.+): hibernation off", "échange {path} : fin de la veille prolongée"),
    (r"swap (?P<path>.+): swap off", "échange {path} : arrêt"),
    (r"swap (?P<path>.+): fstab", "échange {path} : mise en service prévue au démarrage"),
    (r"swap (?P<path>.+): old contents overwritten", "échange {path} : effacement de l'ancien contenu"),
    (r"swap (?P<path>.+): crypttab", "échange {path} : clé tirée à chaque démarrage"),
    (r"swap (?P<path>.+): swap on", "échange {path} : remise en service, chiffré"),
    (r"(swap|volume) (?P<path>.+): boot image", "{path} : mise à jour du démarrage"),
    (r"group (?P<group>\S+): created", "groupe {group} : création"),
    (r"group (?P<group>\S+): \+(?P<login>\S+)", "groupe {group} : ajout de {login}"),
    (r"group (?P<group>\S+): -(?P<login>\S+) \(primary\)", "groupe {group} : retrait de {login} (groupe principal)"),
    (r"group (?P<group>\S+): -(?P<login>\S+)", "groupe {group} : retrait de {login}"),
    (r"group (?P<group>\S+): no password", "groupe {group} : suppression de son mot de passe"),
    (r"group (?P<group>\S+): nobody may add members", "groupe {group} : plus personne ne peut y ajouter de membre"),
    (r"account (?P<login>\S+): group of its own", "compte {login} : groupe principal à lui"),
    (r"account (?P<login>\S+): sessions ended", "compte {login} : fermeture de ses sessions"),
    (r"account (?P<login>\S+): created", "compte {login} : création"),
    (r"account (?P<login>\S+): unlocked", "compte {login} : réouverture"),
    (r"account (?P<login>\S+): name", "compte {login} : correction du nom"),
    (r"account (?P<login>\S+): expires (?P<date>\S+)", "compte {login} : expiration le {date}"),
    (r"account (?P<login>\S+): no expiry", "compte {login} : plus d'expiration"),
    (r"account (?P<login>\S+): locked \(left\)", "compte {login} : verrouillage (personne partie)"),
    (r"account (?P<login>\S+): locked \(unknown\)", "compte {login} : verrouillage (inconnu des réponses)"),
    (r"account (?P<login>\S+): locked \(second root\)", "compte {login} : verrouillage (double de root)"),
    (r"account (?P<login>\S+): locked \(.+\)", "compte {login} : verrouillage"),
    (r"account (?P<login>\S+): service without login shell", "compte de service {login} : plus d'ouverture de session"),
    (r"passwords: moved to /etc/shadow", "mots de passe : déplacés dans /etc/shadow"),
    (r"password root: locked", "mot de passe de root : verrouillage"),
    (
        r"password (?P<login>\S+): first password, to be changed at first logon",
        "mot de passe de {login} : premier mot de passe, à changer à la première ouverture de session",
    ),
    (
        r"password (?P<login>\S+): to be changed at first logon",
        "mot de passe de {login} : à changer à la première ouverture de session",
    ),
    (r"password (?P<login>\S+): no change asked", "mot de passe de {login} : plus de changement demandé"),
    (
        r"password (?P<login>\S+): no end after the password's",
        "mot de passe de {login} : plus de délai après lequel le compte se ferme",
    ),
    (r"password (?P<login>\S+): empty, locked", "mot de passe de {login} : vide, verrouillage"),
    (r"password (?P<login>\S+): old hash, to be changed", "mot de passe de {login} : empreinte ancienne, changement demandé"),
    (
        r"password (?P<login>\S+): ages min=(?P<min>\d+) max=(?P<max>\d+) warn=(?P<warn>\d+)",
        "mot de passe de {login} : durée de {min} à {max} jours, avertissement {warn} jours avant",
    ),
    (r"home (?P<login>\S+): created", "dossier personnel de {login} : création"),
    (
        r"home (?P<login>\S+): mode (?P<before>\d+) to (?P<after>\d+)",
        "dossier personnel de {login} : droits {before} → {after}",
    ),
    (r"home (?P<login>\S+): access list", "dossier personnel de {login} : suppression des accès particuliers"),
    (r"home (?P<login>\S+): owner", "dossier personnel de {login} : correction du propriétaire"),
    (r"sudoers (?P<name>\S+): set aside", "règle sudo {name} : mise de côté"),
    (r"file (?P<path>.+): closed to others", "fichier {path} : fermeture aux autres comptes"),
    (r"file (?P<path>.+): mode (?P<mode>\S+)", "fichier {path} : correction des droits ({mode})"),
    (r"file (?P<path>.+): owner(?P<what>.*)", "fichier {path} : correction du propriétaire"),
    (r"file (?P<path>.+): access list", "fichier {path} : suppression des accès particuliers"),
    (r"file (?P<path>.+): (hard )?link", "fichier {path} : remplacement d'un lien"),
    (r"file (?P<path>.+)", "fichier {path} : écriture"),
    (r"directory (?P<path>.+): mode (?P<mode>\S+)", "dossier {path} : correction des droits ({mode})"),
    (r"directory (?P<path>.+): owner(?P<what>.*)", "dossier {path} : correction du propriétaire"),
    (r"directory (?P<path>.+): access list", "dossier {path} : suppression des accès particuliers"),
    (r"directory (?P<path>.+)", "dossier {path} : création"),
    (r"absent (?P<path>.+)", "fichier {path} : retrait"),
    (r"set aside (?P<path>.+)", "fichier {path} : mise de côté"),
    (r"running state (?P<guard>\S+)", "réglage en vigueur différent du fichier ({guard}) : rechargement"),
    (r"guard (?P<guard>\S+): \S+", "changement sous surveillance ({guard}) : confirmation"),
    (r"pam profile (?P<name>\S+)", "profil PAM {name} : écriture"),
    (r"pam state", "état de PAM : correction"),
    (r"pam (?P<name>\S+)", "authentification ({name}) : correction"),
    (r"hold (?P<package>\S+)", "paquet {package} : gel"),
    (r"release (?P<package>\S+)", "paquet {package} : fin du gel"),
    (r"timezone (?P<before>.+) to (?P<after>\S+)", "fuseau horaire : {before} → {after}"),
    (r"updates security: applied", "mises à jour de sécurité en retard : installation"),
    (r"middleware CPS (?P<version>\S+): installed", "intergiciel CPS {version} : installation"),
    (r"authorities IGC-Sante: trusted", "autorités IGC-Santé : installation"),
    (r"firefox policies: CPS", "Firefox : déclaration du module CPS"),
    (r"chromium (?P<login>\S+): CPS", "Chromium de {login} : déclaration du module CPS"),
    (r"enable (?P<unit>\S+)", "service {unit} : activation au démarrage"),
    (r"disable (--runtime )?(?P<unit>\S+)", "service {unit} : désactivation au démarrage"),
    (r"mask (?P<unit>\S+)", "service {unit} : interdiction de démarrage"),
    (r"unmask (--runtime )?(?P<unit>\S+)", "service {unit} : levée de l'interdiction"),
    (r"start (?P<unit>\S+)", "service {unit} : démarrage"),
    (r"stop (?P<unit>\S+)", "service {unit} : arrêt"),
    (r"restart (?P<unit>\S+)", "service {unit} : redémarrage"),
    (r"reload (?P<unit>\S+)", "service {unit} : rechargement"),
    (r"daemon-reload ?", "réglages des services : relecture"),
)
"""What modules announce, most particular first, and how it is told: nouns, which fit a plan as well as a report."""

_PLAYBOOK = {
    "Know the machine's release, packages and accounts": "connaître le système, les paquets et les comptes de la machine"
}


def change_text(change: str, role: str = "") -> str:
    """Return a change in the reader's language; a change that is a task's name is told as that task."""
    if language() != "fr":
        return change
    for pattern, template in _CHANGES:
        found = re.fullmatch(pattern, change)
        if found is not None:
            return template.format(**found.groupdict())
    return task_text(change, role)


def task_text(task: str, role: str = "") -> str:
    """Return a task's name in the reader's language, from ``steps`` of the role's ``controls.yml``."""
    if language() != "fr":
        return task
    if task in _PLAYBOOK:
        return _PLAYBOOK[task]
    return _steps(role).get(task, task)


@lru_cache(maxsize=64)
def _steps(role: str) -> dict[str, str]:
    path = kit.roles_dir() / role / "controls.yml"
    try:
        steps = yaml.safe_load(path.read_text(encoding="utf-8"))["steps"] if role else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return {}  # a wording is an ornament; the catalogue's own tests refuse the file
    return steps if isinstance(steps, dict) else {}
