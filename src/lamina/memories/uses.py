"""Writing the use counts that reading gathered."""

from __future__ import annotations

import time

from lamina.errors import LaminaError
from lamina.memories.context import Context
from lamina.storage.writer import Writer

__all__ = ["flush_if_due", "flush_uses", "write_uses"]

EVERY_SECONDS = 300.0
"""How long a handle that only reads keeps use counts to itself."""


def flush_if_due(context: Context) -> None:
    """Write gathered use counts if the last write was long ago and nobody else is writing."""
    now = time.monotonic()
    if not context.catalog.read_only and now - context.uses_written >= EVERY_SECONDS:
        context.uses_written = now
        flush_uses(context, wait=0.0)


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


def write_uses(context: Context, writer: Writer) -> None:
    """Write the gathered use counts along; where the change is undone they are kept for the next."""
    uses = context.take_uses()
    if uses:
        writer.on_undo(lambda: context.put_back_uses(uses))
        writer.note_uses(uses)
