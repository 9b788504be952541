"""Turns the answers of a practice into those of its rehearsal: same practice, addresses of the lab."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Any

from antiseche.errors import AnswersError
from antiseche.i18n import _
from antiseche.practice.schema import Practice

_RESERVED = 2  # the network itself and the lab's gateway


class Addresses:
    """Gives each address of the practice its place in the lab's network: the same number where it can."""

    def __init__(self, lan: str, subnet: str) -> None:
        self._lan = ip_network(lan)
        self._subnet = IPv4Network(subnet)
        self._given: dict[str, str] = {}

    def address(self, text: str) -> str:
        """Return the lab's address for an address of the practice; always the same one.

        Raises:
            AnswersError: the lab's network has no room left.
        """
        if text not in self._given:
            self._given[text] = str(self._place(text))
        return self._given[text]

    def _place(self, text: str) -> IPv4Address:
        original = ip_address(text)
        taken = set(self._given.values())
        if original in self._lan:
            offset = int(original) - int(self._lan.network_address)
            if _RESERVED <= offset < self._subnet.num_addresses - 1 and str(self._subnet[offset]) not in taken:
                return self._subnet[offset]
        for offset in range(self._subnet.num_addresses - 2, _RESERVED - 1, -1):
            if str(self._subnet[offset]) not in taken:
                return self._subnet[offset]
        raise AnswersError(_("Le cabinet a plus d'adresses que le réseau d'essai {subnet}.").format(subnet=self._subnet))

    def network(self, text: str) -> str:
        """Return the lab's network for a network of the practice; others stay as they are."""
        network = ip_network(text, strict=False)
        if network.version != self._lan.version or not network.overlaps(self._lan):
            return text
        if network.num_addresses == 1:
            return f"{self.address(str(network.network_address))}/32"
        return str(self._subnet)


def rehearsal_answers(practice: Practice, *, subnet: str, gateway: str, public_key: str) -> dict[str, Any]:
    """Return the answers of the rehearsal, ready to be written as YAML.

    Everything stays as answered, except where the machines are and who may maintain them.
    """
    data: dict[str, Any] = practice.model_dump(mode="json")
    places = Addresses(data["network"]["lan"], subnet)
    for host in data["hosts"]:
        host["address"] = places.address(host["address"])
    for printer in data["network"]["printers"]:
        printer["address"] = places.address(printer["address"])
    data["network"]["lan"] = subnet
    for flow in _flows(data):
        flow["sources"] = [places.network(text) for text in flow["sources"]]
    data["maintenance"]["addresses"] = [f"{gateway}/32"]
    data["maintenance"]["public_keys"] = [public_key]
    return data


def _flows(data: dict[str, Any]) -> list[dict[str, Any]]:
    choices = data["choices"]
    found: list[dict[str, Any]] = [*choices["inbound_flows"], *choices["outbound_flows"]]
    for software in data["software"]:
        found += software["inbound"]
    return found
