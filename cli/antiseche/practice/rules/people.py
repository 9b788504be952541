"""Rules on people and on who may use what."""

from __future__ import annotations

from collections.abc import Iterator

from antiseche.i18n import _
from antiseche.practice.document import Path_
from antiseche.practice.rules.found import Found, repeated, unknown
from antiseche.practice.rules.reserved import ADMIN_PREFIX, is_shared_login, is_system_login
from antiseche.practice.schema import HostKind, Person, Practice

LOGIN_MAX = 32


def people(practice: Practice) -> Iterator[Found]:
    """One person, one entry, one login of their own."""
    owners: dict[str, str] = {}
    for index, person in enumerate(practice.people):
        at: Path_ = ("people", index, "login")
        if person.login in owners:
            text = _("l'identifiant est déjà celui de {name} : un compte ne se partage pas")
            yield Found(at, text.format(name=owners[person.login]))
        owners.setdefault(person.login, person.name)
        wrong = _wrong_login(person, practice.maintenance.account)
        if wrong:
            yield Found(at, wrong)
    yield from repeated(
        (person.name for person in practice.people),
        ("people",),
        "name",
        _("cette personne figure déjà plus haut : une entrée par personne ; précisez le nom de deux homonymes"),
    )


def _wrong_login(person: Person, maintenance: str) -> str:
    if is_system_login(person.login):
        return _("identifiant réservé par le système : choisissez-en un autre")
    if is_shared_login(person.login):
        return _("identifiant de fonction, donc de compte partagé : donnez un identifiant propre à la personne")
    if person.login == maintenance:
        return _("c'est le compte de maintenance : la personne doit avoir le sien")
    if person.login.startswith(ADMIN_PREFIX):
        return _("le préfixe « adm- » est réservé aux comptes d'administration que le kit crée lui-même")
    if person.admin and len(ADMIN_PREFIX + person.login) > LOGIN_MAX:
        return _("identifiant trop long pour un compte d'administration : 28 caractères au plus")
    return ""


def users(practice: Practice) -> Iterator[Found]:
    """Whoever uses a machine or a share is a person of the practice."""
    logins = {person.login: None for person in practice.people}
    for index, host in enumerate(practice.hosts):
        at: Path_ = ("hosts", index, "users")
        if host.kind is HostKind.WORKSTATION and not host.users:
            yield Found(at, _("un poste de travail sans utilisateur : citez qui s'en sert"))
        yield from unknown(host.users, logins, at, _("personne inconnue"), "people")
    for index, share in enumerate(practice.shares):
        yield from unknown(share.users, logins, ("shares", index, "users"), _("personne inconnue"), "people")
