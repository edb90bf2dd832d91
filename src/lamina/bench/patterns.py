"""Patterns and sessions: queries at several selectivities, trends, recording, importing, learning."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lamina.bench import BenchOption
from lamina.bench._events import HOT, START, TYPES, json_store, session_file, transcript, uses
from lamina.bench._measure import anonymous_memory, fresh_environment, machine, percentile, timed_process

if TYPE_CHECKING:
    from lamina.patterns import Patterns
    from lamina.store import Store

__all__ = ["OPTIONS", "run", "summary"]

OPTIONS: Final = (
    BenchOption(
        name="patterns", multiple=True, default=(1_000, 100_000), help="Patterns in the store; repeat for several."
    ),
    BenchOption(name="uses", multiple=True, default=(10_000, 1_000_000), help="Uses of them, one value for each size."),
    BenchOption(name="queries", default=300, help="Questions of each kind."),
    BenchOption(name="learn_sessions", default=10_000, help="Sessions to learn from."),
    BenchOption(name="megabytes", default=40, help="Size of the transcripts to import."),
)

_SMALL: Final = 1_000
_LOADED: Final = 100
_EVENTS: Final = 100
"""Sessions that are loaded, and the events of each."""
_BUDGETS: Final = {
    "small": {"query_ms_p50": 0.2, "session_ms": 5.0, "cold_ms": 100.0, "memory_mb": 10.0},
    "large": {
        "slowest_ms_p50": 1.0,
        "slowest_ms_p99": 5.0,
        "by_week_ms": 5.0,
        "related_ms": 10.0,
        "related_hot_ms": 10.0,
    },
}
_RATES: Final = {"uses_per_second": 20_000.0, "import_mb_per_second": 20.0, "learn_s": 60.0, "learn_again_s": 2.0}
_COLD: Final = (
    "import sys, lamina\n"
    "with lamina.open(sys.argv[1], read_only=True) as store:\n"
    "    store.patterns.query().of_type('TestingPattern').min_success_rate(0.5).limit(10).all()\n"
)
_RESIDENT: Final = (
    "import sys, apsw\n"
    "def anonymous():\n"
    "    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('RssAnon'))\n"
    "before = anonymous()\n"
    "import lamina\n"
    "with lamina.open(sys.argv[1], read_only=True) as store:\n"
    "    for kind in sys.argv[2:]:\n"
    "        for _ in range(50):\n"
    "            store.patterns.query().of_type(kind).min_success_rate(0.5).limit(10).all()\n"
    "    print(anonymous() - before)\n"
)


def run(
    *,
    patterns: tuple[int, ...] = (1_000, 100_000),
    uses: tuple[int, ...] = (10_000, 1_000_000),
    queries: int = 300,
    learn_sessions: int = 10_000,
    megabytes: int = 40,
) -> dict[str, Any]:
    """Measures patterns and sessions.

    Returns:
        ``sizes``: one entry a size, with milliseconds of each kind of query (``p50``, ``p99``), ``related_ms``,
        ``by_week_ms``, ``session_ms`` of loading a session with all of its events, ``cold_ms`` of a whole process to
        its first answer, ``scan_ms`` of reading the same patterns from JSON files, ``memory_mb`` above an interpreter
        with apsw; then ``import``, ``learn`` and ``recording``.
    """
    sizes = []
    for number, count in enumerate(patterns):
        amount = uses[min(number, len(uses) - 1)] if uses else count * 10
        sizes.append(_size(count, max(amount, count), queries))
    result: dict[str, Any] = {"benchmark": "patterns", "machine": machine(), "sizes": sizes}
    result["import"] = _imports(megabytes)
    result["learn"] = _learns(learn_sessions)
    result["ok"] = all(entry["ok"] for entry in (*sizes, result["import"], result["learn"]))
    return result


def _size(count: int, amount: int, queries: int) -> dict[str, Any]:
    import lamina

    sessions = max(100, amount // 100)
    with tempfile.TemporaryDirectory(prefix="lamina-bench-") as folder:
        place = Path(folder) / "store"
        with lamina.open(place, embedder="none") as store:
            started = time.perf_counter()
            store.patterns.record_many(uses(count, amount, sessions))
            rate = amount / (time.perf_counter() - started)
        bytes_on_disk = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        with lamina.open(place, embedder="none") as store:
            session_file(Path(folder) / "runs.jsonl", 0, _LOADED, _EVENTS)
            loaded = store.sessions.import_file(Path(folder) / "runs.jsonl").sessions
        with lamina.open(place, embedder="none", read_only=True) as store:
            kinds, all_times = _queries(store.patterns, queries)
            hot = store.patterns.query().sort_by("usage").first()
            assert hot is not None
            assert hot.steps == HOT
            by_week = _median(lambda: store.patterns.usage(hot.id).by_week(), 30)
            zoned = _median(lambda: store.patterns.usage(hot.id).by_week(tz="Europe/Berlin"), 10)
            related = _related(store.patterns, hot.id)
            listed = _median(lambda: store.sessions.list(limit=100), 30)
            load = statistics.median(_median(lambda id=id: _load(store, id), 1) for id in loaded)  # type: ignore[misc]
        bare, cold = _cold(place, 5)
        entry: dict[str, Any] = {
            "patterns": count,
            "uses": amount,
            "sessions": sessions,
            "queries": kinds,
            "query_ms_p50": statistics.median(all_times) * 1000,
            "query_ms_p99": percentile(all_times, 0.99) * 1000,
            "slowest_ms_p50": max(kind["p50"] for kind in kinds.values()),
            "slowest_ms_p99": max(kind["p99"] for kind in kinds.values()),
            "by_week_ms": by_week,
            "by_week_zoned_ms": zoned,
            "hot_uses": hot.uses,
            **related,
            "session_ms": load,
            "session_events": _EVENTS,
            "session_list_ms": listed,
            "cold_ms": cold,
            "bare_ms": bare,
            "memory_mb": _resident(place),
            "scan_ms": _scan(Path(folder), count, amount, sessions) if count <= _SMALL * 10 else None,
            "uses_per_second": rate,
            "bytes_a_use": bytes_on_disk / amount,
        }
    budget = _BUDGETS["small" if count <= _SMALL else "large"]
    entry["budget"] = {**budget, "uses_per_second": _RATES["uses_per_second"]}
    entry["ok"] = rate >= _RATES["uses_per_second"] and all(
        entry[name] is None or entry[name] <= limit for name, limit in budget.items()
    )
    return entry


def _queries(patterns: Patterns, count: int) -> tuple[dict[str, dict[str, float]], list[float]]:
    """Milliseconds of each kind of query, ten answers each, and the seconds of all; a share says how many fit."""
    begin, span = START, timedelta(days=330)
    ask = patterns.query
    kinds: dict[str, Callable[[], Any]] = {
        "no filter": lambda: ask().limit(10).all(),
        "rate >= 10 %, most fit": lambda: ask().min_success_rate(0.1).limit(10).all(),
        "rate >= 50 %": lambda: ask().min_success_rate(0.5).limit(10).all(),
        "rate >= 95 %, few fit": lambda: ask().min_success_rate(0.95).limit(10).all(),
        "file, 10 %": lambda: ask().with_file("f10").limit(10).all(),
        "file, 50 %": lambda: ask().with_file("f50").limit(10).all(),
        "file, 90 %": lambda: ask().with_file("f90").limit(10).all(),
        "file since, rare": lambda: ask().with_file("src/module77.py").used_since(begin + span * 0.9).limit(10).all(),
        "type, 50 %": lambda: ask().of_type(TYPES[0]).limit(10).all(),
        "type and rate": lambda: ask().of_type(TYPES[5]).min_success_rate(0.7).limit(10).all(),
        "since, 10 %": lambda: ask().used_since(begin + span * 0.99).limit(10).all(),
        "text, one word": lambda: ask().matching("deploy").limit(10).all(),
        "text, rare": lambda: ask().matching("module 7").limit(10).all(),
        "text, nothing fits": lambda: ask().matching("unheard").limit(10).all(),
        "session": lambda: ask().in_session("session-000007").limit(10).all(),
        "by usage": lambda: ask().sort_by("usage").limit(10).all(),
        "by last use, of a type": lambda: ask().of_type(TYPES[3]).sort_by("last_used").limit(10).all(),
        "by rate, with a file": lambda: ask().with_file("f10").sort_by("success_rate").limit(10).all(),
    }
    found: dict[str, dict[str, float]] = {}
    everything: list[float] = []
    for name, query in kinds.items():
        times = _times(query, count)
        found[name] = {"p50": statistics.median(times) * 1000, "p99": percentile(times, 0.99) * 1000}
        everything += times
    return found, everything


def _load(store: Store, id: str) -> int:
    """Load a session with all of its events."""
    assert store.sessions.get(id).id == id
    return len(list(store.sessions.events(id)))


def _related(patterns: Patterns, hot: str) -> dict[str, float]:
    """Milliseconds of ``related`` for the pattern with a tenth of all uses, and the median of usual ones."""
    usual = [pattern.id for pattern in patterns.query().sort_by("last_used").limit(20).all()]
    times = [_median(lambda id=id: patterns.related(id), 3) for id in usual]  # type: ignore[misc]
    return {"related_ms": statistics.median(times), "related_hot_ms": _median(lambda: patterns.related(hot), 3)}


def _imports(megabytes: int) -> dict[str, Any]:
    import lamina

    with tempfile.TemporaryDirectory(prefix="lamina-bench-") as folder:
        source = Path(folder) / "transcripts"
        source.mkdir()
        size = number = 0
        while size < megabytes * 1_000_000:
            text = "\n".join(transcript(number, 400)) + "\n"
            (source / f"{number}.jsonl").write_text(text, encoding="utf-8")
            size += len(text)
            number += 1
        with lamina.open(Path(folder) / "store", embedder="none") as store:
            first = store.sessions.import_file(source)
            again = store.sessions.import_file(source)
    rate = size / 1e6 / first.seconds
    return {
        "megabytes": size / 1e6,
        "events": first.turns + first.calls,
        "import_mb_per_second": rate,
        "again_mb_per_second": size / 1e6 / again.seconds,
        "budget": {"import_mb_per_second": _RATES["import_mb_per_second"]},
        "ok": rate >= _RATES["import_mb_per_second"],
    }


def _learns(sessions: int) -> dict[str, Any]:
    import lamina

    with tempfile.TemporaryDirectory(prefix="lamina-bench-") as folder:
        path = Path(folder) / "sessions.jsonl"
        session_file(path, 0, sessions, 60)
        more = Path(folder) / "more.jsonl"
        session_file(more, sessions, 100, 60)
        with lamina.open(Path(folder) / "store", embedder="none") as store:
            store.sessions.import_file(path)
            first, learned = _timed(store)
            store.sessions.import_file(more)
            again, relearned = _timed(store)
    return {
        "sessions": sessions,
        "learn_s": first,
        "patterns": len(learned.patterns),
        "uses": learned.uses,
        "learn_again_s": again,
        "new_sessions": relearned.new_sessions,
        "budget": {"learn_s": _RATES["learn_s"], "learn_again_s": _RATES["learn_again_s"]},
        "ok": first <= _RATES["learn_s"] and again <= _RATES["learn_again_s"],
    }


def _timed(store: Store) -> tuple[float, Any]:
    started = time.perf_counter()
    report = store.patterns.learn()
    return time.perf_counter() - started, report


def _times(function: Callable[[], Any], count: int) -> list[float]:
    function()
    times = []
    for _ in range(count):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return times


def _median(function: Callable[[], Any], count: int) -> float:
    return statistics.median(_times(function, count)) * 1000


def _cold(place: Path, rounds: int) -> tuple[float, float]:
    environment = fresh_environment(place.parent)
    bare, first = [], []
    for _ in range(rounds + 1):
        bare.append(timed_process(["-c", "pass"], environment))
        first.append(timed_process(["-c", _COLD, str(place)], environment))
    return statistics.median(bare[1:]) * 1000, statistics.median(first[1:]) * 1000


def _resident(place: Path) -> float | None:
    """Megabytes above an interpreter with apsw, after a few hundred queries; None where the system does not say."""
    if anonymous_memory() is None:
        return None
    done = subprocess.run(  # noqa: S603 - this interpreter, with the benchmark's own arguments
        [sys.executable, "-c", _RESIDENT, str(place), *TYPES],
        env=fresh_environment(place.parent),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout) * 1024 / 1e6


def _scan(folder: Path, count: int, amount: int, sessions: int) -> float:
    """Milliseconds of the linear way: read every file, keep what fits, sort."""
    files = folder / "files"
    files.mkdir()
    json_store(files, count, amount, sessions)

    def scan() -> list[Any]:
        found = []
        for path in files.iterdir():
            entry = json.loads(path.read_text(encoding="utf-8"))
            if entry["pattern_type"] == TYPES[5] and entry["successes"] >= 0.5 * entry["uses"]:
                found.append(entry)
        found.sort(key=lambda entry: (-entry["successes"] / entry["uses"], -entry["uses"]))
        return found[:10]

    return _median(scan, 5)


def summary(result: dict[str, Any]) -> list[str]:
    """The figures for people."""
    lines: list[str] = []
    for entry in result["sizes"]:
        verdict = "kept" if entry["ok"] else "EXCEEDED"
        lines.append(
            f"{entry['patterns']:,} patterns, {entry['uses']:,} uses, {entry['sessions']:,} sessions: budget {verdict}"
        )
        lines += [
            f"  {name:<28}{kind['p50']:9.3f} ms p50{kind['p99']:9.3f} ms p99" for name, kind in entry["queries"].items()
        ]
        lines.append(f"  {'all questions':<28}{entry['query_ms_p50']:9.3f} ms p50{entry['query_ms_p99']:9.3f} ms p99")
        rest = {
            f"by_week over {entry['hot_uses']:,} uses": entry["by_week_ms"],
            "  in another time zone": entry["by_week_zoned_ms"],
            "related, usual pattern": entry["related_ms"],
            "related, hottest pattern": entry["related_hot_ms"],
            f"a session of {entry['session_events']} events": entry["session_ms"],
            "list of 100 sessions": entry["session_list_ms"],
            "cold process": entry["cold_ms"],
            "  of which a bare one": entry["bare_ms"],
            "scan over JSON files": entry["scan_ms"],
        }
        lines += [f"  {name:<28}{value:9.3f} ms" for name, value in rest.items() if value is not None]
        if entry["memory_mb"] is not None:
            lines.append(f"  {'memory above apsw':<28}{entry['memory_mb']:9.1f} MB")
        lines.append(
            f"  {'recording':<28}{entry['uses_per_second']:9,.0f} uses/s, {entry['bytes_a_use']:.0f} bytes each"
        )
    imported, learned = result["import"], result["learn"]
    lines.append(
        f"import of transcripts: {imported['import_mb_per_second']:.1f} MB/s, a second time "
        f"{imported['again_mb_per_second']:.1f} MB/s: budget {'kept' if imported['ok'] else 'EXCEEDED'}"
    )
    lines.append(
        f"learning from {learned['sessions']:,} sessions: {learned['learn_s']:.1f} s for {learned['patterns']:,} "
        f"patterns with {learned['uses']:,} uses; again after {learned['new_sessions']} new ones "
        f"{learned['learn_again_s']:.2f} s: budget {'kept' if learned['ok'] else 'EXCEEDED'}"
    )
    return lines
