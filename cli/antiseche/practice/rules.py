"""What the answers must satisfy between themselves; each rule yields every problem it finds, with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from antiseche.i18n import _
from antiseche.practice.document import Path_
from antiseche.practice.messages import suggestion
from antiseche.practice.schema import Flow, HostKind, Practice, SupplierRole

ADMIN_PREFIX = "adm-"
WAIVER_MAX_DAYS = 366
MIN_PREFIX = {4: 8, 6: 16}

# Accounts that Debian's packages own: a person may not take over one of them.
SYSTEM_LOGINS = frozenset(
    (
        "root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody "
        "systemd-network systemd-resolve systemd-timesync messagebus sshd _apt polkitd avahi colord saned cups-pk-helper usbmux "
        "pulse lightdm gdm sddm ntpsec chrony postfix pcscd sudo adm users wheel shadow disk docker"
    ).split()
)
# One person, one account: names of functions and places are how shared accounts are called.
SHARED_LOGINS = frozenset(
    (
        "admin administrateur administrator accueil secretariat secretaire medecin medecins docteur cabinet praticien "
        "infirmiere remplacant remplacante interne stagiaire invite guest test user utilisateur public poste bureau "
        "commun partage demo"
    ).split()
)
RESERVED_HOSTS = frozenset(("all ungrouped linux windows workstations servers localhost debian12 debian13").split())


class Found(NamedTuple):
    """A problem at a path."""

    path: Path_
    message: str


def check(practice: Practice) -> list[Found]:
    """Return every problem between the answers."""
    return [found for rule in _RULES for found in rule(practice)]


def _people(practice: Practice) -> Iterator[Found]:
    seen: dict[str, int] = {}
    for index, person in enumerate(practice.people):
        at: Path_ = ("people", index, "login")
        login = person.login
        if login in seen:
            yield Found(
                at,
                _("l'identifiant est déjà celui de {name} : un compte ne se partage pas").format(
                    name=practice.people[seen[login]].name
                ),
            )
        seen.setdefault(login, index)
        if login in SYSTEM_LOGINS:
            yield Found(at, _("identifiant réservé par le système : choisissez-en un autre"))
        elif login in SHARED_LOGINS:
            yield Found(at, _("identifiant de fonction, donc de compte partagé : donnez un identifiant propre à la personne"))
        elif login == practice.maintenance.account:
            yield Found(at, _("c'est le compte de maintenance : la personne doit avoir le sien"))
        if login.startswith(ADMIN_PREFIX):
            yield Found(at, _("le préfixe « adm- » est réservé aux comptes d'administration que le kit crée lui-même"))
        if person.admin and len(ADMIN_PREFIX + login) > 32:
            yield Found(at, _("identifiant trop long pour un compte d'administration : 28 caractères au plus"))
        if person.name.lower() in {other.name.lower() for other in practice.people[:index]}:
            yield Found(("people", index, "name"), _("cette personne figure déjà plus haut : une seule entrée par personne"))


def _hosts(practice: Practice) -> Iterator[Found]:
    names: dict[str, int] = {}
    addresses: dict[str, str] = {}
    logins = [person.login for person in practice.people]
    lan = practice.network.lan
    for index, host in enumerate(practice.hosts):
        if host.name in names:
            yield Found(("hosts", index, "name"), _("ce nom est déjà celui de la machine n° {n}").format(n=names[host.name] + 1))
        names.setdefault(host.name, index)
        if host.name in RESERVED_HOSTS:
            yield Found(("hosts", index, "name"), _("nom réservé : choisissez-en un autre"))
        at: Path_ = ("hosts", index, "address")
        address = str(host.address)
        if address in addresses:
            yield Found(at, _("cette adresse est déjà celle de « {name} »").format(name=addresses[address]))
        addresses.setdefault(address, host.name)
        if host.address.version == lan.version and host.address not in lan:
            yield Found(at, _("hors du réseau local {lan}").format(lan=lan))
        elif host.address.version == 4 and host.address in (lan.network_address, lan.broadcast_address) and lan.num_addresses > 2:
            yield Found(at, _("adresse du réseau lui-même ou de diffusion : aucune machine ne peut la porter"))
        elif host.address.is_loopback or host.address.is_multicast or host.address.is_unspecified:
            yield Found(at, _("cette adresse ne peut pas être celle d'une machine"))
        if host.kind is HostKind.WORKSTATION and not host.users:
            yield Found(("hosts", index, "users"), _("un poste de travail sans utilisateur : citez qui s'en sert"))
        yield from _known(host.users, logins, ("hosts", index, "users"), _("personne inconnue"))


def _references(practice: Practice) -> Iterator[Found]:
    hosts = [host.name for host in practice.hosts]
    logins = [person.login for person in practice.people]
    servers = [host.name for host in practice.hosts if host.kind is HostKind.SERVER]
    shares: set[str] = set()
    for index, share in enumerate(practice.shares):
        if share.name in shares:
            yield Found(("shares", index, "name"), _("ce partage existe déjà"))
        shares.add(share.name)
        if share.host not in servers:
            reason = _("machine inconnue") if share.host not in hosts else _("cette machine n'est pas un serveur")
            yield Found(("shares", index, "host"), reason + suggestion(share.host, servers))
        yield from _known(share.users, logins, ("shares", index, "users"), _("personne inconnue"))
    suppliers = [supplier.name for supplier in practice.suppliers]
    for index, software in enumerate(practice.software):
        yield from _known(software.hosts, hosts, ("software", index, "hosts"), _("machine inconnue"))
        yield from _flows(software.inbound, hosts, ("software", index, "inbound"))
        if software.supplier is not None and software.supplier not in suppliers:
            yield Found(
                ("software", index, "supplier"),
                _("fournisseur inconnu : ajoutez-le à « suppliers »") + suggestion(software.supplier, suppliers),
            )
    yield from _flows(practice.choices.inbound_flows, hosts, ("choices", "inbound_flows"))
    yield from _flows(practice.choices.outbound_flows, hosts, ("choices", "outbound_flows"))


def _flows(flows: list[Flow], hosts: list[str], at: Path_) -> Iterator[Found]:
    for index, flow in enumerate(flows):
        yield from _known(flow.hosts, hosts, (*at, index, "hosts"), _("machine inconnue"))
        if len(set(flow.ports)) != len(flow.ports):
            yield Found((*at, index, "ports"), _("un port est cité deux fois"))


def _network(practice: Practice) -> Iterator[Found]:
    lan = practice.network.lan
    if lan.prefixlen < MIN_PREFIX[lan.version]:
        yield Found(("network", "lan"), _("réseau trop vaste pour un réseau local"))
    names: set[str] = set()
    for index, printer in enumerate(practice.network.printers):
        if printer.name.lower() in names:
            yield Found(("network", "printers", index, "name"), _("cette imprimante figure déjà plus haut"))
        names.add(printer.name.lower())
        if any(printer.address == host.address for host in practice.hosts):
            yield Found(("network", "printers", index, "address"), _("cette adresse est celle d'une machine du cabinet"))


def _maintenance(practice: Practice) -> Iterator[Found]:
    maintenance = practice.maintenance
    if maintenance.account in SYSTEM_LOGINS:
        yield Found(("maintenance", "account"), _("identifiant réservé par le système : choisissez-en un autre"))
    for index, network in enumerate(maintenance.addresses):
        if network.prefixlen < MIN_PREFIX[network.version]:
            yield Found(
                ("maintenance", "addresses", index),
                _("trop large : toute la planète pourrait tenter sa chance, citez les adresses du prestataire"),
            )
    if len(set(maintenance.public_keys)) != len(maintenance.public_keys):
        yield Found(("maintenance", "public_keys"), _("la même clé figure deux fois"))
    for name, value in maintenance.sshd_options.items():
        if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name):
            yield Found(("maintenance", "sshd_options", name), _("nom d'option SSH incorrect : une majuscule puis des lettres"))
        if name in ("Include", "Match"):
            yield Found(("maintenance", "sshd_options", name), _("« {name} » n'est pas admis ici").format(name=name))
        if not value or not value.isprintable():
            yield Found(("maintenance", "sshd_options", name), _("une valeur d'une seule ligne est attendue"))


def _suppliers(practice: Practice) -> Iterator[Found]:
    names: set[str] = set()
    for index, supplier in enumerate(practice.suppliers):
        if supplier.name.lower() in names:
            yield Found(("suppliers", index, "name"), _("ce fournisseur figure déjà plus haut"))
        names.add(supplier.name.lower())
        if supplier.hds and supplier.role is SupplierRole.BACKUP and 6 not in supplier.hds.activities:
            yield Found(
                ("suppliers", index, "hds", "activities"),
                _("la sauvegarde externalisée est l'activité 6 : vérifiez le certificat"),
            )


def _declarations(practice: Practice) -> Iterator[Found]:
    hosts = [host.name for host in practice.hosts]
    ids: set[str] = set()
    for index, waiver in enumerate(practice.waivers):
        at: Path_ = ("waivers", index)
        if waiver.id in ids:
            yield Found((*at, "id"), _("ce numéro de dérogation est déjà pris : une nouvelle dérogation, un nouveau numéro"))
        ids.add(waiver.id)
        if waiver.expires_on < waiver.accepted_on:
            yield Found((*at, "expires_on"), _("la dérogation finit avant d'avoir été acceptée"))
        elif (waiver.expires_on - waiver.accepted_on).days > WAIVER_MAX_DAYS:
            yield Found((*at, "expires_on"), _("une dérogation dure douze mois au plus, puis se renouvelle"))
        yield from _known(waiver.hosts, hosts, (*at, "hosts"), _("machine inconnue"))
    for index, paper in enumerate(practice.attestations):
        if paper.expires is not None and paper.expires < paper.on:
            yield Found(("attestations", index, "expires"), _("la déclaration finit avant d'avoir été faite"))


def _known(words: list[str], known: list[str], at: Path_, reason: str) -> Iterator[Found]:
    for index, word in enumerate(words):
        if word not in known:
            yield Found((*at, index), reason + suggestion(word, known))
        elif word in words[:index]:
            yield Found((*at, index), _("cité deux fois"))


_RULES: tuple[Callable[[Practice], Iterator[Found]], ...] = (
    _people, _hosts, _references, _network, _maintenance, _suppliers, _declarations,
)  # fmt: skip
