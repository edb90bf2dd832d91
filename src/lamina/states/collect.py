"""Giving room back: versions that are gone, objects that nobody needs, packs that are mostly dead.

References go before bytes. A version is doomed in one transaction and removed in a later one, so that a reader either
held it before (and is seen) or finds it doomed. Files are unlinked while no writer holds packs of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from lamina.errors import CorruptionError, LaminaError
from lamina.states.context import StatesContext, boot_id
from lamina.states.rows import DOOMED, remove_versions, walk_manifests
from lamina.storage.objects import Stored, batches, find_objects
from lamina.storage.packs import PackWriter
from lamina.storage.shards import Encoded

__all__ = ["DEAD_SHARE", "collect", "move_objects"]

DEAD_SHARE = 0.20
"""Share of a pack that may be dead; past it the pack is written anew. So dead bytes stay within a quarter of live."""
_COUNTS = ("versions", "objects", "packs_removed", "packs_rewritten", "bytes")
_SMALL = 8 << 20
_MANY_SMALL = 8
"""Packs under 8 MB are joined once there are so many."""
_TARGET = 256 << 20
"""Size from which on a new pack is begun while others are written anew."""


@dataclass(frozen=True, slots=True)
class _Pack:
    id: int
    name: str
    size: int
    live: int


def collect(context: StatesContext, *, dry_run: bool) -> dict[str, Any]:
    """Give back what nothing needs.

    Returns:
        ``versions`` and ``objects`` that went, ``packs_removed`` and ``packs_rewritten``, ``bytes`` of files given
        back, ``damaged`` packs that were left as they are, and ``dry_run``.
    """
    if dry_run:
        return _estimate(context)
    versions = _remove_gone(context)
    objects = _remove_dead(context)
    before = _pack_bytes(context)
    rewritten, damaged = _rewrite(context)
    removed = _unlink(context)
    return {
        "versions": versions,
        "objects": objects,
        "packs_removed": removed,
        "packs_rewritten": rewritten,
        "bytes": max(0, before - _pack_bytes(context)),
        "damaged": damaged,
        "dry_run": False,
    }


def _estimate(context: StatesContext) -> dict[str, Any]:
    leased = context.leased()
    with context.catalog.read("looking for what is dead") as reader:
        db = reader.db
        gone = {row[1] for row in db.execute("SELECT seq, id FROM state_version WHERE gone <> 0")} - leased
        live: set[bytes] = set()
        for _, id, _, manifest in walk_manifests(db):
            if id not in gone:
                live.update(manifest.addresses())
        dead, size = 0, 0
        for address, stored, record in db.execute("SELECT address, stored, record_size FROM object"):
            if address not in live:
                dead += 1
                size += stored + record
    return {
        "versions": len(gone),
        "objects": dead,
        "packs_removed": 0,
        "packs_rewritten": 0,
        "bytes": size,
        "damaged": [],
        "dry_run": True,
    }


def _remove_gone(context: StatesContext) -> int:
    """Remove versions that were deleted and that nobody reads; return how many."""
    with context.catalog.read("looking for what is gone") as reader:
        if not reader.db.execute("SELECT 1 FROM state_version WHERE gone <> 0 LIMIT 1").fetchall():
            return 0
    leased = context.leased()
    with context.catalog.write("dooming versions") as writer:
        for seq, id in writer.db.execute("SELECT seq, id FROM state_version WHERE gone <> 0").fetchall():
            doom = 1 if id in leased else DOOMED
            writer.db.execute("UPDATE state_version SET gone = ? WHERE seq = ?", (doom, seq))
    leased = context.leased()  # whoever looked before the versions were doomed has a lease by now
    with context.catalog.write("removing versions") as writer:
        doomed = set()
        for seq, id in writer.db.execute("SELECT seq, id FROM state_version WHERE gone = ?", (DOOMED,)).fetchall():
            if id in leased:
                writer.db.execute("UPDATE state_version SET gone = 1 WHERE seq = ?", (seq,))
            else:
                doomed.add(seq)
        remove_versions(writer.db, doomed)
    return len(doomed)


def _remove_dead(context: StatesContext) -> int:
    """Remove the rows of objects that no version needs; return how many."""
    live: set[bytes] = set()
    last = 0
    with context.catalog.read("looking for dead objects") as reader:
        for seq, _, _, manifest in walk_manifests(reader.db):
            live.update(manifest.addresses())
            last = seq
        dead = [
            id for id, address in reader.db.execute("SELECT id, address FROM object").fetchall() if address not in live
        ]
    if not dead:
        return 0
    removed = 0
    with context.catalog.write("removing dead objects") as writer:
        for _, _, _, manifest in walk_manifests(writer.db, last):  # committed meanwhile
            live.update(manifest.addresses())
        for batch in batches(dead):
            marks = ", ".join("?" * len(batch))
            rows = writer.db.execute(f"SELECT id, address FROM object WHERE id IN ({marks})", batch).fetchall()
            gone = [(id,) for id, address in rows if address not in live]
            writer.db.executemany("DELETE FROM object WHERE id = ?", gone)
            removed += len(gone)
    return removed


def _packs(db: Any) -> list[_Pack]:
    sql = (
        "SELECT p.id, p.name, p.size, coalesce(sum(o.stored + o.record_size), 0) FROM pack p "
        "LEFT JOIN object o ON o.pack = p.id GROUP BY p.id ORDER BY p.id"
    )
    return [_Pack(*row) for row in db.execute(sql).fetchall()]


def _rewrite(context: StatesContext) -> tuple[int, list[str]]:
    """Write packs anew that are dead past the share, or small and many; return how many, and the damaged ones."""
    with context.catalog.read("looking at packs") as reader:
        packs = [pack for pack in _packs(reader.db) if pack.live]
    chosen = [pack for pack in packs if pack.live < pack.size * (1 - DEAD_SHARE)]
    small = [pack for pack in packs if pack.size < _SMALL and pack not in chosen]
    if len(small) >= _MANY_SMALL:
        chosen += small
    damaged: list[str] = []
    done = 0
    group: list[_Pack] = []
    size = 0
    for pack in [*chosen, None]:
        if group and (pack is None or size + pack.live > _TARGET):
            done += _rewrite_group(context, group, damaged)
            group, size = [], 0
        if pack is not None:
            group.append(pack)
            size += pack.live
    return done, damaged


def _rewrite_group(context: StatesContext, group: list[_Pack], damaged: list[str]) -> int:
    wanted = []
    for pack in group:
        with context.catalog.read("looking at a pack") as reader:
            rows = reader.db.execute("SELECT address FROM object WHERE pack = ? ORDER BY start", (pack.id,)).fetchall()
            found = find_objects(reader.db, [row[0] for row in rows])
        try:  # first a look at every byte: what is damaged stays where it is, for repair to judge
            stored = [found[row[0]] for row in rows]
            for one in stored:
                context.objects.as_stored(one)
        except (CorruptionError, LaminaError):
            damaged.append(pack.name)
            continue
        wanted += stored
    if wanted:
        move_objects(context, wanted, context.objects.as_stored)
    return len(group)


def move_objects(context: StatesContext, objects: Iterable[Stored], make: Callable[[Stored], Encoded]) -> int:
    """Write objects into a new pack and let the catalog point there; return the bytes of the pack.

    Args:
        context: Of the store.
        objects: Which; nothing of them changes but where and how they are stored.
        make: Returns an object as it is to be stored.
    """
    moved: dict[bytes, Stored] = {}
    with context.writing_packs() as home:
        with PackWriter(home, durable=context.durable) as writer:
            for one in objects:
                writer.add(make(one))
                moved[one.address] = one
            pack = writer.finish()
        with context.catalog.write("moving objects") as change:
            db = change.db
            sql = (
                "INSERT INTO pack (name, size, synced, boot) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET synced = max(synced, excluded.synced) RETURNING id"
            )
            durable = context.durable
            id = db.execute(sql, (pack.name, pack.size, int(durable), "" if durable else boot_id())).fetchall()[0][0]
            for place in pack.places:
                db.execute(
                    "UPDATE object SET pack = ?, start = ?, record = ?, record_size = ?, stored = ?, data = NULL "
                    "WHERE id = ? AND address = ?",
                    (id, place.offset, place.record, place.record_size, place.table.stored, moved[place.address].id,
                     place.address),
                )  # fmt: skip
    return pack.size


def _unlink(context: StatesContext) -> int:
    """Remove packs that no object lies in, and files that no row knows; return how many files went."""
    if not context.packs.is_dir() and not context.home.names():
        return 0
    removed = 0
    with context.alone_with_packs() as alone:
        if not alone:
            return 0  # a commit is under way; the next collection has the rest
        with context.catalog.write("removing packs") as writer:
            writer.db.execute("DELETE FROM pack WHERE NOT EXISTS (SELECT 1 FROM object o WHERE o.pack = pack.id)")
            known = {row[0] for row in writer.db.execute("SELECT name FROM pack")}
        for name in context.home.names():
            if name not in known:
                context.home.remove(name)
                removed += 1
        context.home.sweep()
    return removed


def _pack_bytes(context: StatesContext) -> int:
    return sum(context.home.size(name) or 0 for name in context.home.names())
