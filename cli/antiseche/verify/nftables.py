"""What a running nftables ruleset lets through, worked out from what the kernel lists.

Checks ask here what gets in, whatever rule says so and whoever wrote it. Ports and addresses that no rule
distinguishes are decided alike, so trying one of each class (and its neighbours) decides all of them. A statement
that is not understood counts against the ruleset: it may accept, and it is not trusted to drop.
"""

from __future__ import annotations

import functools
import ipaddress
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

OUTSIDE = ("203.0.113.77", "2001:db8:ffff::77")
ORDINARY_PORT, EPHEMERAL_PORT = 47809, 40001
NOT_VERDICTS = {"counter", "log", "comment"}


@dataclass(frozen=True)
class Packet:
    """The first packet of a new connection, seen from one chain hook."""

    protocol: str
    port: int
    source: Address
    destination: Address
    source_port: int = EPHEMERAL_PORT

    @property
    def family(self) -> str:
        """Return nftables' word for the address family."""
        return "ip" if self.source.version == 4 else "ip6"


@functools.lru_cache(4096)
def network(text: str) -> Network:
    """Return an address or network as a network."""
    return ipaddress.ip_network(text, strict=False)


class Ruleset:
    """The output of ``nft -j list ruleset``."""

    def __init__(self, listing: str) -> None:
        items = json.loads(listing)["nftables"] if listing.strip() else []
        self.chains = [item["chain"] for item in items if "chain" in item]
        self.rules = [item["rule"] for item in items if "rule" in item]
        self._by_chain: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for rule in self.rules:
            self._by_chain.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(rule)
        self.sets = {
            (s["family"], s["table"], s["name"]): s.get("elem", []) for i in items for k, s in i.items() if k in {"set", "map"}
        }

    def base_chains(self, hook: str) -> list[dict[str, Any]]:
        """Return the filter chains of a hook, in the order in which the kernel asks them."""
        return sorted(
            (c for c in self.chains if c.get("hook") == hook and c.get("type") == "filter"), key=lambda c: c.get("prio", 0)
        )

    def rules_of(self, chain: dict[str, Any], name: str = "") -> list[dict[str, Any]]:
        """Return the rules of a chain, or of another chain of its table."""
        return self._by_chain.get((chain["family"], chain["table"], name or chain["name"]), [])

    def accepts(self, hook: str, packet: Packet, doubt: bool = True) -> bool:
        """Say whether every chain of a hook accepts; ``doubt`` is what an unknown statement may do at worst: accept."""
        for chain in self.base_chains(hook):
            if chain["family"] not in {"inet", packet.family}:
                continue
            verdict = self._walk(chain, "", packet, doubt, 0) or chain.get("policy", "accept")
            if verdict != "accept":
                return False
        return True

    def _walk(self, chain: dict[str, Any], name: str, packet: Packet, doubt: bool, depth: int) -> str:
        """Return the verdict of a chain's rules, empty when none decides."""
        if depth > 16:
            return "accept" if doubt else "drop"
        for rule in self.rules_of(chain, name):
            matched: bool | None = True
            for statement in rule.get("expr", []):
                kind, value = next(iter(statement.items()))
                if kind in {"accept", "drop", "reject", "return", "jump", "goto"}:
                    verdict = self._verdict(statement, matched, chain, packet, doubt, depth)
                elif kind == "vmap":
                    verdict = self._vmap(value, chain, packet, doubt, depth, matched)
                else:
                    result = self._matches(kind, value, chain, packet)
                    if result is False:
                        break
                    matched = None if result is None else matched
                    continue
                if verdict == "return":
                    return ""
                if verdict:
                    return verdict
        return ""

    def _verdict(
        self, statement: dict[str, Any], matched: bool | None, chain: dict[str, Any], packet: Packet, doubt: bool, depth: int
    ) -> str:
        kind, value = next(iter(statement.items()))
        if kind in {"jump", "goto"}:
            found = self._walk(chain, value["target"], packet, doubt, depth + 1)
            return found if matched or (found == "accept") == doubt else ""
        verdict = {"accept": "accept", "return": "return"}.get(kind, "drop")
        if matched is None and (verdict == "accept") != doubt:
            return ""  # in doubt only the worse of the two counts
        return verdict

    def _vmap(
        self, value: dict[str, Any], chain: dict[str, Any], packet: Packet, doubt: bool, depth: int, matched: bool | None
    ) -> str:
        data = value["data"]
        pairs = (
            data["set"] if isinstance(data, dict) else self.sets.get((chain["family"], chain["table"], str(data).lstrip("@")), [])
        )
        for key, statement in pairs:
            result = self._compare(value["key"], "==", key, chain, packet)
            if result is not False:
                verdict = self._verdict(statement, None if result is None else matched, chain, packet, doubt, depth)
                if verdict:
                    return verdict
        return ""

    def _matches(self, kind: str, value: Any, chain: dict[str, Any], packet: Packet) -> bool | None:
        if kind in NOT_VERDICTS:
            return True
        if kind != "match":
            return None  # limits and all that is not understood: perhaps
        return self._compare(value["left"], value["op"], value["right"], chain, packet)

    def _compare(self, left: Any, operator: str, right: Any, chain: dict[str, Any], packet: Packet) -> bool | None:
        observed = _observed(left, packet)
        if observed is None or isinstance(observed, bool):
            return observed
        elements = right["set"] if isinstance(right, dict) and "set" in right else right if isinstance(right, list) else [right]
        if isinstance(right, str) and right.startswith("@"):
            elements = self.sets.get((chain["family"], chain["table"], right[1:]), [])
        found = any(_within(observed, element) for element in elements)
        return found if operator in {"==", "in"} else not found if operator == "!=" else None

    def ports(self) -> set[int]:
        """Return every port that a rule distinguishes, with its neighbours."""
        numbers = {
            n
            for left, value in self._values()
            if left.get("payload", {}).get("field") in {"dport", "sport"}
            for n in _bounds(value)
        }
        return {n + d for n in numbers if isinstance(n, int) for d in (-1, 0, 1) if 0 < n + d < 65536}

    def source_ports(self) -> set[int]:
        """Return every source port that a rule distinguishes."""
        values = [_bounds(value) for left, value in self._values() if left.get("payload", {}).get("field") == "sport"]
        return {n for bounds in values for n in bounds if isinstance(n, int)}

    def networks(self) -> set[Network]:
        """Return every network that a rule distinguishes."""
        found: set[Network] = set()
        for left, value in self._values():
            if left.get("payload", {}).get("field") in {"saddr", "daddr"}:
                bounds = [b for b in _bounds(value) if isinstance(b, str)]
                prefix = value.get("prefix") if isinstance(value, dict) else None
                found.update({network(f"{prefix['addr']}/{prefix['len']}")} if prefix else {network(b) for b in bounds})
        return found

    def _values(self) -> Iterator[tuple[dict[str, Any], Any]]:
        """Yield every (left side, single value) that rules compare."""
        for rule in self.rules:
            for statement in rule.get("expr", []):
                match = statement.get("match")
                if match and isinstance(match["left"], dict):
                    right = match["right"]
                    if isinstance(right, str) and right.startswith("@"):
                        right = {"set": self.sets.get((rule["family"], rule["table"], right[1:]), [])}
                    for value in right["set"] if isinstance(right, dict) and "set" in right else [right]:
                        yield match["left"], value.get("elem", {}).get("val", value) if isinstance(value, dict) else value


@functools.lru_cache(4096)
def _address(text: str) -> Address:
    return ipaddress.ip_address(text)


def _bounds(value: Any) -> list[Any]:
    if isinstance(value, dict) and "range" in value:
        return list(value["range"])
    return [] if isinstance(value, dict) else [value]


def _observed(left: Any, packet: Packet) -> Any:
    """Return what a packet shows for the left side of a match; a truth value decides, None is unknown."""
    kind, value = next(iter(left.items())) if isinstance(left, dict) and left else ("", {})
    if kind == "payload" and "protocol" in value:
        protocol, field = value["protocol"], value["field"]
        if protocol in {"ip", "ip6"}:
            address = {"saddr": packet.source, "daddr": packet.destination}.get(field)
            return False if protocol != packet.family else address
        if protocol in {packet.protocol, "th"} and packet.protocol in {"tcp", "udp"}:
            return {"dport": packet.port, "sport": packet.source_port}.get(field)
        return False if protocol in {"tcp", "udp", "icmp", "icmpv6", "sctp", "dccp", "udplite"} else None
    if kind == "meta":
        names: dict[str, Any] = {
            "l4proto": packet.protocol,
            "nfproto": packet.family.replace("ip", "ipv").replace("ipv6", "ipv6"),
        }
        names["nfproto"] = "ipv4" if packet.family == "ip" else "ipv6"
        names["pkttype"] = "host"
        names["iif"] = names["iifname"] = names["oif"] = names["oifname"] = _AnyInterface()
        return names.get(str(value.get("key")))
    if kind == "ct" and value.get("key") == "state":
        return "new"
    return None


class _AnyInterface:
    """Any network interface but the loopback."""


def _within(observed: Any, element: Any) -> bool:
    """Say whether an observed value is an element: a value, a prefix or a range."""
    if isinstance(element, dict) and "elem" in element:
        element = element["elem"].get("val", element)
    if isinstance(observed, _AnyInterface):
        return bool(element != "lo")
    if isinstance(observed, ipaddress.IPv4Address | ipaddress.IPv6Address):
        if isinstance(element, dict) and "prefix" in element:
            return observed in network(f"{element['prefix']['addr']}/{element['prefix']['len']}")
        if isinstance(element, dict) and "range" in element:
            low, high = (ipaddress.ip_address(bound) for bound in element["range"])
            return low.version == observed.version and int(low) <= int(observed) <= int(high)
        return isinstance(element, str) and bool(observed == _address(element))
    if isinstance(element, dict) and "range" in element:
        low, high = element["range"]
        return isinstance(observed, int) and isinstance(low, int) and low <= observed <= high
    return bool(observed == element)


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


@dataclass(frozen=True)
class Flow:
    """What is allowed: a port of a protocol, with the networks at the other end (empty: anywhere)."""

    name: str
    protocol: str
    ports: frozenset[int]
    networks: tuple[Network, ...]

    def covers(self, protocol: str, port: int, address: Address) -> bool:
        """Say whether the flow allows this."""
        return (
            protocol == self.protocol
            and port in self.ports
            and (not self.networks or any(address in one for one in self.networks if one.version == address.version))
        )


def flow(name: str, protocol: str, ports: Iterable[int], networks: Iterable[str]) -> Flow:
    """Return an allowed flow from texts."""
    return Flow(name, protocol, frozenset(ports), tuple(network(text) for text in networks))


def openings(ruleset: Ruleset, allowed: list[Flow]) -> list[tuple[str, int, Address]]:
    """Return one example of each way in that no allowed flow covers: protocol, port, address."""
    ports = ruleset.ports() | {p for one in allowed for p in one.ports} | {ORDINARY_PORT, 22, 23, 80, 135, 139, 445, 3389, 5900}
    sources = edges(ruleset.networks() | {n for one in allowed for n in one.networks})
    source_ports = {EPHEMERAL_PORT} | ruleset.source_ports()
    found: dict[tuple[str, int, int], tuple[str, int, Address]] = {}
    for source in sorted(sources, key=lambda address: (address.version, int(address))):
        here = ipaddress.ip_address("192.0.2.1" if source.version == 4 else "2001:db8::1")
        for protocol in ("tcp", "udp", "gre"):
            for port in sorted(ports) if protocol != "gre" else [0]:
                if any(one.covers(protocol, port, source) for one in allowed):
                    continue
                for source_port in source_ports:
                    if (source_port, port) in {(67, 68), (547, 546)}:
                        continue  # the answer of the network's own address server
                    if ruleset.accepts("input", Packet(protocol, port, source, here, source_port)):
                        found.setdefault((protocol, port, source.version), (protocol, port, source))
    return list(found.values())
