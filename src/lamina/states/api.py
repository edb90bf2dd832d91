"""``store.states``: what a model holds."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lamina.states.context import StatesContext

if TYPE_CHECKING:
    from lamina.states.state import State
    from lamina.states.types import StateInfo, Version

__all__ = ["States"]


class States:
    """The states of an open store; safe to use from several threads.

    A state is a mapping from names to arrays. Each commit makes a version that never changes; branches and tags are
    names for versions. Where a *ref* is asked for, a branch, a tag, an id or its first six or more digits, a
    :class:`Version` or a ``datetime`` (what ``main`` was then) will do.
    """

    def __init__(self, context: StatesContext) -> None:
        self._context = context

    def commit(
        self,
        name: str,
        arrays: Mapping[str, Any],
        *,
        branch: str = "main",
        parent: Any = None,
        message: str | None = None,
        step: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        precision: str | Mapping[str, str] | None = None,
        creator: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Version:
        """Commit a snapshot; it is durable when this returns. What did not change is not written again.

        Args:
            name: The state; made by its first commit.
            arrays: By name; mappings within are flattened to ``outer/inner``. Anything that speaks the buffer protocol,
                DLPack or ``__array__``. NaN, infinities and every bit come back as they were.
            branch: What to add to. The first commit of a state makes it; others are made by :meth:`branch`.
            parent: A ref that must be the branch's newest version. When None: what this handle last opened or
                committed on the branch, else its newest version.
            message: What changed, in words.
            step: A training step or the like.
            metadata: JSON values.
            precision: ``float16`` or ``int8`` (one scale a row) for arrays of floats, or such a name by array; those
                come back in their own dtype, rounded. Exact when None.
            creator: Who made it.
            progress: Called with the shards done and the shards there are, array by array.

        Raises:
            ConflictError: Someone else committed to the branch; nothing was written.
            InvalidInputError: An array, a name or an option cannot be accepted.
            NotFoundError: The state has no such branch.
            DiskFullError: No room; nothing changed.
        """
        from lamina.states.commit import commit

        return commit(
            self._context,
            name,
            arrays,
            branch=branch,
            parent=parent,
            message=message,
            step=step,
            metadata=metadata,
            precision=precision,
            creator=creator,
            progress=progress,
        )

    def open(self, name: str, ref: str | Version | datetime = "main") -> State:
        """Open a version; nothing of its arrays is read yet.

        Args:
            name: The state.
            ref: Which version.

        Returns:
            A mapping from names to arrays; close it, or use it in a ``with`` block.

        Raises:
            NotFoundError: There is no such state or version.
            CorruptionError: Its manifest is damaged.
        """
        from lamina.states.history import open_version

        return open_version(self._context, name, ref)

    def list(self) -> list[StateInfo]:
        """Return the states of the store, by name."""
        from lamina.states.history import list_states

        return list_states(self._context)

    def log(
        self, name: str, ref: str | Version | datetime | None = None, *, limit: int | None = None
    ) -> builtins.list[Version]:
        """Return versions, the newest first.

        Args:
            name: The state.
            ref: Only the version and those that it follows; None is every version of the state.
            limit: At most so many.

        Raises:
            NotFoundError: There is no such state or version.
        """
        from lamina.states.history import log

        return log(self._context, name, ref, limit)

    def close(self) -> None:
        """Let go of what is held for readers; the store calls it."""
        self._context.close()
