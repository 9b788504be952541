"""Reads a YAML file into plain values and remembers where each stood.

The file is composed, never constructed: no tag runs code, an impossible date stays text for the model to refuse, and
anchors, which can make a small file explode, are refused.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, DocumentStartEvent, NodeEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from antiseche.i18n import _
from antiseche.practice import atomic, yaml_faults

MAX_BYTES = 128 * 1024
MAX_DEPTH = 20
_PLAIN_TAG = "tag:yaml.org,2002:"
_PLAIN_KINDS = frozenset(("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge"))
PLAIN_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Position:
    """Line and column, from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True)
class Fault:
    """Something wrong with the file itself."""

    position: Position
    message: str


@dataclass
class Document:
    """Values of a file, the position of each path (of its key, where it has one), and what is wrong."""

    values: Any = None
    keys: dict[Path_, Position] = field(default_factory=dict)
    values_at: dict[Path_, Position] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def position(self, path: Path_, *, of_key: bool = False) -> Position:
        """Return where a path stands, or its nearest parent when it is missing."""
        for length in range(len(path), -1, -1):
            part = path[:length]
            found = self.keys.get(part) if of_key else self.values_at.get(part)
            if found is not None:
                return found
        return Position()


def read_document(path: Path) -> Document:
    """Read a file; whatever is wrong with it is in ``faults``, nothing is raised."""
    try:
        # A pipe would wait for ever, a device might never end.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                return _faulty(_("ce n'est pas un fichier ordinaire : donnez un fichier de réponses"))
            if status.st_size > MAX_BYTES:
                text = _("fichier trop gros ({size} octets) : un fichier de réponses en fait quelques milliers")
                return _faulty(text.format(size=status.st_size))
            raw = stream.read(MAX_BYTES + 1)
    except IsADirectoryError:
        return _faulty(_("c'est un dossier, pas un fichier de réponses"))
    except FileNotFoundError:
        return _faulty(_("lien rompu : sa cible n'existe pas") if path.is_symlink() else _("fichier introuvable"))
    except PermissionError:
        return _faulty(_("lecture refusée : vérifiez les droits du fichier et de ses dossiers"))
    except OSError as error:
        return _faulty(_("lecture impossible : {reason}").format(reason=atomic.reason(error)))
    except ValueError:
        return _faulty(_("fichier introuvable"))
    return parse(raw)


def parse(raw: bytes) -> Document:
    """Read the bytes of a file."""
    text = _decoded(raw)
    if isinstance(text, Fault):
        return Document(faults=[text])
    try:
        refusal = _refusal(text)
        if refusal is not None:
            return Document(faults=[refusal])
        node = YAML(typ="safe", pure=True).compose(text)
    except ReaderError as error:
        return _faulty(_("caractère interdit dans un fichier YAML"), _place(text, error.position))
    except MarkedYAMLError as error:
        return Document(faults=[_explained(error, text)])
    except YAMLError:
        return _faulty(_("YAML incorrect"))
    document = Document()
    if node is None:
        return _faulty(_("le fichier est vide : lancez « antiseche new » pour y répondre"))
    document.values = _build(node, (), document)
    return document


def _decoded(raw: bytes) -> str | Fault:
    """Return the text, or what is wrong with its characters and line ends."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or raw[:4].count(0) >= 2:
        return Fault(Position(), _("le fichier est en UTF-16 ou UTF-32 : enregistrez-le en UTF-8"))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        position = Position(before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        return Fault(position, _("caractère illisible : enregistrez le fichier en UTF-8"))
    lone = re.search(r"\r(?!\n)", text)
    if lone is not None:
        return Fault(_place(text, lone.start()), _("fin de ligne inconnue : enregistrez le fichier avec des fins de ligne Unix"))
    tab = _leading_tab(text)
    if tab is not None:
        return Fault(tab, _("tabulation en début de ligne : YAML n'accepte que des espaces"))
    return text


def _refusal(text: str) -> Fault | None:
    """Refuse what could blow up: aliases, and nesting beyond reason. Events are read one by one, without recursion."""
    depth = documents = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        position = Position(event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
            return Fault(position, _("ancres et alias YAML (« & », « * ») ne sont pas admis : répétez la valeur"))
        if isinstance(event, CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return Fault(position, _("imbrication trop profonde (plus de {n} niveaux)").format(n=MAX_DEPTH))
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
        elif isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                return Fault(position, _("le fichier contient plusieurs documents (« --- ») : n'en gardez qu'un"))
            if event.version or event.tags:
                return Fault(position, _("ligne « % » non admise : retirez-la"))
    return None


def _build(node: Node, path: Path_, document: Document) -> Any:
    position = Position(node.start_mark.line + 1, node.start_mark.column + 1)
    kind = str(node.tag).removeprefix(_PLAIN_TAG)
    if kind not in _PLAIN_KINDS:
        document.values_at[path] = position
        text = _("étiquette YAML « {tag} » non admise : retirez-la")
        document.faults.append(Fault(position, text.format(tag=str(node.tag).replace(_PLAIN_TAG, "!!"))))
        return None
    if kind == "null" and not node.value:
        # YAML puts nothing where the next thing begins.
        position = document.keys.get(path, position)
    document.values_at[path] = position
    if isinstance(node, MappingNode):
        return _build_mapping(node, path, document)
    if isinstance(node, SequenceNode):
        return [_build(item, (*path, index), document) for index, item in enumerate(node.value)]
    return _scalar(str(node.value), kind)


def _build_mapping(node: MappingNode, path: Path_, document: Document) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        at = Position(key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        if not isinstance(key_node, ScalarNode):
            document.faults.append(Fault(at, _("une clé doit être un mot simple")))
            continue
        key = str(key_node.value)
        if key in built:
            document.faults.append(Fault(at, _("la clé « {key} » est répétée").format(key=key)))
            continue
        document.keys[(*path, key)] = at
        built[key] = _build(value_node, (*path, key), document)
    return built


def _scalar(text: str, kind: str) -> Any:
    """Return a plain value; a number in any other than everyday notation is the text that stands there."""
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    try:
        if kind == "int" and PLAIN_NUMBER.fullmatch(text):
            return int(text)
        return float(text) if kind == "float" else text
    except ValueError:
        return text


def _leading_tab(text: str) -> Position | None:
    for number, line in enumerate(text.splitlines(), 1):
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        if "\t" in indent and line.strip():
            return Position(number, indent.index("\t") + 1)
    return None


def _explained(error: MarkedYAMLError, text: str) -> Fault:
    mark = error.problem_mark or error.context_mark
    if error.context_mark is not None and yaml_faults.begins_earlier(error):
        mark = error.context_mark
    position = Position(mark.line + 1, mark.column + 1) if mark else Position()
    lines = text.split("\n")
    line = lines[position.line - 1] if position.line <= len(lines) else ""
    return Fault(position, yaml_faults.reason(error, line[: position.column - 1]))


def _place(text: str, offset: int) -> Position:
    return Position(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def _faulty(message: str, position: Position | None = None) -> Document:
    return Document(faults=[Fault(position or Position(), message)])
