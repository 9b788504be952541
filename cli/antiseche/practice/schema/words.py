"""The words that some answers are chosen from."""

from __future__ import annotations

from enum import StrEnum


class Function(StrEnum):
    """What a person does in the practice; decides the groups of the account."""

    DOCTOR = "doctor"
    LOCUM = "locum"
    SECRETARY = "secretary"
    NURSE = "nurse"
    OTHER = "other"


class HostKind(StrEnum):
    """Workstation or server."""

    WORKSTATION = "workstation"
    SERVER = "server"


class System(StrEnum):
    """Operating systems the kit hardens."""

    DEBIAN12 = "debian12"
    DEBIAN13 = "debian13"


class Protocol(StrEnum):
    """Transport protocol of a network flow."""

    TCP = "tcp"
    UDP = "udp"


class SupplierRole(StrEnum):
    """What a supplier does for the practice."""

    IT = "it"
    SOFTWARE = "software"
    HOSTING = "hosting"
    MAIL = "mail"
    BACKUP = "backup"
    OTHER = "other"
