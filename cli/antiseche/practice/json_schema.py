"""The answers' JSON Schema, for editors, in the language of the person."""

from __future__ import annotations

from typing import Any

from antiseche.i18n import _
from antiseche.practice.schema import Practice


def json_schema() -> dict[str, Any]:
    """Return the schema with titles and descriptions in the current language."""
    schema = Practice.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    for part in parts:
        # Class names and docstrings speak to contributors.
        part.pop("title", None)
        part.pop("description", None)
        for field in part.get("properties", {}).values():
            for key in ("title", "description"):
                if key in field:
                    field[key] = _(field[key])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": _("Réponses au sujet d'un cabinet (practice.yml)"),
        **schema,
    }
