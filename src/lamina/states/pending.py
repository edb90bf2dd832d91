"""Commits in the background: one in flight a branch, published only when durable, and no failure goes unseen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.errors import LaminaError, LockedError
from lamina.states.checks import flatten, to_array
from lamina.states.types import Version

__all__ = ["Background", "PendingVersion", "copied"]

_FIELDS = frozenset(field.name for field in fields(Version))


class PendingVersion:
    """A commit that is under way. Its failure is raised by :meth:`result`, else by the next call on its state.

    It has what a :class:`Version` has, and is taken where one is: asking for it waits for the commit.
    """

    def __init__(self, name: str, branch: str) -> None:
        self.name = name
        self.branch = branch
        self._done = threading.Event()
        self._version: Version | None = None
        self._error: BaseException | None = None
        self._told = False
        self._worker = 0

    def done(self) -> bool:
        """Return whether it has ended, one way or the other."""
        return self._done.is_set()

    def result(self, timeout: float | None = None) -> Version:
        """Wait until it is durable, and return the version.

        Args:
            timeout: The longest wait in seconds; None is as long as it takes.

        Raises:
            LaminaError: What went wrong; nothing was published then.
            LockedError: It was not done in time; it goes on.
        """
        if not self._done.wait(timeout):
            raise LockedError(
                f"The commit of state {self.name!r} was not done after {timeout:g} s.", hint="Wait again; it goes on."
            )
        self.raise_failure()
        assert self._version is not None
        return self._version

    def raise_failure(self) -> None:
        """Raise what went wrong, if anything did."""
        if self._error is not None:
            self._told = True
            raise self._error

    @property
    def own(self) -> bool:
        """Whether the thread that asks does the work, in its ``progress``: it cannot wait for itself."""
        return self._worker == threading.get_ident()

    @property
    def untold(self) -> bool:
        """Whether it failed and nobody was told."""
        return self._error is not None and not self._told

    @property
    def id(self) -> str:
        """Id of the version; waits for it, like all that follows."""
        return self.result().id

    @property
    def parent(self) -> str | None:
        """Id of the version that it follows."""
        return self.result().parent

    @property
    def created_at(self) -> datetime:
        """When it was committed."""
        return self.result().created_at

    @property
    def message(self) -> str | None:
        """What changed, in words."""
        return self.result().message

    @property
    def step(self) -> int | None:
        """A training step or the like."""
        return self.result().step

    def __getattr__(self, name: str) -> Any:
        """Return what else a version has."""
        if name not in _FIELDS:
            raise AttributeError(f"a pending version has no attribute {name!r}", name=name, obj=self)
        return getattr(self.result(), name)

    def run(self, work: Callable[[], Version]) -> None:
        """Do the work, in the thread that calls."""
        self._worker = threading.get_ident()
        try:
            self._version = work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller must hear of it
            self._error = error
        finally:
            self._worker = 0
            self._done.set()


class Background:
    """The commits of one handle that are under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, str], PendingVersion] = {}

    def settle(self, name: str | None = None, branch: str | None = None) -> None:
        """Wait for commits that are under way, and raise the first failure that nobody was told of.

        Args:
            name: Of what state; None is all.
            branch: Of what branch; None is all.
        """
        with self._lock:
            keys = [key for key in self._pending if name in (None, key[0]) and branch in (None, key[1])]
            waited = [(key, self._pending[key]) for key in keys if not self._pending[key].own]
        for _, pending in waited:
            pending._done.wait()  # noqa: SLF001 - one idea, two classes
        for key, pending in waited:
            with self._lock:
                if self._pending.get(key) is pending:
                    del self._pending[key]
            if pending.untold:
                pending.raise_failure()

    def start(self, name: str, branch: str, work: Callable[[], Version]) -> PendingVersion:
        """Begin a commit; the branch must be settled."""
        pending = PendingVersion(name, branch)
        with self._lock:
            self._pending[name, branch] = pending
        thread = threading.Thread(target=pending.run, args=(work,), name="lamina-commit", daemon=False)
        thread.start()
        return pending

    def close(self) -> None:
        """Wait for all, and raise the first failure that nobody was told of."""
        first: LaminaError | None = None
        while True:
            with self._lock:
                if all(pending.own for pending in self._pending.values()):
                    break
            try:
                self.settle()
            except LaminaError as error:
                first = first or error
        if first is not None:
            raise first


def copied(arrays: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Return arrays that are nobody else's, so that what is committed is what they were now."""
    return {name: np.array(to_array(value, name), copy=True) for name, value in flatten(arrays).items()}
