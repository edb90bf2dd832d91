"""Saved sessions by user: one state a user, one version a save, what is older than a month goes."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lamina.errors import NotFoundError
from lamina.states.checks import check_name
from lamina.states.types import RetainPlan, StateInfo, Version

if TYPE_CHECKING:
    from lamina.states.api import States
    from lamina.states.state import State

__all__ = ["KEPT", "SavedSessions"]

KEPT = timedelta(days=30)
"""How long a saved session is kept; the newest of a user stays however old it is."""
_PREFIX = "sessions/"


class SavedSessions:
    """Sessions saved by user. Made by :meth:`lamina.States.sessions`.

    A user's name is the name of a state and never a path, so it may hold any characters that a name may.
    """

    def __init__(self, states: States) -> None:
        self._states = states

    def save(self, user: str, arrays: Mapping[str, Any], *, metadata: Mapping[str, Any] | None = None) -> Version:
        """Save a user's session, durable when this returns; nothing is written twice.

        Args:
            user: Whose.
            arrays: As in :meth:`lamina.States.commit`.
            metadata: JSON values, such as diffusion settings.
        """
        version = self._states.commit(_name(user), arrays, metadata=metadata, creator=user, message="session")
        assert isinstance(version, Version)
        return version

    def load(self, user: str, ref: Any = "main") -> State:
        """Open a user's session: the newest, or the one that a ref or a ``datetime`` names.

        Raises:
            NotFoundError: The user has none.
        """
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

    def expire(self, max_age: timedelta = KEPT, *, dry_run: bool = False) -> builtins.list[RetainPlan]:
        """Delete sessions that are older; the newest of each user stays. ``store.gc()`` gives their room back."""
        return [self._states.retain(_name(one.name), max_age=max_age, dry_run=dry_run) for one in self.users()]


def _name(user: str) -> str:
    return _PREFIX + check_name(user, "The name of a user")
