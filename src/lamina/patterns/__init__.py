"""What worked: sequences of steps with their outcomes, learned from sessions or recorded, and queried by index."""

from __future__ import annotations

from lamina.patterns.api import Patterns

__all__ = ["Patterns"]

Patterns.__module__ = "lamina"  # tracebacks show the public path
