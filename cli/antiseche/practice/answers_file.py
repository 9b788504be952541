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

from antiseche.errors import AnswersError
from antiseche.i18n import _
from antiseche.practice import atomic
from antiseche.practice.document import PLAIN_NUMBER, Path_, parse, read_document
from antiseche.practice.fields import fields_of
from antiseche.practice.folder import ANSWERS_NAME, PracticeFolder, is_file
from antiseche.practice.load import AnswersFileError, Problem
from antiseche.practice.merging import merged
from antiseche.practice.questionnaire import Draft, get, put
from antiseche.practice.schema import Practice

DRAFT_NAME = "practice.draft.yml"
_STATE = "_questionnaire"
_WIDE = 4096
_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""Some editors begin a UTF-8 file with it."""


class _Date(str):
    """A date as it is written: an impossible one must reach the model, not stop the reading."""

    __slots__ = ()


class _Number(str):
    """A number in any other than everyday notation, such as a telephone number without quotes: the text that stands there."""

    __slots__ = ()


class _Constructor(RoundTripConstructor):
    """Reads scalars as `antiseche.practice.document` does."""


class _Representer(RoundTripRepresenter):
    """Writes scalars as they were read."""


def _read_date(_constructor: Any, node: ScalarNode) -> _Date:
    return _Date(node.value)


def _read_number(_constructor: Any, node: ScalarNode) -> int | _Number:
    return int(node.value) if PLAIN_NUMBER.fullmatch(node.value) else _Number(node.value)


def _write_date(representer: Any, value: _Date) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:timestamp", str(value))


def _write_number(representer: Any, value: _Number) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:int", str(value))


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _read_date)
_Constructor.add_constructor("tag:yaml.org,2002:int", _read_number)
_Representer.add_representer(_Date, _write_date)
_Representer.add_representer(_Number, _write_number)


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
    text = path.read_bytes().decode()
    return text, _yaml(text).load(text)


def rewritten(text: str, values: Any) -> str:
    """Return changed values in the text that they come from: every line that says the same stays as it is."""
    mark = _MARK if text.startswith(_MARK) else ""
    text = text.removeprefix(_MARK)
    yaml = _yaml(text)
    before, after = _dumped(yaml, yaml.load(text)), _dumped(yaml, values)
    found = merged(text, before, after)
    if found is None or parse(found.encode()).values != parse(after.encode()).values:
        found = after.replace("\n", "\r\n") if "\r\n" in text else after
    return mark + found


def _dumped(yaml: YAML, values: Any) -> str:
    stream = io.StringIO()
    yaml.dump(values, stream)
    return stream.getvalue().replace("\r", "")  # comments keep their ends of line; a value never holds one as such


def fresh(values: Any) -> str:
    """Return new answers as YAML: parts in the model's order, each under its title."""
    ordered = CommentedMap(version=1)
    for item in fields_of(Practice):
        if item.name in values:
            ordered[item.name] = values[item.name]
            ordered.yaml_set_comment_before_after_key(item.name, before="\n" + _(item.info.title or item.name))
    return _dumped(_yaml(""), ordered)


def change(values: Any, path: Path_, value: Any) -> None:
    """Put a value in place, quoted and laid out as the one that stood there."""
    old = get(values, path)
    if isinstance(value, dt.date):
        value = _Date(value.isoformat())
    if isinstance(old, ScalarString) and type(value) is str and "\n" not in value:
        value = DoubleQuotedScalarString(value) if isinstance(old, DoubleQuotedScalarString) else type(old)(value)
    if isinstance(value, list):
        if isinstance(old, CommentedSeq) and _changed_in_place(old, value):
            value = old
        else:
            items = CommentedSeq(value)
            if not isinstance(old, CommentedSeq) or old.fa.flow_style():
                items.fa.set_flow_style()
            value = items
    put(values, path, value)


def _changed_in_place(items: CommentedSeq, wanted: list[Any]) -> bool:
    """Bring a list to what is wanted, so that the comments of what stays stay too; False when the order changed."""
    for index in range(len(items) - 1, -1, -1):
        if items[index] not in wanted:
            del items[index]
    for index, value in enumerate(wanted):
        if index >= len(items) or items[index] != value:
            items.insert(index, value)
    return list(items) == wanted


def draft_path(folder: PracticeFolder) -> Path:
    """Return where unfinished answers are kept."""
    return folder.root / DRAFT_NAME


def read_draft(folder: PracticeFolder) -> Draft:
    """Return the unfinished answers: of an interrupted questionnaire, else of the file that a person wrote, else none.

    Raises:
        AnswersFileError: the file cannot be read.
        AnswersError: both are there, and they may differ.
    """
    kept = draft_path(folder)
    if is_file(kept):
        values = read(kept)[1]
        state = values.pop(_STATE, None)
        state = state if isinstance(state, dict) else {}
        closed = state.get("closed")
        draft = Draft(values, set(map(str, closed if isinstance(closed, list) else ())), bool(state.get("only_required")))
        _refuse_two_sources(folder, draft)
        return draft
    if is_file(folder.answers_file):
        from antiseche.practice.questionnaire import of_file

        return of_file(read(folder.answers_file)[1])
    return Draft()


def _refuse_two_sources(folder: PracticeFolder, draft: Draft) -> None:
    """Somebody wrote the file while a questionnaire was under way: only a person knows which of the two counts."""
    kept, written = draft_path(folder), folder.answers_file
    if is_file(written) and (not draft.only_required or written.stat().st_mtime_ns > kept.stat().st_mtime_ns):
        text = _("{written} et {kept} existent tous deux : gardez l'un, effacez l'autre, puis relancez.")
        raise AnswersError(text.format(written=written, kept=kept))


def write_draft(folder: PracticeFolder, draft: Draft) -> None:
    """Keep unfinished answers, whole, before the next question is asked."""
    kept = CommentedMap({_STATE: {"closed": sorted(draft.closed), "only_required": draft.only_required}})
    for name, value in draft.values.items():
        kept[name] = value
    atomic.write_text(draft_path(folder), _dumped(_yaml(""), kept))


def finish(folder: PracticeFolder, draft: Draft) -> None:
    """Write complete answers as the practice's file and forget the draft."""
    if draft.only_required:
        text = folder.answers_file.read_bytes().decode() if is_file(folder.answers_file) else ""
        written = rewritten(text, draft.values)
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
