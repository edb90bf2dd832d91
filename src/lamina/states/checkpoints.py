"""Checkpoints of a run: saved by step, the last few kept, the newest whole one to go on from."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lamina.errors import CorruptionError, InvalidInputError, NotFoundError
from lamina.states.cells import check_whole
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
        self.name = name
        self.keep_last = check_whole(keep_last, "keep_last")
        if self.keep_last < 1:
            raise InvalidInputError(f"keep_last is {keep_last}, not a whole number from 1.", hint="Keep one.")
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
        """Return the step and the state of the newest whole checkpoint, or None before the first.

        The newest is the one that was saved last, not the one of the highest step.

        Versions without a step are no checkpoints, and one that a repair found damaged is passed over. The checkpoints
        that are kept share what did not change between them, so that one bad byte may hit several.

        Raises:
            CorruptionError: There are checkpoints, and none of them is whole; says which there are.
        """
        damaged: builtins.list[Version] = []
        for version in self._line():
            if not version.damaged:
                try:
                    state = self._states.open(self.name, version)
                except NotFoundError:  # another process let it go just now
                    continue
                except CorruptionError:
                    damaged.append(version)
                    continue
                assert version.step is not None
                return version.step, state
            damaged.append(version)
        if not damaged:
            return None
        there = ", ".join(f"step {version.step} ({version.id[:12]})" for version in damaged[:5])
        raise CorruptionError(
            f"No checkpoint of {self.name!r} is whole: {there} {'is' if len(damaged) == 1 else 'are'} damaged.",
            hint="Open one to read the arrays that are intact, or take the state from a backup.",
            name=self.name,
            damaged=[version.id for version in damaged],
        )

    def open(self, step: int) -> State:
        """Open the newest checkpoint of a step that is kept; :meth:`latest` goes by time, not by step.

        Raises:
            NotFoundError: None is kept of that step.
            CorruptionError: Its manifest is damaged.
        """
        kept = self.list()
        for version in kept:
            if version.step == step:
                return self._states.open(self.name, version)
        steps = ", ".join(dict.fromkeys(str(version.step) for version in kept))
        raise NotFoundError(
            f"No checkpoint of step {step} is kept of {self.name!r}.", hint=f"Steps that are: {steps or 'none'}."
        )

    def _line(self) -> Iterator[Version]:
        """Yield checkpoints, the newest first: those that ``main`` leads back to, then what else was kept."""
        seen: set[str] = set()
        for ref in ("main", None):
            try:
                found = self._states.log(self.name, ref)
            except NotFoundError:
                continue
            for version in found:
                if version.step is not None and version.id not in seen:
                    seen.add(version.id)
                    yield version

    def list(self) -> builtins.list[Version]:
        """Return the checkpoints that are kept, the newest first."""
        try:
            return [version for version in self._states.log(self.name) if version.step is not None]
        except NotFoundError:
            return []
