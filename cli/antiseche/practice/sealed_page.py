"""The page that every sheet for a sealed envelope is printed on."""

from __future__ import annotations

import html
from collections.abc import Sequence

from antiseche.i18n import _

_PAGE = """<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>{title}</title>
<style>
@page {{ size: A4; margin: 2cm }}
body {{ font: 12pt/1.5 serif; max-width: 17cm; margin: 2cm auto }}
.mark {{ border: 2pt solid; padding: .3cm; text-align: center; font-weight: bold }}
{style}</style></head><body>
<p class="mark">{mark}</p>
<h1>{practice}</h1>
<p>{subject}</p>
{body}
{sentences}
</body></html>
"""


def mark() -> str:
    """Return the line at the top."""
    return _("CONFIDENTIEL - à remettre en main propre, sous enveloppe scellée")


def page(*, title: str, practice: str, subject: str, style: str, body: str, sentences: Sequence[str]) -> str:
    """Return one self-contained HTML page; ``style`` and ``body`` are markup, all the rest is text."""
    return _PAGE.format(
        title=html.escape(title),
        style=style,
        mark=html.escape(mark()),
        practice=html.escape(practice),
        subject=html.escape(subject),
        body=body,
        sentences="\n".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences),
    )
