"""Writing the use counts that reading gathered."""

from __future__ import annotations

from lamina.errors import LaminaError
from lamina.memories.context import Context

__all__ = ["flush_uses"]


def flush_uses(context: Context, *, wait: float) -> None:
    """Write gathered use counts where the writer's lock is free within ``wait`` seconds; else keep them."""
    uses = context.take_uses()
    if not uses:
        return
    try:
        with context.catalog.write("writing use counts", wait=wait) as writer:
            writer.note_uses(uses)
    except LaminaError:
        context.put_back_uses(uses)
