"""What is left behind when most versions of a state are let go."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, Final

__all__ = ["BUDGETS", "measure_collection"]

BUDGETS: Final = {"gc: dead bytes at most 25 % of the live ones": ("dead_share", 0.25)}
"""What may be at most how much, by field of the result."""

_VERSIONS: Final = 50
_KEPT: Final = 5
_ROWS: Final = 100_000
_DIM: Final = 64


def measure_collection(folder: Path) -> dict[str, Any]:
    """Commit fifty versions, each with 5 % of the rows changed, keep five and collect.

    Args:
        folder: Gets the store; it is removed afterwards.

    Returns:
        ``versions`` and ``kept``; bytes of packs ``before`` and ``after``, ``live_bytes`` of what the kept versions
        need, and ``dead_share``, the rest as a share of it; ``seconds`` of letting go and collecting.
    """
    import numpy as np

    import lamina

    rng = np.random.default_rng(5)
    array = rng.standard_normal((_ROWS, _DIM), dtype=np.float32)
    place = folder / "collect"
    with lamina.open(place, embedder="none", durability="relaxed") as store:
        store.states.commit("w", {"w": array})
        for _ in range(_VERSIONS - 1):
            rows = rng.choice(_ROWS, _ROWS // 20, replace=False)
            array[rows] = rng.standard_normal((len(rows), _DIM), dtype=np.float32)
            store.states.commit("w", {"w": array})
        before = store.stats()["states"]["pack_bytes"]
        started = time.perf_counter()
        store.states.retain("w", keep_last=_KEPT)
        store.gc()
        seconds = time.perf_counter() - started
        stats = store.stats()["states"]
        if not np.array_equal(store.states.open("w")["w"].read(), array):
            raise AssertionError("the array that came back is not the one that was kept")
    shutil.rmtree(place)
    live = stats["tiers"]["warm"]["bytes"] + stats["tiers"]["cold"]["bytes"]
    return {
        "versions": _VERSIONS,
        "kept": _KEPT,
        "before": before,
        "after": stats["pack_bytes"],
        "live_bytes": live,
        "dead_share": max(0, stats["pack_bytes"] - live) / live,
        "seconds": seconds,
    }
