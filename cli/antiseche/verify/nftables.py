"""What a running nftables ruleset lets through, worked out from what the kernel lists.

Checks ask here what gets in, whatever rule says so and whoever wrote it. Ports and addresses that no rule
distinguishes are decided alike, so trying one of each class (and its neighbours) decides all of them. What is not
understood, or depends on what cannot be known, may go either way: a way in counts as open as soon as it may be.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from antiseche.verify.packets import (
    EPHEMERAL_PORT,
    PROTOCOLS,
    Address,
    Network,
    Packet,
    Shown,
    bare,
    compare,
    either,
    is_protocol,
    network,
    observed,
)

OUTSIDE = ("203.0.113.77", "2001:db8:ffff::77")
ORDINARY_PORT, ORDINARY_PROTOCOL = 47809, "253"
_COMMON_PORTS = frozenset({22, 23, 80, 135, 139, 445, 3389, 5900})
# What keeps a network alive is no way in.
_NETWORK_PROTOCOLS = frozenset({"icmp", "icmpv6", "ipv6-icmp", "igmp", "1", "2", "58"})
# What a rule may do with a packet. NEXT: the rule decides nothing, the next one is asked; END: so does the chain.
ACCEPT, DROP, NEXT, END, _GO = "accept", "drop", "next", "end", "go"
_ANYTHING = frozenset({ACCEPT, DROP, NEXT, _GO})
_STATEMENTS: dict[str, frozenset[str]] = {
    ACCEPT: frozenset({ACCEPT}), DROP: frozenset({DROP}), "return": frozenset({END}),
    # True for some packets only, by rate or volume.
    "limit": frozenset({_GO, NEXT}), "quota": frozenset({_GO, NEXT}), "ct count": frozenset({_GO, NEXT}),
    # Adding to a set ends the rule when the set is full.
    "set": frozenset({_GO, NEXT}), "map": frozenset({_GO, NEXT}),
    **dict.fromkeys(("counter", "log", "comment", "continue", "mangle", "notrack", "ct helper", "last"), frozenset({_GO})),
}  # fmt: skip
_MATCHED: dict[bool | None, frozenset[str]] = {
    True: frozenset({_GO}), False: frozenset({NEXT}), None: frozenset({_GO, NEXT})
}  # fmt: skip
_MAX_DEPTH = 16  # as the kernel's

Item = dict[str, Any]


class Ruleset:
    """The output of ``nft -j list ruleset``.

    Raises:
        ValueError, KeyError: this is not such an output.
    """

    def __init__(self, listing: str) -> None:
        self.listing = listing
        items: list[Item] = json.loads(listing)["nftables"] if listing.strip() else []
        # The chains of a dormant table are listed, and do nothing. "owner" and "persist" change nothing.
        asleep = {
            (table["family"], table["name"])
            for item in items
            if (table := item.get("table")) and set(_words(table.get("flags"))) - {"owner", "persist"}
        }
        self.chains = [c for item in items if (c := item.get("chain")) and (c["family"], c["table"]) not in asleep]
        self.rules = [item["rule"] for item in items if "rule" in item]
        self._by_chain: dict[tuple[str, str, str], list[Item]] = {}
        for rule in self.rules:
            self._by_chain.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(rule)
        self.sets: dict[tuple[str, str, str], Item] = {
            (s["family"], s["table"], s["name"]): s for item in items for kind, s in item.items() if kind in ("set", "map")
        }
        self._changing = self._changing_sets()
        self._rewritten = self._rewritten_fields()
        self._untracks = any("notrack" in statement for statement in self._statements())
        self._known: dict[tuple[int, Any], bool | None] = {}

    def base_chains(self, hook: str) -> list[Item]:
        """Return the filter chains of a hook, in the order in which the kernel asks them."""
        return sorted(
            (c for c in self.chains if c.get("hook") == hook and c.get("type") == "filter"), key=lambda c: c.get("prio", 0)
        )

    def rules_of(self, chain: Item, name: str = "") -> list[Item]:
        """Return the rules of a chain, or of another chain of its table."""
        return self._by_chain.get((chain["family"], chain["table"], name or chain["name"]), [])

    def accepts(self, hook: str, packet: Packet, doubt: bool = True) -> bool:
        """Say whether every chain of a hook accepts: with ``doubt`` whether it may, without whether it surely does."""
        packets = [packet, replace(packet, state="untracked")] if self._untracks and packet.state == "new" else [packet]
        return (any if doubt else all)(self._accepts(hook, one, doubt) for one in packets)

    def _accepts(self, hook: str, packet: Packet, doubt: bool) -> bool:
        for chain in self.base_chains(hook):
            if chain["family"] not in ("inet", packet.family):
                continue
            verdicts = self._chain(chain, chain["name"], packet, 0)
            if END in verdicts:
                verdicts = verdicts | {chain.get("policy", ACCEPT)}
            if (ACCEPT not in verdicts) if doubt else (DROP in verdicts):
                return False
        return True

    def _chain(self, base: Item, name: str, packet: Packet, depth: int) -> frozenset[str]:
        """Return what the rules of a chain may decide: accept, drop, or nothing (end)."""
        if depth > _MAX_DEPTH:
            return frozenset({ACCEPT, DROP})
        verdicts: set[str] = set()
        for rule in self.rules_of(base, name):
            found = self._rule(rule, base, packet, depth)
            verdicts |= found - {NEXT}
            if NEXT not in found:
                return frozenset(verdicts)
        return frozenset(verdicts | {END})

    def _rule(self, rule: Item, base: Item, packet: Packet, depth: int) -> set[str]:
        verdicts: set[str] = set()
        for statement in rule.get("expr", []):
            found = self._statement(statement, base, packet, depth)
            verdicts |= found - {_GO}
            if _GO not in found:
                return verdicts
        return verdicts | {NEXT}

    def _statement(self, statement: Any, base: Item, packet: Packet, depth: int) -> frozenset[str]:
        if not isinstance(statement, dict) or len(statement) != 1:
            return _ANYTHING
        kind, value = next(iter(statement.items()))
        if kind == "match":
            return _MATCHED[self._match(value, base, packet)]
        if kind == "reject":
            # nft leaves out a match that the kind of refusal implies.
            only = {"icmp": "ip", "icmpv6": "ip6", "tcp reset": "tcp"}.get((value or {}).get("type", ""))
            return frozenset({DROP if only in (None, packet.family, packet.protocol) else NEXT})
        if kind in ("jump", "goto"):
            found = self._chain(base, value["target"], packet, depth + 1)
            return found if kind == "goto" or END not in found else found - {END} | {NEXT}
        if kind == "vmap":
            return self._vmap(value, base, packet, depth)
        return _STATEMENTS.get(kind, _ANYTHING)

    def _vmap(self, value: Item, base: Item, packet: Packet, depth: int) -> frozenset[str]:
        """Return the verdict of the element that matches; of each that may."""
        pairs, sure = self._elements(value["data"], base)
        verdicts: set[str] = set() if sure else set(_ANYTHING)
        for pair in sorted(pairs, key=lambda pair: bare(pair[0]) == "*"):  # "everything" is what remains
            result = self._is(pair, value["key"], "==", [pair[0]], base, packet)
            if result is not False:
                verdicts |= self._statement(pair[1], base, packet, depth)
            if result:
                return frozenset(verdicts)
        return frozenset(verdicts | {NEXT})

    def _match(self, value: Item, base: Item, packet: Packet) -> bool | None:
        right, operator = value["right"], value["op"]
        if isinstance(right, list):  # alternatives among bits, as in "ct state new,untracked"
            return self._is(value, value["left"], operator, right, base, packet) if operator in ("in", "==") else None
        elements, sure = self._elements(right, base)
        return self._is(value, value["left"], operator, elements, base, packet) if sure else None

    def _elements(self, right: Any, base: Item) -> tuple[list[Any], bool]:
        """Return what a value is compared with, and whether that is sure: packets or time change some sets."""
        if isinstance(right, dict) and isinstance(right.get("set"), list):
            return right["set"], True
        if isinstance(right, str) and right.startswith("@"):
            key = (base["family"], base["table"], right[1:])
            return (self.sets[key].get("elem", []), key not in self._changing) if key in self.sets else ([], False)
        return [right], True

    def _is(self, item: Any, left: Any, operator: str, elements: list[Any], base: Item, packet: Packet) -> bool | None:
        """Compare; ``item`` is the part of the ruleset that asks, under which the answer is remembered."""
        parts = left.get("concat") if isinstance(left, dict) else None
        if isinstance(parts, list):
            found = either(self._all(parts, element, base, packet) for element in elements)
            return found if operator in ("==", "in") else None if operator != "!=" or found is None else not found
        shown = Shown.UNKNOWN if _field(left) & self._rewritten else observed(left, packet, base["hook"])
        if not isinstance(item, dict | list):
            return compare(left, shown, operator, elements)
        key = (id(item), shown)
        if key not in self._known:
            self._known[key] = compare(left, shown, operator, elements)
        return self._known[key]

    def _all(self, parts: list[Any], element: Any, base: Item, packet: Packet) -> bool | None:
        element = bare(element)
        values = element.get("concat") if isinstance(element, dict) else None
        if not isinstance(values, list) or len(values) != len(parts):
            return True if element == "*" else None
        answers = [self._is(value, part, "==", [value], base, packet) for part, value in zip(parts, values, strict=True)]
        return False if False in answers else None if None in answers else True

    def ports(self, *fields: str) -> set[int]:
        """Return every port that a rule distinguishes."""
        fields = fields or ("dport", "sport")
        return {n for left, value in self._values() if _field(left) & set(fields) for n in _bounds(value) if isinstance(n, int)}

    def networks(self) -> set[Network]:
        """Return every network that a rule distinguishes."""
        found: set[Network] = set()
        for left, value in self._values():
            if _field(left) & {"saddr", "daddr"}:
                prefix = value.get("prefix") if isinstance(value, dict) else None
                texts = [f"{prefix['addr']}/{prefix['len']}"] if prefix else [b for b in _bounds(value) if isinstance(b, str)]
                for text in texts:
                    with contextlib.suppress(ValueError):  # "*", or a link-layer address
                        found.add(network(text))
        return found

    def protocols(self) -> set[str]:
        """Return every transport protocol that a rule distinguishes."""
        named = {str(left["payload"].get("protocol")) for left, _value in self._values() if "payload" in left}
        values = [v for left, value in self._values() if is_protocol(left) for v in _bounds(value)]
        return {name for name in named if name in PROTOCOLS} | {str(value) for value in values if value != "*"}

    def states(self) -> set[str]:
        """Return the conntrack states that a packet of no connection may have, where a rule distinguishes them."""
        found = {str(value) for left, value in self._values() if left == {"ct": {"key": "state"}}}
        return {"new"} | found & {"invalid"}

    def _statements(self) -> Iterator[Item]:
        for rule in self.rules:
            yield from (statement for statement in rule.get("expr", []) if isinstance(statement, dict))

    def _values(self) -> Iterator[tuple[Item, Any]]:
        """Yield every (left side, single value) that rules compare."""
        for rule in self.rules:
            for statement in rule.get("expr", []):
                if not isinstance(statement, dict):
                    continue
                if match := statement.get("match"):
                    right = match["right"]
                    values = right if isinstance(right, list) else self._elements(right, rule)[0]
                    yield from _pairs(match["left"], values)
                if vmap := statement.get("vmap"):
                    yield from _pairs(vmap["key"], [pair[0] for pair in self._elements(vmap["data"], rule)[0]])

    def _changing_sets(self) -> set[tuple[str, str, str]]:
        """Return the sets that packets fill, or that time empties."""
        found = {key for key, one in self.sets.items() if {"dynamic", "timeout"} & set(_words(one.get("flags")))}
        for rule in self.rules:
            for statement in rule.get("expr", []):
                for kind in ("set", "map"):
                    value = statement.get(kind) if isinstance(statement, dict) else None
                    if isinstance(value, dict):
                        found.add((rule["family"], rule["table"], str(value.get(kind)).lstrip("@")))
        return found

    def _rewritten_fields(self) -> set[str]:
        """Return the fields of packets that a rule writes: what they were no longer decides."""
        found: set[str] = set()
        for statement in self._statements():
            payload = statement["mangle"]["key"].get("payload") if "mangle" in statement else None
            if payload is not None:
                found |= {payload["field"]} if "field" in payload else {"saddr", "daddr", "sport", "dport", "protocol"}
        return found


def _words(flags: Any) -> list[str]:
    return [flags] if isinstance(flags, str) else list(flags or [])


def _field(left: Any) -> set[str]:
    """Return the name of the packet's field on the left side of a match, if it is one."""
    payload = left.get("payload") if isinstance(left, dict) else None
    return {str(payload.get("field"))} if isinstance(payload, dict) else set()


def _pairs(left: Any, values: list[Any]) -> Iterator[tuple[Item, Any]]:
    """Pair each single value with what it is compared to; concatenations are taken apart."""
    if not isinstance(left, dict):
        return
    for value in map(bare, values):
        if isinstance(left.get("concat"), list) and isinstance(value, dict) and isinstance(value.get("concat"), list):
            for part, one in zip(left["concat"], value["concat"], strict=False):
                yield from _pairs(part, [one])
        else:
            yield left, value


def _bounds(value: Any) -> list[Any]:
    if isinstance(value, dict) and "range" in value:
        return list(value["range"])
    return [] if isinstance(value, dict | list) else [value]


def edges(networks: Iterable[Network]) -> set[Address]:
    """Return addresses of each class: inside each network, just outside it, and far away."""
    found: set[Address] = {ipaddress.ip_address(text) for text in OUTSIDE}
    for one in networks:
        limit = 2**one.max_prefixlen
        first, last = int(one.network_address), int(one.broadcast_address)
        make = ipaddress.IPv4Address if one.version == 4 else ipaddress.IPv6Address
        numbers = {first, min(first + 1, last), last, first - 1, last + 1}
        found.update(make(number) for number in numbers if 0 <= number < limit)
    return found


ANY = "any"


@dataclass(frozen=True)
class Flow:
    """What is allowed: a port of a protocol, with the networks at the other end (empty: anywhere).

    The protocol `ANY` stands for everything, whatever the port.
    """

    name: str
    protocol: str
    ports: frozenset[int]
    networks: tuple[Network, ...]

    def covers(self, protocol: str, port: int, address: Address) -> bool:
        """Say whether the flow allows this."""
        return (self.protocol == ANY or (protocol == self.protocol and port in self.ports)) and (
            not self.networks or any(address in one for one in self.networks if one.version == address.version)
        )


def flow(name: str, protocol: str, ports: Iterable[int], networks: Iterable[str]) -> Flow:
    """Return an allowed flow from texts."""
    return Flow(name, protocol, frozenset(ports), tuple(network(text) for text in networks))


def openings(ruleset: Ruleset, allowed: Iterable[Flow], hook: str = "input") -> list[tuple[str, int, Address]]:
    """Return one example of each way through a hook that no allowed flow covers: protocol, port (0: none), other end.

    The other end is the source of what comes in, the destination of what goes out.
    """
    return list(_openings(ruleset.listing, tuple(allowed), hook))


@functools.lru_cache(8)  # several controls ask the same question about one machine
def _openings(listing: str, allowed: tuple[Flow, ...], hook: str) -> tuple[tuple[str, int, Address], ...]:
    ruleset = Ruleset(listing)
    known = ruleset.ports() | {p for one in allowed for p in one.ports}
    ports = sorted({p + d for p in known for d in (-1, 0, 1) if 0 < p + d < 65536} | {ORDINARY_PORT} | _COMMON_PORTS)
    others = sorted((ruleset.protocols() | {"gre", ORDINARY_PROTOCOL}) - {"tcp", "udp"} - _NETWORK_PROTOCOLS)
    ends = edges(ruleset.networks() | {n for one in allowed for n in one.networks})
    source_ports, states = sorted(ruleset.ports("sport") | {EPHEMERAL_PORT}), sorted(ruleset.states())
    found: dict[tuple[str, int, int], tuple[str, int, Address]] = {}
    for end in sorted(ends, key=lambda address: (address.version, int(address))):
        here = ipaddress.ip_address("192.0.2.1" if end.version == 4 else "2001:db8::1")
        source, destination = (here, end) if hook == "output" else (end, here)
        for protocol, state in itertools.product(["tcp", "udp", *others], states):
            any_port = Packet(protocol, None, source, destination, None, state)
            if not ruleset.accepts(hook, any_port):
                continue  # whatever the port
            for port in ports if protocol in ("tcp", "udp") else [0]:
                if (protocol, port, end.version) in found or any(one.covers(protocol, port, end) for one in allowed):
                    continue
                if not ruleset.accepts(hook, replace(any_port, port=port)):
                    continue  # whatever the source port
                for source_port in source_ports:
                    if (protocol, source_port, port) in {("udp", 67, 68), ("udp", 547, 546)}:
                        continue  # the answer of the network's own address server
                    if ruleset.accepts(hook, replace(any_port, port=port, source_port=source_port)):
                        found[protocol, port, end.version] = (protocol, port, end)
    return tuple(found.values())
