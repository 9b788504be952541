"""Names, machines and the state of a lab."""

from __future__ import annotations

import pytest

from antiseche.errors import AnswersError, ExitCode
from antiseche.lab.model import LabState, Machine, check_lab_name, parse_machine


@pytest.mark.parametrize("text", ["web:debian13", "poste-1:debian12:10.213.7.9"])
def test_a_machine_is_read(text: str) -> None:
    spec = parse_machine(text)
    assert ":".join(part for part in (spec.name, spec.system, spec.address) if part) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "web",
        "web:",
        ":debian13",
        "web:windows11",
        "web:debian11",
        "Web:debian13",
        "w b:debian13",
        "../x:debian13",
        "x" * 20 + ":debian13",
    ],
)
def test_a_wrong_machine_is_a_usage_error(text: str) -> None:
    with pytest.raises(AnswersError) as caught:
        parse_machine(text)
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-a", "A", "a b", "é", "x" * 33, "a\n"])
def test_a_wrong_lab_name_is_refused(name: str) -> None:
    with pytest.raises(AnswersError):
        check_lab_name(name)


def test_the_state_survives_the_disk() -> None:
    machine = Machine("web", "debian13", "10.213.7.10", "ssh-ed25519 AAAA", 1)
    state = LabState("demo", 7, "10.213.7.0/24", {"web": machine})
    assert LabState.from_json(state.as_json()) == state


def test_link_names_fit_the_kernel() -> None:
    machine = Machine("a-very-long-nam", "debian13", "10.213.7.10", "", 999)
    state = LabState("x" * 32, 199, "10.213.7.0/24", {machine.name: machine})
    assert len(state.link(machine)) <= 15
    assert len(state.bridge) <= 15


def test_machines_of_a_lab_have_different_links() -> None:
    state = LabState("demo", 1, "10.213.1.0/24")
    links = {state.link(Machine("m", "debian13", "", "", number)) for number in range(1, 40)}
    assert len(links) == 39
