"""A handle to a session that is under way."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from lamina.sessions.api import Sessions
    from lamina.sessions.values import Session, SessionOutcome

__all__ = ["Run"]


class Run:
    """A session under way; made by ``store.sessions.start``.

    As a ``with`` block it ends the session: with the outcome that was said in it, as a failure where the block raised,
    else without one.
    """

    def __init__(self, sessions: Sessions, id: str) -> None:
        self._sessions = sessions
        self.id = id
        """The session's id."""
        self._ended = False

    def turn(self, role: str, text: str, **options: Any) -> int:
        """Add something that was said; see :meth:`Sessions.turn`."""
        return self._sessions.turn(self.id, role, text, **options)

    def call(self, tool: str, **options: Any) -> int:
        """Add a tool call; see :meth:`Sessions.call`."""
        return self._sessions.call(self.id, tool, **options)

    def end(self, *, outcome: SessionOutcome | None = None, quality: float | None = None, **options: Any) -> Session:
        """End the session; see :meth:`Sessions.end`."""
        self._ended = True
        return self._sessions.end(self.id, outcome=outcome, quality=quality, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ended:
            self.end(outcome=None if kind is None else "failure")

    def __repr__(self) -> str:
        return f"<lamina.Run {self.id!r}>"


Run.__module__ = "lamina"  # tracebacks show the public path
