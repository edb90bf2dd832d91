"""Objects: runs of frames with a table of their hashes; an object's address is the hash of that table.

The table names what the object stands for (plain bytes); how each frame is stored is beside it, outside the hash.
``docs/format.md`` has every byte.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from lamina.errors import CorruptionError
from lamina.storage.frames import (
    FRAME_BYTES,
    HASH_BYTES,
    WARM_GAIN,
    Bytes,
    Coding,
    choose,
    decode,
    digest,
    digests,
    encode,
)

__all__ = [
    "Encoded",
    "FrameTable",
    "ObjectKind",
    "encode_object",
    "frame_size",
    "hash_content",
    "parse_record",
    "wrong_bytes",
]

_HEAD = struct.Struct("<BBHIQ")
MAX_OBJECT_BYTES = 1 << 33
"""Bound on the plain bytes of one object, checked before anything is allocated."""


class ObjectKind(IntEnum):
    """What an object's plain bytes are; append-only."""

    CONTENT = 0
    """Cells of a shard, one after the other."""
    CELLS = 1
    """A row patch: values of changed cells, then their numbers (uint32)."""
    ELEMENTS = 2
    """The same for single elements."""
    XOR = 3
    """What turns the shard below into this one, bit by bit."""


@dataclass(frozen=True, slots=True)
class FrameTable:
    """What an object stands for, and how its frames are stored."""

    kind: ObjectKind
    width: int
    """Bytes of one element, for the shuffle."""
    frame_bytes: int
    length: int
    """Plain bytes."""
    hashes: bytes
    codings: bytes = b""
    """One byte a frame; empty where all are raw."""
    sizes: tuple[int, ...] = ()
    """Stored bytes of each frame; empty where all are raw."""

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return -(-self.length // self.frame_bytes)

    @property
    def stored(self) -> int:
        """Stored bytes of all frames."""
        return sum(self.sizes) if self.codings else self.length

    def plain_size(self, frame: int) -> int:
        """Plain bytes of one frame."""
        return min(self.frame_bytes, self.length - frame * self.frame_bytes)

    def hash_of(self, frame: int) -> bytes:
        """The hash of one frame's plain bytes."""
        return self.hashes[frame * HASH_BYTES : (frame + 1) * HASH_BYTES]

    def address(self) -> bytes:
        """The object's address."""
        return digest(self._named())

    def record(self) -> bytes:
        """The table as it is stored."""
        if not self.codings:
            return self._named() + b"\0"
        return self._named() + b"\1" + self.codings + np.asarray(self.sizes, "<u4").tobytes()

    def decode(self, frame: int, data: Any, where: str) -> Any:
        """Return the plain bytes of a stored frame, verified.

        Raises:
            CorruptionError: They are not what was written.
        """
        try:
            plain = decode(data, self.width, self.codings[frame] if self.codings else 0, self.plain_size(frame))
        except (ValueError, IndexError, MemoryError) as error:
            raise wrong_bytes(f"frame {frame} of {where}", str(error)) from None
        if digest(plain) != self.hash_of(frame):
            raise wrong_bytes(f"frame {frame} of {where}", "its hash is another one")
        return plain

    def check(self, frames: Sequence[int], plain: memoryview, where: str) -> None:
        """Compare the plain bytes of frames, one after the other, with their hashes: :meth:`decode` of many raw ones.

        Raises:
            CorruptionError: They are not what was written.
        """
        found = digests(plain, self.frame_bytes)
        wanted = b"".join([self.hash_of(frame) for frame in frames])
        if found != wanted:
            for place, frame in enumerate(frames):
                if found[place * HASH_BYTES : (place + 1) * HASH_BYTES] != self.hash_of(frame):
                    raise wrong_bytes(f"frame {frame} of {where}", "its hash is another one")
            raise wrong_bytes(where, "it has another length")

    def _named(self) -> bytes:
        return _HEAD.pack(self.kind, self.width, 0, self.frame_bytes, self.length) + self.hashes


@dataclass(slots=True)
class Encoded:
    """An object that is ready to be written."""

    address: bytes
    table: FrameTable
    parts: list[Any]
    """Stored bytes, in order."""


def wrong_bytes(where: str, why: str) -> CorruptionError:
    """Return the error for stored bytes of states that are not what was written."""
    return CorruptionError(
        f"What is stored of {where} is damaged: {why}.",
        hint="Run `lamina verify --level full` to see what is affected and `lamina repair` to keep what is intact.",
        where=where,
    )


def frame_size(unit: int) -> int:
    """Return the bytes of a frame of whole units, about 16 KB."""
    return max(1, FRAME_BYTES // unit) * unit


def hash_content(content: Bytes, kind: ObjectKind, width: int, frame_bytes: int) -> FrameTable:
    """Return the table of plain bytes, as if all were stored raw."""
    view = content.data
    hashes = digests(view, frame_bytes)
    return FrameTable(kind, width, frame_bytes, content.size, hashes)


def encode_object(
    content: Bytes, table: FrameTable, *, coding: Coding | None = None, gain: float = WARM_GAIN
) -> Encoded:
    """Encode the frames of an object as measuring says, or in the coding that is given.

    Args:
        content: Plain bytes; raw frames refer to them, so they must stay as they are until they are written.
        table: Of :func:`hash_content`.
        coding: None measures.
        gain: The share that must be saved.
    """
    address = table.address()
    if coding is None:
        coding, _ = choose(content, table.width, table.frame_bytes, gain=gain)
    if coding is Coding.RAW:
        return Encoded(address, table, [content.data])
    parts: list[Any] = []
    codings = bytearray()
    for start in range(0, content.size, table.frame_bytes):
        frame = content[start : start + table.frame_bytes]
        data = encode(frame, table.width, coding)
        codings.append(Coding.RAW if data is None else coding)
        parts.append(frame.data if data is None else data)
    sizes = tuple(len(part) for part in parts)
    if sum(sizes) + 5 * len(sizes) >= content.size * (1 - gain / 2):
        return Encoded(address, table, [content.data])
    coded = FrameTable(table.kind, table.width, table.frame_bytes, table.length, table.hashes, bytes(codings), sizes)
    return Encoded(address, coded, parts)


def parse_record(record: bytes, address: bytes | None, where: str) -> FrameTable:
    """Return the table that is stored in a record.

    Args:
        record: As it was read.
        address: What it must be the table of; None trusts nothing but its form.
        where: For messages.

    Raises:
        CorruptionError: It is no table, or another one.
    """
    if len(record) < _HEAD.size + 1:
        raise wrong_bytes(where, "its frame table is too short")
    kind, width, _, frame_bytes, length = _HEAD.unpack_from(record)
    if not (kind in ObjectKind.__members__.values() and width and frame_bytes and length <= MAX_OBJECT_BYTES):
        raise wrong_bytes(where, "its frame table says what cannot be")
    frames = -(-length // frame_bytes)
    end = _HEAD.size + frames * HASH_BYTES
    form = record[end : end + 1]
    if len(record) != end + 1 + (5 * frames if form == b"\1" else 0) or form not in (b"\0", b"\1"):
        raise wrong_bytes(where, "its frame table has the wrong length")
    if address is not None and digest(record[:end]) != address:
        raise wrong_bytes(where, "its frame table is another one")
    codings, sizes = b"", ()
    if form == b"\1":
        codings = record[end + 1 : end + 1 + frames]
        sizes = tuple(np.frombuffer(record, "<u4", frames, end + 1 + frames).tolist())
    return FrameTable(ObjectKind(kind), width, frame_bytes, length, record[_HEAD.size : end], codings, sizes)
