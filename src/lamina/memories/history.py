"""A memory's revisions, told as changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lamina.storage.records import Record, from_micros
from lamina.types import Change

__all__ = ["changes_of"]

_TOLD = (
    "text",
    "title",
    "description",
    "type",
    "scope",
    "tags",
    "importance",
    "source",
    "thread",
    "position",
    "valid_until",
    "superseded_by",
    "metadata",
    "path",
)


def changes_of(revisions: Sequence[Record]) -> list[Change]:
    """Return the changes that lead from one revision to the next, oldest first."""
    changes = [_added(revisions[0])]
    for before, following in zip(revisions, [*revisions[1:], None], strict=True):
        if before.ended is None:
            continue
        action: Literal["update", "delete", "supersede"] = before.ended
        after, back = (None, following) if action == "delete" else (following, None)  # its file may be there again
        fields = () if after is None else tuple(name for name in _TOLD if getattr(before, name) != getattr(after, name))
        changes.append(
            Change(
                id=before.id,
                action=action,
                at=from_micros(before.valid_to),
                fields=fields,
                before=before.to_memory(),
                after=None if after is None else after.to_memory(),
            )
        )
        if back is not None:
            changes.append(_added(back))
    return changes


def _added(record: Record) -> Change:
    at = from_micros(record.valid_from)
    return Change(id=record.id, action="add", at=at, fields=_filled(record), after=record.to_memory())


def _filled(record: Record) -> tuple[str, ...]:
    return tuple(name for name in _TOLD if getattr(record, name) not in (None, (), {}, ""))
