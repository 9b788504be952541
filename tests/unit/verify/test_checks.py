from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import fake_ssh

from antiseche import kit
from antiseche.catalogue import load_catalogue
from antiseche.errors import AntisecheError
from antiseche.verify import run as running
from antiseche.verify.run import Verification, check_targets
from antiseche.verify.target import Target

CHECKS = """
import pytest
from antiseche.verify.checks import not_applicable

@pytest.mark.control("EXE-01")
def test_pass(host): assert host.run("echo bon").stdout == "bon\\n"

@pytest.mark.control("EXE-02")
def test_fail(host): assert host.run("echo mauvais").stdout == "bon", "mauvais au lieu de bon"

@pytest.mark.control("EXE-03")
def test_not_applicable(host): not_applicable("pas de lecteur")

@pytest.mark.control("EXE-04")
def test_skip(host): pytest.skip("j'ai la flemme")

@pytest.mark.control("EXE-05")
def test_crash(host): host.run("true"); raise KeyError("oubli")

@pytest.mark.control("EXE-06")
def test_nothing_observed(host): assert True

@pytest.mark.control("EXE-07")
def test_expected(host, expected): host.run("true"); assert expected["wanted"] == 3

@pytest.mark.control("EXE-08")
def test_server_only(host): host.run("true")

@pytest.mark.control("EXE-09")
def test_command_that_should_work(host): host.check_output("false")

@pytest.mark.control("EXE-10")
def test_secret(host): assert "***" not in host.run("echo 'root:$y$j9T$abcdef$ghijkl:1'").stdout
"""
IDS = {f"EXE-{n:02}": "{}" for n in range(1, 11)} | {"EXE-08": "{kinds: [server]}"}


@pytest.fixture
def kit_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, dict[str, str]], None]]:
    monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    fake_ssh.write_ssh(tmp_path / "bin")
    monkeypatch.setattr(kit, "kit_dir", lambda: tmp_path / "kit")
    load_catalogue.cache_clear()

    def write(checks: str, ids: dict[str, str]) -> None:
        fake_ssh.write_role(tmp_path / "kit", checks, ids)

    yield write
    load_catalogue.cache_clear()


def target(name: str, address: str = "here", kind: str = "workstation") -> Target:
    return Target(name, address, "antiseche", kind, "debian13", "/dev/null", expected={"wanted": 3})


def by_control(found: Verification, host: str = "poste") -> dict[str, str]:
    return {outcome.control: outcome.outcome for outcome in found.outcomes if outcome.host == host}


def test_each_way_of_ending_gives_its_outcome(kit_with: Callable[..., None]) -> None:
    kit_with(CHECKS, IDS)

    found = check_targets([target("poste")])

    assert by_control(found) == {
        "EXE-01": "pass",
        "EXE-02": "fail",
        "EXE-03": "not-applicable",
        "EXE-04": "error",
        "EXE-05": "error",
        "EXE-06": "error",
        "EXE-07": "pass",
        "EXE-08": "not-applicable",
        "EXE-09": "error",
        "EXE-10": "pass",
    }
    messages = {outcome.control: outcome.message for outcome in found.outcomes}
    assert messages["EXE-02"] == "mauvais au lieu de bon"
    assert "flemme" in messages["EXE-04"]
    assert "KeyError" in messages["EXE-05"]
    assert all(outcome.leaves for outcome in found.outcomes if outcome.outcome == "pass")


def test_secrets_never_reach_the_observations(kit_with: Callable[..., None]) -> None:
    kit_with(CHECKS, IDS)

    found = check_targets([target("poste")])

    assert "j9T" not in repr(found.observations)


def test_a_server_control_applies_to_a_server(kit_with: Callable[..., None]) -> None:
    kit_with(CHECKS, IDS)

    assert by_control(check_targets([target("poste", kind="server")]))["EXE-08"] == "pass"


def test_an_unreachable_host_is_an_error_for_each_control_and_leaves_the_others_alone(kit_with: Callable[..., None]) -> None:
    kit_with(CHECKS, IDS)

    found = check_targets([target("eteint", address="dead"), target("poste"), target("autre")])

    assert set(by_control(found, "eteint").values()) == {"error"}
    assert len(by_control(found, "eteint")) == len(IDS)
    assert list(found.unreachable) == ["eteint"]
    assert found.reached == ["poste", "autre"]
    assert by_control(found, "autre") == by_control(found, "poste")


def test_a_role_whose_checks_do_not_load_gives_errors_not_silence(kit_with: Callable[..., None]) -> None:
    kit_with("import nothing_of_that_name\n", {"EXE-01": "{}"})

    found = check_targets([target("poste")])

    assert by_control(found) == {"EXE-01": "error"}
    assert "nothing_of_that_name" in found.outcomes[0].message


def test_a_control_without_check_is_an_error(kit_with: Callable[..., None]) -> None:
    kit_with(CHECKS, IDS | {"EXE-11": "{}"})

    assert by_control(check_targets([target("poste")]))["EXE-11"] == "error"


def test_two_checks_for_one_control_are_an_error(kit_with: Callable[..., None]) -> None:
    kit_with(CHECKS.replace("EXE-07", "EXE-01"), IDS)

    assert by_control(check_targets([target("poste")]))["EXE-01"] == "error"


def test_a_check_for_an_unknown_control_stops_everything(kit_with: Callable[..., None]) -> None:
    kit_with(CHECKS.replace("EXE-10", "EXE-99"), {k: v for k, v in IDS.items() if k != "EXE-10"})

    with pytest.raises(AntisecheError, match="test_secret"):
        check_targets([target("poste")])


def test_outcomes_are_told_as_they_come(kit_with: Callable[..., None]) -> None:
    kit_with(CHECKS, IDS)
    told: list[str] = []

    check_targets([target("poste")], on_outcome=lambda outcome: told.append(outcome.control))

    assert sorted(told) == sorted(IDS)


def test_no_host_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running.subprocess, "Popen", None)

    assert check_targets([]).outcomes == []


REMARKS = """
import pytest
from antiseche.verify.checks import remark

@pytest.mark.control("EXE-01")
def test_remarks(host): host.run("true"); remark("fin proche"); remark("un paquet figé")

@pytest.mark.control("EXE-02")
def test_forgotten(host): host.run("true"); remark("presque"); assert False, "raté"

@pytest.mark.control("EXE-03")
def test_nothing(host): host.run("true")
"""


def test_what_is_remarked_stays_with_a_pass_and_with_no_other_result(kit_with: Callable[..., None]) -> None:
    kit_with(REMARKS, dict.fromkeys(("EXE-01", "EXE-02", "EXE-03"), "{}"))
    found = {outcome.control: (outcome.outcome, outcome.message) for outcome in check_targets([target("poste")]).outcomes}
    assert found == {
        "EXE-01": ("pass", "fin proche ; un paquet figé"),
        "EXE-02": ("fail", "raté"),
        "EXE-03": ("pass", ""),
    }
