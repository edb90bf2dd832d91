"""``store.states``: what a model holds."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, overload

from lamina.errors import InvalidInputError
from lamina.states.context import StatesContext

if TYPE_CHECKING:
    from lamina.states.autosave import Autosave
    from lamina.states.checkpoints import Checkpoints
    from lamina.states.experiments import Experiments
    from lamina.states.grid import ToroidalGrid
    from lamina.states.pending import Background, PendingVersion
    from lamina.states.sessions import SavedSessions
    from lamina.states.slots import Slots
    from lamina.states.state import State
    from lamina.states.types import RetainPlan, StateDiff, StateInfo, Version

__all__ = ["States"]


class States:
    """The states of an open store; safe to use from several threads.

    A state is a mapping from names to arrays. Each commit makes a version that never changes; branches and tags are
    names for versions. Where a *ref* is asked for, a branch, a tag, an id or its first six or more digits, a
    :class:`Version` or a ``datetime`` (what ``main`` was then) will do.
    """

    def __init__(self, context: StatesContext) -> None:
        self.context = context
        """What maintenance works on."""

    @cached_property
    def _background(self) -> Background:
        from lamina.states.pending import Background

        return Background()

    def _settle(self, name: str | None = None, branch: str | None = None) -> None:
        """Wait for what is committed in the background, of a branch, a state or all, and raise its failure."""
        if "_background" in self.__dict__:
            self._background.settle(name, branch)

    def _version(self, ref: Any) -> Any:
        """Return a ref, or the version of a commit that was pending, waiting for it."""
        if "_background" not in self.__dict__:
            return ref
        from lamina.states.pending import PendingVersion

        return ref.result() if isinstance(ref, PendingVersion) else ref

    def _settled(self, name: str, ref: Any) -> Any:
        """Wait likewise for a state, and return the ref as :meth:`_version` does."""
        self._settle(name)
        return self._version(ref)

    @overload
    def commit(
        self,
        name: str,
        arrays: Mapping[str, Any] | ToroidalGrid,
        *,
        branch: str = ...,
        parent: Any = ...,
        message: str | None = ...,
        step: int | None = ...,
        metadata: Mapping[str, Any] | None = ...,
        precision: str | Mapping[str, str] | None = ...,
        wait: Literal[True] = ...,
        creator: str | None = ...,
        progress: Callable[[int, int], None] | None = ...,
    ) -> Version: ...

    @overload
    def commit(
        self,
        name: str,
        arrays: Mapping[str, Any] | ToroidalGrid,
        *,
        branch: str = ...,
        parent: Any = ...,
        message: str | None = ...,
        step: int | None = ...,
        metadata: Mapping[str, Any] | None = ...,
        precision: str | Mapping[str, str] | None = ...,
        wait: Literal[False],
        creator: str | None = ...,
        progress: Callable[[int, int], None] | None = ...,
    ) -> PendingVersion: ...

    def commit(
        self,
        name: str,
        arrays: Mapping[str, Any] | ToroidalGrid,
        *,
        branch: str = "main",
        parent: Any = None,
        message: str | None = None,
        step: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        precision: str | Mapping[str, str] | None = None,
        wait: bool = True,
        creator: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Version | PendingVersion:
        """Commit a snapshot; it is durable when this returns. What did not change is not written again.

        Args:
            name: The state; made by its first commit.
            arrays: By name; mappings within are flattened to ``outer/inner``. Anything that speaks the buffer protocol,
                DLPack or ``__array__``. NaN, infinities and every bit come back as they were. Or a
                :class:`lamina.ToroidalGrid`, whose layers, labels, settings and metadata are then kept.
            branch: What to add to. The first commit of a state makes it; others are made by :meth:`branch`.
            parent: A ref that must be the branch's newest version. When None: what this handle last opened or
                committed on the branch, else its newest version.
            message: What changed, in words.
            step: A training step or the like.
            metadata: JSON values.
            precision: ``float16`` or ``int8`` (one scale a row) for arrays of floats, or such a name by array; those
                come back in their own dtype, rounded. Exact when None, and where it does not apply or pay: integers,
                bfloat16 and the like, and for ``int8`` rows of fewer than 16 elements; the version's ``kept_exact``
                names those.
            wait: False copies the arrays, returns at once and works in the background, one commit a branch at a time;
                ``.result()`` of what is returned waits, and a failure is raised there, by the next call that concerns
                the state, or by ``close``. Every call that concerns the state waits for it, but a commit or update of
                another branch.
            creator: Who made it.
            progress: Called with the shards done and the shards there are, array by array.

        Raises:
            ConflictError: Someone else committed to the branch; nothing was written.
            InvalidInputError: An array, a name or an option cannot be accepted.
            NotFoundError: The state has no such branch.
            DiskFullError: No room; nothing changed.
        """
        from lamina.states.commit import commit

        if progress is not None and not callable(progress):
            raise InvalidInputError("progress cannot be called.", hint="Pass a function of two numbers.")
        self._settle(name, branch)
        parent = self._version(parent)
        given: Any = arrays
        if not isinstance(given, Mapping) and hasattr(given, "to_state"):
            from lamina.states.cells import check_mapping

            given, own = given.to_state()
            metadata = {**own, **check_mapping(metadata, "metadata")}
            user = own.get("user_id")
            creator = user if creator is None and isinstance(user, str) else creator
        if not wait:
            from lamina.states.pending import copied

            given = copied(given)
        work = partial(
            commit,
            self.context,
            name,
            given,
            branch=branch,
            parent=parent,
            message=message,
            step=step,
            metadata=metadata,
            precision=precision,
            creator=creator,
            progress=progress,
        )
        return work() if wait else self._background.start(name, branch, work)

    def open(self, name: str, ref: str | Version | datetime = "main") -> State:
        """Open a version; nothing of its arrays is read yet.

        Args:
            name: The state.
            ref: Which version: a branch, a tag, an id or its beginning, a ``Version``, or a time, which means what
                ``main`` was then: a datetime (UTC where it has no zone) or ISO 8601 text with a zone.

        Returns:
            A mapping from names to arrays; close it, or use it in a ``with`` block.

        Raises:
            NotFoundError: There is no such state or version.
            CorruptionError: Its manifest is damaged.
        """
        from lamina.states.history import open_version

        return open_version(self.context, name, self._settled(name, ref))

    def list(self) -> list[StateInfo]:
        """Return the states of the store, by name."""
        from lamina.states.history import list_states

        self._settle()
        return list_states(self.context)

    def log(
        self, name: str, ref: str | Version | datetime | None = None, *, limit: int | None = None
    ) -> builtins.list[Version]:
        """Return versions, the newest first.

        Args:
            name: The state.
            ref: Only the version and those that it follows, without deleted ones; None is every version of the state.
            limit: At most so many.

        Raises:
            NotFoundError: There is no such state or version.
            InvalidInputError: The limit is no whole number from 0.
        """
        from lamina.states.cells import check_whole
        from lamina.states.history import log

        if limit is not None and (limit := check_whole(limit, "limit")) < 0:
            raise InvalidInputError(f"limit is {limit}, not a whole number from 0.", hint="Pass how many, or None.")
        return log(self.context, name, self._settled(name, ref), limit)

    def update(
        self,
        name: str,
        changes: Mapping[str, Any],
        *,
        branch: str = "main",
        parent: Any = None,
        message: str | None = None,
        step: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Version:
        """Commit new values of some rows; only those are written, as a rule, and nothing else is read.

        Where many small changes lie over each other they are joined, and what is changed past 60 % is stored anew; then
        rows that were not given are read, too.

        Args:
            name: The state.
            changes: ``{array: (rows, values)}``: row numbers (or a slice, or one bool a row) along the first axis, and
                one row of values for each. A row that is named twice gets its last value. Floats may be rounded to
                the array's dtype; what would become another value in it is refused.
            branch: As in :meth:`commit`, like ``parent``, ``message`` and ``step``.
            parent: What the change follows.
            message: What changed, in words.
            step: A training step or the like.
            metadata: JSON values; what the parent has when None.

        Raises:
            ConflictError: Someone else committed to the branch; nothing was written.
            NotFoundError: There is no such state, branch or array.
            InvalidInputError: Rows or values do not fit the array.
        """
        from lamina.states.update import update

        self._settle(name, branch)
        parent = self._version(parent)
        return update(
            self.context,
            name,
            changes,
            branch=branch,
            parent=parent,
            message=message,
            step=step,
            metadata=metadata,
        )

    def diff(self, name: str, a: str | Version | datetime, b: str | Version | datetime) -> StateDiff:
        """Compare two versions: for each array that differs, the rows, norms and the largest change.

        Raises:
            NotFoundError: There is no such state or version.
        """
        from lamina.states.diff import diff

        return diff(self.context, name, self._settled(name, a), self._settled(name, b))

    def tag(self, name: str, ref: str | Version | datetime, tag: str) -> Version:
        """Give a version a name; a tag is never given again, not even after it was deleted, while the state is there.

        Raises:
            AlreadyExistsError: The name is taken, or was once.
            NotFoundError: There is no such state or version.
        """
        from lamina.states.history import tag as give

        return give(self.context, name, self._settled(name, ref), tag)

    def branch(self, name: str, branch: str, ref: str | Version | datetime = "main") -> Version:
        """Let a new branch begin at a version.

        Raises:
            AlreadyExistsError: The name is taken.
            NotFoundError: There is no such state or version.
        """
        from lamina.states.history import make_branch

        return make_branch(self.context, name, branch, self._settled(name, ref))

    def restore(
        self, name: str, ref: str | Version | datetime, *, branch: str = "main", message: str | None = None
    ) -> Version:
        """Commit what a version was as the newest one of a branch; nothing that came between is lost.

        Raises:
            NotFoundError: There is no such state, version or branch.
            ConflictError: Someone else committed to the branch since this handle last saw it.
        """
        from lamina.states.history import restore

        return restore(self.context, name, self._settled(name, ref), branch=branch, message=message)

    def delete(self, name: str, ref: str | Version | None = None) -> int:
        """Delete a whole state, or one branch, tag or version of it; ``store.gc()`` gives its room back.

        Args:
            name: The state.
            ref: A branch or tag goes as a name, and its versions stay; a version goes unless it has a name.

        Returns:
            How many versions were deleted.

        Raises:
            InvalidInputError: It is the newest version of a branch or tagged, or the only branch.
            NotFoundError: There is no such state or version.
        """
        from lamina.states.history import delete

        return delete(self.context, name, self._settled(name, ref))

    def retain(
        self,
        name: str,
        *,
        keep_last: int | None = None,
        max_age: timedelta | float | None = None,
        branch: str | None = None,
        dry_run: bool = False,
    ) -> RetainPlan:
        """Delete old versions; ``store.gc()`` gives their room back.

        So does retention itself, once the store has grown by half, and by 16 MB, since it was last collected.
        The newest version of each branch, tagged versions and those that someone reads are always kept.

        Args:
            name: The state.
            keep_last: Keep so many of the newest.
            max_age: Keep what is younger, in seconds or as a ``timedelta``. With both, either keeps a version.
            branch: Look only at versions that this branch leads back to; None is all of the state.
            dry_run: Only say what would go.

        Raises:
            InvalidInputError: Neither bound is given, or one makes no sense.
        """
        from lamina.states.cells import check_whole
        from lamina.states.retain import retain

        self._settle(name)
        if keep_last is not None:
            keep_last = check_whole(keep_last, "keep_last")
        return retain(self.context, name, keep_last=keep_last, max_age=max_age, branch=branch, dry_run=dry_run)

    def slots(self, name: str, *, branch: str = "main") -> Slots:
        """Return the slot table of a state: tensors of slots with a time, a count and a surprise for each.

        Args:
            name: The state; ``.create(tensors)`` makes it.
            branch: What to read and add to.
        """
        from lamina.states.slots import Slots

        return Slots(self, name, branch)

    def checkpoints(self, name: str, keep_last: int = 5) -> Checkpoints:
        """Return what saves checkpoints of a run and finds the newest again.

        Args:
            name: The state that holds them.
            keep_last: How many are kept.
        """
        from lamina.states.checkpoints import Checkpoints

        return Checkpoints(self, name, keep_last)

    def sessions(self) -> SavedSessions:
        """Return what saves sessions by user, and forgets them after a month."""
        from lamina.states.sessions import SavedSessions

        return SavedSessions(self)

    def experiments(self, name: str) -> Experiments:
        """Return what runs experiments over a state: a branch each, compared by their results.

        Args:
            name: The state that holds the baseline.
        """
        from lamina.states.experiments import Experiments

        return Experiments(self, name)

    def autosave(
        self,
        name: str,
        get: Callable[[], Mapping[str, Any] | ToroidalGrid] | Mapping[str, Any] | ToroidalGrid,
        interval: float,
    ) -> Autosave:
        """Return what commits the arrays that ``get`` returns, at most ``interval`` seconds after they were marked.

        Args:
            name: The state.
            get: Called in another thread, or by ``close``, when it is time to save. A grid, or a mapping of arrays
                that change in place, is taken as it is then.
            interval: Seconds that a crash may lose.

        Raises:
            InvalidInputError: ``get`` gives no arrays, or the interval is no number of seconds.
        """
        from lamina.states.autosave import Autosave

        return Autosave(self, name, get, interval)

    def stats(self) -> dict[str, Any]:
        """Return counts and sizes: states, versions, objects; bytes, hits and moves of each tier."""
        from lamina.states.tiers import tier_stats

        return tier_stats(self.context)

    def optimize(self) -> dict[str, Any]:
        """Move shards between tiers by how they were read; see ``docs/format.md`` for the policy."""
        from lamina.states.tiers import move_tiers

        return move_tiers(self.context)

    def close(self) -> None:
        """Finish what is under way and let go of what is held for readers; the store calls it.

        Raises:
            LaminaError: A commit in the background failed, and nobody was told yet.
        """
        try:
            if "_background" in self.__dict__:
                self._background.close()
        finally:
            self.context.close()
