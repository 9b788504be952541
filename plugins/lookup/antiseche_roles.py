"""List the kit's roles in the order in which they are applied."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: antiseche_roles
short_description: Roles of the kit in the order in which they are applied
description:
  - Finds every folder of the roles that holds a C(controls.yml) and sorts them by its C(order).
  - The order is read without parsing the file as YAML, because the loop that uses it is worked out for each host.
options:
  _terms:
    description: The folder of the roles.
    required: true
author:
  - Antisèche contributors
"""

_ORDER = re.compile(r"^order:\s*(\d+)\s*(?:#.*)?$", re.MULTILINE)
_KNOWN: dict[str, list[str]] = {}


class LookupModule(LookupBase):  # type: ignore[misc]
    """Returns names of roles."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """Return the roles of the given folders."""
        return [name for term in terms for name in _roles(term)]


def _roles(folder: str) -> list[str]:
    if folder not in _KNOWN:
        found = []
        for path in Path(folder).glob("*/controls.yml"):
            try:
                order = _ORDER.search(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise AnsibleLookupError(f"{path} cannot be read: {error}") from error
            if order is None:
                raise AnsibleLookupError(f"{path} gives no order: add a line such as 'order: 50'")
            found.append((int(order.group(1)), path.parent.name))
        if not found:  # a play over nothing would end well
            raise AnsibleLookupError(f"{folder} holds no role of the kit: the installation is incomplete")
        _KNOWN[folder] = [name for _order, name in sorted(found)]
    return _KNOWN[folder]
