"""What must hold whatever a ruleset contains."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st
from listing import ACCEPT, EVERYTHING, IIF, L4, SOURCE, STATE, TCP, Json, closed_but, match, vmap

from antiseche.verify.nftables import openings
from antiseche.verify.packets import Packet

many = settings(max_examples=60, deadline=None)

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
UNKNOWN = st.dictionaries(st.text(min_size=1, max_size=8).map(lambda word: f"new-{word}"), JUNK, min_size=1, max_size=1)


@many
@given(UNKNOWN | st.text() | st.lists(JUNK))
def test_a_statement_that_is_not_understood_may_accept(statement: Json) -> None:
    assert closed_but([statement]).openings() >= EVERYTHING


@many
@given(UNKNOWN | JUNK.filter(lambda value: not isinstance(value, dict)), JUNK, st.sampled_from(["==", "!=", "in", "<", "~"]))
def test_a_comparison_that_is_not_understood_may_match(left: Json, right: Json, operator: str) -> None:
    listing = closed_but([match(left, right, operator), ACCEPT])
    assert listing.openings() >= EVERYTHING


@many
@given(st.sampled_from([TCP, SOURCE, STATE, L4, IIF]), UNKNOWN | st.lists(UNKNOWN, min_size=1).map(lambda s: {"set": s}))
def test_a_value_that_is_not_understood_may_match(left: Json, right: Json) -> None:
    assert ("tcp", 22, 4) in closed_but([match(left, right), ACCEPT]).openings()


@many
@given(UNKNOWN | st.text() | st.none())
def test_a_verdict_of_a_map_that_is_not_understood_may_accept(verdict: Json) -> None:
    assert ("tcp", 4444, 4) in closed_but([vmap(TCP, [4444, verdict])]).openings()


PORTS = st.integers(1, 65535)
RANGES = st.tuples(PORTS, PORTS).map(sorted)


@many
@given(st.lists(PORTS | RANGES.map(lambda pair: {"range": pair}), min_size=1, max_size=6))
def test_every_port_of_a_set_is_open_and_no_other(elements: list[Json]) -> None:
    """The classes that are tried stand for all ports: compared with the set itself, port by port."""
    ruleset = closed_but([match(TCP, {"set": elements}), ACCEPT]).ruleset()
    wanted = {p for e in elements for p in (range(e["range"][0], e["range"][1] + 1) if isinstance(e, dict) else [e])}
    told = {port for protocol, port, _source in openings(ruleset, []) if protocol == "tcp"}
    assert told <= wanted
    assert {e if isinstance(e, int) else e["range"][0] for e in elements} <= told
    assert {e if isinstance(e, int) else e["range"][1] for e in elements} <= told


@many
@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_a_network_is_open_to_its_last_address(number: int, length: int) -> None:
    network = ipaddress.ip_network((number, length), strict=False)
    prefix = {"prefix": {"addr": str(network.network_address), "len": length}}
    ruleset = closed_but([match(SOURCE, prefix), ACCEPT]).ruleset()
    assert openings(ruleset, [])
    here = ipaddress.ip_address("192.0.2.1")
    for address in (network.network_address, network.broadcast_address):
        assert ruleset.accepts("input", Packet("tcp", 22, address, here), doubt=False)
