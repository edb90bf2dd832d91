"""Frequent sequences, counted over all sessions at once.

A sequence of two to four steps occurs in a session where its steps come in this order with at most ``max_gap`` others
between neighbours; a step that is repeated at once counts once. It is only told where at least half of its sessions
have it without a gap: what never stands together is no sequence. Longer sequences are only looked for where both of
their parts are frequent, since no sequence is in more sessions than its parts (Agrawal and Srikant 1996, "Mining
sequential patterns: generalizations and performance improvements", whose gap constraint this is). The steps of all
sessions are one array of numbers, and a level costs a few passes of numpy over it: every occurrence marks a cell of a
table of sequences by sessions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Found", "frequent_pairs", "frequent_sequences", "occurrences"]

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_CELLS = 20_000_000
"""Cells of sequences by sessions that are looked at in one go; each takes three bytes."""


@dataclass(slots=True)
class Found:
    """Something frequent: what it is made of, the sessions it is in, and how each of them went."""

    items: tuple[int, ...]
    sessions: Sequence[int]
    """Places in the list of sessions."""
    worked: Sequence[bool]


@dataclass(slots=True)
class _Occurrences:
    """Every occurrence of a level's sequences."""

    key: Ints
    """Number of the sequence without its last step, times the number of steps, plus that step."""
    first: Ints
    """Place of its first step."""
    last: Ints


def frequent_sequences(
    sequences: Sequence[Sequence[int]],
    outcomes: Sequence[Sequence[int]],
    results: Sequence[bool | None],
    *,
    min_support: int,
    max_length: int = 4,
    max_gap: int = 1,
) -> list[Found]:
    """Return the sequences that occur in at least so many sessions.

    Args:
        sequences: The steps of each session, as numbers.
        outcomes: Of each step: 0 where it failed.
        results: How each session went; where that is unknown, a sequence worked if its last step did at least once.
        min_support: Sessions.
        max_length: Steps of the longest sequence.
        max_gap: Others between two neighbours, at most.
    """
    steps, session, worked, names = _flat(sequences, outcomes)
    if not len(steps):
        return []
    known = np.array([-1 if result is None else int(result) for result in results], dtype=np.int64)
    size = len(names)
    places = np.arange(len(steps))
    ends = _Occurrences(steps, places, places)
    tables: list[Ints] = []
    found: list[Found] = []
    pairs: Ints | None = None
    for length in range(2, max_length + 1):
        level = _extended(ends, steps, session, gaps=range(1, max_gap + 2), size=size, pairs=pairs)
        kept: list[int] = []
        for key, inside in _supported(
            level,
            session[level.first],
            worked[level.last],
            length=length,
            known=known,
            min_support=min_support,
        ):
            kept.append(key)
            if inside is not None:
                items = tuple(int(names[item]) for item in _items(key, tables, size))
                found.append(Found(items, inside[0].tolist(), inside[1].tolist()))
        if not kept:
            break
        table = np.array(kept, dtype=np.int64)
        pairs = table if length == 2 else pairs
        number = _numbers(level.key, table)
        fits = number >= 0
        ends = _Occurrences(number[fits], level.first[fits], level.last[fits])
        tables.append(table)
    return found


def occurrences(
    sequences: Sequence[Sequence[int]],
    outcomes: Sequence[Sequence[int]],
    results: Sequence[bool | None],
    wanted: Collection[tuple[int, ...]],
    *,
    max_gap: int = 1,
) -> list[Found]:
    """Return where certain sequences of two steps or more occur, however rare; what occurs nowhere is left out.

    Args:
        sequences: The steps of each session, as numbers.
        outcomes: As for :func:`frequent_sequences`, like ``results``.
        results: How each session went.
        wanted: Sequences.
        max_gap: Others between two neighbours, at most.
    """
    steps, session, worked, names = _flat(sequences, outcomes)
    if not len(steps):
        return []
    size = len(names)
    small = {int(name): number for number, name in enumerate(names)}
    left = [items for items in wanted if len(items) > 1 and all(item in small for item in items)]
    number: dict[tuple[int, ...], int] = {(item,): item for item in range(size)}  # of each beginning, on its level
    places = np.arange(len(steps))
    ends = _Occurrences(steps, places, places)
    found: list[Found] = []
    length = 1
    while left:
        length += 1
        begun: dict[int, list[tuple[int, ...]]] = {}
        for items in left:
            head = tuple(small[item] for item in items[:length])
            begun.setdefault(number[head[:-1]] * size + head[-1], []).append(items)
        level = _extended(ends, steps, session, gaps=range(1, max_gap + 2), size=size, pairs=None)
        table = np.array(sorted(begun), dtype=np.int64)
        place = _numbers(level.key, table)
        fits = place >= 0
        ends = _Occurrences(place[fits], level.first[fits], level.last[fits])
        there = set(ends.key.tolist())
        number = {tuple(small[i] for i in begun[key][0][:length]): at for at, key in enumerate(table.tolist())}
        for at, key in enumerate(table.tolist()):
            for items in begun[key] if at in there else ():
                if len(items) == length:
                    inside = ends.key == at
                    found.append(_seen(items, session[ends.first[inside]], worked[ends.last[inside]], results))
        left = [items for at, key in enumerate(table.tolist()) if at in there for items in begun[key]]
        left = [items for items in left if len(items) > length]
    return found


def _seen(items: tuple[int, ...], session: Ints, worked: Flags, results: Sequence[bool | None]) -> Found:
    good: dict[int, bool] = {}
    for place, well in zip(session.tolist(), worked.tolist(), strict=True):
        good[place] = good.get(place, False) or well
    places = sorted(good)
    return Found(items, places, [good[p] if results[p] is None else results[p] is True for p in places])


def _flat(sequences: Sequence[Sequence[int]], outcomes: Sequence[Sequence[int]]) -> tuple[Ints, Ints, Flags, Ints]:
    """Join all sessions: ``(steps as small numbers, session of each, whether it worked, names of the numbers)``.

    Of a step that is repeated at once the last outcome counts.
    """
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    steps = _joined(sequences)
    worked = _joined(outcomes) != 0
    session = np.repeat(np.arange(len(lengths)), lengths)
    if not len(steps):
        return steps, session, worked, steps
    last = np.ones(len(steps), dtype=bool)
    last[:-1] = (steps[1:] != steps[:-1]) | (session[1:] != session[:-1])
    names, small = np.unique(steps[last], return_inverse=True)
    return small.astype(np.int64).ravel(), session[last], worked[last], names


def _joined(parts: Sequence[Sequence[int]]) -> Ints:
    arrays = [
        np.frombuffer(part, dtype=np.uint8) if isinstance(part, bytes) else np.asarray(part, dtype=np.int64)
        for part in parts
        if len(part)
    ]
    return np.concatenate(arrays).astype(np.int64) if arrays else np.zeros(0, dtype=np.int64)


def _extended(
    ends: _Occurrences, steps: Ints, session: Ints, *, gaps: Sequence[int], size: int, pairs: Ints | None
) -> _Occurrences:
    """Return every sequence one step longer whose last two steps are frequent."""
    parts: list[tuple[Ints, Ints, Ints]] = []
    for gap in gaps:
        after = ends.last + gap
        inside = after < len(steps)
        begin, before, end, key = ends.first[inside], ends.last[inside], after[inside], ends.key[inside]
        fits = (session[before] == session[end]) & (steps[before] != steps[end])
        if pairs is not None:
            fits &= _numbers(steps[before] * size + steps[end], pairs) >= 0
        parts.append((key[fits] * size + steps[end[fits]], begin[fits], end[fits]))
    return _Occurrences(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _numbers(keys: Ints, table: Ints) -> Ints:
    """Return the place of each key in a sorted table, -1 where it is not there."""
    if not len(keys):
        return keys
    space = int(max(keys.max(), table[-1])) + 1
    if space <= _CELLS:
        places = np.full(space, -1, dtype=np.int32)
        places[table] = np.arange(len(table))
        return places[keys].astype(np.int64)
    number = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return np.where(table[number] == keys, number, -1)


def _supported(
    level: _Occurrences, session: Ints, worked: Flags, *, length: int, known: Ints, min_support: int
) -> Iterator[tuple[int, tuple[Ints, Flags] | None]]:
    """Yield the keys in enough sessions, in order; with the sessions and how they went, where it is a sequence."""
    if not len(level.key):
        return
    if int(level.key.max()) < _CELLS:
        keys = np.flatnonzero(np.bincount(level.key) >= min_support)
    else:
        keys, counts = np.unique(level.key, return_counts=True)
        keys = keys[counts >= min_support]
    if not len(keys):
        return
    number = _numbers(level.key, keys)
    together = level.last - level.first == length - 1
    width = len(known)
    rows = max(1, _CELLS // width)
    for start in range(0, len(keys), rows):
        part = slice(None) if len(keys) <= rows else (number >= start) & (number < start + rows)
        cells = (number[part] - start) * width + session[part]
        fits = cells >= 0
        shape = (min(rows, len(keys) - start), width)
        there = _marked(cells[fits], shape)
        good = _marked(cells[fits & worked[part]], shape)
        near = _marked(cells[fits & together[part]], shape)
        good = np.where(known >= 0, known == 1, good)
        support = there.sum(axis=1)
        tight = 2 * near.sum(axis=1) >= support
        for row in np.flatnonzero(support >= min_support).tolist():
            inside = np.flatnonzero(there[row]) if tight[row] else None
            yield int(keys[start + row]), None if inside is None else (inside, good[row][inside])


def _marked(cells: Ints, shape: tuple[int, int]) -> Flags:
    table = np.zeros(shape[0] * shape[1], dtype=bool)
    table[cells] = True
    return table.reshape(shape)


def _items(key: int, tables: list[Ints], size: int) -> list[int]:
    """Return the small numbers of a sequence's steps from its key."""
    items: list[int] = []
    for table in reversed(tables):
        key, item = divmod(key, size)
        items.append(item)
        key = int(table[key])
    key, item = divmod(key, size)
    return [key, item, *reversed(items)]


@lru_cache(maxsize=256)
def _two_of(count: int) -> tuple[Ints, Ints]:
    one, other = np.triu_indices(count, 1)
    return one, other


def frequent_pairs(
    sets: Sequence[Sequence[int]], results: Sequence[bool | None], *, min_support: int, most: int
) -> tuple[list[Found], int]:
    """Return the pairs that are in at least so many sessions, and how many items were too many to be paired.

    Args:
        sets: The items of each session, without repetition.
        results: How each session went; unknown counts as well.
        min_support: Sessions.
        most: Items of one session that are paired, the first ones.
    """
    single: Counter[int] = Counter()
    for items in sets:
        single.update(items)
    names = sorted(item for item, count in single.items() if count >= min_support)
    small = {item: number for number, item in enumerate(names)}
    left_out = 0
    keys: list[Any] = []
    places: list[int] = []
    for place, items in enumerate(sets):
        left_out += max(0, len(items) - most)
        chosen = [small[item] for item in items[:most] if item in small]
        if len(chosen) > 1:
            numbers = np.array(sorted(chosen), dtype=np.int64)
            one, other = _two_of(len(numbers))
            keys.append(numbers[one] * len(names) + numbers[other])
            places.append(place)
    if not keys:
        return [], left_out
    session = np.repeat(np.array(places), [len(key) for key in keys])
    joined = np.concatenate(keys)
    order = np.argsort(joined, kind="stable")
    kept, begin, count = np.unique(joined[order], return_index=True, return_counts=True)
    found = []
    for row in np.flatnonzero(count >= min_support).tolist():
        inside = session[order[begin[row] : begin[row] + count[row]]].tolist()
        pair = divmod(int(kept[row]), len(names))
        items = (names[pair[0]], names[pair[1]])
        found.append(Found(items, inside, [results[place] is not False for place in inside]))
    return found, left_out
