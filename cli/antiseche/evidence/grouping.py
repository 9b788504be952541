"""Equal things said once: the same control on several hosts, the same change, the same difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from antiseche.catalogue import Control
from antiseche.engine.wording import change_text
from antiseche.evidence.drift import Cause, Transition
from antiseche.evidence.passes import Pass
from antiseche.evidence.results import Effective, Result

_WHOLE = 5
"""From so many controls on, a host that left or came back is told as a whole."""


class Difference(NamedTuple):
    """A difference of configuration that a run in check mode announced."""

    host: str
    role: str
    title: str
    change: str

    @property
    def text(self) -> str:
        """The change in the reader's language."""
        return change_text(self.change, self.role)


@dataclass(frozen=True)
class Seen:
    """The same words about one or several hosts."""

    message: str
    hosts: tuple[str, ...]
    results: tuple[Result, ...]


@dataclass(frozen=True)
class Finding:
    """A control that asks for something to be done, and on which hosts."""

    control: Control
    effective: Effective
    seen: tuple[Seen, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """All hosts concerned, in order."""
        return tuple(host for seen in self.seen for host in seen.hosts)


class Change(NamedTuple):
    """The same transition on several hosts."""

    first: Transition
    hosts: tuple[str, ...]


class WholeHost(NamedTuple):
    """A host of which many controls came into sight or left it together."""

    cause: Cause
    host: str
    controls: int


class SameDifference(NamedTuple):
    """The same difference of configuration on several hosts."""

    first: Difference
    hosts: tuple[str, ...]


def findings(pass_: Pass) -> list[Finding]:
    """Return what asks for action on hosts that answered, gravest first; hosts that did not answer are told apart."""
    groups: dict[tuple[str, Effective], dict[str, list[Result]]] = {}
    for result in pass_.failing():
        if result.host not in pass_.verification.unreachable:
            by_message = groups.setdefault((result.control, result.effective), {})
            by_message.setdefault(result.message, []).append(result)
    controls = pass_.catalogue.by_id
    return [
        Finding(controls[control], effective, tuple(_seen(message, results) for message, results in by_message.items()))
        for (control, effective), by_message in groups.items()
    ]


def whole_hosts(transitions: Iterable[Transition]) -> tuple[list[WholeHost], list[Transition]]:
    """Tell hosts that appeared or disappeared as such, and return the other transitions."""
    told = list(transitions)
    counts = Counter((change.cause, change.host) for change in told if change.cause in (Cause.SCOPE, Cause.VISIBILITY))
    whole = {key: n for key, n in counts.items() if n >= _WHOLE}
    rest = [change for change in told if (change.cause, change.host) not in whole]
    return [WholeHost(cause, host, n) for (cause, host), n in whole.items()], rest


def changes(transitions: Iterable[Transition]) -> list[Change]:
    """Return transitions that differ only by their host as one."""
    groups: dict[tuple[str, ...], list[Transition]] = {}
    for change in transitions:
        groups.setdefault((str(change.cause), change.control, str(change.before), str(change.after)), []).append(change)
    return [Change(group[0], tuple(change.host for change in group)) for group in groups.values()]


def same_differences(differences: Iterable[Difference]) -> list[SameDifference]:
    """Return differences that differ only by their host as one, theme by theme."""
    groups: dict[str, dict[str, list[Difference]]] = {}
    for difference in differences:
        groups.setdefault(difference.role, {}).setdefault(difference.change, []).append(difference)
    return [
        SameDifference(same[0], tuple(dict.fromkeys(difference.host for difference in same)))
        for by_change in groups.values()
        for same in by_change.values()
    ]


def _seen(message: str, results: list[Result]) -> Seen:
    return Seen(message, tuple(result.host for result in results), tuple(results))
