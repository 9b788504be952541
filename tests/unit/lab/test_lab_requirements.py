"""Where a lab cannot run, one sentence says what is missing and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from antiseche.errors import ExitCode, MissingRequirementError
from antiseche.lab.requirements import Surroundings, require, requirements

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'
GOOD = Surroundings(
    uid=lambda: 0,
    which=lambda tool: f"/usr/bin/{tool}",
    os_release=lambda: DEBIAN,
    trial=lambda: 0,
    resolvers=lambda: ["192.0.2.53"],
)


def _missing_file() -> str:
    raise FileNotFoundError


def test_nothing_is_missing_on_a_good_machine() -> None:
    assert requirements(GOOD) == []
    require(GOOD)


@pytest.mark.parametrize("text", ["ID=fedora\n", 'ID=arch\nID_LIKE="archlinux"\n', "", "NAME=debian-like\n"])
def test_another_system_is_refused(text: str) -> None:
    (problem,) = requirements(replace(GOOD, os_release=lambda: text))
    assert "Debian 12 ou 13" in problem


def test_a_derivative_of_debian_may_try() -> None:
    assert requirements(replace(GOOD, os_release=lambda: 'ID=ubuntu\nID_LIKE="debian"\n')) == []


def test_no_os_release_at_all() -> None:
    (problem,) = requirements(replace(GOOD, os_release=_missing_file))
    assert "Debian" in problem


def test_not_root() -> None:
    (problem,) = requirements(replace(GOOD, uid=lambda: 1000))
    assert "sudo" in problem


@pytest.mark.parametrize(
    ("tool", "package"),
    [("systemd-nspawn", "systemd-container"), ("mmdebstrap", "mmdebstrap"), ("nft", "nftables"), ("ip", "iproute2")],
)
def test_a_missing_tool_names_its_package(tool: str, package: str) -> None:
    (problem,) = requirements(replace(GOOD, which=lambda name: None if name == tool else "/bin/x"))
    assert f"apt-get install {package} »" in problem


def test_all_missing_tools_are_named_at_once() -> None:
    (problem,) = requirements(replace(GOOD, which=lambda _name: None))
    assert "systemd-container" in problem
    assert "openssh-client" in problem


@pytest.mark.parametrize(
    ("code", "word"), [(1, "espaces de noms"), (3, "cgroup2"), (4, "ANTISECHE_LAB"), (5, "overlay"), (6, "réseau")]
)
def test_each_refusal_of_the_kernel_has_its_sentence(code: int, word: str) -> None:
    (problem,) = requirements(replace(GOOD, trial=lambda: code))
    assert word in problem


def test_a_refusal_nobody_foresaw_is_a_refusal() -> None:
    assert requirements(replace(GOOD, trial=lambda: 42))


def test_only_a_local_resolver() -> None:
    (problem,) = requirements(replace(GOOD, resolvers=list))
    assert "/etc/resolv.conf" in problem


def test_require_raises_one_message() -> None:
    with pytest.raises(MissingRequirementError) as caught:
        require(replace(GOOD, uid=lambda: 1000))
    assert caught.value.exit_code == ExitCode.FAILURE
    assert "\n" not in str(caught.value)


def test_full_machines_ask_for_their_own_tools() -> None:
    around = replace(GOOD, which=lambda tool: None if tool == "swtpm" else f"/usr/bin/{tool}")
    assert requirements(around) == []
    (problem,) = requirements(around, full=True)
    assert "apt-get install swtpm" in problem
