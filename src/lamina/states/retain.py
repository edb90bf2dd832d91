"""Which versions may go: neither the newest, nor a tagged one, nor one that someone reads.

What was let go is collected by and by, so that who keeps the last few versions keeps the store within a bound: by at
most half of what is needed, or 16 MB, before it is collected again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from lamina.errors import InvalidInputError, ReadOnlyError
from lamina.states.collect import collect_by_and_by
from lamina.states.context import StatesContext
from lamina.states.room import due
from lamina.states.rows import find_version, line_of, names_of, state_named
from lamina.states.types import RetainPlan
from lamina.storage.records import now_micros

__all__ = ["retain"]


def retain(
    context: StatesContext, name: str, *, keep_last: Any, max_age: Any, branch: str | None, dry_run: bool
) -> RetainPlan:
    """Delete old versions; see :meth:`lamina.States.retain`."""
    horizon = _horizon(keep_last, max_age)
    if dry_run:
        with context.catalog.read("planning what to retain") as reader:
            return _plan(context, reader.db, name, keep_last=keep_last, horizon=horizon, branch=branch, dry_run=True)
    if context.catalog.read_only:
        raise ReadOnlyError("The store is open for reading only.", hint="Open it without read_only=True.")
    with context.catalog.write("retaining versions") as writer:
        plan = _plan(context, writer.db, name, keep_last=keep_last, horizon=horizon, branch=branch, dry_run=False)
        ids = [(bytes.fromhex(id),) for id in plan.removed]
        writer.db.executemany("UPDATE state_version SET gone = 1 WHERE id = ?", ids)
        full = bool(ids) and due(writer.db)
    if full:
        collect_by_and_by(context)
    return plan


def _horizon(keep_last: Any, max_age: Any) -> int | None:
    if keep_last is None and max_age is None:
        raise InvalidInputError("Nothing says what to keep.", hint="Pass keep_last= or max_age=.")
    if keep_last is not None and (isinstance(keep_last, bool) or not isinstance(keep_last, int) or keep_last < 1):
        raise InvalidInputError(f"keep_last = {keep_last!r} is not a whole number from 1.", hint="Keep at least one.")
    if max_age is None:
        return None
    seconds = max_age.total_seconds() if isinstance(max_age, timedelta) else max_age
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < 1e12:
        raise InvalidInputError(f"max_age = {max_age!r} is no time span.", hint="Pass seconds or a timedelta.")
    return now_micros() - int(seconds * 1_000_000)


def _plan(
    context: StatesContext,
    db: Any,
    name: str,
    *,
    keep_last: int | None,
    horizon: int | None,
    branch: str | None,
    dry_run: bool,
) -> RetainPlan:
    state = state_named(db, name)
    names = names_of(db, state)
    leased = context.leased()
    rows = db.execute(
        "SELECT seq, id, created_at FROM state_version WHERE state = ? AND gone = 0 ORDER BY seq DESC", (state,)
    ).fetchall()
    line = None
    if branch is not None:
        line = {id for _, id, _ in line_of(db, state, find_version(db, state, name, branch))}
    removed, kept, place = [], {}, 0
    for number, (seq, id, created) in enumerate(rows):
        if line is not None and id not in line:
            kept[id.hex()] = "of another branch"
            continue
        branches, tags = names.get(seq, ([], []))
        if number == 0 or place == 0:
            kept[id.hex()] = "the newest"
        elif branches:
            kept[id.hex()] = f"the newest of branch {branches[0]}"
        elif tags:
            kept[id.hex()] = f"tagged {tags[0]}"
        elif id in leased:
            kept[id.hex()] = "being read"
        elif keep_last is not None and place < keep_last:
            kept[id.hex()] = f"one of the last {keep_last}"
        elif horizon is not None and created > horizon:
            kept[id.hex()] = "young enough"
        else:
            removed.append(id.hex())
        place += 1
    return RetainPlan(name=name, removed=tuple(reversed(removed)), kept=kept, dry_run=dry_run)
