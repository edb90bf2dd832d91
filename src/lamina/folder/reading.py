"""What a memory file says, and where it says it.

Reading is lenient: what is off is reported and reading goes on. Only what is no text, or two texts at once, is refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from lamina.errors import InvalidInputError
from lamina.folder.frontmatter import Entry, Parts, split_file
from lamina.folder.values import read_datetime

__all__ = [
    "FIELDS",
    "FREE_TEXT",
    "INDENT",
    "KEYS",
    "MAX_POSITION",
    "TIMES",
    "Document",
    "Reading",
    "decode",
    "parse_document",
    "read_parts",
    "utc",
]

KEYS: Final[dict[str, tuple[str, ...]]] = {
    "title": ("name", "title"),
    "description": ("description",),
    "type": ("type",),
    "id": ("id",),
    "tags": ("tags",),
    "importance": ("importance",),
    "source": ("source",),
    "thread": ("thread",),
    "position": ("position",),
    "created_at": ("created_at", "created", "date"),
    "valid_until": ("valid_until",),
    "superseded_by": ("superseded_by",),
}
"""The keys that say a field, in the order in which fields are written; the first key is the one that is written."""

FIELDS: Final = {key: name for name, keys in KEYS.items() for key in keys}
_RANKS = {key: rank for keys in KEYS.values() for rank, key in enumerate(keys)}
FREE_TEXT = frozenset({"title", "description", "source", "thread"})
TIMES = frozenset({"created_at", "valid_until"})
MAX_POSITION = 2**53
INDENT = "  "
_WHOLE = re.compile(r"\+?[0-9]{1,16}")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a memory file says; None or empty where it does not say.

    Attributes:
        title: From ``name``, else ``title``.
        description: One line about what it is.
        type: As it is written, whatever it is; from ``type``, else from ``type`` within ``metadata``.
        id: The memory's id.
        tags: In order; from a list or from a line with commas.
        importance: From 0 to 1.
        source: Where it comes from.
        thread: What it belongs to.
        position: Its place there, from 0.
        created_at: From ``created_at``, else ``created``, else ``date``; UTC.
        valid_until: UTC.
        superseded_by: The id of the memory that replaced it.
        metadata: Everything else as JSON values: unknown keys, and the mapping ``metadata``.
        text: The body without the empty line before it and the line end after it.
        problems: What is off but did not stop reading, as ``(code, message)``: ``front-matter`` (not closed, too
            long, or an entry that is no YAML), ``duplicate-key``, ``value`` (of the wrong kind, ignored).
    """

    title: str | None = None
    description: str | None = None
    type: str | None = None
    id: str | None = None
    tags: tuple[str, ...] = ()
    importance: float | None = None
    source: str | None = None
    thread: str | None = None
    position: int | None = None
    created_at: datetime | None = None
    valid_until: datetime | None = None
    superseded_by: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    problems: tuple[tuple[str, str], ...] = ()


def parse_document(data: bytes, *, name: str) -> Document:
    r"""Return what a memory file says.

    Args:
        data: The whole file, UTF-8 with or without a byte order mark. Where every line ends with ``\r\n`` the text
            has ``\n``; mixed line ends stay.
        name: The file's name, for messages.

    Raises:
        InvalidInputError: It cannot be read. ``details["reason"]`` is ``not-utf8`` (with ``offset``, in bytes),
            ``binary`` (it holds a NUL), or ``conflict-markers`` (with ``line``, from 1).
    """
    return read_parts(split_file(decode(data, name)), name).document


@dataclass(slots=True, kw_only=True)
class Reading:
    """A document, and where each part of it stands."""

    document: Document
    sources: dict[str, Entry]  # by field
    top: dict[str, Entry]  # the first entry of each key
    nested: dict[str, Any]  # what the mapping `metadata` holds, `type` included where it is the document's
    block: list[Entry] | None  # its entries, where it is written in lines
    indent: str
    type_is_nested: bool


def read_parts(parts: Parts, name: str) -> Reading:
    """Return what the parts say.

    Raises:
        InvalidInputError: They hold the markers of a merge conflict.
    """
    content = parts.join()
    if "<<<<<<< " in content:
        _refuse_conflict(content, parts.body_line, name)
    problems: list[tuple[str, str]] = [("front-matter", f"{name}: {parts.problem}.")] if parts.problem else []
    top = _first_of_each(parts.entries, name, problems)
    sources: dict[str, Entry] = {}
    values: dict[str, Any] = {}
    for key, entry in top.items():
        about = FIELDS.get(key)
        if about is None or entry.is_empty():
            continue
        if about not in sources or _RANKS[key] < _RANKS[sources[about].key or ""]:
            sources[about] = entry
    for about, entry in sources.items():
        values[about] = _field(about, entry, name, problems)
    metadata: dict[str, Any] = {}
    for key, entry in top.items():
        about = FIELDS.get(key)
        if key == "metadata" or (about is not None and (sources.get(about) is entry or entry.is_empty())):
            continue
        metadata[key] = _json(entry, name, problems)
    reading = Reading(
        document=Document(), sources=sources, top=top, nested={}, block=None, indent=INDENT, type_is_nested=False
    )
    if "metadata" in top:
        _read_nested(reading, values, metadata, name, problems)
    reading.document = Document(**values, metadata=metadata, text=parts.text, problems=tuple(problems))
    return reading


def _read_nested(
    reading: Reading, values: dict[str, Any], metadata: dict[str, Any], name: str, problems: list[tuple[str, str]]
) -> None:
    """Add what the mapping ``metadata`` says."""
    entry = reading.top["metadata"]
    block = entry.nested()
    wants_type = "type" not in reading.sources
    if block is not None:
        reading.block, reading.indent = block
        for key, inner in _first_of_each(reading.block, name, problems).items():
            if key == "type" and wants_type:
                if inner.is_empty():
                    continue
                kind = inner.words()[0]
                if kind is None or isinstance(kind, str):
                    reading.nested[key] = kind
                    continue
            reading.nested[key] = _json(inner, name, problems)
    else:
        value = _json(entry, name, problems)
        reading.nested = value if isinstance(value, dict) else {} if value is None else {"metadata": value}
    for key, value in reading.nested.items():
        if key == "type" and wants_type and (value is None or isinstance(value, str)):
            values["type"] = value or None
            reading.type_is_nested = True
        elif key in metadata:
            problems.append(("duplicate-key", f"{name}: {key!r} stands in metadata and above it; the latter counts."))
        else:
            metadata[key] = value


def _first_of_each(entries: list[Entry], name: str, problems: list[tuple[str, str]]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry.key is None:
            continue
        if entry.key in found:
            problems.append(("duplicate-key", f"{name}: the key {entry.key!r} stands twice; the first counts."))
        else:
            found[entry.key] = entry
    return found


def _json(entry: Entry, name: str, problems: list[tuple[str, str]]) -> Any:
    value, notes = entry.value()
    problems += [("front-matter", f"{name}: {entry.key}: {note}.") for note in notes]
    return value


def _field(about: str, entry: Entry, name: str, problems: list[tuple[str, str]]) -> Any:
    """Return a field's value; one that cannot be used is reported and ignored."""
    value, notes = entry.text() if about in FREE_TEXT else entry.words()
    if value is None or value == "":
        return () if about == "tags" else None
    problem = ""
    if about == "tags":
        tags = [tag.strip() for tag in value.split(",")] if isinstance(value, str) else value
        if isinstance(tags, list) and all(tag is None or isinstance(tag, str) for tag in tags):
            return tuple(tag for tag in tags if tag and tag.strip())
        problem = "is no list of words"
    elif not isinstance(value, str):
        problem = "is no text"
    elif about == "importance":
        number = _number(value)
        if 0 <= number <= 1:
            return number
        problem = "is no number from 0 to 1"
    elif about == "position":
        if _WHOLE.fullmatch(value) and (position := int(value)) <= MAX_POSITION:
            return position
        problem = "is no whole number from 0"
    elif about in TIMES:
        moment = _moment(value)
        if moment is not None:
            return moment
        problem = "is no date or time such as 2026-03-01 or 2026-03-01T09:30:00Z"
    else:
        problems += [("front-matter", f"{name}: {entry.key}: {note}.") for note in notes]
        return value if value.strip() else None
    problems.append(("value", f"{name}: {entry.key} {problem}; it was ignored."))
    return () if about == "tags" else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _moment(text: str) -> datetime | None:
    found = read_datetime(text)
    if found is None:
        return None
    moment = found if isinstance(found, datetime) else datetime(found.year, found.month, found.day, tzinfo=UTC)
    return utc(moment)


def utc(moment: datetime) -> datetime | None:
    """Return a moment in UTC, where one without a zone is; None beyond the years 1 to 9999."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return None


def decode(data: bytes, name: str) -> str:
    """Return a file's bytes as text. A NUL is accepted below front matter only: without that it is a binary file.

    Raises:
        InvalidInputError: They are ``binary`` or ``not-utf8``, as ``details["reason"]`` says.
    """
    if (at := data.find(b"\0")) >= 0 and not data.startswith((b"---\n", b"---\r\n", b"\xef\xbb\xbf---")):
        raise InvalidInputError(
            f"{name} holds a NUL at byte {at:,}, so it is no text.",
            hint="Save it as UTF-8 text, or keep it out of the memory directory.",
            reason="binary",
            offset=at,
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{name} is not UTF-8: byte {error.start:,} is 0x{data[error.start]:02x}.",
            hint="Save it as UTF-8.",
            reason="not-utf8",
            offset=error.start,
        ) from None


def _refuse_conflict(content: str, body_line: int, name: str) -> None:
    """Refuse the three markers of a merge conflict in their order; one that begins in a fenced block is an example."""
    started, middle, fence = 0, False, ""
    for number, line in enumerate(content.split("\n"), 1):
        if number == body_line:
            fence = ""
        if started:
            if line.rstrip() == "=======":
                middle = True
            elif middle and line.startswith(">>>>>>> "):
                raise InvalidInputError(
                    f"{name} holds a merge conflict that begins on line {started:,}.",
                    hint="Decide what it should say and remove the lines of <<<<<<<, ======= and >>>>>>>.",
                    reason="conflict-markers",
                    line=started,
                )
        elif not fence and line.startswith("<<<<<<< "):
            started = number
        elif (found := _FENCE.match(line)) is not None:
            if not fence:
                fence = "" if found[1][0] == "`" and "`" in found[2] else found[1]
            elif found[1].startswith(fence) and not found[2].strip():
                fence = ""
