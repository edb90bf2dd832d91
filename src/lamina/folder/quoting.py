"""Values of front matter as they are written: on one line, and so that every YAML reader agrees.

What is written plain is a string in YAML 1.1 and in 1.2; lists and mappings within each other are JSON, which is YAML.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from typing import Any

from lamina.errors import InvalidInputError
from lamina.folder.values import INDICATOR, MAX_DEPTH, MAX_INT, NOT_PLAIN, SURROGATE, TIME

__all__ = ["check_json", "same", "write_key", "write_scalar", "write_value"]

_MAX_KEY = 1_000  # YAML lets a key that is written on one line have 1,024 characters (section 7.4.2)

_WORDS_1_1 = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", "=", "<<"})
_OTHER_1_1 = re.compile(  # what some reader takes for a number: binary, octal, underscores, base 60, infinities
    r"[-+]?0b[01_]+|[-+]?0[xX][0-9a-fA-F_]+|[-+]?0o?[0-7_]+|[-+]?[0-9][0-9_]*(?::[0-9]{1,2})*(?:\.[0-9_]*)?"
    r"|[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_UNPRINTABLE_ASCII = re.compile("[^\x20-\x7e]")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_WRITTEN = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def write_scalar(value: str | float | None, *, flow: bool = False) -> str:
    """Return a JSON scalar as YAML on one line; text is plain where every reader takes it for the same text.

    Args:
        value: A string, bool, finite number or None.
        flow: Whether it stands within brackets, where commas and colons end a plain scalar.
    """
    if value is None:
        return "null"
    if isinstance(value, str):
        return value if _is_plain(value, flow=flow) else _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text  # YAML 1.1 wants the point


def _is_plain(text: str, *, flow: bool) -> bool:
    return not (
        not text
        or text.strip(" ") != text
        or text.lower() in _WORDS_1_1
        or INDICATOR.match(text)
        or NOT_PLAIN.search(text)
        or _unprintable(text).search(text)
        or (text[0] in "-+.0123456789" and (_OTHER_1_1.fullmatch(text) or TIME.fullmatch(text)))
        or (flow and (text[0] in "-?:" or any(mark in text for mark in ",[]{}:#?")))
    )


def _quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_unprintable(text).sub(_escaped, text)}"'


def _unprintable(text: str) -> re.Pattern[str]:
    """Return what finds characters that YAML wants escaped (section 5.1), or that a reader takes for line ends."""
    return _UNPRINTABLE_ASCII if text.isascii() else _unprintable_any()


@cache
def _unprintable_any() -> re.Pattern[str]:
    return re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def _escaped(found: re.Match[str]) -> str:
    return _WRITTEN.get(found[0]) or f"\\u{ord(found[0]):04x}"


def write_value(value: Any) -> str:
    """Return a JSON value as YAML on one line: a scalar, a list in brackets, or a mapping in braces."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(key)}: {_within(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        if any(isinstance(item, (Mapping, list, tuple)) for item in value):
            return "[" + ", ".join(map(_within, value)) + "]"
        return "[" + ", ".join(write_scalar(item, flow=True) for item in value) + "]"
    return write_scalar(value)


def _within(value: Any) -> str:
    """Write JSON, which is YAML as well and is read without a YAML parser."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_within, value)) + "]"
    return write_value(value)


def write_key(key: str) -> str:
    """Return a mapping's key, quoted unless it is a plain name.

    Raises:
        InvalidInputError: It is longer than YAML allows.
    """
    written = key if _PLAIN_KEY.fullmatch(key) and key.lower() not in _WORDS_1_1 else _quoted(key)
    if len(written) > _MAX_KEY:
        raise InvalidInputError(
            f"A key of metadata has {len(written):,} characters; at most {_MAX_KEY:,} fit into front matter.",
            hint="Shorten it.",
            reason="metadata",
        )
    return written


def check_json(value: object, what: str = "metadata", depth: int = 0) -> Any:
    """Return a value as plain JSON: dates as ISO 8601 strings, tuples as lists.

    Raises:
        InvalidInputError: It holds something that is no JSON value, a whole number beyond 64 bits, half a character,
            or is nested too deeply.
    """
    problem = f"is a {type(value).__name__}"
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not SURROGATE.search(value):
            return value
        problem = "holds a lone surrogate"
    elif isinstance(value, int):
        if abs(value) < MAX_INT:
            return value
        problem = "is beyond 64 bits"
    elif isinstance(value, float):
        if math.isfinite(value):
            return value
        problem = f"is {value}"
    elif isinstance(value, (datetime, date)):
        return value.isoformat()
    elif depth > MAX_DEPTH:
        problem = "is nested too deeply"
    elif isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {check_json(key, what): check_json(item, f"{what}.{key}", depth + 1) for key, item in value.items()}
        problem = "has a key that is no string"
    elif isinstance(value, (list, tuple)):
        return [check_json(item, what, depth + 1) for item in value]
    raise InvalidInputError(
        f"{what[:120]!r} {problem}.", hint="Use JSON values: text, finite numbers, lists, objects.", reason="metadata"
    )


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are the same, where 1, 1.0 and true are three values."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right)
