"""What a file that is in no known format may have been meant to be, and what is wrong with it then."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from lamina.errors import InvalidInputError, LaminaError
from lamina.formats.state_source import Source

__all__ = ["not_recognised"]

_BY_SUFFIX: Final = {
    ".bin": "toroidal-bin",
    ".gz": "toroidal-gzip",
    ".session": "toroidal-gzip",
    ".db": "toroidal-sqlite",
    ".sqlite": "toroidal-sqlite",
    ".delta": "toroidal-delta",
    ".pb": "titan-protobuf",
    ".tmem": "tmem",
    ".safetensors": "safetensors",
    ".npz": "npz",
    ".npy": "npy",
}
_MOST_SIDE: Final = 1 << 14
"""Sides up to which eight bytes are taken for the header of a grid where nothing else speaks for it."""


def not_recognised(data: Any, known: tuple[str, ...]) -> LaminaError:
    """Return the error for a file or folder whose format was not found by its content.

    Args:
        data: A path, or the bytes of a file.
        known: Names of the formats that can be read.

    Returns:
        An error that names what the file looks like and what is wrong with it, of the class that reading it so raises;
        where it looks like nothing, one that names the formats.
    """
    in_memory = isinstance(data, (bytes, bytearray, memoryview))
    what = "The data" if in_memory else os.fspath(data)
    if in_memory or not Path(data).is_dir():
        source = Source(data)
        if not source.size:
            return InvalidInputError(f"{what} is empty.", hint="Is it the right file?", path=source.name)
        for format in _guesses(source):
            error = _reading_as(source, data, format)
            if error is not None:
                why = error.message.removeprefix(f"{source.name}: ").removeprefix(f"{source.name} ")
                details = {**error.details, "path": source.name, "looks_like": format}
                return type(error)(f"{what} looks like {format}, but {why}", hint=error.hint, **details)
    return InvalidInputError(
        f"{what} is in no format of states that is known.",
        hint=f"Name one of {', '.join(known)}, if it is one of these.",
    )


def _reading_as(source: Source, data: Any, format: str) -> LaminaError | None:
    from lamina.formats.json_numbers import parse_json
    from lamina.formats.state_formats import read_state

    try:
        if format == "JSON":
            value = parse_json(source.chunks(), source.name)
            keys = ", ".join(list(value)[:8]) if isinstance(value, dict) else ""
            raise source.bad(
                f"its keys ({keys}) are those of no state that is known.", "Name the format, if it has one."
            )
        read_state(data, format)
    except LaminaError as error:
        return error
    return None


def _guesses(source: Source) -> Iterator[str]:
    """Yield formats that the first bytes or the name of the file speak for."""
    head = source.read(0, min(source.size, 64))
    if head.startswith(b"\x1f\x8b"):
        yield "toroidal-gzip"
    elif head.startswith(b"SQLite format 3\0"):
        yield "toroidal-sqlite"
    elif head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        yield "JSON"
    named = _BY_SUFFIX.get(source.path.suffix.lower()) if source.path is not None else None
    if named is not None:
        yield named
    width, height = int.from_bytes(head[:4], "little"), int.from_bytes(head[4:8], "little")
    if len(head) >= 8 and 0 < width <= _MOST_SIDE and 0 < height <= _MOST_SIDE:
        yield "toroidal-bin"
