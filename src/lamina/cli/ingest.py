"""Files and standard input into a store: what ``import`` and ``add --file`` share."""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from lamina.cli.progress import progress
from lamina.cli.shell import Interrupted
from lamina.errors import InvalidInputError, NotFoundError, StorageError
from lamina.formats import ReadOptions, detect, read

if TYPE_CHECKING:
    from lamina.cli.shell import Shell
    from lamina.store import Store

__all__ = ["Report", "ingest", "open_input"]

_KEPT_PROBLEMS = 100
_COMPARED = 2_000  # counting near-duplicates takes a millisecond each
_PEEK = 4096


@dataclass(slots=True)
class Report:
    """What became of a file."""

    name: str
    format: str
    added: int = 0
    near_duplicates: int | None = None
    """Memories that say nearly what another one says, of the store or before it in the file; None if not counted."""
    skipped: int = 0
    problems: list[InvalidInputError] = field(default_factory=list)
    """The first of the skipped records' errors."""

    def skip(self, error: InvalidInputError) -> None:
        """Counts a record that cannot be used, and keeps the reason of the first ones."""
        self.skipped += 1
        if len(self.problems) < _KEPT_PROBLEMS:
            self.problems.append(error)

    def to_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {
            "source": self.name,
            "format": self.format,
            "added": self.added,
            "near_duplicates": self.near_duplicates,
            "skipped": self.skipped,
            "problems": [{"line": error.details.get("line"), "reason": str(error)} for error in self.problems],
            "problems_not_listed": self.skipped - len(self.problems),
        }

    def lines(self, shell: Shell) -> Iterator[str]:
        """The report for people."""
        what = "a near-duplicate" if self.near_duplicates == 1 else "near-duplicates"
        near = f" ({self.near_duplicates:,} of them {what} of what was there)" if self.near_duplicates else ""
        if self.near_duplicates is None:
            near = " (near-duplicates not counted)"
        yield f"{self.added:,} added{near}, {self.skipped:,} skipped."
        for error in self.problems[:20]:
            shell.say(f"  {shell.err.yellow('skipped:')} {error}")
        if self.skipped > min(20, len(self.problems)):
            shell.say(f"  and {self.skipped - 20:,} more; --strict stops at the first, --json lists 100.")


@contextmanager
def open_input(path: str) -> Iterator[tuple[BinaryIO, str | None, str]]:
    """Opens a file, or standard input for ``-``.

    Yields:
        The stream, the file's name (None for standard input), and what messages call it.

    Raises:
        NotFoundError: There is no such file.
        StorageError: It cannot be read, such as a folder or a file of someone else.
    """
    if path == "-":
        # Standard input as bytes; a test or an embedding program may have put a plain object there.
        yield io.BufferedReader(cast("io.RawIOBase", sys.stdin.buffer)), None, "standard input"
        return
    try:
        stream = Path(path).expanduser().open("rb")
    except FileNotFoundError:
        raise NotFoundError(f"There is no file {path}.", hint="Check the path, or use - for standard input.") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.", hint="Name a file that you may read.") from None
    with stream:
        yield stream, Path(path).name, path


def ingest(
    store: Store,
    path: str,
    format_name: str,
    *,
    options: ReadOptions,
    strict: bool = False,
    duplicates: bool | None = None,
) -> Report:
    """Adds every memory of a file.

    Args:
        store: Open for writing.
        path: The file, or ``-``.
        format_name: One of the readable formats, or ``auto``.
        options: How fields are named and filled.
        strict: Stop at the first record that cannot be used; what was added before stays.
        duplicates: Count near-duplicates; None does where there are at most 2,000 memories.
    """
    with open_input(path) as (stream, file_name, shown):
        head = cast("io.BufferedReader", stream).peek(_PEEK)[:_PEEK]
        chosen = detect(file_name, head) if format_name == "auto" else format_name
        report = Report(shown, chosen)

        def stop(error: InvalidInputError) -> None:
            raise error

        named = _named(options, shown, chosen, file_name)
        records = read(stream, chosen, named, stop if strict else report.skip)
        with progress(f"adding from {shown}") as show:
            ids = _add_all(store, (record.item for record in records), show)
        report.added = len(ids)
        if duplicates or (duplicates is None and len(ids) <= _COMPARED):
            with progress("comparing", len(ids)) as show:
                report.near_duplicates = _near(store, ids, show)
    return report


def _add_all(store: Store, items: Iterator[dict[str, Any]], show: Callable[[int], None]) -> list[str]:
    """Adds everything; a Ctrl-C waits for the batch that is being written, so that what was added can be told."""
    added = 0
    reading = asked = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if reading or asked:  # nothing is being written, or the user is in a hurry
            signal.default_int_handler(number, frame)
        asked = True

    def watched() -> Iterator[dict[str, Any]]:
        nonlocal reading
        while True:
            reading = True
            if asked:
                raise KeyboardInterrupt
            item = next(items, None)
            reading = False
            if item is None:
                return
            yield item

    def written(count: int) -> None:
        nonlocal added
        added = count
        show(count)
        if asked:
            raise KeyboardInterrupt

    try:
        with _on_interrupt(interrupt):
            ids = store.memories.add_many(watched(), progress=written)
            if asked:
                raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        raise Interrupted(added) from error
    return ids


@contextmanager
def _on_interrupt(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Lets ``handler`` answer Ctrl-C, where it would raise KeyboardInterrupt; elsewhere nothing changes."""
    usual = threading.current_thread() is threading.main_thread()
    if not usual or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _named(options: ReadOptions, shown: str, chosen: str, file_name: str | None) -> ReadOptions:
    """Options with the file's name in them. A thread is not guessed: paragraphs of one need not be about one thing."""
    from dataclasses import replace

    defaults = dict(options.defaults)
    if file_name is not None and chosen == "text":
        defaults.setdefault("source", shown)
    return replace(options, name=shown, defaults=defaults)


def _near(store: Store, ids: list[str], show: Callable[[int], None]) -> int:
    """How many of the new memories are near-duplicates of one that was there, or that came before them."""
    place = {memory_id: number for number, memory_id in enumerate(ids)}
    found = 0
    for number, memory_id in enumerate(ids):
        found += any(place.get(other, -1) < number for other in store.memories.similar(memory_id))
        show(number + 1)
    return found
