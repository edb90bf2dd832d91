"""Following a folder: a sync whenever something in it changes, however editors write."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lamina.errors import ConflictError, DependencyError, LaminaError, LockedError, NotFoundError

if TYPE_CHECKING:
    from lamina.store import Store
    from lamina.types import SyncReport

__all__ = ["watch"]

SETTLE_MS: Final = 200
"""Milliseconds without a change after which what editors do in several steps (write aside, rename, remove) is over."""
LONGEST_MS: Final = 1_000
"""Milliseconds after which changes are taken over although more keep coming."""
TICK_MS: Final = 500
"""Milliseconds between two looks at whether to end, and whether the folder is still there."""
RETRY_S: Final = 1.0
"""Seconds before a sync is repeated that could not be done, because someone else was changing files."""

Tell = Callable[[str], None]


def watch(
    store: Store, *, stop: threading.Event | None = None, seconds: float | None = None, tell: Tell | None = None
) -> Iterator[SyncReport]:
    """Yield what each change of the folder brought; the catalog has it by then.

    Args:
        store: Open for writing.
        stop: Ends the watch when it is set.
        seconds: Ends it after so many; None goes on.
        tell: Is given what people should know: that the folder is polled, that a sync has to wait.

    Raises:
        NotFoundError: The folder was removed or renamed.
        DependencyError: The package that watches files is not installed.
        ReadOnlyError: The store is open for reading only.
    """
    say = tell or (lambda _: None)
    place = Path(store.location)
    known = _identity(place)
    end = None if seconds is None else time.monotonic() + seconds
    stop = stop or threading.Event()
    retry: float | None = 0.0  # at the first tick, for what changed before the system began to watch
    for changed in _changes(place, stop, end, say):
        if stop.is_set() or (end is not None and time.monotonic() >= end):
            return
        _check_place(place, known)
        if not changed and (retry is None or time.monotonic() < retry):
            continue
        try:
            report = store.memories.sync()
        except (ConflictError, LockedError) as error:
            say(f"{error.message} It is tried again.")
            retry = time.monotonic() + RETRY_S
            continue
        except LaminaError:
            _check_place(place, known)  # the reason, where it is one
            raise
        retry = None
        yield report


def _changes(place: Path, stop: threading.Event, end: float | None, say: Tell) -> Iterator[bool]:
    """Yields True after changes, and False every now and then without one.

    Raises:
        DependencyError: watchfiles is not installed.
        NotFoundError: The folder is not there.
    """
    try:
        from watchfiles import watch as watch_files
    except ImportError as error:
        message = "Watching a folder needs the package watchfiles."
        raise DependencyError(message, hint="pip install watchfiles") from error
    top = os.path.realpath(place)
    options: dict[str, Any] = {
        "watch_filter": lambda _, path: _concerns(top, path),
        "debounce": LONGEST_MS,
        "step": SETTLE_MS,
        "rust_timeout": TICK_MS if end is None else max(50, min(TICK_MS, int((end - time.monotonic()) * 1000))),
        "yield_on_timeout": True,
        "stop_event": stop,
        "ignore_permission_denied": True,
    }
    for polling in (None, True):  # None: as the system and WATCHFILES_FORCE_POLLING have it
        try:
            for found in watch_files(top, force_polling=polling, **options):
                yield bool(found)
        except FileNotFoundError:
            raise _gone(place) from None
        except (OSError, RuntimeError) as error:  # no room for another watch, or none on this file system
            if polling or not os.path.isdir(top):  # noqa: PTH112 - never raises
                raise _failed(place, error) from None
            say(f"The system cannot watch {place} ({_reason(error)}); it is looked at every 0.3 s instead.")
            continue
        return


def _concerns(top: str, path: str) -> bool:
    """Whether a change of a path can be one of a memory: hidden folders, the engine's too, and swap files hold none."""
    parts = Path(os.path.relpath(path, top)).parts
    if not parts:  # the folder itself
        return True
    return not any(part.startswith(".") and part != ".." for part in parts) and not parts[-1].endswith(("~", ".tmp"))


def _identity(place: Path) -> tuple[int, int]:
    try:
        facts = place.stat()
    except OSError:
        raise _gone(place) from None
    return facts.st_dev, facts.st_ino


def _check_place(place: Path, known: tuple[int, int]) -> None:
    """Raise where the folder is not the one that was opened, or its engine's folder is gone.

    Raises:
        NotFoundError: It was removed, renamed or replaced.
    """
    from lamina.config import CATALOG_NAME, ENGINE_FOLDER

    if _identity(place) != known or not os.path.isfile(place / ENGINE_FOLDER / CATALOG_NAME):  # noqa: PTH113
        raise _gone(place)


def _gone(place: Path) -> NotFoundError:
    return NotFoundError(
        f"The folder {place} was removed, renamed or replaced while it was watched.",
        hint="Watch it again when it is back.",
        path=str(place),
    )


def _failed(place: Path, error: Exception) -> LaminaError:
    from lamina.errors import StorageError

    return StorageError(f"{place} cannot be watched: {_reason(error)}.", hint="Run `lamina sync` instead.")


def _reason(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error)
    return " ".join(str(said).split()).rstrip(".") or type(error).__name__
