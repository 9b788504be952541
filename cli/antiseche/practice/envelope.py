"""The sheet for the sealed envelope: a person's first-logon passwords, machine by machine."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from antiseche.errors import AnswersError
from antiseche.i18n import _
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.inventory_vars import accounts_of
from antiseche.practice.schema import Practice
from antiseche.practice.sealed_page import mark, page
from antiseche.practice.secrets import Vault, passwords_in


@dataclass(frozen=True)
class EnvelopeRow:
    """One account on one machine."""

    host: str
    login: str
    password: str

    def __repr__(self) -> str:
        return f"EnvelopeRow({self.host!r}, {self.login!r}, ***)"


@dataclass(frozen=True)
class Envelope:
    """What the sheet says."""

    practice: str
    person: str
    contractor: str
    phone: str
    rows: tuple[EnvelopeRow, ...]


def envelope_for(folder: PracticeFolder, practice: Practice, login: str, vault: Vault) -> Envelope:
    """Collect the first-logon passwords of a person, separate administration account included.

    Raises:
        AnswersError: unknown person, no active account, or an inventory that does not hold the passwords yet.
    """
    person = next((person for person in practice.people if person.login == login), None)
    if person is None:
        known = ", ".join(person.login for person in practice.people)
        raise AnswersError(
            _("Personne inconnue : « {login} ». Identifiants du cabinet : {known}.").format(login=login, known=known)
        )
    mine = {login, f"adm-{login}"} if person.admin else {login}
    rows: list[EnvelopeRow] = []
    for host in practice.hosts:
        logins = [a["login"] for a in accounts_of(practice, host) if a["login"] in mine and a["state"] == "active"]
        if not logins:
            continue
        path = folder.inventory_dir / "host_vars" / host.name / "vault.yml"
        passwords = passwords_in(vault.read(path)) if path.is_file() else {}
        missing = [name for name in logins if name not in passwords]
        if missing:
            raise AnswersError(
                _(
                    "L'inventaire ne connaît pas encore « {login} » sur {host} : lancez « antiseche inventory {practice} »."
                ).format(login=missing[0], host=host.name, practice=folder.name)
            )
        rows += [EnvelopeRow(host.name, name, passwords[name]) for name in logins]
    if not rows:
        raise AnswersError(
            _("« {login} » n'a de compte actif sur aucune machine : rien à mettre sous enveloppe.").format(login=login)
        )
    return Envelope(
        practice.practice.name, person.name, practice.maintenance.contractor, practice.maintenance.phone or "", tuple(rows)
    )


def _sentences(sheet: Envelope) -> list[str]:
    contact = f"{sheet.contractor} ({sheet.phone})" if sheet.phone else sheet.contractor
    return [
        _("Chaque mot de passe ne sert qu'une fois : la machine en demande un nouveau à la première ouverture de session."),
        _("Choisissez-en un que personne d'autre ne connaît. Personne ne vous le demandera, ni votre prestataire."),
        _("Ensuite, détruisez cette feuille. Si l'enveloppe était ouverte, prévenez {contact} avant de vous connecter.").format(
            contact=contact
        ),
        _("Les tirets font partie du mot de passe. Il ne contient ni le chiffre 0 ni le chiffre 1."),
    ]


def as_text(sheet: Envelope) -> str:
    """Return the sheet as plain text."""
    width = max(len(row.host) for row in sheet.rows), max(len(row.login) for row in sheet.rows)
    lines = [
        mark(),
        "",
        sheet.practice,
        _("Pour : {person}").format(person=sheet.person),
        "",
        *(f"  {row.host:<{width[0]}}   {row.login:<{width[1]}}   {row.password}" for row in sheet.rows),
        "",
        *_sentences(sheet),
    ]
    return "\n".join(lines) + "\n"


_STYLE = """table { width: 100%; border-collapse: collapse; margin: 1cm 0 }
th, td { border: 1pt solid; padding: .3cm; text-align: left }
td:last-child { font: 15pt monospace; white-space: nowrap }
"""


def as_html(sheet: Envelope) -> str:
    """Return the sheet as one self-contained page to print."""
    heads = (_("Machine"), _("Identifiant"), _("Premier mot de passe"))
    rows = [_row("th", heads), *(_row("td", (row.host, row.login, row.password)) for row in sheet.rows)]
    return page(
        title=mark(),
        practice=sheet.practice,
        subject=_("Pour : {person}").format(person=sheet.person),
        style=_STYLE,
        body="\n".join(["<table>", *rows, "</table>"]),
        sentences=_sentences(sheet),
    )


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
