"""Making vectors: for passages that wait for one, and for all when the store changes its embedder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lamina.errors import EmbedderError
from lamina.memories.context import Context
from lamina.memories.drafts import embed_texts

__all__ = ["reindex_store"]

_BATCH = 512


def reindex_store(context: Context, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Give every passage a vector of the embedder in use; interrupted, it goes on where it stopped.

    Raises:
        EmbedderError: No embedder is in use, or it failed; what was done stays.
    """
    embedder = context.embedder
    if embedder is None:
        raise EmbedderError(
            "There is no embedder to make vectors with.",
            hint="Install one (`pip install wordllama` for the default) or name one with LAMINA_EMBEDDER.",
        )
    context.refresh_identity()
    cleared = 0
    if context.recorded != embedder.name:
        with context.catalog.write("changing the embedder") as writer:
            cleared = writer.clear_vectors()
            writer.set_meta("embedder", embedder.name)
            writer.set_meta("dim", str(embedder.dim))
            writer.announce_all()
        context.refresh_identity()
    with context.catalog.read("counting what waits") as reader:
        total = reader.count_waiting()
    done = after = 0
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
            writer.set_vectors(
                (id, 0.0, b"") if code is None else (id, *code) for (id, _), code in zip(texts, codes, strict=True)
            )
            writer.announce_all()
        done += len(texts)
        if progress is not None:
            progress(done, total)
    with context.catalog.read("counting what waits") as reader:
        waiting = reader.count_waiting()
    return {"embedder": embedder.name, "embedded": done, "cleared": cleared, "waiting": waiting}
