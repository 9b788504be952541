"""What is allowed and yet looks like an oversight: told, never refused, because only the practice can know."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator

from antiseche.i18n import _
from antiseche.practice.rules.found import Found
from antiseche.practice.schema import Function, HostKind, Practice

# Wider than what a provider gives one customer.
_CUSTOMER_PREFIX = {4: 24, 6: 48}


def remarks(practice: Practice, today: dt.date) -> list[Found]:
    """Return what deserves a second look on that day."""
    return [found for look in _LOOKS for found in look(practice, today)]


def _people(practice: Practice, today: dt.date) -> Iterator[Found]:
    somewhere = {login for host in practice.hosts for login in host.users}
    for index, person in enumerate(practice.people):
        if person.left:
            continue
        if person.login not in somewhere:
            yield Found(("people", index), _("aucune machine ne cite cette personne : elle n'aura pas de compte"))
        if person.until is not None and person.until < today:
            text = _("ce jour est passé, le compte a expiré : si la personne est partie, écrivez « left: true »")
            yield Found(("people", index, "until"), text)
        if person.until is None and person.function is Function.LOCUM:
            yield Found(("people", index), _("remplaçant sans dernier jour de présence : son compte n'expirera pas"))


def _machines(practice: Practice, today: dt.date) -> Iterator[Found]:
    del today
    gone = {person.login for person in practice.people if person.left}
    for index, host in enumerate(practice.hosts):
        if host.kind is HostKind.WORKSTATION and set(host.users) <= gone:
            yield Found(("hosts", index, "users"), _("toutes ces personnes ont quitté le cabinet : personne ne peut s'en servir"))
    for index, share in enumerate(practice.shares):
        if set(share.users) <= gone:
            yield Found(("shares", index), _("personne n'a accès à ce partage"))
    lan = practice.network.lan
    if lan.version == 4 and not lan.is_private:
        yield Found(
            ("network", "lan"), _("ces adresses sont publiques : un réseau local a presque toujours des adresses privées")
        )


def _contractor(practice: Practice, today: dt.date) -> Iterator[Found]:
    del today
    for index, network in enumerate(practice.maintenance.addresses):
        at = ("maintenance", "addresses", index)
        if network.num_addresses > 1 and any(host.address in network for host in practice.hosts):
            yield Found(at, _("les machines du cabinet en font partie : chacune pourrait tenter une session de maintenance"))
        elif not network.is_private and network.prefixlen < _CUSTOMER_PREFIX[network.version]:
            yield Found(at, _("plus large que ce qu'un opérateur attribue à un client : qui d'autre s'y trouve ?"))
    names = {supplier.name.casefold() for supplier in practice.suppliers}
    if practice.suppliers and practice.maintenance.contractor.casefold() not in names:
        yield Found(
            ("maintenance", "contractor"), _("il n'est pas parmi les fournisseurs : l'annexe au contrat ne le décrira pas")
        )


def _dates(practice: Practice, today: dt.date) -> Iterator[Found]:
    for index, supplier in enumerate(practice.suppliers):
        if supplier.hds is not None and supplier.hds.expires < today:
            yield Found(("suppliers", index, "hds", "expires"), _("ce certificat est périmé : demandez le nouveau"))
    for index, waiver in enumerate(practice.waivers):
        if waiver.expires_on < today:
            yield Found(("waivers", index, "expires_on"), _("cette dérogation est finie : l'écart compte de nouveau"))
        if waiver.accepted_on > today:
            yield Found(("waivers", index, "accepted_on"), _("ce jour est à venir : la dérogation ne joue pas encore"))
    for index, paper in enumerate(practice.attestations):
        if paper.expires is not None and paper.expires < today:
            yield Found(("attestations", index, "expires"), _("cette déclaration est périmée : renouvelez-la"))
        if paper.on > today:
            yield Found(("attestations", index, "on"), _("ce jour est à venir : une déclaration porte sur ce qui est"))


_LOOKS: tuple[Callable[[Practice, dt.date], Iterator[Found]], ...] = (_people, _machines, _contractor, _dates)
