"""What the model says of one answer: its kind, how a typed text becomes a value, and what is wrong with a value."""

from __future__ import annotations

import datetime as dt
import re
import types
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from antiseche.practice import messages
from antiseche.practice.document import Path_
from antiseche.practice.schema import Answers

YES = frozenset(("o", "oui", "y", "yes", "true"))
NO = frozenset(("n", "non", "no", "false"))
NOTHING = "-"
_CLOCKS = frozenset(("reboot_time", "hour", "maintenance_hour"))
_ANY_SEPARATOR = re.compile(r"[\s,;]+")
_SEPARATORS = {
    # A key's comment may hold a comma: the next key begins with a known word.
    "public_keys": re.compile(r"\s*[,;]\s*(?=(?:sk-)?(?:ssh|ecdsa)-)"),
    # These may hold spaces.
    "remote_help": re.compile(r"\s*[,;]\s*"),
    "third_party_origins": re.compile(r"\s*[,;]\s*"),
    "paths": re.compile(r"\s*[,;]\s*"),
    "must_survive": re.compile(r"\s*[,;]\s*"),
    "exclude": re.compile(r"\s*[,;]\s*"),
    "command": re.compile(r"\s*[,;]\s*"),
}


class Kind(StrEnum):
    """What a field is, for who asks."""

    TEXT = "text"
    DATE = "date"
    YES_NO = "yes_no"
    CHOICE = "choice"
    LIST = "list"
    PART = "part"
    OPTIONAL_PART = "optional_part"
    GROUP = "group"
    TABLE = "table"


@dataclass(frozen=True)
class Field:
    """One field of the model."""

    name: str
    kind: Kind
    info: FieldInfo
    nullable: bool
    model: type[Answers] | None = None
    choices: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        """Whether an answer must be given."""
        return self.info.is_required()

    @property
    def may_be_empty(self) -> bool:
        """Whether « nothing » is an answer."""
        return self.nullable or (self.kind is Kind.LIST and not self.required and self.minimum == 0)

    @property
    def minimum(self) -> int:
        """Least number of items of a list or group."""
        return max((getattr(item, "min_length", 0) or 0 for item in self.info.metadata), default=0)

    @property
    def maximum(self) -> int | None:
        """Greatest number of items of a list or group."""
        return next((item.max_length for item in self.info.metadata if hasattr(item, "max_length")), None)

    @property
    def default(self) -> Any:
        """Proposed answer, as the file would hold it."""
        if self.required:
            return None
        return plain(self.info.get_default(call_default_factory=True))

    def read(self, text: str) -> Any:
        """Turn what was typed into a value, still to be checked."""
        text = text.strip()
        if text == NOTHING and self.may_be_empty:
            return [] if self.kind is Kind.LIST else None
        if self.kind is Kind.LIST:
            return [part for part in _SEPARATORS.get(self.name, _ANY_SEPARATOR).split(text.strip("[] ")) if part]
        if self.kind in (Kind.YES_NO, Kind.OPTIONAL_PART):
            lowered = text.lower()
            return True if lowered in YES else False if lowered in NO else text
        if self.kind is Kind.DATE:
            return _iso(text)
        return _clock(text) if self.name in _CLOCKS else text

    def check(self, value: Any, at: Path_) -> tuple[Any, str]:
        """Return the value as the file holds it, and what is wrong with it (empty when nothing is)."""
        try:
            return plain(_adapter(self.info).validate_python(value)), ""
        except ValidationError as error:
            first = dict(error.errors()[0])
            first["loc"] = (*at, *(part for part in tuple(error.errors()[0]["loc"]) if isinstance(part, int | str)))
            return value, messages.message(first)


@cache
def fields_of(model: type[Answers]) -> tuple[Field, ...]:
    """Return the fields of a part of the model, in its order."""
    return tuple(_field(name, info) for name, info in model.model_fields.items())


def field_at(model: type[Answers], name: str) -> Field | None:
    """Return one field by name."""
    return next((field for field in fields_of(model) if field.name == name), None)


def plain(value: Any) -> Any:
    """Return a value as YAML holds it: text, number, truth, date, list or nothing."""
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | str | dt.date):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Answers):
        return value.model_dump(mode="json")
    return str(value)


def _field(name: str, info: FieldInfo) -> Field:
    inner, nullable = _without_none(info.annotation)
    origin = get_origin(inner)
    if isinstance(inner, type) and issubclass(inner, Answers):
        return Field(name, Kind.OPTIONAL_PART if nullable else Kind.PART, info, nullable, inner)
    if origin is list:
        item = get_args(inner)[0]
        if isinstance(item, type) and issubclass(item, Answers):
            return Field(name, Kind.GROUP, info, nullable, item)
        return Field(name, Kind.LIST, info, nullable)
    if origin is dict:
        return Field(name, Kind.TABLE, info, nullable)
    if inner is dt.date:
        return Field(name, Kind.DATE, info, nullable)
    if inner is bool:
        return Field(name, Kind.YES_NO, info, nullable)
    if origin is Literal:
        return Field(name, Kind.CHOICE, info, nullable, choices=tuple(str(choice) for choice in get_args(inner)))
    if isinstance(inner, type) and issubclass(inner, Enum):
        return Field(name, Kind.CHOICE, info, nullable, choices=tuple(str(choice.value) for choice in inner))
    return Field(name, Kind.TEXT, info, nullable)


def _iso(text: str) -> str:
    """Take a date as the French write it: day, month, year."""
    typed = re.fullmatch(r"([0-9]{1,2})[/. -]([0-9]{1,2})[/. -]([0-9]{4})", text)
    return f"{typed[3]}-{int(typed[2]):02}-{int(typed[1]):02}" if typed else text


def _clock(text: str) -> str:
    """Take a time as the French write it: 3h30, 3 h, 03:30."""
    typed = re.fullmatch(r"([0-9]{1,2}) ?[h:] ?([0-9]{2})?", text.lower())
    return f"{int(typed[1]):02}:{typed[2] or '00'}" if typed else text


def _without_none(annotation: Any) -> tuple[Any, bool]:
    nullable = False
    if get_origin(annotation) in (Union, types.UnionType):
        arguments = [argument for argument in get_args(annotation) if argument is not type(None)]
        nullable = len(arguments) < len(get_args(annotation))
        annotation = arguments[0]
    return (get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation), nullable


_ADAPTERS: dict[int, TypeAdapter[Any]] = {}


def _adapter(info: FieldInfo) -> TypeAdapter[Any]:
    found = _ADAPTERS.get(id(info))
    if found is None:
        annotation: Any = info.annotation
        for item in info.metadata:
            annotation = Annotated[annotation, item]
        found = _ADAPTERS[id(info)] = TypeAdapter(annotation)
    return found
