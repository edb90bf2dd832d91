"""Times that are compared with each other, taken in turn, so that a slow moment of disk or machine meets all."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

__all__ = ["measure_changes", "measure_saves", "timed"]

_ROUNDS: Final = 10
_PIECE: Final = 4 << 20
_FRAME: Final = 16 << 10


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and value of an action that begins with nothing left to be written."""
    os.sync()
    started = time.perf_counter()
    value = action()
    return time.perf_counter() - started, value


def _turned(names: list[str], number: int) -> list[str]:
    """Return names so that in each round another one is first: what ran before leaves its mark on memory and disk."""
    return names[number % len(names) :] + names[: number % len(names)]


def _summed(rounds: list[dict[str, float]], ratios: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Medians of all times, and of each round's ratios, with the rounds."""
    found: dict[str, Any] = {name: statistics.median(times[name] for times in rounds) for name in rounds[0]}
    for name, (above, below) in ratios.items():
        if above in rounds[0]:
            found[name] = statistics.median(times[above] / times[below] for times in rounds)
    return {**found, "rounds": rounds}


def measure_saves(folder: Path, array: Any) -> dict[str, Any]:
    """Saves beside what the disk itself takes.

    Returns:
        Medians of seconds: ``write_fsync`` (the same bytes to a new file), ``durable``, ``np_save``, ``relaxed``; the
        medians of each round's ratios; and all rounds.
    """
    import numpy as np

    view = memoryview(array).cast("B")
    place = folder / "paired"

    def write() -> None:
        descriptor = os.open(place / "raw", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            for start in range(0, len(view), _PIECE):
                os.write(descriptor, view[start : start + _PIECE])
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def seconds(action: Callable[[], Any]) -> float:
        return timed(action)[0]

    def commit(durability: Literal["full", "relaxed"]) -> float:
        import lamina

        with lamina.open(place / "store", embedder="none", durability=durability) as store:
            return timed(partial(store.states.commit, "w", {"w": array}))[0]

    actions: dict[str, Callable[[], float]] = {
        "write_fsync": partial(seconds, write),
        "durable": partial(commit, "full"),
        "np_save": partial(seconds, partial(np.save, place / "raw.npy", array)),
        "relaxed": partial(commit, "relaxed"),
    }
    rounds: list[dict[str, float]] = []
    for number in range(2 * len(actions)):
        times: dict[str, float] = {}
        for name in _turned(list(actions), number):
            place.mkdir()
            times[name] = actions[name]()
            shutil.rmtree(place)
        rounds.append(times)
    return _summed(rounds, {"durable_ratio": ("durable", "write_fsync"), "relaxed_ratio": ("relaxed", "np_save")})


def measure_changes(folder: Path, array: Any) -> dict[str, Any]:
    """Changes of 1 % of the rows, and a thousand cold rows, beside Icechunk and beside the disk.

    Returns:
        ``scattered``, ``contiguous``: medians of seconds of ``icechunk`` (where it is installed; it is told which rows
        changed), ``commit`` of the whole and ``update``, with ``_cpu`` the processor's seconds, and the medians of
        each round's ratios; ``cold``: a thousand rows by ``lamina``, and by ``fetch``, which reads the same frames of a
        plain file and verifies nothing.
    """
    import numpy as np

    from lamina.bench._state_methods import Icechunk, Lamina, LaminaUpdate, Method, Npy, installed

    rng = np.random.default_rng(7)
    array = array.copy()
    kinds: dict[str, type[Method]] = {"icechunk": Icechunk, "commit": Lamina, "update": LaminaUpdate}
    if not installed(Icechunk):
        del kinds["icechunk"]
    methods = {name: kind(folder / "turns" / name) for name, kind in kinds.items()}
    plain = Npy(folder / "turns" / "plain")
    found: dict[str, Any] = {}
    ratios = {
        f"{name}_ratio{cpu}": (f"icechunk{cpu}", f"{name}{cpu}")
        for name in ("commit", "update")
        for cpu in ("", "_cpu")
    }
    try:
        plain.save(array)
        for method in methods.values():
            method.save(array)
        found["cold"] = _cold(methods["commit"], plain, array, rng)
        for method in methods.values():
            method.load(method.open())  # nobody's bytes are colder than another's
        count = max(1, len(array) // 100)
        for what in ("scattered", "contiguous"):
            rounds = []
            for number in range(2 * len(methods)):
                start = int(rng.integers(len(array) - count + 1))
                scattered = np.sort(rng.choice(len(array), count, replace=False))
                rows = scattered if what == "scattered" else np.arange(start, start + count)
                array[rows] = rng.standard_normal((count, *array.shape[1:]), dtype=np.float32)
                times: dict[str, float] = {}
                for name in _turned(list(methods), number):
                    spent = time.process_time()
                    times[name], _ = timed(partial(methods[name].update, array, rows))
                    times[f"{name}_cpu"] = time.process_time() - spent
                rounds.append(times)
            found[what] = _summed(rounds, ratios)
    finally:
        for method in methods.values():
            method.close()
        shutil.rmtree(folder / "turns")
    return found


def _cold(method: Any, plain: Any, array: Any, rng: Any) -> dict[str, Any]:
    """A thousand rows whose bytes the system was asked to forget, beside fetching the frames that they are in."""
    row = array[0].nbytes

    def fetch(places: list[int]) -> None:
        descriptor = os.open(plain.folder / "w.npy", os.O_RDONLY)
        room = bytearray(_FRAME)
        try:
            if hasattr(os, "posix_fadvise"):
                for place in places:
                    os.posix_fadvise(descriptor, place, _FRAME, os.POSIX_FADV_WILLNEED)
            for place in places:
                os.preadv(descriptor, [room], place)
        finally:
            os.close(descriptor)

    rounds = []
    for number in range(_ROUNDS):
        numbers = rng.choice(len(array), min(1000, len(array)), replace=False)
        frames = sorted({int(number) * row // _FRAME * _FRAME for number in numbers})
        opened = method.open()
        method.rows(opened, numbers[:1])
        os.sync()
        method.drop_cache()
        plain.drop_cache()
        actions = {"fetch": partial(fetch, frames), "lamina": partial(method.rows, opened, numbers)}
        rounds.append({name: timed(actions[name])[0] for name in _turned(list(actions), number)})
    return _summed(rounds, {"ratio": ("lamina", "fetch")})
