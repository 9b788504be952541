"""One host, from its open port to its clock, over one connection. Reads only."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from antiseche.engine.identities import offered
from antiseche.engine.redact import plain
from antiseche.errors import HostUnreachableError
from antiseche.i18n import N_, _
from antiseche.practice import host_keys
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Host, Practice
from antiseche.verify.backend import ssh_command
from antiseche.verify.target import Target

Row = tuple[str, str, str]
OK, WARNING, PROBLEM, UNREACHABLE = "ok", "warning", "problem", "unreachable"
_PORT = 22
_CONNECT_SECONDS, _LOGIN_SECONDS = 5.0, 30.0
_MIN_FREE_MB, _MIN_INODES = 500, 5000
_SKEW_SECONDS, _WRONG_CLOCK_SECONDS = 60, 3600
_OLDEST_PYTHON = (3, 8)  # of ansible-core 2.19 on the machines that it manages
# POSIX sh and the tools of a minimal Debian; one answer a line, the last one proves that all were asked.
_PROBE = r"""
LC_ALL=C; PATH=/usr/sbin:/usr/bin:/sbin:/bin; export LC_ALL PATH
echo clock=$(date +%s)
echo from=${SSH_CONNECTION%% *}
test "$(sudo -n id -u 2>/dev/null)" = 0 && echo sudo=yes
version='import platform; print(platform.python_version())'
test -x /usr/bin/python3 && echo python=$(/usr/bin/python3 -c "$version" 2>&1 | tail -n 1)
. /etc/os-release && echo "system=$ID$VERSION_ID"
for place in / /var /tmp; do
    echo "space=$(df -Pm "$place" | awk 'NR==2 {print $4}') $(df -Pi "$place" | awk 'NR==2 {print $4}') $place"
done
sudo -n test -w /etc && sudo -n test -w /var/lib && echo writable=yes
test -n "$(sudo -n dpkg --audit 2>/dev/null | head -n 1)" && echo dpkg=broken
grep -qsxE 'apt-get|apt|dpkg|unattended-upgr' /proc/[0-9]*/comm && echo apt=busy
test -e /run/reboot-required && echo reboot=wanted
echo end=yes
"""
_REASONS: tuple[tuple[str, str], ...] = (
    (r"permission denied", N_(
        "la clé est refusée : le script de prise en main y a-t-il été lancé, avec cette clé et cette adresse ?"
    )),
    (r"host key verification failed|host identification", N_("sa clé d'hôte n'est pas celle qui est épinglée")),
    (r"currently not available|nologin", N_("le compte y est fermé : relancez le script de prise en main")),
    (r"timed out|no route|unreachable", N_("éteinte, ou hors du réseau")),
    (r"refused", N_("rien n'écoute sur son port SSH : le script de prise en main y a-t-il été lancé ?")),
)  # fmt: skip


def check_host(folder: PracticeFolder, practice: Practice, host: Host, private_key: Path | None) -> list[Row]:
    """Return what was found on a host; the first obstacle hides what lies behind it."""
    address = str(host.address)
    try:
        with socket.create_connection((address, _PORT), timeout=_CONNECT_SECONDS):
            pass
    except OSError as error:
        reason = _("éteinte, ou hors du réseau") if isinstance(error, TimeoutError) else _reason(error.strerror or str(error))
        return [(_("port SSH"), UNREACHABLE, f"{address}:{_PORT} : {reason}")]
    rows: list[Row] = [(_("port SSH"), OK, f"{address}:{_PORT}")]
    key = _host_key(folder, address, host.name)
    rows.append(key)
    if key[1] == PROBLEM:
        return rows
    values, row = _probe(folder, practice, host, private_key)
    rows.append(row)
    if values:
        rows += _judge(practice, host, values)
    return rows


def _reason(message: str) -> str:
    """Return in plain words why a machine does not let us in."""
    for pattern, reason in _REASONS:
        if re.search(pattern, message, re.IGNORECASE):
            return _(reason)
    return message


def _host_key(folder: PracticeFolder, address: str, name: str) -> Row:
    subject = _("clé d'hôte")
    pinned = host_keys.pinned_for(folder, address)
    if pinned is None:
        return (
            subject,
            PROBLEM,
            _("pas épinglée : antiseche bootstrap {practice} --pin {host} --host-key …").format(practice=folder.name, host=name),
        )
    try:
        offered = host_keys.offered_key(address)
    except HostUnreachableError as error:
        return subject, PROBLEM, str(error)
    if offered != pinned.key:
        return (
            subject,
            PROBLEM,
            _("ce n'est pas la bonne : {offered} au lieu de {pinned}").format(
                offered=host_keys.fingerprint(offered), pinned=pinned.fingerprint
            ),
        )
    return subject, OK, pinned.fingerprint


def _probe(folder: PracticeFolder, practice: Practice, host: Host, private_key: Path | None) -> tuple[dict[str, str], Row]:
    target = Target(
        name=host.name,
        address=str(host.address),
        user=practice.maintenance.account,
        kind=host.kind.value,
        system=host.system.value,
        known_hosts=str(folder.known_hosts),
        identities=offered(folder.root, private_key, practice.maintenance.public_keys),
    )
    subject = _("connexion")
    before = time.time()
    try:
        done = subprocess.run(
            [*ssh_command(target)[:-1], _PROBE],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LOGIN_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return {}, (subject, UNREACHABLE, _("pas de réponse en {n} secondes").format(n=int(_LOGIN_SECONDS)))
    said = [line.partition("=") for line in plain(done.stdout).splitlines() if "=" in line]
    values = {name: text for name, _equals, text in said if name != "space"}
    values["space"] = "\n".join(text for name, _equals, text in said if name == "space")
    if "end" not in values:
        # A closed account says so on its standard output.
        words = done.stderr.strip() or ("" if "clock" in values else done.stdout.strip())
        reason = _reason((plain(words).splitlines() or [_("pas de réponse")])[-1])
        return {}, (subject, UNREACHABLE, _("le compte {user} n'entre pas : {reason}").format(user=target.user, reason=reason))
    values["before"], values["after"] = str(before), str(time.time())
    return values, (subject, OK, f"{target.user}@{target.address}")


def _judge(practice: Practice, host: Host, values: dict[str, str]) -> Iterator[Row]:
    again = _("relancez le script de prise en main")
    yield from _origin(practice, values.get("from", ""))
    sudo = values.get("sudo") == "yes"
    yield "sudo", OK if sudo else PROBLEM, _("sans mot de passe") if sudo else _("refusé : {advice}").format(advice=again)
    yield _python(values.get("python", ""), again)
    system = values.get("system", "?")
    if system == host.system.value:
        yield _("système"), OK, system
    else:
        detail = _("{found} au lieu de {expected} : corrigez les réponses")
        yield _("système"), PROBLEM, detail.format(found=system, expected=host.system.value)
    yield _space(values.get("space", ""))
    if sudo and values.get("writable") != "yes":
        yield _("disque"), PROBLEM, _("en lecture seule : vérifiez-le avant tout")
    if values.get("dpkg") == "broken":
        yield _("paquets"), PROBLEM, _("des paquets sont à moitié installés : « dpkg --configure -a », puis « apt -f install »")
    elif values.get("apt") == "busy":
        yield _("paquets"), WARNING, _("une mise à jour est en cours : attendez qu'elle finisse")
    if values.get("reboot") == "wanted":
        yield _("redémarrage"), WARNING, _("attendu par la machine après une mise à jour")
    yield _clock(values)


def _origin(practice: Practice, seen: str) -> Iterator[Row]:
    """Say whether the firewall that will be set would still let this machine in."""
    try:
        address = ip_address(seen.removeprefix("::ffff:"))
    except ValueError:
        return
    if not any(address in network for network in practice.maintenance.addresses if network.version == address.version):
        yield (
            _("votre adresse"),
            PROBLEM,
            _("la machine vous voit venir de {address}, qui n'est pas dans maintenance.addresses : corrigez les réponses").format(
                address=address
            ),
        )


def _python(version: str, again: str) -> Row:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if not version:
        return "python3", PROBLEM, _("absent : {advice}").format(advice=again)
    if numbers is None:
        return "python3", PROBLEM, _("ne démarre pas : {reason}").format(reason=version)
    if (int(numbers[1]), int(numbers[2])) < _OLDEST_PYTHON:
        least = ".".join(map(str, _OLDEST_PYTHON))
        return "python3", PROBLEM, _("{version} est trop ancien : il faut la {least}").format(version=version, least=least)
    return "python3", OK, version


def _space(lines: str) -> Row:
    """Judge the fullest of the places that a deployment writes to."""
    places = []
    for line in lines.splitlines():
        found = re.fullmatch(r"(\d+) (\d+|-) (/\S*)", line)
        if found is not None:
            inodes = _MIN_INODES if found[2] in ("-", "0") else int(found[2])  # some file systems do not count them
            places.append((int(found[1]), inodes, found[3]))
    if not places:
        return _("disque"), PROBLEM, _("place libre inconnue")
    free, _inodes, place = min(places)
    if free < _MIN_FREE_MB:
        return (
            _("disque"),
            PROBLEM,
            _("{n} Mo libres dans {path} : il en faut {least}").format(n=free, path=place, least=_MIN_FREE_MB),
        )
    short = next((place for _free, inodes, place in places if inodes < _MIN_INODES), "")
    if short:
        return _("disque"), PROBLEM, _("trop de petits fichiers dans {path} : plus d'inodes libres").format(path=short)
    return _("disque"), OK, _("{n} Mo libres dans {path}").format(n=free, path=place)


def _clock(values: dict[str, str]) -> Row:
    if not values.get("clock", "").isdecimal():
        return _("horloge"), PROBLEM, _("heure inconnue")
    clock = float(values["clock"])
    skew = max(float(values["before"]) - clock - 1, clock - float(values["after"]), 0.0)
    detail = _("écart de {n} s avec ce poste").format(n=round(skew))
    if skew > _WRONG_CLOCK_SECONDS:
        return _("horloge"), PROBLEM, _("{detail} : mettez-la à l'heure, les dépôts refuseront la sienne").format(detail=detail)
    return _("horloge"), OK if skew <= _SKEW_SECONDS else WARNING, detail
