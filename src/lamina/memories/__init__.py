"""What an agent knows: adding, changing, finding and forgetting memories."""

from __future__ import annotations

from lamina.memories.api import Memories

__all__ = ["Memories"]

Memories.__module__ = "lamina"  # tracebacks show the public path
