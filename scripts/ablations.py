"""What each part of the recall recipe is worth: ``python scripts/ablations.py LOCOMO.json``.

Runs ``lamina bench locomo``'s questions with one part left out or weighted differently at a time. The table of
docs/design/005-recall-recipe.md is its output.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lamina.bench import locomo
from lamina.bench._conversations import Conversation, Turn, load
from lamina.memories import evidence
from lamina.search import fuse
from lamina.search.text import TermStatistics
from lamina.store import Store

Ingested = list[tuple[Store, dict[str, Turn], Conversation]]

RRF = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Buettcher 2009)."""


@contextmanager
def weights(**changes: float) -> Iterator[None]:
    """Multiply weights of signals while the block runs."""
    held: Any = fuse.WEIGHTS
    before = dict(held)
    held.update({name: before[name] * factor for name, factor in changes.items()})
    try:
        yield
    finally:
        held.update(before)


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Put another function in a place while the block runs."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def unweighted(_: TermStatistics, term: str | None) -> float:
    """Weigh every word of a question alike."""
    return 1.0 if term else 0.0


def uneased(scores: Any, *_: Any) -> Any:
    """Leave BM25 as FTS5 computes it."""
    return scores


def variants() -> Iterator[tuple[str, AbstractContextManager[None]]]:
    """What is measured, by name."""
    signals = ("vector", "neighbours", "thread", "date")
    yield "default", weights()
    for name in signals:
        yield f"without {name}", weights(**{name: 0.0})
    yield "without neighbours and thread", weights(neighbours=0.0, thread=0.0)
    yield "without importance, recency, feedback", weights(importance=0.0, recency=0.0, feedback=0.0)
    yield "query words unweighted in the vector", replaced(TermStatistics, "weight", unweighted)
    yield "BM25 with b = 0.75", replaced(evidence, "ease_length", uneased)
    yield "words against the best passage alone", replaced(fuse, "COVERED", 0.0)
    for name in signals:
        for factor in (0.5, 2.0):
            yield f"{name} x {factor}", weights(**{name: factor})


def measured(ingested: Ingested) -> dict[str, float]:
    """Return the means of all questions, as the product answers them now."""
    rows = [
        score
        for store, turns, conversation in ingested
        for score in locomo._ask(store, turns, conversation.queries, "hybrid")  # noqa: SLF001 - the benchmark's own way
    ]
    return mean(rows)


def rank_fusion(ingested: Ingested) -> dict[str, float]:
    """Return the means when words and meaning are fused by rank alone."""
    rows = []
    for store, turns, conversation in ingested:
        for query in conversation.queries:
            points: dict[str, float] = {}
            for mode in ("text", "vector"):
                for rank, hit in enumerate(store.memories.recall(query.text, limit=locomo.DEPTH, mode=mode), 1):
                    points[hit.memory.id] = points.get(hit.memory.id, 0.0) + 1 / (RRF + rank)
            best = sorted(points, key=lambda found: -points[found])[: locomo.DEPTH]
            rows.append(locomo.evaluate([turns[id] for id in best], query, turns.values()))
    return mean(rows)


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return each measure's mean."""
    return {name: sum(row[name] for row in rows) / len(rows) for name in locomo.METRICS}


def line(name: str, scores: dict[str, float]) -> str:
    """Return one row of the table."""
    return f"| {name} | " + " | ".join(f"{scores[metric]:.3f}" for metric in locomo.METRICS) + " |"


def main(arguments: list[str]) -> int:
    """Measure every variant and print a Markdown table."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ingested: Ingested = []
        for number, conversation in enumerate(load(arguments[0])):
            store, turns = locomo._ingest(Path(folder) / str(number), conversation, None)  # noqa: SLF001
            ingested.append((stack.enter_context(store), turns, conversation))
        print(f"| | {' | '.join(locomo.METRICS)} |")
        print("|---" * (len(locomo.METRICS) + 1) + "|")
        for name, change in variants():
            with change:
                print(line(name, measured(ingested)), flush=True)
        print(line("rank fusion of words and meaning, no context", rank_fusion(ingested)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
