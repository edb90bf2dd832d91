"""Lines of JSON of a file that nobody vouches for: bounded, decoded, counted, and none of them fatal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from lamina.errors import InvalidInputError
from lamina.fs import translate
from lamina.sessions.readers.records import Notes

__all__ = ["MAX_LINE_BYTES", "json_lines", "peek"]

MAX_LINE_BYTES: Final = 64 << 20
"""Longest line that is held; a longer one is passed over, and named."""
_BOM: Final = b"\xef\xbb\xbf"
_SCAN: Final = 1 << 20


def json_lines(path: Path, notes: Notes, advance: Callable[[int], None]) -> Iterator[tuple[int, Any]]:
    """Yield ``(line number, value)`` of each line that is JSON; what is not becomes a problem.

    Args:
        path: The file.
        notes: Takes problems.
        advance: Called with the bytes read so far.

    Raises:
        InvalidInputError: It is no UTF-8 text: it begins as UTF-16 or holds zero bytes.
        StorageError: It cannot be read.
    """
    try:
        with path.open("rb") as stream:
            number = 0
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                notes.line = number
                notes.read += len(line)
                if number == 1:
                    _check_start(path, line)
                    line = line.removeprefix(_BOM)
                if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                    size = len(line)
                    rest = b""
                    while not rest.endswith(b"\n") and (rest := stream.readline(_SCAN)):
                        size += len(rest)
                    notes.read += size - len(line)
                    notes.problem(f"line {number}: {size:,} bytes are more than a record may have; it is left out")
                    continue
                value = _parsed(line, number, notes)
                if value is not _NOTHING:
                    yield number, value
                advance(notes.read)
    except OSError as error:
        raise translate(error, path, "read") from error


_NOTHING: Final = object()


def _parsed(line: bytes, number: int, notes: Notes) -> Any:
    if not line.strip():
        return _NOTHING
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        notes.problem(f"line {number}: byte {error.start + 1} (0x{line[error.start]:02x}) is not UTF-8; it is replaced")
        text = line.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        torn = "" if line.endswith(b"\n") else " (the last line, perhaps still being written: import the file again)"
        what = "nested too deeply" if isinstance(error, RecursionError) else f"not JSON: {str(error)[:120]}"
        notes.problem(f"line {number}: {what}{torn}")
        return _NOTHING


def _check_start(path: Path, line: bytes) -> None:
    if line.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in line[:4_096]:
        # UTF-32 first: its mark for little-endian begins like that of UTF-16.
        wide = line.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")) or (line[:1] == b"\0" and b"\0" * 3 in line[:8])
        name = "utf-32" if wide else "utf-16" if line[:1] in (b"\xff", b"\xfe") else None
        raise InvalidInputError(
            f"{path} is not UTF-8 text; it looks like {name.upper() if name else 'binary data'}.",
            hint=f"Save it as UTF-8, for instance with `iconv -f {name} -t utf-8`." if name else "Name another file.",
            path=str(path),
        )


def peek(path: Path) -> Any:
    """Return the first value of a file of JSON lines that can be read, or None."""
    notes = Notes()
    for number, value in json_lines(path, notes, lambda _: None):
        if isinstance(value, dict) or number > 50:
            return value
    return None
