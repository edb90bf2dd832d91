"""From evidence to one score.

Every signal is normalised before it is added, so that no signal's scale decides; ranks are never mixed blindly. The
constants were chosen on three conversations of LoCoMo as the middle of a plateau (docs/design/005 has the ablations).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lamina.search.columns import Columns

__all__ = ["CANDIDATES", "WEIGHTS", "Ranking", "by_cosine", "fuse"]

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

CANDIDATES = 300
"""Best passages that each of text and vectors proposes."""
SEEDS = 50
"""Strongest candidates whose neighbours become candidates too."""
WEIGHTS: Mapping[str, float] = {
    "text": 1.0,
    "vector": 0.15,
    "neighbours": 1.0,
    "thread": 0.8,
    "date": 0.6,
    "importance": 0.05,
    "recency": 0.03,
    "feedback": 0.05,
}
"""What each normalised signal is multiplied with."""
COVERED = 0.6
"""Share of a question's full score from which the best passage counts as a whole match."""
NEAR = (0.5, 0.2, 0.1)
"""What a neighbour's own evidence counts at one, two and three places' distance."""
TOPIC = 0.5
"""Share of a memory's mean in the vector signal of each of its passages."""
DATE_FALL_DAYS = 14.0
"""Days after a named span over which its evidence fades."""
_MICROS_A_DAY = 86_400_000_000
_EPOCH_ORDINAL = 719_163  # date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates, best first."""

    rows: Integers
    """Rows of the columns."""
    score: Floats
    signals: Mapping[str, Floats]
    """Each signal's normalised value, in the order of ``rows``."""


def fuse(
    columns: Columns,
    visible: npt.NDArray[np.bool_],
    *,
    text: tuple[Integers, Floats],
    vector: Floats | None,
    days: Sequence[tuple[int, int]] = (),
    full: float = 0.0,
    context: bool = True,
    candidates: int = CANDIDATES,
    least: int = 0,
) -> Ranking:
    """Rank the passages that the text index and the vectors propose.

    Args:
        columns: All passages.
        visible: (n,) which of them may be returned.
        text: Rows and BM25 scores of the text index's proposals.
        vector: (n,) cosine of every passage with the query, or None where vectors take no part.
        days: Spans of days that the question names, as ordinals.
        full: BM25 score of a passage that says the whole question; a chance word must not look like an answer.
        context: Let neighbours and threads lend their evidence.
        candidates: Passages that the vectors propose.
        least: Where no more than so many passages are visible, all of them are candidates.

    Returns:
        The candidates; their score is the weighted sum of their signals.
    """
    count = len(columns)
    text_part = np.zeros(count, dtype=np.float32)
    rows, scores = text
    inside = (rows >= 0) & visible[rows] if len(rows) else np.zeros(0, dtype=bool)
    rows, scores = rows[inside], scores[inside]
    if len(scores) and scores.max() > 0:
        text_part[rows] = scores / max(float(scores.max()), COVERED * full)
    base = text_part * np.float32(WEIGHTS["text"])
    vector_part = np.zeros(count, dtype=np.float32)
    if vector is not None:
        having = visible & (columns.scale > 0)
        vector = _with_topic(columns.memory, vector)
        vector_part = _standardised(vector, having)
        base = base + vector_part * np.float32(WEIGHTS["vector"])
        proposed = having if int(visible.sum()) <= least else vector_part > 0
        rows = np.union1d(rows, _closest(vector_part, proposed, candidates))
    if not len(rows):
        return Ranking(rows, np.zeros(0, dtype=np.float32), {})
    if context:
        seeds = rows[np.argsort(-base[rows], kind="stable")[:SEEDS]]
        around = [seeds]
        for distance in range(1, len(NEAR) + 1):
            for sign in (-1, 1):
                found, there = columns.neighbours(seeds, sign * distance)
                around.append(found[there])
        rows = np.union1d(rows, np.concatenate(around))
        rows = rows[visible[rows]]
    signals = {"text": text_part[rows], "vector": vector_part[rows]}
    if context:
        signals["neighbours"] = _neighbours(columns, rows, base)
        signals["thread"] = _threads(columns.thread[rows], base[rows])
    if days:
        signals["date"] = _dates(columns.created[rows], days)
    score = np.zeros(len(rows), dtype=np.float32)
    for name, values in signals.items():
        score += values * np.float32(WEIGHTS[name])
    best = np.argsort(-score, kind="stable")
    return Ranking(rows[best], score[best], {name: values[best] for name, values in signals.items()})


def by_cosine(columns: Columns, visible: npt.NDArray[np.bool_], vector: Floats | None, candidates: int) -> Ranking:
    """Rank passages by their cosine with the query alone.

    Args:
        columns: All passages.
        visible: (n,) which of them may be returned.
        vector: (n,) cosine of every passage with the query; None gives no candidates.
        candidates: At most so many.
    """
    if vector is None:
        return Ranking(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32), {})
    rows = _closest(vector, visible & (columns.scale > 0), candidates)
    rows = rows[np.lexsort((rows, -vector[rows]))]
    return Ranking(rows, vector[rows], {"cosine": vector[rows]})


def _with_topic(memory: Integers, vector: Floats) -> Floats:
    """Return each passage's cosine brought halfway to the mean of its memory's: what a long text is about counts too.

    Without it the more passages a memory has, the likelier one of them is close to any question by chance. A memory of
    one passage stays as it is. The passages of a memory follow each other.
    """
    starts = np.flatnonzero(np.diff(memory, prepend=-1))
    if len(starts) == len(memory):
        return vector
    counts = np.diff(np.append(starts, len(memory)))
    means = np.add.reduceat(vector, starts) / counts
    return (np.float32(1 - TOPIC) * vector + np.float32(TOPIC) * np.repeat(means, counts)).astype(np.float32)


def _standardised(vector: Floats, having: npt.NDArray[np.bool_]) -> Floats:
    """Return how many standard deviations each cosine lies above the mean of what may be returned, at least 0."""
    result = np.zeros(len(vector), dtype=np.float32)
    seen = vector if having.all() else vector[having]
    if not len(seen):
        return result
    deviation = float(seen.std())
    if deviation < 1e-6:
        # One passage, or all alike: nothing stands out, so the cosine itself has to speak.
        return np.where(having, np.maximum(vector, 0), 0).astype(np.float32)
    scaled = np.maximum((vector - np.float32(seen.mean())) / np.float32(deviation), 0)
    return np.where(having, scaled, 0).astype(np.float32)


def _closest(vector: Floats, having: npt.NDArray[np.bool_], count: int) -> Integers:
    """Return the rows of the largest values among those that may be chosen, in no order."""
    distance = np.where(having, -vector, np.float32(np.inf))
    best = np.argpartition(distance, count - 1)[:count] if len(vector) > count else np.arange(len(vector))
    return best[having[best]].astype(np.int64)


def _neighbours(columns: Columns, rows: Integers, base: Floats) -> Floats:
    total = np.zeros(len(rows), dtype=np.float32)
    for distance, weight in enumerate(NEAR, 1):
        for sign in (-1, 1):
            found, there = columns.neighbours(rows, sign * distance)
            there &= columns.memory[found] != columns.memory[rows]  # a memory lends itself nothing: long ones would win
            total += np.float32(weight) * base[found] * there
    return total


def _threads(thread: Integers, base: Floats) -> Floats:
    threads, inverse = np.unique(thread, return_inverse=True)
    top = np.zeros(len(threads), dtype=np.float32)
    np.maximum.at(top, inverse, base)
    peak = float(top.max())
    return top[inverse] / np.float32(peak) if peak > 0 else np.zeros(len(base), dtype=np.float32)


def _dates(created: Integers, days: Sequence[tuple[int, int]]) -> Floats:
    """Return 1 within a named span, falling to 0 over the two weeks after it: people tell of things a little later."""
    day = created // _MICROS_A_DAY + _EPOCH_ORDINAL
    result = np.zeros(len(created), dtype=np.float32)
    for first, last in days:
        after = np.maximum(0, 1 - (day - last) / DATE_FALL_DAYS)
        result = np.maximum(result, np.where(day < first, 0, np.where(day <= last, 1, after)))
    return result.astype(np.float32)
