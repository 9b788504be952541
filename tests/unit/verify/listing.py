"""Builds what ``nft -j list ruleset`` prints, piece by piece."""

from __future__ import annotations

import json
from typing import Any

from antiseche.verify.nftables import ORDINARY_PORT, Ruleset, openings

Json = Any
ACCEPT: Json = {"accept": None}
DROP: Json = {"drop": None}
TCP = {"payload": {"protocol": "tcp", "field": "dport"}}
UDP = {"payload": {"protocol": "udp", "field": "dport"}}
SPORT = {"payload": {"protocol": "udp", "field": "sport"}}
SOURCE = {"payload": {"protocol": "ip", "field": "saddr"}}
SOURCE6 = {"payload": {"protocol": "ip6", "field": "saddr"}}
DESTINATION = {"payload": {"protocol": "ip", "field": "daddr"}}
STATE = {"ct": {"key": "state"}}
L4 = {"meta": {"key": "l4proto"}}
IIF = {"meta": {"key": "iifname"}}
LAN = {"prefix": {"addr": "192.168.1.0", "len": 24}}


def match(left: Json, right: Json, op: str = "==") -> Json:
    return {"match": {"op": op, "left": left, "right": right}}


def vmap(key: Json, *pairs: Json) -> Json:
    return {"vmap": {"key": key, "data": {"set": list(pairs)}}}


def jump(target: str, kind: str = "jump") -> Json:
    return {kind: {"target": target}}


class Listing:
    """A listing in the making."""

    def __init__(self) -> None:
        self.items: list[Json] = [{"metainfo": {"version": "1.1.3", "json_schema_version": 1}}]

    def table(self, family: str = "inet", name: str = "t", **more: Json) -> Listing:
        self.items.append({"table": {"family": family, "name": name, "handle": 1, **more}})
        return self

    def base(self, *rules: list[Json], policy: str = "drop", family: str = "inet", table: str = "t", **more: Json) -> Listing:
        hook = {"type": "filter", "hook": "input", "prio": 0, "policy": policy, **more}
        return self.chain("input", *rules, family=family, table=table, **hook)

    def chain(self, chain_name: str, *rules: list[Json], family: str = "inet", table: str = "t", **more: Json) -> Listing:
        where = {"family": family, "table": table}
        self.items.append({"chain": {**where, "name": chain_name, "handle": 1, **more}})
        self.items += [{"rule": {**where, "chain": chain_name, "handle": 2, "expr": expr}} for expr in rules]
        return self

    def named(
        self, kind: str, set_name: str, elements: list[Json], family: str = "inet", table: str = "t", **more: Json
    ) -> Listing:
        entry = {"family": family, "table": table, "name": set_name, "type": "x", "handle": 3, "elem": elements, **more}
        self.items.append({kind: entry})
        return self

    def ruleset(self) -> Ruleset:
        return Ruleset(json.dumps({"nftables": self.items}))

    def openings(self, *allowed: Any, hook: str = "input") -> set[tuple[str, int, int]]:
        return {(protocol, port, source.version) for protocol, port, source in openings(self.ruleset(), allowed, hook)}


def closed_but(*rules: list[Json]) -> Listing:
    return Listing().table().base(*rules)


EVERYTHING = {("tcp", ORDINARY_PORT, 4), ("udp", ORDINARY_PORT, 6), ("gre", 0, 4)}
