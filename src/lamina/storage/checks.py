"""What every domain checks of a value from outside in the same way, and how a message shows one."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from lamina.errors import InvalidInputError
from lamina.storage.records import to_micros

__all__ = ["CONTROL", "bad", "check_encodable", "check_one_line", "check_time", "check_whole", "shown"]

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""What no line of text has."""
_MOST_SHOWN = 120
_FIRST_TIME = to_micros(datetime.min.replace(tzinfo=UTC))
_LAST_TIME = to_micros(datetime.max.replace(tzinfo=UTC))


def bad(message: str, hint: str) -> InvalidInputError:
    """Return the error for a value that cannot be accepted."""
    return InvalidInputError(message, hint=hint)


def shown(value: object) -> str:
    """Return a value as a message may show it: short, whatever it is."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a whole number of 5,000 digits, or somebody's broken __repr__
        return f"some {type(value).__name__}"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}… ({len(text):,} characters)"


def check_encodable(text: str, what: str) -> str:
    """Return a text that UTF-8 can hold.

    Raises:
        InvalidInputError: It holds a lone surrogate.
    """
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise bad(
            f"{what} holds a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}.",
            "Decode the input with errors='replace', or remove it.",
        ) from None
    return text


def check_one_line(text: str, what: str, most: int) -> str | None:
    """Return a text without the blanks around it, or None where nothing is left.

    Raises:
        InvalidInputError: It is more than one line, has a control character or a lone surrogate, or over ``most``
            characters.
    """
    plain = text.isascii() and text.isprintable() and 0 < len(text) <= most
    if plain and text[0] != " " and text[-1] != " ":  # the usual line needs no second look
        return text
    line = text.strip()
    if not line:
        return None
    if CONTROL.search(line):
        raise bad(f"{what} has more than one line or a control character.", f"Keep {what} to one line.")
    if len(line) > most:
        raise bad(f"{what} has {len(line):,} characters; at most {most:,} fit.", "Shorten it.")
    return check_encodable(line, what)


def check_whole(value: object, what: str, low: int, high: int) -> int:
    """Return a whole number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise bad(f"{what} is {shown(value)}.", f"Pass a whole number from {low:,} to {high:,}.")
    return value


def check_time(value: object, what: str) -> int | None:
    """Return a time as microseconds since 1970; one without a zone is read as UTC, None stays None."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise bad(f"{what} is {shown(value)}, not a datetime.", "Pass a datetime; datetime.fromisoformat reads one.")
    micros = to_micros(value, what)
    if not _FIRST_TIME <= micros <= _LAST_TIME:  # a zone may push the first or the last day out of UTC's years
        raise bad(f"{what} is out of range.", "Use the years 1 to 9999, in UTC.")
    return micros
