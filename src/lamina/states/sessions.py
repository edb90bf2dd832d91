"""Saved sessions by user: one state a user, one version a save, what is older than a month goes."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from lamina.errors import InvalidInputError, NotFoundError
from lamina.states.cells import check_finite
from lamina.states.checks import check_name
from lamina.states.types import RetainPlan, StateInfo, Version
from lamina.storage.records import from_micros, to_micros

if TYPE_CHECKING:
    from lamina.states.api import States
    from lamina.states.grid import ToroidalGrid
    from lamina.states.state import State

__all__ = ["KEPT", "SavedSessions"]

KEPT = timedelta(days=30)
"""How long a saved session is kept."""
_PREFIX = "sessions/"


class SavedSessions:
    """Sessions saved by user. Made by :meth:`lamina.States.sessions`.

    A user's name is part of the name of a state and never a path, so it may hold any characters that a name may.
    """

    def __init__(self, states: States) -> None:
        self._states = states

    def save(
        self, user: str, arrays: Mapping[str, Any] | ToroidalGrid, *, metadata: Mapping[str, Any] | None = None
    ) -> Version:
        """Save a user's session, durable when this returns; nothing is written twice.

        Args:
            user: Whose.
            arrays: As in :meth:`lamina.States.commit`: arrays by name, or a grid.
            metadata: JSON values, such as diffusion settings.
        """
        return self._states.commit(_name(user), arrays, metadata=metadata, creator=user, message="session")

    def load(self, user: str, ref: Any = "main") -> State:
        """Open a user's session: the newest, the one that a ref names, or the last one up to a moment or day.

        Args:
            user: Whose.
            ref: As in :meth:`lamina.States.open`; a ``date`` is the end of that day, in UTC.

        Raises:
            NotFoundError: The user has none, or none that is so old.
        """
        if isinstance(ref, date) and not isinstance(ref, datetime):
            ref = datetime.combine(ref, time.max, UTC)
        return self._states.open(_name(user), ref)

    def users(self) -> list[StateInfo]:
        """Return who has saved sessions, by name; ``name`` is the user's."""
        from dataclasses import replace

        return [
            replace(one, name=one.name.removeprefix(_PREFIX))
            for one in self._states.list()
            if one.name.startswith(_PREFIX)
        ]

    def list(self, user: str) -> list[Version]:
        """Return a user's saved sessions, the newest first."""
        try:
            return self._states.log(_name(user))
        except NotFoundError:
            return []

    def find(
        self, *, since: datetime | None = None, until: datetime | None = None, where: Mapping[str, Any] | None = None
    ) -> builtins.list[Version]:
        """Return the saved sessions of all users that fit, the newest first; ``creator`` is the user.

        Args:
            since: Saved at this moment or later; without a time zone it is in UTC, as everywhere.
            until: Saved before this moment.
            where: Values that the metadata must have, by key.

        Raises:
            InvalidInputError: A moment is no ``datetime``, or ``where`` no mapping.
        """
        since, until = (None if one is None else from_micros(to_micros(one, "a moment")) for one in (since, until))
        if where is not None and not isinstance(where, Mapping):
            raise InvalidInputError("where is no mapping.", hint="Pass a dict of keys and values of the metadata.")
        wanted = (where or {}).items()
        found = [
            version
            for user in self.users()
            for version in self.list(user.name)
            if (since is None or version.created_at >= since)
            and (until is None or version.created_at < until)
            and all(key in version.metadata and version.metadata[key] == value for key, value in wanted)
        ]
        return sorted(found, key=lambda version: version.created_at, reverse=True)

    def expire(
        self, max_age: timedelta | float = KEPT, *, keep_newest: bool = True, dry_run: bool = False
    ) -> builtins.list[RetainPlan]:
        """Delete sessions that are older. ``store.gc()`` gives their room back.

        Args:
            max_age: What is younger stays; in seconds or as a ``timedelta``.
            keep_newest: Keep the newest of each user however old it is; False lets users go who saved nothing since.
            dry_run: Only say what would go.

        Raises:
            InvalidInputError: ``max_age`` is no time span.
        """
        seconds = check_finite(max_age.total_seconds() if isinstance(max_age, timedelta) else max_age, "max_age")
        if not 0 <= seconds < 1e10:
            raise InvalidInputError(f"max_age is {max_age}, no time span.", hint="Pass seconds or a timedelta.")
        plans = []
        for one in self.users():
            name = _name(one.name)
            if not keep_newest and one.updated_at < datetime.now(UTC) - timedelta(seconds=seconds):
                versions = self._states.log(name)
                if not dry_run:
                    self._states.delete(name)
                gone = tuple(version.id for version in reversed(versions))
                plans.append(RetainPlan(name=name, removed=gone, kept={}, dry_run=dry_run))
            else:
                plans.append(self._states.retain(name, max_age=seconds, dry_run=dry_run))
        return plans


def _name(user: str) -> str:
    return _PREFIX + check_name(user, "The name of a user")
