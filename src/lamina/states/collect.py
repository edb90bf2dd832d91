"""Giving room back: versions that are gone, objects that nobody needs, packs that are mostly dead.

References go before bytes. A version is doomed in one transaction and removed in a later one, so that a reader either
held it before (and is seen) or finds it doomed. Files are unlinked while no writer holds packs of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from lamina.errors import CorruptionError, DiskFullError, LaminaError, LockedError
from lamina.states.context import StatesContext, boot_id
from lamina.states.room import Pack, estimate, note_kept, packs_of, to_rewrite, vacuum_pays
from lamina.states.rows import DOOMED, remove_versions, walk_manifests
from lamina.storage.objects import Stored, batches, find_objects
from lamina.storage.packs import PackWriter
from lamina.storage.shards import Encoded

__all__ = ["collect", "collect_by_and_by", "move_objects"]

_CALLS = 16
"""Calls for which retention rests after it has collected: what it could not do then it cannot do at once either."""
_TARGET = 256 << 20
"""Size from which on a new pack is begun while others are written anew."""


def collect(context: StatesContext, *, dry_run: bool, vacuum: bool = True) -> dict[str, Any]:
    """Give back what nothing needs.

    Args:
        context: Of the store.
        dry_run: Only say what would go; its bytes are about what comes back.
        vacuum: Also write the catalog anew where much of it is unused.

    Returns:
        ``versions`` and ``objects`` that went, ``packs_removed`` and ``packs_rewritten``, ``bytes`` of files given
        back, ``damaged`` packs that were left as they are, and ``dry_run``.
    """
    if dry_run:
        return estimate(context)
    versions = _remove_gone(context)
    objects = _remove_dead(context)
    before = _bytes(context)
    rewritten, damaged = _rewrite(context)
    removed = _unlink(context)
    if versions or objects or removed or not vacuum:
        with context.catalog.write("noting what is needed") as writer:
            note_kept(writer.db)
    if vacuum:
        _vacuum(context)
    return {
        "versions": versions,
        "objects": objects,
        "packs_removed": removed,
        "packs_rewritten": rewritten,
        "bytes": max(0, before - _bytes(context)),
        "damaged": damaged,
        "dry_run": False,
    }


def collect_by_and_by(context: StatesContext) -> None:
    """Collect because the store has grown much since the last time; then not for sixteen calls of this handle.

    What becomes of it concerns nobody who calls: what it could not do is left to the next one.
    """
    if context.calls_to_rest > 0:
        context.calls_to_rest -= 1
        return
    context.calls_to_rest = _CALLS
    with contextlib.suppress(LaminaError):
        collect(context, dry_run=False, vacuum=False)


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


def _rewrite(context: StatesContext) -> tuple[int, list[str]]:
    """Write packs anew that are dead past the share, or small and many; return how many, and the damaged ones."""
    with context.catalog.read("looking at packs") as reader:
        chosen = to_rewrite(packs_of(reader.db))
    damaged: list[str] = []
    done = 0
    group: list[Pack] = []
    size = 0
    for pack in [*chosen, None]:
        if group and (pack is None or size + pack.live > _TARGET):
            done += _rewrite_group(context, group, damaged)
            group, size = [], 0
        if pack is not None:
            group.append(pack)
            size += pack.live
    return done, damaged


def _rewrite_group(context: StatesContext, group: list[Pack], damaged: list[str]) -> int:
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


def _vacuum(context: StatesContext) -> None:
    """Write the catalog anew where that gives much room back."""
    with context.catalog.read("looking at the catalog") as reader:
        pays = vacuum_pays(reader.db)
    if pays:
        with contextlib.suppress(LockedError, DiskFullError):  # it stays as it is; nothing else depends on it
            context.catalog.pool.vacuum(0.0)


def _bytes(context: StatesContext) -> int:
    """Return the bytes of packs and of the catalog."""
    with context.catalog.read("measuring the catalog") as reader:
        size = int(reader.db.pragma("page_count")) * int(reader.db.pragma("page_size"))
    return size + sum(context.home.size(name) or 0 for name in context.home.names())
