"""What may be stored of sessions and patterns: every value from outside is checked here, once."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, cast

from lamina.sessions.masking import encodable, mask, suspicious
from lamina.storage.checks import bad, check_encodable, check_one_line, check_time, shown
from lamina.storage.records import now_micros

__all__ = [
    "check_age",
    "check_choice",
    "check_files",
    "check_flag",
    "check_id",
    "check_json",
    "check_line",
    "check_name",
    "check_number",
    "check_path",
    "check_strings",
    "check_text",
    "check_zone",
    "moment",
    "safe_id",
]

MAX_LINE = 2_000
"""Characters of a name, a title, a path, a step."""
MAX_TEXT = 10_000_000
"""Characters of a turn or result that is taken; a million of them are kept."""
MAX_JSON_BYTES = 1_000_000
_ID = re.compile(r"[^\s\x00-\x1f\x7f/\\][^\s\x00-\x1f\x7f]{0,199}")
_NO_ID = re.compile(r"[\s\x00-\x1f\x7f]")


def check_id(id: object, what: str = "session") -> str:
    """Return an id: 1 to 200 characters without white space, not beginning with a slash."""
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise bad(f"{shown(id)} is no id of a {what}.", "An id is a word of at most 200 characters.")
    return check_encodable(id, "id")


def check_name(id: object, what: str = "session") -> str:
    """Return an id that something stored may have: any text that a store can hold."""
    if not isinstance(id, str) or not id:
        raise bad(f"{shown(id)} is no id of a {what}.", "An id is a word of at most 200 characters.")
    return check_encodable(id, "id")


def safe_id(text: str) -> str:
    """Return an id of what a record calls its session, without secrets: the same where it is an id.

    Else each character that an id may not have is ``_``, and eight digits of the BLAKE2b of the whole follow, so that
    two names stay two: ``my session`` becomes ``my_session-64beb0a1``.
    """
    if _ID.fullmatch(text) and text.isascii() and not suspicious(text):
        return text
    masked, count = mask(encodable(text))
    if masked == text and _ID.fullmatch(text):
        return text
    word = _NO_ID.sub("_", masked if count == 0 else masked.replace("[", "").replace("]", ""))[:180].lstrip("_/\\")
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{word or 'session'}-{digest}"


def check_line(value: object, what: str, *, most: int = MAX_LINE) -> str | None:
    """Return one line of text, or None where there is none."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise bad(f"{what} is {shown(value)}, not a string.", f"Pass {what} as str.")
    return check_one_line(value, what, most)


def check_text(value: object, what: str) -> str:
    """Return a text of up to ten million characters; it may be empty. What is kept of it, ``MAX_RESULT`` says."""
    if not isinstance(value, str):
        raise bad(f"{what} is {shown(value)}, not a string.", f"Pass {what} as str.")
    if len(value) > MAX_TEXT:
        raise bad(f"{what} has {len(value):,} characters; at most {MAX_TEXT:,} fit.", "Cut it into several.")
    return check_encodable(value, what)


def check_strings(values: object, what: str, *, least: int = 0, most: int = 1_000) -> tuple[str, ...]:
    """Return lines of text, in order.

    Args:
        values: A list of strings; one string alone is refused, since it would be read letter by letter.
        what: Their name, for messages.
        least: How many there must be.
        most: How many there may be.
    """
    if not isinstance(values, (list, tuple)) and (isinstance(values, (str, bytes)) or not isinstance(values, Iterable)):
        raise bad(f"{what} is {shown(values)}, not a list.", "Pass a list of strings.")
    found = []
    entry = f"an entry of {what}"
    for value in values:
        line = check_line(value, entry)
        if line is None:
            raise bad(f"{what} has an empty entry.", "Leave it out.")
        found.append(line)
        if len(found) > most:
            raise bad(f"{what} has more than {most:,} entries.", "Record less at once.")
    if len(found) < least:
        raise bad(f"{what} is empty.", "Pass at least one.")
    return tuple(found)


def check_files(values: object) -> tuple[str, ...]:
    """Return paths without repetition, in order; path objects become text."""
    if isinstance(values, (list, tuple)) and not values:
        return ()
    if isinstance(values, (str, bytes, os.PathLike)) or not isinstance(values, Iterable):
        raise bad(f"files is {shown(values)}, not a list.", "Pass a list of paths.")
    texts = [value if isinstance(value, str) else _path_text(value) for value in values]
    return tuple(dict.fromkeys(check_strings(texts, "files")))


def check_path(value: object) -> Path:
    """Return a path, with ``~`` filled in."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str) or "\0" in os.fspath(value):
        raise bad(f"{shown(value)} is no path.", "Pass the path of a file or folder.")
    return Path(os.fspath(value)).expanduser()


def _path_text(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def check_flag(value: object, what: str) -> bool | None:
    """Return True, False or None."""
    if value is None or isinstance(value, bool):
        return value
    raise bad(f"{what} is {shown(value)}, not True, False or None.", "Pass how it went.")


def check_number(value: object, what: str, low: float, high: float) -> float:
    """Return a finite number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise bad(f"{what} is {shown(value)}, not a number.", f"Pass a number from {low:g} to {high:g}.")
    if not low <= value <= high:
        raise bad(f"{what} is {shown(value)}.", f"Pass a number from {low:g} to {high:g}.")
    return float(value)


def check_choice(value: object, what: str, choices: tuple[str, ...]) -> str:
    """Return one of several words."""
    if not isinstance(value, str) or value not in choices:
        raise bad(f"{what} is {shown(value)}.", f"Use one of {', '.join(choices)}.")
    return value


def check_age(value: object, what: str) -> timedelta:
    """Return a time span of no less than nothing; one longer than 9,000 years is as good as that."""
    if not isinstance(value, timedelta):
        raise bad(f"{what} is {shown(value)}, not a timedelta.", f"Pass {what} as timedelta(days=30).")
    if value < timedelta():
        raise bad(f"{what} is {shown(value)}.", "Pass a time span of no less than nothing.")
    return min(value, timedelta(days=9_000 * 365))


def moment(value: object, what: str = "at") -> int:
    """Return a time as microseconds since 1970; now for None."""
    found = check_time(value, what)
    return now_micros() if found is None else found


def check_zone(zone: str | tzinfo) -> tzinfo:
    """Return a time zone, by its IANA name or as a ``tzinfo``.

    Raises:
        InvalidInputError: There is none of this name.
    """
    if isinstance(zone, tzinfo):
        return zone
    if zone == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError, IsADirectoryError):
        raise bad(f"{shown(zone)} is no time zone.", "Use a name such as UTC or Europe/Berlin.") from None


def check_json(value: object, what: str) -> dict[str, Any]:
    """Return a mapping of names to JSON values, at most 1 MB.

    Raises:
        InvalidInputError: It is none.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise bad(f"{what} is {shown(value)}, not a mapping.", "Pass a dict of JSON values.")
    try:
        text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False, default=_plain)
        size = len(text.encode("utf-8"))
    except (TypeError, ValueError, RecursionError) as error:
        raise bad(
            f"{what} holds what JSON does not: {str(error)[:200]}.", "Use text, numbers, lists, objects."
        ) from None
    if size > MAX_JSON_BYTES:
        raise bad(f"{what} has {size:,} bytes; at most {MAX_JSON_BYTES:,} fit.", "Keep less of it.")
    return cast("dict[str, Any]", json.loads(text))


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"a {type(value).__name__}")
