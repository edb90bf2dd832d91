"""One change of a memory, prepared before the write lock is taken and then written in a transaction.

Tokens and vectors are made beforehand, so that a slow embedder keeps nobody waiting; whether the change may still be
made is decided inside the transaction, by what is there then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lamina.memories.context import Context
from lamina.memories.drafts import Prepared, bands_of, embed, indexed, prepare_record, record_identity
from lamina.storage.reader import Reader, StoredPassage
from lamina.storage.records import Action, Record, now_micros
from lamina.storage.writer import Indexed, Writer

__all__ = ["Planned", "plan", "plan_end", "plan_new", "vectorise", "write_planned"]


@dataclass(slots=True)
class Planned:
    """A change that is ready to be written."""

    before: Record | None
    """The revision that it ends; None for a memory that is not there."""
    prepared: Prepared | None
    """The revision that it begins; None where the memory is deleted."""
    action: Action = "update"
    ready: bool = False
    """Whether the new revision has its vectors."""
    entries: dict[int, Indexed] = field(default_factory=dict)
    bands: Sequence[int] = ()
    passages: int = 0
    vectors: int = 0


def plan_new(context: Context, record: Record, vector: Any = None) -> Planned:
    """Prepare a memory that is not there yet, or not any more."""
    return Planned(None, prepare_record(context, record, vector=vector))


def plan(
    context: Context, reader: Reader, before: Record, after: Record, *, action: Action = "update", vector: Any = None
) -> Planned:
    """Prepare the change from one revision to the next; the vectors of an unchanged text are taken over."""
    planned = plan_end(reader, before, action)
    planned.ready = False
    held = reader.passages_of(before.seq)
    prepared = planned.prepared = prepare_record(context, after, vector=vector)
    spans = [(passage.start, passage.stop) for passage in prepared.draft.passages]
    if vector is None and before.text == after.text and spans == [row[1:3] for row in held]:
        prepared.draft.bands = bands_of(after, held)
        for passage, (_, _, _, scale, codes, given) in zip(prepared.draft.passages, held, strict=True):
            passage.scale, passage.codes, passage.given = scale, codes, bool(given)
        planned.ready = True
    return planned


def plan_end(reader: Reader, before: Record, action: Action = "delete") -> Planned:
    """Prepare the end of a memory, or the end of a revision that :func:`plan` gives a successor."""
    held = reader.passages_of(before.seq)
    return Planned(
        before,
        None,
        action,
        ready=True,
        entries=_entries(before, held),
        bands=bands_of(before, held),
        passages=len(held),
        vectors=sum(bool(row[4]) for row in held),
    )


def vectorise(context: Context, changes: Sequence[Planned]) -> None:
    """Give the new revisions of several changes their vectors, in one batch.

    Raises:
        EmbedderError: The embedder failed; nothing was written.
    """
    waiting = [change for change in changes if change.prepared is not None and not change.ready]
    embed(context, [change.prepared for change in waiting if change.prepared is not None])
    for change in waiting:
        change.ready = True


def write_planned(context: Context, writer: Writer, change: Planned) -> bool:
    """Write a change; return False, and write nothing, where someone else changed the memory meanwhile."""
    before, prepared = change.before, change.prepared
    if before is None:
        assert prepared is not None
        record = prepared.record
        if writer.current(record.id) is not None:
            return False
        earlier = writer.revisions(record.id)
        if earlier:  # it was deleted, and is back
            record.revision = earlier[-1].revision + 1
            record.valid_from = max(record.valid_from, earlier[-1].valid_to)
    else:
        now = writer.current(before.id)
        if now is None or now.seq != before.seq:
            return False
        at = max(now_micros(), before.valid_from)
        if prepared is not None:
            after = prepared.record
            after.revision = before.revision + 1
            at = after.valid_from = max(after.valid_from, before.valid_from)
        writer.remove_bands(before.seq, change.bands)
        writer.end(before, change.action, at, change.entries)
    if prepared is not None:
        record_identity(context, writer, [prepared])
        writer.insert([prepared.draft])
    return True


def _entries(record: Record, held: Sequence[StoredPassage]) -> dict[int, Indexed]:
    give = indexed(record)
    return {id: give(start, stop) for id, start, stop, *_ in held}
