"""CrashFS: what a store's folder may look like after the power went, at any moment of a recorded run."""

from __future__ import annotations

import copy
import dataclasses
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self

from lamina.fs import Operation, observe
from lamina.testing._disk import Disk, Loss

__all__ = ["CrashFS", "CrashImage"]


@dataclass(frozen=True, slots=True)
class CrashImage:
    """One folder as it may be found after a crash."""

    path: str
    at: int
    """How many operations had happened."""
    seed: int
    loss: Loss
    acknowledged: tuple[Any, ...]
    """What the run had acknowledged by then, in order."""

    def __str__(self) -> str:
        return (
            f"crash at operation {self.at} (seed {self.seed}, loses {self.loss}), {len(self.acknowledged)} acknowledged"
        )


@dataclass(frozen=True, slots=True)
class _Acknowledged:
    value: Any


class CrashFS:
    """Record, as an ordered list with the real bytes, everything that happens below a folder; then crash it anywhere.

    ::

        crash = CrashFS(tmp_path / "store")
        with crash:
            with lamina.open(tmp_path / "store") as store:
                crash.acknowledge(store.memories.add("kept").id)
        for image in crash.images(tmp_path / "crashed", count=100, seed=1):
            with lamina.open(image.path) as store:
                assert all(store.memories.get(id) for id in image.acknowledged)

    The store must be opened inside the context, so that its catalog reports here as well. What is in the folder
    before counts as durable. Shared memory (``-shm``) and lock files are never kept: no power loss does.

    Args:
        root: The folder; it may not exist yet (what is above it then counts as durable).
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.realpath(os.fspath(root))
        self._log: list[Operation | _Acknowledged] = []
        self._count = 0
        self._lock = threading.Lock()
        self._context: AbstractContextManager[None] | None = None
        self._start = Disk()
        self._top = self.root
        while not os.path.isdir(self._top):
            self._top = os.path.dirname(self._top)
        if self._top == self.root:
            self._start.load(self.root, _is_kept)
        self._replayed: tuple[int, int, Disk, list[Any]] | None = None

    def __enter__(self) -> Self:
        self._context = observe(self._record)
        self._context.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._context is not None
        self._context.__exit__(None, None, None)

    def __len__(self) -> int:
        """Return how many operations were recorded."""
        return self._count

    def acknowledge(self, value: Any) -> None:
        """Note that a write has returned: from here on every crash must keep it."""
        with self._lock:
            self._log.append(_Acknowledged(value))

    def operations(self) -> list[Operation]:
        """Return the operations in order."""
        return [step for step in self._log if isinstance(step, Operation)]

    def image(
        self, folder: str | os.PathLike[str], *, at: int | None = None, seed: int = 0, loss: Loss = "random"
    ) -> CrashImage:
        """Write one possible state after a crash into a fresh folder.

        Args:
            folder: Made here; must not exist.
            at: How many operations had happened; all of them when None.
            seed: Decides what of the unsynced is kept, lost or torn.
            loss: ``"random"``, ``"all"`` of the unsynced, or ``"nothing"`` (what ``kill -9`` leaves).
        """
        moment = self._count if at is None else at
        disk, acknowledged = self._replay(moment)
        path = os.path.abspath(os.fspath(folder))
        scratch = path if self._top == self.root else path + ".above"
        os.makedirs(scratch, 0o700)
        disk.materialise(scratch, random.Random(f"{seed}/{moment}"), loss)
        if scratch != path:
            inner = os.path.join(scratch, os.path.relpath(self.root, self._top))
            if os.path.isdir(inner):
                os.rename(inner, path)
            else:
                os.mkdir(path, 0o700)
        return CrashImage(path, moment, seed, loss, tuple(acknowledged))

    def images(self, folder: str | os.PathLike[str], *, count: int, seed: int = 0) -> Iterator[CrashImage]:
        """Yield ``count`` images at random moments, in order of time, one folder each below ``folder``."""
        rng = random.Random(seed)
        for number, at in enumerate(sorted(rng.randint(0, self._count) for _ in range(count))):
            yield self.image(os.path.join(folder, f"{number:05}"), at=at, seed=seed + number)

    def every_kill(self, folder: str | os.PathLike[str], *, step: int = 1) -> Iterator[CrashImage]:
        """Yield what ``kill -9`` leaves before every ``step``-th operation: all that was written, synced or not."""
        for at in range(0, self._count + 1, step):
            yield self.image(os.path.join(folder, f"{at:05}"), at=at, loss="nothing")

    def _record(self, operation: Operation) -> None:
        if operation.kind != "open" and _is_kept(operation.path) and self._concerns(operation.path):
            kept = dataclasses.replace(operation, data=bytes(operation.data))  # the buffer is reused after the call
            with self._lock:
                self._log.append(kept)
                self._count += 1

    def _concerns(self, path: str) -> bool:
        """Return whether a path lies below the root, or is a folder on the way from what existed to the root."""
        place = os.path.join(_real(path), "")
        root = os.path.join(self.root, "")
        return place.startswith(root) or (root.startswith(place) and place.startswith(os.path.join(self._top, "")))

    def _relative(self, path: str) -> str:
        return os.path.relpath(_real(path), self._top)

    def _replay(self, moment: int) -> tuple[Disk, list[Any]]:
        """Return the disk after ``moment`` operations, going on from the last replay where that is not later."""
        if self._replayed is None or self._replayed[1] > moment:
            self._replayed = (0, 0, copy.deepcopy(self._start), [])
        position, count, disk, acknowledged = self._replayed
        while position < len(self._log):
            step = self._log[position]
            if isinstance(step, _Acknowledged):
                acknowledged.append(step.value)
            elif count == moment:
                break
            else:
                self._apply(disk, step)
                count += 1
            position += 1
        self._replayed = (position, count, disk, acknowledged)
        return disk, acknowledged

    def _apply(self, disk: Disk, step: Operation) -> None:
        path = self._relative(step.path)
        actions: dict[str, Callable[[], None]] = {
            "create": lambda: disk.make(path),
            "mkdir": lambda: disk.make(path, folder=True),
            "write": lambda: disk.write(path, step.offset, bytes(step.data)),
            "truncate": lambda: disk.truncate(path, step.size),
            "fsync": lambda: disk.sync(path),
            "rename": lambda: disk.rename(path, self._relative(step.target)),
            "exchange": lambda: disk.exchange(path, self._relative(step.target)),
            "link": lambda: disk.link(path, self._relative(step.target)),
            "unlink": lambda: disk.unlink(path),
        }
        try:
            actions[step.kind]()
        except KeyError:
            if step.kind == "unlink":  # announced, and then there was nothing to remove
                return
            raise AssertionError(
                f"{step.kind} of {path}, which was made in no way that the seam has seen: it would not survive"
            ) from None


def _is_kept(path: str) -> bool:
    return bool(path) and not path.endswith(("-shm", ".lock", ".lease"))


def _real(path: str) -> str:
    """Return a path whose folders are resolved; its last part may be a name that is about to be made."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)
