"""The objects of a change on their way to disk: in the catalog while they are few, in a pack beyond that."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from lamina.states.context import StatesContext, boot_id
from lamina.storage.objects import batches
from lamina.storage.packs import PackWriter, StoredPack
from lamina.storage.shards import Encoded

__all__ = ["INLINE_BYTES", "Draft", "find_addresses", "flush_reads"]

INLINE_BYTES = 64 << 10
"""New bytes of a change up to which its objects are kept in the catalog: one fsync instead of three."""


class Draft:
    """Takes objects as they are made; use in a ``with`` block that ends after the rows were committed."""

    def __init__(self, context: StatesContext) -> None:
        self._context = context
        self._stack = ExitStack()
        self._waiting: list[Encoded] = []
        self._size = 0
        self._writer: PackWriter | None = None
        self._pack: StoredPack | None = None
        self.new: set[bytes] = set()
        """Addresses of what was added."""
        self.reused: set[bytes] = set()
        """Addresses that were there already and must still be when the rows are committed."""

    @property
    def written(self) -> int:
        """Bytes that the objects add to the store."""
        return self._pack.size if self._pack else self._size

    def known(self, address: bytes) -> bool:
        """Whether an object is part of this change, or stored already."""
        if address in self.new or address in self.reused:
            return True
        with self._context.catalog.read("looking for an object") as reader:
            found = reader.db.execute("SELECT 1 FROM object WHERE address = ? AND damaged = 0", (address,)).fetchall()
        if found:
            self.reused.add(address)
        return bool(found)

    def add(self, encoded: Encoded) -> None:
        """Take one object; it is written once."""
        if encoded.address in self.new:
            return
        self.new.add(encoded.address)
        if self._writer is not None:
            self._writer.add(encoded)
            return
        self._waiting.append(encoded)
        self._size += encoded.table.stored + len(encoded.table.record())
        if self._size > INLINE_BYTES:
            home = self._stack.enter_context(self._context.writing_packs())
            self._writer = self._stack.enter_context(PackWriter(home, durable=self._context.durable))
            for waiting in self._waiting:
                self._writer.add(waiting)
            self._waiting = []

    def finish(self) -> None:
        """Make the pack durable; rows may refer to it from now on."""
        if self._writer is not None:
            self._pack = self._writer.finish()

    def insert(self, db: Any) -> bool:
        """Insert the rows of all objects; returns False where one that was to be used again is gone.

        Args:
            db: A connection inside a write transaction.
        """
        if len(find_addresses(db, self.reused)) != len(self.reused):
            return False
        rows: list[tuple[Any, ...]] = []
        if self._pack is not None:
            durable = self._context.durable
            sql = (
                "INSERT INTO pack (name, size, synced, boot) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET synced = max(synced, excluded.synced) RETURNING id"
            )
            found = db.execute(
                sql, (self._pack.name, self._pack.size, int(durable), "" if durable else boot_id())
            ).fetchall()
            for place in self._pack.places:
                table = place.table
                rows.append(
                    (place.address, int(table.kind), table.length, table.stored, found[0][0], place.offset,
                     place.record, place.record_size, None)
                )  # fmt: skip
        for encoded in self._waiting:
            table, record = encoded.table, encoded.table.record()
            data = b"".join([record, *(bytes(part) for part in encoded.parts)])
            rows.append(
                (encoded.address, int(table.kind), table.length, table.stored, 0, len(record), 0, len(record), data)
            )
        db.executemany(
            "INSERT INTO object (address, kind, length, stored, pack, start, record, record_size, data) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (address) DO UPDATE SET stored = excluded.stored, "
            "pack = excluded.pack, start = excluded.start, record = excluded.record, "
            "record_size = excluded.record_size, data = excluded.data, damaged = 0 WHERE damaged = 1",
            rows,
        )
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def find_addresses(db: Any, addresses: set[bytes]) -> set[bytes]:
    """Return which of these objects are there."""
    found: set[bytes] = set()
    for batch in batches(addresses):
        marks = ", ".join("?" * len(batch))
        found.update(row[0] for row in db.execute(f"SELECT address FROM object WHERE address IN ({marks})", batch))
    return found


def flush_reads(db: Any, reads: Counter[int]) -> None:
    """Add what was read to the counts, inside a write transaction."""
    db.executemany("UPDATE object SET reads = reads + ? WHERE id = ?", [(count, id) for id, count in reads.items()])
