"""Saving, opening and changing a large array: a state of the store beside the formats that people use today.

Every method really runs in this process, on the same array and the same disk. ``os.sync()`` comes before each timed
part. *Cold* means that the system was asked to forget the files. JSON gets a twentieth of the rows, and its times and
bytes are multiplied. A method whose package is not installed is named and skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

from lamina.bench import BenchOption
from lamina.bench._collect import BUDGETS as COLLECT_BUDGETS
from lamina.bench._collect import measure_collection
from lamina.bench._grid import BUDGETS, measure_grid
from lamina.bench._measure import anonymous_memory, fresh_environment, machine
from lamina.bench._state_turns import measure_changes, measure_saves, timed

__all__ = ["OPTIONS", "run", "summary"]

OPTIONS: Final = (
    BenchOption(name="rows", default=1_000_000, help="Rows of the array of noise; float32."),
    BenchOption(name="dim", default=256, help="Elements of a row."),
    BenchOption(
        name="real", type=str, default="", help="A .npy file of weights; the installed word table when not given."
    ),
    BenchOption(name="only", type=str, default="", help="Only methods whose name holds this."),
    BenchOption(name="commits", default=10_000, help="How often the small grid is saved."),
)

_REAL_DIM: Final = 256
_COLUMNS: Final = (
    "bytes", "save", "save_fsync", "open", "load", "slot", "slot_cold", "slots_1000", "slots_1000_cold",
    "scattered", "scattered_bytes", "contiguous", "contiguous_bytes",
)  # fmt: skip


def run(
    *, rows: int = 1_000_000, dim: int = 256, real: str = "", only: str = "", commits: int = 10_000
) -> dict[str, Any]:
    """Measures states.

    Returns:
        ``noise`` and ``real``: for each method its seconds and bytes; ``baseline``: saves in turn with writing and
        fsyncing the same bytes; ``turns``: changes and cold rows in turn with Icechunk and the disk; ``grid``: a small
        grid saved often; ``gc``: what letting most versions go leaves behind; ``memory``: anonymous bytes of fresh
        processes; ``ratios`` to the peers, ``budgets`` and ``ok``.
    """
    import numpy as np

    noise = np.random.default_rng(0).standard_normal((rows, dim), dtype=np.float32)
    with tempfile.TemporaryDirectory(prefix="lamina-bench-") as name:
        folder = Path(name)
        baseline = measure_saves(folder, noise)
        turns = measure_changes(folder, noise)
        measured, skipped = _measure(folder, noise, only)
        del noise
        memory = _memory(folder, rows, dim)
        weights = _weights(real)
        found, _ = _measure(folder, weights, only or "lamina") if weights is not None else ({}, {})
        grid = measure_grid(folder, commits)
        collection = measure_collection(folder)
    result: dict[str, Any] = {
        "benchmark": "states",
        "machine": machine(),
        "rows": rows,
        "dim": dim,
        "baseline": baseline,
        "turns": turns,
        "noise": measured,
        "skipped": skipped,
        "real": {"rows": len(weights), "raw_bytes": weights.nbytes, **found} if weights is not None else None,
        "grid": grid,
        "gc": collection,
        "memory": memory,
        "ratios": _ratios(measured, baseline, turns),
    }
    result["budgets"] = _budgets(result)
    result["ok"] = all(met is not False for met in result["budgets"].values())
    return result


def _measure(folder: Path, array: Any, only: str) -> tuple[dict[str, Any], dict[str, str]]:
    from lamina.bench._state_methods import methods

    measured: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    for name, make, missing, share in methods():
        if only not in name:
            continue
        if missing is not None:
            skipped[name] = f"{missing} is not installed"
            continue
        place = folder / "method"
        part = array[: len(array) // share] if share > 1 else array
        measured[name] = _one(make(place), part, share)
        shutil.rmtree(place)
    return measured, skipped


def _one(method: Any, array: Any, share: int) -> dict[str, Any]:
    import numpy as np

    rng = np.random.default_rng(1)
    facts: dict[str, Any] = {"scaled_by": share} if share > 1 else {}
    try:
        facts["save"], _ = timed(lambda: method.save(array))
        started = time.perf_counter()
        method.sync()
        facts["save_fsync"] = facts["save"] + time.perf_counter() - started
        facts["bytes"] = method.size()
        facts["open"], warm = timed(method.open)
        facts["load"], whole = timed(partial(method.load, warm))
        facts["exact"] = bool(np.array_equal(whole, array))
        del whole
        one = rng.integers(0, len(array), 1)
        method.rows(warm, one)
        facts["slot"] = min(timed(partial(method.rows, warm, one))[0] for _ in range(5))
        many = rng.choice(len(array), min(1000, len(array)), replace=False)
        facts["slots_1000"] = min(timed(partial(method.rows, warm, many))[0] for _ in range(3))
        del warm
        os.sync()
        method.drop_cache()
        cold = method.open()
        facts["slot_cold"], _ = timed(partial(method.rows, cold, rng.integers(0, len(array), 1)))
        method.drop_cache()
        facts["slots_1000_cold"], _ = timed(partial(method.rows, cold, many))
        del cold
        changed = array.copy()
        for what, numbers in (
            ("scattered", np.sort(rng.choice(len(array), max(1, len(array) // 100), replace=False))),
            ("contiguous", np.arange(len(array) // 3, len(array) // 3 + max(1, len(array) // 100))),
        ):
            changed[numbers] = rng.standard_normal((len(numbers), *array.shape[1:]), dtype=np.float32)
            before = method.size()
            facts[what], _ = timed(partial(method.update, changed, numbers))
            facts[f"{what}_bytes"] = method.size() - before if method.keeps_old else None
    finally:
        method.close()
    for key in ("save", "save_fsync", "open", "load", "scattered", "contiguous", "bytes"):
        facts[key] *= share
    return facts


_COMMIT: Final = """
import sys, threading, numpy as np, lamina
from lamina.bench._measure import anonymous_memory
import lamina.states.commit
array = np.random.default_rng(0).standard_normal((int(sys.argv[2]), int(sys.argv[3])), dtype=np.float32)
before = peak = anonymous_memory() or 0
done = threading.Event()
def watch():
    global peak
    while not done.wait(0.005):
        peak = max(peak, anonymous_memory() or 0)
watcher = threading.Thread(target=watch)
watcher.start()
with lamina.open(sys.argv[1], embedder="none", durability="relaxed") as store:
    store.states.commit("w", {"w": array})
done.set()
watcher.join()
print(peak - before)
"""
_SLOTS: Final = """
import os, sys
from lamina.bench._measure import anonymous_memory
before = anonymous_memory() or 0
import numpy as np, lamina
with lamina.open(sys.argv[1], embedder="none") as store:
    array = store.states.open("w")["w"]
    array[np.random.default_rng(2).choice(len(array), min(1000, len(array)), replace=False)]
    print((anonymous_memory() or 0) - before)
"""


def _memory(folder: Path, rows: int, dim: int) -> dict[str, int | None]:
    """Anonymous memory of fresh processes: a commit's beyond the array, and all of opening and reading 1,000 slots."""
    if anonymous_memory() is None:
        return {"commit": None, "slots": None}
    place = folder / "memory"
    figures: dict[str, int | None] = {}
    for name, code in (("commit", _COMMIT), ("slots", _SLOTS)):
        done = subprocess.run(  # noqa: S603 - this interpreter and a constant
            [sys.executable, "-c", code, str(place), str(rows), str(dim)],
            env=fresh_environment(folder),
            capture_output=True,
            check=True,
        )
        figures[name] = int(done.stdout)
    shutil.rmtree(place)
    return figures


def _weights(real: str) -> Any:
    """Real, compressible weights as float32."""
    import numpy as np

    from lamina.embed import _wordllama
    from lamina.errors import InvalidInputError, LaminaError

    if real:
        try:
            return np.ascontiguousarray(np.load(real, allow_pickle=False), dtype=np.float32)
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"{real} is no .npy file: {error}", hint="Name an array of weights.") from None
    try:
        path = _wordllama.locate().table
        descriptor, first = _wordllama.open_table(path)
    except LaminaError:
        return None
    os.close(descriptor)
    halves = np.fromfile(path, dtype="<f2", offset=first)
    return halves[: halves.size // _REAL_DIM * _REAL_DIM].reshape(-1, _REAL_DIM).astype(np.float32)


def _ratios(measured: dict[str, Any], baseline: dict[str, Any], turns: dict[str, Any]) -> dict[str, float]:
    """Medians of ratios where both were measured in turn; the others are of the tables."""
    ratios: dict[str, float] = {
        "durable save / write and fsync": baseline["durable_ratio"],
        "relaxed save / np.save": baseline["relaxed_ratio"],
        "1,000 cold slots / fetching their frames": turns["cold"]["ratio"],
    }
    for name, what, ratio in (
        ("icechunk scattered / lamina", "scattered", "commit_ratio"),
        ("icechunk scattered / lamina update", "scattered", "update_ratio"),
        # Icechunk is told which rows changed, too.
        ("icechunk contiguous / lamina update", "contiguous", "update_ratio"),
    ):
        if ratio in turns[what]:
            ratios[name] = turns[what][ratio]
    ours = measured.get("lamina")
    if ours:
        for key in ("save", "bytes"):
            if "single JSON" in measured:
                ratios[f"single JSON {key} / lamina"] = measured["single JSON"][key] / ours[key]
        if "icechunk" in measured:
            ratios["scattered bytes / icechunk"] = ours["scattered_bytes"] / measured["icechunk"]["scattered_bytes"]
    return ratios


def _budgets(result: dict[str, Any]) -> dict[str, bool | None]:
    """Which of the budgets were met; None where a peer that one is compared with is not there."""
    ratios, grid, memory, collection = result["ratios"], result["grid"], result["memory"], result["gc"]
    raw = result["rows"] * result["dim"] * 4
    noise, real = result["noise"], result["real"] or {}
    ours, half, int8 = (noise.get(name, {}) for name in ("lamina", "lamina, float16", "lamina, int8"))
    weights = real.get("lamina", {})

    def most(value: Any, bound: float) -> bool | None:
        return None if value is None else bool(value <= bound)

    def least(value: Any, bound: float) -> bool | None:
        return None if value is None else bool(value >= bound)

    return {
        "durable save at most 1.3 times the disk": most(ratios.get("durable save / write and fsync"), 1.3),
        "relaxed save at most twice np.save": most(ratios.get("relaxed save / np.save"), 2.0),
        "open at most 20 ms": most(ours.get("open"), 0.020),
        "a warm slot at most 30 us": most(ours.get("slot"), 30e-6),
        "1,000 cold slots at most 40 ms": most(result["turns"]["cold"]["lamina"], 0.040),
        "a warm slot of compressed weights at most 300 us": most(weights.get("slot"), 300e-6),
        "1,000 cold slots of compressed weights at most 100 ms": most(weights.get("slots_1000_cold"), 0.100),
        "scattered commit at most 1/8 of icechunk": least(ratios.get("icechunk scattered / lamina"), 8),
        "scattered update at most 1/50 of icechunk": least(ratios.get("icechunk scattered / lamina update"), 50),
        "scattered bytes at most 1.5 % of icechunk": most(ratios.get("scattered bytes / icechunk"), 0.015),
        "contiguous update no worse than icechunk": least(ratios.get("icechunk contiguous / lamina update"), 1),
        "40 times faster than JSON": least(ratios.get("single JSON save / lamina"), 40),
        "4 times smaller than JSON": least(ratios.get("single JSON bytes / lamina"), 4),
        "float16 at most 51 % of raw": most(half.get("bytes"), 0.51 * raw),
        "int8 at most 27 % of raw": most(int8.get("bytes"), 0.27 * raw),
        "real weights at most 90 % of raw": most(weights.get("bytes"), 0.9 * real.get("raw_bytes", 0)),
        **{name: most(grid[field], bound) for name, (field, bound) in BUDGETS.items()},
        **{name: most(collection[field], bound) for name, (field, bound) in COLLECT_BUDGETS.items()},
        "commit within the arrays + 10 %": most(memory["commit"], max(0.1 * raw, 64 << 20)),
        "1,000 slots within 40 MB": most(memory["slots"], 40 << 20),
    }


def summary(result: dict[str, Any]) -> list[str]:
    """The result for people: ratios first."""
    disk = result["baseline"]["write_fsync"]
    lines = [f"{result['rows']:,} x {result['dim']} float32; writing and fsyncing the same bytes takes {disk:.2f} s"]
    lines += [f"  {value:10.3f}  {name}" for name, value in result["ratios"].items()]
    for title in ("noise", "real"):
        table = {name: facts for name, facts in (result[title] or {}).items() if isinstance(facts, dict)}
        if table:
            lines += ["", title, *_table(table)]
    lines += [f"  skipped {name}: {why}" for name, why in result["skipped"].items()]
    grid = result["grid"]
    times = f"{grid['commit'] * 1e3:.2f} ms a commit, an fsync {grid['fsync'] * 1e3:.2f} ms"
    sizes = f"{grid['object_bytes']:.0f} object bytes, {grid['fsyncs']:.0f} fsync"
    after = f"{grid['files']} files, {grid['store_bytes'] / 1e6:.1f} MB, opened in {grid['open'] * 1e3:.1f} ms"
    lines += ["", f"grid: {times}; {sizes}; after {grid['commits']:,} commits {after}", ""]
    collection = result["gc"]
    kept = f"{collection['kept']} of {collection['versions']} versions kept"
    sizes = f"{collection['before'] / 1e6:,.0f} MB became {collection['after'] / 1e6:,.0f} MB"
    lines[-1:] = [f"gc: {kept}, {sizes}; dead are {collection['dead_share']:.1%} of the live bytes", ""]
    marks = {True: "met", False: "MISSED", None: "not measured"}
    return lines + [f"  {marks[met]:12}  {name}" for name, met in result["budgets"].items()]


def _table(table: dict[str, Any]) -> list[str]:
    """Seconds, and bytes in MB, a row a method."""
    lines = ["  " + "method".ljust(18) + "".join(name.replace("_", " ").rjust(17) for name in _COLUMNS)]
    for name, facts in table.items():
        cells = []
        for column in _COLUMNS:
            value = facts.get(column)
            if value is None:
                cells.append("-")
            elif column.endswith("bytes"):
                cells.append(f"{value / 1e6:,.1f} MB")
            else:
                cells.append(f"{value * 1e3:,.3f} ms")
        lines.append("  " + name.ljust(18) + "".join(cell.rjust(17) for cell in cells))
    return lines
