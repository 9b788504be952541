"""The sealed-envelope sheet as a file: PDF (A4, tagged for screen readers by PDF/UA-1, its fonts inside), HTML or text."""

from __future__ import annotations

import json
from pathlib import Path

from antiseche.errors import AntisecheError
from antiseche.i18n import _, language
from antiseche.practice.escrow_sheet import KeySheet, as_html, as_text, sentences, title
from antiseche.practice.sealed_page import mark

_TEMPLATE = Path(__file__).with_name("escrow_sheet.typ")
_GROUPS_A_LINE = 4


def rendered(sheet: KeySheet, suffix: str) -> bytes:
    """Return the sheet in the form that the suffix of a file's name asks for."""
    if suffix.lower() == ".pdf":
        return as_pdf(sheet)
    return (as_html(sheet) if suffix.lower() in (".html", ".htm") else as_text(sheet)).encode()


def as_pdf(sheet: KeySheet) -> bytes:
    """Return the sheet as a PDF, made in memory.

    Raises:
        AntisecheError: the typesetter failed, which is a fault of ours.
    """
    import typst

    said = {
        "lang": language(),
        "title": title(),
        "mark": mark(),
        "author": sheet.contractor,
        "practice": sheet.practice,
        "rows": [{"host": r.host, "volume": r.volume, "uuid": r.uuid, "key": in_lines(r.key)} for r in sheet.rows],
        "sentences": sentences(sheet),
    }
    try:
        # The machine's own fonts would make another sheet on another machine.
        compiler = typst.Compiler(_TEMPLATE.read_bytes(), ignore_system_fonts=True)
        made = compiler.compile(format="pdf", pdf_standards="ua-1", sys_inputs={"sheet": json.dumps(said)})
    except typst.TypstError as error:
        raise AntisecheError(_("La fiche n'a pas pu être mise en page : {reason}.").format(reason=error.message)) from None
    if not isinstance(made, bytes):
        raise AntisecheError(_("La fiche n'a pas pu être mise en page : {reason}.").format(reason="PDF"))
    return made


def in_lines(key: str) -> list[str]:
    """Return a key in lines of a few groups; the hyphen stays at the end of a line, since it is part of the key."""
    groups = key.split("-")
    lines = ["-".join(groups[i : i + _GROUPS_A_LINE]) for i in range(0, len(groups), _GROUPS_A_LINE)]
    return [*(f"{line}-" for line in lines[:-1]), lines[-1]]
