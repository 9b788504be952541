"""What a machine answers about its accounts and groups, for the checks of several roles.

No password hash ever leaves the machine: it is reduced to its kind there.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

NO_LOGIN = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false", "/bin/sync")
ADMINS = "cabinet-admins"
NOBODY = 65534
_SHADOW = (
    """awk -F: -v OFS=: '{k="locked"; if ($2=="") k="empty"; else if ($2 !~ /^[!*]/) """
    """{split($2,p,"$"); k="$" p[2] "$"} print $1,k,$3,$4,$5,$6,$7,$8}' /etc/shadow"""
)
# Ways into a group beside its members: a password, administrators, members that newgrp alone knows.
_GSHADOW = """awk -F: -v OFS=: '{print $1,($2=="" || $2 ~ /^[!*]/) ? "none" : "password",$3,$4}' /etc/gshadow"""


def passwd(host: Any) -> dict[str, dict[str, Any]]:
    """Return the accounts that the machine knows, wherever they come from: number, full name, home and shell."""
    lines = [line.split(":") for line in host.check_output("getent passwd").splitlines()]
    found: dict[str, dict[str, Any]] = {}
    for f in lines:  # the first line of a name is the one that counts
        account = {"uid": int(f[2]), "gid": int(f[3]), "name": f[4].split(",")[0], "home": f[5], "shell": f[6] or "/bin/sh"}
        found.setdefault(f[0], account)
    return found


def group_numbers(host: Any) -> dict[str, int]:
    """Return the groups' numbers."""
    return {line.split(":")[0]: int(line.split(":")[2]) for line in host.check_output("getent group").splitlines()}


def groups(host: Any) -> dict[str, set[str]]:
    """Return the groups and their members: those by primary group, and those that newgrp alone knows, included."""
    lines = [line.split(":") for line in host.check_output("getent group").splitlines()]
    found: dict[str, set[str]] = {}
    for f in lines:
        found.setdefault(f[0], set()).update(m for m in f[3].split(",") if m)
    for f in lines:
        found[f[0]] |= {login for login, account in passwd(host).items() if account["gid"] == int(f[2])}
    for name, _password, _admins, members in gshadow(host):
        found.setdefault(name, set()).update(m for m in members.split(",") if m)
    return found


def gshadow(host: Any) -> list[list[str]]:
    """Return, per group, whether it has a password, its administrators and its members."""
    return [line.split(":") for line in host.check_output(_GSHADOW).splitlines() if line.count(":") == 3]


def shadow(host: Any) -> dict[str, dict[str, str]]:
    """Return, per account, the kind of password and the dates."""
    keys = ("login", "kind", "changed", "min", "max", "warn", "inactive", "expires")
    return {f[0]: dict(zip(keys, f, strict=True)) for f in (line.split(":") for line in host.check_output(_SHADOW).splitlines())}


def people(expected: dict[str, Any], state: str) -> list[dict[str, Any]]:
    """Return the people in a state, the maintenance account apart."""
    maintenance = expected["accounts_maintenance_user"]
    return [p for p in expected["accounts_people"] if p.get("state", "active") == state and p["login"] != maintenance]


def known(expected: dict[str, Any]) -> set[str]:
    """Return the logins that somebody answers for."""
    logins = {p["login"] for p in expected["accounts_people"]}
    return logins | {expected["accounts_maintenance_user"], *expected.get("accounts_untouched", [])}


def opens(account: dict[str, Any], entry: dict[str, str]) -> bool:
    """Say whether an account could open a session today, by password or by key."""
    today = (dt.datetime.now(dt.UTC).date() - dt.date(1970, 1, 1)).days
    expired = entry["expires"] != "" and int(entry["expires"]) <= today
    return account["shell"] not in NO_LOGIN and not expired
