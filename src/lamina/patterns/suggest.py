"""What usually comes next: the steps that followed the last ones, in patterns of several steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from lamina.patterns.reports import Suggestion
from lamina.search.outcomes import wilson
from lamina.search.tokens import tokens
from lamina.storage.reader import Reader

__all__ = ["suggest"]

LONGEST: Final = 4
"""Steps looked back at."""
_MOST: Final = 2_000
"""Patterns considered, the most effective first."""
_SHOWN: Final = 5
_FAILS: Final = 0.5
"""Upper end of a success rate's interval below which a step fails more often than not."""


@dataclass(slots=True)
class _Count:
    support: int = 0
    successes: int = 0
    patterns: list[str] = field(default_factory=list)


def suggest(reader: Reader, last_steps: Sequence[str], limit: int) -> list[Suggestion]:
    """Return the next steps, the most probable first; those that fail more often than not come after the others.

    The longest end of ``last_steps`` that any pattern goes on from decides. Uses of patterns that callers recorded are
    added up; of those that learning found the largest counts, since short sequences are parts of longer ones and would
    be counted again. The probability is a step's share of all of these uses.
    """
    for length in range(min(LONGEST, len(last_steps)), 0, -1):
        context = tuple(last_steps[-length:])
        counts = _following(reader, context)
        total = sum(count.support for count in counts.values())
        if total:
            ranked = sorted(counts.items(), key=_place)
            return [
                Suggestion(
                    step=step,
                    probability=count.support / total,
                    support=count.support,
                    success_rate=count.successes / count.support if count.support else 0.0,
                    high=wilson(count.successes, count.support)[1],
                    after=context,
                    patterns=tuple(count.patterns[:_SHOWN]),
                )
                for step, count in ranked[:limit]
            ]
    return []


def _place(item: tuple[str, _Count]) -> tuple[bool, int, int, str]:
    step, count = item
    return wilson(count.successes, count.support)[1] < _FAILS, -count.support, -count.successes, step


def _following(reader: Reader, context: tuple[str, ...]) -> dict[str, _Count]:
    """Count what follows some steps."""
    learned: dict[str, _Count] = {}
    counts: dict[str, _Count] = {}
    for id, origin, uses, successes, text in _holding(reader, context):
        steps = json.loads(text)
        seen: set[str] = set()
        for start in range(len(steps) - len(context)):
            step = steps[start + len(context)]
            if tuple(steps[start : start + len(context)]) != context or step in seen:
                continue
            seen.add(step)
            count = counts.setdefault(step, _Count())
            count.patterns.append(id)
            if origin == 1:
                largest = learned.setdefault(step, _Count())
                if uses > largest.support:
                    largest.support, largest.successes = uses, successes
            else:
                count.support += uses
                count.successes += successes
    for step, largest in learned.items():
        counts[step].support += largest.support
        counts[step].successes += largest.successes
    return {step: count for step, count in counts.items() if count.support}


def _holding(reader: Reader, context: tuple[str, ...]) -> list[tuple[str, int, int, int, str]]:
    """Return the patterns that have all words of some steps, found by the rarest of them."""
    words = list(dict.fromkeys(tokens(" ".join(context))))
    select = "SELECT p.id, p.origin, p.uses, p.successes, p.steps FROM"
    if not words:
        found: list[tuple[str, int, int, int, str]] = reader.db.execute(
            f"{select} pattern p INDEXED BY pattern_rank WHERE p.state = 0 ORDER BY p.rank DESC LIMIT ?", (_MOST,)
        ).fetchall()
        return found
    counts = {
        word: reader.db.execute(
            "SELECT count(*) FROM (SELECT 1 FROM pattern_term WHERE term = ? LIMIT ?)", (word, _MOST)
        ).fetchall()[0][0]
        for word in words
    }
    words.sort(key=counts.__getitem__)
    tests = "".join(
        " AND EXISTS (SELECT 1 FROM pattern_term t WHERE t.term = ? AND t.pattern = p.seq)" for _ in words[1:]
    )
    if counts[words[0]] < _MOST:
        sql = (
            f"{select} pattern_term f CROSS JOIN pattern p ON p.seq = f.pattern WHERE f.term = ? AND p.state = 0{tests}"
        )
        found = reader.db.execute(sql, words).fetchall()
    else:
        sql = (
            f"{select} pattern p INDEXED BY pattern_rank WHERE p.state = 0 "
            f"AND EXISTS (SELECT 1 FROM pattern_term t WHERE t.term = ? AND t.pattern = p.seq){tests} "
            "ORDER BY p.rank DESC LIMIT ?"
        )
        found = reader.db.execute(sql, (*words, _MOST)).fetchall()
    return found
