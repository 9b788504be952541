"""Completes unfinished answers, so that the rules between answers can judge one of them before the others exist."""

from __future__ import annotations

from typing import Any

from antiseche.practice.document import Path_
from antiseche.practice.fields import Field, Kind, fields_of
from antiseche.practice.schema import Answers, Practice

# One value per obligatory field; {n} keeps them apart. None can be typed by mistake and none meets a rule by itself.
FILLERS: dict[str, Any] = {
    "PracticeIdentity.id": "provisoire",
    "PracticeIdentity.name": "provisoire",
    "Person.login": "zz-provisoire-{n}",
    "Person.name": "provisoire {n}",
    "Person.function": "other",
    "Host.name": "zz-prov-{n}",
    "Host.address": "0.0.{n}.255",
    "Printer.name": "provisoire {n}",
    "Printer.address": "0.1.{n}.255",
    "LocalNetwork.lan": "0.0.0.0/0",
    "Flow.name": "provisoire {n}",
    "Flow.ports": [1],
    "Software.name": "provisoire {n}",
    "Share.name": "zz-provisoire-{n}",
    "Share.host": "zz-inconnu",
    "Maintenance.contractor": "provisoire",
    "Maintenance.addresses": ["192.0.2.1/32"],
    "Maintenance.public_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],
    "HdsCertificate.number": "provisoire",
    "HdsCertificate.activities": [6],
    "HdsCertificate.expires": "2099-12-31",
    "Middleware.source": "provisoire.rpm",
    "Middleware.sha256": "0" * 64,
    "Middleware.version": "999.0",
    "DataDisk.name": "zz-{n}",
    "DataDisk.device": "/dev/disk/by-id/zz-provisoire-{n}",
    "DataDisk.mount": "/srv/zz-provisoire-{n}",
    "Backup.server": "zz-inconnu",
    "HostBackup.host": "zz-inconnu-{n}",
    "HostBackup.paths": ["/zz-provisoire"],
    "Dump.name": "provisoire-{n}",
    "Dump.command": ["provisoire"],
    "Offsite.kind": "rest",
    "Offsite.url": "https://provisoire.invalid/",
    "Supplier.name": "provisoire {n}",
    "Supplier.role": "other",
    "PaperAnswer.control": "ZZ-00",
    "PaperAnswer.answer": "unknown",
    "PaperAnswer.on": "2000-01-01",
    "PaperAnswer.by": "provisoire",
    "Waiver.id": "D-{n:03}",
    "Waiver.control": "ZZ-00",
    "Waiver.reason": "provisoire",
    "Waiver.accepted_by": "provisoire",
    "Waiver.accepted_on": "2000-01-01",
    "Waiver.expires_on": "2000-01-02",
}


def complete(values: Any) -> Practice:
    """Return a practice made of every answer that holds, the others being filled in."""
    return Practice.model_validate(_fill(Practice, values, ()))


def _fill(model: type[Answers], values: Any, path: Path_) -> dict[str, Any]:
    values = values if isinstance(values, dict) else {}
    filled: dict[str, Any] = {}
    for field in fields_of(model):
        value = _value(model, field, values, path)
        if value is not _ABSENT:
            filled[field.name] = value
    return filled


_ABSENT = object()


def _value(model: type[Answers], field: Field, values: dict[str, Any], path: Path_) -> Any:
    here: Path_ = (*path, field.name)
    given = values.get(field.name, _ABSENT)
    if field.model is not None and field.kind is Kind.GROUP:
        items = given if isinstance(given, list) and given else [{}] * field.minimum
        return [_fill(field.model, item, (*here, index)) for index, item in enumerate(items[: field.maximum])]
    if field.model is not None and (field.kind is Kind.PART or isinstance(given, dict)):
        return _fill(field.model, given, here)
    if given is not _ABSENT and not field.check(given, here)[1]:
        return given
    return _filler(f"{model.__name__}.{field.name}", path) if field.required else _ABSENT


def _filler(key: str, path: Path_) -> Any:
    filler = FILLERS[key]
    number = next((part for part in reversed(path) if isinstance(part, int)), 0)
    # From the far end, so that a filled-in item does not look like one that a person wrote.
    return filler.format(n=200 - number % 200) if isinstance(filler, str) else filler
