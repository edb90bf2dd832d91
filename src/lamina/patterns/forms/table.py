"""Patterns as CSV: a row for each use, the pattern's own columns repeated; lists and objects are JSON in a cell."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lamina.errors import InvalidInputError
from lamina.fs import translate
from lamina.patterns.forms.entries import HEAD, USE

__all__ = ["read_csv", "write_csv"]

_NESTED = frozenset(("steps", "context", "files", "tools"))
_MAX_CELL = 16 << 20


def write_csv(entries: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield the header and a line a use; a pattern without uses has one line whose ``at`` is empty."""
    yield _line((*HEAD, *USE))
    for entry in entries:
        head = [_cell(name, entry[name]) for name in HEAD]
        for use in entry["uses"] or [{}]:
            yield _line([*head, *(_cell(name, use.get(name)) for name in USE)])


def _line(values: Iterable[Any]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue().encode("utf-8")


def _cell(name: str, value: Any) -> str:
    if value is None or value == "":
        return ""
    if name in _NESTED:
        return json.dumps(value, ensure_ascii=False) if value else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def read_csv(path: Path, problems: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield ``(place, entry)``; rows of one pattern that stand together are one entry.

    Raises:
        InvalidInputError: It has no header of ours, or is not UTF-8.
    """
    try:
        csv.field_size_limit(_MAX_CELL)
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream, strict=True)
            missing = [name for name in ("type", "steps", "at", "success") if name not in (rows.fieldnames or ())]
            if missing:
                raise InvalidInputError(
                    f"{path} has no column {', '.join(missing)}.", hint="Was it written by `lamina patterns export`?"
                )
            yield from _entries(path, rows, problems)
    except OSError as error:
        raise translate(error, path, "read") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{path} cannot be read as CSV: {error}.", hint="Save it as UTF-8.") from None


def _entries(path: Path, rows: Iterable[dict[str, Any]], problems: list[str]) -> Iterator[tuple[str, Any]]:
    entry: dict[str, Any] | None = None
    where = ""
    for number, row in enumerate(rows, 2):
        try:
            values = {name: _value(name, row.get(name)) for name in (*HEAD, *USE)}
        except ValueError as error:
            problems.append(f"{path}: row {number}: {error}")
            continue
        head = {name: values[name] for name in HEAD}
        if entry is None or any(entry[name] != head[name] for name in ("type", "steps")):
            if entry is not None:
                yield where, entry
            entry, where = {**head, "uses": []}, f"{path}: row {number}"
        if values["at"]:
            entry["uses"].append({name: values[name] for name in USE})
    if entry is not None:
        yield where, entry


def _value(name: str, text: Any) -> Any:
    if not isinstance(text, str) or not text:
        return [] if name in ("files", "tools") else None
    if name in _NESTED:
        return json.loads(text)
    if name in ("success", "learned"):
        return {"true": True, "false": False, "1": True, "0": False}.get(text.lower(), text)
    return float(text) if name == "duration" else text
