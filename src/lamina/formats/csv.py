"""CSV: a header row of field names, then one memory a row.

``tags`` are separated by semicolons (or are a JSON list), ``metadata`` is a JSON object, a column ``metadata.KEY``
sets one key of it, times are ISO 8601. An empty cell is a field that is not given.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO, Final

from lamina.errors import InvalidInputError
from lamina.formats.fields import (
    MAX_TEXT,
    SETTABLE,
    TEXT_HINT,
    UNKNOWN_HINT,
    FieldError,
    OnProblem,
    ReadOptions,
    Record,
    build_item,
    memory_to_dict,
    problem,
    target,
)
from lamina.formats.lines import raw_lines
from lamina.types import Memory

__all__ = ["read_csv", "write_csv"]

_DELIMITERS: Final = (",", ";", "\t")
_QUOTE_HINT: Final = "Is a quote left open?"


def read_csv(stream: BinaryIO, options: ReadOptions, on_problem: OnProblem) -> Iterator[Record]:
    """Reads one memory a row; empty rows are passed over. See :func:`lamina.formats.read`.

    A header with unknown columns or without a text column stops the whole file: every row would fail alike.
    """
    # The module's limit (131,072 characters) belongs to the process; it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_TEXT + 1))
    lines = _Lines(raw_lines(stream, options, on_problem))
    first = next((line for line in lines if not line.isspace()), None)
    if first is None:
        return
    delimiter = options.delimiter or max(_DELIMITERS, key=first.count)
    rows = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows)]
    except csv.Error as error:
        raise problem(options, lines.number, f"not CSV: {error}.", _QUOTE_HINT) from None
    _check_header(header, options, lines.number)
    while True:
        number = lines.number + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            on_problem(problem(options, number, f"not CSV: {error}.", _QUOTE_HINT))
            continue
        if not row:
            continue
        try:
            record = _record(row, header, options, number)
        except InvalidInputError as error:
            on_problem(error)
        else:
            yield record


class _Lines(Iterator[str]):
    """Decoded lines that remember the number of the last one.

    Bytes that are not UTF-8 become lone surrogates, by which the row is known and refused: so one bad cell costs its
    row and not the rest of the file.
    """

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self._lines = lines
        self.number = 0

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        return line.decode("utf-8", "surrogateescape")


def _check_header(header: list[str], options: ReadOptions, line: int) -> None:
    there = f"there are {', '.join(header)}."
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise problem(options, line, f"the column {twice[0]!r} is there twice.")
    for column in options.fields.values():
        if column not in header:
            raise problem(options, line, f"there is no column {column!r}; {there}")
    targets = [target(name, options, cells=True) for name in header]
    if "text" not in targets:
        hint = f"The first row names the columns. {TEXT_HINT}"
        raise problem(options, line, f"no column is the text; {there}", hint)
    if None in targets:
        name = header[targets.index(None)]
        raise problem(options, line, f"the column {name!r} is no field of a memory.", UNKNOWN_HINT)


def _record(row: list[str], header: list[str], options: ReadOptions, number: int) -> Record:
    if len(row) != len(header):
        raise problem(options, number, f"the row has {len(row)} cells, the header has {len(header)}.")
    for name, cell in zip(header, row, strict=True):
        if not cell.isascii() and any("\udc80" <= char <= "\udcff" for char in cell):
            raise problem(options, number, f"the cell {name!r} is not UTF-8.", "Save the file as UTF-8.")
    try:
        return Record(number, build_item(dict(zip(header, row, strict=True)), options, cells=True))
    except FieldError as error:
        raise problem(options, number, str(error), error.hint) from None


def write_csv(memories: Iterable[Memory]) -> Iterator[bytes]:
    """Writes a header and one row a memory: ``id``, the fields that :func:`read_csv` sets, and what ended it."""
    columns = ("id", *SETTABLE, "updated_at", "superseded_by")
    yield _row(columns)
    for memory in memories:
        values = memory_to_dict(memory)
        values["tags"] = _tags_cell(memory.tags)
        values["metadata"] = json.dumps(values["metadata"], ensure_ascii=False) if memory.metadata else ""
        yield _row(values[name] for name in columns)


def _tags_cell(tags: tuple[str, ...]) -> str:
    plain = all(tag and tag == tag.strip() and not set(tag) & set(";,[") for tag in tags)
    return ";".join(tags) if plain else json.dumps(list(tags), ensure_ascii=False)


def _row(values: Iterable[Any]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerow(["" if value is None else value for value in values])
    return buffer.getvalue().encode("utf-8")
