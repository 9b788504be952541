"""Checks of the accounts role: what the machine answers about its accounts, never what the role wrote.

No password hash ever leaves the machine: it is reduced to its kind there.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from typing import Any

import pytest

from antiseche.verify import pam, sudo
from antiseche.verify.accounts import (
    ADMINS,
    NO_LOGIN,
    NOBODY,
    group_numbers,
    groups,
    gshadow,
    known,
    opens,
    passwd,
    people,
    shadow,
)
from antiseche.verify.checks import not_applicable

GIVES_RIGHTS = (
    "sudo", "wheel", "admin", "root", "adm", "disk", "shadow", "kmem", "docker", "podman", "lxd", "incus-admin", "libvirt",
    "kvm", "systemd-journal", "staff",
)  # fmt: skip
# Where people's files come from: console, su, planned tasks, the desktop. sudo has its own mask, for root's files.
SESSIONS = ("login", "su", "su-l", "cron", "atd", "systemd-user", "gdm-password", "lightdm", "sddm", "xrdp-sesman")
PAM_FILES = "tail -n +1 /usr/lib/pam.d/* /etc/pam.d/* 2>/dev/null"
# Opens a session as PAM does, without logging anybody on, and tells the umask that each person would get.
UMASK = r"""
import ctypes, os, sys
pam = ctypes.CDLL("libpam.so.0")
conversation = (ctypes.c_void_p * 2)(None, None)
for person in sys.argv[1:]:
    sys.stdout.flush()
    if os.fork() == 0:
        handle = ctypes.c_void_p()
        assert pam.pam_start(b"common-session", person.encode(), ctypes.byref(conversation), ctypes.byref(handle)) == 0
        print(person, pam.pam_open_session(handle, 0x8000), format(os.umask(0), "04o"), flush=True)
        pam.pam_close_session(handle, 0x8000)
        os._exit(0)
    os.wait()
"""
# What the shells' own files make of it, a person's own ones left out.
SHELLS = (
    "umask 077; cd /; for how in -lc -ic; do setpriv --reuid={0} --regid={1} --clear-groups env -i HOME=/nonexistent"
    " PATH=/usr/bin:/bin bash $how umask </dev/null 2>/dev/null; done"
)
AUTOLOGIN = (
    "systemctl cat 'getty@*.service' 'serial-getty@*.service' getty@tty1.service console-getty.service 2>/dev/null"
    " | grep -E '^ExecStart=.*(--autologin|-a[ =])';"
    " grep -rhsiE '^[[:space:]]*(AutomaticLoginEnable|TimedLoginEnable)[[:space:]]*=[[:space:]]*(true|yes|1)"
    "|^[[:space:]]*autologin-(user|guest)[[:space:]]*=|^[[:space:]]*allow-guest[[:space:]]*=[[:space:]]*true"
    "|^[[:space:]]*(User|Session)[[:space:]]*=[^#]*[^[:space:]]' /etc/gdm3 /etc/lightdm /etc/sddm.conf /etc/sddm.conf.d"
)
# Rules of the desktop's administration that came with no package.
DESKTOP_RULES = (
    "find /etc/polkit-1 /usr/share/polkit-1/rules.d /usr/local/share/polkit-1 /var/lib/polkit-1 /run/polkit-1 -type f 2>/dev/null"
    " | while read -r file; do dpkg-query -S $file >/dev/null 2>&1 || echo $file; done"
)
# Programs that act as root whoever starts them, in the places where a program can be.
POWERS = (
    "find /usr /opt /srv /home /tmp /var/tmp /dev/shm -xdev -maxdepth 7 -type f -perm /6000 -print 2>/dev/null;"
    " getcap -r /usr /opt /home /tmp /var/tmp 2>/dev/null"
    " | grep -E 'cap_(setuid|setgid|setfcap|dac_override|dac_read_search|sys_admin|sys_ptrace|sys_module|chown|fowner)'"
    " | sed 's/ [=c].*//'"
)


def present(host: Any, expected: dict[str, Any]) -> list[str]:
    """Return the logins of the people who work here and have an account; without any, nothing can be judged."""
    accounts = passwd(host)
    logins = [p["login"] for p in people(expected, "active") if p["login"] in accounts]
    if not logins:
        not_applicable("aucune personne n'a de compte sur cette machine")
    return logins


def sudo_listing(host: Any, login: str) -> str:
    """Return what sudo says of somebody's rights."""
    text: str = host.run(sudo.LISTING, login).stdout
    return text


def sudo_rules(host: Any) -> str:
    """Return the rules that sudo reads, as cvtsudoers prints them."""
    where = re.search(r"^Sudoers path: (.*)$", host.run("sudo -V").stdout, re.MULTILINE)
    assert where, "sudo ne dit pas où il lit ses règles"
    assert where.group(1) == "/etc/sudoers", f"sudo lit ses règles dans {where.group(1)} ; attendu : /etc/sudoers"
    done = host.run(sudo.RULES)
    assert done.rc == 0, f"les règles de sudo sont illisibles : {' '.join(done.stderr.split())[:200]}"
    text: str = done.stdout
    return text


def unsafe_rules(host: Any, expected: dict[str, Any]) -> list[str]:
    """Return who may become root without being an administrator, or without a password."""
    services = {login for login, account in passwd(host).items() if 0 < account["uid"] < 1000 or account["uid"] == NOBODY}
    free = {"root", expected["accounts_maintenance_user"]}
    return [
        f"règle sudo {'' if rule.asks else 'sans mot de passe '}pour {rule.user}"
        for rule in sudo.rules(sudo_rules(host))
        # A service may have its few commands (a monitoring agent).
        if not (rule.user in free or (rule.user in services and not rule.everything) or (rule.user == f"%{ADMINS}" and rule.asks))
    ]


@pytest.mark.control("CPT-01")
def test_one_personal_account_each(host: Any, expected: dict[str, Any]) -> None:
    accounts, members = passwd(host), groups(host)
    lines = Counter(line.split(":")[0] for line in host.check_output("getent -s files passwd").splitlines())
    wrong = [f"{login} figure {count} fois dans /etc/passwd" for login, count in lines.items() if count > 1]
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
    owners: dict[int, list[str]] = {}
    for login, account in accounts.items():
        owners.setdefault(account["uid"], []).append(login)
    mine = {accounts[p["login"]]["uid"] for p in people(expected, "active") if p["login"] in accounts}
    wrong += [f"{' et '.join(owners[uid])} partagent le numéro de compte {uid}" for uid in sorted(mine) if len(owners[uid]) > 1]
    assert not wrong, " ; ".join(wrong)


@pytest.mark.control("CPT-02")
def test_no_account_that_nobody_answers_for(host: Any, expected: dict[str, Any]) -> None:
    entries = shadow(host)
    unknown = [
        login
        for login, account in passwd(host).items()
        if account["uid"] >= 1000 and login not in known(expected) and opens(account, entries.get(login, {"expires": ""}))
    ]
    assert not unknown, f"comptes inconnus qui permettent d'ouvrir une session : {', '.join(unknown)}"


@pytest.mark.control("CPT-03")
def test_no_administrator_in_daily_use(host: Any, expected: dict[str, Any]) -> None:
    members, accounts, numbers = groups(host), passwd(host), group_numbers(host)
    spared = {"root", expected["accounts_maintenance_user"], *expected.get("accounts_untouched", [])}
    wrong = []
    # A group under another name but with the same number is the same group.
    powerful = {numbers[name]: name for name in reversed(GIVES_RIGHTS) if name in numbers}
    for group, number in numbers.items():
        if number in powerful:
            name = group if group == powerful[number] else f"{group} (le même que {powerful[number]})"
            for login in sorted(members.get(group, set()) - spared):
                if accounts.get(login, {"uid": 0})["uid"] >= 1000:
                    wrong.append(f"{login} est membre du groupe {name}")
    for group, password, admins, _members in gshadow(host):
        if group in (ADMINS, *expected["accounts_groups"], *GIVES_RIGHTS):
            if password != "none":  # noqa: S105
                wrong.append(f"un mot de passe fait entrer dans le groupe {group}")
            if admins:
                wrong.append(f"{admins} peut faire entrer d'autres personnes dans le groupe {group}")
    daily = [p["login"] for p in people(expected, "active") if ADMINS not in p.get("groups", []) and p["login"] in accounts]
    for login in daily:
        if sudo.may_use(sudo_listing(host, login)):
            wrong.append(f"{login} peut utiliser sudo")
    assert not wrong, " ; ".join(wrong)


@pytest.mark.control("CPT-04")
def test_root_is_locked_and_alone(host: Any) -> None:
    accounts, entries = passwd(host), shadow(host)
    assert entries["root"]["kind"] == "locked", "root a un mot de passe utilisable, attendu : verrouillé"
    zero = {login for login, account in accounts.items() if account["uid"] == 0} - {"root"}
    doubles = [
        login
        for login in sorted(zero)
        if opens(accounts[login], entries.get(login, {"expires": ""})) or entries.get(login, {"kind": "?"})["kind"] != "locked"
    ]
    assert not doubles, f"autres comptes root utilisables : {', '.join(doubles)}"


@pytest.mark.control("CPT-05")
def test_becoming_root_asks_for_a_password(host: Any, expected: dict[str, Any]) -> None:
    accounts = passwd(host)
    wrong = unsafe_rules(host, expected)
    for person in people(expected, "active"):
        if person["login"] not in accounts:
            continue
        listing = sudo_listing(host, person["login"])
        options = sudo.options_in_force(listing)
        if options.get("authenticate") == sudo.OFF or person["login"] in options.get("exempt_group", ""):
            wrong.append(f"{person['login']} : sudo ne demande pas de mot de passe")
        other = [name for name in ("rootpw", "targetpw", "runaspw") if options.get(name, sudo.OFF) != sudo.OFF]
        if other:
            wrong.append(f"{person['login']} : sudo demande un autre mot de passe que le sien ({', '.join(other)})")
        minutes = float(options.get("timestamp_timeout") or 15)
        if not 0 <= minutes <= 15:
            wrong.append(f"{person['login']} : sudo ne redemande plus le mot de passe (timestamp_timeout={minutes:g})")
        if ADMINS in person.get("groups", []) and "(ALL : ALL) ALL" not in listing:
            wrong.append(f"{person['login']} : compte d'administration sans droits sudo")
    texts = pam.files(host.check_output(PAM_FILES))
    for service in ("su", "su-l"):
        lines = pam.stack(texts, service, "auth")
        # Somebody who is not an administrator, with the right password of the other account.
        verdict = pam.walk(lines, lambda line: "perm_denied" if line.module in ("pam_wheel.so", "pam_rootok.so") else "success")
        if verdict.accepted or not pam.walk(lines, lambda _line: "success").accepted:
            wrong.append(f"{service} n'est pas réservé aux administrateurs")
    for service in ("sudo", "sudo-i", "su", "su-l", "polkit-1"):
        lines = pam.stack(texts, service, "auth") if service in texts else []
        if any(lines and pam.walk(lines, pam.wrong_password(so)).accepted for so in (True, False)):
            wrong.append(f"{service} ne demande plus de mot de passe (/etc/pam.d/{service})")
    wrong += desktop_rules(host)
    assert not wrong, " ; ".join(wrong)


def desktop_rules(host: Any) -> list[str]:
    """Return what lets people administer from the desktop beside the rules of packages and ours."""
    if host.run("dpkg-query -W -f='${db:Status-Status}' polkitd").stdout != "installed":
        return []
    listed = host.run(DESKTOP_RULES).stdout.split()
    ours = "/etc/polkit-1/rules.d/00-antiseche.rules"
    wrong = [f"règle d'administration du bureau posée à la main : {path}" for path in listed if path != ours]
    if ours not in listed or ADMINS not in host.file(ours).content_string:
        wrong.append("le bureau ne demande pas un compte d'administration")
    return wrong


@pytest.mark.control("CPT-06")
def test_administrators_acts_are_logged(host: Any, expected: dict[str, Any]) -> None:
    accounts = passwd(host)
    admins = [p["login"] for p in people(expected, "active") if ADMINS in p.get("groups", []) and p["login"] in accounts]
    wrong = []
    logfiles = set()
    for login in [*admins, expected["accounts_maintenance_user"]]:
        options = sudo.options_in_force(sudo_listing(host, login))
        for option, meaning in (("logfile", "le journal de sudo"), ("use_pty", "le terminal séparé")):
            if options.get(option, sudo.OFF) == sudo.OFF:
                wrong.append(f"{login} : {meaning} n'est pas actif ({option})")
        if sudo.OFF in (options.get("syslog"), options.get("log_allowed")):
            wrong.append(f"{login} : les commandes ne sont plus notées au journal du système")
        if login in admins and options.get("log_output", sudo.OFF) == sudo.OFF:
            wrong.append(f"{login} : l'écran n'est pas enregistré (log_output)")
        logfiles.add(options.get("logfile", sudo.OFF))
    off = sudo.switched_off(sudo_rules(host)) & {"log_output", "log_allowed", "logfile", "syslog", "use_pty"}
    if off:
        wrong.append(f"des commandes échappent à l'enregistrement ({', '.join(sorted(off))})")
    for path, most in (("/var/log/sudo-io", 0o700), *((name, 0o600) for name in sorted(logfiles - {sudo.OFF}))):
        file = host.file(path)
        if file.exists and (file.mode & ~most or file.user != "root"):
            wrong.append(f"{path} est lisible par d'autres ({file.user}, {file.mode:04o})")
    assert not wrong, " ; ".join(dict.fromkeys(wrong))


@pytest.mark.control("CPT-07")
def test_homes_are_private(host: Any, expected: dict[str, Any]) -> None:
    accounts, logins = passwd(host), present(host, expected)
    homes = [accounts[x]["home"] for x in logins]
    parents = sorted({home.rsplit("/", 1)[0] or "/" for home in homes})
    listing = host.run("stat -L -c '%%n %%a %%U' " + " ".join(["%s"] * len(homes + parents)), *homes, *parents)
    seen = {line.split()[0]: line.split()[1:] for line in listing.stdout.splitlines()}
    wrong = []
    for login in logins:
        mode, owner = seen.get(accounts[login]["home"], ["absent", "personne"])
        if (mode, owner) != ("700", login):
            wrong.append(f"{accounts[login]['home']} : droits {mode}, propriétaire {owner} ; attendu 700, {login}")
    for parent in parents:
        mode, owner = seen.get(parent, ["absent", "personne"])
        if owner != "root" or mode == "absent" or (int(mode, 8) & 0o022 and not int(mode, 8) & 0o1000):
            wrong.append(f"{parent} : droits {mode}, propriétaire {owner} ; d'autres peuvent remplacer un dossier personnel")
    assert not wrong, " ; ".join(wrong)


@pytest.mark.control("CPT-08")
def test_new_files_are_private(host: Any, expected: dict[str, Any]) -> None:
    accounts, logins = passwd(host), present(host, expected)
    wrong = []
    opened = host.run("python3 -c %s" + " %s" * len(logins), UMASK, *logins).stdout
    answers = {line.split()[0]: line.split()[1:] for line in opened.splitlines()}
    for login in logins:
        code, mask = answers.get(login, ["?", "?"])
        if (code, mask) != ("0", "0077"):
            wrong.append(f"{login} : masque {mask}" if code == "0" else f"la session de {login} ne s'ouvre pas ({code})")
    texts = pam.files(host.check_output(PAM_FILES))
    for service in sorted(set(SESSIONS) & set(texts)):
        asked = pam.walk(pam.stack(texts, service, "session"), lambda _line: "success").asked
        masks = [line.option("umask") or "?" for line in asked if line.module == "pam_umask.so"]
        if (masks or ["aucun"])[-1] != "0077":
            wrong.append(f"sessions ouvertes par {service} : masque {(masks or ['aucun'])[-1]}")
    first = accounts[logins[0]]
    shells = host.run(SHELLS.format(first["uid"], first["gid"])).stdout.split()
    for how, mask in zip(("de connexion", "interactif"), shells, strict=False):
        if mask != "0077":
            wrong.append(f"interpréteur {how} : masque {mask} (/etc/profile, /etc/profile.d ou /etc/bash.bashrc)")
    assert not wrong, f"{' ; '.join(wrong)} ; attendu partout : 0077"


@pytest.mark.control("CPT-09")
def test_locums_end_and_leavers_are_locked(host: Any, expected: dict[str, Any]) -> None:
    accounts, entries = passwd(host), shadow(host)
    wrong = []
    for person in people(expected, "locked"):
        account, entry = accounts.get(person["login"]), entries.get(person["login"], {"kind": "?", "expires": ""})
        if account and (opens(account, entry) or entry["kind"] != "locked"):
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
        if (0 < account["uid"] < 1000 or account["uid"] == NOBODY)
        and login not in known(expected)
        and account["shell"] not in NO_LOGIN
    ]
    empty = [login for login, entry in entries.items() if entry["kind"] == "empty"]
    assert not services, f"comptes de service avec une session possible : {', '.join(services)}"
    assert not empty, f"comptes sans mot de passe : {', '.join(empty)}"


@pytest.mark.control("CPT-11")
def test_every_session_begins_with_a_password(host: Any) -> None:
    found = [line.strip() for line in host.run(AUTOLOGIN).stdout.splitlines()]
    members = groups(host)
    # Desktops let the members of these groups in without asking.
    found += [
        f"{', '.join(sorted(members[name]))} dans le groupe {name}"
        for name in ("nopasswdlogin", "autologin")
        if members.get(name)
    ]
    assert not found, f"une session s'ouvre sans que personne se présente : {' ; '.join(found[:4])}"


@pytest.mark.control("CPT-12")
def test_no_foreign_program_acts_as_root(host: Any) -> None:
    found = sorted(set(host.run(POWERS).stdout.splitlines()))
    # Debian moved /bin into /usr/bin; packages may still name the old place.
    names = [name for path in found for name in (path, path.removeprefix("/usr"))]
    listed = host.run("dpkg-query -S" + " %s" * len(names), *names).stdout if names else ""
    owned = {line.split(": ", 1)[1] for line in listed.splitlines() if ": " in line}
    foreign = [path for path in found if not {path, path.removeprefix("/usr")} & owned]
    assert not foreign, f"programmes d'aucun paquet qui agissent en root : {', '.join(foreign[:6])}"
