"""Answers to role variables.

Pure functions, no file and no clock: the same answers always give the same inventory.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from antiseche.errors import AnswersError
from antiseche.i18n import _
from antiseche.practice import backup_vars
from antiseche.practice.schema import Flow, Function, Host, HostKind, Network, Person, Practice, System

Variables = dict[str, Any]

FUNCTION_GROUPS: dict[Function, str] = {
    Function.DOCTOR: "cabinet-medecins",
    Function.LOCUM: "cabinet-remplacants",
    Function.SECRETARY: "cabinet-secretariat",
    Function.NURSE: "cabinet-soignants",
    Function.OTHER: "cabinet-autres",
}
ADMIN_GROUP = "cabinet-admins"
ADMIN_PREFIX = "adm-"
LOGIN_MAX = 32  # useradd refuses longer names
UPDATES_MAX_AGE_DAYS = 7

# Ansible would confuse a host of that name with a group, or with the controller.
RESERVED_HOST_NAMES = frozenset({"all", "ungrouped", "linux", "workstations", "servers", "localhost"} | {s.value for s in System})

_SSH_ARGS = (
    # Quoted twice: Ansible splits this like a shell, then ssh splits the option like its own
    # configuration file, where % starts a token; folders may hold spaces and apostrophes.
    "-o {{ ('UserKnownHostsFile=\"' ~ (inventory_dir | replace('%', '%%')) ~ '/../known_hosts\"') | quote }}"
    " -o StrictHostKeyChecking=yes"
)


def common_variables(practice: Practice) -> Variables:
    """Return what is the same on every host (``group_vars/all/main.yml``)."""
    choices, maintenance, network = practice.choices, practice.maintenance, practice.network
    addresses = [str(address) for address in maintenance.addresses]
    return {
        "antiseche_practice_id": practice.practice.id,
        "antiseche_practice_name": practice.practice.name,
        "antiseche_timezone": practice.practice.timezone,
        "updates_reboot_time": choices.reboot_time or "",
        "updates_third_party_origins": list(choices.third_party_origins),
        "updates_held_packages": list(choices.held_packages),
        "updates_max_age_days": UPDATES_MAX_AGE_DAYS,
        "accounts_groups": [*FUNCTION_GROUPS.values(), ADMIN_GROUP],
        "accounts_maintenance_user": maintenance.account,
        "password_policy_profile": choices.password_policy,
        "password_policy_exempt_users": [maintenance.account],
        "remote_access_user": maintenance.account,
        "remote_access_public_keys": list(maintenance.public_keys),
        "remote_access_addresses": addresses,
        "remote_access_sshd_options": dict(maintenance.sshd_options),
        "remote_access_allowed_help_tools": list(maintenance.remote_help),
        "remote_access_confirm_seconds": choices.confirm_seconds,
        "firewall_lan": [str(network.lan)],
        "firewall_management_addresses": list(addresses),
        "firewall_outbound_mode": choices.outbound,
        "firewall_discovery": network.discovery,
        "firewall_printers": [str(printer.address) for printer in network.printers],
        "firewall_mssante": practice.mssante.client,
        "firewall_confirm_seconds": choices.confirm_seconds,
        **backup_vars.common(practice),
    }


def host_variables(practice: Practice, host: Host) -> Variables:
    """Return what is particular to one host (``host_vars/<host>/main.yml``)."""
    return {
        "ansible_host": str(host.address),
        "ansible_user": practice.maintenance.account,
        "ansible_become": True,
        "ansible_ssh_common_args": _SSH_ARGS,
        "accounts_people": accounts_of(practice, host),
        "disk_encryption_disks": [disk.model_dump(mode="json") for disk in host.data_disks],
        "disk_encryption_root_tpm": host.system_tpm_unlock,
        "disk_encryption_swap": host.encrypted_swap,
        "firewall_inbound": _inbound(practice, host),
        "firewall_outbound": [
            *(_flow(flow, flow.name, "destinations", []) for flow in practice.choices.outbound_flows if _concerns(flow, host)),
            *backup_vars.outbound(practice, host),
        ],
        **card_variables(practice, host),
        "firewall_shares": any(share.host == host.name for share in practice.shares),
        **backup_vars.of_host(practice, host),
    }


def card_variables(practice: Practice, host: Host) -> Variables:
    """Return what concerns professional cards; a host without a reader needs to know just that."""
    if not host.card_reader:
        return {"cps_reader": False}
    cards = practice.cps
    given = cards.middleware
    return {
        "cps_reader": True,
        "cps_lock": cards.lock,
        "cps_install_authorities": cards.authorities,
        "cps_middleware": {"source": given.source, "sha256": given.sha256.lower(), "version": given.version} if given else {},
        "cps_people": active_logins(practice, host),
    }


def host_groups(host: Host) -> list[str]:
    """Return the groups a host belongs to."""
    return ["linux", "servers" if host.kind is HostKind.SERVER else "workstations", host.system.value]


def active_logins(practice: Practice, host: Host) -> list[str]:
    """Return the logins that need a first password on this host."""
    return [account["login"] for account in accounts_of(practice, host) if account["state"] == "active"]


def accounts_of(practice: Practice, host: Host) -> list[Variables]:
    """Return the accounts of a host: its users, and everyone who has left (locked everywhere)."""
    users = set(host.users)
    accounts: list[Variables] = []
    for person in practice.people:
        if person.left or person.login in users:
            accounts.extend(_accounts_of_person(person))
    return accounts


def _accounts_of_person(person: Person) -> Iterator[Variables]:
    common: Variables = {
        "state": "locked" if person.left else "active",
        # The first day without access, as chage(1) counts: the day after the last day of presence.
        "expires": (person.until + dt.timedelta(days=1)).isoformat() if person.until else "",
    }
    yield {"login": person.login, "name": person.name, "groups": [FUNCTION_GROUPS[person.function]], **common}
    if person.admin:
        yield {
            "login": ADMIN_PREFIX + person.login,
            "name": f"{person.name} (administration)",  # written on the host: one language, whoever runs the kit
            "groups": [ADMIN_GROUP],
            **common,
        }


def _inbound(practice: Practice, host: Host) -> list[Variables]:
    lan = [practice.network.lan]
    flows = []
    for software in practice.software:
        if software.hosts and host.name not in software.hosts:
            continue
        flows += [_flow(f, f"{software.name} : {f.name}", "sources", lan) for f in software.inbound if _concerns(f, host)]
    flows += [_flow(f, f.name, "sources", lan) for f in practice.choices.inbound_flows if _concerns(f, host)]
    return flows + backup_vars.inbound(practice, host)


def _concerns(flow: Flow, host: Host) -> bool:
    return not flow.hosts or host.name in flow.hosts


def _flow(flow: Flow, name: str, side: str, default: list[Network]) -> Variables:
    return {
        "name": name,
        "protocol": flow.protocol.value,
        "ports": list(flow.ports),
        side: [str(network) for network in flow.sources or default],
    }


def check_consistency(practice: Practice) -> None:
    """Refuse what would give an inventory that Ansible misreads.

    Raises:
        AnswersError: a name is reserved, taken twice, too long or unknown.
    """
    _check_hosts(practice)
    logins: set[str] = {practice.maintenance.account}
    for person in practice.people:
        for account in _accounts_of_person(person):
            login = account["login"]
            if len(login) > LOGIN_MAX:
                raise AnswersError(
                    _("Le compte « {login} » dépasse {n} caractères : raccourcissez l'identifiant « {person} ».").format(
                        login=login, n=LOGIN_MAX, person=person.login
                    )
                )
            if login in logins:
                raise AnswersError(
                    _("Le compte « {login} » existe déjà : un identifiant ne sert qu'à une personne.").format(login=login)
                )
            logins.add(login)


def _check_hosts(practice: Practice) -> None:
    known = {person.login for person in practice.people}
    names: set[str] = set()
    for host in practice.hosts:
        if host.name in RESERVED_HOST_NAMES:
            raise AnswersError(
                _("Une machine ne peut pas s'appeler « {name} » : ce nom est réservé, choisissez-en un autre.").format(
                    name=host.name
                )
            )
        if host.name in names:
            raise AnswersError(_("Deux machines s'appellent « {name} » : donnez à chacune son nom.").format(name=host.name))
        names.add(host.name)
        for login in host.users:
            if login not in known:
                raise AnswersError(
                    _("La machine « {host} » cite l'identifiant inconnu « {login} » : ajoutez la personne ou corrigez.").format(
                        host=host.name, login=login
                    )
                )
