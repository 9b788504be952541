"""Checks of the password policy: what PAM, libpwquality and the shadow file answer.

The numbers expected are written here again, on purpose: a check that read the role's own table would agree with its mistakes.
No password hash ever leaves the machine.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from antiseche.verify.checks import not_applicable

PROFILES = {
    "anssi-cnil": {"length": 14, "tries": 10, "unlock": 60, "max": 99999, "admin_max": 1095},
    "pgssi-s-strict": {"length": 10, "tries": 3, "unlock": 60, "max": 90, "admin_max": 90},
}
ADMINS, ADMIN_LENGTH, HISTORY = "cabinet-admins", 16, 3
SHADOW = (
    """awk -F: -v OFS=: '{k="locked"; if ($2=="") k="empty"; else if ($2 !~ /^[!*]/) """
    """{split($2,p,"$"); k="$" p[2] "$"} print $1,k,$3,$4,$5,$6,$7,$8}' /etc/shadow"""
)
# Asks the library that PAM itself asks, with its own configuration, about passwords made up for the occasion.
QUALITY = r"""
import ctypes, secrets, sys
length, login = int(sys.argv[1]), sys.argv[2]
lib = ctypes.CDLL("libpwquality.so.1")
lib.pwquality_default_settings.restype = ctypes.c_void_p
def settings(*options):
    handle, detail = ctypes.c_void_p(lib.pwquality_default_settings()), ctypes.c_void_p()
    assert lib.pwquality_read_config(handle, None, ctypes.byref(detail)) == 0
    for option in options:
        lib.pwquality_set_option(handle, option.encode())
    return handle
def score(password, *options):
    detail = ctypes.c_void_p()
    return lib.pwquality_check(settings(*options), password.encode(), None, login.encode(), ctypes.byref(detail))
def mixed(count):
    return "".join(secrets.choice(("bdfhjk", "BDFHJK", "2468", "_-+")[index % 4]) for index in range(count))
print("short", score(mixed(length - 1)))
print("long", score(mixed(length + 4)))
print("simple", score("".join(secrets.choice("bcdfghjkmnprstvw") for _ in range(length + 4))))
print("login", score(login + mixed(length)))
print("trade", score("cabinet" + mixed(length)))
print("dictionary", score("password", "minlen=6", "minclass=0", "badwords="))
"""


def shadow(host: Any) -> dict[str, dict[str, str]]:
    """Return, per account, the kind of password and the dates."""
    keys = ("login", "kind", "changed", "min", "max", "warn", "inactive", "expires")
    return {f[0]: dict(zip(keys, f, strict=True)) for f in (line.split(":") for line in host.check_output(SHADOW).splitlines())}


def stack(host: Any, kind: str) -> list[tuple[str, str, list[str]]]:
    """Return the lines of a common stack: control, module, arguments."""
    found = []
    for line in host.file(f"/etc/pam.d/common-{kind}").content_string.splitlines():
        match = re.match(r"-?\w+\s+(\[[^]]*\]|\w+)\s+(\S+)\s*(.*)$", line)
        if match and not line.startswith("#"):
            found.append((match.group(1), match.group(2), match.group(3).split()))
    return found


def place(lines: list[tuple[str, str, list[str]]], module: str, word: str = "") -> int:
    """Return the place of a module in a stack, or -1."""
    return next((i for i, (_c, name, words) in enumerate(lines) if name == module and (not word or word in words)), -1)


def quality(host: Any, expected: dict[str, Any]) -> dict[str, int]:
    """Return libpwquality's answers: a negative number is a refusal."""
    length = PROFILES[expected["password_policy_profile"]]["length"]
    answer = host.run("python3 -c %s %s %s", QUALITY, str(length), "camillex")
    assert answer.rc == 0, "le vérificateur de mots de passe (libpwquality) ne répond pas"
    return {line.split()[0]: int(line.split()[1]) for line in answer.stdout.splitlines()}


def enforced(host: Any) -> None:
    """Fail when PAM does not ask libpwquality before it accepts a new password."""
    lines = stack(host, "password")
    checker, unix = place(lines, "pam_pwquality.so"), place(lines, "pam_unix.so")
    asked = 0 <= checker < unix and any(c == "requisite" and m == "pam_pwquality.so" for c, m, _a in lines)
    assert asked, "PAM n'exige plus la vérification des nouveaux mots de passe (pam_pwquality)"


def active(host: Any, expected: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the people who work here and have an account, the exempt ones apart."""
    entries, exempt = shadow(host), expected.get("password_policy_exempt_users", [])
    return [
        person
        for person in expected.get("accounts_people", [])
        if person.get("state", "active") == "active" and person["login"] in entries and person["login"] not in exempt
    ]


@pytest.mark.control("MDP-01")
def test_short_and_simple_passwords_are_refused(host: Any, expected: dict[str, Any]) -> None:
    enforced(host)
    scores = quality(host, expected)
    length = PROFILES[expected["password_policy_profile"]]["length"]
    assert scores["short"] < 0, f"un mot de passe de {length - 1} caractères est accepté, attendu au moins {length}"
    assert scores["simple"] < 0, "un mot de passe fait d'une seule sorte de caractères est accepté"
    assert scores["long"] >= 0, f"un bon mot de passe est refusé (code {scores['long']}) : plus personne ne peut en changer"


@pytest.mark.control("MDP-02")
def test_guessable_passwords_are_refused(host: Any, expected: dict[str, Any]) -> None:
    enforced(host)
    scores = quality(host, expected)
    meanings = {"login": "contenant l'identifiant", "trade": "contenant un mot du métier", "dictionary": "du dictionnaire"}
    accepted = [meaning for name, meaning in meanings.items() if scores[name] >= 0]
    assert not accepted, f"mots de passe acceptés à tort : {', '.join(accepted)}"


@pytest.mark.control("MDP-03")
def test_accounts_lock_after_failures(host: Any, expected: dict[str, Any]) -> None:
    numbers = PROFILES[expected["password_policy_profile"]]
    lines = stack(host, "auth")
    before, unix, after = (
        place(lines, "pam_faillock.so", "preauth"),
        place(lines, "pam_unix.so"),
        place(lines, "pam_faillock.so", "authfail"),
    )
    assert 0 <= before < unix < after, "PAM ne compte plus les échecs (pam_faillock absent ou mal placé)"
    assert place(stack(host, "account"), "pam_faillock.so") >= 0, "PAM ne remet plus le compteur d'échecs à zéro"
    # An argument on the line wins over the file.
    text = host.file("/etc/security/faillock.conf").content_string + "\n" + "\n".join(lines[before][2] + lines[after][2])
    seen = {"deny": 3, "unlock_time": 600}
    seen.update({k: int(v) for k, v in re.findall(r"^\s*(deny|unlock_time)\s*=\s*(\d+)", text, re.MULTILINE)})
    assert 0 < seen["deny"] <= numbers["tries"], f"blocage après {seen['deny']} échecs, attendu {numbers['tries']} au plus"
    lasts = seen["unlock_time"] == 0 or seen["unlock_time"] >= numbers["unlock"]
    assert lasts, f"blocage de {seen['unlock_time']} s, attendu {numbers['unlock']} s au moins"


@pytest.mark.control("MDP-04")
def test_maintenance_is_never_locked_out(host: Any, expected: dict[str, Any]) -> None:
    exempt, entries = expected.get("password_policy_exempt_users", []), shadow(host)
    present = [login for login in exempt if login in entries]
    if not present:
        not_applicable("aucun compte de maintenance sur cette machine")
    wrong = []
    for login in present:
        entry = entries[login]
        if entry["kind"] != "locked":
            wrong.append(f"{login} a un mot de passe, attendu : clé seulement")
        if entry["changed"] == "0" or (entry["max"] not in ("", "-1") and int(entry["max"]) < 9999) or entry["expires"] != "":
            wrong.append(f"{login} peut expirer (max {entry['max']}, fin {entry['expires'] or 'jamais'})")
        if "NOPASSWD: ALL" not in host.run("sudo -n -l -U %s", login).stdout:
            wrong.append(f"sudo demande un mot de passe à {login}, qui n'en a pas")
    assert not wrong, " ; ".join(wrong)


@pytest.mark.control("MDP-05")
def test_hashes_are_strong(host: Any, expected: dict[str, Any]) -> None:
    entries = shadow(host)
    lines = stack(host, "password")
    unix = place(lines, "pam_unix.so")
    assert unix >= 0, "PAM n'enregistre plus les nouveaux mots de passe (pam_unix absent)"
    assert "yescrypt" in lines[unix][2], "les nouveaux mots de passe ne sont pas enregistrés en yescrypt"
    weak = [
        person["login"]
        for person in active(host, expected)
        if entries[person["login"]]["kind"] not in ("locked", "$y$") and entries[person["login"]]["changed"] != "0"
    ]
    assert not weak, f"empreinte ancienne, sans changement demandé : {', '.join(weak)}"


@pytest.mark.control("MDP-06")
def test_old_passwords_cannot_return(host: Any) -> None:
    lines = stack(host, "password")
    history, unix = place(lines, "pam_pwhistory.so"), place(lines, "pam_unix.so")
    assert 0 <= history < unix, "PAM ne retient plus les anciens mots de passe (pam_pwhistory)"
    kept = [int(word.partition("=")[2]) for word in lines[history][2] if word.startswith("remember=")]
    assert kept, "nombre d'anciens mots de passe retenus non fixé"
    assert kept[0] >= HISTORY, f"{kept[0]} anciens mots de passe retenus, attendu {HISTORY} au moins"


@pytest.mark.control("MDP-07")
def test_ages_are_those_of_the_profile(host: Any, expected: dict[str, Any]) -> None:
    numbers, entries = PROFILES[expected["password_policy_profile"]], shadow(host)
    persons = active(host, expected)
    if not persons:
        not_applicable("aucune personne n'a de compte sur cette machine")
    wrong = []
    for person in persons:
        wanted = numbers["admin_max"] if ADMINS in person.get("groups", []) else numbers["max"]
        seen = entries[person["login"]]["max"] or "99999"
        if int(seen) != wanted:
            wrong.append(f"{person['login']} : {seen} jours, attendu {wanted}")
        if int(entries[person["login"]]["min"] or 0) > 1:
            wrong.append(f"{person['login']} ne peut pas changer de mot de passe avant {entries[person['login']]['min']} jours")
    assert not wrong, " ; ".join(wrong)


@pytest.mark.control("MDP-08")
def test_administrators_need_longer_passwords(host: Any) -> None:
    lines = stack(host, "password")
    unix = place(lines, "pam_unix.so")
    for (_c, first, words), (_control, second, options) in pairwise(lines[:unix]):
        if first == "pam_succeed_if.so" and words[-2:] == ["notingroup", ADMINS] and second == "pam_pwquality.so":
            length = [int(word.partition("=")[2]) for word in options if word.startswith("minlen=")]
            assert length, "longueur des mots de passe d'administration non fixée"
            assert length[0] >= ADMIN_LENGTH, f"administration : {length[0]} caractères, attendu {ADMIN_LENGTH} au moins"
            return
    pytest.fail("PAM n'exige pas de mot de passe plus long pour les comptes d'administration")


@pytest.mark.control("MDP-09")
def test_password_files_are_protected(host: Any) -> None:
    listing = host.run("stat -c '%n %a %U %G' /etc/shadow /etc/shadow- /etc/gshadow /etc/security/opasswd").stdout
    wrong = []
    for line in listing.splitlines():
        path, mode, user, group = line.split()
        most = 0o600 if path.endswith("opasswd") else 0o640
        if int(mode, 8) & ~most or user != "root" or group not in ("root", "shadow"):
            wrong.append(f"{path} : droits {mode} {user}:{group}, attendu {most:o} au plus, root")
    assert "/etc/shadow " in listing, "le fichier des empreintes est introuvable"
    assert not wrong, " ; ".join(wrong)
