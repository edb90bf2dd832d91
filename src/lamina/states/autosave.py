"""Saving what changes now and then, so that a crash loses at most the interval."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lamina.errors import InvalidInputError, LaminaError
from lamina.states.types import Version

if TYPE_CHECKING:
    from lamina.states.api import States
    from lamina.states.grid import ToroidalGrid

__all__ = ["Autosave"]


class Autosave:
    """Commits what a function returns, at most ``interval`` seconds after it was marked as changed.

    A thread waits for the first mark, then for the interval, then asks for the arrays and commits them. What was marked
    while it saved is saved with the next. A failure is raised by the next call of :meth:`mark` and by :meth:`close`.
    """

    def __init__(
        self, states: States, name: str, get: Callable[[], Mapping[str, Any] | ToroidalGrid], interval: Any
    ) -> None:
        if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not 0 <= interval < 1e9:
            raise InvalidInputError(f"interval = {interval!r} is no number of seconds.", hint="Pass 0 or more.")
        self.saved: Version | None = None
        """The version that was saved last."""
        self._states = states
        self._name = name
        self._get = get
        self._interval = float(interval)
        self._change = threading.Condition()
        self._saving = threading.Lock()
        self._dirty_since: float | None = None
        self._closing = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="lamina-autosave", daemon=True)
        self._thread.start()

    def mark(self) -> None:
        """Say that something changed.

        Raises:
            LaminaError: An earlier save failed.
        """
        with self._change:
            self._raise()
            if self._dirty_since is None:
                self._dirty_since = time.monotonic()
            self._change.notify_all()

    @property
    def dirty(self) -> bool:
        """Whether something was marked that is not saved yet."""
        return self._dirty_since is not None or self._saving.locked()

    def save(self) -> Version | None:
        """Save now, if anything was marked; returns the version that was saved last."""
        self._raise()
        self._save()
        return self.saved

    def close(self) -> None:
        """Save what was marked, and end.

        Raises:
            LaminaError: A save failed.
        """
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join()
        self._raise()
        self._save()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        with contextlib.suppress(LaminaError):  # what went wrong in the block is what matters
            self.close()

    def _run(self) -> None:
        while self._wait():
            try:
                self._save()
            except BaseException as error:  # noqa: BLE001 - told by the next call
                self._error = error

    def _wait(self) -> bool:
        """Wait until it is time to save; return False when there is nothing more to wait for."""
        with self._change:
            while not self._closing and self._error is None:
                if self._dirty_since is None:
                    self._change.wait()
                    continue
                left = self._dirty_since + self._interval - time.monotonic()
                if left <= 0:
                    return True
                self._change.wait(left)
        return False

    def _save(self) -> None:
        """Save what was marked; marking goes on meanwhile."""
        with self._saving:
            since, self._dirty_since = self._dirty_since, None
            if since is None:
                return
            try:
                self.saved = self._states.commit(self._name, self._get(), message="autosave")
            except BaseException:
                self._dirty_since = since
                raise

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
