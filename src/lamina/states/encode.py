"""What a commit stores of each shard: nothing, a patch, an XOR delta or the whole, by measuring."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lamina.states.layout import Layout
from lamina.states.manifest import MOST_LAYERS, Entry, Layer
from lamina.states.shard import Run, Shard, patch_content
from lamina.storage.frames import HASH_BYTES, Bytes, Coding, choose
from lamina.storage.objects import ObjectStore
from lamina.storage.shards import Encoded, FrameTable, ObjectKind, encode_object, frame_size, hash_content

__all__ = ["REBASE", "Patch", "Planned", "encode_patch", "encode_shard", "over", "stack"]

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
    planned = _as_change(objects, layout, content, table, old)
    if planned is None:
        return Planned(Entry(table.address()), [encode_object(content, table)])
    objects.recalled.keep(table, content)
    return planned


def _as_change(objects: ObjectStore, layout: Layout, content: Bytes, table: FrameTable, old: Shard) -> Planned | None:
    """Return the shard as changes over the parent's; None where it is better stored whole."""
    address = table.address()
    compared = _compare(objects, content, table, old)
    patch = _patch(layout, compared)
    size, limit = content.size, content.size * REBASE
    if patch.cost > size * _TRY_XOR:
        xor = compared.xor(size)
        coding, share = choose(xor, layout.width, layout.frame_bytes)
        _, whole = choose(content, layout.width, layout.frame_bytes)
        room = len(old.layers) < MOST_LAYERS and sum(_sizes(old)) + share * size <= limit
        if room and share * size < min(patch.cost, 0.8 * whole * size):
            named = hash_content(xor, ObjectKind.XOR, layout.width, layout.frame_bytes)
            encoded = encode_object(xor, named, coding=coding)
            return Planned(over(old.entry, len(old.layers), encoded, address), [encoded])
        if whole * size <= patch.cost:
            return None
    units = content.reshape(-1, patch.unit)
    stacked = stack(old, patch, lambda numbers, _: units[numbers])
    if stacked is None and old.layers and patch.cost <= limit:
        # Layers of several kinds, or much that is again as it was in the base: one patch of what differs from that.
        base = _room("before", size)
        objects.read_into(old.base, base)
        joined = _patch(layout, _Compared(np.arange(table.frames), table.frame_bytes, content, base))
        stacked = (0, joined) if joined.cost <= limit else None
    if stacked is None:
        return None
    encoded = encode_patch(layout, stacked[1])
    return Planned(over(old.entry, stacked[0], encoded, address), [encoded])


@dataclass(slots=True)
class Patch:
    """New values of some cells or elements of a shard."""

    kind: ObjectKind
    """CELLS or ELEMENTS."""
    unit: int
    """Stored bytes of one."""
    numbers: Numbers
    """Which, within the shard, ascending."""
    values: Bytes
    """Stored bytes of each, one after the other."""

    @property
    def cost(self) -> int:
        """Plain bytes that it takes."""
        return int(self.numbers.size) * (self.unit + 4)


def stack(old: Shard, patch: Patch, newest: Callable[[Numbers, Run], Bytes]) -> tuple[int, Patch] | None:
    """Return what a shard becomes under a new patch: how many layers stay, and the patch that lies over them.

    The others are merged into it: once there are as many as there may be, each that is smaller than twice what comes
    over it. So sizes fall from layer to layer, and a value is written again about as often as the logarithm of the
    number of changes says (a log-structured merge). Where layers would need too much of the shard, all are merged.

    Args:
        old: What lies there.
        patch: What comes over it.
        newest: Returns the newest values of the numbers of both the patch and what is merged into it.

    Returns:
        None where the shard is better stored whole.
    """
    sizes, limit = _sizes(old), old.layout.bytes_in(old.number) * REBASE
    keep = len(sizes)
    if keep == MOST_LAYERS:
        joined = patch.cost
        while keep == MOST_LAYERS or (keep and sizes[keep - 1] < 2 * joined):
            keep -= 1
            joined += sizes[keep]
    elif sum(sizes) + patch.cost <= limit:
        return keep, patch
    else:
        keep = 0
    for first in dict.fromkeys((keep, 0)):
        merged = old.patches(first, patch.unit)
        if merged is not None:
            numbers = np.union1d(merged.numbers, patch.numbers)
            if sum(sizes[:first]) + numbers.size * (patch.unit + 4) <= limit:
                return first, Patch(patch.kind, patch.unit, numbers, newest(numbers, merged))
    return None


def _sizes(shard: Shard) -> list[int]:
    return [layer.stored for layer in shard.layers]


def over(below: Entry, keep: int, encoded: Encoded, content: bytes | None = None) -> Entry:
    """Return a shard of which the first layers are kept, with one more over them."""
    return Entry(below.base, (*below.layers[:keep], Layer(encoded.table.kind, encoded.address)), content)


def encode_patch(layout: Layout, patch: Patch, coding: Coding | None = None) -> Encoded:
    """Return a patch as it is stored; without a coding, measuring says which."""
    if coding is None:  # by the values alone: numbers in a row compress to nothing, which says nothing of a frame
        coding, _ = choose(patch.values.reshape(-1), layout.width, layout.frame_bytes)
    content = patch_content(patch.numbers, patch.values)
    return encode_object(
        content, hash_content(content, patch.kind, layout.width, frame_size(patch.unit)), coding=coding
    )


@dataclass(slots=True)
class _Compared:
    """Frames in which a shard can differ from the parent's, one after the other; the others are the same."""

    frames: Numbers
    """Ascending."""
    frame_bytes: int
    new: Bytes
    before: Bytes

    def xor(self, size: int) -> Bytes:
        """Return the bits that differ, for the whole shard of so many bytes."""
        out = np.zeros(size, np.uint8)
        flipped = self.new ^ self.before
        full = int(np.searchsorted(self.frames, size // self.frame_bytes))
        _rows(out, self.frame_bytes)[self.frames[:full]] = _rows(flipped, self.frame_bytes)[:full]
        if full < self.frames.size:
            out[int(self.frames[full]) * self.frame_bytes :] = flipped[full * self.frame_bytes :]
        return out


def _compare(objects: ObjectStore, content: Bytes, table: FrameTable, old: Shard) -> _Compared:
    """Return the new and the parent's bytes of the frames whose hashes differ; no other is read."""
    size = table.frame_bytes
    kept = objects.recalled.find(old.entry.logical)
    held = None if kept is None else kept.hashes
    if not old.layers and objects.table(old.base).frame_bytes == size:
        held = objects.table(old.base).hashes
    if held is None or len(held) != len(table.hashes):
        frames = np.arange(table.frames)
    else:
        differs = np.frombuffer(held, np.uint64) != np.frombuffer(table.hashes, np.uint64)
        frames = np.flatnonzero(differs.reshape(-1, HASH_BYTES // 8).any(axis=1))
    new = _picked(content, frames, size, "new")
    if kept is not None and kept.plain is not None and len(kept.plain) == content.size:
        return _Compared(frames, size, new, _picked(np.frombuffer(kept.plain, np.uint8), frames, size, "before"))
    before = _room("before", new.size)
    old.read_frames(frames, before)
    return _Compared(frames, size, new, before)


def _picked(plain: Bytes, frames: Numbers, size: int, room: str) -> Bytes:
    """Return frames of plain bytes, one after the other, in a buffer of this thread's unless they are all."""
    if frames.size * size >= plain.size:
        return plain
    full = int(np.searchsorted(frames, plain.size // size))
    rest = plain[int(frames[full]) * size :] if full < frames.size else plain[:0]
    picked = _room(room, full * size + rest.size)
    np.take(_rows(plain, size), frames[:full], axis=0, out=_rows(picked, size)[:full], mode="clip")  # "raise" buffers
    picked[full * size :] = rest
    return picked


def _rows(plain: Bytes, size: int) -> npt.NDArray[np.uint8]:
    """Return the whole frames of plain bytes, a row each."""
    return plain[: plain.size // size * size].reshape(-1, size)


def _room(name: str, size: int) -> Bytes:
    """Return a buffer of this thread's: fresh pages for each shard would cost as much as reading does."""
    room: Bytes | None = _local.__dict__.get(name)
    if room is None or room.size < size:
        room = np.empty(size, np.uint8)
        _local.__dict__[name] = room
    return room[:size]


def _patch(layout: Layout, compared: _Compared) -> Patch:
    """Return the smaller patch: of whole cells or of single elements."""
    cell, width, per_frame = layout.cell, layout.width, layout.frame_cells
    places = _differing(compared.new, compared.before, cell)
    numbers = compared.frames[places // per_frame] * per_frame + places % per_frame
    new = compared.new.reshape(-1, cell)[places]
    cost = places.size * (cell + 4)
    if layout.element_patches and places.size:
        old = compared.before.reshape(-1, cell)[places]
        inner = _differing(new.reshape(-1), old.reshape(-1), width)
        if inner.size * (width + 4) < cost:
            per_cell = cell // width
            chosen = numbers[inner // per_cell] * per_cell + inner % per_cell
            values = new.reshape(-1, width)[inner].reshape(-1)
            return Patch(ObjectKind.ELEMENTS, width, chosen, values)
    return Patch(ObjectKind.CELLS, cell, numbers, new.reshape(-1))


def _differing(new: Bytes, old: Bytes, unit: int) -> Numbers:
    """Return which units differ, bit by bit."""
    word = next(size for size in (8, 4, 2, 1) if unit % size == 0)
    kind: Any = f"u{word}"
    differs = new.view(kind) != old.view(kind)
    if unit > word:
        differs = differs.reshape(-1, unit // word).any(axis=1)
    return np.flatnonzero(differs)
