"""Rules on the contractor, suppliers, declarations and waivers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from antiseche.catalogue import load_catalogue
from antiseche.i18n import _
from antiseche.practice.document import Path_
from antiseche.practice.rules.found import Found, repeated, unknown
from antiseche.practice.rules.reserved import ADMIN_PREFIX, is_system_login
from antiseche.practice.schema import Maintenance, Network, Practice, SupplierRole, Waiver
from antiseche.practice.schema.types import TEMPLATE_MARKS

WAIVER_MAX_DAYS = 366
_CONTRACTOR_PREFIX = {4: 16, 6: 32}
_BACKUP_ACTIVITY = 6
_STRUCTURAL = frozenset(("include", "match"))


def maintenance(practice: Practice) -> Iterator[Found]:
    """One account, reached from few addresses by known keys."""
    answers = practice.maintenance
    if is_system_login(answers.account) or answers.account.startswith(ADMIN_PREFIX):
        yield Found(("maintenance", "account"), _("identifiant réservé par le système : choisissez-en un autre"))
    seen: set[Network] = set()
    for index, network in enumerate(answers.addresses):
        wrong = _("cité deux fois") if network in seen else _wrong_origin(network)
        if wrong:
            yield Found(("maintenance", "addresses", index), wrong)
        seen.add(network)
    keys: set[tuple[str, ...]] = set()
    for index, key in enumerate(answers.public_keys):
        words = tuple(key.split()[:2])
        if words in keys:
            yield Found(("maintenance", "public_keys", index), _("cette clé figure déjà plus haut"))
        keys.add(words)
    yield from _sshd_options(answers)


def _wrong_origin(network: Network) -> str:
    if network.prefixlen < _CONTRACTOR_PREFIX[network.version]:
        return _("trop large : trop de monde pourrait tenter sa chance, citez les adresses du prestataire")
    if network.is_loopback or network.is_multicast or network.is_link_local or network.network_address.is_unspecified:
        return _("cette adresse ne peut pas être celle d'un prestataire")
    return ""


def _sshd_options(answers: Maintenance) -> Iterator[Found]:
    seen: set[str] = set()
    for name, value in answers.sshd_options.items():
        at: Path_ = ("maintenance", "sshd_options", name)
        if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name):
            yield Found(at, _("nom d'option SSH incorrect : une majuscule puis des lettres"), of_key=True)
        elif name.lower() in _STRUCTURAL:
            yield Found(at, _("« {name} » n'est pas admis ici").format(name=name), of_key=True)
        elif name.lower() in seen:
            yield Found(at, _("cette option figure déjà plus haut"), of_key=True)
        seen.add(name.lower())
        if not value or not value.isprintable():
            yield Found(at, _("une valeur d'une seule ligne est attendue"))
        elif any(mark in value for mark in TEMPLATE_MARKS):
            yield Found(
                at, _("les suites {marks} sont interdites : Ansible les exécuterait").format(marks=" ".join(TEMPLATE_MARKS))
            )


def suppliers(practice: Practice) -> Iterator[Found]:
    """Suppliers are named once, and a backup host's certificate covers backups."""
    names = (supplier.name for supplier in practice.suppliers)
    yield from repeated(names, ("suppliers",), "name", _("ce fournisseur figure déjà plus haut"))
    for index, supplier in enumerate(practice.suppliers):
        if supplier.hds is None:
            continue
        at: Path_ = ("suppliers", index, "hds", "activities")
        activities = supplier.hds.activities
        if len(set(activities)) != len(activities):
            yield Found(at, _("une activité est citée deux fois"))
        if supplier.role is SupplierRole.BACKUP and _BACKUP_ACTIVITY not in activities:
            yield Found(at, _("la sauvegarde externalisée est l'activité 6 : vérifiez le certificat"))


def declarations(practice: Practice) -> Iterator[Found]:
    """Declarations and waivers have sound dates, and each waiver is somebody's decision about something real."""
    ids: set[str] = set()
    for index, waiver in enumerate(practice.waivers):
        at: Path_ = ("waivers", index)
        if waiver.id in ids:
            yield Found((*at, "id"), _("ce numéro de dérogation est déjà pris : une nouvelle dérogation, un nouveau numéro"))
        ids.add(waiver.id)
        yield from _waiver(practice, waiver, at)
    seen: set[tuple[str, object]] = set()
    for index, paper in enumerate(practice.attestations):
        if paper.expires is not None and paper.expires < paper.on:
            yield Found(("attestations", index, "expires"), _("la déclaration finit avant d'avoir été faite"))
        if (paper.control, paper.on) in seen:
            yield Found(("attestations", index, "control"), _("ce contrôle a déjà une déclaration de cette date"))
        seen.add((paper.control, paper.on))


def _waiver(practice: Practice, waiver: Waiver, at: Path_) -> Iterator[Found]:
    if waiver.control not in load_catalogue().by_id:
        reason = _("contrôle inconnu, la dérogation ne couvrirait rien : reprenez celui que montre le rapport")
        yield Found((*at, "control"), reason)
    if waiver.expires_on < waiver.accepted_on:
        yield Found((*at, "expires_on"), _("la dérogation finit avant d'avoir été acceptée"))
    elif (waiver.expires_on - waiver.accepted_on).days > WAIVER_MAX_DAYS:
        yield Found((*at, "expires_on"), _("une dérogation dure douze mois au plus, puis se renouvelle"))
    third_parties = {practice.maintenance.contractor, *(supplier.name for supplier in practice.suppliers)}
    if waiver.accepted_by.casefold() in {name.casefold() for name in third_parties}:
        yield Found((*at, "accepted_by"), _("un prestataire ne peut pas accepter un écart : c'est au médecin responsable"))
    machines = {host.name: None for host in practice.hosts}
    yield from unknown(waiver.hosts, machines, (*at, "hosts"), _("machine inconnue"), "hosts")
