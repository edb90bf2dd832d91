"""What of a version cannot be read: counted in rows, and no longer held against it once it is whole again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from lamina.errors import CorruptionError, LaminaError
from lamina.states.context import StatesContext
from lamina.states.layout import Layout
from lamina.states.manifest import Array, Entry, Manifest
from lamina.states.rows import load_manifest
from lamina.states.shard import Shard
from lamina.states.types import Version
from lamina.storage.objects import Stored, find_objects

__all__ = ["AFTER_LOSS", "LossCounter", "lost_rows", "told", "unmark_whole"]

AFTER_LOSS = (
    "Open an older whole version, or commit the array again; `lamina verify` names this one until it is whole again or "
    "deleted: `lamina state delete NAME --ref ID`."
)
"""What helps where a repair has kept what could be kept: another repair does not."""


class LossCounter:
    """Counts the rows of arrays that cannot be read, as reading itself would find: frame by frame.

    Args:
        context: Of the store.
        bad: Addresses of objects that are missing or damaged.
        gone: Those of them of which nothing is left, so that there is nothing to try.
    """

    def __init__(self, context: StatesContext, bad: Collection[bytes], gone: Collection[bytes]) -> None:
        self._context = context
        self._bad = bad
        self._gone = gone
        self._known: dict[tuple[Entry, int, int], list[tuple[int, int]]] = {}

    def lost(self, manifest: Manifest) -> dict[str, int]:
        """Return how many rows of which arrays of a version cannot be read."""
        counted = {name: self.rows(array) for name, array in manifest.arrays.items()}
        return {name: rows for name, rows in counted.items() if rows}

    def describe(self, manifest: Manifest) -> str:
        """Return the same in words."""
        return ", ".join(
            f"{rows:,} of {manifest.arrays[name].layout.rows:,} rows of array {name!r}"
            for name, rows in self.lost(manifest).items()
        )

    def rows(self, array: Array) -> int:
        """Return how many rows of an array cannot be read."""
        layout, count, done = array.layout, 0, 0
        for number, entry in enumerate(array.entries):
            if not any(address in self._bad for address in entry.addresses()):
                continue
            key = (entry, layout.cell, layout.cells_in(number))
            if key not in self._known:  # versions share most of their shards
                self._known[key] = list(self._stretches(layout, number, entry))
            for first, last in self._known[key]:
                start = (number * layout.shard_cells + first) // layout.cells_a_row
                stop = -(-(number * layout.shard_cells + last) // layout.cells_a_row)
                count += max(0, stop - max(start, done))  # a row that lies in two frames is lost once
                done = max(done, stop)
        return count

    def _stretches(self, layout: Layout, number: int, entry: Entry) -> Iterator[tuple[int, int]]:
        """Yield first and last (excluded) cells of the frames of a shard that cannot be read."""
        cells = layout.cells_in(number)
        if any(address in self._gone for address in entry.addresses()):
            yield 0, cells
            return
        objects = self._context.objects
        try:
            shard = Shard(objects, layout, number, entry, objects.find(entry.addresses()))
            shard.steps()
        except LaminaError:
            yield 0, cells
            return
        for first in range(0, cells, layout.frame_cells):
            last = min(first + layout.frame_cells, cells)
            try:
                shard.read_cells(np.arange(first, last), np.empty((last - first, layout.cell), np.uint8), keep=False)
            except LaminaError:
                yield first, last


def lost_rows(context: StatesContext, array: Array) -> int:
    """Return how many rows of an array cannot be read, by what a repair has noted of the objects it is made of."""
    wanted = {address for entry in array.entries for address in entry.addresses()}
    with context.catalog.read("looking for damage") as reader:
        found = find_objects(reader.db, wanted)
    gone = wanted - found.keys()
    bad = gone.union(address for address, stored in found.items() if stored.damaged)
    return LossCounter(context, bad, gone).rows(array) if bad else 0


def told(context: StatesContext, array: Array, version: Version, error: LaminaError) -> LaminaError:
    """Return the error for an array of a version that a repair found damaged: what is lost of it, and what helps."""
    rows = lost_rows(context, array)
    if not rows:  # this damage is new, and what the error says of it holds
        return error
    return CorruptionError(
        f"Version {version.id[:12]} of state {version.name!r} is known to be damaged: {rows:,} of "
        f"{array.layout.rows:,} rows of array {array.name!r} cannot be read.",
        hint=AFTER_LOSS,
        **{**error.details, "array": array.name, "lost_rows": rows},
    )


def unmark_whole(db: Any) -> None:
    """Take the mark of damage from versions all of whose objects are there again, and none of them damaged."""
    for (seq,) in db.execute("SELECT seq FROM state_version WHERE damaged = 1").fetchall():
        try:
            wanted = set(load_manifest(db, seq).addresses())
        except LaminaError:
            continue
        found: dict[bytes, Stored] = find_objects(db, wanted)
        if found.keys() >= wanted and not any(stored.damaged for stored in found.values()):
            db.execute("UPDATE state_version SET damaged = 0 WHERE seq = ?", (seq,))
