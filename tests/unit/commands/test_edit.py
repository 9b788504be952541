"""Changing answers in place: only what is chosen is asked, and every other byte stays."""

from __future__ import annotations

import difflib
import stat
from pathlib import Path

import pytest
from answers_samples import GOOD, KEY
from command_line import say, tree
from typing_person import type_lines

from antiseche.practice.load import load_answers

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def path(practices: Path) -> Path:
    """Return the answers of a practice."""
    found = practices / "tilleuls" / "practice.yml"
    found.parent.mkdir()
    found.write_text(GOOD, encoding="utf-8")
    return found


def changes(before: bytes, after: bytes) -> list[str]:
    """Return the lines taken away and added, byte for byte."""
    old, new = (raw.decode().split("\n") for raw in (before, after))
    return list(difflib.unified_diff(old, new, n=0, lineterm=""))[2:]


def lines_of(changed: list[str]) -> list[str]:
    return [line for line in changed if not line.startswith("@@")]


WIDE = GOOD.replace(": ", ":   ").replace("- ", "-  ")
LAYOUTS = {
    "as_is": GOOD,
    "wide": GOOD.replace("  login:", "  login:  ").replace("address:", "address:    ").replace("name: ", "name:  "),
    "tight_lists": GOOD.replace("[sleveille, cexemple]", "[sleveille,cexemple]").replace("[1, 6]", "[ 1 ,6 ]"),
    "windows": GOOD.replace("\n", "\r\n"),
    "no_last_line_end": GOOD.rstrip("\n"),
    "trailing_spaces": GOOD.replace("function: doctor\n", "function: doctor   \n").replace("\n\n", "\n  \n"),
    "document_marks": "---\n" + GOOD + "...\n",
    "byte_order_mark": "\N{ZERO WIDTH NO-BREAK SPACE}" + GOOD,
    "dashes_at_the_margin": GOOD.replace("\n  - ", "\n- ")
    .replace("\n    ", "\n  ")
    .replace("\n  ClientAlive", "\n    ClientAlive"),
    "long_line": GOOD.replace("Remplace le Dr Modèle le mercredi.", "x " * 90 + "."),
    "list_on_two_lines": GOOD.replace("[sleveille, cexemple]", "[sleveille,\n            cexemple]"),
    "plain_phone": GOOD.replace('"00 00 00 00 00"', "0102030405"),
}
SETTINGS = {
    "practice.name=Cabinet des Lilas": ("Cabinet des Tilleuls", "Cabinet des Lilas"),
    "people.rfictif.until=2027-09-30": ("2027-06-30", "2027-09-30"),
    "hosts.cabinet-1.address=192.168.42.77": ("192.168.42.12", "192.168.42.77"),
    "hosts[3].system=debian12": None,
    "mssante.client=non": ("client: true", "client: false"),
    "choices.confirm_seconds=90": ("60", "90"),
    "suppliers.3.hds.number=HDS-2": ("HDS-EXEMPLE-0001", "HDS-2"),
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_but_the_answer_changes(layout: str, setting: str, path: Path, capsys: Capture) -> None:
    path.write_bytes(LAYOUTS[layout].encode())
    before = path.read_bytes()
    said = say(capsys, "edit", "tilleuls", "--set", setting)
    assert (said.code, said.err) == (0, "")
    assert "1 réponse changée" in said.out
    changed = lines_of(changes(before, path.read_bytes()))
    words = SETTINGS[setting]
    if words is None:
        (line,) = changed
        assert line.startswith("+")
        assert line[1:].strip() == "system: debian12"
        return
    old, new = words
    assert len(changed) == 2, changed
    assert changed[0][0] + changed[1][0] == "-+"
    assert " ".join(changed[0][1:].replace(old, new).split()) == " ".join(changed[1][1:].split())


def test_a_comment_at_the_end_of_the_line_stays(path: Path, capsys: Capture) -> None:
    before = path.read_bytes()
    assert say(capsys, "edit", "tilleuls", "--set", "people.sleveille.function=nurse", "--set", "practice.name=Lilas").code == 0
    assert lines_of(changes(before, path.read_bytes())) == [
        '-  name: "Cabinet des Tilleuls"  # sur les documents',
        '+  name: "Lilas"                 # sur les documents',
        "-    function: secretary   # mi-temps",
        "+    function: nurse       # mi-temps",
    ]


def test_only_what_is_chosen_is_asked(path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    before = path.read_bytes()
    said = type_lines(monkeypatch, capsys, ["192.168.42.21", "", "192.168.42.3"], "edit", "tilleuls", "hosts.*.address")
    assert (said.code, said.err) == (0, "")
    assert said.out.count("Adresse IP [") == 3
    assert "Nom de la machine" not in said.out
    assert "2 réponses changées" in said.out
    assert lines_of(changes(before, path.read_bytes())) == [
        "-    address: 192.168.42.11", "+    address: 192.168.42.21", "-    address: 192.168.42.2", "+    address: 192.168.42.3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "asked"),
    [
        ("practice", 5), ("practice.*", 5), ("practice.phone", 1), ("people.cexemple", 7), ("people[1]", 7),
        ("people[1].note", 1), ("people.*.until", 4), ("hosts[*].users", 3), ("network.printers.1.address", 1),
        ("choices.outbound", 1), ("maintenance.remote_help", 1), ("waivers.D-001.reason", 1),
        ("software.1.inbound.1.ports", 1), ("suppliers.3.hds.expires", 1), ("suppliers.3", 7), ("suppliers.3.hds", 1),
    ],
)  # fmt: skip
def test_paths_name_answers_by_name_or_number(pattern: str, asked: int, path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    before = tree(path.parent)
    said = type_lines(monkeypatch, capsys, [""] * asked, "edit", "tilleuls", pattern)
    assert (said.code, said.err) == (0, ""), said.out
    assert "0 réponse changée" in said.out
    assert tree(path.parent) == before
    assert type_lines(monkeypatch, capsys, [""] * (asked - 1), "edit", "tilleuls", pattern).code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Dites quoi changer"),
        (["hots.*.address"], "« hots.*.address » : aucune réponse ne porte ce chemin"),
        (["practice.nmae"], "(vouliez-vous dire « practice.name » ?)"),
        (["people[9].name"], "aucune réponse ne porte ce chemin"),
        (["people[0].name"], "aucune réponse ne porte ce chemin"),
        (["../../etc/passwd"], "aucune réponse ne porte ce chemin"),
        ([""], "aucune réponse ne porte ce chemin"),
        (["["], "aucune réponse ne porte ce chemin"),
        (["--set", "practice.phone"], "écrivez CHEMIN=VALEUR"),
        (["--set", "=x"], "aucune réponse ne porte ce chemin"),
        (["--set", "hosts.*.address=192.168.42.9"], "désigne 3 réponses : --set en change une seule à la fois"),
        (["--set", "suppliers.3.hds=x"], "est un groupe"),
        (["--set", "people=x"], "est un groupe"),
        (["--set", "practice=x"], "désigne 5 réponses"),
        (["--set", "practice.name="], "practice.name : texte attendu"),
        (["--set", "practice.name=a\nb"], "retour à la ligne ou caractère invisible interdit"),
        (["--set", "people.cexemple.login=Été"], "forme incorrecte"),
        (["--set", "hosts.accueil.address=192.168.42.12"], "hosts[2].address : cette adresse est déjà celle de « accueil »"),
        (["--set", "hosts.accueil.users=inconnue"], "personne inconnue"),
        (["--set", "people.cexemple.login=nmodele"], "un compte ne se partage pas"),
        (["--set", "maintenance.addresses=0.0.0.0/0"], "trop large"),
        (["--set", "choices.reboot_time=25h"], "heure attendue"),
        (["--set", "people.rfictif.until=31/02/2027"], "cette date n'existe pas"),
        (["--set", "practice.name=Lilas", "--set", "practice.id=É"], "practice.id : forme incorrecte"),
        (["--set", "maintenance.sshd_options=x"], "aucune réponse ne porte ce chemin"),
    ],
)
def test_what_cannot_be_leaves_the_file_alone(words: list[str], message: str, path: Path, capsys: Capture) -> None:
    before = tree(path.parent)
    said = say(capsys, "edit", "tilleuls", *words)
    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert "Erreur interne" not in said.err
    assert tree(path.parent) == before


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("people.rfictif.until=", "people[3].until is None"),
        ("practice.phone=-", "practice.phone is None"),
        ("choices.reboot_time=", "choices.reboot_time is None"),
        ("choices.reboot_time=3 h 45", "choices.reboot_time == '03:45'"),
        ("people.rfictif.until=1/12/2027", "str(people[3].until) == '2027-12-01'"),
        ("hosts.serveur.users=", "hosts[2].users == []"),
        ("hosts.accueil.users=rfictif, nmodele", "hosts[0].users == ['rfictif', 'nmodele']"),
        ("hosts.cabinet-1.users=nmodele sleveille", "hosts[1].users == ['nmodele', 'sleveille']"),
        ("people.nmodele.left=oui", "people[1].left"),
        ("people.nmodele.note=Lundi : « à 8 h »", "people[1].note == 'Lundi : « à 8 h »'"),
        ("choices.held_packages=postgresql-15", "choices.held_packages == ['postgresql-15']"),
        ("maintenance.remote_help=Outil A, Outil B", "maintenance.remote_help == ['Outil A', 'Outil B']"),
        (f"maintenance.public_keys={KEY}, et moi", "maintenance.public_keys[0].endswith('et moi')"),
        ("software.1.inbound.1.ports=5432 443", "software[0].inbound[0].ports == [5432, 443]"),
        ("choices.outbound=declared", "choices.outbound == 'declared'"),
        ("practice.address==1+1", "practice.address == '=1+1'"),
    ],
)
def test_values_as_people_type_them(setting: str, expected: str, path: Path, capsys: Capture) -> None:
    said = say(capsys, "edit", "tilleuls", "--set", setting)
    assert (said.code, said.err) == (0, "")
    assert eval(expected, dict(load_answers(path))), expected


def test_back_goes_to_the_chosen_question_before(path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    """« < » at the first one must not take away an answer that nobody chose."""
    before = path.read_bytes()
    lines = ["<", "Cabinet A", "<", "Cabinet B", "01 23 45 67 89"]
    said = type_lines(monkeypatch, capsys, lines, "edit", "tilleuls", "practice.name", "practice.phone")
    assert (said.code, said.err) == (0, "")
    assert "C'est la première question." in said.out
    assert "Nom du cabinet [Cabinet A]" in said.out
    assert lines_of(changes(before, path.read_bytes())) == [
        '-  name: "Cabinet des Tilleuls"  # sur les documents',
        '+  name: "Cabinet B"             # sur les documents',
        '-  phone: "00 00 00 00 00"',
        '+  phone: "01 23 45 67 89"',
    ]


@pytest.mark.parametrize("lines", [["!"], ["Cabinet A", "!"]])
def test_stopped(lines: list[str], path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    before = tree(path.parent)
    said = type_lines(monkeypatch, capsys, lines, "edit", "tilleuls", "practice.name", "practice.phone")
    assert (said.code, said.err) == (0, "")
    assert "Arrêté : rien n'a été changé." in said.out
    assert tree(path.parent) == before


def test_answers_that_run_out(path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    before = tree(path.parent)
    said = type_lines(monkeypatch, capsys, ["Cabinet A"], "edit", "tilleuls", "practice.name", "practice.phone")
    assert said.code == 2
    assert tree(path.parent) == before


MORE: dict[str, tuple[list[str], list[str]]] = {
    "people": (
        ["o", "Anne Petit", "", "4", "n", "n"],
        ["  - name: Anne Petit", "    login: apetit", "    function: nurse", "    admin: false"],
    ),
    "network.printers": (
        ["o", "Imprimante B", "192.168.42.31", ""],
        ["    - name: Imprimante B", "      address: 192.168.42.31"],
    ),
    "shares": (
        ["o", "radios", "", "1", ""],
        ["  - name: radios", "    host: serveur", "    users: [cexemple]"],
    ),
    "choices.outbound_flows": (
        ["o", "Laboratoire", "", "443", "203.0.113.0/24", "", ""],
        [
            "  outbound_flows:", "    - name: Laboratoire", "      protocol: tcp", "      ports: [443]",
            "      sources: [203.0.113.0/24]", "      hosts: []",
        ],
    ),
    "waivers": (
        ["o", "D-002", "PAR-01", "1", "Essai", "", "Dr Camille Exemple", "05/10/2026", "01/12/2026", ""],
        [
            "  - id: D-002", "    control: PAR-01", "    hosts: [accueil]", "    reason: Essai", "    compensating:",
            "    accepted_by: Dr Camille Exemple", "    accepted_on: 2026-10-05", "    expires_on: 2026-12-01",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("group", MORE)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_one_more_item_stands_with_its_like(group: str, end: str, path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    path.write_bytes(GOOD.replace("\n", end).encode())
    before = path.read_bytes()
    lines, added = MORE[group]
    said = type_lines(monkeypatch, capsys, lines, "edit", "tilleuls", group)
    assert (said.code, said.err) == (0, ""), said.out
    assert lines_of(changes(before, path.read_bytes())) == ["+" + line + end[:-1] for line in added]


def test_a_part_that_may_be_there(path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    """Enter keeps a certificate, « non » takes it away, « oui » asks for one."""
    before = path.read_bytes()
    assert type_lines(monkeypatch, capsys, ["n"], "edit", "tilleuls", "suppliers.3.hds").code == 0
    assert load_answers(path).suppliers[2].hds is None
    assert type_lines(monkeypatch, capsys, ["o", "HDS-9", "6", "31/12/2028"], "edit", "tilleuls", "suppliers.3.hds").code == 0
    certificate = load_answers(path).suppliers[2].hds
    assert certificate is not None
    assert (certificate.number, certificate.activities, str(certificate.expires)) == ("HDS-9", [6], "2028-12-31")
    assert lines_of(changes(before, path.read_bytes())) == [
        '-      number: "HDS-EXEMPLE-0001"', "-      activities: [1, 6]", "-      expires: 2028-03-31",
        "+      number: HDS-9", "+      activities: [6]", "+      expires: 2028-12-31",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ("nmodele, rfictif, sleveille", ["+      - sleveille"]),
        ("cexemple, nmodele, rfictif", ["+      - cexemple"]),
        ("rfictif", ["-      - nmodele"]),
        ("nmodele", ["-      - rfictif   # le mercredi"]),
        ("cexemple, rfictif", ["-      - nmodele", "+      - cexemple"]),
    ],
)
def test_a_list_keeps_the_comments_of_what_stays(users: str, expected: list[str], path: Path, capsys: Capture) -> None:
    before = path.read_bytes()
    assert say(capsys, "edit", "tilleuls", "--set", f"hosts.cabinet-1.users={users}").code == 0
    assert lines_of(changes(before, path.read_bytes())) == expected
    assert load_answers(path).hosts[1].users == users.split(", ")


def test_headings_below_what_goes_stay(path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    path.write_text(GOOD.replace("\nchoices:", "\n# ---- Les choix ----\nchoices:"), encoding="utf-8")
    before = path.read_bytes()
    assert type_lines(monkeypatch, capsys, ["non"], "edit", "tilleuls", "suppliers.3.hds").code == 0
    assert lines_of(changes(before, path.read_bytes())) == [
        '-      number: "HDS-EXEMPLE-0001"', "-      activities: [1, 6]", "-      expires: 2028-03-31",
    ]  # fmt: skip


def test_an_item_begun_by_mistake_is_taken_back(path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    before = tree(path.parent)
    lines = ["o", "Anne Petit", "<", "<", "n"]
    said = type_lines(monkeypatch, capsys, lines, "edit", "tilleuls", "people")
    assert (said.code, said.err) == (0, "")
    assert tree(path.parent) == before


def test_somebody_else_changed_the_file_meanwhile(path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    from antiseche.practice import editing

    real = editing.Edition.set

    def slow(self: editing.Edition, setting: str) -> None:
        real(self, setting)
        path.write_text(GOOD.replace("mi-temps", "plein temps"), encoding="utf-8")

    monkeypatch.setattr(editing.Edition, "set", slow)
    said = say(capsys, "edit", "tilleuls", "--set", "practice.name=Lilas")
    assert (said.code, said.out) == (2, "")
    assert "a changé entre-temps : rien n'a été écrit" in said.err
    assert "plein temps" in path.read_text(encoding="utf-8")
    assert "Lilas" not in path.read_text(encoding="utf-8")


def test_rights_of_the_file_stay(path: Path, capsys: Capture) -> None:
    path.chmod(0o640)
    assert say(capsys, "edit", "tilleuls", "--set", "practice.name=Lilas").code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [child.name for child in path.parent.iterdir()] == ["practice.yml"]
