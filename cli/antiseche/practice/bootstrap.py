"""The short script that opens a fresh Linux machine to the contractor, and to nobody else."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from antiseche.errors import AnswersError
from antiseche.i18n import _
from antiseche.practice.schema import Host, Network, Practice, System

_SCRIPT = Path(__file__).with_name("bootstrap_linux.sh")
_VERSIONS = {System.DEBIAN12: "12", System.DEBIAN13: "13"}


@dataclass(frozen=True)
class BootstrapSpec:
    """What the script needs to know. Texts may hold anything; they are cleaned here."""

    host: str
    practice_id: str
    practice: str
    contractor: str
    account: str
    public_keys: Sequence[str]
    addresses: Sequence[Network | str]
    version: str = ""
    """Debian release the answers announce; empty accepts any."""


def spec_for(practice: Practice, host: Host) -> BootstrapSpec:
    """Return the script's parameters for one host of a practice."""
    maintenance = practice.maintenance
    return BootstrapSpec(
        host=host.name,
        practice_id=practice.practice.id,
        practice=practice.practice.name,
        contractor=maintenance.contractor,
        account=maintenance.account,
        public_keys=maintenance.public_keys,
        addresses=maintenance.addresses,
        version=_VERSIONS[host.system],
    )


def script(spec: BootstrapSpec) -> str:
    """Return the POSIX sh script; it holds no secret.

    Raises:
        AnswersError: a public key or an address cannot be written safely.
    """
    if not spec.public_keys or not spec.addresses:
        raise AnswersError(_("Il faut au moins une clé publique et une adresse du prestataire."))
    if spec.account == "root":
        raise AnswersError(_("Le compte de maintenance ne peut pas être root : choisissez un autre nom."))
    origin = ",".join(str(address) for address in spec.addresses)
    values = {
        "HOST": one_line(spec.host),
        "PRACTICE": one_line(spec.practice),
        "CONTRACTOR": one_line(spec.contractor),
        "ACCOUNT": shlex.quote(spec.account),
        "VERSION": shlex.quote(spec.version),
        "KEYS": "\n".join(f'restrict,pty,from="{origin}" {one_line(key)}' for key in spec.public_keys),
        "PRACTICE_ID": one_line(spec.practice_id),
        "HOST_ID": one_line(spec.host),
    }
    # One pass over the template only, so that a value holding another placeholder stays a text.
    parts = _SCRIPT.read_text(encoding="utf-8").split("@")
    return "".join(values.get(part, part) if index % 2 else part for index, part in enumerate(parts))


def one_line(text: str) -> str:
    """Return a text that can stand in a comment or a key line: printable, on one line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
