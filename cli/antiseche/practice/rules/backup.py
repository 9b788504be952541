"""Rules on the backups: a server that can receive them, machines and a supplier that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from antiseche.i18n import _
from antiseche.practice.document import Path_
from antiseche.practice.messages import suggestion
from antiseche.practice.rules.found import Found, repeated
from antiseche.practice.schema import HostBackup, Offsite, Practice, SupplierRole, System

PORT = 8000


def backup(practice: Practice) -> Iterator[Found]:
    """The server runs Debian 13, each machine is named once, the off-site copy is at a backup supplier's."""
    answers = practice.backup
    if answers is None:
        return
    known = {host.name: host for host in practice.hosts}
    at: Path_ = ("backup", "server")
    if answers.server not in known:
        yield Found(at, _("machine inconnue") + suggestion(answers.server, list(known)), refers="hosts")
    elif known[answers.server].system is System.DEBIAN12:
        yield Found(at, _("Debian 12 n'a pas le programme qui reçoit les sauvegardes : il faut une machine sous Debian 13"))
    names = (item.host for item in answers.hosts)
    yield from repeated(names, ("backup", "hosts"), "host", _("cette machine figure déjà plus haut"))
    for index, item in enumerate(answers.hosts):
        here: Path_ = ("backup", "hosts", index)
        if item.host not in known:
            yield Found((*here, "host"), _("machine inconnue") + suggestion(item.host, list(known)), refers="hosts")
        yield from _one(item, here, answers.path if item.host == answers.server else "")
    yield from _offsite(practice)


def _one(item: HostBackup, here: Path_, repositories: str) -> Iterator[Found]:
    yield from repeated((dump.name for dump in item.dumps), (*here, "dumps"), "name", _("ce nom est déjà pris plus haut"))
    for key, paths in (("paths", item.paths), ("must_survive", item.must_survive)):
        for index, path in enumerate(paths):
            if ".." in path.split("/"):
                yield Found((*here, key, index), _("« .. » n'est pas admis dans un chemin"))
            elif repositories and _inside(repositories, path):
                yield Found((*here, key, index), _("les sauvegardes s'y trouvent : elles se sauvegarderaient elles-mêmes"))


def _inside(path: str, folder: str) -> bool:
    return path == folder.rstrip("/") or path.startswith(folder.rstrip("/") + "/")


def _offsite(practice: Practice) -> Iterator[Found]:
    offsite = practice.backup.offsite if practice.backup else None
    if offsite is None:
        return
    yield from _place(offsite)
    if offsite.supplier is None:
        return
    suppliers = {supplier.name: supplier.role for supplier in practice.suppliers}
    at: Path_ = ("backup", "offsite", "supplier")
    if offsite.supplier not in suppliers:
        reason = _("fournisseur inconnu : ajoutez-le à « suppliers »")
        yield Found(at, reason + suggestion(offsite.supplier, list(suppliers)), refers="suppliers")
    elif suppliers[offsite.supplier] is not SupplierRole.BACKUP:
        yield Found(at, _("ce fournisseur n'a pas le rôle « backup » : l'annexe ne lui demanderait pas son certificat HDS"))


def _place(offsite: Offsite) -> Iterator[Found]:
    """An address of the declared kind; over SFTP, a folder, a port that exists, and the key that proves the provider."""
    at: Path_ = ("backup", "offsite", "url")
    if offsite.kind != "sftp":
        if not offsite.url.startswith("https://"):
            yield Found(at, _("ce genre de dépôt a une adresse en https, par exemple « https://depot.example/cabinet »"))
        if offsite.host_key is not None:
            yield Found(("backup", "offsite", "host_key"), _("seul un dépôt SFTP a une clé de serveur : retirez-la"))
        return
    if not offsite.url.startswith("sftp://"):
        yield Found(at, _("un dépôt SFTP a une adresse de la forme « sftp://compte@serveur:port/dossier »"))
    elif not 0 < sftp_place(offsite.url)["port"] < 65536 or sftp_place(offsite.url)["path"] == "/":
        yield Found(at, _("le port va de 1 à 65535, et un dossier est attendu après le serveur"))
    if offsite.host_key is None:
        yield Found(
            ("backup", "offsite", "host_key"),
            _("clé du serveur SFTP absente : l'hébergeur la publie, par exemple « ssh-ed25519 AAAA… » ; sans elle, rien ne part"),
        )


def sftp_place(url: str) -> dict[str, Any]:
    """Return the parts of an SFTP address: user, host, port and path, which is absolute."""
    parts = urlsplit(url)
    return {
        "user": parts.username or "",
        "host": parts.hostname or "",
        "port": port_of(url),
        "path": "/" + parts.path.strip("/"),
    }


def port_of(url: str) -> int:
    """Return the port of an address, or the usual one; it may be too high, which urlsplit would refuse to tell."""
    port = re.search(r":([0-9]+)$", urlsplit(url).netloc)
    return int(port[1]) if port else {"sftp": 22, "https": 443}[urlsplit(url).scheme]
