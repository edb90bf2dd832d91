"""Finding and reading objects: where each lies, its frame table, its frames; every frame is verified.

Decoded frames stay in a cache that is bounded in bytes. What it holds is never handed out: readers copy from it.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Any, Protocol

import numpy as np

from lamina.errors import CorruptionError, LaminaError, NotFoundError
from lamina.storage.frames import FRAME_BYTES, Bytes
from lamina.storage.packs import PackHome, PackReader
from lamina.storage.recalled import RecalledContents
from lamina.storage.shards import Encoded, FrameTable, parse_record, wrong_bytes

__all__ = ["HOT_BYTES", "ObjectStore", "Stored", "batches", "find_objects", "span"]

HOT_BYTES = 16 << 20
"""Decoded frames that a handle keeps: with numpy itself, within the 40 MB that reading a thousand slots may take."""
_OPEN_PACKS = 64
_AT_ONCE = 500
_PREFETCH_FROM = 4
"""Frames from which on the system is told beforehand what will be read."""
_COLUMNS = (
    "o.id, o.address, o.kind, o.length, o.stored, o.damaged, o.pack, p.name, o.start, o.record, o.record_size, o.data "
    "FROM object o LEFT JOIN pack p ON p.id = o.pack"
)


class _Reads(Protocol):
    def read(self, doing: str = ...) -> AbstractContextManager[Any]:
        """Open one view of the catalog."""
        ...


class At:
    """One place where an object lies; immutable but for the table, which is read when it is first needed."""

    __slots__ = ("data", "pack", "pack_name", "record", "record_size", "start", "table")

    def __init__(self, row: Sequence[Any]) -> None:
        self.pack, self.pack_name, self.start, self.record, self.record_size, self.data = row
        self.table: FrameTable | None = None


class Stored:
    """An object, and where it lies now."""

    __slots__ = ("address", "at", "damaged", "id", "kind", "length", "stored")

    def __init__(self, row: Sequence[Any]) -> None:
        self.id, self.address, self.kind, self.length, self.stored, self.damaged = row[:6]
        self.at = At(row[6:])

    @property
    def name(self) -> str:
        """What it is called in messages."""
        where = f"pack {self.at.pack_name}" if self.at.pack else "the catalog"
        return f"object {self.address.hex()[:16]} in {where}"


def batches(values: Iterable[Any], size: int = _AT_ONCE) -> Iterator[list[Any]]:
    """Yield lists of at most ``size``."""
    batch: list[Any] = []
    for value in values:
        batch.append(value)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def find_objects(db: Any, addresses: Iterable[bytes]) -> dict[bytes, Stored]:
    """Return where objects lie; what is not there is left out."""
    found: dict[bytes, Stored] = {}
    for batch in batches(dict.fromkeys(addresses)):
        marks = ", ".join("?" * len(batch))
        for row in db.execute(f"SELECT {_COLUMNS} WHERE o.address IN ({marks})", batch):
            found[row[1]] = Stored(row)
    return found


class ObjectStore:
    """Reads objects; safe to use from several threads.

    Args:
        catalog: Of the store.
        home: Where packs lie.
        hot_bytes: Bound of the cache of decoded frames.
        needed: Whether anything still refers to an object of this address: what is not there and is not needed either
            was collected, and is no damage. None takes all that is missing for damage.
    """

    def __init__(
        self,
        catalog: _Reads,
        home: PackHome,
        *,
        hot_bytes: int = HOT_BYTES,
        needed: Callable[[bytes], bool] | None = None,
    ) -> None:
        self.home = home
        self.hot_bytes = hot_bytes
        self.counters: Counter[str] = Counter()
        """``hot_hits``, ``warm_reads``, ``cold_reads``: frames by where they came from."""
        self.recalled = RecalledContents()
        self._catalog = catalog
        self._needed = needed
        self._packs: OrderedDict[int, PackReader] = OrderedDict()
        self._hot: OrderedDict[tuple[bytes, int], Any] = OrderedDict()
        self._hot_size = 0
        self._reads: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._local = threading.local()

    # --- where objects lie -------------------------------------------------------------------------------------------

    def find(self, addresses: Iterable[bytes], *, missing_ok: bool = False) -> dict[bytes, Stored]:
        """Return where objects lie.

        Raises:
            CorruptionError: One of them is not there, and ``missing_ok`` is False.
            NotFoundError: That, and no version needs it any more: it was collected meanwhile.
        """
        wanted = list(dict.fromkeys(addresses))
        with self._catalog.read("finding objects") as reader:
            found = find_objects(reader.db, wanted)
        for address in wanted:
            if address not in found and not missing_ok:
                raise self._missing(address, f"object {address.hex()[:16]}", "the catalog does not know it")
        return found

    def table(self, stored: Stored) -> FrameTable:
        """Return an object's frame table, verified by its address."""
        return stored.at.table or self._twice(stored, lambda at: self._table(stored, at))

    # --- reading -----------------------------------------------------------------------------------------------------

    def frame(self, stored: Stored, number: int) -> Any:
        """Return the plain bytes of one frame, read-only."""
        key = (stored.address, number)
        with self._lock:
            known = self._hot.get(key)
            if known is not None:
                self._hot.move_to_end(key)
                self.counters["hot_hits"] += 1
                return known
        return self._twice(stored, lambda at: self._frame(stored, at, number))

    def _frame(self, stored: Stored, at: At, number: int) -> Any:
        table = self._table(stored, at)
        offset, size = span(table, number, number + 1)
        plain = table.decode(number, self._bytes(stored, at, at.start + offset, size), stored.name)
        if not isinstance(plain, bytes):
            plain = bytes(plain)
        cold = table.codings and table.codings[number]
        self._remember((stored.address, number), plain, "cold_reads" if cold else "warm_reads")
        return plain

    def read_range(self, stored: Stored, start: int, stop: int) -> bytes:
        """Return plain bytes ``start`` to ``stop`` of an object."""
        table = self.table(stored)
        parts = []
        for number in range(start // table.frame_bytes, -(-stop // table.frame_bytes)):
            first = number * table.frame_bytes
            parts.append(self.frame(stored, number)[max(start - first, 0) : stop - first])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def gather(self, stored: Stored, places: Any, unit: int, out: Bytes, *, keep: bool = True) -> None:
        """Copy units (whole ones lie in each frame) at numbers ``places`` into the rows of ``out``.

        Args:
            stored: The object.
            places: Numbers of the units.
            unit: Bytes of one.
            out: A row a place.
            keep: Keep the frames that are decoded; False for a sweep over many, which would drive out all others.
        """
        table = self.table(stored)
        per_frame = table.frame_bytes // unit
        numbers = places // per_frame
        if places.size == 1:
            number = int(numbers[0])
            out[0] = self._units(self.frame(stored, number), unit, per_frame)[int(places[0]) - number * per_frame]
            return
        order = np.argsort(numbers, kind="stable")
        ordered = numbers[order]
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        stops = np.append(starts[1:], order.size)
        chosen = ordered[starts]
        if keep:
            self.prefetch(stored, chosen)
        for number, start, stop in zip(chosen.tolist(), starts.tolist(), stops.tolist(), strict=True):
            rows = order[start:stop]
            frame = self.frame(stored, number) if keep else self.passing(stored, number)
            out[rows] = self._units(frame, unit, per_frame)[places[rows] - number * per_frame]

    def passing(self, stored: Stored, number: int) -> Any:
        """Return a frame that is used once, at once, by this thread: read into the thread's own room."""
        known = self._hot.get((stored.address, number))
        if known is not None:
            return known
        return self._twice(stored, lambda at: self._pass(stored, at, number))

    def _pass(self, stored: Stored, at: At, number: int) -> Any:
        table = self._table(stored, at)
        offset, size = span(table, number, number + 1)
        if not at.pack:
            return table.decode(number, self._bytes(stored, at, at.start + offset, size), stored.name)
        room: bytearray | None = self._local.__dict__.get("room")
        if room is None or len(room) < size:
            room = self._local.room = bytearray(max(size, 2 * FRAME_BYTES))
        view = memoryview(room)[:size]
        self.reader(at).read_into(view, at.start + offset)
        return table.decode(number, view, stored.name)

    def prefetch_tables(self, objects: Iterable[Stored]) -> None:
        """Let the system fetch frame tables: read one after the other, each would wait for the disk."""
        wanted = sorted(
            (stored.at for stored in objects if stored.at.pack and stored.at.table is None),
            key=lambda at: (at.pack, at.record),
        )
        for _, places in groupby(wanted, key=lambda at: at.pack):
            start = stop = 0
            file = None
            with contextlib.suppress(NotFoundError):  # it moved; reading finds out where
                for at in places:
                    file = file or self.reader(at)
                    if at.record > stop + FRAME_BYTES:  # what lies between is fetched, too, where that is little
                        file.advise(start, stop - start)
                        start = at.record
                    stop = at.record + at.record_size
                if file is not None:
                    file.advise(start, stop - start)

    def prefetch(self, stored: Stored, numbers: Any, *, least: int = _PREFETCH_FROM) -> None:
        """Let the system fetch frames while others are being decoded; fewer than ``least`` are not worth it."""
        if not stored.at.pack or len(numbers) < least:
            return
        self._twice(stored, lambda at: self._prefetch(stored, at, numbers))

    def _prefetch(self, stored: Stored, at: At, numbers: Any) -> None:
        table, file = self._table(stored, at), self.reader(at)
        for number in numbers.tolist():
            offset, size = span(table, number, number + 1)
            file.advise(at.start + offset, size)

    def read_into(self, stored: Stored, out: Bytes, frames: Sequence[int] | None = None) -> None:
        """Fill ``out`` with the plain bytes of frames, one after the other.

        Raw frames are read straight into it, those that follow each other at once. Nothing goes through the cache.

        Args:
            stored: The object.
            out: As long as the frames are.
            frames: Their numbers, ascending; None is all.
        """
        self._twice(stored, lambda at: self._read_into(stored, at, out, frames))

    def _read_into(self, stored: Stored, at: At, out: Bytes, frames: Sequence[int] | None) -> None:
        table = self._table(stored, at)
        if frames is None:
            frames = range(table.frames)
        if not frames:
            return
        if (len(frames) - 1) * table.frame_bytes + table.plain_size(frames[-1]) != out.size:
            raise wrong_bytes(stored.name, f"it has {table.length} bytes, and others were to be read")
        runs = list(_runs(frames))
        if at.pack and len(runs) >= _PREFETCH_FROM:  # each would wait for the disk
            for offset, size in (span(table, first, last) for first, last in runs):
                self.reader(at).advise(at.start + offset, size)
        done = 0
        for first, last in runs:
            offset, size = span(table, first, last)
            if not table.codings:
                part = out.data[done : done + size]
                if at.pack:
                    self.reader(at).read_into(part, at.start + offset)
                else:
                    part[:] = self._bytes(stored, at, at.start + offset, size)
                done += size
                continue
            data, taken = memoryview(self._bytes(stored, at, at.start + offset, size)), 0
            for number in range(first, last):
                plain = table.plain_size(number)
                frame = table.decode(number, data[taken : taken + table.sizes[number]], stored.name)
                out[done : done + plain] = np.frombuffer(frame, np.uint8)
                taken += table.sizes[number]
                done += plain
        if not table.codings:
            table.check(frames, out.data, stored.name)

    def whole(self, stored: Stored) -> Bytes:
        """Return all plain bytes of an object, verified."""
        out = np.empty(self.table(stored).length, np.uint8)
        self.read_into(stored, out)
        return out

    def as_stored(self, stored: Stored) -> Encoded:
        """Return an object as it is stored, every frame verified; table and bytes are of one place.

        Raises:
            CorruptionError: A byte is not what was written.
        """

        def read(at: At) -> Encoded:
            table = self._table(stored, at)
            data = memoryview(self._bytes(stored, at, at.start, table.stored))
            parts, done = [], 0
            for number in range(table.frames):
                size = table.sizes[number] if table.codings else table.plain_size(number)
                table.decode(number, data[done : done + size], stored.name)
                parts.append(data[done : done + size])
                done += size
            return Encoded(stored.address, table, parts)

        encoded: Encoded = self._twice(stored, read)
        return encoded

    def raw_span(self, stored: Stored) -> tuple[PackReader, int, int] | None:
        """Return file, offset and size of an object whose frames all lie raw in a pack; None otherwise."""

        def span(at: At) -> tuple[PackReader, int, int] | None:
            if not at.pack or self._table(stored, at).codings:
                return None
            return self.reader(at), at.start, stored.length

        found: tuple[PackReader, int, int] | None = self._twice(stored, span)
        return found

    # --- what is kept ------------------------------------------------------------------------------------------------

    def count_read(self, stored: Stored) -> None:
        """Note that an object was used; written later, with something else."""
        with self._lock:
            self._reads[stored.id] += 1

    def take_reads(self) -> Counter[int]:
        """Return the uses that were noted since the last call, by object."""
        with self._lock:
            taken, self._reads = self._reads, Counter()
        return taken

    def hot(self) -> tuple[int, int]:
        """Return how many decoded frames are kept, and their bytes."""
        with self._lock:
            return len(self._hot), self._hot_size

    def forget(self) -> None:
        """Let go of every open pack and kept frame."""
        with self._lock:
            self._packs.clear()
            self._hot.clear()
            self._hot_size = 0
        self.recalled.clear()

    @staticmethod
    def _units(frame: Any, unit: int, per_frame: int) -> Bytes:
        plain = np.frombuffer(frame, np.uint8)
        if plain.size % unit:  # the last frame of a patch goes on with the numbers of its units
            plain = plain[: plain.size // unit * unit]
        return plain[: per_frame * unit].reshape(-1, unit)

    def _remember(self, key: tuple[bytes, int], plain: bytes, counter: str) -> None:
        with self._lock:
            self.counters[counter] += 1
            if key not in self._hot and len(plain) <= self.hot_bytes:
                self._hot[key] = plain
                self._hot_size += len(plain)
                while self._hot_size > self.hot_bytes:
                    _, old = self._hot.popitem(last=False)
                    self._hot_size -= len(old)

    def _table(self, stored: Stored, at: At) -> FrameTable:
        if at.table is None:
            record = self._bytes(stored, at, at.record, at.record_size)
            table = parse_record(record, stored.address, stored.name)
            if table.length != stored.length:
                raise wrong_bytes(stored.name, "the catalog says another length")
            at.table = table
        return at.table

    def _bytes(self, stored: Stored, at: At, offset: int, size: int) -> bytes:
        if at.pack:
            return self.reader(at).read(offset, size)
        if not isinstance(at.data, bytes) or offset + size > len(at.data):
            raise wrong_bytes(stored.name, "it is too short")
        return at.data[offset : offset + size]

    def _twice(self, stored: Stored, action: Callable[[At], Any]) -> Any:
        """Read an object, and look again where that fails.

        Where its pack is gone, it may have moved meanwhile. Where its bytes are wrong, the file may have been replaced
        by a whole one of the same content since it was opened.
        """
        at = stored.at
        try:
            return action(at)
        except CorruptionError:
            with self._lock:
                opened = self._packs.pop(at.pack, None)
            if opened is None:
                raise
            at.table = None
            return action(at)
        except NotFoundError:
            with self._catalog.read("finding an object again") as reader:
                found = find_objects(reader.db, [stored.address]).get(stored.address)
            if found is None or (found.at.pack, found.at.start) == (at.pack, at.start):
                raise self._missing(stored.address, stored.name, "its pack is missing") from None
        stored.at = found.at
        return action(found.at)

    def _missing(self, address: bytes, where: str, why: str) -> LaminaError:
        """Return the error for an object that is not there: damage, or a version that was removed while it was read."""
        if self._needed is None or self._needed(address):
            return wrong_bytes(where, why)
        return NotFoundError(
            f"What was to be read was removed meanwhile: no version needs {where} any more.",
            hint="Open the state again. A version is held for its reader only where the store's folder may be written.",
            where=where,
        )

    def reader(self, at: At) -> PackReader:
        """Return the pack that a place is in; raises ``NotFoundError`` where it is gone."""
        with self._lock:
            file = self._packs.get(at.pack)
            if file is not None:
                return file
        file = self.home.open(at.pack_name)
        with self._lock:
            self._packs[at.pack] = file
            while len(self._packs) > _OPEN_PACKS:
                self._packs.popitem(last=False)
        return file


def _runs(frames: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last (excluded) of frames that follow each other."""
    if isinstance(frames, range):
        yield frames[0], frames[-1] + 1
        return
    first = before = frames[0]
    for number in frames:
        if number > before + 1:
            yield first, before + 1
            first = number
        before = number
    yield first, before + 1


def span(table: FrameTable, first: int, last: int) -> tuple[int, int]:
    """Return offset (from the object's start) and size of the stored frames ``first`` to ``last``."""
    if not table.codings:
        start = first * table.frame_bytes
        return start, min(last * table.frame_bytes, table.length) - start
    return sum(table.sizes[:first]), sum(table.sizes[first:last])
