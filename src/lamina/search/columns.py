"""The current passages of a store, as columns in memory: what a scan and the context evidence read.

Loaded on the first recall and then kept in step through the catalog's two logs (new passages, ended revisions), so
that a store which did not change costs one small query. What is here only proposes: the catalog confirms every hit.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.search.vectors import MOST_SCALE, to_int8
from lamina.storage.codecs import damaged
from lamina.storage.filters import Filter
from lamina.storage.reader import Position, Reader

__all__ = ["Columns", "PassageColumns"]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

BLOCK = 4096
"""Rows that are widened to float32 at once: 4 MB at 256 dimensions, which stays in the cache."""
_ROWS_AT_ONCE = 8192
_FEW = 2000
"""New rows up to which they are put into the order one by one instead of sorting all."""


@dataclass(frozen=True, slots=True)
class Columns:
    """A moment of the passages: one entry a passage, in the order of passage ids."""

    passage: Integers
    memory: Integers
    """Number of the passage's revision."""
    scope: Integers
    type: Integers
    thread: Integers
    """Where it belongs to none, its memory's number below zero: a memory is a thread of its own passages."""
    position: Integers
    """-1 where it has none."""
    created: Integers
    """Microseconds since 1970."""
    tokens: Integers
    """Tokens that the text index counts for it."""
    scale: Floats
    """0 where the passage has no vector."""
    codes: npt.NDArray[np.int8]
    """(n, dim)."""
    alive: Mask
    """False once its revision ended."""
    order: Integers
    """Rows that are alive, by thread and position: one that ended stands between no neighbours."""
    rank: Integers
    """Where each row stands in ``order``; -1 where it is not alive."""

    def __len__(self) -> int:
        return len(self.passage)

    @property
    def dim(self) -> int:
        """Dimensions of the vectors."""
        return int(self.codes.shape[1])

    def rows(self, passages: Integers) -> Integers:
        """Return the rows of passage ids; -1 for one that is not here."""
        if not len(self.passage):
            return np.full(len(passages), -1, dtype=np.int64)
        found = np.minimum(np.searchsorted(self.passage, passages), len(self.passage) - 1)
        return np.where(self.passage[found] == passages, found, -1)

    def neighbours(self, rows: Integers, distance: int) -> tuple[Integers, Mask]:
        """Return the row ``distance`` places further on in each row's thread, and whether there is one."""
        places = self.rank[rows] + distance
        inside = (self.rank[rows] >= 0) & (places >= 0) & (places < len(self.order))
        found = self.order[np.clip(places, 0, max(len(self.order) - 1, 0))]
        return found, inside & (self.thread[found] == self.thread[rows])

    def similarity(self, query: Floats) -> Floats:
        """Return the cosine of every passage with a query of length one; 0 where the passage has no vector.

        Widened block by block, 50,000 x 256 take 1.7 ms on one core. A matrix product would be no faster alone, and
        twenty times slower where its threads meet a busy machine.

        Args:
            query: (dim,).
        """
        out = np.empty(len(self.codes), dtype=np.float32)
        wide = np.empty((min(BLOCK, len(self.codes)), self.codes.shape[1]), dtype=np.float32)
        for start in range(0, len(self.codes), BLOCK):
            block = self.codes[start : start + BLOCK]
            part = wide[: len(block)]
            np.copyto(part, block)
            np.vecdot(part, query, out=out[start : start + len(block)])
        out *= self.scale
        return out


class _Growing:
    """An array that takes more rows without copying those it has each time."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._held = array
        self._used = len(array)

    def append(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        needed = self._used + len(rows)
        if needed > len(self._held):
            wider = np.empty((max(needed, self._used + self._used // 2), *self._held.shape[1:]), dtype=self._held.dtype)
            wider[: self._used] = self._held[: self._used]
            self._held = wider
        self._held[self._used : needed] = rows
        self._used = needed
        return self._held[:needed]


class PassageColumns:
    """Keeps :class:`Columns` in step with the catalog; safe to share between threads.

    Args:
        dim: Dimensions of the store's vectors; 0 where it has none.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.damaged: frozenset[int] = frozenset()
        """Passages whose stored vector could not be read; they are found by their text alone."""
        self._lock = threading.Lock()
        self._past: tuple[int, Position, Columns] | None = None
        self.drop()

    def drop(self) -> None:
        """Forget everything; the next use loads it anew."""
        with self._lock:
            self._position: Position | None = None
            self._columns, self._growing = self._fresh()

    def at(self, reader: Reader) -> Columns:
        """Return the columns for the moment that ``reader`` sees."""
        position = reader.position()
        with self._lock:
            seen = self._position
            if position == seen:
                return self._columns
            try:
                return self._in_step(reader, seen, position)
            except BaseException:
                # Growing was interrupted: what is held may be half of it, so none of it is kept.
                self._position = None
                raise

    def _in_step(self, reader: Reader, seen: Position | None, position: Position) -> Columns:
        if seen is not None and (position.passage < seen.passage or position.ending < seen.ending):
            # An older view than what is held: answer for it, and keep the newer.
            return self._grown(*self._fresh(), reader, after=0, condition=Filter(expired=True))
        endings = reader.endings(seen.ending) if seen else []
        if seen is None or 0 in endings:
            self._columns, self._growing = self._fresh()
            after = 0
        else:
            after = seen.passage
        condition = Filter(expired=True)
        columns = self._grown(self._columns, self._growing, reader, after=after, condition=condition)
        if endings and after:
            columns = self._without(columns, endings)
        self._columns, self._position = columns, position
        return columns

    def past(self, reader: Reader, moment: int) -> Columns:
        """Return the columns of what was valid at a moment in the past, in microseconds."""
        position = reader.position()
        with self._lock:
            if self._past and self._past[:2] == (moment, position):
                return self._past[2]
            condition = Filter(as_of=moment, expired=True)
            columns = self._grown(*self._fresh(), reader, after=0, condition=condition)
            self._past = (moment, position, columns)
            return columns

    def _fresh(self) -> tuple[Columns, dict[str, _Growing]]:
        arrays: dict[str, npt.NDArray[Any]] = {name: np.zeros(0, dtype=np.int64) for name in _INTEGERS}
        arrays |= {"scale": np.zeros(0, dtype=np.float32), "codes": np.zeros((0, self.dim), dtype=np.int8)}
        none = np.zeros(0, dtype=np.int64)
        columns = Columns(**arrays, alive=np.zeros(0, dtype=bool), order=none, rank=none)
        return columns, {name: _Growing(array) for name, array in arrays.items()}

    def _grown(
        self, columns: Columns, growing: dict[str, _Growing], reader: Reader, *, after: int, condition: Filter
    ) -> Columns:
        batch: list[tuple[Any, ...]] = []
        arrays: dict[str, npt.NDArray[Any]] | None = None
        for row in reader.passage_columns(after, condition):
            batch.append(row)
            if len(batch) >= _ROWS_AT_ONCE:
                arrays, batch = self._append(growing, batch), []
        if batch:
            arrays = self._append(growing, batch)
        if arrays is None:
            return columns
        new = len(arrays["passage"]) - len(columns)
        alive = np.concatenate([columns.alive, np.ones(new, dtype=bool)])
        order = _ordered(columns.order, len(columns), arrays["thread"], arrays["position"])
        return Columns(**arrays, alive=alive, order=order, rank=_ranked(order, len(alive)))

    def _append(self, growing: dict[str, _Growing], batch: list[tuple[Any, ...]]) -> dict[str, npt.NDArray[Any]]:
        try:
            rows = self._read(batch)
        except (TypeError, ValueError, OverflowError) as error:
            raise damaged(f"passages {batch[0][0]} to {batch[-1][0]}", f"a number is none ({error})") from None
        return {name: growing[name].append(values) for name, values in rows.items()}

    def _read(self, batch: list[tuple[Any, ...]]) -> dict[str, npt.NDArray[Any]]:
        passage, memory, scope, kind, thread, position, created, tokens, scale, codes = zip(*batch, strict=True)
        wide = np.array([value or 0.0 for value in scale], dtype=np.float64)
        sane = np.abs(wide) < MOST_SCALE  # not so where it is NaN
        if not sane.all():
            self.damaged |= {number for number, well in zip(passage, sane.tolist(), strict=True) if not well}
        scales = np.where(sane, wide, 0.0).astype(np.float32)
        if any(code is not None and len(code) != self.dim for code in codes):
            scales, codes = self._converted(passage, scales, codes)
        blank = bytes(self.dim)
        joined = b"".join(blank if code is None else code for code in codes)
        whole: dict[str, Any] = {
            "passage": passage,
            "memory": memory,
            "scope": scope,
            "type": kind,
            "thread": [value or -number for value, number in zip(thread, memory, strict=True)],
            "position": [-1 if value is None else value for value in position],
            "created": created,
            "tokens": tokens,
        }
        rows: dict[str, npt.NDArray[Any]] = {name: np.array(values, dtype=np.int64) for name, values in whole.items()}
        rows["scale"] = scales
        rows["codes"] = np.frombuffer(joined, dtype=np.int8).reshape(len(batch), self.dim)
        return rows

    def _converted(
        self, passages: tuple[int, ...], scales: Floats, codes: tuple[bytes | None, ...]
    ) -> tuple[Floats, tuple[bytes | None, ...]]:
        """Bring other precisions to int8; leave out what has a length that no precision has."""
        result: list[bytes | None] = []
        for number, code in enumerate(codes):
            held: bytes | None = None
            if code and self.dim:
                try:
                    scales[number], held = to_int8(float(scales[number]), code, self.dim)
                except ValueError:
                    self.damaged |= {passages[number]}
            if held is None:
                scales[number] = 0
            result.append(held)
        return scales, tuple(result)

    def _without(self, columns: Columns, endings: list[int]) -> Columns:
        alive = columns.alive & ~np.isin(columns.memory, endings)
        if alive.sum() >= 0.8 * len(alive):
            values = {name: getattr(columns, name) for name in Columns.__slots__}
            order = columns.order[alive[columns.order]]
            return Columns(**{**values, "alive": alive, "order": order, "rank": _ranked(order, len(alive))})
        kept = {name: getattr(columns, name)[alive] for name in (*_INTEGERS, "scale", "codes")}
        self._growing = {name: _Growing(array) for name, array in kept.items()}
        order = _ordered(np.zeros(0, dtype=np.int64), 0, kept["thread"], kept["position"])
        return Columns(**kept, alive=alive[alive], order=order, rank=_ranked(order, len(order)))


_INTEGERS = ("passage", "memory", "scope", "type", "thread", "position", "created", "tokens")


def _ordered(order: Integers, first: int, thread: Integers, position: Integers) -> Integers:
    """Return rows by thread, then position, then row: those of ``order``, and all from ``first``."""
    new = np.arange(first, len(thread))
    if len(new) > _FEW or not len(order):
        rows = np.sort(np.concatenate([order, new]))
        return rows[np.lexsort((position[rows], thread[rows]))]
    new = new[np.lexsort((position[new], thread[new]))]
    threads, places = thread[order], position[order]
    low = np.searchsorted(threads, thread[new], side="left")
    high = np.searchsorted(threads, thread[new], side="right")
    at = [
        start + int(np.searchsorted(places[start:stop], position[row], side="right"))
        for row, start, stop in zip(new.tolist(), low.tolist(), high.tolist(), strict=True)
    ]
    return np.insert(order, at, new)


def _ranked(order: Integers, count: int) -> Integers:
    """Return where each of ``count`` rows stands in an order; -1 where it does not."""
    rank = np.full(count, -1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank
