"""Values of front matter: YAML read leniently and without objects.

What people write most (words, numbers, quoted lines, short lists) is read by hand. The rest goes through the events of
a YAML parser, from which JSON values are built here: tags construct nothing, aliases are refused, depth is bounded.
Plain scalars follow the core schema of YAML 1.2.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from typing import Any, Final

__all__ = [
    "INDICATOR",
    "MAX_DEPTH",
    "MAX_INT",
    "NOT_PLAIN",
    "NULLS",
    "SURROGATE",
    "TIME",
    "fold",
    "read_datetime",
    "read_value",
    "resolve",
    "unquote",
    "word",
]

Resolve = Callable[[str], Any]

NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
"""Plain words that say that there is no value (YAML 1.2, section 10.3.2)."""

MAX_DEPTH: Final = 50
"""Lists and mappings within each other, as for a memory's metadata."""

MAX_INT = 2**63
_MAX_TIME = 64  # characters of a time

_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
TIME = re.compile(
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]*)?)?"
    r"(?:[ \t]*(?:[Zz]|[-+][0-9]{1,2}(?::?[0-9]{2})?))?)?"
)
INDICATOR = re.compile(r"[,\[\]{}#&*!|>'\"%@`]|[-?:](?:[ \t]|$)")
NOT_PLAIN = re.compile(r":(?:[ \t]|$)|[ \t]#")
_COMMENT = re.compile(r"(?<![ \t])[ \t]+#.*", re.DOTALL)  # looking back keeps a long run of spaces linear
_AFTER_VALUE = re.compile(r"[ \t]*(?:[ \t]#.*)?", re.DOTALL)
SURROGATE = re.compile("[\ud800-\udfff]")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SINGLE = re.compile(r"'((?:[^']|'')*)'", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b", " ": " ",
    "\t": "\t", '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip
_FLOW_ITEM = re.compile(
    r"""[ \t]*(?:("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')[ \t]*|([^\s,\[\]{}#&*!|>'"%@`?:-][^,\[\]{}#:]*))(,|$)"""
)
_LIST_ITEM = re.compile(r"([ \t]*)-[ \t]+(.*)", re.DOTALL)


class _UnreadableError(Exception):
    """A value that is no YAML, or no JSON value; never leaves this module."""


def resolve(plain: str) -> Any:
    """Return what a plain scalar means: None, a bool, an int, a finite float, else a string.

    Times become ISO 8601 strings. Whole numbers beyond 64 bits or with leading zeros stay strings, so that nothing is
    lost.
    """
    if plain in NULLS:
        return None
    first = plain[0]
    if first in "tTfF":
        return _BOOLS.get(plain, plain)
    if first not in "+-.0123456789":
        return plain
    if _NUMBER.fullmatch(plain):
        value = int(plain, 0) if len(plain) <= 25 else MAX_INT
        return value if abs(value) < MAX_INT else plain
    if _FLOAT.fullmatch(plain) and not plain.lstrip("+-").isdigit():
        number = float(plain)
        return number if math.isfinite(number) else plain
    if TIME.fullmatch(plain):
        moment = read_datetime(plain)
        return plain if moment is None else moment.isoformat()
    return plain


def word(plain: str) -> str | None:
    """Return a plain scalar as it is written, or None where it says null."""
    return None if plain in NULLS else plain


def read_datetime(text: str) -> datetime | date | None:
    """Return the moment or the day that a text names in the forms of ISO 8601 or YAML, or None."""
    if len(text) > _MAX_TIME:
        return None
    text = re.sub(r"[ \t]+(?=[-+Zz])", "", text.strip())
    try:
        if len(text) <= 10:
            return date.fromisoformat(text)
        return datetime.fromisoformat(text.replace("z", "Z"))
    except ValueError:
        return None


def unquote(text: str) -> tuple[str, str] | None:
    """Return the quoted string that ``text`` begins with and what stands after it, or None."""
    double = text.startswith('"')
    found = (_DOUBLE if double else _SINGLE).match(text)
    if found is None:
        return None
    value = found[1]
    if not double:
        value = value.replace("''", "'")
    elif "\\" in value:
        try:
            value = _joined(_ESCAPE.sub(_unescaped, value))
        except _UnreadableError:
            return None
    return value, text[found.end() :]


def _unescaped(found: re.Match[str]) -> str:
    number = found[1] or found[2] or found[3]
    try:
        return chr(int(number, 16)) if number else _ESCAPES[found[4]]
    except (KeyError, ValueError, OverflowError):
        raise _UnreadableError(f"{found[0]} is no escape") from None


def _joined(text: str) -> str:
    """Join the halves of characters that were escaped as JSON does it; a half that is alone is refused."""
    if not SURROGATE.search(text):
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise _UnreadableError("half of a character") from None


def fold(lines: Sequence[str]) -> str:
    """Return lines as one text: a line end is a space, an empty line a line end, as YAML folds them."""
    text, ends = "", 0
    for line in (line.strip(" \t\r\n") for line in lines):
        if not line:
            ends += 1
        elif text:
            text += ("\n" * ends or " ") + line
            ends = 0
        else:
            text, ends = line, 0
    return text


def read_value(first: str, rest: Sequence[str], as_plain: Resolve = resolve) -> tuple[Any, tuple[str, ...]]:
    """Return the JSON value of an entry, and what is off about it.

    Args:
        first: What stands on the key's line, without white space around it.
        rest: The lines below it, with their line ends.
        as_plain: What a plain scalar means: :func:`resolve`, or :func:`word` for strings as they are written.

    Returns:
        The value and messages. A value that is no YAML is the text itself, and a message says so.
    """
    if not any(line.strip(" \t\r\n") for line in rest):
        quoted = unquote(first) if first[:1] in ('"', "'") else None
        if quoted and _AFTER_VALUE.fullmatch(quoted[1]):
            return quoted[0], ()
        if not INDICATOR.match(first):
            plain = _COMMENT.sub("", first)
            if not NOT_PLAIN.search(plain):
                return as_plain(plain), ()
            return first, ("a colon or '#' stands in a value without quotes; it was read as text",)
        if first.startswith("#"):
            return None, ()
        if first.startswith(("[", "{")) and (found := _flow(first, as_plain)) is not None:
            return found[0], ()
    elif not first and (items := _block_list(rest, as_plain)) is not None:
        return items, ()
    try:
        return _load(first, rest, as_plain)
    except _UnreadableError as error:
        text = "\n".join(line.strip(" \t\r\n") for line in (first, *rest)).strip()
        return text, (f"it is no YAML value ({error}); it was read as text",)


def _flow(text: str, as_plain: Resolve) -> tuple[Any] | None:
    """Read JSON, or a list of scalars in brackets; None where it takes more."""
    if text.endswith("]") and text.startswith("["):
        items: list[Any] = []
        inner, at = text[1:-1], 0
        while at < len(inner) and (found := _FLOW_ITEM.match(inner, at)):
            quoted = unquote(found[1]) if found[1] else None
            if found[1] and quoted is None:
                return None
            items.append(quoted[0] if quoted else as_plain(found[2].rstrip(" \t")))
            at = found.end()
        if at == len(inner) or not inner.strip():
            return (items,)
    try:
        value = json.loads(
            text, object_pairs_hook=_once, parse_int=as_plain, parse_float=as_plain, parse_constant=_refused
        )
        return (_bounded(value, 1),)
    except (ValueError, RecursionError, _UnreadableError):
        return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _bounded(value: Any, depth: int) -> Any:
    """Refuse what is nested too deeply, and join escaped halves of characters."""
    if isinstance(value, str):
        return _joined(value)
    if not isinstance(value, (dict, list)):
        return value
    if depth > MAX_DEPTH:
        raise _UnreadableError("it is nested too deeply")
    if isinstance(value, dict):
        return {_joined(key): _bounded(item, depth + 1) for key, item in value.items()}
    return [_bounded(item, depth + 1) for item in value]


def _block_list(lines: Sequence[str], as_plain: Resolve) -> list[Any] | None:
    """Read a list of simple scalars, a dash before each; None where it takes more."""
    items: list[Any] = []
    indents = set()
    for line in lines:
        bare = line.rstrip(" \t\r\n")
        found = _LIST_ITEM.match(bare)
        if found is None or INDICATOR.match(found[2]) or NOT_PLAIN.search(found[2]):
            return None
        indents.add(found[1])
        items.append(as_plain(found[2]))
    return items if len(indents) == 1 else None


def _load(first: str, rest: Sequence[str], as_plain: Resolve) -> tuple[Any, tuple[str, ...]]:
    """Build the value from a YAML parser's events."""
    from ruamel.yaml import YAML

    lines = [line.rstrip("\r\n") for line in rest]
    text = "\n".join(("--- " + first, *map(_with_spaces, lines), ""))
    notes: list[str] = []
    try:
        events = iter(YAML(typ="safe", pure=True).parse(text))
        next(events), next(events)  # the stream, the document
        value = _build(next(events), events, as_plain, notes, 1)
        names = [type(event).__name__ for event in events]
    except _UnreadableError:
        raise
    except Exception as error:  # noqa: BLE001 - a parser that stumbles in its own way has not read it either
        problem = getattr(error, "problem", None) or type(error).__name__
        raise _UnreadableError(str(problem)) from None
    if names != ["DocumentEndEvent", "StreamEndEvent"]:
        raise _UnreadableError("more than one document")
    return value, tuple(notes)


def _with_spaces(line: str) -> str:
    """Return a line whose indentation has no tabs, which YAML forbids there and people type."""
    bare = line.lstrip(" \t")
    return line[: len(line) - len(bare)].replace("\t", "    ") + bare


def _build(event: Any, events: Iterator[Any], as_plain: Resolve, notes: list[str], depth: int) -> Any:
    kind = type(event).__name__
    if kind == "ScalarEvent":
        tagged = event.tag is not None and str(event.tag).endswith(":str")
        return _joined(event.value) if event.style or tagged else as_plain(event.value)
    if kind == "AliasEvent":
        raise _UnreadableError("aliases are not followed")
    if depth > MAX_DEPTH:
        raise _UnreadableError("it is nested too deeply")
    if kind == "SequenceStartEvent":
        items = []
        while type(event := next(events)).__name__ != "SequenceEndEvent":
            items.append(_build(event, events, as_plain, notes, depth + 1))
        return items
    found: dict[str, Any] = {}
    while type(event := next(events)).__name__ != "MappingEndEvent":
        if type(event).__name__ != "ScalarEvent":
            raise _UnreadableError("a key is no name")
        key = _joined(event.value)
        value = _build(next(events), events, as_plain, notes, depth + 1)
        if key in found:
            notes.append(f"the key {key!r} stands twice; the first counts")
        else:
            found[key] = value
    return found
