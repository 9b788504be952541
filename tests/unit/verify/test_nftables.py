"""Rulesets as nft lists them: every way in must be seen, and what is not understood counts as a way in.

What the kernel does with real packets is compared in ``tests/integration/test_firewall_model.py``.
"""

from __future__ import annotations

import ipaddress

import pytest
from listing import (
    ACCEPT,
    DESTINATION,
    DROP,
    EVERYTHING,
    IIF,
    L4,
    LAN,
    SOURCE,
    SOURCE6,
    SPORT,
    STATE,
    TCP,
    UDP,
    Json,
    Listing,
    closed_but,
    jump,
    match,
    vmap,
)

from antiseche.verify.nftables import ANY, ORDINARY_PORT, Ruleset, flow, openings
from antiseche.verify.packets import Packet

# A rule in a chain that drops by default, and one way in that it opens.
HOLES: dict[str, tuple[list[Json], tuple[str, int, int]]] = {
    "a port": ([match(TCP, 4444), ACCEPT], ("tcp", 4444, 4)),
    "a port, IPv6": ([match(TCP, 4444), ACCEPT], ("tcp", 4444, 6)),
    "a port far away": ([match(TCP, 65535), ACCEPT], ("tcp", 65535, 4)),
    "the first port": ([match(UDP, 1), ACCEPT], ("udp", 1, 4)),
    "a set": ([match(TCP, {"set": [1, 4444]}), ACCEPT], ("tcp", 4444, 4)),
    "a range": ([match(TCP, {"range": [4000, 4444]}), ACCEPT], ("tcp", 4444, 4)),
    "a range in a set": ([match(UDP, {"set": [{"range": [4000, 4444]}]}), ACCEPT], ("udp", 4000, 4)),
    "all but one port": ([match(TCP, 22, "!="), ACCEPT], ("tcp", ORDINARY_PORT, 4)),
    "all but a range": ([match(TCP, {"range": [1, 60000]}, "!="), ACCEPT], ("tcp", 60001, 6)),
    "all but a set": ([match(TCP, {"set": [22, {"range": [1, 60000]}]}, "!="), ACCEPT], ("tcp", 60001, 6)),
    "an element with a comment": ([match(TCP, {"set": [{"elem": {"val": 4444, "comment": "x"}}]}), ACCEPT], ("tcp", 4444, 4)),
    "small ports": ([match(TCP, 1024, "<"), ACCEPT], ("tcp", 22, 4)),
    "a vmap": ([vmap(TCP, [22, DROP], [4444, ACCEPT])], ("tcp", 4444, 4)),
    "a range in a vmap": ([vmap(TCP, [{"range": [4000, 4444]}, ACCEPT])], ("tcp", 4000, 4)),
    "the rest of a vmap": ([vmap(TCP, ["*", ACCEPT], [22, DROP])], ("tcp", ORDINARY_PORT, 4)),
    "the rest of a vmap, as an element": ([vmap(TCP, [{"elem": {"val": "*"}}, ACCEPT])], ("tcp", ORDINARY_PORT, 4)),
    "a vmap of states": ([vmap(STATE, ["established", ACCEPT], ["new", ACCEPT])], ("tcp", ORDINARY_PORT, 4)),
    "a vmap that jumps": ([vmap(TCP, [4444, jump("sub")])], ("tcp", 4444, 4)),
    "a vmap of one address": ([vmap(SOURCE, ["198.51.100.9", ACCEPT])], ("udp", ORDINARY_PORT, 4)),
    "a concatenated vmap": ([vmap({"concat": [SOURCE, TCP]}, [{"concat": ["198.51.100.9", 4444]}, ACCEPT])], ("tcp", 4444, 4)),
    "a concatenated set": ([match({"concat": [SOURCE, TCP]}, {"set": [{"concat": [LAN, 4444]}]}), ACCEPT], ("tcp", 4444, 4)),
    "one address": ([match(SOURCE, "198.51.100.9"), ACCEPT], ("tcp", ORDINARY_PORT, 4)),
    "a network": ([match(SOURCE, LAN), ACCEPT], ("udp", 445, 4)),
    "a range of addresses": ([match(SOURCE, {"range": ["10.0.0.5", "10.0.0.9"]}), ACCEPT], ("udp", 445, 4)),
    "all but one network": ([match(SOURCE, LAN, "!="), ACCEPT], ("tcp", 22, 4)),
    "an IPv6 network": ([match(SOURCE6, {"prefix": {"addr": "2001:db8:9::", "len": 48}}), ACCEPT], ("tcp", 22, 6)),
    "a network and a port": ([match(SOURCE, LAN), match(TCP, 4444), ACCEPT], ("tcp", 4444, 4)),
    "one of its own addresses": ([match(DESTINATION, "192.168.1.10"), match(TCP, 445), ACCEPT], ("tcp", 445, 4)),
    "an address of many": ([match(DESTINATION, "239.255.255.250"), match(UDP, 1900), ACCEPT], ("udp", 1900, 4)),
    "an interface": ([match(IIF, "eth0"), ACCEPT], ("tcp", 22, 4)),
    "interfaces": ([match(IIF, {"set": ["lo", "wlan0"]}), ACCEPT], ("tcp", 22, 6)),
    "a pattern of interfaces": ([match(IIF, "l*"), ACCEPT], ("tcp", 22, 6)),
    "an interface by number": ([match({"meta": {"key": "iif"}}, 7), ACCEPT], ("tcp", 22, 6)),
    "all but the loopback": ([match(IIF, "lo", "!="), ACCEPT], ("tcp", 22, 4)),
    "a kind of interface": ([match({"meta": {"key": "iiftype"}}, "ether"), ACCEPT], ("tcp", 22, 4)),
    "new connections": ([match(STATE, ["established", "new"], "in"), ACCEPT], ("tcp", 22, 4)),
    "states otherwise written": ([match(STATE, {"|": ["established", "new"]}, "in"), ACCEPT], ("tcp", 22, 4)),
    "not established": ([match(STATE, "established", "!="), ACCEPT], ("tcp", 22, 4)),
    "not these states": ([match(STATE, ["established", "related"], "!="), ACCEPT], ("tcp", 22, 4)),
    "invalid packets": ([match(STATE, "invalid", "in"), ACCEPT], ("tcp", 22, 4)),
    "a mark of a connection": ([match({"ct": {"key": "mark"}}, 1), ACCEPT], ("tcp", 22, 4)),
    "another end of a connection": ([match({"ct": {"key": "ip saddr", "dir": "original"}}, "10.0.0.1"), ACCEPT], ("tcp", 22, 4)),
    "a source port": ([match(SPORT, 20), ACCEPT], ("udp", ORDINARY_PORT, 4)),
    "a source port and a port": ([match(SPORT, 67), match(UDP, 69), ACCEPT], ("udp", 69, 4)),
    "tcp that looks like an address server": (
        [match({"payload": {"protocol": "tcp", "field": "sport"}}, 67), match(TCP, 68), ACCEPT], ("tcp", 68, 4)),
    "any transport": ([match({"payload": {"protocol": "th", "field": "dport"}}, 4444), ACCEPT], ("udp", 4444, 4)),
    "a protocol by name": ([match(L4, {"set": ["icmp", "esp"]}), ACCEPT], ("esp", 0, 4)),
    "a protocol by number": ([match(L4, 47), ACCEPT], ("gre", 0, 4)),
    "an unknown protocol by number": ([match(L4, 99), ACCEPT], ("99", 0, 6)),
    "a tunnel": ([match({"payload": {"protocol": "ip", "field": "protocol"}}, "ipv6"), ACCEPT], ("ipv6", 0, 4)),
    "a name that is not known": ([match(L4, "mystery"), ACCEPT], ("tcp", 22, 4)),
    "behind other headers": ([match({"payload": {"protocol": "ip6", "field": "nexthdr"}}, "esp"), ACCEPT], ("tcp", 22, 6)),
    "a port by name": ([match(TCP, "ssh"), ACCEPT], ("tcp", 22, 4)),
    "a family": ([match({"meta": {"key": "nfproto"}}, "ipv6"), ACCEPT], ("tcp", 22, 6)),
    "raw bytes": ([match({"payload": {"base": "th", "offset": 16, "len": 16}}, 4444), ACCEPT], ("tcp", 22, 4)),
    "some bits of a port": ([match({"&": [TCP, 0xFF]}, 4), ACCEPT], ("tcp", 22, 4)),
    "flags": ([match({"payload": {"protocol": "tcp", "field": "flags"}}, "syn"), ACCEPT], ("tcp", 22, 4)),
    "a hardware address": ([match({"payload": {"protocol": "ether", "field": "saddr"}}, "02::1"), ACCEPT], ("tcp", 22, 4)),
    "a kind of packet": ([match({"meta": {"key": "pkttype"}}, "broadcast"), ACCEPT], ("udp", ORDINARY_PORT, 4)),
    "a kind of address": ([match({"fib": {"result": "type", "flags": ["daddr"]}}, "local"), ACCEPT], ("tcp", 22, 4)),
    "an hour": ([match({"meta": {"key": "hour"}}, "8:00"), ACCEPT], ("tcp", 22, 4)),
    "a rate": ([match(TCP, 4444), {"limit": {"rate": 10, "per": "second"}}, ACCEPT], ("tcp", 4444, 4)),
    "a quota": ([match(TCP, 4444), {"quota": {"val": 1}}, ACCEPT], ("tcp", 4444, 4)),
    "a count": ([match(TCP, 4444), {"ct count": {"val": 4}}, ACCEPT], ("tcp", 4444, 4)),
    "counted and logged": ([{"counter": None}, {"log": None}, match(TCP, 4444), {"counter": "c"}, ACCEPT], ("tcp", 4444, 4)),
    "marked": ([{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}}, match(TCP, 4444), ACCEPT], ("tcp", 4444, 4)),
    "remembered": ([match(TCP, 4444), {"set": {"op": "add", "elem": SOURCE, "set": "@s"}}, ACCEPT], ("tcp", 4444, 4)),
    "a program decides": ([match(TCP, 4444), {"queue": {"num": 0, "flags": "bypass"}}], ("tcp", 4444, 4)),
    "another tool's rule": ([match(TCP, 4444), {"xt": None}], ("tcp", 4444, 4)),
    "another tool's match": ([{"xt": {"type": "match", "name": "geoip"}}, ACCEPT], ("tcp", 22, 4)),
    "a chain without a name": ([match(TCP, 4444), "jump {\n\t\t\taccept\n\t\t}"], ("tcp", 4444, 4)),
    "a jump": ([jump("sub")], ("tcp", ORDINARY_PORT, 4)),
    "a goto": ([match(TCP, 4444), jump("sub", "goto")], ("tcp", 4444, 4)),
    "a jump to a jump": ([jump("subsub")], ("udp", ORDINARY_PORT, 6)),
    "a jump in circles": ([jump("circle")], ("tcp", 22, 4)),
    "an unknown set": ([match(SOURCE, "@gone"), ACCEPT], ("tcp", 22, 4)),
    "an unknown map": ([{"vmap": {"key": TCP, "data": "@gone"}}], ("tcp", 22, 4)),
}  # fmt: skip


@pytest.mark.parametrize(("rule", "way"), HOLES.values(), ids=HOLES)
def test_holes_are_seen(rule: list[Json], way: tuple[str, int, int]) -> None:
    listing = closed_but(rule).chain("sub", [ACCEPT]).chain("subsub", [jump("sub")]).chain("circle", [jump("circle")])
    assert way in listing.openings()


CLOSED: dict[str, list[Json]] = {
    "nothing": [],
    "the loopback": [match({"meta": {"key": "iif"}}, "lo"), ACCEPT],
    "answers": [match(STATE, ["established", "related"], "in"), ACCEPT],
    "answers, as a vmap": [vmap(STATE, ["invalid", DROP], ["established", ACCEPT], ["related", ACCEPT])],
    "errors of the network": [match({"payload": {"protocol": "icmp", "field": "type"}}, "echo-request"), ACCEPT],
    "neighbours": [match({"payload": {"protocol": "icmpv6", "field": "type"}}, "nd-neighbor-solicit"), ACCEPT],
    "icmp as a whole": [match(L4, {"set": ["icmp", "icmpv6", "ipv6-icmp", "igmp"]}), ACCEPT],
    "an address from its server": [match(SPORT, 67), match(UDP, 68), ACCEPT],
    "refused before": [{"reject": {"type": "icmpx", "expr": "port-unreachable"}}, ACCEPT],
    "an empty set": [match(SOURCE, "@empty"), ACCEPT],
    "an impossible pair": [match(TCP, 22), match(UDP, 22), ACCEPT],
    "counted only": [{"counter": {"packets": 0, "bytes": 0}}],
    "continued": [vmap(TCP, [22, {"continue": None}])],
}


@pytest.mark.parametrize("rule", CLOSED.values(), ids=CLOSED)
def test_what_opens_nothing_is_not_called_a_hole(rule: list[Json]) -> None:
    assert closed_but(rule).named("set", "empty", []).openings() == set()


@pytest.mark.parametrize(
    "listing",
    [
        Listing(),
        Listing().table(),
        Listing().base(policy="accept"),
        Listing().table(flags="dormant").base(),
        Listing().table(flags=["dormant"]).base(),
        Listing().table(flags=["owner", "dormant"]).base(),
        Listing().table(flags="something new").base(),
        Listing().base(hook="forward"),
        Listing().base(type="nat"),
        Listing().base(family="bridge"),
        Listing().base(family="netdev", hook="ingress"),
        Listing().base([ACCEPT]).base(table="u", policy="accept"),
        Listing().base([match(IIF, "wlan0"), DROP], policy="accept"),
        Listing().base([match({"meta": {"key": "pkttype"}}, "host"), DROP], policy="accept"),
        Listing().base([{"limit": {"rate": 1, "per": "hour", "inv": True}}, DROP], policy="accept"),
        Listing().base([match(SOURCE, "@dyn"), DROP], policy="accept").named("set", "dyn", ["0.0.0.0/0"], flags=["timeout"]),
        Listing().base([jump("sub", "goto")], [DROP], policy="accept").chain("sub", [match(TCP, 1), DROP]),
        Listing().base([{"return": None}], [DROP], policy="accept"),
        Listing().base([{"notrack": None}], [match(STATE, "new", "in"), DROP], policy="accept"),
    ],
)  # fmt: skip
def test_what_filters_nothing_leaves_everything_open(listing: Listing) -> None:
    assert listing.openings() >= EVERYTHING


def test_an_empty_answer_is_an_open_machine() -> None:
    assert openings(Ruleset(""), [])


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", "Error: Operation not permitted", '{"nftables": 3}', '{"nftables": [3]}', "null"]
)
def test_an_answer_that_is_no_ruleset_is_an_error(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        Ruleset(text)


@pytest.mark.parametrize(
    ("kind", "refused"),
    [("icmp", ("tcp", 22, 4)), ("icmpv6", ("udp", 22, 6)), ("tcp reset", ("tcp", 22, 6)), ("icmpx", ("udp", 22, 4))],
)
def test_a_refusal_implies_what_it_refuses(kind: str, refused: tuple[str, int, int]) -> None:
    """nft leaves "meta nfproto ipv4" out when it lists "reject with icmp"."""
    left = Listing().base([{"reject": {"type": kind, "expr": "port-unreachable"}}], policy="accept").openings()
    assert refused not in left
    assert (left == set()) == (kind == "icmpx")


def test_one_family_filtered_leaves_the_other_open() -> None:
    assert {version for _p, _n, version in Listing().base(family="ip").openings()} == {6}
    assert {version for _p, _n, version in Listing().base(family="ip6").openings()} == {4}
    both = Listing().base(family="ip").base(family="ip6")
    assert both.openings() == set()


def test_owned_tables_do_filter() -> None:
    assert Listing().table(flags="owner").base().openings() == set()
    assert Listing().table(flags=["owner", "persist"]).base().openings() == set()


def test_every_chain_must_accept() -> None:
    two = (
        Listing()
        .base([match(TCP, {"set": [22, 80]}), ACCEPT])
        .base([match(TCP, {"set": [80, 443]}), ACCEPT], table="u", prio=-300)
    )
    assert two.openings() == {("tcp", 80, 4), ("tcp", 80, 6)}


def test_sets_are_those_of_the_table() -> None:
    rule = [match(TCP, "@p"), ACCEPT]
    listing = closed_but(rule).named("set", "p", [22], table="other").named("set", "p", [4444])
    assert ("tcp", 4444, 4) in listing.openings()
    assert ("tcp", 22, 4) not in listing.openings()


@pytest.mark.parametrize("flags", [["timeout"], ["dynamic"], ["interval", "timeout"], "dynamic"])
def test_a_set_that_time_or_packets_change_may_hold_anything(flags: Json) -> None:
    listing = closed_but([match(SOURCE, "@knock"), match(TCP, 22), ACCEPT]).named("set", "knock", [], flags=flags)
    assert ("tcp", 22, 4) in listing.openings()


def test_a_set_that_a_rule_fills_may_hold_anything() -> None:
    """nft 1.0.6 does not say that such a set is dynamic."""
    knock = [match(TCP, 7000), {"set": {"op": "add", "elem": SOURCE, "set": "@knock"}}, DROP]
    listing = closed_but(knock, [match(SOURCE, "@knock"), match(TCP, 22), ACCEPT]).named("set", "knock", [])
    assert ("tcp", 22, 4) in listing.openings()


def test_a_rewritten_source_no_longer_decides() -> None:
    rewrite = [match(SOURCE, "198.51.100.9"), {"mangle": {"key": SOURCE, "value": "192.0.2.10"}}]
    listing = closed_but([match(SOURCE, "192.0.2.10"), match(TCP, 22), ACCEPT])
    contractor = flow("maintenance", "tcp", [22], ["192.0.2.10/32"])
    assert listing.openings(contractor) == set()
    rewritten = listing.chain("pre", rewrite, type="filter", hook="prerouting", prio=-250, policy="accept")
    assert ("tcp", 22, 4) in rewritten.openings(contractor)


@pytest.mark.parametrize("place", ["prerouting", "input"])
def test_bytes_rewritten_in_the_raw_leave_everything_in_doubt(place: str) -> None:
    raw = [{"mangle": {"key": {"payload": {"base": "nh", "offset": 96, "len": 32}}, "value": 1}}]
    listing = closed_but([match(SOURCE, "192.0.2.10"), ACCEPT]).chain(
        "x", raw, type="filter", hook=place, prio=-1, policy="accept"
    )
    assert ("tcp", 22, 4) in listing.openings(flow("x", "tcp", [1], ["192.0.2.10"]))


def test_packets_that_are_not_tracked_have_another_state() -> None:
    listing = closed_but([match(STATE, "untracked", "in"), ACCEPT])
    assert listing.openings() == set()
    bypass = [match(TCP, 445), {"notrack": None}]
    assert ("tcp", 445, 4) in listing.chain("raw", bypass, type="filter", hook="prerouting", prio=-300).openings()


def test_what_is_allowed_is_no_hole_and_nothing_beside_it() -> None:
    rule = [match(SOURCE, LAN), match(TCP, {"set": [445, 446]}), ACCEPT]
    allowed = flow("dossiers", "tcp", [445], ["192.168.1.0/24"])
    assert closed_but(rule).openings(allowed) == {("tcp", 446, 4)}
    wider = [match(SOURCE, {"prefix": {"addr": "192.168.0.0", "len": 16}}), match(TCP, 445), ACCEPT]
    assert closed_but(wider).openings(allowed) == {("tcp", 445, 4)}
    assert closed_but([match(TCP, 445), ACCEPT]).openings(flow("x", "tcp", [445], [])) == set()
    assert closed_but([match(TCP, 445), ACCEPT]).openings(allowed) == {("tcp", 445, 4), ("tcp", 445, 6)}
    assert closed_but([match(UDP, 445), ACCEPT]).openings(flow("x", "tcp", [445], [])) == {("udp", 445, 4), ("udp", 445, 6)}


@pytest.mark.parametrize(
    ("rule", "sure"),
    [
        ([match(TCP, 22), ACCEPT], True),
        ([match(TCP, 22), {"limit": {"rate": 1}}, ACCEPT], False),
        ([match(IIF, "eth0"), ACCEPT], False),
        ([match({"ct": {"key": "mark"}}, 1), ACCEPT], False),
        ([{"queue": {"num": 1}}], False),
        ([match(TCP, 23), ACCEPT], False),
        ([match(SOURCE, "@dyn"), ACCEPT], False),
    ],
)
def test_what_must_pass_must_surely_pass(rule: list[Json], sure: bool) -> None:
    ruleset = closed_but(rule).named("set", "dyn", ["192.0.2.9"], flags=["timeout"]).ruleset()
    packet = Packet("tcp", 22, ipaddress.ip_address("192.0.2.9"), ipaddress.ip_address("192.0.2.1"))
    assert ruleset.accepts("input", packet, doubt=False) is sure


def test_a_doubtful_refusal_leaves_what_must_pass_in_doubt() -> None:
    ruleset = closed_but([match(IIF, "wlan0"), DROP], [ACCEPT]).ruleset()
    packet = Packet("tcp", 22, ipaddress.ip_address("192.0.2.9"), ipaddress.ip_address("192.0.2.1"))
    assert ruleset.accepts("input", packet)
    assert not ruleset.accepts("input", packet, doubt=False)


def test_what_is_passed_on_is_seen_whatever_its_destination() -> None:
    transit = [match(DESTINATION, "10.9.9.9"), match(TCP, 3389), ACCEPT]
    listing = Listing().chain("f", transit, type="filter", hook="forward", prio=0, policy="drop")
    assert listing.openings(hook="forward") == {("tcp", 3389, 4)}


def test_what_goes_out_is_decided_by_its_destination() -> None:
    out = [match(DESTINATION, "10.9.9.9"), ACCEPT]
    ruleset = Listing().chain("o", out, type="filter", hook="output", prio=0, policy="drop").ruleset()
    here = ipaddress.ip_address("192.0.2.1")
    assert ruleset.accepts("output", Packet("tcp", 443, here, ipaddress.ip_address("10.9.9.9")), doubt=False)
    assert not ruleset.accepts("output", Packet("tcp", 443, here, ipaddress.ip_address("10.9.9.8")))


def test_what_goes_out_is_judged_by_where_it_goes() -> None:
    out = [
        [match(TCP, 443), ACCEPT],
        [match(DESTINATION, LAN), ACCEPT],
        [match(DESTINATION, "203.0.113.99"), match(TCP, 4444), ACCEPT],
    ]
    listing = Listing().chain("o", *out, type="filter", hook="output", prio=0, policy="drop")
    web, inside = flow("web", "tcp", [443], []), flow("réseau", ANY, [], [f"{LAN['prefix']['addr']}/{LAN['prefix']['len']}"])
    left = openings(listing.ruleset(), [web, inside], "output")
    assert [(protocol, port, str(end)) for protocol, port, end in left] == [("tcp", 4444, "203.0.113.99")]
    assert ("udp", ORDINARY_PORT, 4) in {(p, n, a.version) for p, n, a in openings(listing.ruleset(), [web], "output")}


def test_any_covers_every_protocol_and_port_of_its_networks_only() -> None:
    inside = flow("réseau", ANY, [], ["192.0.2.0/24"])
    here, elsewhere = ipaddress.ip_address("192.0.2.9"), ipaddress.ip_address("198.51.100.9")
    assert inside.covers("gre", 0, here)
    assert inside.covers("tcp", 65535, here)
    assert not inside.covers("tcp", 443, elsewhere)
    assert not inside.covers("tcp", 443, ipaddress.ip_address("2001:db8::9"))
