"""What the answers must satisfy between themselves; each rule yields every problem it finds, with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from antiseche.practice.rules import backup, contracts, network, people
from antiseche.practice.rules.found import Found
from antiseche.practice.schema import Practice

__all__ = ["Found", "check"]


def check(practice: Practice) -> list[Found]:
    """Return every problem between the answers."""
    return [found for rule in _RULES for found in rule(practice)]


_RULES: tuple[Callable[[Practice], Iterator[Found]], ...] = (
    people.people,
    people.users,
    network.hosts,
    network.disks,
    network.shares,
    network.software,
    network.flows,
    contracts.maintenance,
    contracts.suppliers,
    contracts.declarations,
    backup.backup,
)
