"""pytest plugin: gives the checks their ``host`` and ``expected``, and writes what came out.

Molecule and ``antiseche verify`` run the same checks through it. Options: ``--antiseche-targets`` (JSON list of
targets), ``--antiseche-roles`` (the folder whose controls are checked) and ``--antiseche-output`` (folder for
``outcomes.jsonl`` and ``observations.jsonl``).
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
from _pytest.outcomes import Failed

from antiseche import i18n
from antiseche.catalogue import Catalogue, Control, load_catalogue
from antiseche.engine.redact import plain
from antiseche.errors import HostUnreachableError
from antiseche.i18n import _
from antiseche.verify.backend import Connection, PersistentBackend, connected_host
from antiseche.verify.checks import NotApplicable, take_remarks
from antiseche.verify.observation import masked
from antiseche.verify.target import Target

_NO_OBSERVATION = "le contrôle n'a rien observé"


class Recorder:
    """Connections, and the two files that a pass writes."""

    def __init__(self, targets: list[Target], roles: Path, output: Path) -> None:
        self.targets = {target.name: target for target in targets}
        self.connections = {target.name: Connection(target) for target in targets}
        self.catalogue: Catalogue = load_catalogue(roles)
        self._outcomes = self._open(output / "outcomes.jsonl")
        self._observations = self._open(output / "observations.jsonl")
        self._written: set[str] = set()

    def control(self, item: pytest.Item) -> Control | None:
        """Return the control that a check is for."""
        marker = item.get_closest_marker("control")
        return self.catalogue.by_id.get(marker.args[0]) if marker and marker.args else None

    def write(self, item: pytest.Item, outcome: str, message: str) -> None:
        """Write one outcome, and the observations that it rests on."""
        control = self.control(item)
        host = str(item.callspec.params["target"]) if hasattr(item, "callspec") else ""
        connection = self.connections[host]
        backend: PersistentBackend | None = item.stash.get(_BACKEND, None)
        used = {observation.leaf: observation for observation in backend.used} if backend else {}
        if outcome == "pass" and not used:
            outcome, message = "error", _NO_OBSERVATION
        for leaf, observation in used.items():
            if leaf not in self._written:
                self._written.add(leaf)
                self._line(self._observations, observation.as_json())
        self._line(
            self._outcomes,
            {
                "host": host,
                "control": control.id if control else item.name,
                "outcome": outcome,
                "message": masked(plain(message)),
                "leaves": list(used),
                "container": connection.container,
                "skew_seconds": connection.skew_seconds,
                "unreachable": connection.lost,
            },
        )

    def close(self) -> None:
        """End all connections."""
        for connection in self.connections.values():
            connection.close()

    @staticmethod
    def _open(path: Path) -> TextIO:
        path.touch(mode=0o600)
        return path.open("a", encoding="utf-8", buffering=1)

    @staticmethod
    def _line(stream: TextIO, value: dict[str, Any]) -> None:
        stream.write(json.dumps(value, ensure_ascii=False, sort_keys=True) + "\n")


_BACKEND = pytest.StashKey[PersistentBackend]()
_RECORDER = pytest.StashKey[Recorder]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    parser.addoption("--antiseche-targets", required=True, type=Path)
    parser.addoption("--antiseche-roles", required=True, type=Path)
    parser.addoption("--antiseche-output", required=True, type=Path)


def pytest_configure(config: pytest.Config) -> None:
    """Read the targets."""
    i18n.select(i18n.requested_language([], os.environ))
    config.addinivalue_line("markers", "control(id): the control that this check observes")
    targets = [Target(**entry) for entry in json.loads(config.getoption("--antiseche-targets").read_text(encoding="utf-8"))]
    config.stash[_RECORDER] = Recorder(targets, config.getoption("--antiseche-roles"), config.getoption("--antiseche-output"))
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End, and hang up on the hosts, when the command that asked for the checks is killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Hang up."""
    if _RECORDER in config.stash:
        config.stash[_RECORDER].close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every check on every host, one host after the other."""
    names = list(metafunc.config.stash[_RECORDER].targets)
    metafunc.fixturenames.insert(0, "target")
    metafunc.parametrize("target", names, scope="session")


@pytest.fixture
def host(request: pytest.FixtureRequest, target: str) -> Any:
    """The machine, seen by testinfra, as root."""
    connection = request.config.stash[_RECORDER].connections[target]
    tested, backend = connected_host(connection)
    request.node.stash[_BACKEND] = backend
    return tested


@pytest.fixture
def expected(request: pytest.FixtureRequest, target: str) -> dict[str, Any]:
    """What the answers want of this machine: its inventory variables."""
    return request.config.stash[_RECORDER].targets[target].expected


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Connect, and set aside what the control itself declares out of place."""
    recorder = item.config.stash[_RECORDER]
    control = recorder.control(item)
    if control is None:
        raise RuntimeError(_("ce contrôle n'est pas au catalogue"))
    name = str(item.callspec.params["target"])  # type: ignore[attr-defined]
    target, connection = recorder.targets[name], recorder.connections[name]
    connection.open()
    if target.kind not in control.applies.kinds:
        raise NotApplicable(_("ne concerne pas ce genre de machine"))
    if target.system and target.system not in control.applies.systems:
        raise NotApplicable(_("ne concerne pas ce système"))
    if connection.container and not control.applies.container:
        raise NotApplicable(_("conteneur {kind} : cette protection ne peut pas s'y observer").format(kind=connection.container))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Turn what a check did into an outcome."""
    yield
    if call.when == "teardown" or (call.when == "setup" and call.excinfo is None):
        return
    outcome, message = _outcome(call)
    item.config.stash[_RECORDER].write(item, outcome, message)


def _outcome(call: pytest.CallInfo[None]) -> tuple[str, str]:
    remarks = take_remarks()
    if call.excinfo is None:
        return "pass", remarks
    error = call.excinfo.value
    text = str(error).strip() or type(error).__name__
    if isinstance(error, NotApplicable):
        return "not-applicable", text
    if isinstance(error, HostUnreachableError):
        return "error", text
    if isinstance(error, Failed):
        return "fail", text
    if isinstance(error, AssertionError) and not text.startswith("Unexpected exit code"):
        return "fail", text
    if isinstance(error, AssertionError):
        return "error", text.splitlines()[0]
    return "error", f"{type(error).__name__} : {text}".splitlines()[0][:500]
