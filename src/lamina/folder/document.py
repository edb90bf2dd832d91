"""A memory file as a document: what it says, a new one, and one with some of it changed.

A file is optional front matter between ``---`` lines, then markdown. What is written is read back before it is
returned, so a file never says something else than what was asked for; an edit touches the lines of what it changes and
no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from lamina.errors import InvalidInputError
from lamina.folder.frontmatter import Entry, Parts, split_file
from lamina.folder.quoting import check_json, same, write_key, write_scalar, write_value
from lamina.folder.reading import (
    FIELDS,
    FREE_TEXT,
    INDENT,
    KEYS,
    MAX_POSITION,
    TIMES,
    Document,
    Reading,
    decode,
    parse_document,
    read_parts,
    utc,
)

__all__ = ["Document", "edit_document", "parse_document", "render_document"]

_PLACES = {key: place for place, keys in enumerate(KEYS.values()) for key in keys} | {"metadata": len(KEYS)}


def render_document(
    *,
    text: str,
    title: str | None = None,
    description: str | None = None,
    type: str | None = None,
    id: str | None = None,
    tags: Sequence[str] = (),
    importance: float | None = None,
    source: str | None = None,
    thread: str | None = None,
    position: int | None = None,
    created_at: datetime | None = None,
    valid_until: datetime | None = None,
    superseded_by: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a new memory file that says this, in YAML that every reader understands.

    Args:
        text: The body, kept character for character.
        title: Its name. This and all that follows is left out where it is None or empty.
        description: One line about what it is.
        type: What kind of memory it is.
        id: The memory's id.
        tags: In order.
        importance: From 0 to 1.
        source: Where it comes from.
        thread: What it belongs to.
        position: Its place there, from 0.
        created_at: Written in UTC; without a zone it is UTC.
        valid_until: As created_at.
        superseded_by: The id of the memory that replaced it.
        metadata: JSON values by name.

    Raises:
        InvalidInputError: A value is of the wrong kind, or a file cannot say it: a text that holds a NUL or the
            markers of a merge conflict, a front matter beyond 65,536 characters.
    """
    return edit_document(
        b"---\n---\n",
        {
            "title": title,
            "description": description,
            "type": type,
            "id": id,
            "tags": tags,
            "importance": importance,
            "source": source,
            "thread": thread,
            "position": position,
            "created_at": created_at,
            "valid_until": valid_until,
            "superseded_by": superseded_by,
            "metadata": metadata,
            "text": text,
        },
    )


def edit_document(data: bytes, changes: Mapping[str, Any]) -> bytes:
    """Return a memory file with some of what it says changed.

    Only the lines of what changes are written: comments, order, unknown keys, quotes, line ends and everything else
    stay byte for byte. A field that becomes None loses its lines; a new one is put at its place in the usual order. A
    file without front matter gets one if it is needed.

    Args:
        data: The whole file.
        changes: New values by the names of :class:`Document`'s fields. ``metadata`` is the whole new mapping.

    Raises:
        InvalidInputError: The file cannot be read (as :func:`parse_document` has it), a name or value cannot be used,
            or the file cannot say it; then ``details["reason"]`` is ``not-readable``.
    """
    parts = split_file(decode(data, "The file"))
    reading = read_parts(parts, "The file")
    old = reading.document
    new = replace(old, **{name: _checked(name, value) for name, value in changes.items()})
    if _says_the_same(new, old):
        return data
    edit = _Edit(parts, reading, new)
    edit.metadata()
    for name in KEYS:
        edit.field(name)
    edit.finish()
    if new.text != old.text:
        parts.set_text(new.text)
    return _encode_checked(parts, new)


def _encode_checked(parts: Parts, wanted: Document) -> bytes:
    """Return the file's bytes once they are known to say what is wanted."""
    for _ in range(2):
        content = parts.join()
        data = content.encode("utf-8")
        again = split_file(decode(data, "The text"))
        found = read_parts(again, "The text").document
        if _says_the_same(found, wanted):
            return data
        # A text can look like front matter, or be the last that tells mixed line ends from \r\n: both need a frame.
        if not parts.opening:
            parts.opening = parts.closing = "---\n"
            parts.blank = "\n"
            parts.crlf = False
            parts.set_text(wanted.text)
        elif again.crlf and not parts.crlf:
            parts.entries.append(Entry(lines=["\n"]))
        else:
            break
    raise InvalidInputError(
        "The file would not say what was asked for, so it was not changed.",
        hint="Shorten or simplify the front matter; it may have at most 65,536 characters.",
        reason="not-readable",
    )


def _says_the_same(left: Document, right: Document) -> bool:
    return (
        left.text == right.text
        and all(getattr(left, name) == getattr(right, name) for name in KEYS)
        and same(left.metadata, right.metadata)
    )


def _checked(name: str, value: Any) -> Any:
    """Return a field's new value as a document holds it."""
    if name == "text":
        if not isinstance(value, str):
            raise _bad(name, value, "Pass the text as str.")
        return check_json(value, name)
    if name == "metadata":
        if value is not None and not isinstance(value, Mapping):
            raise _bad(name, value, "Pass a mapping of JSON values.")
        return check_json({} if value is None else value)
    if name == "tags":
        if isinstance(value, str) or not isinstance(value, (Sequence, type(None))):
            raise _bad(name, value, "Pass a list of strings.")
        return tuple(tag for tag in (_checked_text(name, tag) for tag in value or ()) if tag)
    if name not in KEYS:
        raise InvalidInputError(
            f"A memory file has no field {name[:120]!r}.", hint=f"Use one of {', '.join(KEYS)}, metadata, text."
        )
    if value is None:
        return None
    if name in TIMES:
        moment = utc(value) if isinstance(value, datetime) else None
        if moment is None:
            raise _bad(name, value, "Pass a datetime of the years 1 to 9999.")
        return moment
    if name in ("importance", "position"):
        return _checked_number(name, value)
    return _checked_text(name, value)


def _checked_number(name: str, value: Any) -> float:
    whole = name == "position"
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value <= (MAX_POSITION if whole else 1):
        raise _bad(name, value, "Pass a whole number from 0." if whole else "Pass a number from 0 to 1.")
    return value if whole else float(value)


def _checked_text(name: str, value: Any) -> str | None:
    if not isinstance(value, str):
        raise _bad(name, value, "Pass it as str.")
    return check_json(value, name) if value.strip() else None


def _bad(name: str, value: object, hint: str) -> InvalidInputError:
    return InvalidInputError(f"{name} is a {type(value).__name__} that cannot be written.", hint=hint, field=name)


def _written(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return write_value(value)


class _Edit:
    """Changes the entries of one file from what was read to what is wanted."""

    def __init__(self, parts: Parts, reading: Reading, wanted: Document) -> None:
        self._parts = parts
        self._reading = reading
        self._wanted = wanted
        self._type_done = False

    def field(self, name: str) -> None:
        """Change, add or remove one field's entry."""
        value = getattr(self._wanted, name)
        if value == getattr(self._reading.document, name) or (name == "type" and self._type_done):
            return
        if name == "type" and self._reading.type_is_nested:
            self._change_nested({"type": value} if value is not None else {}, {"type"} if value is None else set())
        elif value not in (None, ()):
            self._set(name, _written(value))
        elif name in self._reading.sources:
            key = self._reading.sources[name].key or ""
            if self._has_other(name, key):
                self._set(name, "null")  # or another key would be read in its place
            else:
                self._drop(key)

    def metadata(self) -> None:
        """Change each key where it stands, above ``metadata`` or in it; new ones are added in it."""
        old, new = self._reading.document.metadata, self._wanted.metadata
        sets: dict[str, Any] = {}
        drops: set[str] = set()
        for key in old.keys() - new.keys():
            if self._is_top(key):
                self._drop(key)
            if key in self._reading.nested:
                drops.add(key)
        for key, value in new.items():
            if key in old and same(old[key], value):
                continue
            if key in old and self._is_top(key):
                self._reading.top[key].replace(write_value(value), keep_comment=True)
            else:
                sets[key] = value
        if "type" in sets and "type" not in self._reading.sources:
            self._set("type", "null" if self._wanted.type is None else write_scalar(self._wanted.type))
            self._type_done = True
        if sets or drops:
            self._change_nested(sets, drops)

    def finish(self) -> None:
        """Keep a front matter recognisable when comments are all that is left of it."""
        entries = self._parts.entries
        if not any(entry.key for entry in entries) and any(
            line.strip(" \t\r\n") for entry in entries for line in entry.lines
        ):
            self._insert("name", ["name: null" + self._parts.newline])

    def _is_top(self, key: str) -> bool:
        if key == "metadata" or key not in self._reading.top:
            return False
        about, entry = FIELDS.get(key), self._reading.top[key]
        return about is None or not (self._reading.sources.get(about) is entry or entry.is_empty())

    def _has_other(self, name: str, key: str) -> bool:
        if name == "type" and any(entry.key == "type" for entry in self._reading.block or ()):
            return True
        if name == "type" and "type" in self._reading.nested:
            return True
        others = {other for other in KEYS[name] if other != key}
        return any(entry.key in others and not entry.is_empty() for entry in self._parts.entries)

    def _set(self, name: str, value: str) -> None:
        """Write a field's entry: the one that was read, else an empty one, else a new one."""
        entry = self._reading.sources.get(name)
        if entry is None:
            entry = next((self._reading.top[key] for key in KEYS[name] if key in self._reading.top), None)
        if entry is not None:
            entry.replace(value, keep_comment=name not in FREE_TEXT)
        else:
            key = KEYS[name][0]
            self._insert(key, [f"{key}: {value}{self._parts.newline}"])

    def _insert(self, key: str, lines: list[str]) -> None:
        """Add an entry after the nearest before it in the usual order, else before the nearest after it, else last."""
        self._parts.open_front()
        entries = self._parts.entries
        place = _PLACES[key]
        known = [(_PLACES[entry.key], at) for at, entry in enumerate(entries) if entry.key in _PLACES]
        before = [(other, at) for other, at in known if other <= place]
        at = max(before)[1] + 1 if before else min(known)[1] if known else len(entries)
        if key == "metadata":
            at = len(entries)
        entries.insert(at, Entry(key=key, lines=lines, head=f"{key}:"))

    def _drop(self, key: str) -> None:
        self._parts.entries[:] = [entry for entry in self._parts.entries if entry.key != key]

    def _change_nested(self, sets: Mapping[str, Any], drops: set[str]) -> None:
        """Change the mapping ``metadata``: entry by entry where it is written in lines, else as a whole."""
        reading = self._reading
        entry = reading.top.get("metadata")
        newline = self._parts.newline
        if entry is None or reading.block is None:
            values = {key: value for key, value in {**reading.nested, **sets}.items() if key not in drops}
            lines = [f"{INDENT}{write_key(key)}: {write_value(value)}{newline}" for key, value in values.items()]
            reading.nested = values
            if entry is None:
                self._insert("metadata", ["metadata:" + newline, *lines])
            elif lines:
                entry.lines = [entry.head.rstrip(" \t") + newline, *lines]
            else:
                self._drop("metadata")
            return
        block = reading.block = [inner for inner in reading.block if inner.key not in drops]
        reading.nested = {key: value for key, value in reading.nested.items() if key not in drops}
        for key, value in sets.items():
            inner = next((inner for inner in block if inner.key == key), None)
            if inner is not None:
                inner.replace(write_value(value), keep_comment=True)
            else:
                head = f"{reading.indent}{write_key(key)}: "
                at = max((at for at, inner in enumerate(block) if inner.key is not None), default=len(block) - 1) + 1
                lines = [f"{head}{write_value(value)}{newline}"]
                block.insert(at, Entry(key=key, lines=lines, head=head, indent=reading.indent))
            reading.nested[key] = value
        entry.lines = [entry.lines[0], *(line for inner in block for line in inner.lines)]
        if not any(inner.key is not None or "".join(inner.lines).strip() for inner in block):
            self._drop("metadata")
