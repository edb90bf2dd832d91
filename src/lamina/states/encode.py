"""What a commit stores of each shard: nothing, a patch, an XOR delta or the whole, by measuring."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lamina.states.layout import Layout
from lamina.states.manifest import MOST_LAYERS, Entry, Layer
from lamina.states.shard import Shard, patch_content
from lamina.storage.frames import Bytes, choose
from lamina.storage.objects import ObjectStore
from lamina.storage.shards import Encoded, FrameTable, ObjectKind, encode_object, frame_size, hash_content

__all__ = ["REBASE", "Planned", "encode_patch", "encode_shard"]

Numbers: TypeAlias = npt.NDArray[np.int64]

REBASE = 0.6
"""Share of a shard's plain bytes that patches may need; beyond it the shard is stored whole again."""
_TRY_XOR = 0.25
"""Share of a shard that a patch would need, from which an XOR delta may be smaller."""


_local = threading.local()


@dataclass(slots=True)
class Planned:
    """What becomes of one shard."""

    entry: Entry
    objects: list[Encoded] = field(default_factory=list)
    """New ones."""


def encode_shard(
    objects: ObjectStore,
    layout: Layout,
    content: Bytes,
    old: Shard | None,
    known: Callable[[bytes], bool],
) -> Planned:
    """Decide how to store one shard.

    Args:
        objects: Reads what is stored.
        layout: Of the array.
        content: The shard's plain bytes; it must stay as it is until it is written.
        old: The same shard of the parent, where that has the same cells.
        known: Whether an object of this address is stored already.
    """
    table = hash_content(content, ObjectKind.CONTENT, layout.width, layout.frame_bytes)
    address = table.address()
    if old is not None and old.entry.logical == address:
        return Planned(old.entry)
    if known(address):
        return Planned(Entry(address))
    if old is None or old.base.length != content.size:
        return Planned(Entry(address), [encode_object(content, table)])
    return _changed(objects, layout, content, table, old)


def _changed(objects: ObjectStore, layout: Layout, content: Bytes, table: FrameTable, old: Shard) -> Planned:
    address = table.address()
    before, stretches = _before(objects, content, table, old)
    patch = _patch(layout, content, before, stretches)
    size, limit = content.size, content.size * REBASE
    held = sum(layer.stored for layer in old.layers)
    room = len(old.layers) < MOST_LAYERS
    if patch.cost > size * _TRY_XOR:
        xor = np.zeros(size, np.uint8)
        for start, stop in stretches:
            np.bitwise_xor(content[start:stop], before[start:stop], out=xor[start:stop])
        coding, share = choose(xor, layout.width, layout.frame_bytes)
        _, whole = choose(content, layout.width, layout.frame_bytes)
        if room and held + share * size <= limit and share * size < min(patch.cost, 0.8 * whole * size):
            named = hash_content(xor, ObjectKind.XOR, layout.width, layout.frame_bytes)
            return _over(old.entry, encode_object(xor, named, coding=coding), address)
        if whole * size <= patch.cost:
            return Planned(Entry(address), [encode_object(content, table)])
    if room and held + patch.cost <= limit:
        return _over(old.entry, _encoded(layout, patch), address)
    if patch.cost <= limit and old.layers:
        # No room over this base: one patch that holds all that differs from the base takes the place of them all.
        objects.read_into(old.base, before)
        joined = _patch(layout, content, before, [(0, size)])
        if joined.cost <= limit:
            return _over(Entry(old.entry.base), _encoded(layout, joined), address)
    return Planned(Entry(address), [encode_object(content, table)])


def _over(below: Entry, encoded: Encoded, content: bytes | None) -> Planned:
    layer = Layer(encoded.table.kind, encoded.address)
    return Planned(Entry(below.base, (*below.layers, layer), content), [encoded])


def encode_patch(layout: Layout, kind: ObjectKind, numbers: Numbers, values: Bytes) -> Encoded:
    """Return a patch that gives cells or elements new values.

    Args:
        layout: Of the array.
        kind: CELLS or ELEMENTS.
        numbers: Which, within the shard, ascending.
        values: Stored bytes of each, one after the other.
    """
    unit = layout.cell if kind is ObjectKind.CELLS else layout.width
    content = patch_content(numbers, values)
    return encode_object(content, hash_content(content, kind, layout.width, frame_size(unit)))


@dataclass(slots=True)
class _Patch:
    kind: ObjectKind
    numbers: Numbers
    values: Bytes
    cost: int


def _encoded(layout: Layout, patch: _Patch) -> Encoded:
    return encode_patch(layout, patch.kind, patch.numbers, patch.values)


def _before(objects: ObjectStore, content: Bytes, table: FrameTable, old: Shard) -> tuple[Bytes, list[tuple[int, int]]]:
    """Return the parent's bytes, and the stretches in which they can differ; elsewhere they are not read."""
    before = _room(content.size)
    if old.layers:
        old.read_all(before)
        return before, [(0, content.size)]
    held = objects.table(old.base)
    stretches = []
    for first, last in _runs(held, table):
        start, stop = first * table.frame_bytes, min(last * table.frame_bytes, content.size)
        objects.read_into(old.base, before[start:stop], first, last)
        stretches.append((start, stop))
    return before, stretches


def _room(size: int) -> Bytes:
    """Return this thread's buffer for the parent's bytes: fresh pages for each shard would cost as much as reading."""
    room: Bytes | None = _local.__dict__.get("room")
    if room is None or room.size < size:
        room = _local.room = np.empty(size, np.uint8)
    return room[:size]


def _runs(held: FrameTable, table: FrameTable) -> Iterator[tuple[int, int]]:
    """Yield runs of frames whose hashes differ."""
    if held.frame_bytes != table.frame_bytes:
        yield 0, table.frames
        return
    first = None
    for number in range(table.frames):
        differs = held.hash_of(number) != table.hash_of(number)
        if differs and first is None:
            first = number
        elif not differs and first is not None:
            yield first, number
            first = None
    if first is not None:
        yield first, table.frames


def _patch(layout: Layout, content: Bytes, before: Bytes, stretches: list[tuple[int, int]]) -> _Patch:
    """Return the smaller patch: of whole cells or of single elements."""
    cell, width = layout.cell, layout.width
    cells = []
    for start, stop in stretches:
        cells.append(_differing(content[start:stop], before[start:stop], cell) + start // cell)
    numbers = np.concatenate(cells) if cells else np.empty(0, np.int64)
    new = content.reshape(-1, cell)[numbers]
    cost = numbers.size * (cell + 4)
    if layout.element_patches and numbers.size:
        old = before.reshape(-1, cell)[numbers]
        inner = _differing(new.reshape(-1), old.reshape(-1), width)
        if inner.size * (width + 4) < cost:
            per_cell = cell // width
            chosen = numbers[inner // per_cell] * per_cell + inner % per_cell
            values = new.reshape(-1, width)[inner].reshape(-1)
            return _Patch(ObjectKind.ELEMENTS, chosen, values, inner.size * (width + 4))
    return _Patch(ObjectKind.CELLS, numbers, new.reshape(-1), cost)


def _differing(new: Bytes, old: Bytes, unit: int) -> Numbers:
    """Return which units differ, bit by bit."""
    word = next(size for size in (8, 4, 2, 1) if unit % size == 0)
    kind: Any = f"u{word}"
    differs = new.view(kind) != old.view(kind)
    if unit > word:
        differs = differs.reshape(-1, unit // word).any(axis=1)
    return np.flatnonzero(differs)
