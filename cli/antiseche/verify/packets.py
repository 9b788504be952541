"""What one packet shows to the matches of an nftables rule.

Everything is answered with True, False or None; None is "it depends on what cannot be known from here": the interface
that a packet comes by, the machine's own addresses, a mark, a field that is not understood.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

EPHEMERAL_PORT = 40001
# Names that nft writes for protocol numbers (the system's /etc/protocols), with the numbers of IANA's registry.
PROTOCOLS = {
    "icmp": 1, "igmp": 2, "ipencap": 4, "ipip": 4, "tcp": 6, "udp": 17, "dccp": 33, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51,
    "icmpv6": 58, "ipv6-icmp": 58, "ospf": 89, "ospfigp": 89, "pim": 103, "comp": 108, "ipcomp": 108, "vrrp": 112, "l2tp": 115,
    "sctp": 132, "udplite": 136,
}  # fmt: skip
# Answers in words; any other spelling is not understood.
_WORDS = frozenset({"new", "established", "related", "invalid", "untracked", "ipv4", "ipv6", "ip", "ip6", "arp", "vlan"})
_WITH_PORTS = frozenset({"tcp", "udp", "sctp", "dccp", "udplite"})
_TRANSPORTS = _WITH_PORTS | {"icmp", "icmpv6", "igmp", "ah", "esp", "comp", "gre"}


class Shown(Enum):
    """Answers of a packet that are no value."""

    UNKNOWN = 0
    ABSENT = 1
    """The packet has no such field: the rule does not match, whatever it compares with."""
    INTERFACE = 2
    """Any network interface but the loopback."""


@dataclass(frozen=True)
class Packet:
    """The first packet of a new connection.

    ``protocol`` is a name of `PROTOCOLS` or a number as text; ports count for those that have some, and None is any of
    them. ``state`` is conntrack's word: ``new``, or ``untracked`` and ``invalid`` for packets of no connection.
    """

    protocol: str
    port: int | None
    source: Address
    destination: Address
    source_port: int | None = EPHEMERAL_PORT
    state: str = "new"

    @property
    def family(self) -> str:
        """Return nftables' word for the address family."""
        return "ip" if self.source.version == 4 else "ip6"


@functools.lru_cache(4096)
def network(text: str) -> Network:
    """Return an address or network as a network."""
    return ipaddress.ip_network(text, strict=False)


@functools.lru_cache(4096)
def address(text: str) -> Address | None:
    """Return an address; None for a text that is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def protocol_number(value: object) -> int | None:
    """Return the number of a protocol that nft wrote as a name or a number; None for an unknown name."""
    text = str(value)
    return int(text) if text.isdecimal() else PROTOCOLS.get(text)


def observed(left: Any, packet: Packet, hook: str) -> Any:
    """Return what a packet shows at a hook for the left side of a match: a value, or one of `Shown`."""
    if not isinstance(left, dict) or len(left) != 1:
        return Shown.UNKNOWN
    kind, value = next(iter(left.items()))
    if not isinstance(value, dict):
        return Shown.UNKNOWN
    if kind == "payload" and isinstance(value.get("protocol"), str):
        return _payload(value["protocol"], str(value.get("field")), packet, hook)
    if kind == "meta":
        return _meta(str(value.get("key")), packet)
    if kind == "ct" and value.get("key") == "state":
        return packet.state
    return Shown.UNKNOWN


def _payload(protocol: str, field: str, packet: Packet, hook: str) -> Any:
    if protocol in ("ip", "ip6"):
        if protocol != packet.family:
            return Shown.ABSENT
        # The machine's own addresses are not known: a rule may name one of them.
        if field == "saddr":
            return Shown.UNKNOWN if hook == "output" else packet.source
        if field == "daddr":
            return packet.destination if hook == "output" else Shown.UNKNOWN
        # An IPv6 packet may hide its transport behind other headers.
        return protocol_number(packet.protocol) if (protocol, field) == ("ip", "protocol") else Shown.UNKNOWN
    if protocol == packet.protocol or (protocol == "th" and packet.protocol in _WITH_PORTS):
        ports = {"dport": packet.port, "sport": packet.source_port} if packet.protocol in _WITH_PORTS else {}
        port = ports.get(field)
        return Shown.UNKNOWN if port is None else port
    return Shown.ABSENT if protocol in _TRANSPORTS else Shown.UNKNOWN


def _meta(key: str, packet: Packet) -> Any:
    if key == "l4proto":
        return protocol_number(packet.protocol)
    if key == "nfproto":
        return "ipv4" if packet.family == "ip" else "ipv6"
    if key == "protocol":
        return packet.family
    return Shown.INTERFACE if key in ("iif", "iifname", "oif", "oifname") else Shown.UNKNOWN


def compare(left: Any, shown: Any, operator: str, elements: Iterable[Any]) -> bool | None:
    """Say whether what a packet shows is among the elements of the right side; ``left`` tells what kind of value it is."""
    if shown is Shown.ABSENT:
        return False
    if shown is Shown.UNKNOWN:
        return None
    found = either(within(left, shown, element) for element in elements)
    if operator in ("==", "in"):
        return found
    return None if operator != "!=" or found is None else not found


def either(answers: Iterable[bool | None]) -> bool | None:
    """Return whether one of the answers is yes, None when one may be."""
    doubt = False
    for answer in answers:
        if answer:
            return True
        doubt = doubt or answer is None
    return None if doubt else False


def within(left: Any, shown: Any, element: Any) -> bool | None:
    """Say whether a value is an element: a value, a prefix, a range, or everything."""
    element = bare(element)
    if element == "*":
        return True
    if shown is Shown.INTERFACE:
        return False if element == "lo" else None
    if isinstance(shown, ipaddress.IPv4Address | ipaddress.IPv6Address):
        return _address_within(shown, element)
    if isinstance(shown, int) and isinstance(element, dict) and set(element) == {"range"}:
        low, high = element["range"]
        return low <= shown <= high if isinstance(low, int) and isinstance(high, int) else None
    if isinstance(shown, int) and isinstance(element, int | str):
        if is_protocol(left):
            number = protocol_number(element)
            return None if number is None else number == shown
        return element == shown if isinstance(element, int) else None
    return element == shown if isinstance(shown, str) and isinstance(element, str) and element in _WORDS else None


def bare(element: Any) -> Any:
    """Return an element of a set without its comment, counter or expiry."""
    if isinstance(element, dict) and isinstance(element.get("elem"), dict):
        return element["elem"].get("val", element)
    return element


def is_protocol(left: Any) -> bool:
    """Say whether the left side of a match is the transport protocol."""
    return left in ({"meta": {"key": "l4proto"}}, {"payload": {"protocol": "ip", "field": "protocol"}})


def _address_within(shown: Address, element: Any) -> bool | None:
    if isinstance(element, str):
        one = address(element)
        return None if one is None else one == shown
    if isinstance(element, dict) and set(element) == {"prefix"}:
        try:
            return shown in network(f"{element['prefix']['addr']}/{element['prefix']['len']}")
        except (ValueError, KeyError, TypeError):
            return None
    if isinstance(element, dict) and set(element) == {"range"}:
        low, high = (address(str(bound)) for bound in element["range"])
        if low is None or high is None:
            return None
        return low.version == shown.version and int(low) <= int(shown) <= int(high)
    return None
