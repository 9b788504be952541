"""Writes answers: a person's file keeps its comments and shape, a new one gets a heading per part."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, ScalarString
from ruamel.yaml.util import load_yaml_guess_indent

from antiseche.i18n import _
from antiseche.practice import atomic
from antiseche.practice.document import Path_, read_document
from antiseche.practice.fields import fields_of
from antiseche.practice.folder import ANSWERS_NAME, PracticeFolder
from antiseche.practice.load import AnswersFileError, Problem
from antiseche.practice.questionnaire import Draft, get, put
from antiseche.practice.schema import Practice

DRAFT_NAME = "practice.draft.yml"
_STATE = "_questionnaire"
_WIDE = 4096


class _Date(str):
    """A date as it is written: an impossible one must reach the model, not stop the reading."""

    __slots__ = ()


class _Constructor(RoundTripConstructor):
    """Reads dates as they are written."""


class _Representer(RoundTripRepresenter):
    """Writes dates as they were read."""


def _read_date(_constructor: Any, node: ScalarNode) -> _Date:
    return _Date(node.value)


def _write_date(representer: Any, value: _Date) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:timestamp", str(value))


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _read_date)
_Representer.add_representer(_Date, _write_date)


def read(path: Path) -> tuple[str, Any]:
    """Return the text of an answers file and its values, ready to be changed in place.

    Raises:
        AnswersFileError: it cannot be read, or is not YAML as the kit admits it.
    """
    document = read_document(path)
    faults = [Problem(str(path), fault.position.line, fault.position.column, "", fault.message) for fault in document.faults]
    if not faults and not isinstance(document.values, dict):
        faults = [Problem(str(path), 1, 1, "", _("groupe de clés attendu"))]
    if faults:
        raise AnswersFileError(faults)
    text = path.read_bytes().decode("utf-8-sig")
    return text, _yaml(text).load(text)


def shaped_like(text: str, values: Any) -> str:
    """Return values as YAML, indented and ended like the text that they come from."""
    stream = io.StringIO()
    _yaml(text).dump(values, stream)
    written = stream.getvalue()
    return written.replace("\n", "\r\n") if "\r\n" in text else written


def fresh(values: Any) -> str:
    """Return new answers as YAML: parts in the model's order, each under its title."""
    ordered = CommentedMap(version=1)
    for item in fields_of(Practice):
        if item.name in values:
            ordered[item.name] = values[item.name]
            ordered.yaml_set_comment_before_after_key(item.name, before="\n" + _(item.info.title or item.name))
    return shaped_like("", ordered)


def change(values: Any, path: Path_, value: Any) -> None:
    """Put a value in place, quoted and laid out as the one that stood there."""
    old = get(values, path)
    if isinstance(value, dt.date):
        value = _Date(value.isoformat())
    if isinstance(old, ScalarString) and type(value) is str and "\n" not in value:
        value = DoubleQuotedScalarString(value) if isinstance(old, DoubleQuotedScalarString) else type(old)(value)
    if isinstance(value, list):
        items = CommentedSeq(value)
        if not isinstance(old, CommentedSeq) or old.fa.flow_style():
            items.fa.set_flow_style()
        value = items
    put(values, path, value)


def draft_path(folder: PracticeFolder) -> Path:
    """Return where unfinished answers are kept."""
    return folder.root / DRAFT_NAME


def read_draft(folder: PracticeFolder) -> Draft:
    """Return the unfinished answers: of an interrupted questionnaire, else of the file that a person wrote, else none.

    Raises:
        AnswersFileError: the file cannot be read.
    """
    kept = draft_path(folder)
    if kept.exists():
        values = read(kept)[1]
        state = values.pop(_STATE, None) or {}
        return Draft(values, {str(name) for name in state.get("closed") or ()}, bool(state.get("only_required")))
    if folder.answers_file.exists():
        from antiseche.practice.questionnaire import of_file

        return of_file(read(folder.answers_file)[1])
    return Draft()


def write_draft(folder: PracticeFolder, draft: Draft) -> None:
    """Keep unfinished answers, whole, before the next question is asked."""
    kept = CommentedMap({_STATE: {"closed": sorted(draft.closed), "only_required": draft.only_required}})
    for name, value in draft.values.items():
        kept[name] = value
    atomic.write_text(draft_path(folder), shaped_like("", kept))


def finish(folder: PracticeFolder, draft: Draft) -> None:
    """Write complete answers as the practice's file and forget the draft."""
    if draft.only_required:
        text = folder.answers_file.read_bytes().decode("utf-8-sig") if folder.answers_file.exists() else ""
        written = shaped_like(text, draft.values)
    else:
        written = fresh(draft.values)
    atomic.write_text(folder.answers_file, written)
    draft_path(folder).unlink(missing_ok=True)
    for leftover in folder.root.glob(f".{ANSWERS_NAME.partition('.')[0]}.*.new"):
        leftover.unlink(missing_ok=True)


def _yaml(text: str) -> YAML:
    yaml = YAML()
    yaml.Constructor = _Constructor
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = _WIDE
    yaml.explicit_start = text.startswith("---")
    indent, offset = _indents(text)
    yaml.indent(mapping=indent, sequence=indent + offset if offset else indent, offset=offset)
    return yaml


def _indents(text: str) -> tuple[int, int]:
    """Return how far the text indents keys, and dashes."""
    if not text.strip():
        return 2, 2
    _values, indent, offset = load_yaml_guess_indent(text)
    return (2, 2) if offset is None else (2 if offset in (0, 2) else (indent or 4) - offset, offset)
