"""The JSON Schema of the answers, for editors: titles and explanations in the language in force."""

from __future__ import annotations

import json
from typing import Any

from antiseche.i18n import _
from antiseche.practice.schema import Practice


def schema_text() -> str:
    """Return the schema as indented JSON."""
    return json.dumps(_translated(Practice.model_json_schema()), ensure_ascii=False, indent=2) + "\n"


def _translated(value: Any) -> Any:
    """Translate titles and descriptions, wherever they are."""
    if isinstance(value, dict):
        return {
            key: _(inner) if key in ("title", "description") and isinstance(inner, str) else _translated(inner)
            for key, inner in value.items()
        }
    return [_translated(inner) for inner in value] if isinstance(value, list) else value
