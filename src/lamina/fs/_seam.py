"""The seam: every operation that makes bytes durable is announced here before it happens.

Benchmarks count what is announced, and the fault and crash rigs of :mod:`lamina.testing` make it fail or replay it.
While nobody observes, an announcement is one test of an empty tuple.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Kind",
    "Observer",
    "Operation",
    "ShortWrite",
    "catalog_vfs",
    "count_operations",
    "observe",
    "report",
    "report_write",
]

Kind = Literal["open", "create", "write", "truncate", "fsync", "rename", "exchange", "link", "unlink", "mkdir"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on the file system that is about to happen."""

    kind: Kind
    """What happens. ``fsync`` of a folder makes its names durable; ``open`` is announced for catalog files alone."""
    path: str
    """Absolute path; empty for an anonymous temporary file of SQLite."""
    size: int = 0
    """Bytes to be written, or the length after a ``truncate``."""
    offset: int = 0
    """Where a ``write`` begins."""
    data: bytes | memoryview = b""
    """What a ``write`` writes; valid during the call only."""
    target: str = ""
    """The new name of a ``rename`` or ``link``; the other name of an ``exchange``."""


class ShortWrite(OSError):  # noqa: N818  (an outcome of a write, caught at the seam)
    """Raised by an observer of a ``write``: only the first ``keep`` bytes reach the file in this call.

    A file writer then goes on with the rest, as POSIX asks of it; SQLite sees ``SQLITE_FULL``.
    """

    def __init__(self, keep: int) -> None:
        super().__init__(f"only {keep} bytes were written")
        self.keep = keep


Observer = Callable[[Operation], None]
"""Called before each operation, in the thread that does it; an ``OSError`` it raises is what the operation meets."""

_observers: tuple[Observer, ...] = ()
_change = threading.Lock()


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Announce every durable operation of this process to ``observer`` while the context is open.

    Observers nest; the innermost is called first, so a fault that it injects stays unseen by those outside, as an
    operation that never took place. SQLite's operations are announced for connections opened with :func:`catalog_vfs`
    within the context.

    Args:
        observer: Called with each :class:`Operation` before it happens, from any thread. May raise ``OSError`` to make
            it fail, or :class:`ShortWrite`.
    """
    global _observers  # noqa: PLW0603  (one tuple, so that testing it costs nothing)
    with _change:
        _observers = (observer, *_observers)
    try:
        yield
    finally:
        with _change:
            rest = list(_observers)
            rest.remove(observer)
            _observers = tuple(rest)


def report(kind: Kind, path: str, *, size: int = 0, target: str = "") -> None:
    """Announce an operation other than a write.

    Raises:
        OSError: What an observer injects in its place.
    """
    if _observers:
        operation = Operation(kind, path, size=size, target=target)
        for observer in _observers:
            observer(operation)


def report_write(path: str, data: bytes | memoryview, offset: int) -> int:
    """Announce a write.

    Returns:
        How many bytes of ``data`` may be written in this call; fewer than all where an observer cut it short.

    Raises:
        OSError: What an observer injects in its place.
    """
    allowed = len(data)
    for observer in _observers:
        try:
            observer(Operation("write", path, size=allowed, offset=offset, data=data[:allowed]))
        except ShortWrite as short:
            allowed = max(0, min(allowed, short.keep))
    return allowed


@contextmanager
def count_operations() -> Iterator[Counter[str]]:
    """Count durable operations by kind, SQLite's included where its connection is opened within the context.

    Yields:
        A counter that is live while the context is open: ``counter["fsync"]`` is every fsync, of files and folders.
    """
    counter: Counter[str] = Counter()
    change = threading.Lock()

    def count(operation: Operation) -> None:
        with change:
            counter[operation.kind] += 1

    with observe(count):
        yield counter


def catalog_vfs() -> str | None:
    """Return the name of the SQLite VFS that announces file operations here, or None while nobody observes.

    Returns:
        A name for ``apsw.Connection(vfs=...)``. The VFS is made at the first call that needs it.
    """
    if not _observers:
        return None
    from lamina.fs._vfs import registered_name  # apsw costs 6 ms, and most processes never observe

    return registered_name()
