"""The protobuf message ``MemoryState``, described in ``memory_state.proto`` beside this module.

Read as the arrays ``short_term``, ``long_term``, ``meta`` (each made of its shards), ``timestamps``,
``access_counts``, ``surprise_history``, and whatever other arrays a newer file has. Timestamps come from the exact
64-bit field where it is there; ``metadata["timestamp_unit"]`` says ``us`` then, else ``ms``.
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
    as_array,
    checked_shape,
    named_dtype,
    raw_bytes,
)
from lamina.formats.state_source import Source, elements
from lamina.formats.wire import FIXED32, LENGTH, VARINT, Field, fields, key, packed, unpack_one, unpack_varints, varint

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["looks_like", "read", "write"]

_TENSORS: Final = {1: "short_term", 2: "long_term", 3: "meta"}
_COLUMNS: Final = {4: "timestamps", 5: "access_counts", 6: "surprise_history", 7: "timestamps_us"}
_NUMBERS: Final = {name: number for number, name in (_TENSORS | _COLUMNS).items()}
_ARRAYS, _METADATA = 8, 9
_WIRES: Final = {4: FIXED32, 5: VARINT, 6: FIXED32, 7: VARINT}
_SHARD_ROWS: Final = 1000
_MOST_TEXT: Final = 1 << 26
_TO_MICROS: Final = {"us": 1, "ms": 1_000, "s": 1_000_000}


def looks_like(source: Source) -> bool:
    """Whether the whole file is a row of known fields, the tensors with well-formed shards."""
    try:
        found = list(fields(source, 0, source.size))
        return bool(found) and all(_plausible(source, field) for field in found)
    except InvalidInputError:
        return False


def _plausible(source: Source, field: Field) -> bool:
    if field.number in _TENSORS:
        inner = [one.number for one in fields(source, field.start, field.start + field.size)]
        return field.wire == LENGTH and 3 in inner and set(inner) <= {1, 2, 3, 4}
    if field.number in _COLUMNS:
        return field.wire in (LENGTH, _WIRES[field.number])
    return field.number in (_ARRAYS, _METADATA) and field.wire == LENGTH


def read(source: Source) -> StateFile:
    """Read the message; tensors load when they are asked for.

    Raises:
        InvalidInputError: A field lies about its length, a shard about its shape, or shards do not fit together.
    """
    shards: dict[str, list[ArrayEntry]] = {}
    columns: dict[int, list[Any]] = {}
    metadata: dict[str, Any] = {}
    notes: list[str] = []
    for field in fields(source, 0, source.size):
        if field.number in _TENSORS and field.wire == LENGTH:
            name = _TENSORS[field.number]
            shards.setdefault(name, []).append(_shard(source, field, name))
        elif field.number in _COLUMNS:
            columns.setdefault(field.number, []).append(_column(source, field))
        elif field.number == _ARRAYS and field.wire == LENGTH:
            name, parts = _named(source, field)
            shards.setdefault(name, []).extend(parts)
        elif field.number == _METADATA and field.wire == LENGTH:
            metadata |= _metadata(source, field)
        else:
            notes.append(f"Field {field.number} is not known and was passed over.")
    entries = {name: _joined(source, name, parts) for name, parts in shards.items()}
    for name, array in _columns(columns, metadata, notes).items():
        entries[name] = ArrayEntry(array.shape, array.dtype, array.copy)
    return StateFile(LazyArrays(entries), metadata, "titan-protobuf", tuple(dict.fromkeys(notes)))


def _shard(source: Source, field: Field, name: str) -> ArrayEntry:
    shape: list[int] = []
    code, start, size = "float32", 0, 0
    for one in fields(source, field.start, field.start + field.size):
        if one.number == 1 and one.wire == LENGTH:
            start, size = one.start, one.size
        elif one.number == 2:
            data = source.read(one.start, one.size)
            shape += unpack_varints(data, 32).tolist() if one.wire == LENGTH else [int(unpack_one(one, source))]
        elif one.number == 3 and one.wire == LENGTH:
            code = source.read(one.start, min(one.size, 100)).decode("utf-8", "replace")
        elif one.number == 4 and one.value != 1:
            raise source.bad(f"a shard of {name!r} has version {one.value}; 1 is known.")
    what = f"{source.name}: a shard of {name!r}"
    dtype = named_dtype(code, what).newbyteorder("<")
    checked = checked_shape(shape, what)
    if size != elements(checked) * dtype.itemsize:
        raise source.bad(
            f"a shard of {name!r} with the shape {shape} of {code} needs {elements(checked) * dtype.itemsize:,} "
            f"bytes, but has {size:,}.",
            array=name,
        )

    def load() -> NDArray[Any]:
        return source.array(start, dtype, checked, what)

    return ArrayEntry(checked, dtype, load)


def _named(source: Source, field: Field) -> tuple[str, list[ArrayEntry]]:
    inner = list(fields(source, field.start, field.start + field.size))
    name = next((_text(source, one) for one in inner if one.number == 1 and one.wire == LENGTH), "")
    if not name:
        raise source.bad("an array has no name.")
    return name, [_shard(source, one, name) for one in inner if one.number == 2 and one.wire == LENGTH]


def _joined(source: Source, name: str, parts: list[ArrayEntry]) -> ArrayEntry:
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    first = parts[0] if parts else None
    if first is None or any(
        not part.shape or part.shape[1:] != first.shape[1:] or part.dtype != first.dtype for part in parts
    ):
        raise source.bad(f"the shards of {name!r} do not fit together.", array=name)
    shape = (sum(part.shape[0] for part in parts), *first.shape[1:])

    def load() -> NDArray[Any]:
        result = np.empty(shape, dtype=first.dtype)
        at = 0
        for part in parts:
            result[at : at + part.shape[0]] = part.load()
            at += part.shape[0]
        return result

    return ArrayEntry(shape, first.dtype, load)


def _column(source: Source, field: Field) -> NDArray[Any]:
    import numpy as np

    floats = _WIRES[field.number] == FIXED32
    if field.wire == LENGTH:
        if not floats:
            try:
                return unpack_varints(source.read(field.start, field.size), 32 if field.number == 5 else 64)
            except InvalidInputError as error:
                raise source.bad(f"{_COLUMNS[field.number]}: {error.message}") from None
        if field.size % 4:
            raise source.bad(f"{_COLUMNS[field.number]} has {field.size:,} bytes, which are no 32-bit floats.")
        return source.array(field.start, np.dtype("<f4"), (field.size // 4,), _COLUMNS[field.number])
    if field.wire != _WIRES[field.number]:
        raise source.bad(f"{_COLUMNS[field.number]} has the wrong wire type {field.wire}.")
    return np.array([unpack_one(field, source)], dtype=np.float32 if floats else np.int64)


def _columns(columns: dict[int, list[Any]], metadata: dict[str, Any], notes: list[str]) -> dict[str, NDArray[Any]]:
    import numpy as np

    found = {_COLUMNS[number]: np.concatenate(parts) for number, parts in columns.items()}
    if "access_counts" in found:
        found["access_counts"] = found["access_counts"].astype(np.int32)
    exact = found.pop("timestamps_us", None)
    if exact is not None:
        found["timestamps"] = exact
        metadata["timestamp_unit"] = "us"
    elif "timestamps" in found:
        metadata.setdefault("timestamp_unit", "ms")
        notes.append("The timestamps are 32-bit floats, which know today's time to 131 seconds only.")
    return found


def _metadata(source: Source, field: Field) -> dict[str, Any]:
    try:
        value = json.loads(_text(source, field))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise source.bad("metadata_json is no JSON object.")
    return value


def _text(source: Source, field: Field) -> str:
    if field.size > _MOST_TEXT:
        raise source.bad(f"a text of {field.size:,} bytes is longer than is read.")
    try:
        return source.read(field.start, field.size).decode("utf-8")
    except UnicodeDecodeError:
        raise source.bad("a text is not UTF-8.") from None


def write(arrays: Mapping[str, Any], metadata: Mapping[str, Any], notes: list[str]) -> Iterator[bytes | memoryview]:
    """Write a state, tensors in shards of 1,000 rows; arrays that the original message lacks go into field 8.

    ``timestamps`` are in ``metadata["timestamp_unit"]`` (``us``, ``ms`` or ``s``; ``ms`` where it is missing) and are
    written twice: rounded to 32-bit floats for old readers, and as exact microseconds.

    Raises:
        InvalidInputError: A column has another form than one number a slot, or a time is not a number.
    """
    for name in arrays:
        array = as_array(arrays[name], name)
        if name == "timestamps":
            yield from _timestamps(array, metadata, notes)
        elif name == "access_counts" and array.ndim == 1 and array.dtype.kind in "iu" and _fits_32(array):
            yield from _length(5, packed(array))
        elif name == "surprise_history" and array.ndim == 1 and array.dtype == "float32":
            yield from _length(6, packed(array))
        elif name in _TENSORS.values() and array.ndim > 0:
            for part in _parts(array):
                yield from _length(_NUMBERS[name], b"".join(_shard_bytes(name, part)))
        else:
            inner = b"".join(b"".join(_length(2, b"".join(_shard_bytes(name, part)))) for part in _parts(array))
            yield from _length(_ARRAYS, b"".join(_length(1, name.encode("utf-8"))) + inner)
    rest = {name: value for name, value in metadata.items() if name != "timestamp_unit" or "timestamps" not in arrays}
    if rest:
        yield from _length(_METADATA, json.dumps(rest, ensure_ascii=False, allow_nan=False).encode("utf-8"))


def _fits_32(array: NDArray[Any]) -> bool:
    return array.size == 0 or (int(array.min()) >= -(1 << 31) and int(array.max()) < 1 << 31)


def _length(number: int, data: bytes) -> Iterator[bytes]:
    yield key(number, LENGTH) + varint(len(data))
    yield data


def _parts(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    if array.ndim == 0:
        yield array
        return
    for row in range(0, max(1, len(array)), _SHARD_ROWS):
        yield array[row : row + _SHARD_ROWS]


def _shard_bytes(name: str, part: NDArray[Any]) -> Iterator[bytes | memoryview]:
    data = raw_bytes({name: part}, name)
    yield key(1, LENGTH) + varint(len(data))
    yield data
    if part.shape:
        shape = b"".join(varint(length) for length in part.shape)
        yield key(2, LENGTH) + varint(len(shape)) + shape
    code = part.dtype.name.encode()
    yield key(3, LENGTH) + varint(len(code)) + code + key(4, VARINT) + varint(1)


def _timestamps(array: NDArray[Any], metadata: Mapping[str, Any], notes: list[str]) -> Iterator[bytes]:
    import numpy as np

    unit = metadata.get("timestamp_unit", "ms")
    if unit not in _TO_MICROS:
        raise InvalidInputError(f"timestamp_unit is {unit!r}.", hint="Use us, ms or s.")
    if array.ndim != 1 or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise InvalidInputError("timestamps are no list of finite numbers.", hint="Give one for each slot.")
    factor = _TO_MICROS[unit]
    if array.dtype.kind == "f":
        scaled = np.rint(array.astype(np.float64) * factor)
        if not np.array_equal(scaled / factor, array.astype(np.float64)):
            notes.append("Timestamps were rounded to microseconds.")
        limit = 2.0**63
        fits = bool((np.abs(scaled) < limit).all())
    else:
        scaled = array.astype(np.int64)
        fits = bool((np.abs(array.astype(np.float64)) * factor < 2.0**62).all())
        scaled = scaled * factor if fits else scaled
    if not fits:
        raise InvalidInputError(f"A timestamp is beyond 64 bits of microseconds in {unit}.", hint="Check the unit.")
    micros = scaled.astype(np.int64)
    yield from _length(4, packed((micros / 1000).astype(np.float32)))
    yield from _length(7, packed(micros))
