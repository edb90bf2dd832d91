"""Patterns that fit a question asked in words, for recall."""

from __future__ import annotations

import math
from typing import Final

from lamina.patterns.rows import COLUMNS, to_patterns
from lamina.patterns.values import Pattern
from lamina.search.tokens import query_terms
from lamina.storage.reader import Reader

__all__ = ["fitting"]

_COMMON: Final = 2_000
"""Patterns from which on a word is too common to begin with."""
_LEAST: Final = 0.3
"""Share of the question's weight that a pattern must cover, so that a chance word is no answer."""
_MOST_WORDS: Final = 32


def fitting(reader: Reader, question: str, limit: int) -> list[Pattern]:
    """Return the patterns whose words cover most of a question, among equals the more effective.

    A word weighs ``log(1 + N / n)`` with N patterns, n of which hold it. A pattern scores the share of the question's
    weight that it covers, times ``(1 + effectiveness) / 2``.
    """
    words = list(dict.fromkeys(query_terms(question)))[:_MOST_WORDS]
    ((total,),) = reader.db.execute("SELECT count(*) FROM pattern WHERE state = 0").fetchall()
    if not words or not total:
        return []
    weights: dict[str, float] = {}
    covered: dict[int, float] = {}
    common: list[str] = []
    for word in words:
        rows = reader.db.execute("SELECT pattern FROM pattern_term WHERE term = ? LIMIT ?", (word, _COMMON)).fetchall()
        weights[word] = math.log(1 + total / max(1, len(rows)))
        if len(rows) >= _COMMON:
            common.append(word)
            continue
        for (pattern,) in rows:
            covered[pattern] = covered.get(pattern, 0.0) + weights[word]
    if not covered and common:  # every word is common: begin with the most effective
        sql = "SELECT seq FROM pattern INDEXED BY pattern_rank WHERE state = 0 ORDER BY rank DESC LIMIT ?"
        covered = {row[0]: 0.0 for row in reader.db.execute(sql, (_COMMON,))}
    whole = sum(weights.values())
    candidates = sorted(covered, key=covered.__getitem__, reverse=True)[: max(50, 10 * limit)]
    for word in common:
        for pattern in candidates:
            if reader.db.execute(
                "SELECT 1 FROM pattern_term WHERE term = ? AND pattern = ?", (word, pattern)
            ).fetchall():
                covered[pattern] += weights[word]
    marks = ", ".join("?" * len(candidates))
    sql = f"SELECT {COLUMNS} FROM pattern p WHERE p.seq IN ({marks}) AND p.state = 0"
    rows = [row for row in reader.db.execute(sql, candidates) if covered[row[0]] >= _LEAST * whole]
    values = to_patterns(reader, rows)
    scored = [
        (covered[row[0]] / whole * (1 + value.effectiveness) / 2, value)
        for row, value in zip(rows, values, strict=True)
    ]
    scored.sort(key=lambda pair: (-pair[0], pair[1].id))
    return [value for _, value in scored[:limit]]
