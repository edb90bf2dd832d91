"""Writing given rows of a state as a new version; nothing else of the arrays is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.errors import ConflictError, InvalidInputError, NotFoundError
from lamina.states.checks import (
    check_metadata,
    check_name,
    check_rows,
    check_step,
    check_text,
    fit_values,
    to_array,
)
from lamina.states.commit import find_parent, publish
from lamina.states.context import StatesContext
from lamina.states.draft import Draft
from lamina.states.encode import REBASE, Patch, encode_patch, over, stack
from lamina.states.layout import Layout
from lamina.states.manifest import Array, Entry
from lamina.states.shard import Numbers, Run, Shard
from lamina.states.types import Version
from lamina.storage.frames import Bytes, Coding, choose
from lamina.storage.objects import Stored
from lamina.storage.shards import Encoded, ObjectKind, encode_object, hash_content

__all__ = ["update"]

_TRIES = 3
_MANY = 4
"""Shards from which on the coding of all patches is measured once."""


def update(
    context: StatesContext,
    name: str,
    changes: Mapping[str, Any],
    *,
    branch: str,
    parent: Any,
    message: str | None,
    step: int | None,
    metadata: Mapping[str, Any] | None,
) -> Version:
    """Commit new values of some rows; see :meth:`lamina.States.update`."""
    check_name(name)
    check_name(branch, "The name of a branch")
    facts = {"message": check_text(message, "message"), "step": check_step(step), "metadata": check_metadata(metadata)}
    for _ in range(_TRIES):
        before = find_parent(context, name, branch, parent)
        if before.manifest is None:
            raise NotFoundError(f"There is no state {name!r} to update.", hint="Commit it first.", name=name)
        if facts["metadata"] is None:
            facts["metadata"] = before.manifest.head.metadata
        arrays = dict(before.manifest.arrays)
        if not isinstance(changes, Mapping):
            raise InvalidInputError("The changes are no mapping.", hint="Pass {array: (rows, values)}.")
        with Draft(context) as draft:
            for key, change in changes.items():
                array = arrays.get(key)
                if array is None:
                    raise NotFoundError(
                        f"State {name!r} has no array {key!r}.", hint=f"It has: {', '.join(list(arrays)[:20])}."
                    )
                try:
                    rows, values = change
                except (TypeError, ValueError):
                    raise InvalidInputError(
                        f"The change of array {key!r} is not a pair.", hint="Pass {array: (rows, values)}."
                    ) from None
                arrays[key] = _changed(context, draft, array, rows, values)
            draft.finish()
            version = publish(context, draft, name, before=before, arrays=arrays, facts=facts)
            if version is not None:
                return version
    raise ConflictError(f"State {name!r} changed again and again.", hint="Repeat the update.")


def _changed(context: StatesContext, draft: Draft, array: Array, rows: Any, values: Any) -> Array:
    layout = array.layout
    numbers = check_rows(rows, layout, array.name)
    cells, stored = _cells(layout, numbers, _encoded(layout, numbers, values, array.name))
    made = Array(array.name, layout, array.dtype_name, list(array.entries))
    if not cells.size:
        return made
    shards = cells // layout.shard_cells
    chosen, starts = np.unique(shards, return_index=True)
    touched = [array.entries[number] for number in chosen.tolist()]
    # Where patches lie already, their sizes decide whether another one still pays.
    held = context.objects.find(address for entry in touched if entry.layers for address in entry.addresses())
    # One measurement for the rows of all shards: they were given together, and a patch is short.
    coding = choose(stored.reshape(-1), layout.width, layout.frame_bytes)[0] if chosen.size >= _MANY else None
    for number, first, last in zip(chosen.tolist(), starts.tolist(), [*starts[1:].tolist(), cells.size], strict=True):
        within = cells[first:last] - number * layout.shard_cells
        entry, encoded = _patched(
            context, layout, number, old=array.entries[number], cells=within, values=stored[first:last], held=held,
            coding=coding,
        )  # fmt: skip
        draft.add(encoded)
        draft.reused.update(address for address in entry.addresses() if address not in draft.new)
        made.entries[number] = entry
    return made


def _encoded(layout: Layout, numbers: Numbers, values: Any, name: str) -> Bytes:
    """Return the stored bytes of the new rows, one after the other."""
    given = fit_values(to_array(values, name), layout.dtype, name)
    shape = (numbers.size, *layout.shape[1:])
    try:
        whole: npt.NDArray[Any] = np.broadcast_to(given, shape)
    except ValueError:
        raise InvalidInputError(
            f"The values for {numbers.size} rows of array {name!r} have shape {given.shape}, not {shape}.",
            hint="Pass one row for each row number.",
        ) from None
    try:
        return layout.encode(whole)
    except InvalidInputError as error:
        raise InvalidInputError(f"Array {name!r}: {error.message}", hint=error.hint, array=name) from None


def _cells(layout: Layout, numbers: Numbers, encoded: Bytes) -> tuple[Numbers, Bytes]:
    """Return changed cells, ascending and each once (the last value given wins), and their stored bytes."""
    per_row = layout.cells_a_row
    if not per_row or not numbers.size:
        return np.empty(0, np.int64), np.empty((0, layout.cell), np.uint8)
    values = encoded.reshape(numbers.size, per_row * layout.cell)
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    last = np.ones(ordered.size, bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    order, ordered = order[last], ordered[last]
    cells = ordered if per_row == 1 else (ordered[:, None] * per_row + np.arange(per_row)).reshape(-1)
    if order.size != values.shape[0] or (order != np.arange(order.size)).any():
        values = values[order]
    return cells, values.reshape(-1, layout.cell)


def _patched(
    context: StatesContext,
    layout: Layout,
    number: int,
    *,
    old: Entry,
    cells: Numbers,
    values: Bytes,
    held: Mapping[bytes, Stored],
    coding: Coding | None,
) -> tuple[Entry, Encoded]:
    """Return a shard with new values for some cells, and the object for it."""
    if cells.size == layout.cells_in(number):
        return _whole(layout, np.ascontiguousarray(values).reshape(-1))
    patch = Patch(ObjectKind.CELLS, layout.cell, cells, values)
    if not old.layers and patch.cost <= layout.bytes_in(number) * REBASE:
        encoded = encode_patch(layout, patch, coding)
        return over(old, 0, encoded), encoded

    def newest(numbers: Numbers, merged: Run) -> Bytes:
        out = np.empty((numbers.size, layout.cell), np.uint8)
        out[np.searchsorted(numbers, merged.numbers)] = merged.values(context.objects)
        out[np.searchsorted(numbers, cells)] = values
        return out

    shard = Shard(context.objects, layout, number, old, held if old.layers else context.objects.find([old.base]))
    stacked = stack(shard, patch, newest)
    if stacked is not None:
        encoded = encode_patch(layout, stacked[1], coding if stacked[1] is patch else None)
        return over(old, stacked[0], encoded), encoded
    content = np.empty(shard.cells * layout.cell, np.uint8)
    shard.read_all(content)
    content.reshape(-1, layout.cell)[cells] = values
    return _whole(layout, content)


def _whole(layout: Layout, content: Bytes) -> tuple[Entry, Encoded]:
    table = hash_content(content, ObjectKind.CONTENT, layout.width, layout.frame_bytes)
    return Entry(table.address()), encode_object(content, table)
