"""JSON lines: one object a line, each a memory with all its fields."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NoReturn

from lamina.errors import InvalidInputError
from lamina.formats.fields import FieldError, OnProblem, ReadOptions, Record, build_item, memory_to_dict, problem
from lamina.formats.lines import bare_lines, decode
from lamina.types import Memory

__all__ = ["read_jsonl", "write_jsonl"]


def read_jsonl(stream: BinaryIO, options: ReadOptions, on_problem: OnProblem) -> Iterator[Record]:
    """Reads one memory a line; empty lines are passed over. See :func:`lamina.formats.read`."""
    for number, line in bare_lines(stream, options, on_problem):
        if not line or line.isspace():
            continue
        try:
            record = _record(line, options, number)
        except InvalidInputError as error:
            on_problem(error)
        else:
            yield record


def _record(line: bytes, options: ReadOptions, number: int) -> Record:
    text = decode(line, options, number)
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except json.JSONDecodeError as error:
        message = f"not JSON: {error.msg.lower()} at column {error.colno}."
        raise problem(options, number, message, _HINT) from None
    except RecursionError:
        raise problem(options, number, "the JSON is nested too deeply.") from None
    except ValueError as error:
        raise problem(options, number, str(error)) from None
    if not isinstance(value, dict):
        raise problem(options, number, "not a JSON object.", _HINT)
    try:
        return Record(number, build_item(value, options))
    except FieldError as error:
        raise problem(options, number, str(error), error.hint) from None


_HINT = 'Each line is one object such as {"text": "..."}; a JSON list has to be split into lines.'


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number.")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses a key that is there twice, of which one value would be lost without a word."""
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} is there twice.")
            seen.add(key)
    return value


def write_jsonl(memories: Iterable[Memory]) -> Iterator[bytes]:
    """Writes one object a line with every field, ``id`` and the store's own counters included for reference."""
    for memory in memories:
        yield json.dumps(memory_to_dict(memory), ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"
