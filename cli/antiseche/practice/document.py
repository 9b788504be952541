"""Reads a YAML file into plain values and remembers where each stood.

The file is composed, never constructed: no tag runs code, an impossible date stays text for the model to refuse, and
anchors, which can make a small file explode, are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from antiseche.i18n import _

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20
_PLAIN_TAG = "tag:yaml.org,2002:"

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
        if path.is_dir():
            return _faulty(_("c'est un dossier, pas un fichier de réponses"))
        size = path.stat().st_size
        if size > MAX_BYTES:
            return _faulty(
                _("fichier trop gros ({size} octets) : un fichier de réponses en fait quelques milliers").format(size=size)
            )
        raw = path.read_bytes()
    except FileNotFoundError:
        return _faulty(_("fichier introuvable"))
    except PermissionError:
        return _faulty(_("lecture refusée : vérifiez les droits du fichier"))
    except OSError as error:
        return _faulty(_("lecture impossible : {reason}").format(reason=error.strerror or error))
    return parse(raw)


def parse(raw: bytes) -> Document:
    """Read the bytes of a file."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return _faulty(_("le fichier est en UTF-16 : enregistrez-le en UTF-8"))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        position = Position(before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        return _faulty(_("caractère illisible : enregistrez le fichier en UTF-8"), position)
    tab = _leading_tab(text)
    if tab is not None:
        return _faulty(_("tabulation en début de ligne : YAML n'accepte que des espaces"), tab)
    try:
        refusal = _refusal(text)
        if refusal is not None:
            return Document(faults=[refusal])
        node = YAML(typ="safe", pure=True).compose(text)
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        return _faulty(_("caractère interdit dans un fichier YAML"), Position(line, 1))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Position(mark.line + 1, mark.column + 1) if mark else Position()
        return _faulty(_yaml_reason(error), position)
    except YAMLError:
        return _faulty(_("YAML incorrect"))
    document = Document()
    if node is None:
        return _faulty(_("le fichier est vide : lancez « antiseche new » pour y répondre"))
    document.values = _build(node, (), document)
    return document


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
        elif type(event).__name__ == "DocumentStartEvent":
            documents += 1
            if documents > 1:
                return Fault(position, _("le fichier contient plusieurs documents (« --- ») : n'en gardez qu'un"))
    return None


def _build(node: Node, path: Path_, document: Document) -> Any:
    position = Position(node.start_mark.line + 1, node.start_mark.column + 1)
    document.values_at[path] = position
    if isinstance(node, MappingNode):
        return _build_mapping(node, path, document)
    if isinstance(node, SequenceNode):
        return [_build(item, (*path, index), document) for index, item in enumerate(node.value)]
    if not isinstance(node, ScalarNode):
        return None
    tag = str(node.tag)
    if not tag.startswith(_PLAIN_TAG) or tag.startswith(_PLAIN_TAG + "python"):
        document.faults.append(Fault(position, _("étiquette YAML « {tag} » non admise").format(tag=tag)))
        return None
    return _scalar(node, tag.removeprefix(_PLAIN_TAG))


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


def _scalar(node: ScalarNode, kind: str) -> Any:
    text = str(node.value)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind in ("int", "float"):
        try:
            return int(text.replace("_", ""), 0) if kind == "int" else float(text)
        except ValueError:
            return text
    return text


def _leading_tab(text: str) -> Position | None:
    for number, line in enumerate(text.splitlines(), 1):
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        if "\t" in indent and line.strip():
            return Position(number, indent.index("\t") + 1)
    return None


def _yaml_reason(error: MarkedYAMLError) -> str:
    problem = error.problem or ""
    if "mapping values are not allowed" in problem:
        return _("deux-points inattendu : mettez la valeur entre guillemets")
    if "could not find expected ':'" in problem:
        return _("il manque « : » après la clé")
    if "found unexpected end of stream" in problem or "quoted scalar" in (error.context or ""):
        return _("guillemets non fermés")
    if "expected <block end>" in problem or "block mapping" in (error.context or ""):
        return _("alignement incorrect : vérifiez les espaces en début de ligne")
    if "flow" in (error.context or ""):
        return _("crochet ou accolade non fermé")
    return _("YAML incorrect : {problem}").format(problem=problem or _("structure inattendue"))


def _faulty(message: str, position: Position | None = None) -> Document:
    return Document(faults=[Fault(position or Position(), message)])
