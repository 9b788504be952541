"""What is allowed and yet looks like an oversight: told by check-answers, with its place, and never refused."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from answers_samples import GOOD, MARK, unmarked
from command_line import say

from antiseche.practice.document import parse
from antiseche.practice.gaps import gaps
from antiseche.practice.load import check_document, problem_at
from antiseche.practice.remarks import remarks

TODAY = dt.date(2027, 3, 1)
# Change of the sample, with the place marked, and what is said of it.
CASES: dict[str, tuple[dict[str, str], str]] = {
    "person_without_machine": (
        {"  # les médecins\n": f"  # les médecins\n  - {MARK}{{name: Anne Petit, login: apetit, function: nurse}}\n"},
        "people[1] : aucune machine ne cite cette personne : elle n'aura pas de compte",
    ),
    "last_day_passed": (
        {"until: 2027-06-30": f"until: {MARK}2027-02-28"},
        "people[4].until : ce jour est passé, le compte a expiré : si la personne est partie, écrivez « left: true »",
    ),
    "locum_without_end": (
        {"  - name: Dr Robin": f"  - {MARK}name: Dr Robin", "    until: 2027-06-30\n": ""},
        "people[4] : remplaçant sans dernier jour de présence : son compte n'expirera pas",
    ),
    "all_users_left": (
        {"    function: secretary ": "    left: oui\n    function: secretary ", "[sleveille, cexemple]": f"{MARK}[sleveille]"},
        "hosts[1].users : toutes ces personnes ont quitté le cabinet : personne ne peut s'en servir",
    ),
    "share_for_nobody": (
        {"  - name: documents": f"  - {MARK}name: documents", "    users: [cexemple, nmodele]\n": ""},
        "shares[1] : personne n'a accès à ce partage",
    ),
    "public_lan": (
        {
            "lan: 192.168.42.0/24": f"lan: {MARK}192.169.42.0/24", "192.168.42.11": "192.169.42.11",
            "192.168.42.12": "192.169.42.12", "192.168.42.2\n": "192.169.42.2\n", "192.168.42.30": "192.169.42.30",
        },
        "network.lan : ces adresses sont publiques : un réseau local a presque toujours des adresses privées",
    ),
    "contractor_in_the_lan": (
        {"[203.0.113.4/32]": f"[{MARK}192.168.42.0/24]"},
        "maintenance.addresses[1] : les machines du cabinet en font partie : chacune pourrait tenter une session de maintenance",
    ),
    "contractor_among_many": (
        {"[203.0.113.4/32]": f"[{MARK}8.8.0.0/16]"},
        "maintenance.addresses[1] : plus large que ce qu'un opérateur attribue à un client : qui d'autre s'y trouve ?",
    ),
    "contractor_is_no_supplier": (
        {'contractor: "Prestataire Exemple"': f'contractor: {MARK}"Autre Exemple"'},
        "maintenance.contractor : il n'est pas parmi les fournisseurs : l'annexe au contrat ne le décrira pas",
    ),
    "certificate_expired": (
        {"expires: 2028-03-31": f"expires: {MARK}2027-02-28"},
        "suppliers[3].hds.expires : ce certificat est périmé : demandez le nouveau",
    ),
    "waiver_ended": (
        {"expires_on: 2027-09-30": f"expires_on: {MARK}2027-02-28"},
        "waivers[1].expires_on : cette dérogation est finie : l'écart compte de nouveau",
    ),
    "waiver_to_come": (
        {"accepted_on: 2026-10-05": f"accepted_on: {MARK}2027-03-02"},
        "waivers[1].accepted_on : ce jour est à venir : la dérogation ne joue pas encore",
    ),
    "declaration_expired": (
        {"expires: 2027-10-05": f"expires: {MARK}2027-02-28"},
        "attestations[1].expires : cette déclaration est périmée : renouvelez-la",
    ),
    "declaration_to_come": (
        {"    on: 2026-10-05": f"    on: {MARK}2027-03-02"},
        "attestations[1].on : ce jour est à venir : une déclaration porte sur ce qui est",
    ),
}  # fmt: skip


def test_the_sample_has_none() -> None:
    document = parse(GOOD.encode())
    assert remarks(check_document(document, Path("p.yml")), TODAY) == []


@pytest.mark.parametrize("name", CASES)
def test_each_oversight_is_told_at_its_place(name: str) -> None:
    replacements, expected = CASES[name]
    text = GOOD
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new, 1)
    text, ((line, column),) = unmarked(text)
    document = parse(text.encode())
    found = remarks(check_document(document, Path("p.yml")), TODAY)
    told = [str(problem_at(document, Path("p.yml"), remark)).partition(" ; reçu")[0] for remark in found]
    assert told == [f"p.yml:{line}:{column}: {expected}"]


@pytest.mark.parametrize(("language", "word"), [("fr", "À vérifier : "), ("en", "To check: ")])
def test_check_answers_tells_them(language: str, word: str, practices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = practices / "p.yml"
    path.write_text(GOOD.replace("[203.0.113.4/32]", "[192.168.42.0/24]").replace("expires: 2028-03-31", "expires: 2020-03-31"))
    said = say(capsys, "--lang", language, "check-answers", str(path))
    assert (said.code, said.err) == (0, "")
    told = [line for line in said.out.splitlines() if line.startswith(word + str(path))]
    lines = [int(line.removeprefix(word + str(path)).split(":")[1]) for line in told]
    assert lines == sorted(lines)
    assert len(told) >= 2
    data = json.loads(say(capsys, "check-answers", str(path), "--json").out)
    assert data["ok"] is True
    assert {"maintenance.addresses[1]", "suppliers[3].hds.expires"} <= {remark["path"] for remark in data["remarks"]}


def test_what_nobody_answered_is_a_gap(practices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD.replace('  phone: "00 00 00 00 00"\n', "").replace('    supplier: "Éditeur Exemple"\n', "    supplier:\n")
    practice = check_document(parse(text.encode()), Path("p.yml"))
    assert [gap.path for gap in gaps(practice)] == ["practice.phone", "software[1].supplier", "backup", "cps.middleware"]
    without = check_document(parse(text.replace("card_reader: true", "card_reader: false").encode()), Path("p.yml"))
    assert "cps.middleware" not in [gap.path for gap in gaps(without)]
    path = practices / "p.yml"
    path.write_text(text, encoding="utf-8")
    out = say(capsys, "check-answers", str(path)).out
    assert "Encore sans réponse : practice.phone (Téléphone du cabinet)" in out
    assert "Encore sans réponse : software[1].supplier (Éditeur)" in out
