"""What may be stored: every value that comes from outside is checked here, once."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from lamina.storage.checks import CONTROL, bad, check_encodable, check_one_line, check_whole, shown
from lamina.types import MEMORY_TYPES

__all__ = [
    "MAX_TEXT",
    "check_description",
    "check_id",
    "check_importance",
    "check_metadata",
    "check_name",
    "check_position",
    "check_scope",
    "check_scopes",
    "check_tags",
    "check_text",
    "check_title",
    "check_type",
]

MAX_TEXT = 10_000_000
"""Characters of a memory's text."""
MAX_TITLE = 300
MAX_DESCRIPTION = 2_000
MAX_TAG = 100
MAX_TAGS = 100
MAX_SCOPE = 200
MAX_NAME = 2_000
MAX_METADATA_BYTES = 1_000_000
_MOST_METADATA_DEPTH = 50

_SCOPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+:-]*(/[A-Za-z0-9._@+:-]+)*")
_ID = re.compile(r"[A-Za-z0-9._:-]{8,200}")


def check_text(text: object) -> str:
    """Return a memory's text, unchanged.

    Raises:
        InvalidInputError: It is no text, says nothing, is too long, or holds a lone surrogate.
    """
    if not isinstance(text, str):
        raise bad(f"text is a {type(text).__name__}, not a string.", "Pass the memory's text as str.")
    if not text.strip():
        raise bad("text is empty.", "Pass something to remember.")
    if len(text) > MAX_TEXT:
        raise bad(
            f"text has {len(text):,} characters; at most {MAX_TEXT:,} fit in one memory.",
            "Cut it into several memories of one thread.",
        )
    check_encodable(text, "text")
    return text


def check_title(title: object) -> str | None:
    """Return a title: one line, at most 300 characters."""
    return _line(title, "title", MAX_TITLE)


def check_description(description: object) -> str | None:
    """Return a description: one line, at most 2,000 characters."""
    return _line(description, "description", MAX_DESCRIPTION)


def check_name(value: object, what: str) -> str | None:
    """Return a source or thread: a line of at most 2,000 characters."""
    return _line(value, what, MAX_NAME)


def check_type(kind: object) -> str:
    """Return a memory's type."""
    if not isinstance(kind, str) or kind not in MEMORY_TYPES:
        raise bad(f"{shown(kind)} is no type of memory.", f"Use one of {', '.join(MEMORY_TYPES)}.")
    return kind


def check_scope(scope: object) -> str:
    """Return a scope's name, such as ``private``, ``team`` or ``user/alice``."""
    if not isinstance(scope, str) or len(scope) > MAX_SCOPE or not _SCOPE.fullmatch(scope):
        raise bad(
            f"{shown(scope)} is no scope name.",
            "Use letters, digits and . _ @ + : - with / between the parts, such as private, team or user/alice.",
        )
    if any(part in (".", "..") for part in scope.split("/")):
        raise bad(f"{scope!r} is no scope name.", "A part may not be . or ..")
    return scope


def check_scopes(scopes: object) -> tuple[str, ...] | None:
    """Return the scopes that a handle is narrowed to, without repetition; one name stands for itself, None for all."""
    if scopes is None:
        return None
    if isinstance(scopes, str):
        return (check_scope(scopes),)
    if not isinstance(scopes, Iterable):
        raise bad(f"scopes is {shown(scopes)}, not a list.", "Pass a list of scope names.")
    return tuple(dict.fromkeys(check_scope(scope) for scope in scopes))


def check_id(id: object) -> str:
    """Return a memory's id as it was given; that it exists is not checked here."""
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise bad(f"{shown(id)} is no memory id.", "An id has at least 8 letters or digits; `lamina list` shows them.")
    return id


def check_tags(tags: object) -> tuple[str, ...]:
    """Return tags without repetition, in order."""
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise bad(f"tags is {shown(tags)}, not a list.", "Pass a list of strings.")
    found: dict[str, None] = {}
    for tag in tags:
        if not isinstance(tag, str) or not tag.strip() or len(tag) > MAX_TAG or CONTROL.search(tag):
            raise bad(f"{shown(tag)} is no tag.", f"A tag is one line of at most {MAX_TAG} characters.")
        found[check_encodable(tag.strip(), "tag")] = None
    if len(found) > MAX_TAGS:
        raise bad(f"{len(found)} tags are given; at most {MAX_TAGS} fit.", "Put the rest into metadata.")
    return tuple(found)


def check_importance(importance: object) -> float:
    """Return an importance from 0 to 1."""
    number = isinstance(importance, (int, float)) and not isinstance(importance, bool)
    if not number or not 0 <= importance <= 1:  # type: ignore[operator]
        raise bad(f"importance is {shown(importance)}.", "Pass a number from 0 to 1; 0.5 is usual.")
    return float(importance)  # type: ignore[arg-type]


def check_position(position: object) -> int | None:
    """Return a place in a thread: a whole number from 0."""
    return None if position is None else check_whole(position, "position", 0, 2**53)


def check_metadata(metadata: object) -> dict[str, Any]:
    """Return metadata as plain JSON values.

    Raises:
        InvalidInputError: It is no mapping of names to JSON values, or over 1 MB.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise bad(f"metadata is a {type(metadata).__name__}, not a mapping.", "Pass a dict of JSON values.")
    plain = {key: _plain(value, str(key), 1) for key, value in metadata.items()}
    if any(not isinstance(key, str) or not key for key in plain):
        raise bad("metadata has a key that is no name.", "Use non-empty strings as keys.")
    try:
        size = len(json.dumps(plain, ensure_ascii=False).encode("utf-8"))
    except UnicodeEncodeError:
        raise bad("metadata holds a lone surrogate.", "Pass text that UTF-8 can hold.") from None
    if size > MAX_METADATA_BYTES:
        raise bad(f"metadata has {size:,} bytes; at most {MAX_METADATA_BYTES:,} fit.", "Put long values into the text.")
    return plain


def _plain(value: object, key: str, depth: int) -> Any:
    if depth > _MOST_METADATA_DEPTH:
        raise bad(f"metadata[{key!r}] is nested too deeply.", "Flatten it.")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        if abs(value) >= 2**63:
            raise bad(f"metadata[{key!r}] is {shown(value)}, beyond 64 bits.", "Store it as a string.")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise bad(f"metadata[{key!r}] is {value}.", "JSON holds finite numbers only.")
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(item, f"{key}.{name}", depth + 1) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, key, depth + 1) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    raise bad(f"metadata[{key!r}] is a {type(value).__name__}.", "Use JSON values: text, numbers, lists, objects.")


def _line(value: object, what: str, most: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise bad(f"{what} is a {type(value).__name__}, not a string.", f"Pass {what} as str.")
    return check_one_line(value, what, most)
