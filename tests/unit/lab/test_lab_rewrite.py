"""A rehearsal keeps the answers, except where the machines are and who may maintain them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from antiseche.errors import AnswersError
from antiseche.lab.rewrite import Addresses, rehearsal_answers
from antiseche.practice.schema import Practice

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFyiQAW3QHF7pPP2vEiiMHAOaMKksR7O25bxafTvrx8h it@example"
LAB_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHpi46w9fAbic0bApB0mHcfNtG07ftiQc7dwmCkj2gFM lab"
ANSWERS: dict[str, Any] = {
    "practice": {"id": "tilleuls", "name": "Cabinet d'Été"},
    "people": [{"login": "claire", "name": "Dr Claire", "function": "doctor"}],
    "hosts": [
        {"name": "accueil", "address": "192.168.1.11", "users": ["claire"]},
        {"name": "serveur", "kind": "server", "address": "192.168.1.1", "users": ["claire"]},
        {"name": "distant", "address": "172.20.3.4", "users": ["claire"]},
    ],
    "network": {"lan": "192.168.1.0/24", "printers": [{"name": "HP", "address": "192.168.1.50"}]},
    "software": [
        {"name": "Logiciel", "inbound": [{"name": "base", "ports": [5432], "sources": ["192.168.1.0/24", "203.0.113.0/24"]}]}
    ],
    "maintenance": {
        "contractor": "Info",
        "addresses": ["203.0.113.4/32"],
        "public_keys": [KEY],
        "sshd_options": {"X11Forwarding": "yes"},
    },
    "choices": {"reboot_time": None, "inbound_flows": [{"name": "tél", "ports": [5060], "sources": ["192.168.1.60/32"]}]},
}


def rehearsed(**changes: Any) -> dict[str, Any]:
    practice = Practice.model_validate({**copy.deepcopy(ANSWERS), **changes})
    return rehearsal_answers(practice, subnet="10.213.7.0/24", gateway="10.213.7.1", public_key=LAB_KEY)


def test_the_result_is_a_valid_practice() -> None:
    practice = Practice.model_validate(rehearsed())
    assert practice.practice.name == "Cabinet d'Été"
    assert practice.choices.reboot_time is None
    assert practice.maintenance.sshd_options == {"X11Forwarding": "yes"}


def test_hosts_keep_their_number_where_they_can() -> None:
    addresses = {host["name"]: host["address"] for host in rehearsed()["hosts"]}
    assert addresses["accueil"] == "10.213.7.11"
    assert addresses["serveur"] != "10.213.7.1", "the gateway's own address"
    assert addresses["distant"].startswith("10.213.7.")
    assert len(set(addresses.values())) == 3


def test_maintenance_comes_from_the_lab_only() -> None:
    maintenance = rehearsed()["maintenance"]
    assert maintenance["addresses"] == ["10.213.7.1/32"]
    assert maintenance["public_keys"] == [LAB_KEY]


def test_flows_follow_their_machines_and_others_stay() -> None:
    data = rehearsed()
    assert data["network"]["lan"] == "10.213.7.0/24"
    assert data["network"]["printers"][0]["address"] == "10.213.7.50"
    assert data["software"][0]["inbound"][0]["sources"] == ["10.213.7.0/24", "203.0.113.0/24"]
    assert data["choices"]["inbound_flows"][0]["sources"] == ["10.213.7.60/32"]


def test_one_address_has_one_place() -> None:
    places = Addresses("192.168.0.0/16", "10.213.7.0/24")
    first, second = places.address("192.168.5.5"), places.address("192.168.9.9")
    assert first != second
    assert places.address("192.168.5.5") == first
    assert places.network("192.168.5.5/32") == f"{first}/32"


def test_an_ipv6_host_gets_an_address_of_the_lab() -> None:
    assert Addresses("192.168.1.0/24", "10.213.7.0/24").address("2001:db8::5").startswith("10.213.7.")


def test_too_many_addresses_are_refused() -> None:
    places = Addresses("192.168.0.0/16", "10.213.7.0/29")
    for number in range(5):
        places.address(f"192.168.{number}.1")
    with pytest.raises(AnswersError):
        places.address("192.168.5.1")
