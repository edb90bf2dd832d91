"""Groups of Zarr, version 3: folders of arrays cut into chunks. Read only.

Read here rather than by the zarr package, which would bring numcodecs, an event loop and its own file access for
what is a few files of JSON and chunks. The codecs are those that zarr writes by default and the plain ones: ``bytes``,
``transpose``, ``gzip``, ``zstd``, ``crc32c`` and ``sharding_indexed``; ``blosc`` is refused with a hint.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lamina import fs
from lamina.formats.json_numbers import parse_json, plain
from lamina.formats.state_file import ArrayEntry, LazyArrays, StateFile, checked_shape, named_dtype
from lamina.formats.state_source import Source, elements
from lamina.formats.zarr_codecs import Chunk, check_codecs, decode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["looks_like", "read"]

_MOST_CHUNK: Final = 1 << 32
_MOST_UNBACKED: Final = 1 << 30
"""Bytes of an array that no stored chunk stands behind; a larger one is taken for a lie."""
_MOST_DEPTH: Final = 20


def looks_like(folder: Path) -> bool:
    """Whether a folder holds a ``zarr.json``."""
    return (folder / "zarr.json").is_file()


def read(folder: Path) -> StateFile:
    """Read the group; its arrays, called ``group/array``, load when they are asked for.

    Raises:
        InvalidInputError: It is not version 3, a codec or type is not known, or a shape or chunk lies.
        CorruptionError: A checksum of a chunk does not fit (when the array is loaded).
    """
    entries: dict[str, ArrayEntry] = {}
    metadata: dict[str, Any] = {}
    for path, source, node in _nodes(folder, "", 0):
        attributes = node.get("attributes")
        if node.get("node_type") == "array":
            entries[path or "array"] = _array(folder / path, source, node)
            if attributes:
                metadata.setdefault("attributes", {})[path or "array"] = attributes
        elif not path and isinstance(attributes, dict):
            metadata = attributes | metadata
        elif attributes:
            metadata.setdefault("attributes", {})[path] = attributes
    return StateFile(LazyArrays(entries), metadata, "zarr")


def _nodes(folder: Path, path: str, depth: int) -> Iterator[tuple[str, Source, dict[str, Any]]]:
    source = Source(folder / path / "zarr.json")
    node = plain(parse_json(source.chunks(), source.name))
    if not isinstance(node, dict) or node.get("zarr_format") != 3 or node.get("node_type") not in ("array", "group"):
        raise source.bad("this is no group or array of version 3.", "Versions before 3 are not read.")
    yield path, source, node
    if node["node_type"] == "array":
        return
    if depth > _MOST_DEPTH:
        raise source.bad("the groups are nested too deeply.")
    try:
        names = sorted(entry.name for entry in os.scandir(folder / path) if entry.is_dir(follow_symlinks=False))
    except OSError as error:
        raise fs.translate(error, str(folder / path), "read") from error
    for name in names:
        inner = f"{path}/{name}" if path else name
        if (folder / inner / "zarr.json").is_file():
            yield from _nodes(folder, inner, depth + 1)


def _array(folder: Path, source: Source, node: dict[str, Any]) -> ArrayEntry:
    what = f"{source.name}: the array"
    shape = checked_shape(node.get("shape"), what)
    kind = node.get("data_type")
    dtype = named_dtype(kind, what) if isinstance(kind, str) else named_dtype(f"{kind}"[:60], what)
    grid, keys = node.get("chunk_grid"), node.get("chunk_key_encoding")
    if not isinstance(grid, dict) or grid.get("name") != "regular" or not isinstance(keys, dict):
        raise source.bad("its chunks are on no regular grid.")
    if node.get("storage_transformers"):
        raise source.bad("storage transformers are not known.")
    chunk = checked_shape(_configuration(grid).get("chunk_shape"), f"{what}'s chunks")
    if len(chunk) != len(shape) or 0 in chunk or elements(chunk) * dtype.itemsize > _MOST_CHUNK:
        raise source.bad(f"chunks of {list(chunk)} do not fit the shape {list(shape)}.")
    codecs = node.get("codecs")
    if not isinstance(codecs, list) or not all(isinstance(codec, dict) for codec in codecs):
        raise source.bad("it has no codecs.")
    check_codecs(source, codecs)
    fill = _fill(source, node.get("fill_value"), dtype)
    name = _key_of(source, keys)

    def load() -> NDArray[Any]:
        return _load(folder, source, shape, Chunk(chunk, dtype, fill, codecs), name)

    return ArrayEntry(shape, dtype, load)


def _configuration(value: dict[str, Any]) -> dict[str, Any]:
    inner = value.get("configuration")
    return inner if isinstance(inner, dict) else {}


def _key_of(source: Source, keys: dict[str, Any]) -> Any:
    default = keys.get("name") == "default"
    separator = _configuration(keys).get("separator", "/" if default else ".")
    if keys.get("name") not in ("default", "v2") or separator not in ("/", "."):
        raise source.bad(f"the chunk keys {keys.get('name')!r} are not known.")

    def name(index: tuple[int, ...]) -> str:
        parts = [str(one) for one in index]
        return str(separator).join(["c", *parts] if default else parts) or "0"

    return name


def _fill(source: Source, value: Any, dtype: np.dtype[Any]) -> Any:
    import numpy as np

    special = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    given = value
    try:
        if isinstance(given, list) and dtype.kind == "c" and len(given) == 2:
            real, imaginary = (special[part] if isinstance(part, str) else float(part) for part in given)
            given = complex(real, imaginary)
        elif isinstance(given, str) and given.startswith("0x"):
            return np.frombuffer(int(given, 16).to_bytes(dtype.itemsize, "little"), dtype=dtype.newbyteorder("<"))[0]
        elif isinstance(given, str):
            given = special[given]
        return np.asarray(0 if given is None else given).astype(dtype)[()]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise source.bad(f"the fill value {given!r} is no {dtype}.") from None


def _load(folder: Path, source: Source, shape: tuple[int, ...], chunk: Chunk, name: Any) -> NDArray[Any]:
    import numpy as np

    counts = [-(-length // step) for length, step in zip(shape, chunk.shape, strict=True)]
    whole, each = elements(shape) * chunk.dtype.itemsize, elements(chunk.shape) * chunk.dtype.itemsize
    stored = list(_stored(folder, counts, name))
    if whole > _MOST_UNBACKED + each * len(stored):
        raise source.bad(f"the shape {list(shape)} has far more bytes than its chunks.", "Is the folder whole?")
    result = np.full(shape, chunk.fill, dtype=chunk.dtype)
    for index in stored:
        part = Source(folder / name(index))
        values = decode(part, part.read(0, part.size), chunk)
        place = tuple(slice(i * step, (i + 1) * step) for i, step in zip(index, chunk.shape, strict=True))
        result[place] = values[tuple(slice(0, length) for length in result[place].shape)]
    return result


def _stored(folder: Path, counts: list[int], name: Any) -> Iterator[tuple[int, ...]]:
    """Yield the places of the chunks that are there; the folder is looked through, not the grid, which may be vast."""
    for root, _, files in os.walk(folder):
        for file in files:
            relative = os.path.relpath(os.path.join(root, file), folder)  # noqa: PTH118 - names as the keys have them
            index = tuple(int(digits) for digits in re.findall(r"\d+", relative)) if counts else ()
            if len(index) == len(counts) and name(index) == relative and all(map(int.__lt__, index, counts)):
                yield index
