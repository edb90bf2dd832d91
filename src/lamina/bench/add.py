"""What it costs to remember: one at a time, durably, and many at once."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lamina.bench import BenchOption
from lamina.bench._measure import anonymous_memory, fsync_seconds, machine, percentile
from lamina.bench._texts import notes
from lamina.errors import NotFoundError
from lamina.fs import count_operations

if TYPE_CHECKING:
    from lamina.store import Store

__all__ = ["OPTIONS", "run", "summary"]

OPTIONS: Final = (
    BenchOption(name="single", default=200, help="Memories added one at a time."),
    BenchOption(name="many", default=20_000, help="Memories added with add_many."),
    BenchOption(name="folder", type=str, help="Where to measure; a temporary folder if not given."),
)

_BUDGET_BESIDE_MS: Final = 1.0
_BUDGET_FSYNCS: Final = 1.0
_BUDGET_RATE: Final = 8000.0


def run(*, single: int = 200, many: int = 20_000, folder: str | None = None) -> dict[str, Any]:
    """Measures adding.

    ``fsyncs`` are counted at the seam through which every durable byte goes, in a run apart from the timed one, since
    counting costs time. ``beside_ms`` is an add's time less its fsyncs at the median time of an fsync that was
    measured in the same folder, between the adds.

    Returns:
        ``single`` and ``many`` with their figures, ``ok`` against the budgets.
    """
    import lamina

    if folder is not None and not Path(folder).is_dir():
        raise NotFoundError(f"There is no folder {folder}.", hint="Make it, or leave --folder out.")
    with tempfile.TemporaryDirectory(prefix="lamina-bench-", dir=folder) as made:
        place = Path(made)
        texts = list(notes(single + 70, seed=7))
        with lamina.open(place / "single") as store:
            store.memories.add_many(texts[:50])  # a store that is in use: its dictionaries and caches are warm
            times, fsyncs = _single(store, texts[70:], place)
        counted = _count(place / "counted", texts[:70])
        bulk = _many(place / "many", many)
    per_add = counted["fsync"] / 20
    fsync_ms = statistics.median(fsyncs) * 1000
    median_ms = statistics.median(times) * 1000
    beside = max(0.0, median_ms - per_add * fsync_ms)
    return {
        "benchmark": "add",
        "machine": machine(),
        "single": {
            "adds": single,
            "fsyncs_per_add": per_add,
            "operations_per_add": {kind: count / 20 for kind, count in sorted(counted.items())},
            "ms_p50": median_ms,
            "ms_p99": percentile(times, 0.99) * 1000,
            "fsync_ms": fsync_ms,
            "beside_ms": beside,
        },
        "many": bulk,
        "budgets": {"fsyncs_per_add": _BUDGET_FSYNCS, "beside_ms": _BUDGET_BESIDE_MS, "texts_per_second": _BUDGET_RATE},
        "ok": per_add <= _BUDGET_FSYNCS and beside <= _BUDGET_BESIDE_MS and bulk["texts_per_second"] >= _BUDGET_RATE,
    }


def _count(place: Path, texts: list[str]) -> dict[str, int]:
    """Operations of 20 adds. The store is opened under observation: only then does its catalog report its own."""
    import lamina

    with count_operations() as counter, lamina.open(place) as store:
        store.memories.add_many(texts[:50])
        before = Counter(counter)
        for text in texts[50:70]:
            store.memories.add(text)
        counted = Counter(counter) - before
    return {"fsync": 0, **{str(getattr(kind, "value", kind)): count for kind, count in counted.items()}}


def _single(store: Store, texts: list[str], place: Path) -> tuple[list[float], list[float]]:
    """Seconds of each add, and of fsyncs in the same folder, taken between them."""
    times, fsyncs = [], []
    for number, text in enumerate(texts):
        if number % 20 == 0:
            fsyncs.append(fsync_seconds(place, rounds=5))
        started = time.perf_counter()
        store.memories.add(text)
        times.append(time.perf_counter() - started)
    return times, fsyncs


def _many(place: Path, count: int) -> dict[str, Any]:
    import lamina

    with lamina.open(place) as store:
        store.memories.add_many(notes(50, seed=13))  # loads the embedder, whose memory is not the batch's
        with _peak_memory() as peak:
            started = time.perf_counter()
            store.memories.add_many(notes(count, seed=11))
            seconds = time.perf_counter() - started
    with lamina.open(place, read_only=True) as store:
        disk = store.stats()["bytes_on_disk"]
    return {
        "texts": count,
        "seconds": seconds,
        "texts_per_second": count / seconds,
        "memory_growth_bytes": peak.get("growth"),
        "memory_growth_first_half_bytes": peak.get("first_half"),
        "bytes_on_disk": disk,
        "bytes_per_memory": disk["total"] / count,
    }


@contextmanager
def _peak_memory() -> Iterator[dict[str, int | None]]:
    """Samples ``RssAnon`` every 10 ms: the peak's growth, over the whole and over its first half.

    Memory that stays flat reaches its peak in the first half; memory that grows with the work does not.
    """
    result: dict[str, int | None] = {}
    samples: list[int] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.01):
            now = anonymous_memory()
            if now is not None:
                samples.append(now)

    before = anonymous_memory()
    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield result
    finally:
        done.set()
        thread.join()
        if before is not None and samples:
            result["growth"] = max(samples) - before
            result["first_half"] = max(samples[: len(samples) // 2 + 1]) - before


def summary(result: dict[str, Any]) -> list[str]:
    """The figures for people."""
    one, many, budgets = result["single"], result["many"], result["budgets"]
    lines = [
        f"one durable add     {one['ms_p50']:.2f} ms (p99 {one['ms_p99']:.2f} ms), {one['fsyncs_per_add']:.2f} fsyncs",
        f"  an fsync here     {one['fsync_ms']:.2f} ms",
        f"  beside it         {one['beside_ms']:.2f} ms   budget {budgets['beside_ms']:.1f} ms",
        f"add_many            {many['texts_per_second']:,.0f} texts/s   budget {budgets['texts_per_second']:,.0f}",
        f"  in all            {many['texts']:,} texts in {many['seconds']:.2f} s",
        f"  on disk           {many['bytes_per_memory']:,.0f} bytes a memory",
    ]
    if many["memory_growth_bytes"] is not None:
        grown, half = many["memory_growth_bytes"] / 1e6, (many["memory_growth_first_half_bytes"] or 0) / 1e6
        lines.append(f"  memory            peak +{grown:.1f} MB, +{half:.1f} MB of it in the first half")
    lines.append("within every budget" if result["ok"] else "a budget is EXCEEDED")
    return lines
