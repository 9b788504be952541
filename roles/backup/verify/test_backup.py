"""Checks of the backups: what the repository answers, what a machine could do to it, and when each thing last succeeded.

The programs leave states in /var/lib; the repository itself is asked too, wherever it answers.
"""

from __future__ import annotations

import datetime as dt
import json
import shlex
from typing import Any

import pytest

from antiseche.verify.checks import not_applicable, remark

STATE, SERVER_STATE = "/var/lib/antiseche-backup/state.json", "/var/lib/antiseche-backup-server/state.json"
DRILL = "/var/lib/antiseche-backup/drill.json"
SETTINGS = "/etc/antiseche/backup"
DAY = 86400
MAX_AGE, MAX_CHECK_AGE, MAX_COPY_AGE, MAX_DRILL_AGE = 3 * DAY, 8 * DAY, 8 * DAY, 366 * DAY
FIRST_CHECK, FIRST_DRILL = 2 * DAY, 30 * DAY
FIRST_BACKUP_WAITS = 12  # of 20 seconds each
SKEW = 300  # seconds
FREE_PERCENT = 10
# What is missing from a snapshot that was made all the same: SAV-02's affair.
INCOMPLETE = ("dump", "paths", "unreadable")
REASONS = {
    "absent": "le serveur de sauvegarde ne répond pas",
    "password": "le mot de passe de la machine n'ouvre pas ses sauvegardes : l'un des deux a été changé",
    "full": "le disque qui reçoit les sauvegardes est plein",
    "refused": "le serveur refuse cette machine : identifiant inconnu, ou mot de passe changé",
    "certificate": "le serveur qui répond n'est pas celui qui est reconnu",
    "lost": "les sauvegardes de la machine ne sont plus à leur place",
    "host_key": "le serveur SFTP qui répond n'a pas la clé déclarée : ce n'est pas l'hébergeur reconnu, ou il en a changé",
    "key": "l'hébergeur refuse la clé de ce serveur, ou elle est abîmée",
    "locked": "une autre opération tient les sauvegardes",
    "corrupt": "une partie des sauvegardes est abîmée",
    "empty": "aucune sauvegarde n'y est à copier",
    "clock": "des sauvegardes portent une date qui n'est pas celle de leur arrivée : rien n'a été retiré",
    "dump": "une extraction de base a échoué",
    "paths": "un dossier déclaré n'existe pas, ou est vide",
    "unreadable": "des fichiers n'ont pas pu être lus",
    "other": "l'outil de sauvegarde s'est arrêté",
}
# Asks the server what a machine may do, with the machine's own credentials, which stay on it. The object does not exist:
# where removal is allowed the answer is 404 or 200, where it is forbidden 403.
PROBE = """
import base64, http.client, json, ssl, urllib.parse
folder = "/etc/antiseche/backup/"
at = urllib.parse.urlsplit(open(folder + "repository").read().strip()[5:])
token = base64.b64encode((urllib.parse.unquote(at.username) + ":" + urllib.parse.unquote(at.password)).encode()).decode()
def ask(verb, path, headers):
    context = ssl.create_default_context(cafile=folder + "server.pem")
    connection = http.client.HTTPSConnection(at.hostname, at.port, timeout=15, context=context)
    connection.request(verb, path, headers=headers)
    return connection.getresponse().status
mine = {"Authorization": "Basic " + token}
found = {"scheme": at.scheme}
try:
    found["own"] = ask("HEAD", at.path + "config", mine)
    found["delete"] = ask("DELETE", at.path + "data/" + "0" * 64, mine)
    found["remove_snapshot"] = ask("DELETE", at.path + "snapshots/" + "0" * 64, mine)
    found["anonymous"] = ask("HEAD", at.path + "config", {})
    found["others"] = ask("HEAD", "/autre/config", mine)
except ssl.SSLError as error:
    found["tls"] = str(error)
except OSError as error:
    found["absent"] = str(error)
print(json.dumps(found))
"""


def clock(host: Any) -> float:
    """Return the machine's clock."""
    return float(host.check_output("date +%s"))


def state_at(host: Any, path: str) -> dict[str, Any]:
    """Return a state that a program left; empty when there is none."""
    done = host.run(f"cat {path}")
    try:
        found = json.loads(done.stdout) if done.rc == 0 else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


def seconds(stamp: str) -> float:
    """Return a state's date in seconds since the epoch."""
    return dt.datetime.fromisoformat(stamp).timestamp()


def when(stamp: str, zone: dict[str, Any]) -> str:
    """Return a state's date as the practice reads it."""
    from zoneinfo import ZoneInfo

    local = dt.datetime.fromisoformat(stamp).astimezone(ZoneInfo(zone.get("antiseche_timezone", "Europe/Paris")))
    return local.strftime("%d/%m/%Y à %H h %M")


def why(failure: dict[str, Any]) -> str:
    """Return in plain words what failed, and what the tool said of it."""
    code = failure.get("code", "other")
    words = str(failure.get("detail", ""))[:160]
    return REASONS.get(code, REASONS["other"]) + (f" ({words})" if words and code in ("other", *INCOMPLETE) else "")


def client_only(expected: dict[str, Any]) -> None:
    """Leave machines that hold nothing to back up; that a practice has no backup at all is SAV-01's affair."""
    if not expected.get("backup_server"):
        not_applicable("aucune sauvegarde n'est déclarée dans les réponses")
    if not expected.get("backup_paths"):
        not_applicable("les réponses ne déclarent rien à sauvegarder sur cette machine")


def server_only(expected: dict[str, Any]) -> list[str]:
    """Return the machines whose backups this one keeps."""
    clients: list[str] = expected.get("backup_clients") or []
    if not clients:
        not_applicable("cette machine ne garde pas de sauvegardes")
    return clients


def first_backup(host: Any) -> dict[str, Any]:
    """Return the machine's state; a first backup that is running is waited for."""
    state = state_at(host, STATE)
    for number in range(FIRST_BACKUP_WAITS):
        if state.get("success"):
            break
        # An answer is kept for the whole pass: each wait is a command of its own.
        waited = host.run(
            f": {number}; for pause in 1 1 2 2 3 3 4 4; do systemctl show antiseche-backup.service -P ActiveState"
            f" | grep -qx activating || break; sleep $pause; done; cat {STATE}; systemctl is-active antiseche-backup.service >&2"
        )
        state = json.loads(waited.stdout or "{}")
        if "activating" not in waited.stderr:
            break
    return state


def repository(host: Any, *arguments: str) -> Any:
    """Ask the machine's repository; a server that does not answer does not hang us."""
    words = " ".join(map(shlex.quote, arguments))
    return host.run(
        f"timeout 25 env RESTIC_REPOSITORY_FILE={SETTINGS}/repository RESTIC_PASSWORD_FILE={SETTINGS}/password"
        f" restic --no-lock --no-cache --cacert {SETTINGS}/server.pem {words}"
    )


def probe(host: Any) -> dict[str, Any]:
    """Return what the server lets this machine do."""
    done = host.run(f"python3 -B -c {shlex.quote(PROBE)}")
    assert done.rc == 0, f"Le serveur de sauvegarde n'a pas pu être interrogé : {done.stderr.strip()[-160:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.control("SAV-01")
def test_backup_is_recent(host: Any, expected: dict[str, Any]) -> None:
    assert expected.get("backup_server"), "Aucune sauvegarde n'est déclarée dans les réponses : rien n'est sauvegardé."
    client_only(expected)
    state = first_backup(host)
    failure, success = state.get("failure") or {}, state.get("success") or {}
    cause = f" Depuis le {when(failure['since'], expected)} : {why(failure)}." if failure else ""
    assert success, f"La machine n'a encore jamais été sauvegardée.{cause}"
    age = clock(host) - seconds(success["at"])
    last = when(success["at"], expected)
    days = int(age // DAY)
    assert age <= MAX_AGE, f"Dernière sauvegarde réussie : {last}, il y a {days} jours.{cause}"
    code = failure.get("code", "")
    assert not failure or code in ("absent", *INCOMPLETE), f"La sauvegarde échoue ; la dernière réussie : {last}.{cause}"
    skew = int(state.get("clock_skew") or 0)
    wrong = max(abs(skew), -int(age))
    side = "retarde" if skew > 0 else "avance"
    assert wrong <= SKEW, f"L'horloge de la machine {side} de {span(wrong)} sur celle du serveur de sauvegarde."
    kept = repository(host, "snapshots", "--json", "--latest", "1")
    if kept.rc == 0:
        known = [item["id"] for item in json.loads(kept.stdout or "[]") or []]
        assert known, "Le serveur ne garde aucune sauvegarde de la machine."
        assert success["snapshot"] in known or any(seen.startswith(success["snapshot"]) for seen in known), (
            f"La sauvegarde du {last} n'est pas parmi celles que garde le serveur."
        )
    remark(
        f"{success['files']} fichiers, {size(success['bytes'])}, le {last}" + (f" ; {why(failure)}" if code == "absent" else "")
    )


def size(count: int) -> str:
    """Return a size as people say it."""
    for unit, name in ((10**9, "Go"), (10**6, "Mo"), (10**3, "ko")):
        if count >= unit:
            return f"{count / unit:.1f} {name}".replace(".", ",")
    return f"{count} o"


def span(count: int) -> str:
    """Return a duration as people say it."""
    for unit, name in ((DAY, "jour"), (3600, "heure"), (60, "minute")):
        if count >= unit:
            number = round(count / unit)
            return f"{number} {name}" + ("s" if number > 1 else "")
    return f"{count} s"


@pytest.mark.control("SAV-02")
def test_backup_is_complete(host: Any, expected: dict[str, Any]) -> None:
    client_only(expected)
    state = first_backup(host)
    if not state.get("success"):
        not_applicable("aucune sauvegarde n'a encore été faite")
    failure = state.get("failure") or {}
    assert failure.get("code") not in INCOMPLETE, f"La dernière sauvegarde est incomplète : {why(failure)}."
    kept = repository(host, "snapshots", "--json", "--latest", "1")
    if kept.rc != 0:
        not_applicable("le serveur de sauvegarde ne répond pas d'ici")
    newest = max(json.loads(kept.stdout or "[]") or [{}], key=lambda item: item.get("time", ""))
    holds = newest.get("paths") or []
    wanted = [*expected["backup_paths"], *expected.get("backup_must_survive", [])]
    lacking = [path for path in wanted if not any(path == top or path.startswith(top.rstrip("/") + "/") for top in holds)]
    assert not lacking, f"La dernière sauvegarde ne contient pas : {', '.join(lacking)}."


@pytest.mark.control("SAV-03")
def test_backup_starts_by_itself(host: Any, expected: dict[str, Any]) -> None:
    units = {"antiseche-backup": "client.py"} if expected.get("backup_paths") else {}
    if expected.get("backup_clients"):
        units["antiseche-backup-maintenance"] = "server.py"
    if not units:
        client_only(expected)
    for name, program in units.items():
        timer = properties(host, f"{name}.timer", "ActiveState", "UnitFileState", "Unit")
        assert timer["ActiveState"] == "active", f"La minuterie {name}.timer est arrêtée."
        assert timer["UnitFileState"] == "enabled", f"La minuterie {name}.timer ne repartira pas au prochain démarrage."
        listed = json.loads(host.check_output(f"systemctl list-timers --all --output=json {name}.timer") or "[]")
        due = max((int(row.get("next") or 0) for row in listed), default=0) / 1e6
        running = properties(host, f"{name}.service", "ActiveState", "LoadState", "ExecStart")
        soon = 0 < due - clock(host) < 1.1 * DAY or running["ActiveState"] == "activating"
        assert soon, f"La minuterie {name}.timer ne lancera rien dans les prochaines vingt-quatre heures."
        assert timer["Unit"] == f"{name}.service", f"La minuterie {name}.timer lance autre chose : {timer['Unit']}."
        assert running["LoadState"] == "loaded", f"Le service {name} ne peut pas être lancé ({running['LoadState']})."
        assert f"/backup/{program} ;" in running["ExecStart"], f"Le service {name} lance autre chose que la sauvegarde."


def properties(host: Any, unit: str, *names: str) -> dict[str, str]:
    """Return what systemd says of a unit."""
    output = host.check_output(f"systemctl show {unit} --property={','.join(names)}")
    return dict(line.partition("=")[::2] for line in output.splitlines())


@pytest.mark.control("SAV-04")
def test_backups_are_out_of_reach(host: Any, expected: dict[str, Any]) -> None:
    if not expected.get("backup_clients"):
        client_only(expected)
    else:
        process = properties(host, "antiseche-backup-server.service", "ActiveState", "MainPID")
        assert process["ActiveState"] == "active", "Le service qui reçoit les sauvegardes est arrêté."
        shown = host.check_output(f"tr '\\0' '\\n' < /proc/{int(process['MainPID'])}/cmdline").split("\n")
        for option in ("--append-only", "--private-repos", "--tls"):
            assert option in shown, f"Le serveur de sauvegarde tourne sans {option}."
        assert "--no-auth" not in shown, "Le serveur de sauvegarde n'exige pas d'identifiant."
        owner = host.check_output(f"stat -c %U /proc/{int(process['MainPID'])}")
        assert owner != "root", "Le serveur de sauvegarde tourne avec les droits de l'administrateur."
    if expected.get("backup_paths"):
        seen = probe(host)
        if "absent" in seen:
            assert expected.get("backup_clients") is None or not expected["backup_clients"], (
                "Le serveur ne se répond pas à lui-même."
            )
            not_applicable("le serveur de sauvegarde ne répond pas d'ici")
        assert "tls" not in seen, f"Le serveur qui répond n'est pas celui qui est reconnu ({seen.get('tls')})."
        for verb, thing in (("delete", "effacer des données"), ("remove_snapshot", "effacer une sauvegarde")):
            assert seen[verb] == 403, f"Le serveur laisse cette machine {thing} (réponse {seen[verb]}, attendue 403)."
        assert seen["others"] in (401, 403), f"La machine lit les sauvegardes des autres (réponse {seen['others']})."
        assert seen["anonymous"] == 401, f"Le serveur répond à qui n'a pas d'identifiant (réponse {seen['anonymous']})."


@pytest.mark.control("SAV-05")
def test_secrets_are_guarded(host: Any, expected: dict[str, Any]) -> None:
    names = [f"{SETTINGS}/password", f"{SETTINGS}/repository"] if expected.get("backup_paths") else []
    if expected.get("backup_clients"):
        names += [f"{SETTINGS}/server.key", f"{SETTINGS}/server.json", f"{SETTINGS}/users.htpasswd"]
        folder = expected["backup_repository_path"]
        mode, owner = host.check_output(f"stat -c '%a %U' {shlex.quote(folder)}").split()
        assert int(mode, 8) & 0o077 == 0, f"Le dossier des sauvegardes {folder} est ouvert à d'autres comptes ({mode})."
        assert owner == "restic-rest-server", f"Le dossier des sauvegardes {folder} appartient à {owner}."
    if not names:
        client_only(expected)
    for row in host.check_output(f"stat -c '%a %U %n' {SETTINGS} {' '.join(names)}").splitlines():
        mode, owner, name = row.split(" ", 2)
        private = owner == "root" and int(mode, 8) & 0o077 == 0
        assert private, f"{name} se lit d'autres comptes que l'administrateur ({mode} {owner})."
    if expected.get("backup_paths"):
        seen = probe(host)
        assert seen["scheme"] == "https", "Les sauvegardes partent par un canal qui n'est pas chiffré."
        assert "tls" not in seen, f"Le serveur qui répond n'est pas celui qui est reconnu ({seen.get('tls')})."


@pytest.mark.control("SAV-06")
def test_backups_are_whole(host: Any, expected: dict[str, Any]) -> None:
    clients, state, now = server_only(expected), state_at(host, SERVER_STATE).get("hosts") or {}, clock(host)
    waiting = []
    for name in clients:
        one = state.get(name) or {}
        done, failure = one.get("check") or {}, one.get("failure") or {}
        assert not failure, f"Sauvegardes de {name} : {why(failure)}."
        if not done:
            made = host.run(
                f"stat -c %Y {shlex.quote(expected['backup_repository_path'] + '/' + name + '/config')}"
            ).stdout.strip()
            assert not made or now - int(made) < FIRST_CHECK, f"Les sauvegardes de {name} n'ont jamais été vérifiées."
            waiting.append(name)
            continue
        assert done.get("ok"), f"Sauvegardes de {name}, vérifiées le {when(done['at'], expected)} : {why(done)}."
        age = int((now - seconds(done["at"])) // DAY)
        assert age * DAY <= MAX_CHECK_AGE, f"Les sauvegardes de {name} n'ont pas été vérifiées depuis {age} jours."
    if len(waiting) == len(clients):
        not_applicable("première vérification à faire : le serveur la lance de lui-même à l'heure de l'entretien")
    if waiting:
        remark(f"première vérification à venir : {', '.join(waiting)}")


@pytest.mark.control("SAV-07")
def test_a_copy_is_elsewhere(host: Any, expected: dict[str, Any]) -> None:
    clients = server_only(expected)
    assert expected.get("backup_offsite"), "Aucune copie distante des sauvegardes n'est déclarée dans les réponses."
    state, now = state_at(host, SERVER_STATE).get("hosts") or {}, clock(host)
    for name in clients:
        copy = (state.get(name) or {}).get("offsite") or {}
        cause = f" : {why(copy['failure'])}" if copy.get("failure") else ""
        assert copy.get("at"), f"Les sauvegardes de {name} n'ont encore jamais été copiées au loin{cause}."
        age = int((now - seconds(copy["at"])) // DAY)
        assert age * DAY <= MAX_COPY_AGE, f"La copie distante de {name} date de {age} jours{cause}."
        if cause:
            remark(f"dernier envoi de {name} manqué{cause}")


@pytest.mark.control("SAV-08")
def test_a_restore_was_exercised(host: Any, expected: dict[str, Any]) -> None:
    client_only(expected)
    drill, now = state_at(host, DRILL), clock(host)
    if not drill:
        since = state_at(host, STATE).get("repository", "")
        if not since or now - seconds(since) < FIRST_DRILL:
            not_applicable("premier exercice de restauration à faire dans le mois : « antiseche drill »")
    assert drill, "Aucun exercice n'a jamais restauré de fichiers de cette machine."
    age = int((now - seconds(drill["at"])) // DAY)
    day = when(drill["at"], expected)
    intact = drill.get("verified") is True and drill.get("compared", 0) > 0
    assert intact, f"L'exercice de restauration du {day} n'a pas retrouvé les fichiers intacts."
    assert age * DAY <= MAX_DRILL_AGE, f"Le dernier exercice de restauration remonte à {age} jours."
    remark(f"{drill['compared']} fichiers restaurés et comparés le {day}")


@pytest.mark.control("SAV-09")
def test_there_is_room(host: Any, expected: dict[str, Any]) -> None:
    server_only(expected)
    row = host.check_output(f"df -PB1 {shlex.quote(expected['backup_repository_path'])} | tail -n 1").split()
    total, free = int(row[1]), int(row[3])
    room = free * 100 >= total * FREE_PERCENT > 0
    assert room, f"Il ne reste que {size(free)} sur {size(total)} pour les sauvegardes."
    remark(f"{size(free)} libres sur {size(total)}")


NOT_FROZEN = {
    "room": "il ne reste pas assez de place à LVM pour un instantané",
    "kind": "son disque n'est ni sous LVM ni sous btrfs",
    "filled": "l'instantané s'est rempli pendant la sauvegarde, qui a repris sur les fichiers en service",
    "many": "il contient trop de sous-volumes",
    "mount": "l'instantané n'a pas pu être ouvert",
    "tool": "l'instantané n'a pas pu être fait",
}


@pytest.mark.control("SAV-10")
def test_files_were_frozen(host: Any, expected: dict[str, Any]) -> None:
    client_only(expected)
    if not expected.get("backup_snapshots"):
        not_applicable("les réponses ne demandent pas d'instantané sur cette machine")
    state = first_backup(host)
    success, frozen = state.get("success") or {}, state.get("frozen") or {}
    if not success:
        not_applicable("aucune sauvegarde n'a encore été faite")
    assert frozen.get("snapshot") == success["snapshot"], "La dernière sauvegarde a été faite sans instantané."
    live = [
        f"{one['place']} : {NOT_FROZEN.get(one['why'], NOT_FROZEN['tool'])}"
        + (f" ({one['detail'][:120]})" if one["why"] in ("mount", "tool") else "")
        for one in frozen["live"]
    ]
    assert not live, f"La dernière sauvegarde a lu des fichiers en service. {' ; '.join(live)}."
    assert frozen["frozen"], "La dernière sauvegarde n'a rien figé."
    running = properties(host, "antiseche-backup.service", "ActiveState")["ActiveState"] == "activating"
    left = host.run("lvs --noheadings -o lv_full_name -S lv_tags=antiseche_backup").stdout.split()
    assert running or not left, f"Un instantané est resté après la sauvegarde : {', '.join(left)}."
    remark(f"instantané de {', '.join(one['place'] for one in frozen['frozen'])}")
