"""Near-duplicates among patterns of as many steps, found without comparing every two.

How alike two patterns are is the mean over their steps of Ratcliff and Metzener's measure on words (1988): twice the
words in matching stretches, by the words of both. Nothing is missed, which follows from bounds:

* A step of n words of which m are missing in the other one is alike by at most 2(n-m) / (2n-m), that is, falls short
  of 1 by at least m / (2n-1). Each missing word so has a least *cost*, and the costs of two patterns that are alike by
  more than t in the mean of k steps stay below k(1-t).
* So of words that cost k(1-t) and more together, one must be in the other pattern as well: the rarest words of a
  pattern that cost so much, its *prefix*, are all that it needs to be found by (Chaudhuri, Ganti and Kaushik 2006, "A
  primitive operator for similarity joins in data cleaning"). A longer prefix shares two or three (Wang, Li and Feng
  2012, "Can we beat the prefix filtering?"), which tells more apart where words are few; a sample decides how many.
* What is found is first held against the words in common, in any order, and only then compared.

Every pattern is compared with those before it that were not merged themselves, so that a thousand that are alike cost a
thousand comparisons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import combinations
from typing import Final

__all__ = ["Steps", "duplicates", "likeness"]

Steps = tuple[tuple[str, ...], ...]
"""The words of each step."""

_LEVELS: Final = (1, 2, 3)
"""How many words two patterns must share to be compared."""
_SAMPLE: Final = 500
_COMPARING: Final = 10
"""What holding two patterns against each other takes, in looking up a key."""
_SURE: Final = 1e-9
"""Room for rounding, on the side of comparing."""


def likeness(one: Steps, other: Steps) -> float:
    """Return how alike the steps of two patterns are, in the mean of their pairs; 0..1."""
    pairs = zip(one, other, strict=True)
    return sum(1.0 if a == b else SequenceMatcher(None, a, b, autojunk=False).ratio() for a, b in pairs) / len(one)


def duplicates(patterns: Sequence[Steps], least: float) -> Iterator[tuple[int, int, float]]:
    """Yield ``(place, place of the one before it that is most like it, likeness)`` for those with one above ``least``.

    Args:
        patterns: Of as many steps each, in the order of preference. One that is yielded is no longer compared with.
        least: 0..1; what is exactly as much alike is no duplicate.
    """
    if len(patterns) < 2 or least >= 1:
        return
    marked = _marked(patterns)
    budget = len(patterns[0]) * (1 - least) + _SURE
    level = _level(marked, budget)
    index: dict[tuple[int, ...], list[int]] = {}
    leaders: dict[Steps, int] = {}
    held: dict[int, tuple[frozenset[int], list[int]]] = {}
    for place, pattern in enumerate(patterns):
        same = leaders.get(pattern)
        if same is not None:
            yield place, same, 1.0
            continue
        keys = _keys(marked[place], budget, level)
        sizes = [max(1, len(words)) for words in pattern]
        steps = {mark: step for mark, step, _ in marked[place]}
        shares = {mark: 1 / sizes[step] for mark, step in steps.items()}
        words = frozenset(steps)
        found: dict[int, None] = {}
        for key in keys:
            found.update(dict.fromkeys(index.get(key, ())))
        best, value = -1, least
        for leader in sorted(found):
            common, lengths = words & held[leader][0], held[leader][1]
            if sizes == lengths:
                most = sum(map(shares.__getitem__, common))
            else:
                most = sum(2 / (sizes[step] + lengths[step]) for step in map(steps.__getitem__, common))
            if most / len(pattern) + _SURE > value:
                alike = likeness(patterns[leader], pattern)
                if alike > value:
                    best, value = leader, alike
        if best >= 0:
            yield place, best, value
            continue
        leaders[pattern] = place
        held[place] = words, sizes
        for key in keys:
            index.setdefault(key, []).append(place)


_Marked = list[tuple[int, int, float]]
"""``(number of a word in a step, step, cost)``, the rarest first; the number grows with how often it is seen."""


def _marked(patterns: Sequence[Steps]) -> list[_Marked]:
    """Return the words of patterns as numbers: of a step, a word, and the how manieth of its kind in that step."""
    counts: Counter[tuple[int, str, int]] = Counter()
    for pattern in patterns:
        counts.update(_words(pattern))
    order = sorted(counts, key=lambda word: (counts[word], word))
    numbers = {word: number for number, word in enumerate(order)}
    return [
        sorted((numbers[word], word[0], 1 / (2 * max(1, len(pattern[word[0]])) - 1)) for word in _words(pattern))
        for pattern in patterns
    ]


def _words(pattern: Steps) -> Iterator[tuple[int, str, int]]:
    for step, words in enumerate(pattern):
        if not words:
            yield step, "", 0  # a step without words is like another one only
        seen: dict[str, int] = {}
        for word in words:
            seen[word] = count = seen.get(word, -1) + 1
            yield step, word, count


def _level(marked: Sequence[_Marked], budget: float) -> int:
    """Return how many shared words to ask for, so that looking up and comparing take the least."""
    sample = marked[:: max(1, len(marked) // _SAMPLE)]
    best, least = 1, float("inf")
    for level in _LEVELS:
        counts: Counter[tuple[int, ...]] = Counter()
        for words in sample:
            counts.update(_keys(words, budget, level))
        pairs = sum(count * (count - 1) for count in counts.values()) / 2 * len(marked) / len(sample)
        work = counts.total() + _COMPARING * pairs
        if work >= least:
            break
        best, least = level, work
        if pairs < len(sample):
            break
    return best


def _keys(words: _Marked, budget: float, level: int) -> list[tuple[int, ...]]:
    """Return what a pattern is found by: so many words of its prefix together.

    The prefix is such that it costs the budget without the ``level - 1`` dearest of it. Where all words are too few for
    that, two such patterns may share fewer, so it is found by fewer as well.
    """
    keys: list[tuple[int, ...]] = []
    for count in range(level, 0, -1):
        prefix, whole = _prefix(words, budget, count - 1)
        keys += combinations(prefix, count)
        if not whole:
            break
    return keys


def _prefix(words: _Marked, budget: float, spared: int) -> tuple[list[int], bool]:
    """Return the rarest words that cost the budget without the dearest few of them, and whether that took too many."""
    dearest: list[float] = []
    total = 0.0
    prefix = []
    for mark, _, cost in words:
        prefix.append(mark)
        total += cost
        dearest = sorted([*dearest, cost])[-spared:] if spared else dearest
        if total - sum(dearest) >= budget:
            return prefix, False
    return prefix, True
