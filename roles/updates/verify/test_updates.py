"""Checks of the updates: what apt, systemd and dpkg answer, and when they last succeeded.

The dates of the end of support are written here again, on purpose: a check that read the role's own table would agree
with its mistakes.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any

import pytest

from antiseche.verify.checks import not_applicable

# debian.csv of Debian's distro-info-data: eol-lts.
END_OF_SUPPORT = {"12": "2028-06-30", "13": "2030-06-30"}
TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer")
SERVICES = ("apt-daily.service", "apt-daily-upgrade.service")
STAMPS = "/var/lib/apt/periodic"
FIELDS = "$(SITE)|$(REPO_URI)|$(RELEASE)|$(ORIGIN)|$(LABEL)|$(CODENAME)|$(TRUSTED)"
TARGETS = f"apt-get indextargets --format '{FIELDS}' 'Created-By: Packages'"
# The same without asking what each source says of itself: those that apt has never read are listed too.
CONFIGURED = "apt-get indextargets --no-release-info --format '$(SITE)|$(REPO_URI)|$(RELEASE)' 'Created-By: Packages'"
# Options of a source that make apt accept what nobody signed.
UNSIGNED = "grep -rhiE '^[^#]*(trusted|allow-insecure)[:=] *yes' /etc/apt/sources.list /etc/apt/sources.list.d"
DAY = 86400


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


@pytest.mark.control("MAJ-02")
def test_timers_run(host: Any) -> None:
    output = host.check_output(f"systemctl show -p Id,LoadState,ActiveState,UnitFileState {' '.join(TIMERS + SERVICES)}")
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in output.split("\n\n") if block.strip()]
    units = {block["Id"]: block for block in blocks}
    for name in TIMERS + SERVICES:
        state = units.get(name, {}).get("LoadState", "absente")
        assert state == "loaded", f"L'unité {name} est « {state} »."
    for name in TIMERS:
        unit = units[name]
        assert unit["ActiveState"] == "active", f"La minuterie {name} est « {unit['ActiveState']} »."
        assert unit["UnitFileState"] == "enabled", f"La minuterie {name} est « {unit['UnitFileState']} » au démarrage."


@pytest.mark.control("MAJ-03")
def test_restart_at_the_agreed_time(host: Any, expected: dict[str, Any]) -> None:
    settings = apt_settings(host)
    agreed = expected["updates_reboot_time"]
    automatic = last(settings, "Unattended-Upgrade::Automatic-Reboot", "false").lower() in ("true", "1", "yes", "on")
    if not agreed:
        assert not automatic, "La machine redémarre d'elle-même alors que c'est exclu."
        return
    assert automatic, f"Le redémarrage automatique est désactivé ; convenu : {agreed}."
    time = last(settings, "Unattended-Upgrade::Automatic-Reboot-Time", "now")
    assert time == agreed, f"Redémarrage à « {time} » au lieu de « {agreed} »."
    users = last(settings, "Unattended-Upgrade::Automatic-Reboot-WithUsers", "true").lower()
    assert users in ("false", "0", "no", "off"), "La machine peut redémarrer sous une session ouverte."


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


@pytest.mark.control("MAJ-05")
def test_no_security_fix_left_behind(host: Any) -> None:
    simulated = host.check_output("apt-get -s -qq --ignore-hold dist-upgrade")
    rows = re.findall(r"^Inst (\S+) .*\(\S+ ([^)]*)\)", simulated, re.MULTILINE)
    pending = sorted({name for name, origin in rows if "Debian-Security" in origin})
    _now, times = stamps(host)
    refreshed, upgraded = times.get("update-success-stamp", 0), times.get("upgrade-stamp", 0)
    assert refreshed, "Les listes de paquets n'ont jamais été rafraîchies : les correctifs manquants ne sont pas connus."
    # What was published after the last run waits for the next one; what that run saw and left is a failure.
    left = pending if upgraded >= refreshed else []
    assert not left, f"Correctifs de sécurité non installés : {', '.join(left[:15])}."


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
    assert not forced, f"Signature non exigée : {', '.join(line.strip() for line in forced)}."
    settings = apt_settings(host)
    for key in ("Acquire::AllowInsecureRepositories", "APT::Get::AllowUnauthenticated"):
        value = last(settings, key, "false").lower()
        assert value in ("false", "0", "no", "off"), f"APT admet des paquets sans signature ({key} = {value})."


@pytest.mark.control("MAJ-07")
def test_holds_are_declared(host: Any, expected: dict[str, Any]) -> None:
    held = set(host.check_output("apt-mark showhold").split())
    declared = set(expected["updates_held_packages"])
    assert held <= declared, f"Paquets figés sans avoir été déclarés : {', '.join(sorted(held - declared))}."


@pytest.mark.control("MAJ-08")
def test_release_is_supported(host: Any) -> None:
    release = os_release(host)
    version = release.get("VERSION_ID", "?")
    known = END_OF_SUPPORT.get(version) if release.get("ID") == "debian" else None
    assert known, f"La fin de support de « {release.get('PRETTY_NAME', '?')} » est inconnue."
    now, _times = stamps(host)
    end = dt.date.fromisoformat(known)
    assert dt.datetime.fromtimestamp(now, dt.UTC).date() <= end, f"Le support de Debian {version} a pris fin le {known}."


@pytest.mark.control("MAJ-09")
def test_firmware_is_current(host: Any) -> None:
    if host.run("systemd-detect-virt --quiet").rc == 0:
        not_applicable("machine virtuelle : ses microprogrammes sont ceux de l'hôte")
    assert host.run("command -v fwupdmgr").rc == 0, "L'outil des microprogrammes (fwupd) n'est pas installé."
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
