"""What sudo allows and records, read from what its own tools print."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

OFF = "!"
"""Value of an option that is switched off."""
LISTING = "sudo -n -l -U %s"
"""Command whose output `options_in_force` and `may_use` read, for one login."""
RULES = "cvtsudoers -e -f json /etc/sudoers"
"""Command whose output `rules` reads."""


@dataclass(frozen=True)
class Rule:
    """Who may run what: a login, or a group as « %name »; ``everything`` for any command; ``asks`` for a password."""

    user: str
    everything: bool
    asks: bool


def options_in_force(listing: str) -> dict[str, str]:
    """Return sudo's options for somebody: name to value, the last word of each."""
    block = re.search(r"Matching Defaults entries[^\n]*\n(.*?)\n\n", listing, re.DOTALL)
    found: dict[str, str] = {}
    for entry in re.split(r"(?<!\\),\s+", " ".join(block.group(1).split()) if block else ""):
        match = re.match(r"(!?)(\w+)(?:[+-]?=(.*))?$", entry)
        if match:
            off, name, value = match.groups()
            found[name] = OFF if off else (value or "").strip('"')
    return found


def may_use(listing: str) -> bool:
    """Say whether somebody may run anything at all."""
    return "may run the following" in listing


def rules(printed: str) -> Iterator[Rule]:
    """Yield every rule.

    Raises:
        ValueError: not the output of cvtsudoers.
    """
    for spec in json.loads(printed or "{}").get("User_Specs", []):
        for given in spec.get("Cmnd_Specs", []):
            asks = not any(option.get("authenticate") is False for option in given.get("Options", []))
            everything = any(c.get("command") == "ALL" or c.get("negated") for c in given.get("Commands", []))
            for user in spec.get("User_List", []):
                yield Rule(_name(user), everything, asks)


def switched_off(printed: str) -> set[str]:
    """Return the options that some line of the rules switches off, for whomever and whichever command."""
    defaults = json.loads(printed or "{}").get("Defaults", [])
    options = [option for item in defaults for option in item.get("Options", [])]
    return {name for option in options for name, value in option.items() if value is False}


def _name(user: dict[str, Any]) -> str:
    name = next((str(value) for key, value in user.items() if key != "negated"), "?")
    group = any(key in user for key in ("usergroup", "usergid", "netgroup", "nonunixgroup", "nonunixgid"))
    return (OFF if user.get("negated") else "") + ("%" if group else "") + name
