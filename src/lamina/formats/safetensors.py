"""Safetensors: a length, a JSON header, and one buffer without holes.

Read and written here, in little code, so that arrays load one by one at their offsets and every length is checked
before anything is allocated. Metadata other than text is kept as JSON under the key ``lamina``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from lamina.errors import InvalidInputError
from lamina.formats.state_file import (
    ArrayEntry,
    LazyArrays,
    StateFile,
    checked_shape,
    named_dtype,
    raw_bytes,
    spec_of,
)
from lamina.formats.state_source import Source, elements

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["looks_like", "read", "write"]

_MOST_HEADER: Final = 100_000_000  # the limit of the reference implementation
_TYPES: Final = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "BF16": "bfloat16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
}
_NAMES: Final = {name: code for code, name in _TYPES.items()}


def looks_like(source: Source) -> bool:
    """Whether the first bytes are a plausible length and the brace of a header."""
    if source.size < 10:
        return False
    length = int.from_bytes(source.read(0, 8), "little")
    return 2 <= length <= min(_MOST_HEADER, source.size - 8) and source.read(8, 1) == b"{"


def read(source: Source) -> StateFile:
    """Read the header; arrays load when they are asked for.

    Raises:
        InvalidInputError: The header lies: offsets that overlap, leave holes, do not fit shapes or pass the end.
        DependencyError: An array is bfloat16 or an 8-bit float, and ml_dtypes is not installed.
    """
    length = int.from_bytes(source.read(0, 8, "the length of the header"), "little")
    if length > _MOST_HEADER:
        raise source.bad(f"the header would have {length:,} bytes; at most {_MOST_HEADER:,} are read.")
    header = _header(source, source.read(8, length, "the header"))
    metadata = _metadata(source, header.pop("__metadata__", {}))
    start, size = 8 + length, source.size - 8 - length
    entries: dict[str, ArrayEntry] = {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        entries[name], begin, end = _entry(source, name, entry, start)
        spans.append((begin, end, name))
    reached = 0
    for begin, end, name in sorted(spans):
        if begin != reached:
            raise source.bad(f"the array {name!r} begins at byte {begin:,} of the data, not at {reached:,}.")
        reached = end
    if reached != size:
        raise source.bad(f"the arrays take {reached:,} bytes, but {size:,} follow the header.")
    return StateFile(LazyArrays(entries), metadata, "safetensors")


def _header(source: Source, data: bytes) -> dict[str, Any]:
    try:
        header = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise source.bad(f"the header is not JSON ({error}).") from None
    if not isinstance(header, dict):
        raise source.bad("the header is no JSON object.")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _metadata(source: Source, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise source.bad("the metadata is no object of texts.")
    metadata: dict[str, Any] = {key: value for key, value in given.items() if key != "lamina"}
    if "lamina" in given:
        try:
            ours = json.loads(given["lamina"])
        except (ValueError, RecursionError):
            ours = None
        if isinstance(ours, dict):
            metadata |= ours
        else:
            metadata["lamina"] = given["lamina"]
    return metadata


def _entry(source: Source, name: str, entry: Any, start: int) -> tuple[ArrayEntry, int, int]:
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise source.bad(f"the entry of {name!r} lacks dtype, shape or data_offsets.", array=name)
    code, offsets = entry["dtype"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _TYPES:
        raise source.bad(f"the array {name!r} has the unknown type {code!r}.", array=name)
    shape = checked_shape(entry["shape"], f"{source.name}: the array {name!r}")
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(isinstance(offset, int) and not isinstance(offset, bool) for offset in offsets)
    ):
        raise source.bad(f"the offsets of {name!r} are no pair of whole numbers.", array=name)
    dtype = named_dtype(_TYPES[code], f"{source.name}: the array {name!r}").newbyteorder("<")
    begin, end = offsets
    if begin < 0 or end - begin != elements(shape) * dtype.itemsize:
        raise source.bad(
            f"the array {name!r} takes bytes {begin:,} to {end:,}, but its shape {list(shape)} of {code} needs "
            f"{elements(shape) * dtype.itemsize:,}.",
            array=name,
        )
    source.need(start + begin, end - begin, f"the array {name!r}")

    def load() -> NDArray[Any]:
        return source.array(start + begin, dtype, shape, f"the array {name!r}")

    return ArrayEntry(shape, dtype, load), begin, end


def write(arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    """Write a file, one array at a time; wide types first, so that each array is aligned.

    Raises:
        InvalidInputError: An array has a type that the format has not.
    """
    specs = {name: spec_of(arrays, name) for name in arrays}
    header: dict[str, Any] = {}
    kept = _texts(metadata)
    if kept:
        header["__metadata__"] = kept
    order = sorted(specs, key=lambda name: (-specs[name][1].itemsize, name))
    at = 0
    for name in order:
        if name == "__metadata__":
            raise InvalidInputError("safetensors keeps the name '__metadata__' for itself.", hint="Rename the array.")
        shape, dtype = specs[name]
        size = elements(shape) * dtype.itemsize
        header[name] = {"dtype": _code(name, dtype), "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        data = raw_bytes(arrays, name)
        if len(data) != elements(specs[name][0]) * specs[name][1].itemsize:
            raise InvalidInputError(f"{name!r} changed while it was written.", hint="Write from a copy.", array=name)
        yield data


def _code(name: str, dtype: np.dtype[Any]) -> str:
    code = _NAMES.get(dtype.name)
    if code is None:
        raise InvalidInputError(
            f"safetensors has no type for {name!r}, which is {dtype}.", hint="Convert it, or choose npz.", array=name
        )
    return code


def _texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    texts = {key: value for key, value in metadata.items() if isinstance(value, str) and key != "lamina"}
    rest = {key: value for key, value in metadata.items() if key not in texts}
    if rest:
        texts["lamina"] = json.dumps(rest, ensure_ascii=False, allow_nan=False)
    return texts
