"""How fast recall answers: warm over distinct questions, and cold in a fresh process."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lamina.bench import BenchOption
from lamina.bench._measure import fresh_environment, machine, percentile, timed_process
from lamina.bench._texts import notes, questions

if TYPE_CHECKING:
    from lamina.store import Store

__all__ = ["OPTIONS", "run", "summary"]

OPTIONS: Final = (
    BenchOption(name="rows", multiple=True, default=(1_000, 50_000), help="Memories in the store; repeat for several."),
    BenchOption(name="queries", default=300, help="Distinct questions, each asked once."),
    BenchOption(name="mode", type=str, default="hybrid", help="hybrid, text or vector."),
    BenchOption(name="limit", default=10, help="Hits a question."),
    BenchOption(name="cold", default=5, help="Fresh processes whose first recall is timed."),
)

_BUDGETS_MS: Final = {1_000: 3.0, 50_000: 10.0}
_WARM_UP: Final = 20
_COLD: Final = (
    "import sys, time; started = time.perf_counter(); import lamina\n"
    "with lamina.open(sys.argv[1], read_only=True) as store:\n"
    "    store.memories.recall(sys.argv[2], limit=int(sys.argv[3]), mode=sys.argv[4])\n"
)


def run(
    *,
    rows: tuple[int, ...] = (1_000, 50_000),
    queries: int = 300,
    mode: str = "hybrid",
    limit: int = 10,
    cold: int = 5,
) -> dict[str, Any]:
    """Measures recall.

    Returns:
        ``sizes``: one entry a size, with ``ms_p50``, ``ms_p99``, ``queries_per_second``, and ``cold_ms`` of a whole
        process whose first and only act is one recall, beside ``bare_ms`` of one that does nothing.
    """
    import lamina

    sizes = []
    for count in rows:
        with tempfile.TemporaryDirectory(prefix="lamina-bench-") as folder:
            place = Path(folder) / "store"
            with lamina.open(place) as store:
                store.memories.add_many(notes(count, seed=3))
            with lamina.open(place, read_only=True) as store:
                times = _warm(store, queries, mode, limit)
            bare, first = _cold(place, cold, mode, limit)
        p50 = statistics.median(times) * 1000
        sizes.append(
            {
                "rows": count,
                "queries": queries,
                "ms_p50": p50,
                "ms_p99": percentile(times, 0.99) * 1000,
                "queries_per_second": len(times) / sum(times),
                "cold_ms": first,
                "bare_ms": bare,
                "budget_ms": _BUDGETS_MS.get(count),
                "ok": p50 <= _BUDGETS_MS.get(count, float("inf")),
            }
        )
    result = {"benchmark": "recall", "machine": machine(), "mode": mode, "limit": limit, "sizes": sizes}
    return {**result, "ok": all(entry["ok"] for entry in sizes)}


def _warm(store: Store, queries: int, mode: Any, limit: int) -> list[float]:
    asked = list(questions(queries + _WARM_UP))
    for question in asked[:_WARM_UP]:
        store.memories.recall(question, mode=mode, limit=limit)
    times = []
    for question in asked[_WARM_UP:]:
        started = time.perf_counter()
        store.memories.recall(question, mode=mode, limit=limit)
        times.append(time.perf_counter() - started)
    return times


def _cold(place: Path, rounds: int, mode: str, limit: int) -> tuple[float, float]:
    """Milliseconds of a bare process, and of one that opens the store and asks once; medians, taken in turn."""
    environment = fresh_environment(place.parent)
    bare, first = [], []
    for question in questions(rounds + 1, seed=5):
        bare.append(timed_process(["-c", "pass"], environment))
        first.append(timed_process(["-c", _COLD, str(place), question, str(limit), mode], environment))
    return statistics.median(bare[1:]) * 1000, statistics.median(first[1:]) * 1000  # the first one compiled the code


def summary(result: dict[str, Any]) -> list[str]:
    """The figures for people."""
    lines = [f"{'memories':>10}{'p50 ms':>9}{'p99 ms':>9}{'q/s':>8}{'cold ms':>9}   budget"]
    for entry in result["sizes"]:
        budget = entry["budget_ms"]
        verdict = "" if budget is None else f"p50 {budget:.0f} ms {'kept' if entry['ok'] else 'EXCEEDED'}"
        figures = (
            f"{entry['ms_p50']:9.2f}{entry['ms_p99']:9.2f}{entry['queries_per_second']:8,.0f}{entry['cold_ms']:9.0f}"
        )
        lines.append(f"{entry['rows']:10,}{figures}   {verdict}".rstrip())
    bare = result["sizes"][0]["bare_ms"] if result["sizes"] else 0.0
    lines.append(
        f"mode {result['mode']}, {result['limit']} hits; cold is a whole process (a bare one takes {bare:.0f} ms)"
    )
    return lines
