"""Near-duplicates of a memory among the current ones."""

from __future__ import annotations

from collections.abc import Sequence

from lamina.memories.context import Context
from lamina.memories.drafts import bands_of
from lamina.search.duplicates import THRESHOLD, resemblance
from lamina.search.tokens import tokens
from lamina.storage.reader import Reader
from lamina.storage.records import Record

__all__ = ["find_similar", "similar_to"]

_MOST_COMPARED = 20_000
"""Characters of a text that near-duplicates are confirmed by."""
_MOST_CANDIDATES = 20


def find_similar(context: Context, id: str) -> tuple[str, ...]:
    """Return the ids of a memory's near-duplicates."""
    with context.catalog.read("finding near-duplicates") as reader:
        record = context.current(reader, id)
        return similar_to(context, reader, record, bands_of(record, reader.passages_of(record.seq)))


def similar_to(context: Context, reader: Reader, record: Record, bands: Sequence[int]) -> tuple[str, ...]:
    """Return the ids of a revision's near-duplicates, the likest first, given its bands."""
    found: list[tuple[float, str]] = []
    words = tokens(record.text[:_MOST_COMPARED])
    condition = context.condition(reader)
    for other in reader.records(reader.near(bands, _MOST_CANDIDATES), condition).values():
        if other.id == record.id:
            continue
        likeness = 1.0 if other.text == record.text else resemblance(words, tokens(other.text[:_MOST_COMPARED]))
        if likeness >= THRESHOLD:
            found.append((likeness, other.id))
    return tuple(id for _, id in sorted(found, reverse=True))
