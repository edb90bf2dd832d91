"""Packs: immutable files that hold objects, named by the hash of their directory.

Frames lie at the front, object after object and each aligned, so that raw shards which follow each other can be mapped
as one array; the directory with every frame table and the footer that finds it come last. ``docs/format.md`` has every
byte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lamina import fs
from lamina._version import __version__
from lamina.errors import FormatError
from lamina.storage.frames import digest
from lamina.storage.shards import Encoded, FrameTable, parse_record, wrong_bytes

__all__ = ["ALIGNMENT", "SUFFIX", "PackWriter", "Place", "StoredPack", "read_pack"]

MAGIC = b"LAMNPACK"
VERSION = 1
SUFFIX = ".pack"
ALIGNMENT = 64
"""Every object begins at a multiple of this: the strictest that vector units ask for."""

_HEADER = struct.Struct("<8sHH20s32x")  # magic, version, flags, writer; 64 bytes
_ENTRY = struct.Struct("<QII")  # offset of the frames, length of the record, zero
_FOOTER = struct.Struct("<QQI4x32s8s")  # offset, length and entries of the directory, its hash, magic


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object lies in a pack."""

    address: bytes
    table: FrameTable
    offset: int
    """Of its first frame."""
    record: int
    """Of its frame table; 0 until the pack is closed."""
    record_size: int


@dataclass(frozen=True, slots=True)
class StoredPack:
    """A pack that was written, or read again."""

    name: str
    """Hexadecimal hash of its directory; the file is this and ``.pack``."""
    size: int
    places: tuple[Place, ...]


class PackWriter:
    """Writes one pack as a stream; leaving the ``with`` block without :meth:`finish` removes it.

    Args:
        folder: Where packs lie; must exist.
        durable: Whether :meth:`finish` waits for the disk.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self._file = fs.FileWriter(folder, durable=durable)
        self._places: list[tuple[Encoded, int]] = []
        self._file.write(_HEADER.pack(MAGIC, VERSION, 0, f"lamina {__version__}".encode()[:20]))

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._file.size

    def add(self, encoded: Encoded) -> None:
        """Write an object's frames."""
        if rest := -self._file.size % ALIGNMENT:
            self._file.write(bytes(rest))
        self._places.append((Encoded(encoded.address, encoded.table, []), self._file.size))
        for part in encoded.parts:
            self._file.write(part)

    def finish(self) -> StoredPack:
        """Write directory and footer, make the file durable, and give it its name."""
        start = self._file.size
        directory = bytearray()
        places = []
        for encoded, offset in self._places:
            record = encoded.table.record()
            directory += _ENTRY.pack(offset, len(record), 0)
            at = start + len(directory)
            directory += record
            places.append(Place(encoded.address, encoded.table, offset, at, len(record)))
        hashed = digest(bytes(directory))
        self._file.write(bytes(directory))
        self._file.write(_FOOTER.pack(start, len(directory), len(places), hashed, MAGIC))
        size = self._file.size
        self._file.publish(hashed.hex() + SUFFIX)
        return StoredPack(hashed.hex(), size, tuple(places))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def read_pack(path: Path) -> StoredPack:
    """Read a pack's directory, checked against its name; needs nothing but the file.

    Raises:
        CorruptionError: It is damaged or cut short.
        FormatError: It was written by a newer version.
        LaminaError: It cannot be read.
    """
    file = fs.FileReader(path)
    where = f"pack {path.stem}"
    if file.size < _HEADER.size + _FOOTER.size:
        raise wrong_bytes(where, "it is too short to be a pack")
    magic, version, flags, _ = _HEADER.unpack(file.read(0, _HEADER.size))
    start, length, count, hashed, closing = _FOOTER.unpack(file.read(file.size - _FOOTER.size, _FOOTER.size))
    if magic != MAGIC or closing != MAGIC:
        raise wrong_bytes(where, "it does not begin and end as a pack does")
    if version > VERSION or flags:
        raise FormatError(
            f"{path} was written by a newer Lamina (pack format {version}).",
            hint="Upgrade with `pip install --upgrade lamina`.",
        )
    if start < _HEADER.size or start + length != file.size - _FOOTER.size:
        raise wrong_bytes(where, "its directory is not where its footer says")
    directory = file.read(start, length)
    if digest(directory) != hashed or hashed.hex() != path.stem:
        raise wrong_bytes(where, "its directory is not the one that it is named after")
    places = tuple(_entries(directory, start, where))
    if len(places) != count:
        raise wrong_bytes(where, "its directory has another number of entries")
    return StoredPack(path.stem, file.size, places)


def _entries(directory: bytes, start: int, where: str) -> Iterator[Place]:
    at = 0
    while at < len(directory):
        if at + _ENTRY.size > len(directory):
            raise wrong_bytes(where, "its directory ends in the middle of an entry")
        offset, size, _ = _ENTRY.unpack_from(directory, at)
        at += _ENTRY.size
        record = directory[at : at + size]
        table = parse_record(record, None, where)
        if offset + table.stored > start:
            raise wrong_bytes(where, "an object reaches into its directory")
        yield Place(table.address(), table, offset, start + at, size)
        at += size
