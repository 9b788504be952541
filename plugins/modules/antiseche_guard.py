#!/usr/bin/python
# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Confirm, undo or look at a guarded change of this machine."""
# ruff: noqa: E402 (Ansible wants its documentation before the imports)

from __future__ import annotations

DOCUMENTATION = r"""
module: antiseche_guard
short_description: Confirm, undo or report a guarded change
description:
  - A guarded change (see antiseche_files) is undone by the machine itself unless it is confirmed in time.
  - Confirming is idempotent. Run it over a connection that was opened after the change.
options:
  name: {type: str, required: true, description: Name of the guard.}
  state:
    type: str
    choices: [confirmed, undone, reported]
    default: confirmed
    description: Keep the change, undo it now, or only report.
  token: {type: str, default: "", description: "Names the change; confirming fails when it was undone or another is pending."}
author: ["The Antisèche authors (@antiseche)"]
"""

EXAMPLES = r"""
- name: Keep the new firewall
  antiseche_guard:
    name: firewall
"""

RETURN = r"""
changes: {description: What was (or would be) changed, type: list, elements: str, returned: always}
pending: {description: A change waits for its confirmation, type: bool, returned: always}
undone: {description: "Trace of the last undo: name, at, why, token", type: dict, returned: always}
"""

from ansible.module_utils.antiseche_commit_confirm import Guard, GuardError
from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Do what is asked, tell what is."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["confirmed", "undone", "reported"], "default": "confirmed"},
            "token": {"type": "str", "default": "", "no_log": False},  # names a change, opens nothing
        },
        supports_check_mode=True,
    )
    state = module.params["state"]
    changed, undone = False, {}
    try:
        guard = Guard(module.params["name"])
        undone = guard.undone()
        if state != "reported":
            changed = guard.pending
        if module.check_mode and state == "confirmed":
            guard.check(module.params["token"])
        elif state == "confirmed":
            changed = guard.confirm(module.params["token"])
        elif not module.check_mode and state == "undone" and changed:
            guard.undo("asked")
    except (GuardError, OSError) as error:
        module.fail_json(msg=f"guard {module.params['name']}: {error}", changes=[], undone=undone)
    changes = [f"guard {guard.name}: {state}"] if changed else []
    pending = guard.pending and not (module.check_mode and changed)
    module.exit_json(changed=changed, changes=changes, pending=pending, undone=guard.undone())


if __name__ == "__main__":
    main()
