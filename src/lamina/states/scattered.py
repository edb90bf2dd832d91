"""Reading cells of several shards: few as they are asked for, many as one sweep in which each frame is read once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lamina.states.layout import Layout
from lamina.states.shard import Numbers, Shard
from lamina.storage.frames import Bytes
from lamina.storage.objects import ObjectStore
from lamina.storage.sweep import sweep

__all__ = ["read_scattered"]

_KEEP_UP_TO = 512
"""Cells read at once whose frames are kept; more of them are a sweep, which would drive out all others."""


def read_scattered(
    objects: ObjectStore, layout: Layout, shard_of: Callable[[int], Shard], cells: Numbers, out: Bytes
) -> None:
    """Copy cells, each verified, into the rows of ``out``.

    Args:
        objects: Reads objects.
        layout: Of the array.
        shard_of: Returns a shard by its number.
        cells: Numbers within the array, in any order; several may be the same.
        out: A row a cell.
    """
    order = np.argsort(cells, kind="stable")
    chosen, starts = np.unique(cells[order] // layout.shard_cells, return_index=True)
    groups = list(zip(map(shard_of, chosen.tolist()), np.split(order, starts[1:]), strict=True))
    objects.prefetch_tables(one for shard, _ in groups for one in (shard.base, *shard.layers))
    if len(cells) > _KEEP_UP_TO:
        _sweep(objects, layout, shard_of, cells, order=order, out=out)
        for shard, places in groups:
            if shard.layers:
                part = out[places]
                shard.change(cells[places] - shard.number * layout.shard_cells, part, keep=False)
                out[places] = part
        return
    for shard, places in groups:
        within = cells[places] - shard.number * layout.shard_cells
        objects.prefetch(shard.base, np.unique(within // layout.frame_cells), least=1)
    for shard, places in groups:
        part = np.empty((places.size, layout.cell), np.uint8)
        shard.read_cells(cells[places] - shard.number * layout.shard_cells, part)
        out[places] = part


def _sweep(
    objects: ObjectStore,
    layout: Layout,
    shard_of: Callable[[int], Shard],
    cells: Numbers,
    *,
    order: Numbers,
    out: Bytes,
) -> None:
    """Copy cells as the bases of their shards have them; ``order`` sorts ``cells``."""
    ordered = cells[order]
    numbers = ordered // layout.frame_cells  # of the frame that each cell is in, counted through the array
    first = np.flatnonzero(np.concatenate(([True], numbers[1:] != numbers[:-1])))
    stops = np.append(first, ordered.size)
    row = np.repeat(np.arange(first.size), np.diff(stops))
    inside = ordered - numbers * layout.frame_cells
    a_shard = layout.shard_cells // layout.frame_cells
    frames = [(shard_of(number // a_shard).base, number % a_shard) for number in numbers[first].tolist()]
    for base in {base.address: base for base, _ in frames}.values():
        objects.count_read(base)

    def take(start: int, stop: int, plain: Bytes) -> None:
        low, high = stops[start], stops[stop]
        units = plain.reshape(-1, layout.frame_cells, layout.cell)
        out[order[low:high]] = units[row[low:high] - start, inside[low:high]]

    sweep(objects, frames, layout.frame_bytes, take)
