"""Saving what changes now and then, so that a crash loses at most the interval."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lamina.errors import InvalidInputError, LaminaError
from lamina.states.checks import check_name
from lamina.states.types import Version

if TYPE_CHECKING:
    from lamina.states.api import States
    from lamina.states.grid import ToroidalGrid

__all__ = ["Autosave"]

_BETWEEN_TRIES = 0.1
"""Seconds from a failure to the next try where the interval is shorter."""


class Autosave:
    """Commits what a function returns, at most ``interval`` seconds after it was marked as changed.

    A thread waits for the first mark, then for the interval, then asks for the arrays and commits them. What was marked
    while it saved is saved with the next. After a failure it goes on, and tries again after another interval (a tenth
    of a second at least); the failure is raised once, by the next call of :meth:`mark`, :meth:`save` or :meth:`close`.
    """

    def __init__(
        self,
        states: States,
        name: str,
        get: Callable[[], Mapping[str, Any] | ToroidalGrid] | Mapping[str, Any] | ToroidalGrid,
        interval: Any,
    ) -> None:
        check_name(name)
        wanted: Any = get
        if isinstance(wanted, Mapping) or hasattr(wanted, "to_state"):
            call: Callable[[], Any] = partial(_same, wanted)
        elif callable(wanted):
            call = wanted
        else:
            raise InvalidInputError(
                f"get is of type {type(wanted).__name__}, which gives no arrays.",
                hint="Pass a grid, a mapping of arrays, or a function that returns one.",
            )
        if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not 0 <= interval < 1e9:
            raise InvalidInputError(f"interval = {interval!r} is no number of seconds.", hint="Pass 0 or more.")
        self.saved: Version | None = None
        """The version that was saved last."""
        self._states = states
        self._name = name
        self._get = call
        self._interval = float(interval)
        self._change = threading.Condition()
        self._saving = threading.Lock()
        self._dirty_since: float | None = None
        self._closing = False
        self._error: BaseException | None = None
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name="lamina-autosave", daemon=True)
        self._thread.start()

    def mark(self) -> None:
        """Say that something changed.

        Raises:
            LaminaError: An earlier save failed; the mark is noted, and what is marked will be saved all the same.
        """
        with self._change:
            if self._dirty_since is None:
                self._dirty_since = time.monotonic()
            self._change.notify_all()
        self._raise()

    @property
    def dirty(self) -> bool:
        """Whether something was marked that is not saved yet."""
        return self._dirty_since is not None or self._saving.locked()

    def save(self) -> Version | None:
        """Save now, if anything was marked; returns the version that was saved last.

        Raises:
            LaminaError: It failed, or an earlier save did, of which nobody was told yet.
        """
        self._save()
        self._raise()
        return self.saved

    def close(self) -> None:
        """Save what was marked, and end.

        Raises:
            LaminaError: That failed; or it succeeded, but an earlier save failed of which nobody was told yet.
        """
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join()
        self._save()
        self._raise()

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
                with self._change:
                    self._error = error
                    self._retry_at = time.monotonic() + max(self._interval, _BETWEEN_TRIES)

    def _wait(self) -> bool:
        """Wait until it is time to save; return False when there is nothing more to wait for."""
        with self._change:
            while not self._closing:
                if self._dirty_since is None:
                    self._change.wait()
                    continue
                left = max(self._dirty_since + self._interval, self._retry_at) - time.monotonic()
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


def _same(arrays: Any) -> Any:
    return arrays
