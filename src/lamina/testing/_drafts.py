"""Revisions for tests of a catalog."""

from __future__ import annotations

from typing import Any

from lamina.storage.filters import Filter
from lamina.storage.reader import Reader
from lamina.storage.records import NewPassage, Record
from lamina.storage.writer import Draft, Indexed, Writer

__all__ = ["EVERYTHING", "end", "ids", "make_draft"]

EVERYTHING = Filter(expired=True)


def make_draft(key: str, text: str = "some text", **fields: Any) -> Draft:
    """Return a revision of a memory with one passage over its whole text.

    Args:
        key: The memory's id.
        text: Its text; lower-cased, it is also what the text index holds.
        fields: Fields of ``Record``, and ``codes`` (of its vector) and ``bands``.
    """
    codes = fields.pop("codes", None)
    bands = fields.pop("bands", ())
    fields = {"type": "record", "scope": "private", "created_at": 1_000, "valid_from": 1_000, **fields}
    passage = NewPassage(
        start=0, stop=len(text), tokens=text.lower(), scale=0.5 if codes else None, codes=codes, given=False
    )
    return Draft(Record(id=key, text=text, **fields), [passage], bands=bands)


def ids(reader: Reader, condition: Filter = EVERYTHING) -> list[str]:
    """Return the ids of current revisions, newest first."""
    return [record.id for record in reader.page(condition, None, None)]


def end(writer: Writer, key: str, action: Any, at: int) -> Record:
    """End the current revision of a memory whose single passage was made by :func:`make_draft`."""
    record = writer.current(key)
    assert record is not None
    text = record.text
    entries = {id: Indexed("", text[start:stop].lower()) for id, start, stop, *_ in writer.passages_of(record.seq)}
    writer.end(record, action, at, entries)
    return record
