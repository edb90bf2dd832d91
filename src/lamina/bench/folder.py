"""The memory directory: what it costs to take over, follow, search and grow a folder of markdown files."""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lamina.bench import BenchOption
from lamina.bench._measure import machine, percentile
from lamina.bench._texts import notes, questions
from lamina.errors import NotFoundError
from lamina.fs import count_operations
from lamina.types import CURATED_TYPES

if TYPE_CHECKING:
    from lamina.store import Store

__all__ = ["OPTIONS", "counted_opens", "make_directory", "run", "summary"]

OPTIONS: Final = (
    BenchOption(name="files", multiple=True, default=(500, 5_000), help="Files of the directory; repeat for several."),
    BenchOption(name="queries", default=300, help="Distinct questions, each asked once."),
    BenchOption(name="rounds", default=15, help="Syncs, openings and loadings of the index that are timed."),
    BenchOption(name="adds", default=30, help="File memories added one at a time."),
    BenchOption(name="folder", type=str, help="Where to measure; a temporary folder if not given."),
)

_BUDGETS_SYNC_MS: Final = {500: 30.0, 5_000: 150.0}
_BUDGETS_RECALL_MS: Final = {500: 3.0, 5_000: 6.0}
_BUDGET_FSYNCS: Final = 5.0
_BUDGET_BESIDE_MS: Final = 2.0
_WARM_UP: Final = 20
_COUNTED: Final = 20
"""Adds whose operations are counted, apart from those that are timed: counting costs time."""
_FIRST: Final = 3
"""Adds that load what is needed and begin the catalog's log."""
_INDEX_POINTERS: Final = 150
"""What fits an index of 200 lines beside its headings."""
_POOL: Final = 20_000
"""Notes that the files are made of."""
_YEAR_S: Final = 365 * 86_400

_watching: list[Counter[str]] = []
_hooked = False


def run(
    *,
    files: tuple[int, ...] = (500, 5_000),
    queries: int = 300,
    rounds: int = 15,
    adds: int = 30,
    folder: str | None = None,
) -> dict[str, Any]:
    """Measures a memory directory.

    Every opening of a file is counted where Python itself announces it (:func:`sys.addaudithook`), not where the
    product says so; fsyncs are counted at the seam through which every durable byte goes: those of the median add, and
    the most, which are those of an add that moves pointers of a full index to its overflow.

    Returns:
        ``sizes``: one entry a size, with the first sync (``adopt``), the sync of unchanged files (``sync``), the
        opening of a store with unchanged files (``open``), ``recall``, a durable ``add`` of a file memory and the
        loading of the ``index``, times in milliseconds; ``ok`` against the budgets.

    Raises:
        NotFoundError: ``folder`` is not there.
    """
    if folder is not None and not Path(folder).is_dir():
        raise NotFoundError(f"There is no folder {folder}.", hint="Make it, or leave --folder out.")
    sizes = []
    for count in files:
        with tempfile.TemporaryDirectory(prefix="lamina-bench-", dir=folder) as made:
            sizes.append(_measure(Path(made), count, queries, rounds, adds))
    return {"benchmark": "folder", "machine": machine(), "sizes": sizes, "ok": all(entry["ok"] for entry in sizes)}


def _measure(place: Path, count: int, queries: int, rounds: int, adds: int) -> dict[str, Any]:
    import lamina

    store_folder = place / "memory"
    size = make_directory(store_folder, count)
    with lamina.open(place / "warm") as store:  # loads the embedder, which is not the directory's
        store.memories.add("Warm.")
    started = time.perf_counter()
    with lamina.open(store_folder) as store:
        adopted = time.perf_counter() - started
        opened = store.synced.opened if store.synced else 0
        sync = _timed_opens(rounds, store.memories.sync)
        recall = _recall(store, queries)
        index = _timed_opens(rounds, store.memories.index)
    opening = _timed_opens(rounds, lambda: lamina.open(store_folder).close())
    added = _adds(store_folder, place, adds)
    counted = _count(store_folder)
    sync_budget, recall_budget = _BUDGETS_SYNC_MS.get(count), _BUDGETS_RECALL_MS.get(count)
    beside = max(0.0, added["ms_p50"] - added["fsyncs_ms"])
    kept = {
        "sync": sync["ms_p50"] <= (sync_budget or float("inf")) and sync["files_opened"] == 0,
        "open": opening["files_opened"] == 0,
        "recall": recall["ms_p50"] <= (recall_budget or float("inf")),
        "add_fsyncs": counted["fsyncs"] <= _BUDGET_FSYNCS,
        "add_beside": beside <= _BUDGET_BESIDE_MS,
    }
    return {
        "files": count,
        "bytes": size,
        "adopt": {"seconds": adopted, "files_per_second": count / adopted, "files_opened": opened},
        "sync": {**sync, "budget_ms": sync_budget},
        "open": opening,
        "recall": {**recall, "budget_ms": recall_budget},
        "add": {**added, **counted, "beside_ms": beside},
        "index": index,
        "budgets": {"add_fsyncs": _BUDGET_FSYNCS, "add_beside_ms": _BUDGET_BESIDE_MS},
        "kept": kept,
        "ok": all(kept.values()),
    }


def make_directory(folder: Path, count: int, seed: int = 17) -> int:
    """Write a memory directory as agents and people leave one: ``count`` files, a sixth of them in ``team``, an index.

    Files are 0.4 to 4 KB, up to a year old, and about one or two things; most have front matter, some of it nested, a
    few have none.

    Args:
        folder: Made here.
        count: Memory files.
        seed: The same directory for the same seed.

    Returns:
        UTF-8 bytes of all memory files.
    """
    draw = random.Random(seed)
    (folder / "team").mkdir(parents=True)
    lines = ["# Memory\n", "\n"]
    total = 0
    now = time.time()
    about: dict[str, list[str]] = {}
    for text in notes(_POOL, seed):
        about.setdefault(text.split(" the ", 1)[1].split(" in ")[0], []).append(text)
    for number in range(count):
        things = [text for subject in draw.sample(sorted(about), 2) for text in about[subject]]
        said = draw.sample(things, draw.choice((2, 3, 3, 5, 8, 12, 25)))
        title = " ".join(said[0].split(" in ")[0].split()[:8])
        kind = draw.choice(CURATED_TYPES[1:] if number % 6 == 5 else CURATED_TYPES)
        name = f"{'team/' if number % 6 == 5 else ''}{kind}_{number:05d}.md"
        data = _file(title, said, kind, number).encode("utf-8")
        (folder / name).write_bytes(data)
        then = now - draw.uniform(3_600, _YEAR_S)
        os.utime(folder / name, (then, then))
        total += len(data)
        if "/" not in name and len(lines) < _INDEX_POINTERS:
            lines.append(f"- [{title}]({name}) — {said[1][:80]}\n")
    (folder / "MEMORY.md").write_text("".join(lines), encoding="utf-8")
    return total


def _file(title: str, said: list[str], kind: str, number: int) -> str:
    paragraphs = ["\n".join(said[start : start + 3]) for start in range(0, len(said), 3)]
    if kind in ("feedback", "project") and len(paragraphs) > 1:
        paragraphs[-1] = f"**Why:** {said[-1]}\n\n**How to apply:** {said[-2]}"
    body = "\n\n".join(paragraphs) + "\n"
    if number % 20 == 0:
        return f"# {title}\n\n{body}"
    about = said[1].split(";")[0]
    if number % 3 == 0:
        return f"---\nname: {title}\ndescription: {about}\nmetadata:\n  type: {kind}\n---\n\n{body}"
    return f"---\nname: {title}\ndescription: {about}\ntype: {kind}\ntags: [bench, n{number % 10}]\n---\n\n{body}"


def _timed_opens(rounds: int, call: Any) -> dict[str, Any]:
    """Milliseconds of several calls after a first one, and how many markdown files one of them opens, in another."""
    call()
    times, busy = [], []
    for _ in range(rounds):
        started, working = time.perf_counter(), time.thread_time()
        call()
        busy.append(time.thread_time() - working)
        times.append(time.perf_counter() - started)
    with counted_opens() as opens:
        call()
    return {
        "ms_p50": statistics.median(times) * 1000,
        "ms_p99": percentile(times, 0.99) * 1000,
        "cpu_ms_p50": statistics.median(busy) * 1000,
        "files_opened": sum(opened for name, opened in opens.items() if name not in ("MEMORY.md", "MEMORY.more.md")),
    }


@contextmanager
def counted_opens() -> Iterator[Counter[str]]:
    """Count the markdown files that this process opens, by name, however it does so.

    An audit hook stays for the life of a process, so there is one, which does nothing while nobody counts.
    """
    global _hooked  # noqa: PLW0603  (a hook cannot be taken away again)
    if not _hooked:
        sys.addaudithook(_heard)
        _hooked = True
    opens: Counter[str] = Counter()
    _watching.append(opens)
    try:
        yield opens
    finally:
        _watching.remove(opens)


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _watching:
        path = arguments[0]
        name = os.fsdecode(path).rsplit("/", 1)[-1] if isinstance(path, str | bytes) else ""
        if name.endswith(".md"):
            for opens in _watching:
                opens[name] += 1


def _recall(store: Store, queries: int) -> dict[str, Any]:
    asked = list(questions(queries + _WARM_UP, seed=23))
    for question in asked[:_WARM_UP]:
        store.memories.recall(question)
    times, busy = [], []
    with counted_opens() as opens:
        for question in asked[_WARM_UP:]:
            started, working = time.perf_counter(), time.thread_time()
            store.memories.recall(question)
            busy.append(time.thread_time() - working)
            times.append(time.perf_counter() - started)
    return {
        "queries": queries,
        "ms_p50": statistics.median(times) * 1000,
        "ms_p99": percentile(times, 0.99) * 1000,
        "cpu_ms_p50": statistics.median(busy) * 1000,
        "files_opened": sum(opens.values()),
    }


def _adds(folder: Path, place: Path, adds: int) -> dict[str, Any]:
    """Milliseconds of durable adds of file memories, and of the fsyncs that one needs, taken between them."""
    import lamina

    times, fsyncs = [], []
    with lamina.open(folder) as store:
        for number, text in enumerate(notes(adds + _FIRST, seed=29)):
            if number % 2 == 0:
                fsyncs.append(_fsyncs_of_an_add(place))
            started = time.perf_counter()
            store.memories.add(text, title=f"Added {text[:50]}", type="project")
            if number >= _FIRST:
                times.append(time.perf_counter() - started)
    return {
        "adds": adds,
        "ms_p50": statistics.median(times) * 1000,
        "ms_p99": percentile(times, 0.99) * 1000,
        "fsyncs_ms": statistics.median(fsyncs) * 1000,
    }


def _fsyncs_of_an_add(place: Path) -> float:
    """Seconds in the fsyncs that a file memory cannot do without: two new files, their folder twice, a log.

    An fsync of a new file or of a folder costs several times that of an append, so each is measured as what it is.
    """
    spent = 0.0

    def sync(descriptor: int) -> None:
        nonlocal spent
        started = time.perf_counter()
        os.fsync(descriptor)
        spent += time.perf_counter() - started

    made = place / "fsyncs"
    made.mkdir(exist_ok=True)
    names = os.open(made, os.O_RDONLY)
    log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for number in range(2):
            path = made / f"new-{number}"
            file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(file, b"x" * 1_000)
            sync(file)
            os.close(file)
            path.replace(made / f"{number}.md")
            sync(names)
            if number == 0:
                os.write(log, b"x" * 65_536)
                sync(log)
    finally:
        os.close(names)
        os.close(log)
    return spent


def _count(folder: Path) -> dict[str, Any]:
    """Count the operations of adds. The store is opened under observation, or its catalog would not report its own."""
    import lamina

    fsyncs = []
    with count_operations() as counter, lamina.open(folder) as store:
        texts = list(notes(_COUNTED + _FIRST, seed=31))
        for number, text in enumerate(texts):
            if number == _FIRST:
                start = Counter(counter)
            before = counter["fsync"]
            store.memories.add(text, title=f"Counted {text[:50]}", type="project")
            fsyncs.append(counter["fsync"] - before)
        counted = Counter(counter) - start
    return {
        "fsyncs": statistics.median_low(fsyncs[_FIRST:]),
        "fsyncs_most": max(fsyncs[_FIRST:]),
        "operations": {str(kind): count / _COUNTED for kind, count in sorted(counted.items())},
    }


def summary(result: dict[str, Any]) -> list[str]:
    """The figures for people."""
    lines = []
    for entry in result["sizes"]:
        adopt, add, kept = entry["adopt"], entry["add"], entry["kept"]
        sync, recall = entry["sync"], entry["recall"]
        lines += [
            f"{entry['files']:,} files, {entry['bytes'] / 1e6:.1f} MB",
            f"  first sync        {adopt['seconds']:.2f} s, {adopt['files_per_second']:,.0f} files/s",
            f"  sync, unchanged   {_times(sync)}{_verdict(sync['budget_ms'], 'ms', kept['sync'])}",
            f"  open, unchanged   {_times(entry['open'])}{'' if kept['open'] else '   EXCEEDED'}",
            f"  recall            {_times(recall)}{_verdict(recall['budget_ms'], 'ms', kept['recall'])}",
            f"  index()           {_times(entry['index'])}",
            f"  add a file memory {_adding(add)}{_verdict(_BUDGET_FSYNCS, 'fsyncs', kept['add_fsyncs'])}",
            f"    its fsyncs here {add['fsyncs_ms']:.2f} ms",
            f"    beside them     {add['beside_ms']:.2f} ms{_verdict(_BUDGET_BESIDE_MS, 'ms', kept['add_beside'])}",
        ]
    lines.append("within every budget" if result["ok"] else "a budget is EXCEEDED")
    return lines


def _times(entry: dict[str, Any]) -> str:
    return (
        f"{entry['ms_p50']:.2f} ms (p99 {entry['ms_p99']:.2f}, processor {entry['cpu_ms_p50']:.2f}), "
        f"{entry['files_opened']} files opened"
    )


def _adding(entry: dict[str, Any]) -> str:
    most = f" (at most {entry['fsyncs_most']})" if entry["fsyncs_most"] > entry["fsyncs"] else ""
    return f"{entry['ms_p50']:.2f} ms (p99 {entry['ms_p99']:.2f} ms), {entry['fsyncs']} fsyncs{most}"


def _verdict(budget: float | None, unit: str, kept: object) -> str:
    return "" if budget is None else f"   budget {budget:.0f} {unit} {'kept' if kept else 'EXCEEDED'}"
