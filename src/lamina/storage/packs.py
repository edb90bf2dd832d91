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
from typing import Protocol, Self

from lamina import fs
from lamina._version import __version__
from lamina.errors import FormatError
from lamina.storage.frames import digest
from lamina.storage.shards import Encoded, FrameTable, parse_record, wrong_bytes

__all__ = [
    "ALIGNMENT",
    "SUFFIX",
    "PackFolder",
    "PackHome",
    "PackReader",
    "PackSink",
    "PackWriter",
    "Place",
    "StoredPack",
    "read_pack",
]

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


class PackReader(Protocol):
    """A pack that is read at offsets, without a position, by several threads; :class:`lamina.fs.FileReader` is one."""

    path: str
    """What messages call it."""
    size: int
    """Bytes."""

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes; a ``CorruptionError`` where it ends before that."""
        ...

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill a view; a ``CorruptionError`` where it ends before that."""
        ...

    def advise(self, offset: int, size: int) -> None:
        """Hear which bytes will be read soon; may do nothing."""
        ...

    def map(self, offset: int, size: int) -> memoryview:
        """Return a read-only map of bytes; an ``InvalidInputError`` where there is nothing to map."""
        ...


class PackSink(Protocol):
    """A pack that has no name yet; :class:`lamina.fs.FileWriter` is one."""

    size: int
    """Bytes so far."""

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        ...

    def publish(self, name: str) -> str:
        """Give it its name, whole; when this returns it is as durable as was asked for."""
        ...

    def close(self) -> None:
        """Leave nothing behind where it was not published."""
        ...


class PackHome(Protocol):
    """Where packs lie: a folder here, an object store where someone writes one.

    A pack is written once, under a name that its content decides, and never changed, so a home needs no locks: all of
    them are held by those who call it. What it must keep to is told by :class:`lamina.testing.PackTests`.
    """

    def create(self, *, durable: bool) -> PackSink:
        """Begin a pack."""
        ...

    def open(self, name: str) -> PackReader:
        """Open a pack; a ``NotFoundError`` where it is not there."""
        ...

    def names(self) -> list[str]:
        """Return the names of all packs, in order."""
        ...

    def size(self, name: str) -> int | None:
        """Return a pack's bytes, or None where it is not there."""
        ...

    def sync(self, name: str) -> None:
        """Make a pack durable that was created without that; nothing where it is not there."""
        ...

    def remove(self, name: str) -> None:
        """Remove a pack; nothing where it is not there."""
        ...

    def sweep(self) -> None:
        """Remove what writers left that died before they published; nobody writes meanwhile."""
        ...


class PackFolder:
    """Packs as files of one folder, which is made with the first one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, *, durable: bool) -> fs.FileWriter:
        """Begin a pack."""
        fs.make_dir(self.folder, mode=0o700)
        return fs.FileWriter(self.folder, durable=durable)

    def open(self, name: str) -> fs.FileReader:
        """Open a pack."""
        return fs.FileReader(self._path(name))

    def names(self) -> list[str]:
        """Return the names of all packs, in order."""
        return sorted(path.stem for path in self.folder.glob(f"*{SUFFIX}"))

    def size(self, name: str) -> int | None:
        """Return a pack's bytes, or None where it is not there."""
        try:
            return self._path(name).stat().st_size
        except OSError:
            return None

    def sync(self, name: str) -> None:
        """Make a pack durable."""
        if self._path(name).exists():
            fs.sync_file(self._path(name))

    def remove(self, name: str) -> None:
        """Remove a pack."""
        fs.remove_file(self._path(name), missing_ok=True)

    def sweep(self) -> None:
        """Remove temporary files."""
        fs.sweep_temporary(self.folder, older_than_s=0.0)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"


class PackWriter:
    """Writes one pack as a stream; leaving the ``with`` block without :meth:`finish` removes it.

    Args:
        home: Where packs lie.
        durable: Whether :meth:`finish` waits for the disk.
    """

    def __init__(self, home: PackHome, *, durable: bool = True) -> None:
        self._file = home.create(durable=durable)
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


def read_pack(home: PackHome, name: str) -> StoredPack:
    """Read a pack's directory, checked against its name; needs nothing but the pack.

    Raises:
        CorruptionError: It is damaged or cut short.
        FormatError: It was written by a newer version.
        LaminaError: It cannot be read.
    """
    file = home.open(name)
    where = f"pack {name}"
    if file.size < _HEADER.size + _FOOTER.size:
        raise wrong_bytes(where, "it is too short to be a pack")
    magic, version, flags, _ = _HEADER.unpack(file.read(0, _HEADER.size))
    start, length, count, hashed, closing = _FOOTER.unpack(file.read(file.size - _FOOTER.size, _FOOTER.size))
    if magic != MAGIC or closing != MAGIC:
        raise wrong_bytes(where, "it does not begin and end as a pack does")
    if version > VERSION or flags:
        raise FormatError(
            f"{file.path} was written by a newer Lamina (pack format {version}).",
            hint="Upgrade with `pip install --upgrade lamina`.",
        )
    if start < _HEADER.size or start + length != file.size - _FOOTER.size:
        raise wrong_bytes(where, "its directory is not where its footer says")
    directory = file.read(start, length)
    if digest(directory) != hashed or hashed.hex() != name:
        raise wrong_bytes(where, "its directory is not the one that it is named after")
    places = tuple(_entries(directory, start, where))
    if len(places) != count:
        raise wrong_bytes(where, "its directory has another number of entries")
    return StoredPack(name, file.size, places)


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
