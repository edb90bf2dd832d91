"""The objects of a change on their way to disk: in the catalog while they are few, in a pack beyond that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from lamina.errors import CorruptionError
from lamina.states.context import StatesContext, boot_id
from lamina.storage.objects import batches
from lamina.storage.packs import PackWriter, StoredPack
from lamina.storage.shards import Encoded

__all__ = ["INLINE_BYTES", "Draft", "flush_reads"]

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
        self.healed = False
        """Whether an object that was damaged or missing was stored anew."""
        self._whole: dict[int, bool] = {}
        """Packs that were looked at, and whether they are there at full length."""

    @property
    def written(self) -> int:
        """Bytes that the objects add to the store."""
        return self._pack.size if self._pack else self._size

    def known(self, address: bytes) -> bool:
        """Whether an object is part of this change, or stored already."""
        if address in self.new or address in self.reused:
            return True
        with self._context.catalog.read("looking for an object") as reader:
            sql = "SELECT pack FROM object WHERE address = ? AND damaged = 0"
            found = reader.db.execute(sql, (address,)).fetchall()
            if not found or self.broken(reader.db, {found[0][0]}):
                return False
        self.reused.add(address)
        return True

    def broken(self, db: Any, packs: Iterable[int]) -> set[int]:
        """Return those of these packs that are missing or have another size than was written.

        None of them is opened, and each is looked at once a change.

        Args:
            db: A connection inside a transaction.
            packs: Their numbers; 0, the catalog itself, is no pack.
        """
        wanted = set(packs) - {0}
        if not wanted:
            return wanted
        for batch in batches(wanted - self._whole.keys()):
            marks = ", ".join("?" * len(batch))
            for id, name, size in db.execute(f"SELECT id, name, size FROM pack WHERE id IN ({marks})", batch):
                self._whole[id] = self._context.home.size(name) == size
        return {id for id in wanted if not self._whole.get(id, False)}

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

        Raises:
            CorruptionError: What is to be used again is known to be damaged, or lies in a pack that is not there or
                was cut short. What is stored anew takes the place of what lay in such a pack.
        """
        found = _find_packs(db, self.reused | self.new)
        if not self.reused <= found.keys():
            return False
        broken = self.broken(db, {pack for pack, _ in found.values()})
        for address in self.reused:
            pack, damaged = found[address]
            if damaged or pack in broken:
                raise _not_there(address, "a repair found it so" if damaged else "its pack is missing or was cut short")
        self.healed = any(found[one][1] or found[one][0] in broken for one in found.keys() & self.new)
        rows: list[tuple[Any, ...]] = []
        if self._pack is not None:
            durable = self._context.durable
            sql = (
                "INSERT INTO pack (name, size, synced, boot) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET synced = max(synced, excluded.synced) RETURNING id"
            )
            pack = db.execute(
                sql, (self._pack.name, self._pack.size, int(durable), "" if durable else boot_id())
            ).fetchall()[0][0]
            for place in self._pack.places:
                table = place.table
                rows.append(
                    (place.address, int(table.kind), table.length, table.stored, pack, place.offset,
                     place.record, place.record_size, None)
                )  # fmt: skip
        for encoded in self._waiting:
            table, record = encoded.table, encoded.table.record()
            data = b"".join([record, *(bytes(part) for part in encoded.parts)])
            rows.append(
                (encoded.address, int(table.kind), table.length, table.stored, 0, len(record), 0, len(record), data)
            )
        lost = ", ".join(str(id) for id in broken)
        db.executemany(
            "INSERT INTO object (address, kind, length, stored, pack, start, record, record_size, data) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (address) DO UPDATE SET stored = excluded.stored, "
            "pack = excluded.pack, start = excluded.start, record = excluded.record, "
            "record_size = excluded.record_size, data = excluded.data, damaged = 0 "
            f"WHERE damaged = 1 OR pack IN ({lost})",
            rows,
        )
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _find_packs(db: Any, addresses: set[bytes]) -> dict[bytes, tuple[int, int]]:
    """Return pack and mark of damage of these objects, as far as they are there."""
    found: dict[bytes, tuple[int, int]] = {}
    for batch in batches(addresses):
        sql = f"SELECT address, pack, damaged FROM object WHERE address IN ({', '.join('?' * len(batch))})"
        found.update((address, (pack, damaged)) for address, pack, damaged in db.execute(sql, batch))
    return found


def _not_there(address: bytes, why: str) -> CorruptionError:
    return CorruptionError(
        f"Object {address.hex()[:16]}, which the change leaves as it is, is damaged: {why}; nothing was written.",
        hint="Commit the whole array again, or run `lamina repair` and go on from an older whole version.",
    )


def flush_reads(db: Any, reads: Counter[int]) -> None:
    """Add what was read to the counts, inside a write transaction."""
    db.executemany("UPDATE object SET reads = reads + ? WHERE id = ?", [(count, id) for id, count in reads.items()])
