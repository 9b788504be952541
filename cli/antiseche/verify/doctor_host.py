"""One host, from its open port to its clock, over one connection. Reads only."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from antiseche.errors import HostUnreachableError
from antiseche.i18n import _
from antiseche.practice import host_keys
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Host, Practice
from antiseche.verify.backend import ssh_command
from antiseche.verify.target import Target

Row = tuple[str, str, str]
OK, WARNING, PROBLEM, UNREACHABLE = "ok", "warning", "problem", "unreachable"
_PORT = 22
_CONNECT_SECONDS, _LOGIN_SECONDS = 5.0, 30.0
_MIN_FREE_MB = 500
_MAX_SKEW_SECONDS = 60
_PROBE = """
sudo -n true 2>/dev/null && echo sudo=yes
test -x /usr/bin/python3 && echo python=$(/usr/bin/python3 -c 'import platform; print(platform.python_version())')
. /etc/os-release && echo "system=$ID$VERSION_ID"
echo free=$(df -Pm /var | awk 'NR==2 {print $4}')
echo clock=$(date +%s)
echo end=yes
"""


def check_host(folder: PracticeFolder, practice: Practice, host: Host, private_key: Path | None) -> list[Row]:
    """Return what was found on a host; the first obstacle hides what lies behind it."""
    address = str(host.address)
    try:
        with socket.create_connection((address, _PORT), timeout=_CONNECT_SECONDS):
            pass
    except OSError as error:
        reason = _("pas de réponse") if isinstance(error, TimeoutError) else (error.strerror or str(error))
        return [(_("port SSH"), UNREACHABLE, f"{address}:{_PORT} : {reason}")]
    rows: list[Row] = [(_("port SSH"), OK, f"{address}:{_PORT}")]
    key = _host_key(folder, address, host.name)
    rows.append(key)
    if key[1] == PROBLEM:
        return rows
    values, row = _probe(folder, practice, host, private_key)
    rows.append(row)
    if values:
        rows += _judge(host, values)
    return rows


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
        private_key=str(private_key.resolve()) if private_key else "",
    )
    subject = _("connexion")
    before = time.time()
    try:
        done = subprocess.run(
            [*ssh_command(target)[:-1], _PROBE],
            capture_output=True,
            text=True,
            timeout=_LOGIN_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return {}, (subject, UNREACHABLE, _("pas de réponse en {n} secondes").format(n=int(_LOGIN_SECONDS)))
    values = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    if "end" not in values:
        reason = (done.stderr.strip().splitlines() or ["?"])[-1]
        return {}, (subject, UNREACHABLE, _("le compte {user} n'entre pas : {reason}").format(user=target.user, reason=reason))
    values["before"], values["after"] = str(before), str(time.time())
    return values, (subject, OK, f"{target.user}@{target.address}")


def _judge(host: Host, values: dict[str, str]) -> Iterator[Row]:
    sudo = values.get("sudo") == "yes"
    yield "sudo", OK if sudo else PROBLEM, _("sans mot de passe") if sudo else _("refusé : relancez le script de prise en main")
    python = values.get("python", "")
    yield "python3", OK if python else PROBLEM, python or _("absent : relancez le script de prise en main")
    system = values.get("system", "?")
    same = system == host.system.value
    detail = (
        system
        if same
        else _("{found} au lieu de {expected} : corrigez les réponses").format(found=system, expected=host.system.value)
    )
    yield _("système"), OK if same else PROBLEM, detail
    free = int(values.get("free") or 0)
    yield _("disque"), OK if free >= _MIN_FREE_MB else PROBLEM, _("{n} Mo libres dans /var").format(n=free)
    clock = float(values.get("clock") or 0)
    skew = max(float(values["before"]) - clock - 1, clock - float(values["after"]), 0.0)
    yield _("horloge"), OK if skew <= _MAX_SKEW_SECONDS else WARNING, _("écart de {n} s avec ce poste").format(n=round(skew))
