"""Checks of the password policy: what PAM, libpwquality and the shadow file answer.

The numbers expected are written here again, on purpose: a check that read the role's own table would agree with its mistakes.
No password hash ever leaves the machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from antiseche.verify import pam, sudo
from antiseche.verify.accounts import ADMINS, shadow
from antiseche.verify.checks import not_applicable

PROFILES = {
    "anssi-cnil": {"length": 14, "tries": 10, "unlock": 60, "max": 99999, "admin_max": 1095},
    "pgssi-s-strict": {"length": 10, "tries": 3, "unlock": 60, "max": 90, "admin_max": 90},
}
ADMIN_LENGTH, HISTORY, INTERVAL = 16, 3, 60
PAM_FILES = "tail -n +1 /usr/lib/pam.d/* /etc/pam.d/* 2>/dev/null"
FAILLOCK = "/etc/security/faillock.conf"
# Ways of getting in, of getting more rights, and of changing a password.
CHANGERS = ("passwd", "chpasswd")
DOORS = (
    "login", "su", "su-l", "sudo", "sudo-i", "sshd", "polkit-1", "gdm-password", "lightdm", "sddm", "xrdp-sesman", "other",
    *CHANGERS,
)  # fmt: skip
# Asks the library that PAM itself asks, with its own configuration and the arguments of PAM's line, about passwords
# made up for the occasion.
QUALITY = r"""
import ctypes, secrets, sys
length, login, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
lib = ctypes.CDLL("libpwquality.so.1")
lib.pwquality_default_settings.restype = ctypes.c_void_p
lib.pwquality_set_option.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
def settings(*options):
    handle, detail = ctypes.c_void_p(lib.pwquality_default_settings()), ctypes.c_void_p()
    assert lib.pwquality_read_config(handle, None, ctypes.byref(detail)) == 0
    for option in (*arguments, *options):
        lib.pwquality_set_option(handle, option.encode())
    return handle
def number(setting):
    value = ctypes.c_int(-1)
    assert lib.pwquality_get_int_value(settings(), setting, ctypes.byref(value)) == 0
    return value.value
def score(password, *options):
    detail = ctypes.c_void_p()
    return lib.pwquality_check(settings(*options), password.encode(), None, login.encode(), ctypes.byref(detail))
def mixed(count):
    return "".join(secrets.choice(("bdfhjk", "BDFHJK", "2468", "_-+")[index % 4]) for index in range(count))
print("enforcing", number(17))
print("root", number(19))
print("short", score(mixed(length - 1)))
print("long", score(mixed(length + 4)))
print("simple", score("".join(secrets.choice("bcdfghjkmnprstvw") for _ in range(length + 4))))
print("login", score(login + mixed(length)))
print("trade", score("cabinet" + mixed(length)))
print("dictionary", score("password", "minlen=6", "minclass=0", "badwords="))
"""
# The files of PAM as packages brought them, and as they are.
BROUGHT = "dpkg-query -W -f='${Conffiles}\\n' | grep -o ' /etc/pam.d/[^ ]* [0-9a-f]*'"
FOUND = "md5sum /etc/pam.d/*"


def texts(host: Any) -> dict[str, str]:
    """Return the files that libpam reads, by service."""
    return pam.files(host.check_output(PAM_FILES))


def changed(host: Any) -> set[str]:
    """Return the services whose file is not as its package brought it, or came with none."""
    brought = dict(line.split()[:2] for line in host.check_output(BROUGHT).splitlines())
    found = {line.split()[1]: line.split()[0] for line in host.check_output(FOUND).splitlines()}
    return {path.rsplit("/", 1)[1] for path, digest in found.items() if brought.get(path) != digest}


def policy(host: Any, kind: str, service: str = "passwd") -> list[pam.Line]:
    """Return the stack that people meet: at the console (auth, account), or when they change a password."""
    return pam.stack(texts(host), "login" if kind in ("auth", "account") else service, kind)


def refused_by(module: str, admin: bool = False, *words: str) -> Callable[[pam.Line], str]:
    """Return results where one module refuses, and all others are content; the asker is an administrator or not."""

    def result(line: pam.Line) -> str:
        if line.module == "pam_succeed_if.so" and {"notingroup", ADMINS} <= set(line.arguments):
            return "auth_err" if admin else "success"
        return "auth_err" if line.module == module and set(words) <= set(line.arguments) else "success"

    return result


def checkers(host: Any, admin: bool) -> list[pam.Line]:
    """Return the lines that judge a new password, all of which have the power to refuse it."""
    lines = policy(host, "password")
    verdict = pam.walk(lines, refused_by("pam_pwquality.so", admin))
    found = [line for line in pam.walk(lines, refused_by("", admin)).asked if line.module == "pam_pwquality.so"]
    assert found, "PAM n'exige plus la vérification des nouveaux mots de passe (pam_pwquality)"
    stops = not verdict.accepted and not verdict.reached("pam_unix.so")
    assert stops, "PAM enregistre un nouveau mot de passe même quand la vérification l'a refusé"
    return found


def quality(host: Any, expected: dict[str, Any], admin: bool = False) -> dict[str, int]:
    """Return the answers of libpwquality, as PAM asks it: a negative number is a refusal."""
    line = checkers(host, admin)[0]
    length = ADMIN_LENGTH if admin else PROFILES[expected["password_policy_profile"]]["length"]
    command = "python3 -c %s %s %s" + " %s" * len(line.arguments)
    answer = host.run(command, QUALITY, str(length), "camillex", *line.arguments)
    assert answer.rc == 0, "le vérificateur de mots de passe (libpwquality) ne répond pas"
    scores = {line.split()[0]: int(line.split()[1]) for line in answer.stdout.splitlines()}
    assert scores["enforcing"] == 1, "un mauvais mot de passe n'est plus refusé, seulement signalé (enforcing)"
    assert scores["root"] == 1, "un administrateur peut donner à quelqu'un un mot de passe trop faible (enforce_for_root)"
    return scores


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
    scores = quality(host, expected)
    length = PROFILES[expected["password_policy_profile"]]["length"]
    assert scores["short"] < 0, f"un mot de passe de {length - 1} caractères est accepté, attendu au moins {length}"
    assert scores["simple"] < 0, "un mot de passe fait d'une seule sorte de caractères est accepté"
    assert scores["long"] >= 0, f"un bon mot de passe est refusé (code {scores['long']}) : plus personne ne peut en changer"
    accepted = pam.walk(policy(host, "password"), refused_by("")).accepted
    assert accepted, "PAM refuse tout nouveau mot de passe : plus personne ne peut en changer"


@pytest.mark.control("MDP-02")
def test_guessable_passwords_are_refused(host: Any, expected: dict[str, Any]) -> None:
    scores = quality(host, expected)
    meanings = {"login": "contenant l'identifiant", "trade": "contenant un mot du métier", "dictionary": "du dictionnaire"}
    accepted = [meaning for name, meaning in meanings.items() if scores[name] >= 0]
    assert not accepted, f"mots de passe acceptés à tort : {', '.join(accepted)}"


@pytest.mark.control("MDP-03")
def test_accounts_lock_after_failures(host: Any, expected: dict[str, Any]) -> None:
    numbers = PROFILES[expected["password_policy_profile"]]
    lines = policy(host, "auth")
    wrong = pam.walk(lines, pam.wrong_password(True))
    open_door = wrong.accepted or pam.walk(lines, pam.wrong_password(False)).accepted
    assert not open_door, "PAM ouvre la session sans le bon mot de passe"
    assert wrong.reached("pam_faillock.so", "authfail"), "PAM ne compte plus les échecs (pam_faillock authfail)"
    locked = pam.walk(lines, refused_by("pam_faillock.so", False, "preauth"))
    assert not locked.accepted, "PAM ouvre un compte bloqué à qui en connaît le mot de passe (pam_faillock preauth)"
    assert locked.reached("pam_faillock.so", "preauth"), "PAM ne regarde plus si le compte est bloqué (pam_faillock preauth)"
    good = pam.walk(lines, lambda line: "auth_err" if line.option("authfail") is not None else "success")
    assert good.accepted, "PAM n'ouvre plus aucune session, même avec le bon mot de passe"
    opened = pam.walk(policy(host, "account"), refused_by(""))
    assert opened.reached("pam_faillock.so"), "PAM ne remet plus le compteur d'échecs à zéro"
    # An argument on the line wins over the file.
    words = [word for line in (*wrong.asked, *locked.asked) if line.module == "pam_faillock.so" for word in line.arguments]
    text = host.file(FAILLOCK).content_string + "\n" + "\n".join(words)
    seen = {"deny": 3, "unlock_time": 600, "fail_interval": 900}
    seen.update({k: int(v) for k, v in re.findall(r"^\s*(deny|unlock_time|fail_interval)\s*=\s*(\d+)", text, re.MULTILINE)})
    assert 0 < seen["deny"] <= numbers["tries"], f"blocage après {seen['deny']} échecs, attendu {numbers['tries']} au plus"
    lasts = seen["unlock_time"] == 0 or seen["unlock_time"] >= numbers["unlock"]
    assert lasts, f"blocage de {seen['unlock_time']} s, attendu {numbers['unlock']} s au moins"
    assert seen["fail_interval"] >= INTERVAL, (
        f"les échecs sont oubliés après {seen['fail_interval']} s, attendu {INTERVAL} s au moins"
    )
    elsewhere = re.findall(r"^\s*((?:conf|dir|admin_group)\s*=\s*\S+|local_users_only)", text, re.MULTILINE)
    assert not elsewhere, f"le blocage épargne des comptes ou note les échecs ailleurs ({', '.join(elsewhere)})"


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
        if "NOPASSWD: ALL" not in host.run(sudo.LISTING, login).stdout:
            wrong.append(f"sudo demande un mot de passe à {login}, qui n'en a pas")
    # A key opens the door, then PAM's account stack has its say: a lock after failures must not reach it.
    for service in ("sshd", "sudo"):
        if not pam.walk(pam.stack(texts(host), service, "account"), refused_by("")).accepted:
            wrong.append(f"PAM refuse tout le monde après la clé ({service})")
    assert not wrong, " ; ".join(wrong)


@pytest.mark.control("MDP-05")
def test_hashes_are_strong(host: Any, expected: dict[str, Any]) -> None:
    entries = shadow(host)
    writers = [line for line in pam.walk(policy(host, "password"), refused_by("")).asked if line.module == "pam_unix.so"]
    assert writers, "PAM n'enregistre plus les nouveaux mots de passe (pam_unix absent)"
    kinds = {"md5", "bigcrypt", "sha256", "sha512", "blowfish", "gost_yescrypt", "yescrypt"}
    for line in writers:
        last = [word for word in line.arguments if word in kinds][-1:]
        assert last == ["yescrypt"], (
            f"les nouveaux mots de passe sont enregistrés en {last or 'forme ancienne'} ; attendu : yescrypt"
        )
        rounds = line.option("rounds")
        assert rounds is None or int(rounds) >= 5, f"yescrypt est affaibli (rounds={rounds} ; attendu : 5 au moins)"
    weak = [
        person["login"]
        for person in active(host, expected)
        if entries[person["login"]]["kind"] not in ("locked", "$y$") and entries[person["login"]]["changed"] != "0"
    ]
    assert not weak, f"empreinte ancienne, sans changement demandé : {', '.join(weak)}"


@pytest.mark.control("MDP-06")
def test_old_passwords_cannot_return(host: Any) -> None:
    lines = policy(host, "password")
    verdict = pam.walk(lines, refused_by("pam_pwhistory.so"))
    asked = [line for line in verdict.asked if line.module == "pam_pwhistory.so"]
    assert asked, "PAM ne retient plus les anciens mots de passe (pam_pwhistory)"
    assert not verdict.reached("pam_unix.so"), "PAM enregistre un ancien mot de passe même quand l'historique l'a refusé"
    kept = asked[0].option("remember")
    assert kept, "nombre d'anciens mots de passe retenus non fixé"
    assert int(kept) >= HISTORY, f"{kept} anciens mots de passe retenus, attendu {HISTORY} au moins"
    elsewhere = [name for name in ("file", "conf") if asked[0].option(name)]
    assert not elsewhere, f"l'historique est tenu ailleurs ({', '.join(elsewhere)}) : rien ne dit qu'il l'est"


@pytest.mark.control("MDP-07")
def test_ages_are_those_of_the_profile(host: Any, expected: dict[str, Any]) -> None:
    numbers, entries = PROFILES[expected["password_policy_profile"]], shadow(host)
    persons = active(host, expected)
    if not persons:
        not_applicable("aucune personne n'a de compte sur cette machine")
    wrong = []
    for person in persons:
        entry = entries[person["login"]]
        wanted = numbers["admin_max"] if ADMINS in person.get("groups", []) else numbers["max"]
        seen = entry["max"] or "99999"
        if int(seen) != wanted:
            wrong.append(f"{person['login']} : {seen} jours, attendu {wanted}")
        if int(entry["min"] or 0) > 1:
            wrong.append(f"{person['login']} ne peut pas changer de mot de passe avant {entry['min']} jours")
        if entry["inactive"] not in ("", "-1"):
            wrong.append(
                f"{person['login']} : compte fermé {entry['inactive']} jours après la fin du mot de passe, attendu jamais"
            )
    assert not wrong, " ; ".join(wrong)


@pytest.mark.control("MDP-08")
def test_administrators_need_longer_passwords(host: Any, expected: dict[str, Any]) -> None:
    scores = quality(host, expected, admin=True)
    accepted = f"un mot de passe d'administration de {ADMIN_LENGTH - 1} caractères est accepté, attendu {ADMIN_LENGTH}"
    assert scores["short"] < 0, accepted
    assert scores["long"] >= 0, "un bon mot de passe d'administration est refusé : plus aucun administrateur ne peut en changer"


@pytest.mark.control("MDP-09")
def test_password_files_are_protected(host: Any) -> None:
    files = "/etc/shadow /etc/shadow- /etc/gshadow /etc/gshadow- /etc/security/opasswd /var/backups/*shadow*"
    listing = host.run(f"stat -c '%n %a %U %G' {files}; getfacl -cps {files} 2>/dev/null | grep -E '^(user|group):[^:]'").stdout
    wrong = []
    for line in listing.splitlines():
        if not line.startswith("/"):
            wrong.append(f"droits donnés à part sur un fichier de mots de passe ({line})")
            continue
        path, mode, user, group = line.split()
        most = 0o600 if path.endswith("opasswd") else 0o640
        if int(mode, 8) & ~most or user != "root" or group not in ("root", "shadow"):
            wrong.append(f"{path} : droits {mode} {user}:{group}, attendu {most:o} au plus, root")
    assert "/etc/shadow " in listing, "le fichier des empreintes est introuvable"
    assert not wrong, " ; ".join(wrong)


@pytest.mark.control("MDP-10")
def test_no_door_goes_around_the_policy(host: Any) -> None:
    known, altered = texts(host), changed(host)
    wrong = []
    for service in sorted(set(DOORS) & set(known)):
        # What a package brought is trusted to spare only those it is meant to spare.
        cases = (True, False) if service in altered else (False,)
        lines = pam.stack(known, service, "auth")
        if service not in CHANGERS and any(pam.walk(lines, pam.wrong_password(so)).accepted for so in cases):
            wrong.append(f"{service} s'ouvre sans mot de passe")
        for kind, module in (("auth", "pam_faillock.so"), ("password", "pam_pwquality.so")):
            lines = pam.stack(known, service, kind)
            if service in altered and lines and not any(line.module in (module, "pam_deny.so") for line in lines):
                wrong.append(f"{service} ne suit pas la politique de mots de passe")
    assert not wrong, f"{' ; '.join(dict.fromkeys(wrong))} (/etc/pam.d)"
