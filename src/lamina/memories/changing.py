"""Changing and forgetting memories, and saying what came of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lamina.config import damaged_copies
from lamina.errors import ConflictError, InvalidInputError, LaminaError, NotFoundError, ReadOnlyError
from lamina.memories.adoption import is_filed
from lamina.memories.checks import check_id
from lamina.memories.context import Context
from lamina.memories.drafts import FIELDS, bands_of, checked_fields
from lamina.memories.filing import check_shareable
from lamina.memories.folder import TEAM
from lamina.memories.refiling import change_filed
from lamina.memories.revisions import plan, plan_end, vectorise, write_planned
from lamina.memories.scrubbing import scrub_leftovers
from lamina.memories.unfiling import delete_filed
from lamina.memories.uses import write_uses
from lamina.search.vectors import check_vector
from lamina.storage.reader import Reader
from lamina.storage.records import Action, Record, now_micros
from lamina.types import Deletion, Memory, Outcome

__all__ = ["delete", "feedback", "supersede", "update"]

_CHANGEABLE = tuple(name for name in FIELDS if name != "created_at")
_TRIES = 5
"""Attempts at a change that others keep overtaking."""


def update(context: Context, id: str, changes: Mapping[str, Any]) -> Memory:
    """Change a memory's fields; the state before becomes history."""
    changes = dict(changes)
    freed: dict[str, Any] = {}
    if "superseded_by" in changes:
        if changes.pop("superseded_by") is not None:
            raise InvalidInputError("superseded_by can only be taken away here.", hint="Use supersede(old, new).")
        freed["superseded_by"] = None
    given = checked_fields(changes, allowed=_CHANGEABLE) | freed
    vector = given.pop("vector", None)
    if not given and vector is None:
        raise InvalidInputError("update was given nothing to change.", hint=f"Fields are {', '.join(_CHANGEABLE)}.")
    if "text" in given and given["text"] is None:
        raise InvalidInputError("text cannot be taken away.", hint="Use delete to forget the memory.")
    if "scope" in given:
        context.check_writes_to(given["scope"])
    if vector is not None:
        vector = check_vector(vector, context.dim or None)
    return _revise(context, id, "update", lambda _reader, before: replace(before, **given), vector=vector)


def supersede(context: Context, old_id: str, new_id: str) -> Memory:
    """Mark a memory as replaced by another: from now on it is not recalled, and ``as_of`` before still finds it."""
    if old_id == new_id:
        raise InvalidInputError("A memory cannot supersede itself.", hint="Name two memories.")

    def changed(reader: Reader, old: Record) -> Record:
        new = context.current(reader, new_id)
        if old.superseded_by not in (None, new.id):
            raise ConflictError(
                f"{old.id} is already superseded by {old.superseded_by}.", hint="Supersede that one instead.", id=old.id
            )
        follower: Record | None = new
        while follower is not None and follower.superseded_by is not None:
            if follower.superseded_by == old.id:
                raise ConflictError(f"{new.id} is itself superseded by {old.id}.", hint="Name the newer memory second.")
            follower = reader.current(follower.superseded_by)
        return replace(old, superseded_by=new.id)

    return _revise(context, old_id, "supersede", changed)


def delete(context: Context, id: str, *, purge: bool) -> Deletion:
    """Forget a memory: out of sight at once, or with ``purge`` out of every place."""
    check_id(id)
    context.check_enabled()
    return _purge(context, id) if purge else _delete(context, id)


def feedback(context: Context, id: str, outcome: Outcome) -> Memory:
    """Count what came of using a memory."""
    if outcome not in ("helped", "hurt", "used"):
        raise InvalidInputError(f"{outcome!r} is no outcome.", hint="Use 'helped', 'hurt' or 'used'.")
    context.check_enabled()
    with context.catalog.write("noting feedback") as writer:
        record = context.current(writer, id)
        write_uses(context, writer)
        writer.note_outcome(record.id, helped=outcome == "helped", hurt=outcome == "hurt", at=now_micros())
        after = writer.current(id)
    assert after is not None
    return after.to_memory()


def _revise(
    context: Context, id: str, action: Action, changed: Callable[[Reader, Record], Record], *, vector: Any = None
) -> Memory:
    """End a row's revision and make its successor current; where others changed it meanwhile all is done again."""
    context.check_enabled()
    for _ in range(_TRIES):
        with context.catalog.read("reading what is to change") as reader:
            before = context.current(reader, id)
            after = changed(reader, before)
            if after == before and vector is None:
                return before.to_memory()
            if before.path or is_filed(after.scope, after.type):
                break
            if after.scope == TEAM:
                check_shareable(after)
            after.valid_from = max(now_micros(), before.valid_from)
            change = plan(context, reader, before, after, action=action, vector=vector)
        vectorise(context, [change])
        with context.catalog.write(f"writing an {action}" if action == "update" else f"writing a {action}") as writer:
            now = context.current(writer, id)
            if now.seq != before.seq:
                continue
            changed(writer, now)  # whether it may be done is decided by what is there now
            write_planned(context, writer, change)
            write_uses(context, writer)
            return context.current(writer, id).to_memory()
    else:
        raise ConflictError(f"Others keep changing memory {id}.", hint="Read it again and repeat the change.", id=id)
    record, notices = change_filed(context, id, action, changed, vector=vector)
    with context.catalog.read("reading what was changed") as reader:
        return (reader.current(id) or record).to_memory(notices=notices)


def _delete(context: Context, id: str) -> Deletion:
    for _ in range(_TRIES):
        with context.catalog.read("reading what is to go") as reader:
            record = context.current(reader, id)
            change = plan_end(reader, record)
        if record.path:
            return delete_filed(context, id)
        with context.catalog.write("deleting a memory") as writer:
            context.current(writer, id)
            if not write_planned(context, writer, change):
                continue
            write_uses(context, writer)
        removed = {"row": 1, "text": change.passages, "vector": change.vectors}
        kept = ("history: its past texts; purge=True scrubs them too",)
        return Deletion(id=id, purged=False, removed=removed, kept=kept)
    raise ConflictError(f"Others keep changing memory {id}.", hint="Repeat the call.", id=id)


def _purge(context: Context, id: str) -> Deletion:
    kept = ["backups and exports that were made before: delete those yourself"]
    with context.catalog.read("reading what is to go") as reader:
        revisions = _purgeable(context, reader, id)
        texts = [
            record.text[start:stop] for record in revisions for _, start, stop, *_ in reader.passages_of(record.seq)
        ]
    cached = 0
    if context.forget_cached is not None:
        # First, while the texts are still known: a cache that another process keeps busy can then be tried again.
        cached = context.forget_cached(texts)
    removed_files = 0
    filed = any(record.valid_to == 0 and record.path for record in revisions)
    if filed:
        removed_files = delete_filed(context, id).removed["file"]
    if any(record.path for record in revisions):
        kept += scrub_leftovers(context, id, revisions)
        kept.append(
            "what git, an editor's backup or another program keeps of its file, and prose that people wrote about it: "
            "see to that yourself"
        )
    with context.catalog.write("purging a memory") as writer:
        revisions = _purgeable(context, writer, id)
        for record in revisions:
            if record.valid_to == 0:
                writer.remove_bands(record.seq, bands_of(record, writer.passages_of(record.seq)))
        seqs = [record.seq for record in revisions]
        traces = writer.traces(seqs)
        removed = writer.purge(seqs)
        writer.forget_uses(id)
        writer.scrub_text()
        writer.retire_dictionaries(seqs)
        write_uses(context, writer)
    removed["cache"] = cached
    if filed:
        removed |= {"row": removed["row"] + 1, "history": removed["history"] - 1, "file": removed_files}
    kept = [*_remains(context, traces), *kept]
    damaged = damaged_copies(context.catalog.path.parent)
    if damaged:
        names = ", ".join(path.name for path in damaged)
        kept.append(f"{names} in .lamina, put aside by repair: delete those yourself")
    return Deletion(id=id, purged=True, removed=removed, kept=tuple(kept))


def _remains(context: Context, traces: Sequence[bytes]) -> list[str]:
    """Empty the log and clear stale copies from unused room; return what could not be cleared, and what to do.

    The purge is committed whatever becomes of this, so a full disk or a busy reader is told here and not raised.
    """
    pool = context.catalog.pool
    cleared = emptied = False
    with contextlib.suppress(LaminaError):
        emptied = pool.checkpoint(truncate=True)
        cleared = not pool.holds_any(traces)
        if not cleared:
            pool.vacuum(-1)
            emptied = pool.checkpoint(truncate=True)
            cleared = not pool.holds_any(traces)
    kept = []
    if not emptied:
        kept.append("the write-ahead log, until other processes let it be emptied: run `lamina optimize` later")
    if not cleared:
        kept.append("unused room in the catalog, or another memory that says the same: run `lamina optimize` later")
    return kept


def _purgeable(context: Context, reader: Reader, id: str) -> list[Record]:
    revisions = reader.revisions(id)
    seen = [record for record in revisions if context.allows(record.scope)]
    if not seen:
        raise NotFoundError(f"There is no memory {id}, and no history of one.", hint="See `lamina list`.", id=id)
    if len(seen) < len(revisions):
        raise ReadOnlyError(
            f"Memory {id} was also in a scope that this handle may not see, so it may not purge it.",
            hint="Open the store without scopes=, or for all of its scopes.",
            id=id,
        )
    return revisions
