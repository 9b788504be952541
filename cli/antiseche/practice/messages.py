"""pydantic's error codes in words a contractor understands. A test walks the model and wants every code here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from antiseche.i18n import N_, _
from antiseche.practice import schema

MESSAGES: dict[str, str] = {
    "missing": N_("réponse obligatoire, absente"),
    "extra_forbidden": N_("clé inconnue"),
    "string_type": N_("texte attendu (mettez la valeur entre guillemets)"),
    "string_too_short": N_("au moins {min_length} caractère attendu"),
    "string_too_long": N_("{max_length} caractères au plus"),
    "string_pattern_mismatch": N_("forme incorrecte"),
    "int_type": N_("nombre entier attendu"),
    "int_parsing": N_("nombre entier attendu"),
    "int_from_float": N_("nombre entier attendu"),
    "greater_than_equal": N_("doit valoir au moins {ge}"),
    "less_than_equal": N_("doit valoir au plus {le}"),
    "bool_type": N_("oui ou non attendu (true ou false)"),
    "bool_parsing": N_("oui ou non attendu (true ou false)"),
    "list_type": N_("liste attendue (une ligne « - … » par élément)"),
    "dict_type": N_("groupe de clés attendu"),
    "model_type": N_("groupe de clés attendu"),
    "model_attributes_type": N_("groupe de clés attendu"),
    "too_short": N_("au moins {min_length} élément attendu"),
    "enum": N_("valeur attendue : {expected}"),
    "literal_error": N_("valeur attendue : {expected}"),
    "date_type": N_("date attendue, de la forme 2027-06-30"),
    "date_parsing": N_("date attendue, de la forme 2027-06-30"),
    "date_from_datetime_parsing": N_("date attendue, de la forme 2027-06-30"),
    "date_from_datetime_inexact": N_("date sans heure attendue, de la forme 2027-06-30"),
    "ip_any_address": N_("adresse IP attendue, par exemple 192.168.1.20"),
    "ip_any_network": N_("adresse ou réseau attendu, par exemple 192.168.1.0/24"),
}

_PATTERNS: dict[str, str] = {
    "id": N_("forme incorrecte : minuscules, chiffres et tirets, en commençant par une lettre"),
    "login": N_("forme incorrecte : minuscules sans accent, chiffres, tirets, en commençant par une lettre"),
    "users": N_("forme incorrecte : minuscules sans accent, chiffres, tirets, en commençant par une lettre"),
    "account": N_("forme incorrecte : minuscules sans accent, chiffres, tirets, en commençant par une lettre"),
    "name": N_("forme incorrecte : 2 à 15 minuscules sans accent, chiffres et tirets, en commençant par une lettre"),
    "host": N_("forme incorrecte : 2 à 15 minuscules sans accent, chiffres et tirets, en commençant par une lettre"),
    "hosts": N_("forme incorrecte : 2 à 15 minuscules sans accent, chiffres et tirets, en commençant par une lettre"),
    "reboot_time": N_("heure attendue entre guillemets, de la forme « 03:30 »"),
    "public_keys": N_("clé publique SSH attendue, d'une seule ligne, par exemple « ssh-ed25519 AAAA… »"),
    "control": N_("identifiant de contrôle attendu, par exemple « PAR-01 »"),
}


def message(error: Mapping[str, Any]) -> str:
    """Return the sentence for one pydantic error."""
    kind, location = str(error["type"]), error["loc"]
    context = dict(error.get("ctx") or {})
    if kind == "string_pattern_mismatch":
        key = next((str(part) for part in reversed(location) if isinstance(part, str)), "")
        return _(_PATTERNS.get(key, MESSAGES[kind]))
    if "expected" in context:
        context["expected"] = str(context["expected"]).replace("'", "").replace(" or ", ", ")
    text = _(MESSAGES[kind]).format(**context) if kind in MESSAGES else str(error["msg"])
    if kind == "extra_forbidden":
        text += suggestion(str(location[-1]), siblings(tuple(location[:-1])))
    return text


def suggestion(word: str, known: list[str]) -> str:
    """Return « vouliez-vous dire » when something known is close."""
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return _(" (vouliez-vous dire « {word} » ?)").format(word=close[0]) if close else ""


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


def _model_in(annotation: Any) -> Any:
    """Return the model inside an annotation such as ``list[Person]`` or ``HdsCertificate | None``."""
    if isinstance(annotation, type) and issubclass(annotation, schema.Answers):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
