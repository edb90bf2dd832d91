"""How often the right turns of long conversations are found.

One corpus per conversation, a memory a turn. For every question with usable evidence, of all categories:

* turn recall@k: the fraction of its evidence turns among the first k answers;
* MRR: one over the rank of the first evidence turn, 0 where none is among the first :data:`DEPTH` answers;
* session recall@k: the fraction of its evidence turns' sessions among the first k different sessions of the answers.

Each is averaged over questions. Evidence ids are like ``D1:3``; ids of no turn are dropped, and a question that is
left with none is skipped. Everything goes through ``add_many`` and ``recall``, with default settings.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from lamina.bench import BenchOption
from lamina.bench._conversations import Conversation, Query, Turn, load
from lamina.bench._measure import machine

if TYPE_CHECKING:
    from lamina.store import Store

__all__ = ["DEPTH", "OPTIONS", "evaluate", "run", "summary"]

OPTIONS: Final = (
    BenchOption(name="data", type=str, required=True, help="LoCoMo's JSON file."),
    BenchOption(
        name="embedder",
        type=str,
        multiple=True,
        default=(),
        help="Another embedder to measure, such as fastembed:MODEL; it may download its model. Repeat for several.",
    ),
)

DEPTH: Final = 100
"""Answers asked for: enough that ten different sessions are among them."""

METRICS: Final = ("recall@5", "recall@10", "recall@20", "mrr", "session_recall@5", "session_recall@10")

Mode = Literal["hybrid", "text", "vector"]


@dataclass(frozen=True, slots=True)
class _Configuration:
    name: str
    mode: Mode
    store: int


def run(*, data: str, embedder: tuple[str, ...] = ()) -> dict[str, Any]:
    """Measures recall on conversations.

    Returns:
        ``configurations``: for BM25 alone, vectors alone, the default, and the two of each further embedder, the
        :data:`METRICS` over all questions, by conversation and by category, and seconds; ``ingest_seconds``,
        ``questions``, ``turns``, ``seconds`` of the whole run.
    """
    from lamina.embed import installed

    started = time.perf_counter()
    conversations = load(data)
    specs: list[str | None] = [None, *dict.fromkeys(embedder)]
    scores: dict[str, list[tuple[str, int, dict[str, float]]]] = {}
    seconds: dict[str, float] = {}
    ingest = dict.fromkeys((spec or "default" for spec in specs), 0.0)
    used: str | None = None
    for conversation in conversations:
        with tempfile.TemporaryDirectory(prefix="lamina-bench-") as folder, ExitStack() as stack:
            stores: list[tuple[Store, dict[str, Turn]]] = []
            for number, spec in enumerate(specs):
                begun = time.perf_counter()
                store, turns = _ingest(Path(folder) / str(number), conversation, spec)
                stack.enter_context(store)
                ingest[spec or "default"] += time.perf_counter() - begun
                stores.append((store, turns))
            used = stores[0][0].embedder
            for choice in _configurations(specs, with_vectors=used is not None):
                store, turns = stores[choice.store]
                begun = time.perf_counter()
                found = _ask(store, turns, conversation.queries, choice.mode)
                seconds[choice.name] = seconds.get(choice.name, 0.0) + time.perf_counter() - begun
                rows = scores.setdefault(choice.name, [])
                rows += [
                    (conversation.name, query.category, score)
                    for query, score in zip(conversation.queries, found, strict=True)
                ]
    questions = sum(len(conversation.queries) for conversation in conversations)
    measured = {spec.partition(":")[0] for spec in embedder} | {"static"}
    return {
        "benchmark": "locomo",
        "machine": machine(),
        "embedder": used,
        "conversations": len(conversations),
        "turns": sum(len(conversation.turns) for conversation in conversations),
        "questions": questions,
        "questions_skipped": sum(conversation.skipped for conversation in conversations),
        "configurations": [
            {
                "name": name,
                **_averages(rows),
                "seconds": seconds[name],
                "ms_per_question": seconds[name] / max(1, len(rows)) * 1000,
            }
            for name, rows in scores.items()
        ],
        "ingest_seconds": ingest,
        "not_measured": [kind for kind in installed() if kind not in measured],
        "seconds": time.perf_counter() - started,
    }


def _configurations(specs: Sequence[str | None], *, with_vectors: bool) -> list[_Configuration]:
    found = [_Configuration("BM25 alone", "text", 0)]
    if with_vectors:
        found.append(_Configuration("vectors alone", "vector", 0))
    found.append(_Configuration("default", "hybrid", 0))
    for number, spec in enumerate(specs[1:], 1):
        found.append(_Configuration(f"vectors alone, {spec}", "vector", number))
        found.append(_Configuration(f"hybrid, {spec}", "hybrid", number))
    return found


def _ingest(place: Path, conversation: Conversation, spec: str | None) -> tuple[Store, dict[str, Turn]]:
    import lamina

    store = lamina.open(place, embedder=spec)
    try:
        ids = store.memories.add_many(
            {
                "text": turn.text,
                "thread": f"session_{turn.session}",
                "position": turn.position,
                "created_at": turn.at,
            }
            for turn in conversation.turns
        )
    except BaseException:
        store.close()
        raise
    return store, dict(zip(ids, conversation.turns, strict=True))


def _ask(store: Store, turns: dict[str, Turn], queries: Iterable[Query], mode: Mode) -> list[dict[str, float]]:
    found = []
    for query in queries:
        hits = store.memories.recall(query.text, limit=DEPTH, mode=mode)
        found.append(evaluate([turns[hit.memory.id] for hit in hits], query, turns.values()))
    return found


def evaluate(answers: Sequence[Turn], query: Query, turns: Iterable[Turn]) -> dict[str, float]:
    """Scores the answers to one question.

    Args:
        answers: The turns found, best first.
        query: The question and its evidence.
        turns: The whole conversation, which knows the session of each evidence turn.

    Returns:
        Each of :data:`METRICS`, 0..1.
    """
    ids = [turn.id for turn in answers]
    wanted = {turn.session for turn in turns if turn.id in query.evidence}
    sessions = list(dict.fromkeys(turn.session for turn in answers))
    first = next((rank for rank, found in enumerate(ids, 1) if found in query.evidence), None)
    scores = {f"recall@{k}": len(query.evidence.intersection(ids[:k])) / len(query.evidence) for k in (5, 10, 20)}
    scores["mrr"] = 1 / first if first else 0.0
    scores |= {f"session_recall@{k}": len(wanted.intersection(sessions[:k])) / len(wanted) for k in (5, 10)}
    return scores


def _averages(rows: list[tuple[str, int, dict[str, float]]]) -> dict[str, Any]:
    def mean(chosen: list[dict[str, float]]) -> dict[str, float]:
        return {name: sum(score[name] for score in chosen) / len(chosen) for name in METRICS}

    names = dict.fromkeys(name for name, _, _ in rows)
    categories = sorted({category for _, category, _ in rows})
    return {
        **(mean([score for _, _, score in rows]) if rows else dict.fromkeys(METRICS, 0.0)),
        "by_conversation": {name: mean([score for other, _, score in rows if other == name]) for name in names},
        "by_category": {
            str(category): {
                "questions": sum(other == category for _, other, _ in rows),
                **mean([score for _, other, score in rows if other == category]),
            }
            for category in categories
        },
    }


def summary(result: dict[str, Any]) -> list[str]:
    """The figures for people."""
    names = [entry["name"] for entry in result["configurations"]]
    margin = max(map(len, [*names, "configuration"])) + 2
    heads = ("R@5", "R@10", "R@20", "MRR", "S@5", "S@10")
    lines = [f"{'configuration':{margin}}" + "".join(f"{head:>7}" for head in heads) + f"{'ms each':>9}"]
    for entry in result["configurations"]:
        figures = "".join(f"{entry[name]:7.3f}" for name in METRICS)
        lines.append(f"{entry['name']:{margin}}{figures}{entry['ms_per_question']:9.2f}")
    default = next(entry for entry in result["configurations"] if entry["name"] == "default")
    lines.append("")
    for name, scores in default["by_conversation"].items():
        lines.append(f"{'  default, ' + name:{margin}}" + "".join(f"{scores[metric]:7.3f}" for metric in METRICS))
    lines.append("")
    lines.append(
        f"{result['questions']:,} questions ({result['questions_skipped']} without evidence left out) over "
        f"{result['turns']:,} turns of {result['conversations']} conversations in {result['seconds']:.1f} s; "
        f"embedder {result['embedder'] or 'none'}"
    )
    lines.append("R: evidence turns among the first k answers; S: their sessions among the first k sessions; means")
    missing = (
        f"{kind} is installed and was not measured: add --embedder {kind}:MODEL" for kind in result["not_measured"]
    )
    return [*lines, *missing]
