# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""What to change in a machine's accounts: pure functions from the state found and the state wanted.

Nothing here reads or writes a file, so that check mode and a real run cannot disagree.
"""

from __future__ import annotations

import datetime as dt
import posixpath
import re
from dataclasses import dataclass, field
from typing import Any

LOCKED_SHELL = "/usr/sbin/nologin"
NO_LOGIN = {"/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false", "/bin/sync"}
LOCK_DAY = 1  # expiry day that `usermod -e 1` writes: our mark of a locked account
NOBODY = 65534
NEW_ID = -1  # stands for the number that useradd will choose
SYSTEM_TREES = set("bin boot dev etc lib lib32 lib64 libx32 proc root run sbin sys tmp usr var".split())
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}")
NEW_AGES = (0, 99999, 7)  # what useradd is told below, so that check mode knows it for accounts not made yet
EPOCH = dt.date(1970, 1, 1)


@dataclass
class Account:
    """One line of passwd with its shadow line and the state of its home."""

    uid: int
    gid: int
    gecos: str = ""
    home: str = ""
    shell: str = "/bin/bash"
    hash: str = "!"
    ages: tuple[int, int, int] = NEW_AGES
    last_change: int | None = None
    expires: int | None = None
    inactive: int | None = None  # days between the end of a password and that of the account
    home_mode: int | None = None  # None: no home directory
    home_uid: int | None = None
    home_listed: bool = False  # an access list gives others rights beside the mode
    home_path: str = ""  # where the home really is
    home_problem: str = ""  # why nobody should touch the home
    in_session: bool = False

    @property
    def has_login_shell(self) -> bool:
        """Say whether a session could be opened."""
        return self.shell not in NO_LOGIN

    @property
    def has_usable_password(self) -> bool:
        """Say whether a password (even an empty one) opens the account."""
        return self.hash == "" or not self.hash.startswith(("!", "*"))

    @property
    def never_had_password(self) -> bool:
        """Say whether there is no hash at all, not even a locked one (usermod makes !x of a missing line)."""
        return self.hash.strip("!*") in ("", "x")

    @property
    def is_human(self) -> bool:
        """Say whether the number is one given to people."""
        return self.uid >= 1000 and self.uid != NOBODY


@dataclass
class State:
    """What the machine's account files say."""

    accounts: dict[str, Account]
    groups: dict[str, tuple[int, list[str]]]
    foreign_sudoers: list[str] = field(default_factory=list)
    open_files: list[str] = field(default_factory=list)
    unshadowed: bool = False  # passwd, which everybody may read, holds hashes
    half_set: set[str] = field(default_factory=set)  # a first password was being set when a run was killed
    hidden_members: dict[str, list[str]] = field(default_factory=dict)  # members for newgrp only
    group_admins: dict[str, list[str]] = field(default_factory=dict)  # people who may add members
    group_passwords: set[str] = field(default_factory=set)  # groups that a password opens

    def shares_number(self, login: str) -> bool:
        """Say whether another account has the same number: for the system they are one."""
        uid = self.accounts[login].uid
        return any(other != login and account.uid == uid for other, account in self.accounts.items())


@dataclass(frozen=True)
class Change:
    """One change: the sentence that is reported and the steps that make it."""

    text: str
    steps: tuple[tuple[str, ...], ...]


def run(*argv: str) -> tuple[str, ...]:
    """Return the step that runs a tool."""
    return ("run", *argv)


def days(date: str) -> int | None:
    """Return days since the epoch, as shadow counts them.

    Raises:
        ValueError: not a date, or one that would read as our mark of a lock.
    """
    try:
        number = (dt.date.fromisoformat(date) - EPOCH).days if date else None
    except ValueError:
        number = LOCK_DAY
    if number is not None and number <= LOCK_DAY:
        raise ValueError(f"{date!r} is not a date that an account can expire on: write YYYY-MM-DD")
    return number


def clean_name(name: str) -> str:
    """Return a full name that passwd can hold."""
    return " ".join(re.sub(r"[:,=\x00-\x1f\x7f]", " ", name).split())


def belongs_to_system(home: str) -> bool:
    """Say whether a path is not one where the homes of people may be."""
    plain = home.startswith("/") and home == posixpath.normpath(home)
    return not plain or home.count("/") < 2 or home.split("/")[1] in SYSTEM_TREES


def shared_home(login: str, state: State) -> str:
    """Return why a home is not a folder of one person's own, empty when it is."""
    home = state.accounts[login].home
    if belongs_to_system(home):
        return f"the home {home!r} belongs to the system"
    for other, account in state.accounts.items():
        if other != login and (account.home == home or account.home.startswith(f"{home}/")):
            return f"the home {home!r} is {other}'s too"
    return ""


def refuse_bad_request(wanted: dict[str, Any]) -> None:
    """Refuse texts that a line of an account file, or of chpasswd's input, cannot hold.

    Raises:
        ValueError: names the text, never a password.
    """
    people = wanted.get("people") or []
    logins = [person["login"] for person in people]
    groups = list(wanted.get("groups") or []) + [group for person in people for group in person.get("groups") or []]
    names = logins + groups + list(wanted.get("initial_passwords") or {}) + [item["login"] for item in wanted.get("ages") or []]
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be a login or a group")
    for login in logins:
        if logins.count(login) > 1:
            raise ValueError(f"{login} is asked twice")
    for login, password in (wanted.get("initial_passwords") or {}).items():
        if not isinstance(password, str) or not password or not password.isprintable():
            raise ValueError(f"the first password of {login} is empty or cannot be typed")


def plan(state: State, wanted: dict[str, Any]) -> list[Change]:
    """Return the changes that lead from a state to what is wanted, in the order in which they are made."""
    refuse_bad_request(wanted)
    changes = [*plan_groups(state, wanted)]
    if wanted.get("people") is not None:
        if state.unshadowed:
            changes.append(Change("passwords: moved to /etc/shadow", (run("pwconv"),)))
        changes += plan_people(state, wanted)
        changes += plan_members(state, wanted)
        changes += plan_others(state, wanted)
    changes += [Change(f"sudoers {name}: set aside", (("aside", name),)) for name in state.foreign_sudoers]
    changes += [Change(f"file {path}: closed to others", (("protect", path),)) for path in state.open_files]
    return changes + plan_ages(state, wanted)


def plan_groups(state: State, wanted: dict[str, Any]) -> list[Change]:
    """Make the managed groups."""
    missing = [group for group in wanted.get("groups") or [] if group not in state.groups]
    return [Change(f"group {group}: created", (run("groupadd", "--", group),)) for group in missing]


def plan_people(state: State, wanted: dict[str, Any]) -> list[Change]:
    """Create, correct, lock or unlock the personal accounts."""
    changes: list[Change] = []
    for person in wanted["people"]:
        login, account = person["login"], state.accounts.get(person["login"])
        if login in untouchable(wanted):
            continue
        if account is not None:
            refuse_confusion(login, account, state, wanted)
        if person.get("state") == "locked":
            changes += lock(login, account, "left", state) if account is not None else []
        else:
            changes += plan_active(person, account, state, wanted)
    return changes


def refuse_confusion(login: str, account: Account, state: State, wanted: dict[str, Any]) -> None:
    """Refuse a person's account that is somebody else's as well."""
    if account.uid == 0 and login != "root":
        raise ValueError(f"{login} has root's number 0: give the account a number of its own (usermod -u), or remove it")
    if not account.is_human:  # daemon, nobody...: a mistake in the answers
        raise ValueError(f"{login} is a system account (uid {account.uid}): choose another login")
    kept = {person["login"] for person in wanted["people"] if person.get("state") != "locked"} | untouchable(wanted)
    for other in kept - {login}:
        if other in state.accounts and state.accounts[other].uid == account.uid:
            raise ValueError(f"{login} and {other} have the same number {account.uid}: give one another number (usermod -u)")


def creation(login: str, name: str, state: State, wanted: dict[str, Any]) -> Change:
    """Return the change that makes an account."""
    own_group = ["-U"]
    if login in state.groups:
        number = state.groups[login][0]
        rights = {*(wanted.get("groups") or []), *(wanted.get("privileged_groups") or [])}
        if number < 1000 or login in rights:
            raise ValueError(f"{login} is a system group (gid {number}): choose another login")
        own_group = ["-g", login]
    keys = ("HOME_MODE=0700", "PASS_MIN_DAYS=0", "PASS_MAX_DAYS=99999", "PASS_WARN_AGE=7")
    options = [word for key in keys for word in ("-K", key)]
    create = run("useradd", "-m", *own_group, "-s", "/bin/bash", "-c", name, *options, "--", login)
    # The home may be there already, of an account that was removed by hand.
    return Change(f"account {login}: created", (create, ("home", login)))


def plan_active(person: dict[str, Any], account: Account | None, state: State, wanted: dict[str, Any]) -> list[Change]:
    """Bring the account of one person who works here to what is wanted."""
    login, name = person["login"], clean_name(person.get("name") or "")
    changes: list[Change] = []
    if account is None:
        changes.append(creation(login, name, state, wanted))
        account = Account(NEW_ID, NEW_ID, name, home_mode=0o700, home_uid=NEW_ID)
    elif account.home_problem:
        raise ValueError(f"{login}: {account.home_problem}; give the account another home (usermod -d), then start again")
    elif account.gid not in {gid for gid, _members in state.groups.values()}:  # useradd was cut short
        changes.append(Change(f"account {login}: group of its own", (("own-group", login),)))
    if account.expires == LOCK_DAY or not account.has_login_shell:
        changes.append(Change(f"account {login}: unlocked", tuple(unlock_steps(login, account))))
    gecos = clean_gecos(account.gecos, name)
    if account.gecos != gecos:
        changes.append(Change(f"account {login}: name", (run("usermod", "-c", gecos, "--", login),)))
    expires = days(person.get("expires") or "")
    known = None if account.expires == LOCK_DAY else account.expires
    if known != expires:
        text = f"account {login}: expires {person['expires']}" if expires is not None else f"account {login}: no expiry"
        changes.append(Change(text, (run("chage", "-E", str(-1 if expires is None else expires), "--", login),)))
    return changes + plan_home(login, account) + plan_password(login, account, state, wanted)


def clean_gecos(found: str, name: str) -> str:
    """Return the comment field with the wanted name: the person's other entries stay, orders to PAM go (pam_umask(8))."""
    rest = [part for part in found.split(",")[1:] if not re.match(r"\s*(umask|pri|ulimit)=", part)]
    return ",".join([name, *rest])


def plan_password(login: str, account: Account, state: State, wanted: dict[str, Any]) -> list[Change]:
    """Give a first password to whom never had one; leave every other password alone."""
    if account.never_had_password and login in (wanted.get("initial_passwords") or {}):
        return [Change(f"password {login}: first password, to be changed at first logon", (("password", login),))]
    if account.hash == "":
        return [Change(f"password {login}: empty, locked", (run("usermod", "-L", "--", login),))]
    # A run was killed between the first password and the order to change it.
    if login in state.half_set and not account.never_had_password:
        return [Change(f"password {login}: to be changed at first logon", (("renew-first", login),))]
    return []


def plan_home(login: str, account: Account) -> list[Change]:
    """Make a person's home private."""
    if account.home_mode is None:
        return [Change(f"home {login}: created", (run("mkhomedir_helper", login, "0077"), ("home", login)))]
    changes = []
    if account.home_mode != 0o700:
        changes.append(Change(f"home {login}: mode {account.home_mode:04o} to 0700", (("home", login),)))
    if account.home_uid != account.uid:
        changes.append(Change(f"home {login}: owner", (("home", login),)))
    if account.home_listed:
        changes.append(Change(f"home {login}: access list", (("home", login),)))
    return changes


def unlock_steps(login: str, account: Account) -> list[tuple[str, ...]]:
    """Undo a lock of ours; a password locked by hand (without our mark) stays locked."""
    steps = [] if account.has_login_shell else [run("usermod", "-s", "/bin/bash", "--", login)]
    if account.expires == LOCK_DAY:
        steps.append(run("chage", "-E", "-1", "--", login))
        if account.hash.startswith("!") and account.hash not in ("!", "!!"):
            steps.append(run("usermod", "-U", "--", login))
    return steps


def lock(login: str, account: Account, reason: str, state: State) -> list[Change]:
    """Lock an account in the three ways that count: password, expiry (keys, cron), shell. Nothing is deleted."""
    # Sessions belong to numbers: those of a double are somebody else's too, perhaps the ones that we came by.
    end_sessions = () if state.shares_number(login) else (("sessions", login),)
    if account.expires == LOCK_DAY and not account.has_login_shell and not account.has_usable_password:
        return [Change(f"account {login}: sessions ended", end_sessions)] if account.in_session and end_sessions else []
    close = run("usermod", "-L", "-e", "1970-01-02", "-s", LOCKED_SHELL, "--", login)
    return [Change(f"account {login}: locked ({reason})", (close, *end_sessions))]


def plan_members(state: State, wanted: dict[str, Any]) -> list[Change]:
    """Make the members of managed groups exact, and empty the groups that give rights."""
    skip = untouchable(wanted)
    active = [person for person in wanted["people"] if person.get("state") != "locked" and person["login"] not in skip]
    managed = list(dict.fromkeys(wanted.get("groups") or []))
    privileged = privileged_groups(state, wanted, managed)
    changes: list[Change] = []
    for group in managed + privileged:
        members = state.groups.get(group, (-1, []))[1]
        found = members + state.hidden_members.get(group, [])
        goal = [p["login"] for p in active if group in (p.get("groups") or []) and group in managed]
        added = [login for login in goal if login not in members]
        removed = [login for login in found if login not in goal and login not in skip]
        changes += [Change(f"group {group}: +{login}", (run("gpasswd", "-a", login, "--", group),)) for login in added]
        changes += [Change(f"group {group}: -{login}", (run("gpasswd", "-d", login, "--", group),)) for login in removed]
        if state.group_admins.get(group):
            step = run("gpasswd", "-A", "", "--", group)
            changes.append(Change(f"group {group}: nobody may add members", (step,)))
        if group in state.group_passwords:
            changes.append(Change(f"group {group}: no password", (run("gpasswd", "-R", "--", group),)))
    by_gid = {state.groups[group][0]: group for group in reversed(privileged)}
    for person in active:
        account = state.accounts.get(person["login"])
        if account is not None and account.gid in by_gid:
            text = f"group {by_gid[account.gid]}: -{person['login']} (primary)"
            changes.append(Change(text, (("own-group", person["login"]),)))
    return changes


def privileged_groups(state: State, wanted: dict[str, Any], managed: list[str]) -> list[str]:
    """Return the groups that give rights: those named, and any other name of the same number.

    Raises:
        ValueError: a group of the practice has such a number.
    """
    named = [group for group in wanted.get("privileged_groups") or [] if group in state.groups and group not in managed]
    numbers = {state.groups[group][0]: group for group in reversed(named)}
    doubles = [group for group, (gid, _members) in state.groups.items() if gid in numbers and group not in named]
    for group in doubles:
        if group in managed:
            number = state.groups[group][0]
            raise ValueError(f"group {group} has the number {number} of {numbers[number]}: give it another one (groupmod -g)")
    return named + doubles


def plan_others(state: State, wanted: dict[str, Any]) -> list[Change]:
    """Lock what nobody answers for: unknown people, doubles of root, empty passwords, shells of services."""
    changes: list[Change] = []
    known = {person["login"] for person in wanted["people"]} | untouchable(wanted)
    for login, account in state.accounts.items():
        if login == "root":
            if account.has_usable_password:
                changes.append(Change("password root: locked", (run("usermod", "-L", "--", "root"),)))
        elif login in known:
            continue
        elif account.uid == 0:
            changes += lock(login, account, "second root", state)
        elif account.is_human and (account.has_login_shell or (account.expires == LOCK_DAY and account.in_session)):
            changes += lock(login, account, "unknown", state)
        elif account.has_login_shell:
            step = run("usermod", "-L", "-s", LOCKED_SHELL, "--", login)
            changes.append(Change(f"account {login}: service without login shell", (step,)))
        elif account.hash == "":
            changes.append(Change(f"password {login}: empty, locked", (run("usermod", "-L", "--", login),)))
    return changes


def plan_ages(state: State, wanted: dict[str, Any]) -> list[Change]:
    """Set password ages; weak old hashes can only be renewed by their owners, at the next logon."""
    changes: list[Change] = []
    for item in wanted.get("ages") or []:
        login, account = item["login"], state.accounts.get(item["login"])
        if account is None and not wanted.get("predict_missing"):
            continue
        ages = (item["min"], item["max"], item["warn"])
        if (account.ages if account else NEW_AGES) != ages:
            step = run("chage", "-m", str(ages[0]), "-M", str(ages[1]), "-W", str(ages[2]), "--", login)
            changes.append(Change(f"password {login}: ages min={ages[0]} max={ages[1]} warn={ages[2]}", (step,)))
        if account is not None and account.inactive is not None:
            # It would shut the account for good when the password ends: a holiday is enough.
            changes.append(Change(f"password {login}: no end after the password's", (run("chage", "-I", "-1", "--", login),)))
        if account is not None and item.get("endless"):
            changes += plan_endless(login, account)
        # Never for whom we come by: a password that must be changed closes an account to its key, too.
        people = account is not None and account.is_human and login not in untouchable(wanted)
        weak = account and account.hash.startswith("$") and not account.hash.startswith(("$y$", "$gy$"))
        if wanted.get("renew_weak_hashes") and account and people and weak and account.last_change != 0:
            changes.append(Change(f"password {login}: old hash, to be changed", (run("chage", "-d", "0", "--", login),)))
    return changes


def plan_endless(login: str, account: Account) -> list[Change]:
    """Take away what would close an account that a key opens: an end, and the order to change a password it has not."""
    end = [Change(f"account {login}: no expiry", (run("chage", "-E", "-1", "--", login),))]
    order = [Change(f"password {login}: no change asked", (run("chage", "-d", "-1", "--", login),))]
    return (end if account.expires is not None else []) + (order if account.last_change == 0 else [])


def untouchable(wanted: dict[str, Any]) -> set[str]:
    """Return the accounts that are never changed."""
    return {name for name in [wanted.get("maintenance_user"), *(wanted.get("untouched") or [])] if name}
