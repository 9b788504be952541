#!/usr/bin/python
# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Bring the accounts of one machine to what the answers say, in one execution.

The pure planner in ``module_utils`` compares the account files with what is wanted and lists changes;
``Applier`` runs them. Check mode stops between the two, so that it cannot tell anything else.
"""
# ruff: noqa: E402 (Ansible wants its documentation before the imports)

from __future__ import annotations

DOCUMENTATION = r"""
module: antiseche_accounts
short_description: People, groups, locks, expiry, password ages and foreign sudo rules in one execution
description:
  - Every section that is not given is left alone. No account and no file is ever deleted.
  - Reads and writes the local account files only, through the distribution's own tools.
options:
  groups: {type: list, elements: str, default: [], description: "Managed groups, whose members become exactly the people listed."}
  people:
    type: list
    elements: dict
    description: Personal accounts. When given, any other account with a login shell is locked.
    options:
      login: {type: str, required: true, description: Account name.}
      name: {type: str, default: "", description: Full name.}
      groups: {type: list, elements: str, default: [], description: Managed groups of the person.}
      state: {type: str, choices: [active, locked], default: active, description: "locked: the person has left."}
      expires: {type: str, default: "", description: "First day without access, YYYY-MM-DD, or empty."}
  initial_passwords: {type: dict, default: {}, description: Login to first password; used only when the account has none yet.}
  maintenance_user: {type: str, default: "", description: Never touched.}
  untouched: {type: list, elements: str, default: [], description: Other accounts never touched.}
  privileged_groups: {type: list, elements: str, default: [], description: Groups that give rights; nobody may be a member.}
  sudoers_dir: {type: path, description: Folder whose foreign files that give people rights are set aside.}
  sudoers_ours: {type: list, elements: str, default: [], description: File names of the kit in that folder.}
  ages:
    type: list
    elements: dict
    description: Password ages; an account that does not exist is skipped.
    options:
      login: {type: str, required: true, description: Account name.}
      min: {type: int, default: 0, description: Days before a change.}
      max: {type: int, default: 99999, description: Days before a password must be changed.}
      warn: {type: int, default: 7, description: Days of warning.}
      endless: {type: bool, default: false, description: "A key opens it: no expiry, no order to change the password."}
  renew_weak_hashes: {type: bool, default: false, description: An old hash is renewed by its owner at next logon.}
  protect_password_files: {type: bool, default: false, description: Close the files that hold hashes to other accounts.}
author: ["The Antisèche authors (@antiseche)"]
"""

EXAMPLES = r"""
- name: One person, and nobody else
  antiseche_accounts:
    groups: [cabinet-medecins]
    people: [{login: camille, name: Camille Roux, groups: [cabinet-medecins]}]
    maintenance_user: antiseche
"""

RETURN = r"""
changes: {description: What was (or would be) changed, type: list, elements: str, returned: always}
"""

import contextlib
import ctypes
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.antiseche_accounts_plan import Account, Change, plan
from ansible.module_utils.antiseche_accounts_read import FIRST_PASSWORDS, PASSWORD_FILES, SHAPES, read_state
from ansible.module_utils.antiseche_files_land import drop_access_lists
from ansible.module_utils.antiseche_files_plan import refuse_frozen
from ansible.module_utils.antiseche_set_aside import move, sync_folder
from ansible.module_utils.basic import AnsibleModule

ROOT = Path("/")
TOOL_SECONDS = 120


def hashed(password: str) -> str:
    """Return a password's yescrypt hash, as the system's own library makes it.

    Raises:
        RuntimeError: the library cannot.
    """
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt_gensalt.restype = library.crypt.restype = ctypes.c_char_p
    salt = library.crypt_gensalt(b"$y$", ctypes.c_ulong(0), None, 0)
    found = (library.crypt(password.encode(), salt) if salt else None) or b""
    if not found.startswith(b"$y$"):
        raise RuntimeError("libcrypt cannot make a yescrypt hash")
    return found.decode()


class Applier:
    """Makes the changes with the distribution's own tools; secrets travel on stdin only."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self.wanted = wanted

    def apply(self, change: Change) -> None:
        for step in change.steps:
            if step[0] == "run":
                self.run(list(step[1:]))
            else:
                getattr(self, "do_" + step[0].replace("-", "_"))(step[1])

    def run(self, argv: list[str], stdin: str = "", may_fail: bool = False) -> None:
        for wait in (0.5, 1.0, 2.0, 4.0, None):
            done = subprocess.run(
                argv, input=stdin, capture_output=True, text=True, errors="replace", check=False, timeout=TOOL_SECONDS
            )
            if done.returncode == 0 or may_fail:
                return
            if wait is None or "cannot lock" not in done.stderr:  # another tool is writing the same files
                raise RuntimeError(f"{argv[0]} failed ({done.returncode}): {done.stderr.strip()[:300]}")
            time.sleep(wait)

    def account(self, login: str) -> Account:
        found = read_state(ROOT, {}).accounts.get(login)
        if found is None:
            raise RuntimeError(f"{login}: the account is gone, somebody else is changing this machine")
        return found

    def do_password(self, login: str) -> None:
        # chpasswd notes today as the day of the change: the order to change it comes second, and may not get lost.
        mark = ROOT / FIRST_PASSWORDS / login
        mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark.touch(mode=0o600)
        sync_folder(mark.parent)
        # Hashed here: PAM would ask a dictionary about a random text, and refuse one in some thousands.
        self.run(["chpasswd", "-e"], stdin=f"{login}:{hashed(self.wanted['initial_passwords'][login])}\n")
        self.do_renew_first(login)

    def do_renew_first(self, login: str) -> None:
        self.run(["chage", "-d", "0", "--", login])
        (ROOT / FIRST_PASSWORDS / login).unlink(missing_ok=True)

    def do_home(self, login: str) -> None:
        account = self.account(login)
        if account.home_problem or not account.home_path:
            raise RuntimeError(f"{login}: {account.home_problem or f'{account.home} does not exist'}")
        # O_NOFOLLOW: a person could have replaced the folder by a link to somebody else's.
        handle = os.open(account.home_path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            drop_access_lists(handle)
            os.fchown(handle, account.uid, account.gid)
            os.fchmod(handle, 0o700)
        finally:
            os.close(handle)

    def do_sessions(self, login: str) -> None:
        with contextlib.suppress(FileNotFoundError, subprocess.TimeoutExpired):
            for argv in (["loginctl", "disable-linger", login], ["loginctl", "terminate-user", login]):
                self.run(argv, may_fail=True)

    def do_own_group(self, login: str) -> None:
        if login not in read_state(ROOT, {}).groups:
            self.run(["groupadd", "--", login])
        self.run(["usermod", "-g", login, "--", login])

    def do_protect(self, name: str) -> None:
        shadow = read_state(ROOT, {}).groups.get("shadow", (0, []))[0]
        # The tools that ran before made the backup copy with the rights that the file had then.
        for path in (ROOT / name.lstrip("/"), ROOT / f"{name.lstrip('/')}-"):
            mode = PASSWORD_FILES.get(str(path.relative_to(ROOT)))
            if mode is None or not path.exists():
                continue
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                drop_access_lists(handle)
                os.fchown(handle, 0, shadow if mode & 0o040 else 0)
                os.fchmod(handle, mode)
            finally:
                os.close(handle)

    def do_aside(self, name: str) -> None:
        move(Path(self.wanted["sudoers_dir"]) / name, f"sudoers.d-{name}")


SPEC: dict[str, Any] = {
    "groups": {"type": "list", "elements": "str", "default": []},
    "people": {
        "type": "list",
        "elements": "dict",
        "options": {
            "login": {"type": "str", "required": True},
            "name": {"type": "str", "default": ""},
            "groups": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["active", "locked"], "default": "active"},
            "expires": {"type": "str", "default": ""},
        },
    },
    "initial_passwords": {"type": "dict", "default": {}, "no_log": True},
    "maintenance_user": {"type": "str", "default": ""},
    "untouched": {"type": "list", "elements": "str", "default": []},
    "privileged_groups": {"type": "list", "elements": "str", "default": []},
    "sudoers_dir": {"type": "path"},
    "sudoers_ours": {"type": "list", "elements": "str", "default": []},
    "ages": {
        "type": "list",
        "elements": "dict",
        "options": {
            "login": {"type": "str", "required": True},
            "min": {"type": "int", "default": 0},
            "max": {"type": "int", "default": 99999},
            "warn": {"type": "int", "default": 7},
            "endless": {"type": "bool", "default": False},
        },
    },
    "renew_weak_hashes": {"type": "bool", "default": False},
    "protect_password_files": {"type": "bool", "default": False, "no_log": False},  # says what to do, is no secret itself
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    os.environ["LC_ALL"] = "C.UTF-8"
    wanted = {**module.params, "predict_missing": module.check_mode or module.params["people"] is not None}
    made: list[str] = []
    try:
        changes = plan(read_state(ROOT, wanted), wanted)
        for name in SHAPES if changes else ():
            refuse_frozen(ROOT / "etc" / name)
        for change in changes:
            if not module.check_mode:
                Applier(wanted).apply(change)
            made.append(change.text)
        if made and not module.check_mode:
            prove(wanted, made)
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
        module.fail_json(msg=str(error), changes=made, changed=bool(made))
    diff = {"before": "", "after": "".join(f"{text}\n" for text in made), "after_header": "accounts"}
    module.exit_json(changed=bool(made), changes=made, diff=diff if made else {})


def prove(wanted: dict[str, Any], made: list[str]) -> None:
    """Look again: what a tool says it did must be what the machine now has."""
    left = [change.text for change in plan(read_state(ROOT, wanted), wanted) if not change.text.endswith(": sessions ended")]
    if left:
        raise RuntimeError(f"the tools reported success after {len(made)} changes, yet this is still to do: {'; '.join(left)}")


if __name__ == "__main__":
    main()
