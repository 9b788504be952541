# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Read a machine's account files as its own library and its own tools read them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.antiseche_accounts_plan import NOBODY, Account, State, belongs_to_system, shared_home
from ansible.module_utils.antiseche_files_plan import FilesError, has_access_list, refuse_foreign_ways

# Files that hold hashes: group shadow may read the live ones (unix_chkpwd, screen lockers), nobody the old passwords.
PASSWORD_FILES = {
    "etc/shadow": 0o640,
    "etc/shadow-": 0o640,
    "etc/gshadow": 0o640,
    "etc/gshadow-": 0o640,
    "etc/security/opasswd": 0o600,
}
FIRST_PASSWORDS = Path("var/lib/antiseche/first-password")  # logins whose first password is being set
SESSIONS = Path("run/systemd/users")  # one file per number that has a session or lingers
OPEN_SESSIONS = {"opening", "lingering", "online", "active"}
# Fields of a line, fields from which on the C library reads it at all, and which fields are numbers.
SHAPES = {"passwd": (7, 4, (2, 3)), "group": (4, 3, (2,)), "shadow": (9, 2, ()), "gshadow": (4, 2, ())}
GREATEST = 2**32 - 1
# Options of sudo that only change what is shown or mailed; any other one may undo what our own rules ask for.
HARMLESS = {"lecture", "lecture_file", "insults", "pwfeedback", "badpass_message", "passprompt", "mailto", "mail_badpass"}


def account_lines(root: Path, name: str) -> dict[str, list[str]]:
    """Return the lines of an account file by name, split into fields; comments and NIS lines are left out.

    Lines end at line feeds alone: a person may put any other separator into the full name (chfn), and must not be
    able to hide an account by it.

    Raises:
        ValueError: a line that the C library reads, in its lenient way, and that the tools which write the file do
            not: it could give rights that nobody sees.
    """
    path = root / "etc" / name
    text = path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""
    full, least, numbers = SHAPES[name]
    found: dict[str, list[str]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        start = line.strip()[:1]
        fields = line.split(":")
        if start in ("", "#", "+", "-") or len(fields) < least:
            continue
        plain = len(fields) == full and re.fullmatch(r"[^\s:]+", fields[0])
        if not plain or not all(re.fullmatch(r"[0-9]{1,10}", fields[index]) for index in numbers):
            raise ValueError(
                f"/etc/{name}, line {number} is malformed, yet may give rights: mend it (vipw, vigr), then start again"
            )
        if fields[0] in found:
            raise ValueError(
                f"/etc/{name}, line {number} names {fields[0]} a second time: mend it (vipw, vigr), then start again"
            )
        found[fields[0]] = fields
    return found


def read_state(root: Path, wanted: dict[str, Any]) -> State:
    """Read the account files under a root."""
    shadow = account_lines(root, "shadow")
    accounts = {}
    unshadowed = False
    for login, (_login, own_hash, uid, gid, gecos, home, shell) in account_lines(root, "passwd").items():
        entry = shadow.get(login, ["", "!"] + [""] * 7)
        ages = (_number(entry[3]) or 0, _endless(_number(entry[4])), _number(entry[5]) or 0)
        # A hash, or nothing at all, in passwd itself counts instead of the one in shadow.
        unshadowed = unshadowed or own_hash.strip("!*x") != "" or own_hash == ""
        hashed, changed = (entry[1], _number(entry[2])) if own_hash == "x" else (own_hash, None)
        account = Account(int(uid), int(gid), gecos, home, shell or "/bin/sh", hashed, ages, changed, _number(entry[7]))
        account.inactive = _number(entry[6])
        accounts[login] = account
    state = State(accounts, _groups(root), unshadowed=unshadowed)
    refuse_shared_numbers(state.groups, wanted.get("groups") or [])
    state.half_set = {path.name for path in (root / FIRST_PASSWORDS).glob("*")}
    for login, account in accounts.items():
        account.in_session = _in_session(root, account.uid)
        if account.is_human:
            _look_at_home(root, login, account, state)
    _read_doors(root, state)
    if wanted.get("protect_password_files"):
        state.open_files = [f"/{name}" for name in PASSWORD_FILES if _is_open(root, name, state)]
    if wanted.get("sudoers_dir"):
        state.foreign_sudoers = foreign_sudoers(Path(wanted["sudoers_dir"]), wanted.get("sudoers_ours") or [], state)
    return state


def foreign_sudoers(folder: Path, ours: list[str], state: State) -> list[str]:
    """Return the files of the folder, not ours, that give people rights, or a service all of them."""
    services = {login for login, account in state.accounts.items() if 0 < account.uid < 1000 or account.uid == NOBODY}
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name in ours or "." in path.name or path.name.endswith("~") or not path.is_file():
            continue
        done = subprocess.run(["cvtsudoers", "-f", "json", "-e", str(path)], capture_output=True, check=False, timeout=60)
        try:
            rules = json.loads(done.stdout.decode("utf-8", "replace") or "{}")
        except ValueError:
            rules = None
        # sudo skips a line that it cannot read and obeys the others: unreadable does not mean harmless.
        if done.returncode or not isinstance(rules, dict) or _gives_rights(rules, services):
            found.append(path.name)
    return found


def _gives_rights(rules: dict[str, Any], services: set[str]) -> bool:
    """Say whether rules give a person something, or take away what our own rules ask of everybody."""

    def of_services(users: list[dict[str, Any]]) -> bool:
        return bool(users) and all(user.get("username") in services and not user.get("negated") for user in users)

    for defaults in rules.get("Defaults", []):
        options = {name for option in defaults.get("Options", []) for name in option if name != "operation"}
        if options - HARMLESS and not of_services(defaults.get("Binding", [])):
            return True
    return not all(
        of_services(spec.get("User_List", [])) and not _is_everything(spec.get("Cmnd_Specs", []))
        for spec in rules.get("User_Specs", [])
    )


def _is_everything(given: list[dict[str, Any]]) -> bool:
    """Say whether commands are all commands: no service needs that, and whoever takes it over would have it."""
    commands = [command for one in given for command in one.get("Commands", [])]
    return any(command.get("command") == "ALL" or command.get("negated") for command in commands)


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]+", text) else None  # empty and -1 both mean: none


def _endless(age: int | None) -> int:
    return 99999 if age is None else age


def _groups(root: Path) -> dict[str, tuple[int, list[str]]]:
    lines = account_lines(root, "group").values()
    return {fields[0]: (int(fields[2]), _names(fields[3])) for fields in lines}


def refuse_shared_numbers(groups: dict[str, tuple[int, list[str]]], managed: list[str]) -> None:
    """Refuse a managed group that has another name too: the members of the one would have the rights of the other.

    Raises:
        ValueError: names both, and what to do.
    """
    for group in managed:
        number = groups.get(group, (None, []))[0]
        twins = [name for name, (gid, _members) in groups.items() if name != group and gid == number]
        if twins:
            raise ValueError(f"groups {group} and {', '.join(twins)} share the number {number}: give one another (groupmod -g)")


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _read_doors(root: Path, state: State) -> None:
    """Read gshadow: who may add members to a group, who may enter it by its password, and who is a member for newgrp only."""
    for group, (_group, hashed, admins, members) in account_lines(root, "gshadow").items():
        if group not in state.groups:
            continue
        state.hidden_members[group] = [name for name in _names(members) if name not in state.groups[group][1]]
        state.group_admins[group] = _names(admins)
        if hashed.strip("!*x") and not hashed.startswith(("!", "*")):
            state.group_passwords.add(group)


def _in_session(root: Path, uid: int) -> bool:
    with contextlib.suppress(OSError):
        found = re.search(r"^STATE=(\w+)", (root / SESSIONS / str(uid)).read_text(encoding="utf-8"), re.MULTILINE)
        return bool(found and found.group(1) in OPEN_SESSIONS)
    return False


def _look_at_home(root: Path, login: str, account: Account, state: State) -> None:
    """Fill in mode and owner of a home, or why nobody should touch it."""
    account.home_problem = shared_home(login, state)
    if account.home_problem:
        return
    path = root / account.home.lstrip("/")
    try:
        if path.is_symlink() and path.lstat().st_uid in (0, os.geteuid()):
            path = Path(os.path.realpath(path))  # an administrator put the homes elsewhere
            if belongs_to_system(f"/{path.relative_to(root)}" if path.is_relative_to(root) else str(path)):
                account.home_problem = f"the home {account.home} leads to {path}, which belongs to the system"
                return
        refuse_foreign_ways(path)
        info = path.lstat()
    except FileNotFoundError:
        return
    except (FilesError, OSError) as error:
        account.home_problem = str(error)
        return
    if stat.S_ISDIR(info.st_mode):
        account.home_mode, account.home_uid = stat.S_IMODE(info.st_mode), info.st_uid
        account.home_path = str(path)
        account.home_listed = has_access_list(path)
    else:
        account.home_problem = f"{account.home} is not a folder"


def _is_open(root: Path, name: str, state: State) -> bool:
    """Say whether somebody beside root and group shadow may read a file of hashes."""
    path = root / name
    try:
        info = path.lstat()
    except FileNotFoundError:
        return False
    groups = {0, state.groups.get("shadow", (0, []))[0]}
    readable_by_group = info.st_mode & 0o040 and info.st_gid not in groups
    return bool(info.st_mode & 0o7777 & ~PASSWORD_FILES[name] or info.st_uid or readable_by_group or has_access_list(path))
