"""pydantic's error codes in words a contractor understands. A test walks the model and wants every code here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from antiseche.i18n import N_, _
from antiseche.practice import schema
from antiseche.practice.labels import label

MESSAGES: dict[str, str] = {
    "missing": N_("réponse obligatoire, absente"),
    "extra_forbidden": N_("clé inconnue"),
    "string_type": N_("texte attendu (mettez la valeur entre guillemets)"),
    "string_sub_type": N_("texte attendu (mettez la valeur entre guillemets)"),
    "string_unicode": N_("texte attendu (mettez la valeur entre guillemets)"),
    "string_too_short": N_("ne peut pas être vide"),
    "string_too_long": N_("{max_length} caractères au plus"),
    "string_pattern_mismatch": N_("forme incorrecte"),
    "invisible_character": N_("retour à la ligne ou caractère invisible interdit (caractère n° {number})"),
    "no_word": N_("au moins une lettre ou un chiffre attendu"),
    "template_mark": N_("la suite « {mark} » est interdite : Ansible l'exécuterait"),
    "name_separator": N_("un nom s'écrit sans « : », « , » ni « = »"),
    "whole_number": N_("nombre entier attendu"),
    "int_type": N_("nombre entier attendu"),
    "int_parsing": N_("nombre entier attendu"),
    "int_parsing_size": N_("nombre entier attendu"),
    "int_from_float": N_("nombre entier attendu"),
    "greater_than_equal": N_("doit valoir au moins {ge}"),
    "less_than_equal": N_("doit valoir au plus {le}"),
    "bool_type": N_("oui ou non attendu"),
    "bool_parsing": N_("oui ou non attendu"),
    "list_type": N_("liste attendue (une ligne « - … » par élément, ou [] si elle est vide)"),
    "dict_type": N_("groupe de clés attendu"),
    "model_type": N_("groupe de clés attendu"),
    "model_attributes_type": N_("groupe de clés attendu"),
    "too_short": N_("la liste ne peut pas être vide"),
    "too_long": N_("{max_length} éléments au plus"),
    "enum": N_("valeur attendue : {expected}"),
    "literal_error": N_("valeur attendue : {expected}"),
    "date_form": N_("date attendue, de la forme 2027-06-30"),
    "date_impossible": N_("cette date n'existe pas"),
    "date_range": N_("date attendue entre {first} et {last}"),
    "date_type": N_("date attendue, de la forme 2027-06-30"),
    "date_parsing": N_("date attendue, de la forme 2027-06-30"),
    "date_from_datetime_parsing": N_("date attendue, de la forme 2027-06-30"),
    "date_from_datetime_inexact": N_("date attendue, de la forme 2027-06-30"),
    "ip_any_address": N_("adresse IP attendue, par exemple 192.168.1.20"),
    "ip_any_network": N_("adresse ou réseau attendu, par exemple 192.168.1.0/24"),
    "network_host_bits": N_("adresse ou réseau attendu : {network} pour le réseau, {address} pour une seule machine"),
    "private_key": N_("ceci est une clé privée : elle ne doit figurer nulle part, donnez la clé publique (fichier .pub)"),
    "public_key_form": N_("clé publique SSH attendue, d'une seule ligne, par exemple « ssh-ed25519 AAAA… »"),
    "public_key_type": N_("les machines refusent les clés de type {found} : faites une clé ssh-ed25519"),
    "public_key_damaged": N_("clé publique abîmée ou incomplète : recopiez toute la ligne du fichier .pub"),
    "public_key_weak": N_("clé RSA trop courte ({bits} bits, {least} au moins) : faites une clé ssh-ed25519"),
    "middleware_old": N_("version trop ancienne : demandez à l'ANS la {least} ou une plus récente"),
}
_SECRET = frozenset(("private_key",))

_SLUG = N_("forme incorrecte : 40 minuscules sans accent, chiffres et tirets au plus, une lettre d'abord")
_LOGIN = N_("forme incorrecte : 31 minuscules sans accent, chiffres et tirets au plus, une lettre d'abord")
_HOST = N_("forme incorrecte : 2 à 15 minuscules sans accent, chiffres et tirets, une lettre d'abord")
_CONTROL = N_("identifiant de contrôle attendu, par exemple « PAR-01 »")
_PATH = N_("chemin complet attendu, par exemple « /srv/dossiers »")
_PATTERNS: dict[str, str] = {
    "practice.id": _SLUG,
    "people.login": _LOGIN,
    "hosts.users": _LOGIN,
    "shares.name": _SLUG,
    "shares.users": _LOGIN,
    "maintenance.account": _LOGIN,
    "hosts.name": _HOST,
    "hosts.data_disks.name": _SLUG,
    "hosts.data_disks.device": N_("disque entier attendu, par exemple /dev/disk/by-id/ata-… ou /dev/sdb, jamais une partition"),
    "hosts.data_disks.mount": N_("dossier attendu sous /srv, /mnt, /media, /data ou /var/lib, par exemple /srv/donnees"),
    "shares.host": _HOST,
    "software.hosts": _HOST,
    "software.inbound.hosts": _HOST,
    "choices.inbound_flows.hosts": _HOST,
    "choices.outbound_flows.hosts": _HOST,
    "waivers.hosts": _HOST,
    "backup.server": _HOST,
    "backup.hosts.host": _HOST,
    "backup.path": N_("dossier attendu, sur deux niveaux au moins et sans espace ni accent, par exemple « /srv/sauvegardes »"),
    "backup.hour": N_("heure attendue entre guillemets, de la forme « 12:30 »"),
    "backup.maintenance_hour": N_("heure attendue entre guillemets, de la forme « 21:30 »"),
    "backup.hosts.paths": _PATH,
    "backup.hosts.must_survive": _PATH,
    "backup.hosts.dumps.name": N_("nom de fichier attendu, sans dossier ni espace, par exemple « base.sql »"),
    "backup.hosts.dumps.user": _LOGIN,
    "backup.offsite.url": N_(
        "adresse attendue, sans mot de passe, par exemple « https://depot.example/cabinet »"
        " ou « sftp://cabinet@depot.example/copies »"
    ),
    "waivers.id": N_("numéro attendu, de la forme « D-001 »"),
    "waivers.control": _CONTROL,
    "attestations.control": _CONTROL,
    "cps.middleware.sha256": N_("64 chiffres hexadécimaux attendus, tels que « sha256sum » les donne"),
    "cps.middleware.version": N_("version attendue, par exemple « 5.2.4 »"),
    "choices.reboot_time": N_("heure attendue entre guillemets, de la forme « 03:30 »"),
    "choices.held_packages": N_("nom de paquet Debian attendu, par exemple « postgresql-15 »"),
}


def message(error: Mapping[str, Any]) -> str:
    """Return the sentence for one pydantic error."""
    kind, location = str(error["type"]), error["loc"]
    context = dict(error.get("ctx") or {})
    if kind == "string_pattern_mismatch":
        return _(_PATTERNS.get(".".join(part for part in location if isinstance(part, str)), MESSAGES[kind]))
    if kind in ("enum", "literal_error"):
        context["expected"] = _choices(str(context["expected"]))
    text = _(MESSAGES.get(kind, N_("valeur incorrecte"))).format(**context)
    if kind == "extra_forbidden":
        text += suggestion(str(location[-1]), siblings(tuple(location[:-1])))
    return text


def meant(error: Mapping[str, Any]) -> tuple[str | int, ...] | None:
    """Return the path that an unknown key was probably meant to be."""
    location = tuple(error["loc"])
    if error["type"] != "extra_forbidden":
        return None
    close = _closest(str(location[-1]), siblings(location[:-1]))
    return (*location[:-1], close) if close else None


def is_secret(error: Mapping[str, Any]) -> bool:
    """Say whether the value that was refused must not be shown."""
    return error["type"] in _SECRET


def suggestion(word: str, known: list[str]) -> str:
    """Return « vouliez-vous dire » when something known is close."""
    close = _closest(word, known)
    return _(" (vouliez-vous dire « {word} » ?)").format(word=close) if close else ""


def _closest(word: str, known: list[str]) -> str:
    return next(iter(difflib.get_close_matches(word[:60].lower(), known[:200], n=1, cutoff=0.7)), "")


def siblings(location: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the model knows at a place."""
    model: Any = schema.Practice
    for part in location:
        if isinstance(part, int):
            continue
        found = model.model_fields.get(part)
        if found is None:
            return []
        model = _model_in(found.annotation)
        if model is None:
            return []
    return list(model.model_fields)


def _choices(expected: str) -> str:
    """Return pydantic's « 'a', 'b' or 'c' » as words to write, each with what it means."""
    words = expected.replace("'", "").replace(" or ", ", ").split(", ")
    return ", ".join(word if label(word) == word else f"{word} ({label(word)})" for word in words)


def _model_in(annotation: Any) -> Any:
    """Return the model inside an annotation such as ``list[Person]`` or ``HdsCertificate | None``."""
    if isinstance(annotation, type) and issubclass(annotation, schema.Answers):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
