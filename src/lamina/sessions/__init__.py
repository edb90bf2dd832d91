"""Runs of agents: turns, tool calls, files and outcomes, as they happen or imported from real records."""

from __future__ import annotations

from lamina.sessions.api import Sessions
from lamina.sessions.run import Run

__all__ = ["Run", "Sessions"]
