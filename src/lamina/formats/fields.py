"""The fields of a memory as files carry them: their names, their checks, and their JSON form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, Literal

from lamina.errors import InvalidInputError
from lamina.types import Memory

__all__ = [
    "MAX_TEXT",
    "SETTABLE",
    "TEXT_HINT",
    "UNKNOWN_HINT",
    "FieldError",
    "OnProblem",
    "ReadOptions",
    "Record",
    "build_item",
    "iso_time",
    "memory_to_dict",
    "parse_time",
    "problem",
    "raise_problem",
    "split_tags",
    "target",
]

MAX_TEXT: Final = 10_000_000
"""Longest text of a memory, in characters: the store's limit, known here so that a reader can stop early."""

SETTABLE: Final = (
    "text",
    "title",
    "description",
    "type",
    "scope",
    "tags",
    "importance",
    "source",
    "thread",
    "position",
    "created_at",
    "valid_until",
    "metadata",
)
"""Fields that a file can set: the arguments of ``add`` but for ``vector``."""

UNKNOWN_HINT: Final = "Name fields with --map FIELD=KEY, or choose --unknown metadata or --unknown ignore."
TEXT_HINT: Final = "Name the one that holds it with --map text=KEY."

_KEPT_BY_STORE: Final = frozenset(
    ("id", "updated_at", "uses", "helped", "hurt", "superseded_by", "path", "similar", "notices")
)
_TAG_SEPARATORS: Final = re.compile(r"[;,]")

OnProblem = Callable[[InvalidInputError], None]
"""Told of each record that cannot be used. It may raise to stop, or count and return."""


@dataclass(frozen=True, slots=True)
class Record:
    """One memory as it was read."""

    line: int
    """The line it began on, from 1."""
    item: dict[str, Any]
    """Arguments of ``store.memories.add``, ``text`` among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How a reader names and fills fields."""

    name: str = "standard input"
    """What messages call the stream."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Field of a memory -> key or column of the file."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Values for fields that a record does not give."""
    unknown: Literal["error", "metadata", "ignore"] = "error"
    """What happens to keys and columns that are no field: refused, kept in ``metadata``, or dropped."""
    per: Literal["paragraph", "line", "file"] = "paragraph"
    """What makes one memory in plain text."""
    delimiter: str | None = None
    """Between the cells of CSV; None finds it in the header."""


def raise_problem(error: InvalidInputError) -> None:
    """Stops at the first problem: the :data:`OnProblem` used when none is given."""
    raise error


def problem(options: ReadOptions, line: int, message: str, hint: str = "", **details: Any) -> InvalidInputError:
    """An error that says where in the file it is."""
    text = f"Line {line} of {options.name}: {message}"
    return InvalidInputError(text, hint=hint, line=line, **details)


class FieldError(Exception):
    """A record that cannot be used; the reader adds the file and the line.

    Args:
        message: What is wrong, without a place.
        hint: What to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def build_item(raw: Mapping[str, Any], options: ReadOptions, *, cells: bool = False) -> dict[str, Any]:
    """Checks one record of a file and turns it into the arguments of ``add``.

    Args:
        raw: The record's keys (or column names) and values.
        options: Naming and defaults.
        cells: Values are all strings (CSV): numbers and objects are parsed, empty cells are not given.

    Raises:
        FieldError: A key is unknown, or a value is of the wrong type or out of range.
    """
    item: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in raw.items():
        if value is None or (cells and value == ""):
            continue
        name = target(key, options, cells=cells)
        if name in SETTABLE:
            parsed = _CELLS[name](name, value) if cells and name in _CELLS else value
            item[name] = _checked(name, parsed)
        elif name == "metadata.":
            extra[key.removeprefix("metadata.")] = value
        elif name is None:
            raise FieldError(f"{key!r} is no field of a memory.", UNKNOWN_HINT)
    if raw.get("superseded_by"):
        _close(item, raw)
    if "text" not in item:
        raise FieldError(f"there is no text; the record has {', '.join(raw) or 'nothing'}.", TEXT_HINT)
    if extra:
        item["metadata"] = _checked("metadata", {**item.get("metadata", {}), **extra})
    return {**options.defaults, **item}


def _close(item: dict[str, Any], raw: Mapping[str, Any]) -> None:
    """Ends the validity of a memory that was superseded.

    Its successor gets another id, so the link cannot stay, but it must not be recalled as if it still held.
    """
    end = _time("updated_at", raw.get("updated_at") or iso_time(datetime.now(UTC)))
    item["valid_until"] = min(end, item.get("valid_until", end))


def _checked(name: str, value: Any) -> Any:
    try:
        return _checks()[name](value)
    except InvalidInputError as error:
        raise FieldError(error.message, error.hint) from None


def target(key: str, options: ReadOptions, *, cells: bool = False) -> str | None:
    """Where the value of a key or column goes.

    Returns:
        A field of :data:`SETTABLE`; ``"metadata."`` for an entry of the metadata; ``""`` for what is read past;
        None for a key that nobody knows.
    """
    for name, column in options.fields.items():
        if column == key:
            return name
    if key in SETTABLE and key not in options.fields:  # a field that another key gives is unknown under its own name
        return key
    if cells and key.startswith("metadata."):
        return "metadata."
    if key in _KEPT_BY_STORE:
        return ""
    return {"error": None, "metadata": "metadata.", "ignore": ""}[options.unknown]


@cache
def _checks() -> Mapping[str, Callable[[Any], Any]]:
    """The store's own checks, so that what a reader lets pass is not refused later, in the middle of a batch."""
    # Imported late: the shell reads times and tags with this module, and the floor below costs as much as a recall.
    from lamina.memories import checks

    return {
        "text": checks.check_text,
        "title": checks.check_title,
        "description": checks.check_description,
        "type": checks.check_type,
        "scope": checks.check_scope,
        "tags": lambda value: checks.check_tags(_tags(value)),
        "importance": checks.check_importance,
        "source": lambda value: checks.check_name(value, "source"),
        "thread": lambda value: checks.check_name(value, "thread"),
        "position": checks.check_position,
        "created_at": lambda value: _time("created_at", value),
        "valid_until": lambda value: _time("valid_until", value),
        "metadata": checks.check_metadata,
    }


def split_tags(text: str) -> tuple[str, ...]:
    """Tags written in one string: a JSON list, or separated by semicolons or commas.

    Raises:
        FieldError: It begins like a JSON list and is none.
    """
    if text.lstrip().startswith("["):
        value = _json("tags", text)
        if isinstance(value, list):
            return tuple(value)
    return tuple(part for part in (part.strip() for part in _TAG_SEPARATORS.split(text)) if part)


def _tags(value: Any) -> Any:
    if isinstance(value, Mapping):
        raise FieldError("tags is an object, not a list.", "Write a list, or text with semicolons between the tags.")
    return split_tags(value) if isinstance(value, str) else value


def _json(name: str, value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise FieldError(f"{name} is not valid JSON.") from None


def _number_cell(name: str, value: str) -> float | int:
    try:
        number = float(value)
    except ValueError:
        raise FieldError(f"{name} must be a number, not {value!r}.") from None
    return int(number) if number.is_integer() else number


def _time(name: str, value: Any) -> datetime:
    if isinstance(value, str):
        return parse_time(value, name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FieldError(f"{name} must be a time such as 2026-03-01T09:30:00Z, not {value!r}.")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise FieldError(f"{name} {value} is not seconds since 1970.") from None


def parse_time(text: str, name: str = "time") -> datetime:
    """A time in ISO 8601; without an offset it is UTC.

    Raises:
        FieldError: The text is no time, or its offset takes it out of the years 1 to 9999.
    """
    try:
        value = datetime.fromisoformat(text.strip())
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError):
        raise FieldError(f"{name} must be a time such as 2026-03-01T09:30:00Z, not {text!r}.") from None


_CELLS: Final[dict[str, Callable[[str, str], Any]]] = {
    "importance": _number_cell,
    "position": _number_cell,
    "metadata": _json,
}
"""What turns a cell of CSV into the value that JSON would have had."""


def iso_time(value: datetime) -> str:
    """A time as every file and every ``--json`` output has it: ISO 8601, UTC, microseconds, ``Z``."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def memory_to_dict(memory: Memory) -> dict[str, Any]:
    """A memory as a JSON object: every field of :class:`lamina.Memory` but ``similar``, in its order."""
    return {
        "id": memory.id,
        "text": memory.text,
        "title": memory.title,
        "description": memory.description,
        "type": memory.type,
        "scope": memory.scope,
        "tags": list(memory.tags),
        "importance": memory.importance,
        "source": memory.source,
        "thread": memory.thread,
        "position": memory.position,
        "created_at": iso_time(memory.created_at),
        "updated_at": iso_time(memory.updated_at),
        "valid_until": None if memory.valid_until is None else iso_time(memory.valid_until),
        "superseded_by": memory.superseded_by,
        "path": memory.path,
        "uses": memory.uses,
        "helped": memory.helped,
        "hurt": memory.hurt,
        "metadata": dict(memory.metadata),
    }
