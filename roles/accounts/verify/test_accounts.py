"""Checks of the accounts role: what the machine answers about its accounts, never what the role wrote.

No password hash ever leaves the machine: it is reduced to its kind there.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest

from antiseche.verify.checks import not_applicable

NO_LOGIN = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false", "/bin/sync")
SHADOW = (
    """awk -F: -v OFS=: '{k="locked"; if ($2=="") k="empty"; else if ($2 !~ /^[!*]/) """
    """{split($2,p,"$"); k="$" p[2] "$"} print $1,k,$3,$4,$5,$6,$7,$8}' /etc/shadow"""
)
GIVES_RIGHTS = ("sudo", "wheel", "admin", "root", "adm", "disk", "shadow", "docker", "lxd", "incus-admin", "libvirt")
ADMINS = "cabinet-admins"
# Opens a session as login does, without logging anybody on, and tells the umask that the person would get.
UMASK = r"""
import ctypes, os, sys
pam, handle = ctypes.CDLL("libpam.so.0"), ctypes.c_void_p()
conversation = (ctypes.c_void_p * 2)(None, None)
assert pam.pam_start(b"common-session", sys.argv[1].encode(), conversation, ctypes.byref(handle)) == 0
print("session", pam.pam_open_session(handle, 0x8000), "umask", format(os.umask(0), "04o"))
pam.pam_close_session(handle, 0x8000)
"""


def passwd(host: Any) -> dict[str, dict[str, Any]]:
    """Return the accounts: number, full name, home and shell."""
    lines = [line.split(":") for line in host.check_output("getent -s files passwd").splitlines()]
    return {f[0]: {"uid": int(f[2]), "gid": int(f[3]), "name": f[4].split(",")[0], "home": f[5], "shell": f[6]} for f in lines}


def groups(host: Any) -> dict[str, set[str]]:
    """Return the groups and their members, those by primary group included."""
    lines = [line.split(":") for line in host.check_output("getent -s files group").splitlines()]
    by_number = {int(f[2]): f[0] for f in lines}
    found = {f[0]: {m for m in f[3].split(",") if m} for f in lines}
    for login, account in passwd(host).items():
        found.get(by_number.get(account["gid"], ""), set()).add(login)
    return found


def shadow(host: Any) -> dict[str, dict[str, str]]:
    """Return, per account, the kind of password and the dates."""
    keys = ("login", "kind", "changed", "min", "max", "warn", "inactive", "expires")
    return {f[0]: dict(zip(keys, f, strict=True)) for f in (line.split(":") for line in host.check_output(SHADOW).splitlines())}


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


@pytest.mark.control("CPT-01")
def test_one_personal_account_each(host: Any, expected: dict[str, Any]) -> None:
    accounts, members = passwd(host), groups(host)
    wrong = []
    for person in people(expected, "active"):
        login = person["login"]
        account = accounts.get(login)
        if account is None:
            wrong.append(f"{login} : compte absent")
            continue
        if account["name"] != " ".join(re.sub(r"[:,=]", " ", person["name"]).split()):
            wrong.append(f"{login} : le nom est « {account['name']} », attendu « {person['name']} »")
        if account["shell"] in NO_LOGIN:
            wrong.append(f"{login} : session impossible ({account['shell']})")
        has = {g for g in expected["accounts_groups"] if login in members.get(g, set())}
        if has != set(person.get("groups", [])):
            wrong.append(f"{login} : groupes {sorted(has)}, attendu {sorted(person.get('groups', []))}")
    numbers = [accounts[p["login"]]["uid"] for p in people(expected, "active") if p["login"] in accounts]
    if len(set(numbers)) != len(numbers):
        wrong.append("deux personnes partagent le même numéro de compte")
    assert not wrong, " ; ".join(wrong)


@pytest.mark.control("CPT-02")
def test_no_account_that_nobody_answers_for(host: Any, expected: dict[str, Any]) -> None:
    entries = shadow(host)
    unknown = [
        login
        for login, account in passwd(host).items()
        if account["uid"] >= 1000
        and account["uid"] != 65534
        and login not in known(expected)
        and opens(account, entries.get(login, {"expires": ""}))
    ]
    assert not unknown, f"comptes inconnus qui permettent d'ouvrir une session : {', '.join(unknown)}"


@pytest.mark.control("CPT-03")
def test_no_administrator_in_daily_use(host: Any, expected: dict[str, Any]) -> None:
    members, accounts = groups(host), passwd(host)
    spared = {"root", expected["accounts_maintenance_user"], *expected.get("accounts_untouched", [])}
    wrong = []
    for group in GIVES_RIGHTS:
        for login in sorted(members.get(group, set()) - spared):
            if accounts.get(login, {"uid": 0})["uid"] >= 1000:
                wrong.append(f"{login} est membre du groupe {group}")
    daily = [p["login"] for p in people(expected, "active") if ADMINS not in p.get("groups", []) and p["login"] in accounts]
    for login in daily:
        rights = host.run("sudo -n -l -U %s", login).stdout
        if "may run the following" in rights:
            wrong.append(f"{login} peut utiliser sudo")
    assert not wrong, " ; ".join(wrong)


@pytest.mark.control("CPT-04")
def test_root_is_locked_and_alone(host: Any) -> None:
    accounts, entries = passwd(host), shadow(host)
    assert entries["root"]["kind"] == "locked", "root a un mot de passe utilisable, attendu : verrouillé"
    doubles = [
        login
        for login, account in accounts.items()
        if account["uid"] == 0 and login != "root" and (opens(account, entries[login]) or entries[login]["kind"] != "locked")
    ]
    assert not doubles, f"autres comptes root utilisables : {', '.join(doubles)}"


@pytest.mark.control("CPT-05")
def test_becoming_root_asks_for_a_password(host: Any, expected: dict[str, Any]) -> None:
    accounts = passwd(host)
    wrong = []
    for person in people(expected, "active"):
        if person["login"] in accounts:
            rights = host.run("sudo -n -l -U %s", person["login"]).stdout
            if "NOPASSWD" in rights or "!authenticate" in rights:
                wrong.append(f"{person['login']} devient root sans mot de passe")
            if ADMINS in person.get("groups", []) and "(ALL : ALL) ALL" not in rights:
                wrong.append(f"{person['login']} : compte d'administration sans droits sudo")
    without = [
        line
        for line in host.run("cvtsudoers -e -f sudoers /etc/sudoers").stdout.splitlines()
        if ("NOPASSWD" in line or "!authenticate" in line) and line.split()[0] != expected["accounts_maintenance_user"]
    ]
    wrong += [f"règle sudo sans mot de passe : {line}" for line in without]
    stack = [line.split() for line in host.file("/etc/pam.d/su").content_string.splitlines() if line.startswith("auth")]
    if not any("pam_wheel.so" in line and line[1] in ("required", "requisite") for line in stack):
        wrong.append("su n'est pas réservé aux administrateurs")
    assert not wrong, " ; ".join(wrong)


@pytest.mark.control("CPT-06")
def test_administrators_acts_are_logged(host: Any) -> None:
    rules = host.run("cvtsudoers -e -f sudoers /etc/sudoers").stdout
    wrong = []
    for option, meaning in (("logfile=", "le journal de sudo"), ("use_pty", "le terminal séparé")):
        if not re.search(rf"^Defaults\s.*(?<!!)\b{option}", rules, re.MULTILINE):
            wrong.append(f"{meaning} n'est pas actif ({option})")
    if not re.search(rf"^Defaults:%{ADMINS}\s.*(?<!!)\blog_output", rules, re.MULTILINE):
        wrong.append("l'écran des administrateurs n'est pas enregistré (log_output)")
    logfile = re.search(r"logfile=\"?([^\s\",]+)", rules)
    for path, most in (("/var/log/sudo-io", 0o700), (logfile.group(1) if logfile else "/var/log/sudo.log", 0o600)):
        file = host.file(path)
        if file.exists and (file.mode & ~most or file.user != "root"):
            wrong.append(f"{path} est lisible par d'autres ({file.user}, {file.mode:04o})")
    assert not wrong, " ; ".join(wrong)


@pytest.mark.control("CPT-07")
def test_homes_are_private(host: Any, expected: dict[str, Any]) -> None:
    accounts = passwd(host)
    logins = [p["login"] for p in people(expected, "active") if p["login"] in accounts]
    if not logins:
        not_applicable("aucune personne n'a de compte sur cette machine")
    listing = host.run("stat -c '%%n %%a %%U' " + " ".join(["%s"] * len(logins)), *[accounts[x]["home"] for x in logins])
    seen = {line.split()[0]: line.split()[1:] for line in listing.stdout.splitlines()}
    wrong = []
    for login in logins:
        mode, owner = seen.get(accounts[login]["home"], ["absent", "personne"])
        if (mode, owner) != ("700", login):
            wrong.append(f"{accounts[login]['home']} : droits {mode}, propriétaire {owner} ; attendu 700, {login}")
    assert not wrong, " ; ".join(wrong)


@pytest.mark.control("CPT-08")
def test_new_files_are_private(host: Any, expected: dict[str, Any]) -> None:
    accounts = passwd(host)
    logins = [p["login"] for p in people(expected, "active") if p["login"] in accounts]
    if not logins:
        not_applicable("aucune personne n'a de compte sur cette machine")
    answer = host.run("python3 -c %s %s", UMASK, logins[0]).stdout
    match = re.search(r"session 0 umask (\d+)", answer)
    assert match, f"la session de {logins[0]} ne s'ouvre pas : {answer.strip() or 'aucune réponse'}"
    assert match.group(1) == "0077", f"masque des nouveaux fichiers : {match.group(1)}, attendu 0077"


@pytest.mark.control("CPT-09")
def test_locums_end_and_leavers_are_locked(host: Any, expected: dict[str, Any]) -> None:
    accounts, entries = passwd(host), shadow(host)
    wrong = []
    for person in people(expected, "locked"):
        account = accounts.get(person["login"])
        if account and (opens(account, entries[person["login"]]) or entries[person["login"]]["kind"] != "locked"):
            wrong.append(f"{person['login']} a quitté le cabinet et son compte n'est pas verrouillé")
    for person in people(expected, "active"):
        if person["login"] in entries:
            raw = entries[person["login"]]["expires"]
            seen = (dt.date(1970, 1, 1) + dt.timedelta(days=int(raw))).isoformat() if raw else ""
            if seen != person.get("expires", ""):
                wrong.append(f"{person['login']} : fin le {seen or 'jamais'}, attendu {person.get('expires') or 'jamais'}")
    assert not wrong, " ; ".join(wrong)


@pytest.mark.control("CPT-10")
def test_services_open_no_session(host: Any, expected: dict[str, Any]) -> None:
    accounts, entries = passwd(host), shadow(host)
    services = [
        login
        for login, account in accounts.items()
        if 0 < account["uid"] < 1000 and login not in known(expected) and account["shell"] not in NO_LOGIN
    ]
    empty = [login for login, entry in entries.items() if entry["kind"] == "empty"]
    assert not services, f"comptes de service avec une session possible : {', '.join(services)}"
    assert not empty, f"comptes sans mot de passe : {', '.join(empty)}"
