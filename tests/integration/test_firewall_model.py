"""What the checks say of a ruleset, against what the kernel does: real rules, real packets, two network namespaces."""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiseche.lab.requirements import requirements
from antiseche.verify.nftables import Ruleset, openings
from antiseche.verify.packets import Packet

pytestmark = pytest.mark.lab

HERE = {4: "10.77.0.1", 6: "fd77::1"}
SOURCES = ("10.77.0.10", "10.77.0.200", "10.78.1.5", "fd77::10", "fd78::5")
PORTS = (21, 22, 23, 445, 4444, 5353)
SOURCE_PORTS = (67, 40001)
OTHERS = {"gre": 47, "253": 253}
# Sees what every other chain let through, then drops it: nothing answers, nothing is ever established.
PROBE = """
table inet probe {
    set seen4 { type ipv4_addr . inet_proto . inet_service . inet_service; }
    set seen6 { type ipv6_addr . inet_proto . inet_service . inet_service; }
    set other { type ipv4_addr . inet_proto; }
    chain before { type filter hook prerouting priority -400; policy accept;
        meta l4proto { tcp, udp, 47, 253 } counter
    }
    chain after { type filter hook input priority 400; policy drop;
        ip version 4 meta l4proto { tcp, udp } add @seen4 { ip saddr . meta l4proto . th sport . th dport } drop
        ip6 version 6 meta l4proto { tcp, udp } add @seen6 { ip6 saddr . meta l4proto . th sport . th dport } drop
        ip version 4 add @other { ip saddr . meta l4proto } drop
    }
}
"""
SENDER = """
import json, socket, sys
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
for line in sys.stdin:
    sent = 0
    for protocol, source, sport, destination, port in json.loads(line):
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        kind = KINDS.get(protocol, socket.SOCK_RAW)
        number = 0 if protocol in KINDS else 47 if protocol == "gre" else int(protocol)
        with socket.socket(family, kind, number) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.setblocking(False)
            s.bind((source, sport))
            try:
                s.connect((destination, port))
            except BlockingIOError:
                pass
            if protocol != "tcp":
                s.send(b"x")
            sent += 1
    print(sent, flush=True)
"""
Sent = tuple[str, str, int, int]


def run(*argv: str, stdin: str = "") -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}\n{stdin}"
    return done.stdout


class Wire:
    """A machine that filters and a machine that sends, joined by a cable."""

    def __init__(self) -> None:
        self.inside, self.outside = f"fwi{os.getpid()}", f"fwo{os.getpid()}"
        for name in (self.inside, self.outside):
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "eth0", "netns", self.inside, "type", "veth", "peer", "name", "eth0", "netns", self.outside)
        for name, addresses in ((self.inside, HERE.values()), (self.outside, SOURCES)):
            run("ip", "-n", name, "link", "set", "lo", "up")
            self.exec(name, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.eth0.rp_filter=0")
            for address in addresses:
                length = "64" if ":" in address else "16"
                more = ["nodad"] if ":" in address else []
                run("ip", "-n", name, "address", "add", f"{address}/{length}", "dev", "eth0", *more)
            run("ip", "-n", name, "link", "set", "eth0", "up")
        mac = json.loads(run("ip", "-n", self.inside, "-j", "link", "show", "eth0"))[0]["address"]
        for address in HERE.values():  # the rules under test must not be able to hide the machine
            run("ip", "-n", self.outside, "neighbour", "replace", address, "lladdr", mac, "dev", "eth0", "nud", "permanent")
        for version, network in (("-4", "10.0.0.0/8"), ("-6", "fd00::/8")):
            run("ip", "-n", self.inside, version, "route", "add", network, "dev", "eth0")
        self.sender = subprocess.Popen(
            ["ip", "netns", "exec", self.outside, sys.executable, "-c", SENDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def exec(self, name: str, *argv: str, stdin: str = "") -> str:
        return run("ip", "netns", "exec", name, *argv, stdin=stdin)

    def load(self, rules: str) -> Ruleset:
        """Replace the rules; return what the checks would see of them."""
        self.exec(self.inside, "nft", "-f", "-", stdin=f"flush ruleset\n{rules}\n")
        ruleset = Ruleset(self.exec(self.inside, "nft", "-j", "list", "ruleset"))
        self.exec(self.inside, "nft", "-f", "-", stdin=PROBE)
        return ruleset

    def through(self, packets: list[Sent]) -> set[Sent]:
        """Send packets; return those that passed all rules."""
        assert self.sender.stdin is not None
        assert self.sender.stdout is not None
        lines = [(p, s, sport, HERE[6 if ":" in s else 4], port) for p, s, sport, port in packets]
        self.sender.stdin.write(json.dumps(lines) + "\n")
        self.sender.stdin.flush()
        assert int(self.sender.stdout.readline()) == len(packets)
        deadline = time.monotonic() + 10
        while self._arrived() < len(packets):
            assert time.monotonic() < deadline, "packets were lost on the wire"
            time.sleep(0.01)
        listing = json.loads(self.exec(self.inside, "nft", "-j", "list", "table", "inet", "probe"))["nftables"]
        found: set[Sent] = set()
        for item in (i["set"] for i in listing if "set" in i):
            for element in item.get("elem", []):
                source, protocol, *ports = element["concat"]
                found.add((str(protocol), source, *ports) if ports else (str(protocol), source, 0, 0))
        return found

    def _arrived(self) -> int:
        listing = self.exec(self.inside, "nft", "-j", "list", "chain", "inet", "probe", "before")
        expressions = [i["rule"]["expr"] for i in json.loads(listing)["nftables"] if "rule" in i]
        return int(expressions[0][-1]["counter"]["packets"])

    def close(self) -> None:
        self.sender.kill()
        self.sender.wait()
        for name in (self.inside, self.outside):
            subprocess.run(["ip", "netns", "delete", name], check=False)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    assert not requirements(), "this machine must be able to run a lab"
    made = Wire()
    try:
        yield made
    finally:
        made.close()


PACKETS: list[Sent] = [
    *((p, s, sport, port) for p, s, sport, port in itertools.product(("tcp", "udp"), SOURCES, SOURCE_PORTS, PORTS)),
    *((name, source, 0, 0) for name in OTHERS for source in SOURCES if ":" not in source),
]


def compare(wire: Wire, rules: str) -> tuple[set[Sent], Ruleset]:
    """Load rules, send everything, and hold the checks to what happened."""
    ruleset = wire.load(rules)
    passed = wire.through(PACKETS)
    for protocol, source, sport, port in PACKETS:
        origin = ipaddress.ip_address(source)
        packet = Packet(protocol, port, origin, ipaddress.ip_address(HERE[origin.version]), sport)
        told = f"{protocol} {port} from {source}:{sport} with\n{rules}"
        if (protocol, source, sport, port) in passed:
            assert ruleset.accepts("input", packet), f"said closed, but open: {told}"
            everywhere = openings(ruleset, [])
            assert any(p == protocol and v.version == origin.version for p, _n, v in everywhere), f"no opening found: {told}"
        else:
            assert not ruleset.accepts("input", packet, doubt=False), f"said surely open, but closed: {told}"
    return passed, ruleset


def filtering(body: str, policy: str = "drop", more: str = "", family: str = "inet") -> str:
    return table(f"{family} filter", f"input priority 0; policy {policy}", body, more)


def table(name: str, hook: str, body: str, more: str = "", kind: str = "filter") -> str:
    return f"""
table {name} {{
{more}
    chain c {{
        type {kind} hook {hook};
{body}
    }}
}}
"""


RULES = {
    "nothing": "",
    "closed": filtering(""),
    "open": filtering("", policy="accept"),
    "one port": filtering("tcp dport 22 accept"),
    "one source": filtering("ip saddr 10.77.0.10 tcp dport 22 accept"),
    "ipv4 only": filtering("", family="ip"),
    "ipv6 only": filtering("", family="ip6"),
    "dormant": filtering("", more="flags dormant;"),
    "range": filtering("tcp dport 20-22 accept\nudp dport != 22-5000 accept"),
    "named sets": filtering(
        "ip saddr @n tcp dport @p accept",
        more="set n { type ipv4_addr; flags interval; elements = { 10.77.0.0/25, 10.78.0.1-10.78.1.9 }\n }\n"
        "set p { type inet_service; elements = { 22, 445 }\n }",
    ),
    "vmap": filtering("tcp dport vmap { 22 : accept, 23 : jump sub, 20-21 : drop, 4444 : continue }\nudp dport 5353 accept",
                      more="chain sub { ip saddr 10.77.0.10 accept\n }"),
    "named vmap with everything else": filtering(
        "tcp dport vmap @m\nudp dport vmap { 22 : drop, * : accept }",
        more="map m { type inet_service : verdict; elements = { 4444 : accept, 22 : drop }\n }",
    ),
    "vmap of addresses": filtering("ip saddr vmap { 10.78.1.5 : accept }\nip6 saddr vmap { fd78::/64 : accept }"),
    "concatenation": filtering("ip saddr . tcp dport { 10.77.0.10 . 22, 10.78.1.5 . 4444 } accept"),
    "concatenated vmap": filtering("ip saddr . meta l4proto . th dport vmap { 10.77.0.10 . udp . 5353 : accept }"),
    "goto does not come back": filtering("goto sub\ndrop", policy="accept", more="chain sub { tcp dport 22 drop\n }"),
    "jump comes back": filtering("jump sub\ndrop", policy="accept", more="chain sub { tcp dport 22 accept\n }"),
    "return to the policy": filtering("tcp dport 22 return\ndrop", policy="accept"),
    "return from a chain": filtering("jump sub\nudp dport 445 accept", more="chain sub { ip saddr 10.77.0.10 return\naccept\n }"),
    "another table drops": filtering("accept")
    + table("inet b", "input priority -300; policy drop", "tcp dport 22 accept"),
    "another table accepts": filtering("tcp dport 22 accept")
    + table("inet b", "input priority 10; policy accept", ""),
    "interface": filtering('iifname "eth0" tcp dport 22 accept\niif lo accept'),
    "dropped on another interface": filtering('iifname "wlan0" drop', policy="accept"),
    "not the loopback": filtering('iifname != "lo" drop', policy="accept"),
    "interface pattern": filtering('iifname "et*" udp dport 5353 accept'),
    "own address": filtering("ip daddr 10.77.0.1 tcp dport 445 accept\nip6 daddr fd77::1 udp dport 23 accept"),
    "limit": filtering("tcp dport 22 limit rate 1000/second burst 500 packets accept"),
    "over a limit": filtering("tcp dport 22 limit rate over 1/hour burst 1 packets drop", policy="accept"),
    "counter, log and mark": filtering('tcp dport 22 counter log prefix "x" meta mark set 1 accept\nmeta mark 1 accept'),
    "state": filtering(
        "ct state vmap { established : accept, related : accept, invalid : drop }\nct state new udp dport 5353 accept"
    ),
    "states as bits": filtering("ct state new,untracked tcp dport 23 accept"),
    "untracked": filtering("ct state untracked accept")
    + table("ip raw", "prerouting priority raw", "tcp dport 445 notrack"),
    "not established": filtering("ct state != established accept"),
    "source port": filtering("udp sport 67 accept"),
    "transport header": filtering("meta l4proto { tcp, udp } th dport 22 accept"),
    "other protocols": filtering("meta l4proto gre accept\nip protocol 253 ip saddr 10.77.0.10 accept"),
    "ip protocol": filtering("ip protocol tcp accept\nip6 nexthdr udp accept"),
    "negated network": filtering("ip saddr != 10.77.0.0/24 drop\nip6 saddr != fd77::/64 drop", policy="accept"),
    "masks": filtering("ip saddr & 255.255.0.0 == 10.78.0.0 accept\ntcp dport & 0xfff8 == 0x10 accept"),
    "flags": filtering("tcp flags & (syn | ack) == syn tcp dport 22 accept"),
    "kind of packet": filtering("meta pkttype { broadcast, multicast } drop\nmeta pkttype host udp dport 5353 accept"),
    "kind of address": filtering("fib daddr type local tcp dport 22 accept"),
    "comparison": filtering("tcp dport < 23 accept\nudp dport >= 5353 accept"),
    "rewritten source": filtering("ip saddr 192.0.2.10 tcp dport 22 accept")
    + table("ip x", "prerouting priority -250", "ip saddr 10.78.1.5 ip saddr set 192.0.2.10"),
    "redirected port": filtering("tcp dport 22 accept")
    + table("ip n", "prerouting priority dstnat", "tcp dport 4444 redirect to :22", kind="nat"),
    "set filled by packets": filtering(
        "tcp dport 23 add @k { ip saddr timeout 60s } drop\nip saddr @k tcp dport 445 accept",
        more="set k { type ipv4_addr; flags timeout; }",
    ),
    "reject": filtering("tcp dport 22 reject with tcp reset\ntcp dport 20-23 accept"),
    "refusals that imply a match": filtering(
        "meta nfproto ipv4 udp dport 22 reject\nmeta nfproto ipv6 reject\nmeta l4proto tcp reject with tcp reset", policy="accept"
    ),
    "protocol family": filtering("meta nfproto ipv6 accept\nmeta protocol ip udp dport 22 accept"),
}  # fmt: skip


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_nothing_open_is_ever_said_closed(wire: Wire, rules: str) -> None:
    compare(wire, rules)


def test_the_wire_tells_open_from_closed(wire: Wire) -> None:
    """Else the comparison above would prove nothing."""
    assert compare(wire, RULES["open"])[0] == set(PACKETS)
    assert compare(wire, RULES["closed"])[0] == set()
    one = compare(wire, RULES["one source"])[0]
    assert one == {("tcp", "10.77.0.10", sport, 22) for sport in SOURCE_PORTS}


def _possible(who: str, what: str, verdict: str) -> bool:
    """Leave out what nft refuses: two families or two transports in one rule."""
    families = {word for word in ("ip", "ip6") if word in f"{who} {what}".split()}
    transports = {word for word in ("tcp", "udp") if word in f"{what} {verdict}"}
    if "reset" in verdict and "tcp dport" not in what:
        return False
    return len(families) < 2 and len(transports) < 2 and not ("vmap" in verdict and "l4proto" in what)


WHO = st.sampled_from([
    "", "ip saddr 10.77.0.10", "ip saddr 10.77.0.0/25", "ip saddr != 10.78.0.0/16", "ip saddr { 10.77.0.10, 10.78.0.0/16 }",
    "ip6 saddr fd78::/64", 'iifname "eth0"', 'iif "lo"', "ip saddr @n", "ct state new", "ct state established,related",
    "meta nfproto ipv4",
])  # fmt: skip
WHAT = st.sampled_from([
    "", "tcp dport 22", "tcp dport { 21-23, 445 }", "udp dport != 5353", "th dport 4444", "meta l4proto udp",
    "meta l4proto { tcp, 47 }", "udp sport 67", "tcp dport @p", "limit rate 1000/second burst 900 packets", "counter",
    "ip saddr . tcp dport { 10.77.0.10 . 22 }",
])  # fmt: skip
VERDICT = st.sampled_from([
    "accept", "drop", "reject", "reject with tcp reset", "reject with icmpx admin-prohibited", "return", "continue",
    "counter", "jump one", "goto one", "jump two", "goto two",
    "tcp dport vmap { 22 : accept, 445 : drop, 23 : jump two }", "udp dport vmap { 5353 : goto two, * : accept }",
])  # fmt: skip
RULE = st.tuples(WHO, WHAT, VERDICT).filter(lambda parts: _possible(*parts)).map(" ".join)
CHAIN = st.lists(RULE, max_size=5).map("\n".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(CHAIN, CHAIN, CHAIN, st.sampled_from(["accept", "drop"]), st.sampled_from(["inet", "ip", "ip6"]))
def test_any_ruleset(wire: Wire, first: str, one: str, two: str, policy: str, family: str) -> None:
    """Rules put together at random; those that the kernel refuses are left out."""
    one = one.replace("jump one", "jump two").replace("goto one", "goto two")
    for name in ("jump one", "goto one", "jump two", "goto two", "vmap"):
        two = "\n".join(line for line in two.splitlines() if name not in line)
    more = "set n { type ipv4_addr; elements = { 10.78.1.5 }\n }\nset p { type inet_service; elements = { 4444 }\n }\n"
    more += f"chain two {{\n{two}\n }}\nchain one {{\n{one}\n }}"
    rules = filtering(first, policy, more, "inet")
    refused = {"ip": ("ip6 ", "nfproto", "icmpx"), "ip6": ("ip saddr", "nfproto", "icmpx"), "inet": ()}[family]
    kept = [line for line in rules.splitlines() if not any(word in line for word in refused)]
    rules = "\n".join(kept).replace("table inet", f"table {family}")
    compare(wire, rules)
