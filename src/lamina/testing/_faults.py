"""Exhaustive faults: the same work again and again, each time with another one of its file operations failing."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lamina.errors import LaminaError
from lamina.fs import Operation, ShortWrite, clear_poison, observe

__all__ = [
    "FAULTS",
    "Acknowledge",
    "Fault",
    "FaultOutcome",
    "Workload",
    "count_faults",
    "every_fault",
    "inject",
    "run_with_fault",
]

Fault = Literal["EIO", "ENOSPC", "short"]
FAULTS: tuple[Fault, ...] = ("EIO", "ENOSPC", "short")
"""An I/O error, a full disk, and a write of which only the first half arrives."""

Acknowledge = Callable[[Any], None]
"""Called by a workload with what is now promised to be durable."""
Workload = Callable[[Path, Acknowledge], None]
"""Works in a folder and acknowledges each write once it has returned."""


@dataclass(slots=True)
class FaultOutcome:
    """What became of one run."""

    k: int
    """Which operation failed, from 0."""
    fault: Fault
    lasting: bool
    """Whether every later operation failed too, as on a disk that stays full."""
    folder: Path
    operation: Operation | None = None
    """The operation that failed; None where the run had fewer."""
    error: LaminaError | None = None
    """What the workload raised; None where the fault was survived."""
    acknowledged: list[Any] = field(default_factory=list)

    def __str__(self) -> str:
        what = f"{self.operation.kind} of {os.path.basename(self.operation.path)}" if self.operation else "nothing"
        return f"{self.fault}{' and on' if self.lasting else ''} at operation {self.k} ({what})"


@contextmanager
def inject(
    k: int, fault: Fault, *, lasting: bool = False, kinds: frozenset[str] = frozenset()
) -> Iterator[list[Operation]]:
    """Make the ``k``-th file operation in the context fail.

    Args:
        k: Counted from 0, over files and catalog alike.
        fault: How. ``"short"`` counts and hits writes alone.
        lasting: Go on failing; for ``"short"`` with ``ENOSPC`` after the short write.
        kinds: Count and hit only operations of these kinds; all when empty.

    Yields:
        The operations that failed.
    """
    hit: list[Operation] = []
    seen = 0
    lock = threading.Lock()
    number = errno.ENOSPC if fault == "short" else getattr(errno, fault)

    def observer(operation: Operation) -> None:
        nonlocal seen
        if (fault == "short" and operation.kind != "write") or (kinds and operation.kind not in kinds):
            return
        with lock:
            turn, seen = seen, seen + 1
        if turn == k or (lasting and turn > k and _needs_room(operation, number)):
            hit.append(operation)
            if fault == "short" and turn == k:
                raise ShortWrite(operation.size // 2)
            raise OSError(number, os.strerror(number))

    with observe(observer):
        yield hit


def count_faults(workload: Workload, folder: Path, *, writes_only: bool = False) -> int:
    """Run a workload once without faults, and return how many of its operations can fail.

    Args:
        workload: What to run.
        folder: Where; made if missing.
        writes_only: Count what ``"short"`` would count.
    """
    count = 0
    lock = threading.Lock()

    def observer(operation: Operation) -> None:
        nonlocal count
        with lock:
            count += not writes_only or operation.kind == "write"

    with observe(observer):
        workload(folder, lambda _: None)
    return count


def run_with_fault(workload: Workload, k: int, fault: Fault, folder: Path, *, lasting: bool = False) -> FaultOutcome:
    """Run a workload with its ``k``-th operation failing.

    Args:
        workload: What to run. It must let errors through.
        k: Counted from 0; see :func:`count_faults`.
        fault: How it fails.
        folder: Where the workload works.
        lasting: The disk goes on failing.

    Returns:
        What happened. The poison that a failed fsync left is cleared, as by a process that starts afresh.

    Raises:
        Exception: Whatever the workload raised that is not a ``LaminaError``: no foreign exception may escape.
    """
    outcome = FaultOutcome(k, fault, lasting, folder)
    with inject(k, fault, lasting=lasting) as hit:
        try:
            workload(folder, outcome.acknowledged.append)
        except LaminaError as error:
            outcome.error = error
    outcome.operation = hit[0] if hit else None
    clear_poison(folder)
    return outcome


def every_fault(
    workload: Workload,
    make_folder: Callable[[str], Path],
    *,
    faults: tuple[Fault, ...] = FAULTS,
    lasting: bool = False,
    step: int = 1,
) -> Iterator[FaultOutcome]:
    """Run a workload once for each of its operations and each fault, and yield what happened.

    Args:
        workload: Deterministic enough that its k-th operation is the same kind in each run.
        make_folder: Returns a fresh folder for a run, prepared as the workload expects; gets a name to use.
        faults: Which.
        lasting: The disk goes on failing after the k-th operation.
        step: Take every ``step``-th operation only.
    """
    for fault in faults:
        total = count_faults(workload, make_folder(f"{fault}-count"), writes_only=fault == "short")
        for k in range(0, total, step):
            yield run_with_fault(workload, k, fault, make_folder(f"{fault}-{k:04}"), lasting=lasting)


def _needs_room(operation: Operation, number: int) -> bool:
    """A disk that stays full still lets files be synced, renamed and removed; one that stays broken does nothing."""
    return number != errno.ENOSPC or operation.kind in {"write", "create", "mkdir"}
