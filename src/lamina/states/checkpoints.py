"""Checkpoints of a run: saved by step, the last few kept, the newest whole one to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lamina.errors import InvalidInputError, NotFoundError
from lamina.states.checks import check_name
from lamina.states.types import Version

if TYPE_CHECKING:
    from lamina.states.api import States
    from lamina.states.grid import ToroidalGrid
    from lamina.states.state import State

__all__ = ["Checkpoints"]


class Checkpoints:
    """Checkpoints in a state of their own. Made by :meth:`lamina.States.checkpoints`.

    The version is published first and the oldest goes afterwards, so whenever the process dies there is one to go on
    from, and none is ever half.
    """

    def __init__(self, states: States, name: str, keep_last: Any) -> None:
        check_name(name)
        if isinstance(keep_last, bool) or not isinstance(keep_last, int) or keep_last < 1:
            raise InvalidInputError(f"keep_last = {keep_last!r} is not a whole number from 1.", hint="Keep one.")
        self.name = name
        self.keep_last = keep_last
        self._states = states

    def save(
        self, step: int, arrays: Mapping[str, Any] | ToroidalGrid, *, message: str | None = None, metadata: Any = None
    ) -> Version:
        """Save a checkpoint, durable when this returns, and let the oldest beyond ``keep_last`` go.

        Args:
            step: Of the run; from 0, and need not grow.
            arrays: As in :meth:`lamina.States.commit`.
            message: In words.
            metadata: JSON values.

        Raises:
            ConflictError: Another process saves checkpoints of the same name.
        """
        if step is None:
            raise InvalidInputError("A checkpoint needs a step.", hint="Pass a whole number.")
        version = self._states.commit(self.name, arrays, step=step, message=message, metadata=metadata)
        self._states.retain(self.name, keep_last=self.keep_last)
        return version

    def latest(self) -> tuple[int, State] | None:
        """Return the step and the state of the newest checkpoint, or None before the first."""
        try:
            state = self._states.open(self.name)
        except NotFoundError:
            return None
        return state.version.step or 0, state

    def list(self) -> list[Version]:
        """Return the checkpoints that are kept, the newest first."""
        try:
            return [version for version in self._states.log(self.name) if version.step is not None]
        except NotFoundError:
            return []
