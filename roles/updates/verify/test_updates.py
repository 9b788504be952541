"""Checks of the updates: what apt, systemd and dpkg answer, and when they last succeeded.

The dates of the end of support are written here again, on purpose: a check that read the role's own table would agree
with its mistakes.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from antiseche.verify.checks import not_applicable, remark

# debian.csv of Debian's distro-info-data: eol-lts.
END_OF_SUPPORT = {"12": "2028-06-30", "13": "2030-06-30"}
WARNING = 180  # days
# Each timer, the service that it starts, and what that service must run.
TIMERS = {
    "apt-daily.timer": ("apt-daily.service", "/usr/lib/apt/apt.systemd.daily update"),
    "apt-daily-upgrade.timer": ("apt-daily-upgrade.service", "/usr/lib/apt/apt.systemd.daily install"),
}
RESTART = "antiseche-restart.timer"
STAMPS = "/var/lib/apt/periodic"
FIELDS = "$(SITE)|$(REPO_URI)|$(RELEASE)|$(ORIGIN)|$(LABEL)|$(CODENAME)|$(TRUSTED)"
TARGETS = f"apt-get indextargets --format '{FIELDS}' 'Created-By: Packages'"
# The same without asking what each source says of itself: those that apt has never read are listed too.
CONFIGURED = "apt-get indextargets --no-release-info --format '$(SITE)|$(REPO_URI)|$(RELEASE)' 'Created-By: Packages'"
# Options of a source that make apt accept what nobody signed.
UNSIGNED = (
    "grep -rhiE '^[^#]*((trusted|allow-(insecure|weak|downgrade-to-insecure)) *[:=] *yes|check-(valid-until|date) *[:=] *no)'"
    " /etc/apt/sources.list /etc/apt/sources.list.d"
)
DAY = 86400
# What is missing from Debian's security archive, whatever was pinned or held on this machine.
MISSING = "apt-get -s -qq --ignore-hold -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null dist-upgrade"
OFF = ("false", "0", "no", "off", "without", "disable")


def apt_settings(host: Any) -> dict[str, list[str]]:
    """Return apt's effective configuration; a list's items share one key."""
    settings: dict[str, list[str]] = {}
    for key, value in re.findall(r'^(\S+) "(.*)";$', host.check_output("apt-config dump"), re.MULTILINE):
        settings.setdefault(key.rstrip(":"), []).append(value)
    return settings


def last(settings: dict[str, list[str]], key: str, default: str = "") -> str:
    """Return the value that counts."""
    return settings.get(key, [default])[-1]


def stamps(host: Any) -> tuple[int, dict[str, int]]:
    """Return the machine's clock and when each success was noted."""
    names = "update-success-stamp upgrade-stamp unattended-upgrades-stamp"
    output = host.check_output(f"date +%s; cd {STAMPS} && stat -c '%n %Y' {names} 2>/dev/null || true")
    now, *rows = output.splitlines()
    return int(now), {name: int(when) for name, when in (row.split() for row in rows)}


def os_release(host: Any) -> dict[str, str]:
    """Return what the system says it is."""
    return dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', host.file("/etc/os-release").content_string, re.MULTILINE))


def next_starts(host: Any, *timers: str) -> dict[str, int]:
    """Return when systemd will next start each timer's service, in seconds since the epoch; 0: never."""
    listed = json.loads(host.check_output(f"systemctl list-timers --all --output=json {' '.join(timers)}") or "[]")
    return {one["unit"]: int(one["next"] or 0) // 1_000_000 for one in listed}


def units(host: Any, *names: str) -> dict[str, dict[str, str]]:
    """Return what systemd says of some units."""
    output = host.check_output(f"systemctl show -p Id,LoadState,ActiveState,UnitFileState,ExecStart {' '.join(names)}")
    blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in output.split("\n\n") if block.strip()]
    return {block["Id"]: block for block in blocks}


def commands(unit: dict[str, str]) -> list[str]:
    """Return what a service runs."""
    return re.findall(r"argv\[\]=(.*?) ;", unit.get("ExecStart", ""))


def security_suites(release: str) -> set[str]:
    """Return the codenames of Debian's security archive."""
    return {f"{release}-security", release}


@pytest.mark.control("MAJ-01")
def test_security_updates_install_themselves(host: Any) -> None:
    installed = host.run("command -v unattended-upgrade").rc == 0
    assert installed, "L'outil des mises à jour automatiques (unattended-upgrades) n'est pas installé."
    settings = apt_settings(host)
    assert last(settings, "APT::Periodic::Enable", "1") != "0", "Les tâches périodiques d'APT sont désactivées."
    for key in ("Update-Package-Lists", "Unattended-Upgrade"):
        value = last(settings, f"APT::Periodic::{key}", "0")
        assert value == "1", f"APT::Periodic::{key} vaut « {value} » au lieu de « 1 » : ce n'est pas fait chaque jour."
    patterns = settings.get("Unattended-Upgrade::Origins-Pattern", []) + settings.get("Unattended-Upgrade::Allowed-Origins", [])
    assert any("security" in p.lower() and "debian" in p.lower() for p in patterns), (
        "L'origine « Debian-Security » n'est pas admise."
    )
    blocked = [name for name in settings.get("Unattended-Upgrade::Package-Blacklist", []) if name]
    assert not blocked, f"Paquets exclus des mises à jour automatiques : {', '.join(blocked)}."
    only = [name for name in settings.get("Unattended-Upgrade::Package-Whitelist", []) if name]
    assert not only, f"Seuls ces paquets sont mis à jour : {', '.join(only)}."
    some = [day for day in settings.get("Unattended-Upgrade::Update-Days", []) if day]
    assert not some, f"Les mises à jour ne se font que certains jours : {', '.join(some)}."
    kept = "--force-confold" in settings.get("DPkg::Options", []) or "--force-confnew" in settings.get("DPkg::Options", [])
    assert kept, "Un correctif qui touche un réglage modifié attendrait une réponse à l'écran (DPkg::Options : --force-confold)."


@pytest.mark.control("MAJ-02")
def test_timers_run(host: Any) -> None:
    services = [service for service, _command in TIMERS.values()]
    seen = units(host, *TIMERS, *services)
    for name in (*TIMERS, *services):
        state = seen.get(name, {}).get("LoadState", "absente")
        assert state == "loaded", f"L'unité {name} est « {state} »."
    now = int(host.check_output("date +%s").split()[0])
    starts = next_starts(host, *TIMERS)
    for name, (service, command) in TIMERS.items():
        unit = seen[name]
        assert unit["ActiveState"] == "active", f"La minuterie {name} est « {unit['ActiveState']} »."
        assert unit["UnitFileState"] == "enabled", f"La minuterie {name} est « {unit['UnitFileState']} » au démarrage."
        waits = starts.get(name, 0) - now
        # A day, and the random delay of Debian's own timers.
        running = seen[service]["ActiveState"] in ("active", "activating")
        assert running or 0 <= waits <= 1.5 * DAY, f"La minuterie {name} ne se déclenchera pas d'ici demain."
        runs = commands(seen[service])
        assert runs == [command], f"{service} lance « {' ; '.join(runs) or 'rien'} » ; attendu : « {command} »."


@pytest.mark.control("MAJ-03")
def test_restart_at_the_agreed_time(host: Any, expected: dict[str, Any]) -> None:
    settings = apt_settings(host)
    agreed, zone = expected["updates_reboot_time"], expected.get("antiseche_timezone", "Europe/Paris")
    automatic = last(settings, "Unattended-Upgrade::Automatic-Reboot", "false").lower() not in OFF
    assert not automatic, "La machine redémarre dès la fin d'une mise à jour, sans attendre l'heure convenue."
    timer = units(host, RESTART).get(RESTART, {})
    active = timer.get("ActiveState") == "active" or timer.get("UnitFileState") == "enabled"
    if not agreed:
        assert not active, "La machine redémarre d'elle-même alors que c'est exclu."
        return
    assert timer.get("ActiveState") == "active", f"Aucun redémarrage n'est prévu ; convenu : {agreed}."
    assert timer.get("UnitFileState") == "enabled", "Après le prochain démarrage, plus aucun redémarrage ne sera prévu."
    start = next_starts(host, RESTART).get(RESTART, 0)
    assert start, f"Aucun redémarrage n'est prévu ; convenu : {agreed}."
    hour = dt.datetime.fromtimestamp(start, ZoneInfo(zone)).strftime("%H:%M")
    assert hour == agreed, f"Redémarrage prévu à {hour}, heure du cabinet, au lieu de {agreed}."
    runs = commands(units(host, "antiseche-restart.service")["antiseche-restart.service"])
    assert runs == ["/usr/local/lib/antiseche/restart-if-needed"], f"À cette heure est lancé : « {' ; '.join(runs) or 'rien'} »."
    owner = host.check_output("stat -c '%U %a' /usr/local/lib/antiseche/restart-if-needed").split()
    assert owner == ["root", "755"], f"D'autres que root peuvent changer ce qui redémarre la machine ({' '.join(owner)})."


@pytest.mark.control("MAJ-04")
def test_last_success_is_recent(host: Any, expected: dict[str, Any]) -> None:
    now, times = stamps(host)
    limit = int(expected["updates_max_age_days"])
    upgrade = max(times.get("upgrade-stamp", 0), times.get("unattended-upgrades-stamp", 0))
    for what, when in (("recherche", times.get("update-success-stamp", 0)), ("installation", upgrade)):
        assert when, f"Aucune {what} de mises à jour réussie n'est connue."
        assert when <= now + 3600, f"La dernière {what} de mises à jour est datée du futur : l'horloge est-elle juste ?"
        age = (now - when) // DAY
        assert now - when <= limit * DAY, f"La dernière {what} réussie a {age} jours ; maximum : {limit}."
    remark(f"dernière installation réussie le {dt.datetime.fromtimestamp(upgrade, dt.UTC):%Y-%m-%d}")


@pytest.mark.control("MAJ-05")
def test_no_security_fix_left_behind(host: Any, expected: dict[str, Any]) -> None:
    suites = security_suites(os_release(host).get("VERSION_CODENAME", ""))
    rows = [line.split("|") for line in host.check_output(TARGETS).splitlines() if line.count("|") == 6]
    read = any(row[3] == "Debian" and row[4] == "Debian-Security" and row[5] in suites for row in rows)
    assert read, "Le dépôt des correctifs de sécurité de Debian n'est pas lu : aucun correctif ne peut arriver."
    policy = host.check_output("apt-cache policy")
    priorities = re.findall(r"^ *(-?\d+) [^\n]*\n +release [^\n]*l=Debian-Security", policy, re.MULTILINE)
    low = [priority for priority in priorities if int(priority) < 500]
    assert priorities, "APT ne connaît pas le dépôt des correctifs de sécurité de Debian."
    assert not low, f"Les correctifs de sécurité sont écartés par une préférence d'APT (priorité {', '.join(low)} ; attendu 500)."
    refused = set(re.findall(r"^ +(\S+) -> \S+ with priority -\d+", policy, re.MULTILINE))
    installed = set(host.check_output("dpkg-query -W -f='${Package}\\n'").split()) if refused else set()
    stuck = sorted(refused & installed - set(expected["updates_held_packages"]))
    assert not stuck, f"Une préférence d'APT interdit toute mise à jour de : {', '.join(stuck[:15])}."
    found = re.findall(r"^Inst (\S+) .*\(\S+ ([^)]*)\)", host.check_output(MISSING), re.MULTILINE)
    pending = sorted({name for name, origin in found if "Debian-Security" in origin})
    _now, times = stamps(host)
    refreshed, upgraded = times.get("update-success-stamp", 0), times.get("upgrade-stamp", 0)
    assert refreshed, "Les listes de paquets n'ont jamais été rafraîchies : les correctifs manquants ne sont pas connus."
    # What was published after the last run waits for the next one; what that run saw and left is a failure.
    left = pending if upgraded >= refreshed else []
    assert not left, f"Correctifs de sécurité non installés : {', '.join(left[:15])}."
    if pending:
        remark(f"en attente de la prochaine mise à jour : {', '.join(pending[:15])}")


@pytest.mark.control("MAJ-06")
def test_sources_are_agreed(host: Any, expected: dict[str, Any]) -> None:
    release = os_release(host).get("VERSION_CODENAME", "")
    agreed = set(expected["updates_third_party_origins"])
    rows = [line.split("|") for line in host.check_output(TARGETS).splitlines() if line.count("|") == 6]
    assert rows, "Aucune source de paquets n'a été lue."
    foreign, known = set(), set()
    for site, uri, suite, origin, label, codename, trusted in rows:
        assert trusted != "no", f"Le dépôt {uri} n'a pas de signature valable."
        known.add((uri, suite))
        debian = origin == "Debian" and (codename == release or codename.startswith(f"{release}-"))
        if not debian and not agreed & {origin, label, site}:
            foreign.add(f"{origin or site} ({uri} {suite})")
    for site, uri, suite in (line.split("|") for line in host.check_output(CONFIGURED).splitlines() if line.count("|") == 2):
        if (uri, suite) not in known and site not in agreed:
            foreign.add(f"{uri} {suite}")
    assert not foreign, f"Dépôts non convenus : {', '.join(sorted(foreign))}."
    forced = host.run(UNSIGNED).stdout.splitlines()
    assert not forced, f"Signature ou date non vérifiée : {', '.join(line.strip() for line in forced)}."
    settings = apt_settings(host)
    for key in ("Acquire::AllowInsecureRepositories", "Acquire::AllowWeakRepositories", "APT::Get::AllowUnauthenticated"):
        value = last(settings, key, "false").lower()
        assert value in OFF, f"APT admet des paquets sans signature valable ({key} = {value})."
    for key in ("Acquire::Check-Valid-Until", "Acquire::Check-Date"):
        value = last(settings, key, "true").lower()
        assert value not in OFF, f"APT admet des listes périmées, donc sans les derniers correctifs ({key} = {value})."


@pytest.mark.control("MAJ-07")
def test_holds_are_declared(host: Any, expected: dict[str, Any]) -> None:
    held = set(host.check_output("apt-mark showhold").split())
    declared = set(expected["updates_held_packages"])
    assert held <= declared, f"Paquets figés sans avoir été déclarés : {', '.join(sorted(held - declared))}."
    if held:
        remark(f"figés d'un commun accord, sans correctifs : {', '.join(sorted(held))}")


@pytest.mark.control("MAJ-08")
def test_release_is_supported(host: Any) -> None:
    release = os_release(host)
    version = release.get("VERSION_ID", "?")
    known = END_OF_SUPPORT.get(version) if release.get("ID") == "debian" else None
    assert known, f"La fin de support de « {release.get('PRETTY_NAME', '?')} » est inconnue."
    now, _times = stamps(host)
    end = dt.date.fromisoformat(known)
    left = (end - dt.datetime.fromtimestamp(now, dt.UTC).date()).days
    assert left >= 0, f"Le support de Debian {version} a pris fin le {known}."
    remark(f"correctifs de sécurité de Debian {version} jusqu'au {known}" + (" : à remplacer bientôt" if left < WARNING else ""))


@pytest.mark.control("MAJ-09")
def test_firmware_is_current(host: Any) -> None:
    if host.run("systemd-detect-virt --quiet").rc == 0:
        not_applicable("machine virtuelle : ses microprogrammes sont ceux de l'hôte")
    assert host.run("command -v fwupdmgr").rc == 0, "L'outil des microprogrammes (fwupd) n'est pas installé."
    timer = host.run("systemctl is-active fwupd-refresh.timer").stdout.strip()
    assert timer == "active", f"Les microprogrammes ne sont plus recherchés (fwupd-refresh.timer est « {timer or 'absente'} »)."
    done = host.run("fwupdmgr get-updates --json --no-unreported-check")
    if done.rc == 2:  # fwupd's own code for "nothing to do"
        return
    assert done.rc == 0, f"fwupd ne répond pas : {done.stderr.strip()[:200]}"
    waiting = [device.get("Name", "?") for device in json.loads(done.stdout or "{}").get("Devices", []) if device.get("Releases")]
    assert not waiting, f"Microprogrammes à mettre à jour : {', '.join(waiting)}."


@pytest.mark.control("MAJ-10")
def test_restart_is_not_put_off(host: Any, expected: dict[str, Any]) -> None:
    limit = int(expected["updates_max_age_days"])
    output = host.check_output("date +%s; stat -c %Y /run/reboot-required 2>/dev/null || true").split()
    if len(output) == 2:
        age = (int(output[0]) - int(output[1])) // DAY
        assert age <= limit, f"Un redémarrage attend depuis {age} jours ; maximum : {limit}."


@pytest.mark.control("MAJ-11")
def test_the_practices_own_time(host: Any, expected: dict[str, Any]) -> None:
    zone = expected.get("antiseche_timezone", "Europe/Paris")
    seen = host.check_output("date +'%s %z'; timedatectl show -p Timezone --value 2>/dev/null || true").split()
    offset = dt.datetime.fromtimestamp(int(seen[0]), ZoneInfo(zone)).strftime("%z")
    assert seen[1] == offset, f"La machine est décalée de {seen[1]} sur l'heure universelle ; attendu : {offset} ({zone})."
    # Two zones may agree today and part in spring.
    if len(seen) > 2:
        assert seen[2] == zone, f"Fuseau horaire : {seen[2]} ; attendu : {zone}."
