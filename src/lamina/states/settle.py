"""Packs that were written without waiting for the disk (``durability="relaxed"``).

While the machine runs, the system's cache answers for them. After it went down they are looked at before they are
used: whole ones are made durable, and where one is not, branches go back to what is whole.
"""

from __future__ import annotations

from lamina.errors import LaminaError
from lamina.states.context import StatesContext, boot_id
from lamina.states.mend import mend
from lamina.storage.objects import find_objects
from lamina.storage.packs import read_pack

__all__ = ["settle_packs", "sync_packs"]


def settle_packs(context: StatesContext) -> None:
    """Look at packs that an earlier boot left unsynced; does nothing where there are none, which is the rule."""
    with context.catalog.read("looking for unsynced packs") as reader:
        db = reader.db
        rows = db.execute("SELECT id, name FROM pack WHERE synced = 0 AND boot <> ?", (boot_id(),)).fetchall()
    if not rows or context.catalog.read_only:
        return  # a reader verifies every frame anyway
    whole = True
    for id, name in rows:
        try:
            read_pack(context.home, name)
            with context.catalog.read("looking at a pack") as reader:
                held = reader.db.execute("SELECT address FROM object WHERE pack = ?", (id,)).fetchall()
                found = find_objects(reader.db, [row[0] for row in held])
            for stored in found.values():
                context.objects.as_stored(stored)
        except LaminaError:
            whole = False
    if not whole:
        mend(context)
    sync_packs(context)


def sync_packs(context: StatesContext) -> None:
    """Make every pack durable that is not yet: what is acknowledged from now on may rest on them.

    Raises:
        PoisonedError: An fsync failed.
    """
    with context.catalog.read("looking for unsynced packs") as reader:
        rows = reader.db.execute("SELECT id, name FROM pack WHERE synced = 0").fetchall()
    if not rows:
        return
    for _, name in rows:
        context.home.sync(name)
    with context.catalog.write("noting durable packs") as writer:
        writer.db.executemany("UPDATE pack SET synced = 1 WHERE id = ?", [(id,) for id, _ in rows])
