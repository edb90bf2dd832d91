"""A numbered workload over states for the kill, crash and fault rigs, and what must hold of whatever it leaves.

What version ``n`` holds follows from ``n`` alone, so a check needs nothing but the store and what was acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.errors import NotFoundError
from lamina.store import Store
from lamina.store import open as open_store
from lamina.testing._faults import Acknowledge

__all__ = ["STATE", "StatesLedger", "content_of", "states_work"]

STATE = "worked"
ROWS, WIDTH = 900, 24
_WHOLE_EVERY = 12
_CHANGED = 7


def content_of(number: int) -> npt.NDArray[np.float32]:
    """Return what version ``number`` holds."""
    start = number - number % _WHOLE_EVERY
    array = np.random.default_rng(start).standard_normal((ROWS, WIDTH)).astype(np.float32)
    for step in range(start + 1, number + 1):
        array[_rows(step)] = step
    return array


def _rows(number: int) -> list[int]:
    return sorted({(number * 131 + place * 29) % ROWS for place in range(_CHANGED)})


def states_work(folder: Path, acknowledge: Acknowledge, *, steps: int = 1_000_000, run: int = 0) -> None:
    """Commit and update on from where the store is; now and then retain, collect and move tiers.

    Args:
        folder: Holds the store.
        acknowledge: Gets ``["begin", n]`` before version ``n`` and ``["done", n]`` once it is durable.
        steps: How many versions.
        run: Only there because the rig passes it.
    """
    del run
    with open_store(folder / "store", embedder="none") as store:
        number = _newest(store)
        for _ in range(steps):
            number += 1
            acknowledge(["begin", number])
            _write(store, number)
            acknowledge(["done", number])
            if number % 5 == 0:
                store.states.retain(STATE, keep_last=4)
            if number % 7 == 0:
                store.gc()
            if number % 11 == 0:
                store.states.optimize()


def _write(store: Store, number: int) -> None:
    if number == 0 or number % _WHOLE_EVERY == 0 or number % 2 == 0:
        store.states.commit(STATE, {"w": content_of(number)}, step=number)
    else:
        rows = _rows(number)
        values = np.full((len(rows), WIDTH), number, np.float32)
        store.states.update(STATE, {"w": (rows, values)}, step=number)


def _newest(store: Store) -> int:
    try:
        return int(store.states.log(STATE, limit=1)[0].step or 0)
    except NotFoundError:
        return -1


class StatesLedger:
    """What was said, and whether a store agrees with it."""

    def __init__(self) -> None:
        self.begun = -1
        self.done = -1

    @classmethod
    def replayed(cls, messages: Iterable[Any]) -> StatesLedger:
        """Return the ledger of all that was said."""
        ledger = cls()
        for message in messages:
            ledger.hear(message)
        return ledger

    def hear(self, message: Any) -> None:
        """Take one message."""
        kind, number = message
        if kind == "begin":
            self.begun = max(self.begun, number)
        else:
            self.done = max(self.done, number)

    def check(self, folder: Path) -> int:
        """Open the store, and hold it against what was said; return how many versions it has.

        Raises:
            AssertionError: An acknowledged version is lost, one is there that nobody began, or a byte is wrong.
        """
        with open_store(folder / "store", embedder="none") as store:
            report = store.verify("full")
            assert report.ok, report.problems
            newest = _newest(store)
            assert self.done <= newest <= max(self.begun, self.done), (self.done, newest, self.begun)
            if newest < 0:
                return 0
            versions = store.states.log(STATE)
            assert [version.step for version in versions] == sorted(
                (version.step or 0 for version in versions), reverse=True
            )
            for version in versions:
                with store.states.open(STATE, version) as state:
                    np.testing.assert_array_equal(content_of(version.step or 0), state["w"].read())
            return len(versions)
