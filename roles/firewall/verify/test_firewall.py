"""Checks of the firewall role: what the kernel lets through, whatever file or tool said so."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import pytest

from antiseche.verify.checks import not_applicable
from antiseche.verify.nftables import ANY, ORDINARY_PORT, Flow, Ruleset, flow, openings
from antiseche.verify.packets import Packet

LISTING = "nft -j list ruleset"
# The saved rules as the kernel would have them, loaded where nothing else is.
SAVED = "unshare --net sh -c 'nft -f /etc/nftables.conf && nft -j list ruleset'"
START = "/usr/sbin/nft -f /etc/nftables.conf"
MANAGERS = ("ufw", "firewalld", "netfilter-persistent", "shorewall", "ferm")


def running(host: Any) -> Ruleset:
    return Ruleset(host.check_output(LISTING))


def management(expected: dict[str, Any]) -> Flow:
    port = int(expected.get("firewall_management_port") or expected.get("ansible_port") or 22)
    return flow("maintenance", "tcp", [port], expected["firewall_management_addresses"])


def declared(expected: dict[str, Any]) -> list[Flow]:
    lan = expected["firewall_lan"]
    flows = [flow(f["name"], f.get("protocol", "tcp"), f["ports"], f.get("sources") or lan) for f in expected["firewall_inbound"]]
    if expected.get("firewall_shares"):
        flows.append(flow("dossiers partagés", "tcp", [445], lan))
    if expected.get("firewall_discovery"):
        flows.append(flow("découverte", "udp", [3702, 5353], [*lan, "fe80::/10"]))
    return flows


def outgoing(expected: dict[str, Any]) -> list[Flow]:
    """Return what may leave the machine when only declared flows do."""
    printers = expected.get("firewall_printers") or []
    allowed = [
        flow("noms", "tcp", [53], []),
        flow("noms, adresses, heure, web", "udp", [53, 67, 123, 443, 547], []),
        flow("web et courriel chiffré", "tcp", [80, 443, 465, 587, 993], []),
        flow("réseau du cabinet", ANY, [], expected["firewall_lan"]),
    ]
    if expected.get("firewall_mssante"):
        allowed.append(flow("MSSanté", "tcp", [143, 587], []))
    if expected.get("firewall_discovery"):
        allowed.append(flow("découverte", "udp", [3702, 5353], []))
    if printers:
        allowed += [flow("imprimantes", "tcp", [515, 631, 9100], printers), flow("imprimantes", "udp", [161, 631], printers)]
    for one in expected.get("firewall_outbound") or []:
        allowed.append(flow(one["name"], one.get("protocol", "tcp"), one["ports"], one.get("destinations") or []))
    return allowed


def tell(found: list[tuple[str, int, Any]], way: str = "depuis") -> str:
    return ", ".join(f"{protocol} {port or ''} {way} {address}".replace("  ", " ") for protocol, port, address in found[:6])


def packet(source: str, protocol: str, port: int, destination: str = "") -> Packet:
    origin = ipaddress.ip_address(source)
    here = ipaddress.ip_address(destination or ("192.0.2.1" if origin.version == 4 else "2001:db8::1"))
    return Packet(protocol, port, origin, here)


@pytest.mark.control("PAR-01")
def test_starts_with_the_machine(host: Any) -> None:
    state = host.run("systemctl is-enabled nftables.service").stdout.strip()
    assert state == "enabled", f"le service nftables est « {state or 'absent'} » ; attendu : activé au démarrage"
    shown = host.check_output("systemctl show -p ActiveState -p LoadState -p ExecStart -p ConditionResult nftables.service")
    unit = dict(line.partition("=")[::2] for line in shown.splitlines())
    assert unit["ActiveState"] == "active", f"le service nftables est « {unit['ActiveState']} » ; attendu : en marche"
    runs = re.findall(r"argv\[\]=(.*?) ;", unit.get("ExecStart", ""))
    assert runs == [START], f"au démarrage, le service nftables lance « {' ; '.join(runs) or 'rien'} » ; attendu : « {START} »"
    assert running(host).base_chains("input"), "aucune règle de filtrage n'est chargée"


@pytest.mark.control("PAR-02")
def test_refuses_what_nobody_declared(host: Any) -> None:
    rules = running(host)
    policies = [chain.get("policy") for chain in rules.base_chains("input")]
    assert "drop" in policies, f"politique d'entrée observée : {policies or 'aucune'} ; attendu : tout refuser par défaut"
    for source in ("203.0.113.77", expected_inside(rules)):
        opened = rules.accepts("input", packet(source, "tcp", ORDINARY_PORT))
        assert not opened, f"un port quelconque est ouvert depuis {source}"


def expected_inside(rules: Ruleset) -> str:
    """Return an address of a network that the rules know, as a machine of the practice would have."""
    known = sorted(str(n.network_address + 1) for n in rules.networks() if n.version == 4 and n.num_addresses > 2)
    return known[0] if known else "192.168.1.10"


@pytest.mark.control("PAR-03")
def test_does_not_pass_packets_on(host: Any) -> None:
    rules = running(host)
    policies = [chain.get("policy") for chain in rules.base_chains("forward")]
    assert "drop" in policies, f"politique de transit observée : {policies or 'aucune'} ; attendu : tout refuser"
    found = openings(rules, [], hook="forward")
    assert not found, f"la machine transmet des paquets : {tell(found)}"


@pytest.mark.control("PAR-04")
def test_maintenance_only_from_the_contractor(host: Any, expected: dict[str, Any]) -> None:
    rules, wanted = running(host), management(expected)
    port = next(iter(wanted.ports))
    inside = [str(n.network_address + (1 if n.num_addresses > 1 else 0)) for n in wanted.networks]
    for source in inside:
        reached = rules.accepts("input", packet(source, "tcp", port), doubt=False)
        assert reached, f"la maintenance ne passe plus depuis {source} (port {port})"
    found = [one for one in openings(rules, [wanted, *declared(expected)]) if one[1] == port]
    assert not found, f"le port de maintenance est ouvert ailleurs : {tell(found)}"


@pytest.mark.control("PAR-05")
def test_only_declared_flows_come_in(host: Any, expected: dict[str, Any]) -> None:
    found = [one for one in openings(running(host), [management(expected), *declared(expected)]) if one[2].version == 4]
    assert not found, f"ouvert sans être déclaré : {tell(found)}"


@pytest.mark.control("PAR-06")
def test_ipv6_is_filtered_alike(host: Any, expected: dict[str, Any]) -> None:
    rules = running(host)
    found = [one for one in openings(rules, [management(expected), *declared(expected)]) if one[2].version == 6]
    assert not found, f"ouvert en IPv6 sans être déclaré : {tell(found)}"
    assert not rules.accepts("input", packet("2001:db8:ffff::77", "tcp", ORDINARY_PORT)), "IPv6 n'est pas filtré"


@pytest.mark.control("PAR-07")
def test_declared_flows_do_come_in(host: Any, expected: dict[str, Any]) -> None:
    flows = declared(expected)
    rules = running(host)
    for one in flows:
        for network in one.networks:
            source = str(network.network_address + (1 if network.num_addresses > 1 else 0))
            for port in sorted(one.ports):
                passes = all(rules.accepts(h, packet(source, one.protocol, port), doubt=False) for h in ("prerouting", "input"))
                assert passes, f"« {one.name} » ne passe pas : {one.protocol} {port} depuis {source}"
    if not flows:
        not_applicable("aucun flux entrant n'est déclaré pour cette machine")


@pytest.mark.control("PAR-08")
def test_refusals_leave_a_trace(host: Any) -> None:
    rules = running(host)
    for chain in rules.base_chains("input"):
        for rule in rules.rules_of(chain):
            kinds = {key for statement in rule.get("expr", []) for key in statement}
            if {"limit", "log"} <= kinds and "match" not in kinds:
                return
    pytest.fail("aucune règle ne note les paquets refusés, ou sans limite de débit")


@pytest.mark.control("PAR-09")
def test_what_goes_out_is_what_was_chosen(host: Any, expected: dict[str, Any]) -> None:
    rules = running(host)
    here, elsewhere = "192.0.2.1", "203.0.113.77"

    def goes_out(protocol: str, port: int, destination: str = elsewhere, doubt: bool = False) -> bool:
        return rules.accepts("output", packet(here, protocol, port, destination), doubt=doubt)

    needed = [("udp", 53), ("udp", 123), ("tcp", 443), ("tcp", 587)] + (
        [("tcp", 143)] if expected.get("firewall_mssante") else []
    )
    stopped = [f"{protocol} {port}" for protocol, port in needed if not goes_out(protocol, port)]
    assert not stopped, f"ne sort plus : {', '.join(stopped)}"
    flows = expected.get("firewall_outbound") or []
    for one in flows:
        for destination in one.get("destinations") or [elsewhere]:
            address = destination.split("/")[0]
            if ":" not in address:
                stopped += [f"« {one['name']} »" for p in one["ports"] if not goes_out(one.get("protocol", "tcp"), p, address)]
    assert not stopped, f"flux sortants déclarés qui ne passent plus : {', '.join(stopped)}"
    if expected.get("firewall_outbound_mode", "open") == "declared":
        free = openings(rules, outgoing(expected), "output")
        assert not free, f"sort sans être déclaré : {tell(free, 'vers')}"


@pytest.mark.control("PAR-10")
def test_the_next_start_brings_the_same_rules(host: Any, expected: dict[str, Any]) -> None:
    done = host.run(SAVED)
    assert done.rc == 0, f"les règles enregistrées ne se chargent pas : {done.stderr.strip()[:200]}"
    saved = Ruleset(done.stdout)
    found = openings(saved, [management(expected), *declared(expected)])
    assert not found, f"s'ouvrira au prochain démarrage : {tell(found)}"
    wanted = management(expected)
    for network in wanted.networks:
        source = str(network.network_address + (1 if network.num_addresses > 1 else 0))
        passes = saved.accepts("input", packet(source, "tcp", next(iter(wanted.ports))), doubt=False)
        assert passes, f"la maintenance ne passera plus depuis {source} au prochain démarrage"


@pytest.mark.control("PAR-11")
def test_one_firewall_only(host: Any) -> None:
    states = host.run("systemctl is-active " + " ".join(MANAGERS)).stdout.split()
    active = [name for name, state in zip(MANAGERS, states, strict=False) if state == "active"]
    assert not active, f"un autre pare-feu est en marche et peut contredire celui du cabinet : {', '.join(active)}"
    undone = host.run("cat /var/lib/antiseche/undone/firewall.json").stdout
    date = re.search(r'"at": "([^"]+)"', undone)
    assert date is None, f"les dernières règles coupaient la maintenance : annulées par la machine le {date and date.group(1)}"
