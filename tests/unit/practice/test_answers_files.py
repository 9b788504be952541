"""Files that are no answers: wrong encodings, broken YAML, bombs, folders, pipes, links, rights."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from answers_samples import GOOD, MARK, unmarked
from command_line import say, tree
from hypothesis import given, settings
from hypothesis import strategies as st

from antiseche.practice.document import MAX_BYTES, parse
from antiseche.practice.load import AnswersFileError, load_answers

ANCHORS = "ancres et alias YAML (« & », « * ») ne sont pas admis : répétez la valeur"
UTF16 = "le fichier est en UTF-16 ou UTF-32 : enregistrez-le en UTF-8"
UNREADABLE = "caractère illisible : enregistrez le fichier en UTF-8"
QUOTE_IT = "ce caractère ne peut pas commencer une valeur : mettez-la entre guillemets"
COLON = "« : » inattendu : vérifiez l'alignement, et l'espace après « : » à la ligne précédente"
STRAY = "texte inattendu : guillemets mal fermés plus haut, ou alignement incorrect"
ALIGN = "alignement incorrect : vérifiez les espaces en début de ligne"
BRACKET = "crochet ou accolade mal fermé : il manque une virgule, un crochet ou une accolade"
DIRECTIVE = "ligne « % » non admise : retirez-la"
MAC = "fin de ligne inconnue : enregistrez le fichier avec des fins de ligne Unix"
TAB = "tabulation en début de ligne : YAML n'accepte que des espaces"
DEEP = "imbrication trop profonde (plus de 20 niveaux)"
FAT = "octets) : un fichier de réponses en fait quelques milliers"
TAG = "étiquette YAML « {} » non admise : retirez-la"
EMPTY = "le fichier est vide : lancez « antiseche new » pour y répondre"
NAME = 'name: "Cabinet des Tilleuls"'


def put(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


# Text with the place marked, or bytes with line and column; the one message.
TEXTS: dict[str, tuple[str, str]] = {
    "empty": (MARK, EMPTY),
    "blank_lines": (MARK + "\n\n  \n", EMPTY),
    "comment_only": (MARK + "# rien encore\n", EMPTY),
    "scalar": (MARK + "bonjour\n", "groupe de clés attendu ; reçu : « bonjour »"),
    "list": (MARK + "- a\n- b\n", "groupe de clés attendu ; reçu : une liste"),
    "null": (MARK + "null\n", "groupe de clés attendu ; reçu : rien"),
    "nul_character": (put(NAME, 'name: "a§\0b"'), "caractère interdit dans un fichier YAML"),
    "escape_character": (put(NAME, 'name: "a§\x1bb"'), "caractère interdit dans un fichier YAML"),
    "tab_in_front": (put("  id: tilleuls", "§\tid: tilleuls"), TAB),
    "tab_after_spaces": (put("  id: tilleuls", "  §\tid: x"), TAB),
    "tab_after_colon": (put("  id: tilleuls", "  id:§\ttilleuls"), "tabulation : YAML n'accepte que des espaces"),
    "old_mac_line_ends": (
        "version: 1§\rpractice: {}\r",
        "fin de ligne inconnue : enregistrez le fichier avec des fins de ligne Unix",
    ),
    "two_documents": (GOOD + "§---\na: 1\n", "le fichier contient plusieurs documents (« --- ») : n'en gardez qu'un"),
    "directive": ("%YAML 1.1\n§---\n" + GOOD, DIRECTIVE),
    "tag_directive": ("%TAG ! tag:x,2000:\n§---\n" + GOOD, DIRECTIVE),
    "anchor": (put(NAME, 'name: §&a "Cabinet"'), ANCHORS),
    "alias": (put(NAME, "name: §*autre"), ANCHORS),
    "merge_key": (put("  id: tilleuls\n", "  §<<: *base\n  id: tilleuls\n").replace("§<<: ", "<<: §"), ANCHORS),
    "laughs": ("a: §&a [lol, lol]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nd: [*c, *c, *c]\n", ANCHORS),
    "self_reference": ("a: §&a [*a]\n", ANCHORS),
    "deep_lists": ("a: " + "[" * 19 + "§[" + "]" * 20 + "\n", DEEP),
    "deep_mappings": ("{a: " * 20 + "§{a: " * 1 + "1" + "}" * 21 + "\n", DEEP),
    "abyss": ("[" * 20 + "§" + "[" * 50_000 + "]" * 50_020 + "\n", DEEP),
    "code": (
        put(NAME, "name: §!!python/object/apply:os.system [id]"),
        TAG.format("!!python/object/apply:os.system"),
    ),
    "vault": (put(NAME, "name: §!vault abc"), TAG.format("!vault")),
    "binary": (put(NAME, "name: §!!binary aGVsbG8="), TAG.format("!!binary")),
    "set": (put(NAME, "name: §!!set {a}"), TAG.format("!!set")),
    "complex_key": (put("version: 1\n", "version: 1\n? §[a]\n: b\n"), "une clé doit être un mot simple"),
    "quote_not_closed": (put(NAME, 'name: "Cabinet').replace('address: "1', 'address: "§1', 1), STRAY),
    "quote_not_closed_at_the_end": (GOOD + '    compensating: §"Fin\n', "guillemets non fermés"),
    "apostrophe_in_single_quotes": (put(NAME, "name: 'Cabinet d'§été'"), STRAY),
    "unknown_escape": (put(NAME, 'name: "C:\\§qualité"'), "entre guillemets doubles, « \\ » commence un code : doublez-le"),
    "colon_in_text": (put(NAME, "name: Cabinet §: Tilleuls"), "deux-points dans un texte : mettez la valeur entre guillemets"),
    "indent_too_deep": (put("  " + NAME, '    name§: "Cabinet"'), COLON),
    "indent_too_shallow": (put("    login: cexemple", "   §login: cexemple"), ALIGN),
    "no_space_after_colon": (put("  id: tilleuls\n  name:", "  id:tilleuls\n  name§:"), COLON),
    "no_colon": (put("  id: tilleuls\n  name:", "  id\n  name§:"), COLON),
    "no_colon_at_the_end": (GOOD + "§fin\n", "il manque « : » après la clé"),
    "bracket_not_closed": (put("users: [sleveille, cexemple]", "users: §[sleveille, cexemple"), BRACKET),
    "brace_not_closed": (put("shares:\n", "shares:\n  - §{name: a, host: b\n"), BRACKET),
    "percent": (put(NAME, "name: §%HOME%"), QUOTE_IT),
    "at_sign": (put(NAME, "name: §@cabinet"), QUOTE_IT),
    "backquote": (put(NAME, "name: §`id`"), QUOTE_IT),
    "dash_after_key": (put(NAME, "name: §- a"), "tiret inattendu : vérifiez l'alignement, ou mettez la valeur entre guillemets"),
}
BYTES: dict[str, tuple[bytes, str]] = {
    "latin_1": (GOOD.encode().replace("é".encode(), b"\xe9", 1), f"12:10: {UNREADABLE}"),
    "windows_1252": (b"version: 1\n# \x93guillemets\x94\n", f"2:3: {UNREADABLE}"),
    "utf_16": (GOOD.encode("utf-16"), f"1:1: {UTF16}"),
    "utf_16_be_without_mark": (GOOD.encode("utf-16-be"), f"1:1: {UTF16}"),
    "utf_16_le_without_mark": (GOOD.encode("utf-16-le"), f"1:1: {UTF16}"),
    "utf_32": (GOOD.encode("utf-32"), f"1:1: {UTF16}"),
    "cut_in_a_character": (GOOD.encode()[: GOOD.encode().index("é".encode()) + 1], f"12:10: {UNREADABLE}"),
    "archive": (b"PK\x03\x04\x14\x00\x06\x00\x08\x00", "1:3: caractère interdit dans un fichier YAML"),
    "five_megabytes": (
        b"#" * 5_000_000,
        f"1:1: fichier trop gros (5000000 {FAT}",
    ),
    "just_too_big": (
        GOOD.encode() + b"#" * MAX_BYTES,
        f"1:1: fichier trop gros ({len(GOOD.encode()) + MAX_BYTES} {FAT}",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_are_no_answers(name: str, practices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, places = unmarked(TEXTS[name][0])
    path = practices / "p.yml"
    path.write_text(text, encoding="utf-8", newline="")
    before = tree(practices)
    said = say(capsys, "check-answers", str(path))
    ((line, column),) = places
    assert (said.code, said.out, said.err) == (2, "", f"{path}:{line}:{column}: {TEXTS[name][1]}\n")
    english = say(capsys, "--lang", "en", "check-answers", str(path))
    assert english.code == 2
    assert english.err.startswith(f"{path}:{line}:{column}: ")
    assert english.err.count("\n") == 1
    assert english.err != said.err
    assert tree(practices) == before


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_answers(name: str, practices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = practices / "p.yml"
    path.write_bytes(BYTES[name][0])
    before = tree(practices)
    said = say(capsys, "check-answers", str(path))
    assert (said.code, said.out, said.err) == (2, "", f"{path}:{BYTES[name][1]}\n")
    assert tree(practices) == before


AS_PEOPLE_WRITE = {
    "byte_order_mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "windows_line_ends": GOOD.replace("\n", "\r\n").encode(),
    "document_marks": ("---\n" + GOOD + "...\n").encode(),
    "no_last_line_end": GOOD.rstrip("\n").encode(),
    "plain_phone": put('"00 00 00 00 00"', "0102030405").encode(),
    "plain_time": put('"03:30"', "03:30").encode(),
    "plain_yes": put('answer: "yes"', "answer: yes").encode(),
    "french_truth": put("laptop: non", "laptop: OUI").encode(),
    "accents": put("Cabinet des", "Cabinet de l'Œuf d'Été, Ÿ & Cie — nº 1").encode(),
}


@pytest.mark.parametrize("name", AS_PEOPLE_WRITE)
def test_files_as_people_write_them_are_taken(name: str, practices: Path) -> None:
    path = practices / "p.yml"
    path.write_bytes(AS_PEOPLE_WRITE[name])
    assert load_answers(path).practice.id == "tilleuls"


def test_accents_written_in_two_ways_are_one_name(practices: Path) -> None:
    """What a Mac types and what another keyboard types must name the same supplier."""
    path = practices / "p.yml"
    composed, decomposed = "Éditeur Exemple", "E\N{COMBINING ACUTE ACCENT}diteur Exemple"
    path.write_text(GOOD.replace(composed, decomposed, 1), encoding="utf-8")
    assert load_answers(path).software[0].supplier == composed


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "c'est un dossier, pas un fichier de réponses"),
        (lambda path: path.symlink_to(path.with_name("absent")), "lien rompu : sa cible n'existe pas"),
        (lambda path: path.symlink_to(path), "lecture impossible : lien vers lui-même"),
        (os.mkfifo, "ce n'est pas un fichier ordinaire : donnez un fichier de réponses"),
        (lambda path: path.symlink_to("/dev/zero"), "ce n'est pas un fichier ordinaire : donnez un fichier de réponses"),
        (lambda path: None, "fichier introuvable"),
    ],
    ids=["folder", "dangling_link", "link_to_itself", "pipe", "endless_device", "absent"],
)
def test_what_is_not_a_file(
    make: Callable[[Path], object], message: str, practices: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = practices / "p.yml"
    make(path)
    before = tree(practices)
    for words in (["check-answers", str(path)], ["new", "autre", "--from", str(path)]):
        said = say(capsys, *words)
        assert (said.code, said.out, said.err) == (2, "", f"{path}:1:1: {message}\n")
    assert tree(practices) == before


def test_a_swollen_practice_is_checked_in_no_time_and_told_once(practices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As many people as the greatest file can hold: the rules must not compare each with each."""
    line = "  - {name: A%d, login: a%d, function: doctor}\n"
    people = "".join(line % (n, n) for n in range(2500))
    path = practices / "p.yml"
    path.write_text(GOOD.replace("people:\n", "people:\n" + people, 1), encoding="utf-8")
    said = say(capsys, "check-answers", str(path))
    assert said.code == 2
    assert "people : 200 éléments au plus ; reçu : une liste" in said.err


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_no_bytes_at_all_get_past_the_reader(raw: bytes) -> None:
    """Whatever the bytes, either values or faults, and never an exception."""
    document = parse(raw)
    assert document.faults or document.values is not None or raw.strip()


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_read_never_a_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD) - 1))
    length = data.draw(st.integers(0, 40))
    insert = data.draw(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=8))
    path = tmp_path_factory.getbasetemp() / "damaged.yml"
    path.write_text(GOOD[:start] + insert + GOOD[start + length :], encoding="utf-8", newline="")
    try:
        load_answers(path)
    except AnswersFileError as error:
        problems = error.problems
    else:
        return
    assert problems, "a refusal says why"
    lines = path.read_text(encoding="utf-8").count("\n") + 1
    assert all(1 <= problem.line <= lines + 1 and problem.column >= 1 for problem in problems)
    assert all(problem.message and "\n" not in str(problem) for problem in problems)
