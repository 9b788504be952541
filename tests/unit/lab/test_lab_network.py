"""Each lab has a network of its own."""

from __future__ import annotations

import pytest

from antiseche.errors import AnswersError
from antiseche.lab import network
from antiseche.lab.model import LabState


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_host_networks", lambda: ["192.168.1.0/24", "10.213.2.0/23"])


def test_the_subnet_follows_the_index() -> None:
    assert network.choose_subnet(7, None, []) == "10.213.7.0/24"


@pytest.mark.parametrize(("index", "taken"), [(2, []), (3, []), (7, ["10.213.7.0/25"]), (7, ["10.0.0.0/8"])])
def test_a_subnet_in_use_is_not_chosen(index: int, taken: list[str]) -> None:
    assert network.choose_subnet(index, None, taken) is None


def test_a_subnet_can_be_forced() -> None:
    assert network.choose_subnet(1, "10.99.0.0/24", ["10.213.1.0/24"]) == "10.99.0.0/24"


@pytest.mark.parametrize(
    "text", ["", "x", "10.99.0.0", "10.99.0.1/24", "10.99.0.0/30", "10.0.0.0/8", "8.8.8.0/24", "fd00::/64", "192.168.1.128/25"]
)
def test_a_wrong_subnet_is_refused(text: str) -> None:
    with pytest.raises(AnswersError):
        network.choose_subnet(1, text, [])


def test_the_gateway_is_the_first_address() -> None:
    assert network.gateway("10.213.7.0/24") == "10.213.7.1"


def test_rules_name_one_lab_only() -> None:
    rules = network._rules(LabState("a", 7, "10.213.7.0/24"))
    assert "antiseche_lab_7" in rules
    assert 'oifname "asbr7"' in rules
    assert "flush ruleset" not in rules
