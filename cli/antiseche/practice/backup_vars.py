"""Answers about backups to role variables and to what the firewall lets in."""

from __future__ import annotations

from typing import Any

from antiseche.practice.rules.backup import PORT, port_of, sftp_place
from antiseche.practice.schema import Host, Offsite, Practice


def common(practice: Practice) -> dict[str, Any]:
    """Return what is the same on every host."""
    answers = practice.backup
    if answers is None:
        return {"backup_server": {}}
    address = next((str(host.address) for host in practice.hosts if host.name == answers.server), "")
    return {
        "backup_server": {"host": answers.server, "address": address},
        "backup_port": PORT,
        "backup_hour": answers.hour,
        "backup_limit_kib": answers.limit_kib,
    }


def of_host(practice: Practice, host: Host) -> dict[str, Any]:
    """Return what is particular to one host."""
    answers = practice.backup
    if answers is None:
        return {}
    variables: dict[str, Any] = {}
    for item in answers.hosts:
        if item.host == host.name:
            variables = {
                "backup_paths": list(item.paths),
                "backup_exclude": list(item.exclude),
                "backup_must_survive": list(item.must_survive),
                "backup_dumps": [
                    {"name": dump.name, "command": list(dump.command), "user": dump.user or "root"} for dump in item.dumps
                ],
                "backup_snapshots": item.snapshots,
            }
    if host.name == answers.server:
        offsite, keep = answers.offsite, answers.keep
        variables |= {
            "backup_clients": [item.host for item in answers.hosts],
            "backup_repository_path": answers.path,
            "backup_keep": keep.model_dump() if keep else {},
            "backup_maintenance_hour": answers.maintenance_hour,
            "backup_offsite": _offsite(offsite) if offsite else {},
            "backup_offsite_limit_kib": offsite.limit_kib if offsite else 0,
        }
    return variables


def inbound(practice: Practice, host: Host) -> list[dict[str, Any]]:
    """Return what the firewall of the server lets in: the backed-up machines, and no other."""
    answers = practice.backup
    if answers is None or answers.server != host.name:
        return []
    names = {item.host for item in answers.hosts if item.host != host.name}
    sources = [str(one.address) for one in practice.hosts if one.name in names]
    if not sources:
        return []
    return [{"name": "Sauvegardes du cabinet", "protocol": "tcp", "ports": [PORT], "sources": sources}]


def outbound(practice: Practice, host: Host) -> list[dict[str, Any]]:
    """Return what the server must reach when outbound traffic is limited: an off-site port other than 443."""
    answers = practice.backup
    if answers is None or answers.server != host.name or answers.offsite is None:
        return []
    port = port_of(answers.offsite.url)
    if port == 443:
        return []
    return [{"name": "Copie distante des sauvegardes", "protocol": "tcp", "ports": [port], "destinations": []}]


def _offsite(offsite: Offsite) -> dict[str, Any]:
    """Return where the copy goes; over SFTP also the account, and the key that the provider proves itself by."""
    place: dict[str, Any] = {"kind": offsite.kind, "url": offsite.url, "supplier": offsite.supplier or ""}
    return place | {"sftp": sftp_target(offsite)} if offsite.kind == "sftp" else place


def sftp_target(offsite: Offsite) -> dict[str, Any]:
    """Return what the machines' programs need to reach an SFTP repository, save the private key."""
    assert offsite.host_key is not None
    return {**sftp_place(offsite.url), "host_key": " ".join(offsite.host_key.split()[:2])}
