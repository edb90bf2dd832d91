"""``.tmem``: a line of JSON with dtype, shape, version and ``compressed``, then the array as base64.

A folder of ``<name>_shard_<firstRow>.tmem`` is a whole state, each array cut into rows. Both are read and written as
Titan has them; a payload that lost its numbers, as one writer's did, is recognised and refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lamina.errors import InvalidInputError
from lamina.formats.state_file import (
    ArrayEntry,
    LazyArrays,
    StateFile,
    as_array,
    checked_shape,
    named_dtype,
    raw_bytes,
    spec_of,
)
from lamina.formats.state_source import CHUNK_BYTES, Source, elements

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SHARD_ROWS", "is_folder", "looks_like", "read", "read_folder", "shard_files", "write"]

SHARD_ROWS: Final = 1000
"""Rows of a shard, as Titan cuts them."""
_MOST_HEADER: Final = 1 << 16
_SHARD: Final = re.compile(r"(?P<name>.+)_shard_(?P<row>\d{1,15})\.tmem")
_PIECE: Final = CHUNK_BYTES // 4 * 3
_KEYS: Final = ("dtype", "shape", "version", "compressed")


def looks_like(source: Source) -> bool:
    """Whether the first line is a JSON object with dtype and shape."""
    try:
        return _header(source)[0].keys() >= {"dtype", "shape"}
    except InvalidInputError:
        return False


def _header(source: Source) -> tuple[dict[str, Any], int]:
    head = source.read(0, min(source.size, _MOST_HEADER))
    end = head.find(b"\n")
    try:
        value = json.loads(head[:end]) if end > 0 else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise source.bad("the first line is no JSON object.")
    return value, end + 1


def read(source: Source) -> StateFile:
    """Read one file as the array ``array``; it loads when it is asked for.

    Raises:
        InvalidInputError: The header is wrong, or the payload has not the length that it asks for.
    """
    entry, metadata, notes = _entry(source)
    return StateFile(LazyArrays({"array": entry}), metadata, "tmem", tuple(notes))


def _entry(source: Source) -> tuple[ArrayEntry, dict[str, Any], list[str]]:
    header, start = _header(source)
    if not {"dtype", "shape"} <= header.keys():
        raise source.bad("the header lacks dtype or shape.")
    if header.get("version", 1) != 1:
        raise source.bad(f"the header has version {header['version']!r}; 1 is known.")
    what = f"{source.name}: the array"
    shape, dtype = checked_shape(header["shape"], what), named_dtype(str(header["dtype"]), what).newbyteorder("<")
    size = elements(shape) * dtype.itemsize
    tail = source.read(max(start, source.size - 64), source.size - max(start, source.size - 64))
    payload = source.size - start - (len(tail) - len(tail.rstrip()))
    stored = payload // 4 * 3 - (len(tail.rstrip()) - len(tail.rstrip().rstrip(b"=")))
    notes = []
    if stored != size or payload % 4:
        if stored == elements(shape) and dtype.itemsize > 1:
            raise source.bad(
                f"there is one byte for each of {stored:,} numbers of {dtype.itemsize} bytes.",
                "The program that wrote it cut every number to a byte; they cannot be had back.",
            )
        raise source.bad(
            f"the shape {list(shape)} of {dtype} needs {size:,} bytes, but the payload gives {stored:,}.",
            "It may be compressed, which no writer of this format did." if header.get("compressed") else "",
        )
    if header.get("compressed"):
        notes.append("The header says that the payload is compressed; it is not.")
    metadata = {key: value for key, value in header.items() if key not in _KEYS}

    def load() -> NDArray[Any]:
        return _load(source, start, start + payload, shape, dtype)

    return ArrayEntry(shape, dtype, load), metadata, notes


def _load(source: Source, start: int, end: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    import numpy as np

    result = np.empty(shape, dtype=dtype)
    view, at = result.reshape(-1).view(np.uint8).data, 0
    for piece in source.chunks(start, end):  # a megabyte is a whole number of base64's groups
        try:
            data = base64.b64decode(piece, validate=True)
        except binascii.Error as error:
            place = next((i for i, byte in enumerate(piece) if byte not in _ALPHABET), 0)
            raise source.bad(f"the payload is no base64 near byte {start + place:,} ({error}).") from None
        if at + len(data) > len(view):
            raise source.bad("the payload is longer than it says.")
        view[at : at + len(data)] = data
        at, start = at + len(data), start + len(piece)
    if at != len(view):
        raise source.bad("the payload is shorter than it says.")
    return result


_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


def is_folder(folder: Path) -> bool:
    """Whether a folder holds shards."""
    return any(_SHARD.fullmatch(path.name) for path in folder.glob("*.tmem"))


def read_folder(folder: Path) -> StateFile:
    """Read a folder of shards as one array for each name; an array loads when it is asked for.

    Raises:
        InvalidInputError: A shard is missing, wrong, or does not continue the one before it.
    """
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(folder.glob("*.tmem")):
        match = _SHARD.fullmatch(path.name)
        if match:
            found.setdefault(match["name"], []).append((int(match["row"]), path))
    entries: dict[str, ArrayEntry] = {}
    notes: list[str] = []
    for name, shards in sorted(found.items()):
        shards.sort()
        parts: list[ArrayEntry] = []
        expected = 0
        for row, path in shards:
            part, _, more = _entry(Source(path))
            notes += [f"{path.name}: {note}" for note in more]
            if row != expected:
                raise InvalidInputError(
                    f"The shard of {name!r} that begins at row {expected} is missing in {folder}.",
                    hint="Every shard has to be there.",
                    path=str(path),
                )
            if not part.shape or part.shape[1:] != parts[0].shape[1:] if parts else not part.shape:
                raise InvalidInputError(
                    f"{path} has the shape {list(part.shape)}, which does not continue the shards before it.",
                    hint="All shards of an array have rows of one shape.",
                    path=str(path),
                )
            parts.append(part)
            expected += part.shape[0]
        entries[name] = _joined(parts, expected)
    if not entries:
        raise InvalidInputError(f"{folder} holds no shards.", hint="They are called NAME_shard_ROW.tmem.")
    return StateFile(LazyArrays(entries), {}, "tmem", tuple(notes))


def _joined(parts: list[ArrayEntry], rows: int) -> ArrayEntry:
    import numpy as np

    dtype = np.result_type(*[part.dtype for part in parts])
    shape = (rows, *parts[0].shape[1:])

    def load() -> NDArray[Any]:
        return np.concatenate([part.load() for part in parts], dtype=dtype)

    return ArrayEntry(shape, dtype, load)


def write(arrays: Mapping[str, Any], metadata: Mapping[str, Any], notes: list[str]) -> Iterator[bytes]:
    """Write the one array of a state.

    Raises:
        InvalidInputError: There is not exactly one array.
    """
    if len(arrays) != 1:
        raise InvalidInputError(f"tmem holds one array, not {len(arrays)}.", hint="Choose tmem-shards, a folder.")
    if metadata:
        notes.append("tmem has no place for metadata; it was left out.")
    (name,) = arrays
    shape, dtype = spec_of(arrays, name)
    yield from _file(shape, dtype, raw_bytes(arrays, name))


def _file(shape: tuple[int, ...], dtype: np.dtype[Any], data: memoryview) -> Iterator[bytes]:
    header = {"dtype": dtype.name, "shape": list(shape), "version": 1, "compressed": False}
    yield json.dumps(header, separators=(",", ":")).encode() + b"\n"
    for start in range(0, len(data), _PIECE):
        yield base64.b64encode(data[start : start + _PIECE])


def shard_files(
    arrays: Mapping[str, Any], metadata: Mapping[str, Any], notes: list[str]
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the name and the content of each shard of a state.

    Raises:
        InvalidInputError: An array has no rows to cut, or a name that is no file name.
    """
    import numpy as np

    if metadata:
        notes.append("tmem has no place for metadata; it was left out.")
    for name in arrays:
        array = as_array(arrays[name], name)
        if array.ndim == 0 or "/" in name or "\0" in name or name.startswith("."):
            raise InvalidInputError(
                f"{name!r} cannot be cut into shards.", hint="Shards need rows, and a name without a slash.", array=name
            )
        array = np.ascontiguousarray(array)
        for row in range(0, max(1, len(array)), SHARD_ROWS):
            part = array[row : row + SHARD_ROWS]
            yield f"{name}_shard_{row}.tmem", _file(part.shape, part.dtype, raw_bytes({name: part}, name))
