"""Rules on machines, addresses and flows."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from antiseche.i18n import N_, _
from antiseche.practice.document import Path_
from antiseche.practice.messages import suggestion
from antiseche.practice.rules.found import Found, repeated, unknown
from antiseche.practice.rules.reserved import is_reserved_host
from antiseche.practice.schema import Flow, HostKind, Practice, Protocol

_TWICE = {
    "name": N_("ce volume figure déjà plus haut"),
    "device": N_("ce disque figure déjà plus haut"),
    "mount": N_("ce dossier sert déjà à un autre volume"),
}
_LAN_PREFIX = {4: (8, 30), 6: (16, 126)}
_WORLD_PREFIX = {4: 8, 6: 16}
_SSH_PORT = 22

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network


def hosts(practice: Practice) -> Iterator[Found]:
    """Machines have names and addresses of their own, in the local network."""
    names: dict[str, int] = {}
    for index, host in enumerate(practice.hosts):
        if host.name in names:
            text = _("ce nom est déjà celui de la machine n° {n}").format(n=names[host.name] + 1)
            yield Found(("hosts", index, "name"), text)
        names.setdefault(host.name, index)
        if is_reserved_host(host.name):
            yield Found(("hosts", index, "name"), _("nom réservé : choisissez-en un autre"))
    yield from repeated(
        (printer.name for printer in practice.network.printers),
        ("network", "printers"),
        "name",
        _("cette imprimante figure déjà plus haut"),
    )
    yield from _addresses(practice)


def disks(practice: Practice) -> Iterator[Found]:
    """A machine's volumes have names, disks and mount points of their own, and none hides another."""
    for index, host in enumerate(practice.hosts):
        for field, text in _TWICE.items():
            values = (getattr(disk, field) for disk in host.data_disks)
            yield from repeated(values, ("hosts", index, "data_disks"), field, _(text))
        mounts = [disk.mount for disk in host.data_disks]
        for number, mount in enumerate(mounts):
            if any(mount.startswith(f"{other}/") for other in mounts):
                yield Found(("hosts", index, "data_disks", number, "mount"), _("ce dossier est à l'intérieur d'un autre volume"))


def _addresses(practice: Practice) -> Iterator[Found]:
    lan: _Network | None = practice.network.lan
    wrong = _wrong_lan(practice.network.lan)
    outside = [host for host in practice.hosts if host.address not in practice.network.lan]
    if not wrong and len(outside) == len(practice.hosts) > 1:
        wrong = _("aucune machine du cabinet n'a son adresse dans ce réseau")
    if wrong:
        yield Found(("network", "lan"), wrong, refers="hosts")
        lan = None  # one mistake, one message
    owners: dict[_Address, str] = {}
    places: list[tuple[Path_, str, _Address]] = [
        (("hosts", index), host.name, host.address) for index, host in enumerate(practice.hosts)
    ]
    places += [
        (("network", "printers", index), printer.name, printer.address) for index, printer in enumerate(practice.network.printers)
    ]
    for at, name, address in places:
        if address in owners:
            wrong = _("cette adresse est déjà celle de « {name} »").format(name=owners[address])
        else:
            wrong = _wrong_address(address, lan)
        owners.setdefault(address, name)
        if wrong:
            yield Found((*at, "address"), wrong)


def _wrong_lan(lan: _Network) -> str:
    widest, narrowest = _LAN_PREFIX[lan.version]
    if lan.prefixlen < widest:
        return _("réseau trop vaste pour un réseau local")
    if lan.prefixlen > narrowest:
        return _("réseau trop étroit : donnez tout le réseau local, par exemple 192.168.1.0/24")
    if lan.is_loopback or lan.is_multicast or lan.is_link_local or lan.is_unspecified:
        return _("ce réseau ne peut pas être celui d'un cabinet")
    return ""


def _wrong_address(address: _Address, lan: _Network | None) -> str:
    if address.is_loopback or address.is_multicast or address.is_unspecified:
        return _("cette adresse ne peut pas être celle d'une machine")
    if address.is_link_local:
        return _("adresse provisoire, que la machine s'est donnée seule : fixez-en une")
    if lan is None:
        return ""
    if address not in lan:
        return _("hors du réseau local {lan}").format(lan=lan)
    if address in (lan.network_address, lan.broadcast_address):
        return _("adresse du réseau lui-même ou de diffusion : aucune machine ne peut la porter")
    return ""


def shares(practice: Practice) -> Iterator[Found]:
    """Shares have names of their own and a server that carries them."""
    known = {host.name: host.kind for host in practice.hosts}
    servers = [name for name, kind in known.items() if kind is HostKind.SERVER]
    yield from repeated((share.name for share in practice.shares), ("shares",), "name", _("ce partage existe déjà"))
    for index, share in enumerate(practice.shares):
        if share.host not in servers:
            reason = _("cette machine n'est pas un serveur") if share.host in known else _("machine inconnue")
            yield Found(("shares", index, "host"), reason + suggestion(share.host, servers), refers="hosts")


def software(practice: Practice) -> Iterator[Found]:
    """Software runs on machines of the practice, and its supplier is among the suppliers."""
    machines = {host.name: None for host in practice.hosts}
    suppliers = [supplier.name for supplier in practice.suppliers]
    yield from repeated((item.name for item in practice.software), ("software",), "name", _("ce logiciel figure déjà plus haut"))
    for index, item in enumerate(practice.software):
        at: Path_ = ("software", index)
        yield from unknown(item.hosts, machines, (*at, "hosts"), _("machine inconnue"), "hosts")
        yield from _flows(item.inbound, machines, (*at, "inbound"), inbound=True)
        yield from _elsewhere(item.inbound, item.hosts, machines, (*at, "inbound"))
        if item.supplier is not None and item.supplier not in suppliers:
            reason = _("fournisseur inconnu : ajoutez-le à « suppliers »")
            yield Found((*at, "supplier"), reason + suggestion(item.supplier, suppliers), refers="suppliers")


def flows(practice: Practice) -> Iterator[Found]:
    """The practice's own flows."""
    machines = {host.name: None for host in practice.hosts}
    yield from _flows(practice.choices.inbound_flows, machines, ("choices", "inbound_flows"), inbound=True)
    yield from _flows(practice.choices.outbound_flows, machines, ("choices", "outbound_flows"), inbound=False)


def _flows(items: list[Flow], machines: Collection[str], at: Path_, *, inbound: bool) -> Iterator[Found]:
    for index, flow in enumerate(items):
        yield from unknown(flow.hosts, machines, (*at, index, "hosts"), _("machine inconnue"), "hosts")
        if len(set(flow.ports)) != len(flow.ports):
            yield Found((*at, index, "ports"), _("un port est cité deux fois"))
        if inbound:
            yield from _inbound(flow, (*at, index))


def _inbound(flow: Flow, at: Path_) -> Iterator[Found]:
    if flow.protocol is Protocol.TCP and _SSH_PORT in flow.ports:
        reason = _("le port 22 est celui de la maintenance : il ne s'ouvre qu'aux adresses du prestataire")
        yield Found((*at, "ports", flow.ports.index(_SSH_PORT)), reason)
    for index, source in enumerate(flow.sources):
        if source.prefixlen < _WORLD_PREFIX[source.version]:
            yield Found((*at, "sources", index), _("trop large : ce flux serait ouvert à tout Internet, citez des réseaux"))


def _elsewhere(items: list[Flow], hosts: list[str], machines: Collection[str], at: Path_) -> Iterator[Found]:
    """A flow on a machine without the software would be opened nowhere."""
    for index, flow in enumerate(items):
        for number, name in enumerate(flow.hosts):
            if hosts and name in machines and name not in hosts:
                yield Found((*at, index, "hosts", number), _("cette machine n'est pas de celles du logiciel"))
