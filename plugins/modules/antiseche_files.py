#!/usr/bin/python
# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Whole files, validated together before any of them is replaced, in one execution.

Plan, validate, stage, land: the plan compares only; validation sees the new contents in a private folder; staging
writes them beside their places; landing renames back to back. Check mode stops after validation, so that it says
exactly what a run would do.
"""
# ruff: noqa: E402 (Ansible wants its documentation before the imports)

from __future__ import annotations

DOCUMENTATION = r"""
module: antiseche_files
short_description: Whole files, validated before they replace the old ones, with commit-confirm
description:
  - Content, owner and mode of files; owner and mode of folders; files that must be absent; foreign files of a folder.
  - Nothing changes when a validation fails. A link at a file's place is replaced, never followed.
  - With C(guard), the machine undoes the change by itself unless C(antiseche_guard) confirms it in time.
options:
  files:
    type: list
    elements: dict
    default: []
    description: Files rendered whole.
    options:
      path: {type: path, required: true, description: Absolute path.}
      content: {type: str, description: The whole text.}
      copy_of: {type: path, description: "A file of this machine whose content is wanted, instead of content."}
      mode: {type: str, default: "0644", description: Octal mode.}
      owner: {type: str, default: root, description: Owner.}
      group: {type: str, default: root, description: Group.}
      validate: {type: str, default: "", description: "Command that must succeed; %s is the new file."}
      secret: {type: bool, default: false, description: Show no difference.}
  absent: {type: list, elements: path, default: [], description: Files and links that must not exist. Folders are refused.}
  directories:
    type: list
    elements: dict
    default: []
    description: Folders that must exist.
    options:
      path: {type: path, required: true, description: Absolute path.}
      mode: {type: str, default: "0755", description: Octal mode.}
      owner: {type: str, default: root, description: Owner.}
      group: {type: str, default: root, description: Group.}
  exclusive:
    type: list
    elements: dict
    default: []
    description: Folders where only the files listed in C(files) count. Others are set aside, never deleted.
    options:
      path: {type: path, required: true, description: The folder.}
      pattern: {type: str, default: "*", description: Which names count.}
      keep: {type: list, elements: str, default: [], description: Names that may stay.}
  guard:
    type: dict
    description: Commit-confirm.
    options:
      name: {type: str, required: true, description: Name of the guard.}
      seconds: {type: int, default: 60, description: Undo after this time.}
      apply: {type: list, elements: list, default: [], description: "Commands that make the files effective, as lists."}
      undo: {type: list, elements: list, default: [], description: "Commands that make the former files effective; empty: apply."}
      probe: {type: list, elements: str, default: [], description: "Command that fails when the running state is not the files'."}
      token: {type: str, default: "", description: "Names this change; the controller sets it, to recognise its undo."}
author: ["The Antisèche authors (@antiseche)"]
"""

EXAMPLES = r"""
- name: The firewall, undone unless confirmed
  antiseche_files:
    files:
      - path: /etc/nftables.conf
        content: "{{ lookup('ansible.builtin.template', 'nftables.conf.j2') }}"
        mode: "0600"
        validate: nft -c -f %s
    guard:
      name: firewall
      seconds: 60
      apply: [[nft, -f, /etc/nftables.conf]]
"""

RETURN = r"""
changes: {description: What was (or would be) changed, type: list, elements: str, returned: always}
guard: {description: "Name, token and whether a confirmation is awaited", type: dict, returned: when a guard is given}
"""

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.antiseche_commit_confirm import Guard, GuardError, refuse_bad_request
from ansible.module_utils.antiseche_files_land import land
from ansible.module_utils.antiseche_files_plan import UNKNOWN, Entry, FilesError, Plan, make_plan, shown
from ansible.module_utils.basic import AnsibleModule

COMMAND_SECONDS = 60
SEARCH_PATH = f"/usr/sbin:/sbin:{os.environ.get('PATH', '/usr/bin:/bin')}"


def validate(entries: list[Entry], check_mode: bool) -> None:
    """Try every new content in a private folder."""
    todo = [entry for entry in entries if entry.validate and ({"", "link"} & set(entry.differs))]
    if not todo:
        return
    # In memory where root can: a killed run leaves no secret on a disk.
    with tempfile.TemporaryDirectory(prefix="antiseche-files-", dir="/run" if os.access("/run", os.W_OK) else None) as folder:
        for number, entry in enumerate(todo):
            trial = Path(folder) / str(number) / entry.path.name
            trial.parent.mkdir(mode=0o700)
            trial.touch(mode=0o600)
            trial.write_bytes(entry.content)
            trial.chmod(entry.mode & 0o700)
            try:
                argv = [part.replace("%s", str(trial)) for part in shlex.split(entry.validate)]
            except ValueError as error:
                raise FilesError(f"{entry.path}: its validation command cannot be read: {error}") from error
            if shutil.which(argv[0], path=SEARCH_PATH) is None and check_mode:
                continue  # the package that brings it is still to be installed
            done = run(argv)
            if done:
                if entry.secret:  # what is said may quote it
                    raise FilesError(f"{entry.path}: the new content is refused by {argv[0]}; nothing was changed")
                said = done.replace(str(trial), str(entry.path))
                raise FilesError(f"{entry.path}: the new content is refused by {argv[0]}; nothing was changed: {said}")


def run(argv: list[str]) -> str:
    """Run a command; return why it failed, empty when it did not."""
    environment = {**os.environ, "LC_ALL": "C", "PATH": SEARCH_PATH}
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=COMMAND_SECONDS,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return f"{argv[0]} is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}")[:400]


def refuse_unknown_owners(plan: Plan) -> None:
    """An owner that does not exist is an error once check mode is over."""
    for entry in plan.entries:
        if UNKNOWN in (entry.uid, entry.gid):
            raise FilesError(f"{entry.path}: its owner or group does not exist; nothing was changed")


def land_guarded(plan: Plan, guard: Guard, options: dict[str, Any]) -> str:
    """Arm, land, apply, while the timer's undo has to wait; what fails is undone at once. Return the token to confirm with."""
    apply, undo = options["apply"], options["undo"] or options["apply"]
    with guard.locked():
        token = guard.arm(plan.touched, options["seconds"], undo, options["token"])
        try:
            land(plan)
            for argv in apply:
                failure = run(argv)
                if failure:
                    raise FilesError(f"{shlex.join(argv)} failed: {failure}")
        except (FilesError, OSError) as error:
            try:
                guard.undo("failed")
            except GuardError as second:
                raise FilesError(f"{error}; {second}") from error
            raise FilesError(f"{error}; the former state is back") from error
    return token


def differences(plan: Plan) -> list[dict[str, str]]:
    """Return before and after of what may be shown."""
    found = []
    for entry in plan.entries:
        if entry.directory or entry.secret or not ({"", "link"} & set(entry.differs)):
            continue
        before = (entry.before or b"").decode(errors="replace")
        found.append({"before": before, "after": entry.content.decode(errors="replace"), "before_header": shown(entry.path)})
    return found


def execute(module: AnsibleModule) -> dict[str, Any]:
    """Plan, and unless in check mode, do."""
    options = module.params["guard"]
    plan = make_plan(module.params, module.check_mode)
    validate(plan.entries, module.check_mode)
    changes = plan.changes
    result: dict[str, Any] = {}
    if not options:
        if changes and not module.check_mode:
            refuse_unknown_owners(plan)
            land(plan)
        return {"changed": bool(changes), "changes": changes, "diff": differences(plan)}
    guard = Guard(options["name"])
    for name in ("apply", "undo"):
        options[name] = [[str(part) for part in argv] for argv in options[name]]
    refuse_bad_request(plan.touched, options["seconds"], options["apply"] + options["undo"], options["token"])
    if not changes and options["probe"] and run(options["probe"]):
        changes.append(f"running state {guard.name}")
    if not changes and guard.pending:  # of a run that was cut short: nobody knows how far its commands came
        changes.append(f"guard {guard.name}: confirmed")
    if not module.check_mode:
        refuse_unknown_owners(plan)
        token = land_guarded(plan, guard, options) if changes else ""
        if not changes:
            guard.forget_undone()  # what is wanted is what is there: the old story is over
        result["guard"] = {"name": guard.name, "token": token, "pending": guard.pending}
    return {"changed": bool(changes), "changes": changes, "diff": differences(plan), **result}


class QuietModule(AnsibleModule):  # type: ignore[misc]  # Ansible ships no types
    """Writes nothing into the machine's journal: the contents of files may be secrets.

    The constructor's ``no_log`` does not do it: what the controller sends for the task replaces it before anything is logged.
    """

    def _log_invocation(self) -> None:
        return


def main() -> None:
    """Read the arguments, answer."""
    owner = {"mode": {"type": "str"}, "owner": {"type": "str", "default": "root"}, "group": {"type": "str", "default": "root"}}
    file_options: dict[str, Any] = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str"},
        "copy_of": {"type": "path"},
        **owner,
        "mode": {"type": "str", "default": "0644"},
        "validate": {"type": "str", "default": ""},
        "secret": {"type": "bool", "default": False, "no_log": False},  # says how to treat content, is none itself
    }
    exclusive = {
        "path": {"type": "path", "required": True},
        "pattern": {"type": "str", "default": "*"},
        "keep": {"type": "list", "elements": "str", "default": []},
    }
    guard = {
        "name": {"type": "str", "required": True},
        "seconds": {"type": "int", "default": 60},
        "apply": {"type": "list", "elements": "list", "default": []},
        "undo": {"type": "list", "elements": "list", "default": []},
        "probe": {"type": "list", "elements": "str", "default": []},
        "token": {"type": "str", "default": "", "no_log": False},  # names a change, opens nothing
    }
    folder_options = {"path": {"type": "path", "required": True}, **owner, "mode": {"type": "str", "default": "0755"}}
    module = QuietModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "default": [], "options": file_options},
            "absent": {"type": "list", "elements": "path", "default": []},
            "directories": {"type": "list", "elements": "dict", "default": [], "options": folder_options},
            "exclusive": {"type": "list", "elements": "dict", "default": [], "options": exclusive},
            "guard": {"type": "dict", "options": guard},
        },
        supports_check_mode=True,
    )
    invocation: dict[str, Any] = {"module_args": {}}  # nor into results
    try:
        result = execute(module)
    except (FilesError, GuardError, OSError) as error:
        module.fail_json(msg=str(error), changes=[], invocation=invocation)
    module.exit_json(**result, invocation=invocation)


if __name__ == "__main__":
    main()
