#!/usr/bin/python
# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Many systemd units in one execution: one look at all of them, then only what differs."""
# ruff: noqa: E402 (Ansible wants its documentation before the imports)

from __future__ import annotations

DOCUMENTATION = r"""
module: antiseche_services
short_description: systemd units enabled, started, masked, and reloaded when their files are newer
description:
  - Reads all units with one systemctl call. Units that are already as wanted cost nothing more.
  - After a change everything is read again, and what is not as wanted is an error.
  - Static, generated and indirect units count as they are, since systemctl can neither enable nor disable them.
options:
  units:
    type: list
    elements: dict
    default: []
    description: Units and what is wanted of them; what is not given is left alone.
    options:
      name: {type: str, required: true, description: Unit name with its suffix.}
      enabled: {type: bool, description: Started at boot.}
      state: {type: str, choices: [started, stopped], description: Running now.}
      masked: {type: bool, description: Cannot be started at all.}
      assume: {type: str, choices: [enabled, disabled], description: "In check mode, what a missing unit's package leaves."}
      newer: {type: list, elements: path, default: [], description: "Newer than the unit's last (re)load: the unit is stale."}
      when_newer: {type: str, choices: [reload, restart], default: reload, description: What makes a stale unit fresh.}
  reload: {type: list, elements: str, default: [], description: Running units to reload now.}
  restart: {type: list, elements: str, default: [], description: Running units to restart now.}
  daemon_reload: {type: bool, default: true, description: Reload systemd first when it says that unit files changed.}
author: ["The Antisèche authors (@antiseche)"]
"""

EXAMPLES = r"""
- name: The ssh server runs, without socket activation
  antiseche_services:
    units:
      - {name: ssh.service, enabled: true, state: started, assume: enabled, newer: [/etc/ssh/sshd_config.d]}
      - {name: ssh.socket, enabled: false, state: stopped}
"""

RETURN = r"""
changes: {description: What was (or would be) changed, type: list, elements: str, returned: always}
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload,StateChangeTimestamp"
# States that systemctl enable need not or cannot change, and those that systemctl disable does change: a static,
# generated or indirect unit is started by something else, whatever is asked.
ENABLED = {"enabled", "static", "generated", "alias", "indirect", "transient"}
CAN_BE_DISABLED = {"enabled": "disable", "enabled-runtime": "disable --runtime", "linked-runtime": "disable --runtime"}
MASKED = {"masked": "unmask", "masked-runtime": "unmask --runtime"}
# In an order that makes sense, all units of a verb at once.
VERBS = """daemon-reload;unmask;unmask --runtime;mask;enable;disable;disable --runtime;stop;start;restart;reload""".split(";")
RUNNING = {"active", "activating", "reloading", "refreshing"}


class ServicesError(RuntimeError):
    """A unit cannot be brought to what is wanted."""

    def __init__(self, message: str, done: list[str] | None = None) -> None:
        super().__init__(message)
        self.done = done or []


@dataclass
class Actions:
    """What to run, grouped by systemctl verb, and how to tell it."""

    verbs: dict[str, list[str]] = field(default_factory=dict)

    def add(self, verb: str, unit: str) -> None:
        units = self.verbs.setdefault(verb, [])
        if unit not in units:
            units.append(unit)

    @property
    def changes(self) -> list[str]:
        return [f"{verb} {unit}".rstrip() for verb, units in self.verbs.items() for unit in units]


def systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemctl, in UTC and in English."""
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    try:
        return subprocess.run(
            ["systemctl", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=environment,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServicesError(f"systemctl {' '.join(arguments)}: {error}") from error


def observe(names: list[str]) -> dict[str, dict[str, str]]:
    """Return the properties of all units, by the name they were asked by."""
    if not names:
        return {}
    done = systemctl("show", f"--property={PROPERTIES}", "--timestamp=unix", "--", *names)
    if done.returncode:
        raise ServicesError(f"systemctl show: {done.stderr.strip()[:300]}")
    blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in done.stdout.strip().split("\n\n")]
    if len(blocks) != len(names):
        raise ServicesError("systemctl show answered for other units than were asked")
    return dict(zip(names, blocks, strict=True))


def newest(paths: Iterable[str]) -> float:
    """Return when the newest of these files and folders changed. Change time: a rename or an old date does not hide it."""
    newest_time = 0.0
    for name in paths:
        candidates = [Path(name)]
        with contextlib.suppress(OSError):
            candidates += Path(name).iterdir()
        for candidate in candidates:
            with contextlib.suppress(OSError):
                newest_time = max(newest_time, candidate.lstat().st_ctime)
    return newest_time


def stale(unit: dict[str, Any], seen: dict[str, str]) -> bool:
    """Say whether a running unit has not read its newest files. A date in the future proves nothing."""
    if not unit["newer"] or seen["ActiveState"] not in RUNNING:
        return False
    stamp = seen.get("StateChangeTimestamp", "").lstrip("@")
    changed = newest(unit["newer"])
    # systemd's stamp has whole seconds here; a second of doubt costs one reload at most.
    return stamp.isdigit() and int(stamp) + 1 < changed < time.time()


def decide(unit: dict[str, Any], seen: dict[str, str], check_mode: bool, actions: Actions) -> None:
    """Add what one unit needs."""
    name, enabled, state, masked = unit["name"], unit["enabled"], unit["state"], unit["masked"]
    file_state, active = seen.get("UnitFileState", ""), seen.get("ActiveState", "")
    if seen.get("LoadState") == "not-found":
        if (enabled or state == "started") and not masked and not check_mode:
            raise ServicesError(f"{name} does not exist on this machine")
        assumed = {"enabled": ("enabled", "active"), "disabled": ("disabled", "inactive")}
        if enabled or state == "started":
            file_state, active = assumed.get(unit["assume"] or "", ("", ""))
    unmask = MASKED.get(file_state) or ("unmask" if seen.get("LoadState") == "masked" else "")
    unmasking = bool(unmask) and not masked and (masked is False or bool(enabled) or state == "started")
    if masked and file_state != "masked":
        actions.add("mask", name)
    elif unmasking:
        actions.add(unmask, name)
    if enabled and not masked and file_state not in ENABLED:
        actions.add("enable", name)
    elif enabled is False and (file_state in CAN_BE_DISABLED or unmasking):  # a mask hides the rest
        actions.add(CAN_BE_DISABLED.get(file_state, "disable"), name)
    wanted_running = {"started": True, "stopped": False}.get(state or "")
    if wanted_running is not None and wanted_running != (active in RUNNING):
        actions.add("start" if wanted_running else "stop", name)
    elif stale(unit, seen):
        actions.add(unit["when_newer"], name)


def plan(params: dict[str, Any], check_mode: bool) -> Actions:
    """Look at all units and decide."""
    actions = Actions()
    names = list(dict.fromkeys([unit["name"] for unit in params["units"]] + params["reload"] + params["restart"]))
    seen = observe(names)
    asked = any(properties.get("NeedDaemonReload") == "yes" for properties in seen.values())
    if params["daemon_reload"] and asked:
        actions.add("daemon-reload", "")
    for unit in params["units"]:
        decide(unit, seen[unit["name"]], check_mode, actions)
    for verb in ("reload", "restart"):
        for name in params[verb]:
            if seen[name].get("ActiveState") in RUNNING:
                actions.add(verb, name)
    return actions


def perform(actions: Actions) -> None:
    """Run the verbs."""
    done: list[str] = []
    for verb in VERBS:
        if verb not in actions.verbs:
            continue
        units = [unit for unit in actions.verbs[verb] if unit]
        answer = systemctl(*verb.split(), *(["--", *units] if units else []))
        if answer.returncode:
            raise ServicesError(f"systemctl {verb} {' '.join(units)}: {answer.stderr.strip()[:300]}", done)
        done += [f"{verb} {unit}".rstrip() for unit in actions.verbs[verb]]


def prove(params: dict[str, Any], actions: Actions) -> None:
    """Look again: systemctl succeeds at enabling what has no [Install], and at starting what ends at once."""
    if not actions.changes:
        return
    left = plan({**params, "reload": [], "restart": []}, check_mode=False).changes
    if left:
        raise ServicesError(f"systemctl reported success, yet this is still to do: {', '.join(left)}", actions.changes)


def main() -> None:
    """Plan, and unless in check mode, perform."""
    unit_options: dict[str, Any] = {
        "name": {"type": "str", "required": True},
        "enabled": {"type": "bool"},
        "state": {"type": "str", "choices": ["started", "stopped"]},
        "masked": {"type": "bool"},
        "assume": {"type": "str", "choices": ["enabled", "disabled"]},
        "newer": {"type": "list", "elements": "path", "default": []},
        "when_newer": {"type": "str", "choices": ["reload", "restart"], "default": "reload"},
    }
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "dict", "default": [], "options": unit_options},
            "reload": {"type": "list", "elements": "str", "default": []},
            "restart": {"type": "list", "elements": "str", "default": []},
            "daemon_reload": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    try:
        actions = plan(module.params, module.check_mode)
        if not module.check_mode:
            perform(actions)
            prove(module.params, actions)
    except ServicesError as error:
        module.fail_json(msg=str(error), changed=bool(error.done), changes=error.done)
    module.exit_json(changed=bool(actions.changes), changes=actions.changes)


if __name__ == "__main__":
    main()
