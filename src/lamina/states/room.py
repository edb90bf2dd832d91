"""How much room states take, what a collection would give back, and when one is due."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from lamina.states.context import StatesContext
from lamina.states.rows import walk_manifests

__all__ = ["DEAD_SHARE", "Pack", "due", "estimate", "note_kept", "packs_of", "to_rewrite", "vacuum_pays"]

DEAD_SHARE = 0.20
"""Share of a pack that may be dead; past it the pack is written anew. So dead bytes stay within a quarter of live."""
GROWTH_SHARE = 0.5
"""Share of what was needed after the last collection by which a store may grow before retention collects again."""
GROWTH_BYTES = 16 << 20
"""The same, in bytes, for small stores."""
_SMALL = 8 << 20
_MANY_SMALL = 8
"""Packs under 8 MB are joined once there are so many."""
_FREE_SHARE = 0.25
_FREE_BYTES = 1 << 20
"""Unused room in the catalog from which on a collection writes it anew: more than a megabyte, and a quarter of it."""
_KEPT = "states_kept"


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack, and how many of its bytes are needed."""

    id: int
    name: str
    size: int
    live: int


def packs_of(db: Any, dead: Collection[int] = ()) -> list[Pack]:
    """Return all packs.

    Args:
        db: A connection inside a transaction.
        dead: Numbers of objects that are as good as gone.
    """
    sql = (
        "SELECT p.id, p.name, p.size, coalesce(sum(o.stored + o.record_size), 0) FROM pack p "
        "LEFT JOIN object o ON o.pack = p.id GROUP BY p.id ORDER BY p.id"
    )
    found = [Pack(*row) for row in db.execute(sql).fetchall()]
    if not dead:
        return found
    sql = "SELECT id, pack, stored + record_size FROM object WHERE pack <> 0"
    lost: dict[int, int] = {}
    for id, pack, size in db.execute(sql):
        if id in dead:
            lost[pack] = lost.get(pack, 0) + size
    return [Pack(one.id, one.name, one.size, one.live - lost.get(one.id, 0)) for one in found]


def to_rewrite(packs: list[Pack]) -> list[Pack]:
    """Return the packs that a collection writes anew: dead past the share, or small and many."""
    used = [pack for pack in packs if pack.live]
    chosen = [pack for pack in used if pack.live < pack.size * (1 - DEAD_SHARE)]
    small = [pack for pack in used if pack.size < _SMALL and pack not in chosen]
    return [*chosen, *small] if len(small) >= _MANY_SMALL else chosen


def estimate(context: StatesContext) -> dict[str, Any]:
    """Return what :func:`lamina.states.collect.collect` would do; its bytes are about what comes back."""
    leased = context.leased()
    with context.catalog.read("looking for what is dead") as reader:
        db = reader.db
        gone = {row[0] for row in db.execute("SELECT id FROM state_version WHERE gone <> 0")} - leased
        live: set[bytes] = set()
        for _, id, _, manifest in walk_manifests(db):
            if id not in gone:
                live.update(manifest.addresses())
        dead: set[int] = set()
        inline = 0
        for id, address, pack, size in db.execute("SELECT id, address, pack, stored + record_size FROM object"):
            if address not in live:
                dead.add(id)
                inline += 0 if pack else size
        packs = packs_of(db, dead)
        rewritten = to_rewrite(packs)
        size = sum(pack.size for pack in packs if not pack.live)
        size += sum(max(0, pack.size - pack.live) for pack in rewritten)
        if vacuum_pays(db, inline):
            size += inline + _page_bytes(db, "freelist_count")
        known = {pack.name for pack in packs}
    size += sum(context.home.size(name) or 0 for name in context.home.names() if name not in known)
    return {
        "versions": len(gone),
        "objects": len(dead),
        "packs_removed": len(rewritten) + sum(not pack.live for pack in packs),
        "packs_rewritten": len(rewritten),
        "bytes": size,
        "damaged": [],
        "dry_run": True,
    }


def vacuum_pays(db: Any, more: int = 0) -> bool:
    """Return whether so much of the catalog is unused, ``more`` bytes included, that it is worth writing it anew."""
    free = _page_bytes(db, "freelist_count") + more
    return free > _FREE_BYTES and free > _FREE_SHARE * _page_bytes(db, "page_count")


def note_kept(db: Any) -> None:
    """Note, inside a write transaction, how much the store needs: what a collection has left."""
    db.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (_KEPT, str(_catalog_bytes(db) + sum(pack.live for pack in packs_of(db)))),
    )


def due(db: Any) -> bool:
    """Return whether the store has grown so much since the last collection that it should be collected.

    By half of what was needed then, that is, and by at least 16 MB. Looks at the sizes of packs and catalog alone.
    """
    ((packed, noted),) = db.execute(
        "SELECT coalesce(sum(size), 0), (SELECT value FROM meta WHERE key = ?) FROM pack", (_KEPT,)
    ).fetchall()
    kept = int(noted or 0)
    return bool(packed + _catalog_bytes(db) - kept > max(GROWTH_BYTES, GROWTH_SHARE * kept))


def _catalog_bytes(db: Any) -> int:
    return int(db.pragma("page_count") - db.pragma("freelist_count")) * int(db.pragma("page_size"))


def _page_bytes(db: Any, counter: str) -> int:
    return int(db.pragma(counter)) * int(db.pragma("page_size"))
