"""A small grid that is saved after every few turns of a session, thousands of times."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path
from typing import Any, Final

__all__ = ["BUDGETS", "measure_grid"]

BUDGETS: Final = {
    "grid: 50 x 50 takes 20,008 bytes as a file": ("file_bytes", 20_008),
    "grid: object bytes at most 200": ("object_bytes", 200),
    "grid: one fsync a commit": ("fsyncs", 1.0),
    "grid: at most 2 ms beside the fsync": ("beside_fsync", 0.002),
    "grid: fewer than 50 files after all commits": ("files", 49),
    "grid: opened within 50 ms after all commits": ("open", 0.050),
}
"""What may be at most how much, by field of the result."""

_SIDE: Final = 50
_CHANGED: Final = 5


def measure_grid(folder: Path, commits: int) -> dict[str, Any]:
    """Save a grid of 50 x 50 again and again with five cells changed, as a session's autosave does, durably.

    Args:
        folder: Gets the store; it is removed afterwards.
        commits: How many times.

    Returns:
        ``commits``; seconds ``commit`` (median, and ``last``: of the last 200), ``fsync`` (one of the disk, probed
        before and after) and ``beside_fsync``; ``fsyncs`` of a commit, those of SQLite's checkpoints left out and told
        as ``checkpoint_fsyncs``; ``object_bytes`` of a commit (median); then ``files`` and ``store_bytes``, seconds to
        ``open`` the state in a store that is opened for it and to ``open_and_read`` it, and ``file_bytes`` of a grid
        file.
    """
    import numpy as np

    import lamina
    from lamina.bench._measure import fsync_seconds
    from lamina.formats import write_state
    from lamina.fs import count_operations

    rng = np.random.default_rng(3)
    grid = lamina.ToroidalGrid.from_cells(rng.random((_SIDE, _SIDE)))
    place = folder / "grid"
    times, sizes, fsyncs = [], [], []
    probes = [fsync_seconds(folder)]
    with count_operations() as counter, lamina.open(place, embedder="none") as store:
        store.states.commit("grid", grid)
        for _ in range(commits):
            for cell in rng.choice(_SIDE * _SIDE, _CHANGED, replace=False).tolist():
                grid[cell % _SIDE, cell // _SIDE] = rng.random()
            counter.clear()
            started = time.perf_counter()
            version = store.states.commit("grid", grid)
            times.append(time.perf_counter() - started)
            fsyncs.append(counter["fsync"])
            sizes.append(version.written or 0)
    probes.append(fsync_seconds(folder))
    opened, read = [], []
    for _ in range(5):
        started = time.perf_counter()
        with lamina.open(place, embedder="none") as store, store.states.open("grid") as state:
            opened.append(time.perf_counter() - started)
            same = lamina.ToroidalGrid.from_state(state) == grid
            read.append(time.perf_counter() - started)
        if not same:
            raise AssertionError("the grid that came back is not the one that was saved")
    files = [path for path in place.rglob("*") if path.is_file()]
    store_bytes = sum(path.stat().st_size for path in files)
    written = write_state(folder / "grid.bin", "toroidal-bin", {"cells": grid.cells}, {})
    shutil.rmtree(place)
    commit, probe = statistics.median(times), statistics.median(probes)
    return {
        "commits": commits,
        "commit": commit,
        "last": statistics.median(times[-200:]),
        "fsync": probe,
        "beside_fsync": commit - probe,
        "fsyncs": statistics.median(fsyncs),
        "checkpoint_fsyncs": sum(fsyncs) - len(fsyncs) * statistics.median(fsyncs),
        "object_bytes": statistics.median(sizes),
        "files": len(files),
        "store_bytes": store_bytes,
        "open": statistics.median(opened),
        "open_and_read": statistics.median(read),
        "file_bytes": written.bytes,
    }
