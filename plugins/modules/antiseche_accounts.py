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

import json
import os
import re
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.antiseche_accounts_plan import Account, Change, State, plan
from ansible.module_utils.basic import AnsibleModule

SET_ASIDE = Path("/var/lib/antiseche/set-aside")
# Files that hold hashes: group shadow may read the live ones (unix_chkpwd, screen lockers), nobody the old passwords.
PASSWORD_FILES = {
    "etc/shadow": 0o640,
    "etc/shadow-": 0o640,
    "etc/gshadow": 0o640,
    "etc/gshadow-": 0o640,
    "etc/security/opasswd": 0o600,
}


def read_state(root: Path, wanted: dict[str, Any]) -> State:
    """Read the account files under a root."""

    def lines(name: str) -> list[list[str]]:
        path = root / "etc" / name
        text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
        return [line.split(":") for line in text.splitlines() if ":" in line]

    def number(text: str) -> int | None:
        return int(text) if re.fullmatch(r"\d+", text) else None  # empty and -1 both mean: none

    def endless(age: int | None) -> int:
        return 99999 if age is None else age

    shadow = {fields[0]: fields for fields in lines("shadow") if len(fields) >= 8}
    accounts = {}
    for login, _x, uid, gid, gecos, home, shell, *_ in (
        f for f in lines("passwd") if len(f) >= 7 and f[2].isdigit() and f[3].isdigit()
    ):
        entry = shadow.get(login, ["", "!"] + [""] * 7)
        ages = (number(entry[3]) or 0, endless(number(entry[4])), number(entry[5]) or 0)
        account = Account(int(uid), int(gid), gecos, home, shell or "/bin/sh", entry[1], ages, number(entry[2]), number(entry[7]))
        accounts[login] = account
        if home.startswith("/") and account.is_human:
            try:
                info = (root / home.lstrip("/")).lstat()
            except OSError:
                continue
            if stat.S_ISDIR(info.st_mode):
                account.home_mode, account.home_uid = stat.S_IMODE(info.st_mode), info.st_uid
    groups = {f[0]: (int(f[2]), [m for m in f[3].split(",") if m]) for f in lines("group") if len(f) >= 4 and f[2].isdigit()}
    state = State(accounts, groups)
    if wanted.get("protect_password_files"):
        for name, most in PASSWORD_FILES.items():
            path = root / name
            if path.is_file() and (path.stat().st_mode & 0o7777 & ~most or path.stat().st_uid != 0):
                state.open_files.append(f"/{name}")
    if wanted.get("sudoers_dir"):
        state.foreign_sudoers = foreign_sudoers(Path(wanted["sudoers_dir"]), wanted.get("sudoers_ours") or [], state)
    return state


def foreign_sudoers(folder: Path, ours: list[str], state: State) -> list[str]:
    """Return the files of the folder, not ours, that sudo reads and that give somebody who is not a service rights."""
    services = {login for login, account in state.accounts.items() if 0 < account.uid < 1000}
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name in ours or "." in path.name or path.name.endswith("~") or not path.is_file():
            continue
        done = subprocess.run(["cvtsudoers", "-f", "json", "-e", str(path)], capture_output=True, text=True, check=False)
        try:
            specs = json.loads(done.stdout or "{}").get("User_Specs", [])
        except ValueError:
            specs = [{"User_List": [{"username": "unreadable"}]}]
        users = [user for spec in specs for user in spec["User_List"]]
        if any(user.get("username") not in services or user.get("negated") for user in users):
            found.append(path.name)
    return found


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

    def run(self, argv: list[str], stdin: str | None = None, may_fail: bool = False) -> None:
        for wait in (0.5, 1.0, 2.0, None):
            done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
            if done.returncode == 0 or may_fail:
                return
            if wait is None or "cannot lock" not in done.stderr:  # another tool is writing the same files
                raise RuntimeError(f"{argv[0]} failed ({done.returncode}): {done.stderr.strip()[:300]}")
            time.sleep(wait)

    def do_password(self, login: str) -> None:
        self.run(["chpasswd"], stdin=f"{login}:{self.wanted['initial_passwords'][login]}\n")

    def do_home(self, login: str) -> None:
        account = read_state(Path("/"), {}).accounts[login]
        # O_NOFOLLOW: a person could have replaced the folder by a link to somebody else's.
        handle = os.open(account.home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.fchown(handle, account.uid, account.gid)
            os.fchmod(handle, 0o700)
        finally:
            os.close(handle)

    def do_sessions(self, login: str) -> None:
        for argv in (["loginctl", "disable-linger", login], ["loginctl", "terminate-user", login]):
            try:
                self.run(argv, may_fail=True)
            except FileNotFoundError:
                return

    def do_own_group(self, login: str) -> None:
        if login not in read_state(Path("/"), {}).groups:
            self.run(["groupadd", "--", login])
        self.run(["usermod", "-g", login, "--", login])

    def do_protect(self, name: str) -> None:
        os.chown(name, 0, -1)
        Path(name).chmod(PASSWORD_FILES[name.lstrip("/")])

    def do_aside(self, name: str) -> None:
        SET_ASIDE.mkdir(mode=0o700, parents=True, exist_ok=True)
        moved = SET_ASIDE / f"sudoers.d-{name}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        source = Path(self.wanted["sudoers_dir"]) / name
        content = source.read_bytes()
        handle = os.open(moved, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fsync(file.fileno())
        source.unlink()


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
        },
    },
    "renew_weak_hashes": {"type": "bool", "default": False},
    "protect_password_files": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    os.environ["LC_ALL"] = "C.UTF-8"
    wanted = {**module.params, "predict_missing": module.check_mode or module.params["people"] is not None}
    made: list[str] = []
    try:
        changes = plan(read_state(Path("/"), wanted), wanted)
        applier = Applier(wanted)
        for change in changes:
            if not module.check_mode:
                applier.apply(change)
            made.append(change.text)
    except (OSError, RuntimeError, ValueError) as error:
        module.fail_json(msg=str(error), changes=made, changed=bool(made))
    diff = {"before": "", "after": "".join(f"{text}\n" for text in made), "after_header": "accounts"}
    module.exit_json(changed=bool(made), changes=made, diff=diff if made else {})


if __name__ == "__main__":
    main()
