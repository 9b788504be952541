"""systemd units: what is asked of a systemctl that fails, stays deaf and answers oddly."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from module_process import FakeCommands, answer_of, load

LOADED = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no"}
MISSING = {"LoadState": "not-found", "ActiveState": "inactive", "UnitFileState": "", "NeedDaemonReload": "no"}


class Systemd:
    """Answers and obeys as systemctl was seen to on Debian 12 and 13; ``broken`` makes a unit fail at a verb, or stay deaf."""

    def __init__(self) -> None:
        self.units: dict[str, dict[str, str]] = {}
        self.calls: list[str] = []

    def systemctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.calls.append(" ".join(arguments))
        verb, *words = arguments
        names = [word for word in words if not word.startswith("--")]
        code, printed, said = 0, "", ""
        if verb == "show":
            blocks = [self.units.get(name, MISSING) for name in names]
            printed = "\n\n".join("\n".join(f"{key}={value}" for key, value in block.items()) for block in blocks)
        for name in [] if verb == "show" else names or list(self.units):
            unit = self.units.setdefault(name, dict(MISSING))
            if unit.get("broken") == verb:
                code, said = 1, f"Failed to {verb} {name}"
                break
            if unit.get("broken") != "deaf":
                self.obey(unit, verb, "--runtime" in words)
        return subprocess.CompletedProcess([], code, printed, said)

    def obey(self, unit: dict[str, str], verb: str, runtime: bool) -> None:
        state = unit["UnitFileState"]
        if verb == "daemon-reload":
            unit["NeedDaemonReload"] = "no"
        elif verb == "unmask" and state == ("masked-runtime" if runtime else "masked"):
            unit["UnitFileState"], unit["LoadState"] = unit.pop("below", "disabled"), "loaded"
        elif verb == "mask":
            unit.setdefault("below", state)
            unit["UnitFileState"], unit["LoadState"] = "masked", "masked"
        elif verb == "enable" and state in ("disabled", "enabled-runtime", "linked"):
            unit["UnitFileState"] = "enabled"
        elif verb == "disable" and state == ("enabled-runtime" if runtime else "enabled"):
            unit["UnitFileState"] = "disabled"
        elif verb in ("start", "restart", "reload"):
            assert unit["LoadState"] == "loaded", "a masked unit does not start"
            unit["ActiveState"], unit["StateChangeTimestamp"] = "active", "@9999999999"
        elif verb == "stop":
            unit["ActiveState"] = "inactive"


class Machine:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module = load("antiseche_services")
        self.real = self.module.systemctl
        self.systemd = Systemd()
        monkeypatch.setattr(self.module, "systemctl", lambda *words: self.systemd.systemctl(*words))

    def holds(self, **units: dict[str, str]) -> None:
        self.systemd = Systemd()
        self.systemd.units = {name.replace("_", "."): {**LOADED, **unit} for name, unit in units.items()}

    def asks(self, *units: dict[str, Any], check: bool = False, **more: Any) -> dict[str, Any]:
        return answer_of(self.module, {"units": list(units), **more}, check=check)

    @property
    def verbs(self) -> list[str]:
        return [call for call in self.systemd.calls if not call.startswith("show")]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


FULL = {"name": "a.service", "enabled": True, "state": "started", "masked": False}


def test_what_is_as_wanted_costs_one_look(machine: Machine) -> None:
    machine.holds(a_service={}, b_timer={"ActiveState": "inactive", "UnitFileState": "disabled"})
    done = machine.asks(FULL, {"name": "b.timer", "enabled": False, "state": "stopped"})
    assert (done["changed"], done["changes"]) == (False, [])
    assert len(machine.systemd.calls) == 1


@pytest.mark.parametrize(
    ("found", "asked", "changes"),
    [
        ({"UnitFileState": "disabled"}, {"enabled": True}, ["enable a.service"]),
        ({"UnitFileState": "enabled-runtime"}, {"enabled": True}, ["enable a.service"]),
        ({"UnitFileState": "linked"}, {"enabled": True}, ["enable a.service"]),
        ({}, {"enabled": False}, ["disable a.service"]),
        ({"UnitFileState": "enabled-runtime"}, {"enabled": False}, ["disable --runtime a.service"]),
        ({"ActiveState": "inactive"}, {"state": "started"}, ["start a.service"]),
        ({"ActiveState": "failed"}, {"state": "started"}, ["start a.service"]),
        ({"ActiveState": "deactivating"}, {"state": "started"}, ["start a.service"]),
        ({}, {"state": "stopped"}, ["stop a.service"]),
        ({"ActiveState": "activating"}, {"state": "stopped"}, ["stop a.service"]),
        ({}, {"masked": True}, ["mask a.service"]),
        ({}, {"masked": True, "state": "stopped"}, ["mask a.service", "stop a.service"]),
        ({"UnitFileState": "masked-runtime", "LoadState": "masked"}, {"masked": True}, ["mask a.service"]),
        ({"UnitFileState": "masked", "LoadState": "masked"}, {"masked": False}, ["unmask a.service"]),
        ({"UnitFileState": "masked-runtime", "LoadState": "masked"}, {"masked": False}, ["unmask --runtime a.service"]),
        (
            {"UnitFileState": "masked", "LoadState": "masked", "ActiveState": "inactive"},
            FULL,
            ["unmask a.service", "enable a.service", "start a.service"],
        ),
        ({"UnitFileState": "masked", "LoadState": "masked"}, {"enabled": True}, ["unmask a.service", "enable a.service"]),
        (
            {"UnitFileState": "masked", "LoadState": "masked", "below": "enabled"},
            {"masked": False, "enabled": False},
            ["unmask a.service", "disable a.service"],
        ),
        ({"NeedDaemonReload": "yes"}, {}, ["daemon-reload"]),
        ({"LoadState": "not-found", "UnitFileState": ""}, {"state": "stopped"}, ["stop a.service"]),
    ],
)
def test_what_differs_is_predicted_done_and_then_left_alone(
    machine: Machine, found: dict[str, str], asked: dict[str, Any], changes: list[str]
) -> None:
    machine.holds(a_service=found)
    unit = {"name": "a.service", **asked}
    assert machine.asks(unit, check=True)["changes"] == changes
    assert machine.verbs == []
    assert machine.asks(unit)["changes"] == changes
    assert machine.asks(unit)["changes"] == []


@pytest.mark.parametrize(
    ("found", "asked"),
    [
        ({"UnitFileState": "static"}, {"enabled": True}),
        ({"UnitFileState": "static"}, {"enabled": False}),
        ({"UnitFileState": "generated"}, {"enabled": False}),
        ({"UnitFileState": "generated"}, {"enabled": True}),
        ({"UnitFileState": "indirect"}, {"enabled": False}),
        ({"UnitFileState": "alias"}, {"enabled": True}),
        ({"UnitFileState": "linked"}, {"enabled": False}),
        ({"UnitFileState": "masked", "LoadState": "masked", "ActiveState": "inactive"}, {"enabled": False, "state": "stopped"}),
        ({"UnitFileState": "masked", "LoadState": "masked", "ActiveState": "inactive"}, {"masked": True, "enabled": True}),
        ({"ActiveState": "failed"}, {"state": "stopped"}),
        ({"ActiveState": "reloading"}, {"state": "started"}),
        ({"LoadState": "not-found", "ActiveState": "inactive", "UnitFileState": ""}, {"enabled": False, "state": "stopped"}),
        ({"LoadState": "not-found", "ActiveState": "inactive", "UnitFileState": ""}, {"masked": False}),
        ({}, {}),
    ],
)
def test_what_cannot_or_need_not_change_is_never_told_as_a_change(
    machine: Machine, found: dict[str, str], asked: dict[str, Any]
) -> None:
    machine.holds(a_service=found)
    assert machine.asks({"name": "a.service", **asked})["changes"] == []
    assert machine.verbs == []


def test_a_unit_that_does_not_exist(machine: Machine) -> None:
    machine.holds()
    unit = {"name": "no.service", "enabled": True, "state": "started"}
    done = machine.asks(unit)
    assert done["failed"]
    assert done["msg"] == "no.service does not exist on this machine"
    assert machine.asks(unit, check=True)["changes"] == ["enable no.service", "start no.service"]
    assert machine.asks({**unit, "assume": "enabled"}, check=True)["changes"] == []
    assert machine.asks({**unit, "assume": "disabled"}, check=True)["changes"] == ["enable no.service", "start no.service"]
    assert machine.asks({"name": "no.service", "masked": True})["changes"] == ["mask no.service"]


def test_a_verb_takes_all_its_units_at_once_in_an_order_that_makes_sense(machine: Machine) -> None:
    machine.holds(
        a_service={"UnitFileState": "disabled", "ActiveState": "inactive", "NeedDaemonReload": "yes"},
        b_service={"UnitFileState": "disabled", "ActiveState": "inactive"},
    )
    machine.asks(FULL, {**FULL, "name": "b.service"})
    assert machine.verbs == ["daemon-reload", "enable -- a.service b.service", "start -- a.service b.service"]


def test_a_failing_verb_tells_what_was_done_before(machine: Machine) -> None:
    machine.holds(a_service={"UnitFileState": "disabled", "ActiveState": "inactive", "broken": "start"})
    done = machine.asks(FULL)
    assert done["failed"]
    assert done["msg"] == "systemctl start a.service: Failed to start a.service"
    assert (done["changed"], done["changes"]) == (True, ["enable a.service"])


def test_a_success_that_changed_nothing_is_a_failure(machine: Machine) -> None:
    machine.holds(a_service={"UnitFileState": "linked", "broken": "deaf"})
    done = machine.asks({"name": "a.service", "enabled": True})
    assert done["failed"]
    assert "reported success, yet this is still to do: enable a.service" in done["msg"]


def test_running_units_are_reloaded_and_restarted_others_not(machine: Machine) -> None:
    machine.holds(a_service={}, b_service={"ActiveState": "inactive"})
    done = machine.asks(reload=["a.service", "b.service"], restart=["a.service", "no.service"])
    assert done["changes"] == ["reload a.service", "restart a.service"]


def stale(machine: Machine, stamp: float, paths: list[Path], **more: Any) -> list[str]:
    machine.holds(a_service={"StateChangeTimestamp": f"@{int(stamp)}", **more})
    asked = {"name": "a.service", "newer": [str(path) for path in paths], "when_newer": "restart"}
    changes: list[str] = machine.asks(asked, check=True)["changes"]
    return changes


def test_a_unit_older_than_its_files_is_stale(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    file = folder / "x.conf"
    file.write_text("x")
    os.utime(file, (0, 0))  # an old date on a new file
    time.sleep(0.01)  # its change is then in the past
    now = time.time()
    assert stale(machine, now - 60, [folder]) == ["restart a.service"]
    assert stale(machine, now - 60, [file]) == ["restart a.service"]
    assert stale(machine, now + 5, [folder, file]) == []
    assert stale(machine, now - 60, [tmp_path / "no"]) == []
    assert stale(machine, now - 60, [folder], ActiveState="inactive") == []
    machine.holds(a_service={"StateChangeTimestamp": ""})
    assert machine.asks({"name": "a.service", "newer": [str(folder)]}, check=True)["changes"] == [], "no stamp proves nothing"


def test_names_that_systemctl_does_not_answer_for(
    machine: Machine, commands: FakeCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.module, "systemctl", machine.real)
    commands.add("systemctl", "echo Id=x; echo; echo Id=y")
    done = machine.asks({"name": "ssh*"})
    assert done["failed"]
    assert "other units than were asked" in done["msg"]
    commands.add("systemctl", "echo 'Failed to mangle name: Invalid argument' >&2; exit 1")
    done = machine.asks({"name": ""})
    assert done["msg"] == "systemctl show: Failed to mangle name: Invalid argument"
    assert done["changes"] == []


def test_a_machine_without_systemd_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.module, "systemctl", machine.real)
    monkeypatch.setenv("PATH", "/nonexistent")
    done = machine.asks(FULL)
    assert done["failed"]
    assert "systemctl show" in done["msg"]


def test_nothing_asked_is_nothing_done(machine: Machine) -> None:
    machine.holds()
    assert machine.asks()["changes"] == []
    assert machine.systemd.calls == []


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file_state=st.sampled_from(
        [
            "enabled",
            "disabled",
            "enabled-runtime",
            "static",
            "masked",
            "masked-runtime",
            "indirect",
            "generated",
            "alias",
            "linked",
        ]
    ),
    active=st.sampled_from(["active", "inactive", "failed", "activating", "deactivating"]),
    below=st.sampled_from(["enabled", "disabled"]),
    asked=st.fixed_dictionaries(
        {},
        optional={"enabled": st.booleans(), "state": st.sampled_from(["started", "stopped"]), "masked": st.just(False)},
    ),
)
def test_any_unit_converges_in_one_pass_as_predicted(
    machine: Machine, file_state: str, active: str, below: str, asked: dict[str, Any]
) -> None:
    masked = file_state.startswith("masked")
    found = {"UnitFileState": file_state, "ActiveState": active, "LoadState": "masked" if masked else "loaded"}
    machine.holds(a_service={**found, **({"below": below} if masked else {})})
    unit = {"name": "a.service", **asked}
    predicted = machine.asks(unit, check=True)
    done = machine.asks(unit)
    assert not done.get("failed"), done
    assert done["changes"] == predicted["changes"]
    assert machine.asks(unit)["changes"] == []
