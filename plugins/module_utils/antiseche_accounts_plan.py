# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""What to change in a machine's accounts: pure functions from the state found and the state wanted.

Nothing here reads or writes a file, so that check mode and a real run cannot disagree.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import Any

LOCKED_SHELL = "/usr/sbin/nologin"
NO_LOGIN = {"/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false", "/bin/sync"}
LOCK_DAY = 1  # expiry day that `usermod -e 1` writes: our mark of a locked account
NOBODY = 65534
NEW_ID = -1  # stands for the number that useradd will choose
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
    home_mode: int | None = None  # None: no home directory
    home_uid: int | None = None

    @property
    def has_login_shell(self) -> bool:
        """Say whether a session could be opened."""
        return self.shell not in NO_LOGIN

    @property
    def has_usable_password(self) -> bool:
        """Say whether a password (even an empty one) opens the account."""
        return self.hash == "" or not self.hash.startswith(("!", "*"))

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


@dataclass(frozen=True)
class Change:
    """One change: the sentence that is reported and the steps that make it."""

    text: str
    steps: tuple[tuple[str, ...], ...]


def run(*argv: str) -> tuple[str, ...]:
    """Return the step that runs a tool."""
    return ("run", *argv)


def days(date: str) -> int | None:
    """Return days since the epoch, as shadow counts them."""
    return (dt.date.fromisoformat(date) - EPOCH).days if date else None


def clean_name(name: str) -> str:
    """Return a full name that passwd can hold."""
    return " ".join(re.sub(r"[:,=\x00-\x1f\x7f]", " ", name).split())


def plan(state: State, wanted: dict[str, Any]) -> list[Change]:
    """Return the changes that lead from a state to what is wanted, in the order in which they are made."""
    changes = [*plan_groups(state, wanted)]
    if wanted.get("people") is not None:
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
        if account is not None and not account.is_human:
            # A person's login that belongs to the system (daemon, root...) is a mistake in the answers.
            raise ValueError(f"{login} is a system account (uid {account.uid}): choose another login")
        if person.get("state") == "locked":
            changes += lock(login, account, "left") if account is not None else []
        else:
            changes += plan_active(person, account, wanted)
    return changes


def plan_active(person: dict[str, Any], account: Account | None, wanted: dict[str, Any]) -> list[Change]:
    """Bring the account of one person who works here to what is wanted."""
    login, name = person["login"], clean_name(person.get("name") or "")
    changes: list[Change] = []
    if account is None:
        keys = [
            word
            for key in ("HOME_MODE=0700", "PASS_MIN_DAYS=0", "PASS_MAX_DAYS=99999", "PASS_WARN_AGE=7")
            for word in ("-K", key)
        ]
        create = run("useradd", "-m", "-U", "-s", "/bin/bash", "-c", name, *keys, "--", login)
        changes.append(Change(f"account {login}: created", (create,)))
        account = Account(NEW_ID, NEW_ID, name, home_mode=0o700, home_uid=NEW_ID)
    if account.expires == LOCK_DAY or not account.has_login_shell:
        changes.append(Change(f"account {login}: unlocked", tuple(unlock_steps(login, account))))
    if account.gecos.split(",")[0] != name:
        rest = account.gecos.partition(",")[2]
        gecos = f"{name},{rest}" if rest else name
        changes.append(Change(f"account {login}: name", (run("usermod", "-c", gecos, "--", login),)))
    expires = days(person.get("expires") or "")
    known = None if account.expires == LOCK_DAY else account.expires
    if known != expires:
        text = f"account {login}: expires {person['expires']}" if expires is not None else f"account {login}: no expiry"
        changes.append(Change(text, (run("chage", "-E", str(-1 if expires is None else expires), "--", login),)))
    changes += plan_home(login, account)
    if account.hash in ("", "!", "!!", "*"):
        if login in (wanted.get("initial_passwords") or {}):
            steps = (("password", login), run("chage", "-d", "0", "--", login))
            changes.append(Change(f"password {login}: first password, to be changed at first logon", steps))
        elif account.hash == "":
            changes.append(Change(f"password {login}: empty, locked", (run("usermod", "-L", "--", login),)))
    return changes


def plan_home(login: str, account: Account) -> list[Change]:
    """Make a person's home private."""
    if account.home_mode is None:
        return [Change(f"home {login}: created", (run("mkhomedir_helper", login, "0077"), ("home", login)))]
    changes = []
    if account.home_mode != 0o700:
        changes.append(Change(f"home {login}: mode {account.home_mode:04o} to 0700", (("home", login),)))
    if account.home_uid != account.uid:
        changes.append(Change(f"home {login}: owner", (("home", login),)))
    return changes


def unlock_steps(login: str, account: Account) -> list[tuple[str, ...]]:
    """Undo a lock of ours; a password locked by hand (without our mark) stays locked."""
    steps = [] if account.has_login_shell else [run("usermod", "-s", "/bin/bash", "--", login)]
    if account.expires == LOCK_DAY:
        steps.append(run("chage", "-E", "-1", "--", login))
        if account.hash.startswith("!") and account.hash not in ("!", "!!"):
            steps.append(run("usermod", "-U", "--", login))
    return steps


def lock(login: str, account: Account, reason: str) -> list[Change]:
    """Lock an account in the three ways that count: password, expiry (keys, cron), shell. Nothing is deleted."""
    if account.expires == LOCK_DAY and not account.has_login_shell and not account.has_usable_password:
        return []
    steps = (run("usermod", "-L", "-e", "1970-01-02", "-s", LOCKED_SHELL, "--", login), ("sessions", login))
    return [Change(f"account {login}: locked ({reason})", steps)]


def plan_members(state: State, wanted: dict[str, Any]) -> list[Change]:
    """Make the members of managed groups exact, and empty the groups that give rights."""
    skip = untouchable(wanted)
    active = [person for person in wanted["people"] if person.get("state") != "locked" and person["login"] not in skip]
    changes: list[Change] = []
    managed = list(dict.fromkeys(wanted.get("groups") or []))
    privileged = [g for g in wanted.get("privileged_groups") or [] if g in state.groups and g not in managed]
    for group in managed + privileged:
        current = state.groups.get(group, (-1, []))[1]
        kept = [login for login in current if login in skip]
        members = [p["login"] for p in active if group in (p.get("groups") or []) and group in managed]
        goal = list(dict.fromkeys(kept + members))
        texts = [f"group {group}: +{login}" for login in goal if login not in current]
        texts += [f"group {group}: -{login}" for login in current if login not in goal]
        step = run("gpasswd", "-M", ",".join(goal), "--", group)
        changes += [Change(text, (step,) if index == 0 else ()) for index, text in enumerate(texts)]
    by_gid = {state.groups[group][0]: group for group in privileged}
    for person in active:
        account = state.accounts.get(person["login"])
        if account is not None and account.gid in by_gid:
            text = f"group {by_gid[account.gid]}: -{person['login']} (primary)"
            changes.append(Change(text, (("own-group", person["login"]),)))
    return changes


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
            changes += lock(login, account, "second root")
        elif account.is_human and account.has_login_shell:
            changes += lock(login, account, "unknown")
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
        weak = account and account.hash.startswith("$") and not account.hash.startswith(("$y$", "$gy$"))
        if wanted.get("renew_weak_hashes") and account and weak and account.last_change != 0:
            changes.append(Change(f"password {login}: old hash, to be changed", (run("chage", "-d", "0", "--", login),)))
    return changes


def untouchable(wanted: dict[str, Any]) -> set[str]:
    """Return the accounts that are never changed."""
    return {name for name in [wanted.get("maintenance_user"), *(wanted.get("untouched") or [])] if name}
