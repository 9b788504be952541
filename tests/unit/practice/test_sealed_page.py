"""The page of the sealed envelopes: what is text stays text, whatever a practice or a machine is called."""

from __future__ import annotations

import pytest

from antiseche.practice import envelope, escrow_sheet
from antiseche.practice.envelope import Envelope, EnvelopeRow
from antiseche.practice.escrow_sheet import KeyRow, KeySheet

HOSTILE = '<script>x</script> & "{title}" {0}'
SAFE = "&lt;script&gt;x&lt;/script&gt; &amp; &quot;{title}&quot; {0}"


def test_passwords_and_names_are_text() -> None:
    page = envelope.as_html(Envelope(HOSTILE, HOSTILE, HOSTILE, "00", (EnvelopeRow("poste", "cexemple", HOSTILE),)))
    assert "<script>" not in page
    assert f"<td>poste</td><td>cexemple</td><td>{SAFE}</td>" in page
    assert f"<h1>{SAFE}</h1>" in page


def test_recovery_keys_and_names_are_text() -> None:
    page = escrow_sheet.as_html(KeySheet(HOSTILE, HOSTILE, "", (KeyRow("serveur", HOSTILE, "uuid", HOSTILE),)))
    assert "<script>" not in page
    assert f'<p class="key">{SAFE}</p>' in page
    assert f"<h1>{SAFE}</h1>" in page


@pytest.mark.parametrize(
    "page",
    [
        envelope.as_html(Envelope("Cabinet", "Dr Exemple", "Prestataire", "", (EnvelopeRow("a", "b", "c"),))),
        escrow_sheet.as_html(KeySheet("Cabinet", "Prestataire", "", (KeyRow("a", "b", "c", "d"),))),
    ],
    ids=["envelope", "escrow"],
)
def test_the_page_needs_nothing_else(page: str) -> None:
    assert page.startswith("<!DOCTYPE html>")
    assert "CONFIDENTIEL" in page
    assert "@page { size: A4" in page
    assert "{{" not in page
    assert not [word for word in ("http", "src=", "<link", "<script") if word in page]
