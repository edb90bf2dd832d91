"""The wire format of Protocol Buffers, as much of it as two flat messages need.

The protobuf package is not used: it would be a dependency with generated code that has to match its version, it
builds whole messages in memory, and it copies every byte field. Here a field is a place in the file, so that a
tensor is read when it is asked for, and a length that lies is refused before anything is allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lamina.errors import InvalidInputError
from lamina.formats.state_source import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FIXED32", "FIXED64", "LENGTH", "VARINT", "Field", "fields", "key", "packed", "unpack_varints", "varint"]

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5
_MOST_FIELD: Final = (1 << 29) - 1


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message: its number, wire type, and its value or where its bytes lie."""

    number: int
    wire: int
    value: int
    start: int
    size: int


def fields(source: Source, start: int, end: int) -> Iterator[Field]:
    """Yield the fields between two places of a file.

    Raises:
        InvalidInputError: A key is not valid, or a field goes beyond the end of its message.
    """
    at = start
    while at < end:
        begin = at
        head, at = _varint_at(source, at, end)
        number, wire = head >> 3, head & 7
        value, size = 0, 0
        if not 1 <= number <= _MOST_FIELD:
            raise source.bad(f"there is no field {number} at byte {begin:,}.", byte=begin)
        if wire == VARINT:
            value, at = _varint_at(source, at, end)
        elif wire == LENGTH:
            size, at = _varint_at(source, at, end)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise source.bad(f"field {number} at byte {begin:,} has the unknown wire type {wire}.", byte=begin)
        if at + size > end:
            raise source.bad(
                f"field {number} at byte {begin:,} would take {size:,} bytes, but {end - at:,} are left.", byte=begin
            )
        yield Field(number, wire, value, at, size)
        at += size


def _varint_at(source: Source, at: int, end: int) -> tuple[int, int]:
    data = source.read(at, min(10, end - at))
    value = 0
    for index, byte in enumerate(data):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & (1 << 64) - 1, at + index + 1
    raise source.bad(f"the number at byte {at:,} does not end.", byte=at)


def unpack_varints(data: bytes, bits: int) -> NDArray[np.int64]:
    """Return a packed field of int32 or int64.

    Raises:
        InvalidInputError: The last number does not end, one has more than ten bytes, or is beyond ``bits``.
    """
    import numpy as np

    octets = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(octets < 0x80)
    if len(octets) and (not len(ends) or ends[-1] != len(octets) - 1):
        raise InvalidInputError("A packed field ends in the middle of a number.", hint="Is the file whole?")
    starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1] + 1]) if len(ends) else ends
    lengths = ends - starts + 1
    if len(lengths) and lengths.max() > 10:
        index = int(np.argmax(lengths > 10))
        raise InvalidInputError(f"Number {index:,} of a packed field does not end.", hint="Is the file damaged?")
    values = np.zeros(len(ends), dtype=np.uint64)
    for step in range(int(lengths.max()) if len(lengths) else 0):
        there = np.flatnonzero(lengths > step)
        values[there] |= (octets[starts[there] + step].astype(np.uint64) & 0x7F) << np.uint64(7 * step)
    signed = values.view(np.int64)
    if bits == 32 and len(signed) and (signed.min() < -(1 << 31) or signed.max() >= 1 << 31):
        index = int(np.argmax((signed < -(1 << 31)) | (signed >= 1 << 31)))
        raise InvalidInputError(f"Number {index:,} of a packed field is beyond 32 bits.", hint="Is the file damaged?")
    return signed


def varint(value: int) -> bytes:
    """Return a whole number as it is written; a negative one takes ten bytes."""
    value &= (1 << 64) - 1
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def key(number: int, wire: int) -> bytes:
    """Return the key of a field."""
    return varint(number << 3 | wire)


def packed(values: NDArray[Any]) -> bytes:
    """Return the content of a packed field: whole numbers as varints, floats as 32-bit floats."""
    if values.dtype.kind == "f":
        return values.astype("<f4").tobytes()
    return b"".join(varint(value) for value in values.tolist())


def unpack_one(field: Field, source: Source) -> int | float:
    """Return the value of an unpacked number."""
    if field.wire == FIXED32:
        return float(struct.unpack("<f", source.read(field.start, 4))[0])
    return field.value - (1 << 64) if field.value >= 1 << 63 else field.value
