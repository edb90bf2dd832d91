"""Reading one shard: its base, and what was changed over it.

Consecutive patches of the same kind are read through one merged map from cell to the newest value, so a read visits a
cell once however often it was changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lamina.states.layout import Layout
from lamina.states.manifest import Entry, Layer
from lamina.storage.frames import Bytes
from lamina.storage.objects import ObjectStore, Stored
from lamina.storage.shards import ObjectKind, wrong_bytes

__all__ = ["Run", "Shard", "patch_content", "patch_units"]

Numbers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Run:
    """Patches of one kind that follow each other, as one map."""

    unit: int
    numbers: Numbers
    """Changed cells or elements, ascending."""
    source: npt.NDArray[np.int32]
    """Which patch has the newest value."""
    position: Numbers
    """Where in that patch."""
    patches: tuple[Stored, ...]

    def values(self, objects: ObjectStore, chosen: Any = None) -> Bytes:
        """Return the newest values at places ``chosen`` of the map (all when None), a row each."""
        if chosen is None:
            chosen = np.arange(self.numbers.size)
        out = np.empty((chosen.size, self.unit), np.uint8)
        source = self.source[chosen]
        for number, patch in enumerate(self.patches):
            rows = np.flatnonzero(source == number)
            if rows.size:
                part = np.empty((rows.size, self.unit), np.uint8)
                objects.gather(patch, self.position[chosen[rows]], self.unit, part)
                out[rows] = part
        return out


class Shard:
    """One shard of one version, read as far as it is asked for.

    Args:
        objects: Reads objects.
        layout: Of the array.
        number: Of the shard.
        entry: What it is made of.
        found: Where its objects lie.
    """

    __slots__ = ("_objects", "_steps", "base", "cells", "entry", "layers", "layout", "number")

    def __init__(
        self, objects: ObjectStore, layout: Layout, number: int, entry: Entry, found: Mapping[bytes, Stored]
    ) -> None:
        self._objects = objects
        self.layout = layout
        self.number = number
        self.entry = entry
        self.cells = layout.cells_in(number)
        self.base = found[entry.base]
        self.layers = tuple(found[layer.address] for layer in entry.layers)
        self._steps: list[Run | Stored] | None = None
        if self.base.length != self.cells * layout.cell:
            raise wrong_bytes(self.base.name, f"shard {number} has another length")

    def read_cells(self, wanted: Numbers, out: Bytes, *, keep: bool = True) -> None:
        """Copy cells, numbered from the shard's first, into the rows of ``out``; several may be the same.

        ``keep`` is as in :meth:`ObjectStore.gather`.
        """
        self._objects.count_read(self.base)
        self._objects.gather(self.base, wanted, self.layout.cell, out, keep=keep)
        self.change(wanted, out, keep=keep)

    def change(self, wanted: Numbers, out: Bytes, *, keep: bool = True) -> None:
        """Bring cells that were read from the base up to date; arguments as in :meth:`read_cells`."""
        objects, cell = self._objects, self.layout.cell
        for step in self.steps():
            if isinstance(step, Stored):
                mask = np.empty_like(out)
                objects.gather(step, wanted, cell, mask, keep=keep)
                np.bitwise_xor(out, mask, out=out)
            elif step.unit == cell:
                places = np.searchsorted(step.numbers, wanted)
                places[places == step.numbers.size] = 0
                rows = np.flatnonzero(step.numbers[places] == wanted)
                if rows.size:
                    out[rows] = step.values(objects, places[rows])
            else:
                self._read_elements(step, wanted, out)

    def plain_frame(self, cell: int) -> tuple[Any, int] | None:
        """Return the decoded frame of a cell and the cell's place in it; None where the shard was changed."""
        if self.layers:
            return None
        number, place = divmod(cell, self.layout.frame_cells)
        self._objects.count_read(self.base)
        return self._objects.frame(self.base, number), place * self.layout.cell

    def read_frames(self, frames: Numbers, out: Bytes) -> None:
        """Fill ``out`` with the plain bytes of frames, ascending, one after the other."""
        layout = self.layout
        if frames.size * layout.frame_cells >= self.cells:
            self.read_all(out)
            return
        self._objects.count_read(self.base)
        self._objects.read_into(self.base, out, frames.tolist())
        if self.layers:
            cells = (frames[:, None] * layout.frame_cells + np.arange(layout.frame_cells)).reshape(-1)
            self.change(cells[cells < self.cells], out.reshape(-1, layout.cell), keep=False)

    def read_all(self, out: Bytes) -> None:
        """Fill ``out`` with the shard's plain bytes."""
        objects = self._objects
        objects.count_read(self.base)
        objects.read_into(self.base, out)
        for step in self.steps():
            if isinstance(step, Stored):
                np.bitwise_xor(out, objects.whole(step), out=out)
            else:
                out.reshape(-1, step.unit)[step.numbers] = step.values(objects)

    def patches(self, first: int, unit: int) -> Run | None:
        """Return the layers from number ``first`` as one map; None where some are not patches of this unit."""
        if any(self._unit(layer) != unit for layer in self.entry.layers[first:]):
            return None
        return self._run(list(self.layers[first:]), unit)

    def steps(self) -> list[Run | Stored]:
        """Return the changes over the base, in order; patches that follow each other are one."""
        if self._steps is None:
            steps: list[Run | Stored] = []
            pending: list[Stored] = []
            unit = 0
            for layer, stored in zip(self.entry.layers, self.layers, strict=True):
                kind = self._unit(layer)
                if pending and kind != unit:
                    steps.append(self._run(pending, unit))
                    pending = []
                unit = kind
                if kind:
                    pending.append(stored)
                elif stored.length != self.base.length:
                    raise wrong_bytes(stored.name, "it has another length than what it changes")
                else:
                    steps.append(stored)
            if pending:
                steps.append(self._run(pending, unit))
            self._steps = steps
        return self._steps

    def _unit(self, layer: Layer) -> int:
        """Return the bytes of what a patch replaces; 0 where the layer is none."""
        return {ObjectKind.CELLS: self.layout.cell, ObjectKind.ELEMENTS: self.layout.width}.get(layer.kind, 0)

    def _run(self, patches: list[Stored], unit: int) -> Run:
        numbers = [np.empty(0, np.int64)]
        sources = [np.empty(0, np.int32)]
        positions = [np.empty(0, np.int64)]
        limit = self.cells * self.layout.cell // unit
        for number, patch in enumerate(patches):
            found = patch_units(self._objects, patch, unit, limit)
            numbers.append(found)
            sources.append(np.full(found.size, number, np.int32))
            positions.append(np.arange(found.size, dtype=np.int64))
        joined = np.concatenate(numbers)
        order = np.argsort(joined, kind="stable")
        joined = joined[order]
        newest = np.ones(joined.size, bool)
        newest[:-1] = joined[1:] != joined[:-1]
        order = order[newest]
        return Run(
            unit,
            joined[newest],
            np.concatenate(sources)[order],
            np.concatenate(positions)[order],
            tuple(patches),
        )

    def _read_elements(self, run: Run, wanted: Numbers, out: Bytes) -> None:
        per_cell = self.layout.cell // run.unit
        cells = run.numbers // per_cell
        unique, back = np.unique(wanted, return_inverse=True)
        slots = np.searchsorted(unique, cells)
        slots[slots == unique.size] = 0
        chosen = np.flatnonzero(unique[slots] == cells)
        if not chosen.size:
            return
        fixed = np.empty((unique.size, self.layout.cell), np.uint8)
        fixed[back] = out
        values = run.values(self._objects, chosen)
        fixed.reshape(unique.size, per_cell, run.unit)[
            slots[chosen], run.numbers[chosen] - cells[chosen] * per_cell
        ] = values
        out[:] = fixed[back]


def patch_content(numbers: Numbers, values: Bytes) -> Bytes:
    """Return the plain bytes of a patch: values, then the numbers of what they belong to."""
    return np.concatenate([values.reshape(-1), numbers.astype("<u4").view(np.uint8)])


def patch_units(objects: ObjectStore, patch: Stored, unit: int, limit: int) -> Numbers:
    """Return the numbers of the cells or elements that a patch changes.

    Raises:
        CorruptionError: They cannot be: not ascending, or beyond the shard.
    """
    count, rest = divmod(patch.length, unit + 4)
    if rest:
        raise wrong_bytes(patch.name, "its length is not that of a patch")
    data = objects.read_range(patch, count * unit, patch.length)
    numbers = np.frombuffer(data, "<u4").astype(np.int64)
    if count and (int(numbers[-1]) >= limit or not (np.diff(numbers) > 0).all()):
        raise wrong_bytes(patch.name, "it changes what is not there")
    return numbers
