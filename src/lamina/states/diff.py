"""What differs between two versions, array by array."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.states.context import StatesContext
from lamina.states.history import open_pair
from lamina.states.state import State, StateArray
from lamina.states.types import ArrayChange, StateDiff

__all__ = ["diff"]

_FIRST = 10


def diff(context: StatesContext, name: str, a: Any, b: Any) -> StateDiff:
    """Compare two versions; see :meth:`lamina.States.diff`."""
    before, after = open_pair(context, name, a, b)
    with before, after:
        changes, unchanged = [], 0
        for key in sorted({*before, *after}):
            change = _change(before, after, key)
            if change is None:
                unchanged += 1
            else:
                changes.append(change)
    return StateDiff(
        name=name, before=before.version.id, after=after.version.id, changes=tuple(changes), unchanged=unchanged
    )


def _change(before: State, after: State, name: str) -> ArrayChange | None:
    if name not in after:
        return ArrayChange(name=name, change="removed", norm_before=_norm(before[name]))
    if name not in before:
        return ArrayChange(name=name, change="added", norm_after=_norm(after[name]))
    old, new = before[name], after[name]
    if old.shape != new.shape or old.dtype != new.dtype:
        return ArrayChange(name=name, change="reshaped", norm_before=_norm(old), norm_after=_norm(new))
    if old.layout == new.layout and old.entries == new.entries:
        return None
    rows = 0
    first: list[int] = []
    largest: float | None = None
    norms = [0.0, 0.0]
    countable = _countable(old.dtype)
    for start, was, now in _side_by_side(old, new):
        differs = _rows_that_differ(was, now)
        rows += int(differs.sum())
        if len(first) < _FIRST:
            first += [start + int(row) for row in np.flatnonzero(differs)[: _FIRST - len(first)]]
        if countable:
            x, y = _wide(was), _wide(now)
            norms[0] += float(np.vdot(x, x).real)
            norms[1] += float(np.vdot(y, y).real)
            if differs.any():
                largest = _largest(x, y, largest)
    if not rows:
        return None
    return ArrayChange(
        name=name,
        change="changed",
        rows=rows,
        first_rows=tuple(first),
        norm_before=norms[0] ** 0.5 if countable else None,
        norm_after=norms[1] ** 0.5 if countable else None,
        largest_change=largest,
    )


def _side_by_side(old: StateArray, new: StateArray) -> Iterator[tuple[int, npt.NDArray[Any], npt.NDArray[Any]]]:
    """Yield ``(first row, rows before, rows after)``; shards of two precisions hold different numbers of rows."""
    if not old.shape:
        yield 0, old.read(), new.read()
        return
    step = min(old.shard_rows, new.shard_rows)
    for start in range(0, len(old), step):
        yield start, old[start : start + step], new[start : start + step]


def _largest(before: npt.NDArray[Any], after: npt.NDArray[Any], known: float | None) -> float:
    """Return the largest change so far; NaN is larger than any."""
    moved = (before != after) & ~(np.isnan(before) & np.isnan(after))
    with np.errstate(invalid="ignore", over="ignore"):
        step = float(np.abs(after[moved] - before[moved]).max(initial=0.0))
    return known if known is not None and (math.isnan(known) or step <= known) else step


def _rows_that_differ(was: npt.NDArray[Any], now: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which rows differ in any bit."""
    count = len(was) if was.ndim else 1
    old = np.ascontiguousarray(was).reshape(-1).view(np.uint8).reshape(count, -1)
    new = np.ascontiguousarray(now).reshape(-1).view(np.uint8).reshape(count, -1)
    differs: npt.NDArray[np.bool_] = (old != new).any(axis=1)
    return differs


def _norm(array: StateArray) -> float | None:
    if not _countable(array.dtype):
        return None
    total = 0.0
    for _, block in array.shards():
        wide = _wide(block)
        total += float(np.vdot(wide, wide).real)
    return float(total**0.5)


def _countable(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biufc" or dtype.kind == "V"  # bfloat16 and float8 are of kind V


def _wide(block: npt.NDArray[Any]) -> npt.NDArray[Any]:
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        return block.reshape(-1).astype(np.complex128 if block.dtype.kind == "c" else np.float64)
