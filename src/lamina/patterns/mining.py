"""Frequent sequences, counted over all sessions at once.

A sequence of two to four steps occurs in a session where its steps come in this order with at most ``max_gap`` others
between neighbours; a step that is repeated at once counts once. It is only told where at least half of its sessions
have it without a gap: what never stands together is no sequence. Longer sequences are only looked for where both of
their parts are frequent, since no sequence is in more sessions than its parts (Agrawal and Srikant 1996, "Mining
sequential patterns: generalizations and performance improvements", whose gap constraint this is). The steps of all
sessions are one array of numbers, so that a level costs a few passes of numpy over it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Found", "frequent_pairs", "frequent_sequences"]

Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class Found:
    """Something frequent: what it is made of, the sessions it is in, and how each of them went."""

    items: tuple[int, ...]
    sessions: Sequence[int]
    """Places in the list of sessions."""
    worked: Sequence[bool]


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
    offsets = range(1, max_gap + 2)
    # keys[o] gives, for each place, the number of the frequent sequence that ends o places on, or -1.
    ends: list[tuple[Ints, Ints, Ints]] = [(steps, np.arange(len(steps)), np.arange(len(steps)))]
    tables: list[Ints] = []
    found: list[Found] = []
    pairs: set[int] | None = None
    for length in range(2, max_length + 1):
        keys, first, last = _extended(ends, steps, session, offsets=offsets, size=size, pairs=pairs)
        together = (last - first == length - 1).astype(np.int64)
        chosen = _supported(keys, session[first], worked[last], together, known=known, min_support=min_support)
        if not len(chosen.kept):
            break
        found += [
            Found(tuple(int(names[item]) for item in _items(key, tables, size)), *chosen.of(place))
            for place, key in enumerate(chosen.kept.tolist())
            if chosen.tight[place]
        ]
        if length == 2:
            pairs = set(chosen.kept.tolist())
        number = np.searchsorted(chosen.kept, keys)
        number[number == len(chosen.kept)] = 0
        fits = chosen.kept[number] == keys
        ends = [(number[fits], first[fits], last[fits])]
        tables.append(chosen.kept)
    return found


def _flat(sequences: Sequence[Sequence[int]], outcomes: Sequence[Sequence[int]]) -> tuple[Ints, Ints, Ints, Ints]:
    """Join all sessions: ``(steps as small numbers, session of each, whether it worked, names of the numbers)``."""
    steps: list[int] = []
    session: list[int] = []
    worked: list[int] = []
    for place, (sequence, outcome) in enumerate(zip(sequences, outcomes, strict=True)):
        before = None
        for step, how in zip(sequence, outcome, strict=True):
            if step == before:
                worked[-1] = int(how != 0)
                continue
            before = step
            steps.append(step)
            session.append(place)
            worked.append(int(how != 0))
    names, small = np.unique(np.array(steps, dtype=np.int64), return_inverse=True)
    return small.astype(np.int64).ravel(), np.array(session, dtype=np.int64), np.array(worked, dtype=np.int64), names


def _extended(
    ends: list[tuple[Ints, Ints, Ints]],
    steps: Ints,
    session: Ints,
    *,
    offsets: Iterable[int],
    size: int,
    pairs: set[int] | None,
) -> tuple[Ints, Ints, Ints]:
    """Return every sequence one step longer: ``(key, place of its first step, place of its last)``."""
    frequent = None if pairs is None else np.array(sorted(pairs), dtype=np.int64)
    parts: list[tuple[Ints, Ints, Ints]] = []
    for number, first, last in ends:
        for offset in offsets:
            after = last + offset
            inside = after < len(steps)
            begin, end, key = first[inside], after[inside], number[inside]
            before = last[inside]
            fits = (session[before] == session[end]) & (steps[before] != steps[end])
            if frequent is not None:
                pair = steps[before] * size + steps[end]
                place = np.searchsorted(frequent, pair)
                place[place == len(frequent)] = 0
                fits &= frequent[place] == pair
            parts.append((key[fits] * size + steps[end[fits]], begin[fits], end[fits]))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]


@dataclass(slots=True)
class _Supported:
    kept: Ints
    """Keys in enough sessions, in order."""
    begin: Ints
    end: Ints
    sessions: Ints
    worked: npt.NDArray[np.bool_]
    tight: npt.NDArray[np.bool_]
    """Whether at least half of a key's sessions have it without a gap."""

    def of(self, place: int) -> tuple[list[int], list[bool]]:
        """Return the sessions of a key, and how each went."""
        part = slice(int(self.begin[place]), int(self.end[place]))
        return self.sessions[part].tolist(), self.worked[part].tolist()


def _supported(keys: Ints, session: Ints, worked: Ints, together: Ints, *, known: Ints, min_support: int) -> _Supported:
    order = np.lexsort((session, keys))
    keys, session, good, close = keys[order], session[order], worked[order], together[order]
    if not len(keys):
        empty = np.zeros(0, dtype=np.int64)
        return _Supported(empty, empty, empty, empty, empty.astype(bool), empty.astype(bool))
    fresh = np.ones(len(keys), dtype=bool)
    fresh[1:] = (keys[1:] != keys[:-1]) | (session[1:] != session[:-1])
    starts = np.flatnonzero(fresh)
    best = np.maximum.reduceat(good, starts)
    keys, session = keys[starts], session[starts]
    said = known[session]
    result = np.where(said >= 0, said, best).astype(bool)
    near = np.maximum.reduceat(close, starts)
    kept, begin, count = np.unique(keys, return_index=True, return_counts=True)
    tight = 2 * np.add.reduceat(near, begin) >= count
    enough = count >= min_support
    return _Supported(kept[enough], begin[enough], (begin + count)[enough], session, result, tight[enough])


def _items(key: int, tables: list[Ints], size: int) -> list[int]:
    """Return the small numbers of a sequence's steps from its key."""
    items: list[int] = []
    for table in reversed(tables):
        key, item = divmod(key, size)
        items.append(item)
        key = int(table[key])
    key, item = divmod(key, size)
    return [key, item, *reversed(items)]


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
    frequent = {item for item, count in single.items() if count >= min_support}
    pairs: dict[tuple[int, int], list[int]] = {}
    left_out = 0
    for place, items in enumerate(sets):
        chosen: list[Any] = [item for item in items if item in frequent]
        left_out += max(0, len(chosen) - most)
        for pair in combinations(sorted(chosen[:most]), 2):
            pairs.setdefault(pair, []).append(place)
    return [
        Found(pair, places, [results[place] is not False for place in places])
        for pair, places in sorted(pairs.items())
        if len(places) >= min_support
    ], left_out
