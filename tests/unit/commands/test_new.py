"""The questionnaire: typed, stopped, killed, resumed, taken back."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from answers_samples import GOOD, KEY
from command_line import say, spawn, tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripts import FULL, SHORT
from typing_person import type_lines

from antiseche.practice.load import load_answers

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: Patch) -> Path:
    """Nobody's own key is proposed unless a test puts one there."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def test_a_copy_by_sftp_is_not_asked_for_without_the_servers_key(practices: Path, monkeypatch: Patch, capsys: Capture) -> None:
    start = FULL.index("serveur restic")
    typed = ["compte SFTP", "https://depot.example/tilleuls", "sftp://tilleuls@depot.example/copies", "", "depot.example", KEY]
    said = type_lines(monkeypatch, capsys, [*FULL[:start], *typed, *FULL[start + 2 :]], "new", "tilleuls")
    answers = load_answers(practices / "tilleuls" / "practice.yml")
    assert answers.backup is not None
    assert answers.backup.offsite is not None
    assert answers.backup.offsite.host_key == KEY
    for words in ("sftp://compte@serveur:port/dossier", "clé du serveur SFTP absente", "clé publique SSH attendue"):
        assert words in said.out + said.err


def test_a_full_questionnaire(practices: Path, monkeypatch: Patch, capsys: Capture) -> None:
    said = type_lines(monkeypatch, capsys, FULL, "new", "tilleuls")
    assert (said.code, said.err) == (0, "")
    path = practices / "tilleuls" / "practice.yml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [child.name for child in path.parent.iterdir()] == ["practice.yml"]
    answers = load_answers(path)
    assert answers.practice.timezone == "Indian/Reunion"
    assert [(p.login, p.function.value, p.admin) for p in answers.people] == [
        ("jdupont", "doctor", True), ("luc", "secretary", False), ("rfictif", "locum", False),
    ]  # fmt: skip
    assert str(answers.people[2].until) == "2027-06-30"
    assert [(h.name, h.kind.value, h.system.value, h.users) for h in answers.hosts] == [
        ("accueil", "workstation", "debian12", ["jdupont", "luc"]), ("serveur", "server", "debian13", ["jdupont"]),
    ]  # fmt: skip
    assert answers.hosts[0].laptop
    assert answers.software[0].supplier == "Prestataire Exemple"
    assert answers.software[0].hosts == ["serveur"]
    assert answers.software[0].inbound[0].ports == [5432, 5433]
    assert (answers.shares[0].host, answers.shares[0].users) == ("serveur", ["jdupont", "luc"])
    assert answers.backup is not None
    assert answers.backup.offsite is not None
    assert answers.backup.keep is not None
    assert [(one.host, one.paths, one.must_survive) for one in answers.backup.hosts] == [
        ("accueil", ["/home"], []), ("serveur", ["/srv/documents"], ["/srv/documents/a"]),
    ]  # fmt: skip
    assert (answers.backup.server, answers.backup.hour, answers.backup.offsite.supplier) == (
        "serveur", "12:15", "Sauvegarde Exemple",
    )  # fmt: skip
    assert (answers.cps.middleware, answers.cps.lock) == (None, True)
    assert answers.suppliers[1].hds is not None
    assert answers.suppliers[1].hds.activities == [1, 6]
    assert answers.maintenance.contractor == "Prestataire Exemple"
    assert answers.choices.reboot_time == "04:00"
    assert say(capsys, "check-answers", "tilleuls").code == 0
    assert "Ensuite : antiseche check-answers tilleuls" in said.out


def test_every_question_says_why_the_first_time(practices: Path, monkeypatch: Patch, capsys: Capture) -> None:
    said = type_lines(monkeypatch, capsys, FULL, "new", "tilleuls")
    for why in ("Décide des groupes du compte", "Fixe, ou réservée dans la box", "Seules ces clés ouvrent", "Étape 4 sur 12"):
        assert said.out.count(why) == 1
    assert "Personne n° 3" in said.out
    assert "Flux entrant n° 1.1" in said.out


def test_a_question_mark_explains_and_asks_again(practices: Path, monkeypatch: Patch, capsys: Capture) -> None:
    lines = ["?", *SHORT[:5], "?", *SHORT[5:]]
    said = type_lines(monkeypatch, capsys, lines, "new", "tilleuls")
    assert said.code == 0
    assert said.out.count("« < » revient en arrière") == 2


def test_wrong_answers_are_told_at_once_and_asked_again(practices: Path, monkeypatch: Patch, capsys: Capture) -> None:
    wrong = {
        0: "Été",
        5: "192.168.1.1/24",
        9: "root",
        10: "médecine",
        16: "10.0.1.5",
        17: "9",
        28: "0.0.0.0/0",
        29: "ssh-ed25519 AAAA",
    }
    lines = [line for index, line in enumerate(SHORT) for line in ([wrong[index], line] if index in wrong else [line])]
    said = type_lines(monkeypatch, capsys, lines, "new", "tilleuls")
    assert said.code == 0
    for sentence in (
        "forme incorrecte : 40 minuscules",
        "192.168.1.0/24 pour le réseau, 192.168.1.1 pour une seule machine",
        "identifiant réservé par le système",
        "répondez par un numéro ou par un mot de la liste",
        "hors du réseau local 10.0.0.0/24",
        "trop large",
        "clé publique abîmée ou incomplète",
    ):
        assert sentence in said.out
    assert said.out.count("  ! ") == len(wrong)
    plain = practices.parent / "autre"
    monkeypatch.setenv("ANTISECHE_PRACTICES", str(plain))
    assert type_lines(monkeypatch, capsys, SHORT, "new", "tilleuls").code == 0
    assert (plain / "tilleuls" / "practice.yml").read_bytes() == (practices / "tilleuls" / "practice.yml").read_bytes()


def test_back_asks_the_question_before_and_proposes_the_old_answer(practices: Path, monkeypatch: Patch, capsys: Capture) -> None:
    lines = ["<", "", "Cabinet", "Rue", "<", "<", "Cabinet du Parc", "", *SHORT[3:]]
    said = type_lines(monkeypatch, capsys, lines, "new", "tilleuls")
    assert said.code == 0
    assert "C'est la première question." in said.out
    assert "[Cabinet]" in said.out
    answers = load_answers(practices / "tilleuls" / "practice.yml")
    assert (answers.practice.name, answers.practice.address) == ("Cabinet du Parc", "Rue")


def test_one_person_too_many_is_taken_back(practices: Path, monkeypatch: Patch, capsys: Capture) -> None:
    """« Oui » to « another one? » by mistake must not force anyone to invent a person."""
    at = SHORT.index("poste")
    for mistake in (["oui", "<", ""], ["oui", "Untel", "<", "<", "non"], ["oui", "Untel", "", "1", "<", "<", "<", "<", "n"]):
        shutil.rmtree(practices / "tilleuls", ignore_errors=True)
        said = type_lines(monkeypatch, capsys, [*SHORT[: at - 1], *mistake, *SHORT[at:]], "new", "tilleuls")
        assert said.code == 0
        assert [person.name for person in load_answers(practices / "tilleuls" / "practice.yml").people] == ["Anne Petit"]


def test_stop_keeps_and_resumes(practices: Path, monkeypatch: Patch, capsys: Capture) -> None:
    said = type_lines(monkeypatch, capsys, [*SHORT[:7], "!"], "new", "tilleuls")
    assert (said.code, said.err) == (0, "")
    assert "Pour reprendre : antiseche new tilleuls" in said.out
    assert [child.name for child in (practices / "tilleuls").iterdir()] == ["practice.draft.yml"]
    assert stat.S_IMODE((practices / "tilleuls" / "practice.draft.yml").stat().st_mode) == 0o600
    said = type_lines(monkeypatch, capsys, SHORT[7:], "new", "tilleuls")
    assert said.code == 0
    assert "Reprise du questionnaire" in said.out
    assert [child.name for child in (practices / "tilleuls").iterdir()] == ["practice.yml"]


def test_answers_that_run_out_are_kept(practices: Path, monkeypatch: Patch, capsys: Capture) -> None:
    said = type_lines(monkeypatch, capsys, SHORT[:9], "new", "tilleuls")
    assert said.code == 2
    assert said.err.splitlines()[-2:] == [
        "Réponses gardées. Pour reprendre : antiseche new tilleuls",
        "Les réponses reçues s'arrêtent avant la fin du questionnaire.",
    ]
    assert type_lines(monkeypatch, capsys, SHORT[9:], "new", "tilleuls").code == 0


def in_pieces(lines: list[str], cuts: list[int], practices: Path, monkeypatch: Patch, capsys: Capture) -> bytes | str:
    """Answer a questionnaire that ends again and again; return the file that comes of it."""
    shutil.rmtree(practices / "tilleuls", ignore_errors=True)
    bounds = [0, *sorted(cuts), len(lines)]
    for start, stop in itertools.pairwise(bounds):
        said = type_lines(monkeypatch, capsys, lines[start:stop], "new", "tilleuls")
        assert said.code == (0 if stop == len(lines) else 2)
    return tree(practices)["tilleuls/practice.yml"][2]


def test_stopped_in_every_part_it_ends_in_the_same_file(practices: Path, monkeypatch: Patch, capsys: Capture) -> None:
    whole = in_pieces(FULL, [], practices, monkeypatch, capsys)
    assert in_pieces(FULL, list(range(3, len(FULL), 7)), practices, monkeypatch, capsys) == whole


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(SHORT) - 1), max_size=6))
def test_stopped_anywhere_it_ends_in_the_same_file(cuts: list[int], practices: Path, monkeypatch: Patch, capsys: Capture) -> None:
    kept = practices.parent / "entier"
    if not kept.exists():
        whole = in_pieces(SHORT, [], practices, monkeypatch, capsys)
        kept.write_bytes(whole if isinstance(whole, bytes) else b"")
    assert in_pieces(SHORT, cuts, practices, monkeypatch, capsys) == kept.read_bytes()


LINES = st.sampled_from(
    ["", "<", "?", "o", "n", "1", "2", "-", "192.168.1.7", "192.168.1.0/24", "2027-01-01", "A B", "été", "x" * 300, KEY]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, max_size=40))
def test_whatever_is_typed_nothing_breaks_and_the_draft_can_be_read(
    lines: list[str], practices: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    shutil.rmtree(practices / "tilleuls", ignore_errors=True)
    said = type_lines(monkeypatch, capsys, lines, "new", "tilleuls")
    assert said.code in (0, 2)
    assert "Erreur interne" not in said.err
    again = type_lines(monkeypatch, capsys, ["!"], "new", "tilleuls")
    assert again.code in (0, 2)
    assert "Erreur interne" not in again.err


@pytest.mark.parametrize("typed", ["{file}", "~/.ssh/id_ed25519.pub"])
def test_a_key_is_read_from_its_file(typed: str, practices: Path, home: Path, monkeypatch: Patch, capsys: Capture) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519.pub").write_text(KEY + "\n")
    lines = [line if line != KEY else typed.format(file=home / ".ssh" / "id_ed25519.pub") for line in SHORT]
    assert type_lines(monkeypatch, capsys, lines, "new", "tilleuls").code == 0
    assert load_answers(practices / "tilleuls" / "practice.yml").maintenance.public_keys == [KEY]


def test_the_own_key_is_proposed(practices: Path, home: Path, monkeypatch: Patch, capsys: Capture) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519.pub").write_text(KEY + "\n")
    assert type_lines(monkeypatch, capsys, ["" if line == KEY else line for line in SHORT], "new", "tilleuls").code == 0
    assert load_answers(practices / "tilleuls" / "practice.yml").maintenance.public_keys == [KEY]


def test_a_file_somebody_wrote_is_only_completed(practices: Path, monkeypatch: Patch, capsys: Capture) -> None:
    path = practices / "tilleuls" / "practice.yml"
    path.parent.mkdir()
    path.write_text(
        GOOD.replace("    address: 192.168.42.12\n", "").replace("function: locum", "function: remplaçant"), encoding="utf-8"
    )
    said = type_lines(monkeypatch, capsys, ["2", "192.168.42.12"], "new", "tilleuls")
    assert (said.code, said.err) == (0, "")
    answers = load_answers(path)
    assert answers.people[3].function.value == "locum"
    assert str(answers.hosts[1].address) == "192.168.42.12"
    before = [line for line in GOOD.splitlines() if "192.168.42.12" not in line]
    assert [line for line in path.read_text(encoding="utf-8").splitlines() if "192.168.42.12" not in line] == before


def test_complete_answers_are_never_replaced(practices: Path, monkeypatch: Patch, capsys: Capture) -> None:
    path = practices / "tilleuls" / "practice.yml"
    path.parent.mkdir()
    path.write_text(GOOD, encoding="utf-8")
    before = tree(practices)
    for words in (["new", "tilleuls"], ["new", "tilleuls", "--from", str(path)], ["new", str(path.parent)]):
        said = type_lines(monkeypatch, capsys, FULL, *words)
        assert (said.code, said.out) == (2, "")
        assert "existe déjà et n'est pas remplacé" in said.err
    assert tree(practices) == before


def test_a_draft_and_a_file_that_somebody_wrote_meanwhile(practices: Path, monkeypatch: Patch, capsys: Capture) -> None:
    type_lines(monkeypatch, capsys, [*SHORT[:9], "!"], "new", "tilleuls")
    path = practices / "tilleuls" / "practice.yml"
    path.write_text(GOOD.replace("kind: server", "kind: serveur"), encoding="utf-8")
    before = tree(practices)
    said = type_lines(monkeypatch, capsys, SHORT[9:], "new", "tilleuls")
    assert (said.code, said.out) == (2, "")
    assert "existent tous deux" in said.err
    assert tree(practices) == before


@pytest.mark.parametrize(
    "damage", ["", "people: [", "- a\n", "_questionnaire: 3\npeople: x\n", "_questionnaire: {closed: 7}\nhosts: 3\n"]
)
def test_a_damaged_draft(damage: str, practices: Path, monkeypatch: Patch, capsys: Capture) -> None:
    draft = practices / "tilleuls" / "practice.draft.yml"
    draft.parent.mkdir()
    draft.write_text(damage, encoding="utf-8")
    said = type_lines(monkeypatch, capsys, ["!"], "new", "tilleuls")
    assert "Erreur interne" not in said.err
    assert said.code == 0 or (said.code == 2 and str(draft) in said.err)


def test_unattended_from_a_file(practices: Path, capsys: Capture) -> None:
    source = practices.parent / "reponses.yml"
    source.write_text("\N{ZERO WIDTH NO-BREAK SPACE}" + GOOD, encoding="utf-8")
    said = say(capsys, "new", "lilas", "--from", str(source))
    assert (said.code, said.err) == (0, "")
    path = practices / "lilas" / "practice.yml"
    assert path.read_text(encoding="utf-8") == GOOD, "comments and layout are those of the source"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [child.name for child in path.parent.iterdir()] == ["practice.yml"]


def test_answers_in_another_encoding(practices: Path) -> None:
    typed = "".join(line + "\n" for line in SHORT).replace("Cabinet", "Médecins").encode("latin-1")
    environ = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    line = [sys.executable, "-m", "antiseche", "new", "tilleuls"]
    done = subprocess.run(line, input=typed, capture_output=True, env=environ, check=False)
    assert done.returncode == 2
    assert "Caractères illisibles : répondez en UTF-8." in done.stderr.decode()
    assert "Erreur interne" not in done.stderr.decode()


def test_nobody_there_to_answer(practices: Path) -> None:
    before = tree(practices)
    said = spawn("new", "tilleuls")
    assert (said.code, said.out) == (2, "")
    assert said.err == "Personne ne peut répondre : ni terminal, ni réponses sur l'entrée standard.\n"
    assert tree(practices) == before


@pytest.mark.parametrize(
    "name", ["", "Été", "Tilleuls", "-x", "..", ".", "a b", "x" * 41, "a/../../B", "1er", "tilleuls\n", "a\0b", "/"]
)
def test_names_that_cannot_be_a_practice(name: str, practices: Path, capsys: Capture) -> None:
    before = tree(practices.parent)
    said = say(capsys, "new", "--from", "absent.yml", "--", name)
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert tree(practices.parent) == before


def at_a_terminal(*words: str) -> pexpect.spawn:
    """Start the program at a terminal of its own."""
    child = pexpect.spawn(sys.executable, ["-m", "antiseche", *words], encoding="utf-8", timeout=60, dimensions=(40, 120))
    child.delaybeforesend = None
    return child


def test_killed_at_a_terminal_and_resumed(practices: Path, monkeypatch: Patch) -> None:
    """A real terminal, kill -9 in the middle of a question, the same command again."""
    monkeypatch.setenv("TERM", "dumb")
    prompts = [" : ", "\\? "]
    child = at_a_terminal("new", "tilleuls")
    for line in SHORT[:10]:
        child.expect(prompts)
        child.sendline(line)
    child.expect("Fonction")
    child.kill(9)
    child.wait()
    assert not (practices / "tilleuls" / "practice.yml").exists()
    again = at_a_terminal("new", "tilleuls")
    again.expect("Reprise du questionnaire")
    again.expect("Fonction")
    for line in SHORT[10:]:
        again.expect(prompts)
        again.sendline(line)
    again.expect("Réponses écrites")
    again.expect(pexpect.EOF)
    again.close()
    assert again.exitstatus == 0
    assert load_answers(practices / "tilleuls" / "practice.yml").people[0].login == "apetit"


def test_interrupted_at_a_terminal(practices: Path) -> None:
    child = at_a_terminal("new", "tilleuls")
    child.expect("Identifiant court")
    child.sendline("")
    child.expect("Nom du cabinet")
    child.sendintr()
    child.expect("Réponses gardées. Pour reprendre : antiseche new tilleuls")
    child.expect("Interrompu")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert (practices / "tilleuls" / "practice.draft.yml").is_file()
