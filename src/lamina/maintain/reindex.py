"""Making vectors: for passages that wait for one, and for all when the store changes its embedder."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from lamina.embed import Embedder
from lamina.errors import ConflictError, EmbedderError, LaminaError
from lamina.memories.context import Context
from lamina.memories.drafts import embed_texts
from lamina.storage.writer import Writer

__all__ = ["reindex_store"]

_BATCH = 512
_ANNOUNCE_EVERY = 5.0
"""Seconds between two notes to other processes, each of which makes them load all vectors anew."""


def reindex_store(
    context: Context, progress: Callable[[int, int], None] | None = None, *, replace_given: bool = False
) -> dict[str, Any]:
    """Give every passage a vector of the embedder in use; interrupted, it goes on where it stopped.

    Args:
        context: Of the store.
        progress: Called with the number done and the number there is to do.
        replace_given: Also embed the texts of memories that came with a vector of their own, and forget that one.

    Raises:
        EmbedderError: No embedder is in use, or it failed; what was done stays.
        ConflictError: Memories carry vectors of their own, which another embedder cannot make, and ``replace_given`` is
            False; or another process changed the store's embedder meanwhile.
    """
    embedder = context.embedder
    if embedder is None:
        raise EmbedderError(
            "There is no embedder to make vectors with.",
            hint="Install one (`pip install wordllama` for the default) or name one with LAMINA_EMBEDDER.",
        )
    cleared, replaced = _settle(context, embedder, replace_given=replace_given)
    with context.catalog.read("counting what waits") as reader:
        total = reader.count_waiting()
    notes = _Notes(pending=bool(cleared or replaced))
    done = after = 0
    try:
        while True:
            with context.catalog.read("reading what waits") as reader:
                rows = reader.waiting(after, _BATCH)
                records = reader.records({memory for _, memory, _, _ in rows})
            if not rows:
                break
            after = rows[-1][0]
            texts = [(id, records[memory].text[start:stop]) for id, memory, start, stop in rows if memory in records]
            codes = embed_texts(embedder, [text for _, text in texts], context.settings.profile)
            with context.catalog.write("writing vectors") as writer:
                _check_embedder(writer, embedder)
                writer.set_vectors(
                    (id, 0.0, b"") if code is None else (id, *code) for (id, _), code in zip(texts, codes, strict=True)
                )
                notes.written(writer, last=len(rows) < _BATCH)
            done += len(texts)
            if progress is not None:
                progress(done, total)
    except BaseException:
        with contextlib.suppress(LaminaError):
            notes.finish(context)
        raise
    notes.finish(context)
    with context.catalog.read("counting what waits") as reader:
        waiting = reader.count_waiting()
    report = {"embedder": embedder.name, "embedded": done, "cleared": cleared, "waiting": waiting}
    return {**report, "replaced": replaced} if replace_given else report


def _settle(context: Context, embedder: Embedder, *, replace_given: bool) -> tuple[int, int]:
    """Record the embedder where it is another one; return how many vectors were cleared, and how many of those given.

    Raises:
        ConflictError: Memories carry vectors of their own.
    """
    context.refresh_identity()
    if (context.recorded, context.recorded_dim) == (embedder.name, embedder.dim) and not replace_given:
        return 0, 0
    cleared = replaced = 0
    with context.catalog.write("changing the embedder") as writer:
        if replace_given:
            replaced = writer.count_given()
            writer.release_given()
        if writer.meta("embedder") != embedder.name:
            given = writer.count_given()
            if given:
                raise ConflictError(
                    f"{given:,} memories carry vectors of their own, which {embedder.name} cannot make.",
                    hint="Replace them by vectors of the texts with reindex(replace_given=True), or keep the store's "
                    "embedder.",
                    given=given,
                )
            cleared = writer.clear_vectors()
            writer.set_meta("embedder", embedder.name)
        writer.set_meta("dim", str(embedder.dim))  # also where a damage took it
        if cleared or replaced:
            writer.announce_all()
    context.refresh_identity()
    return cleared, replaced


def _check_embedder(writer: Writer, embedder: Embedder) -> None:
    """Raise where the store's vectors come from another embedder by now: two of them cannot be compared.

    Raises:
        ConflictError: They do.
    """
    recorded = writer.meta("embedder")
    if recorded != embedder.name:
        raise ConflictError(
            f"Another process changed the store's embedder to {recorded} while this one made vectors of "
            f"{embedder.name}.",
            hint="Decide on one of them, then reindex with that.",
            recorded=recorded,
        )


class _Notes:
    """Tells other processes of new vectors: now and then, and always at the end.

    Args:
        pending: Whether there is something to tell already.
    """

    def __init__(self, *, pending: bool) -> None:
        self._told = time.monotonic()
        self._pending = pending

    def written(self, writer: Writer, *, last: bool) -> None:
        """Vectors were written in this transaction; with the last ones the note is part of it."""
        self._pending = True
        if last or time.monotonic() - self._told >= _ANNOUNCE_EVERY:
            writer.announce_all()
            self._told, self._pending = time.monotonic(), False

    def finish(self, context: Context) -> None:
        """Tell what was not told yet."""
        if self._pending:
            with context.catalog.write("telling of new vectors") as writer:
                writer.announce_all()
            self._pending = False
