"""Runs of agents: turns, tool calls, files and outcomes, as they happen or imported from real records."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamina.sessions.api import Sessions
    from lamina.sessions.run import Run

__all__ = ["Run", "Sessions"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # patterns need some of the parts, and not these
        return getattr(import_module(f"lamina.sessions.{'api' if name == 'Sessions' else 'run'}"), name)
    raise AttributeError(f"module 'lamina.sessions' has no attribute {name!r}")
