"""The sheet for the sealed envelope: the recovery keys of a practice's encrypted volumes."""

from __future__ import annotations

import html
from dataclasses import dataclass

from antiseche.errors import AnswersError
from antiseche.i18n import _
from antiseche.practice import escrow
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Practice
from antiseche.practice.sealed_page import mark, page
from antiseche.practice.secrets import Vault


@dataclass(frozen=True)
class KeyRow:
    """One volume of one machine. The passphrase stays in the vault: one key on paper is enough."""

    host: str
    volume: str
    uuid: str
    key: str

    def __repr__(self) -> str:
        return f"KeyRow({self.host!r}, {self.volume!r}, ***)"


@dataclass(frozen=True)
class KeySheet:
    """What the sheet says."""

    practice: str
    contractor: str
    phone: str
    rows: tuple[KeyRow, ...]


def sheet_for(folder: PracticeFolder, practice: Practice, vault: Vault) -> KeySheet:
    """Collect the recovery keys that the vaults hold, those of volumes that left the answers included.

    Raises:
        AnswersError: no vault holds a key, or a declared volume has none yet.
    """
    rows: list[KeyRow] = []
    for host in practice.hosts:
        path = folder.inventory_dir / "host_vars" / host.name / "vault.yml"
        values = vault.read(path) if path.is_file() else {}
        missing = escrow.missing(values, [disk.name for disk in host.data_disks])
        if missing:
            raise AnswersError(
                _("Le coffre n'a pas encore la clé de « {volume} » ({host}) : lancez « antiseche inventory {practice} ».").format(
                    volume=missing[0], host=host.name, practice=folder.name
                )
            )
        rows += [
            KeyRow(host.name, name, keys["uuid"], keys["recovery_key"])
            for name, keys in escrow.volumes_in(values).items()
            if "recovery_key" in keys and "uuid" in keys
        ]
        root = values.get(escrow.ROOT)
        if isinstance(root, dict) and root.get("recovery_key"):
            rows.append(KeyRow(host.name, "/", "", str(root["recovery_key"])))
    if not rows:
        raise AnswersError(_("Aucun volume chiffré n'a de clé au coffre : rien à mettre sous enveloppe."))
    return KeySheet(practice.practice.name, practice.maintenance.contractor, practice.maintenance.phone or "", tuple(rows))


def title() -> str:
    """Return what the sheet is."""
    return _("Clés de secours des disques chiffrés")


def sentences(sheet: KeySheet) -> list[str]:
    """Return what its reader must know."""
    contact = f"{sheet.contractor} ({sheet.phone})" if sheet.phone else sheet.contractor
    return [
        _("Chaque clé ouvre son volume sans aucun mot de passe : qui la détient avec le disque lit tout."),
        _("Elle ne sert que si la machine est en panne ou ne s'ouvre plus seule. Tapez-la telle quelle, tirets compris."),
        _("Gardez cette feuille sous enveloppe scellée, loin des machines ; au moindre doute, prévenez {contact}.").format(
            contact=contact
        ),
        _("Remise en main propre le : ____________  Signature : ______________________"),
    ]


def as_text(sheet: KeySheet) -> str:
    """Return the sheet as plain text."""
    lines = [mark(), "", sheet.practice, title(), ""]
    for row in sheet.rows:
        lines += [f"  {row.host} : {row.volume}   {row.uuid}".rstrip(), f"    {row.key}", ""]
    return "\n".join([*lines, *sentences(sheet)]) + "\n"


_STYLE = """.key { font: 14pt monospace; border: 1pt solid; padding: .3cm; overflow-wrap: anywhere }
.number { font: 9pt monospace }
div { break-inside: avoid }
"""


def as_html(sheet: KeySheet) -> str:
    """Return the sheet as one self-contained page to print."""
    body = "\n".join(
        f'<div><h2>{html.escape(row.host)} : {html.escape(row.volume)}</h2><p class="number">{html.escape(row.uuid)}</p>'
        f'<p class="key">{html.escape(row.key)}</p></div>'
        for row in sheet.rows
    )
    return page(title=title(), practice=sheet.practice, subject=title(), style=_STYLE, body=body, sentences=sentences(sheet))
