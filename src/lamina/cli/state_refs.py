"""Refs as they are typed: a version's names and ids, and times in the words that the whole shell knows."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from lamina.cli.params import When
from lamina.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from lamina.store import Store

__all__ = ["REFS", "typed_ref"]

REFS: Final = "Branch, tag, the first digits of an id, or a time: 2026-03-01T09:30, 7d (ago), yesterday."
_ID = re.compile(r"[0-9a-f]{6,}", re.IGNORECASE)


def typed_ref(store: Store, name: str, ref: str) -> Any:
    """Return a ref as the store takes it: a time, where that is what was typed and no branch, tag or id is called so.

    Args:
        store: It is asked only where the text can be read as a time.
        name: Of the state.
        ref: What was typed; a time without a zone is local.
    """
    moment = None if _ID.fullmatch(ref) else _moment(ref)
    if moment is None:
        return ref
    try:
        store.states.log(name, ref, limit=1)
    except (NotFoundError, InvalidInputError):
        return moment
    return ref


def _moment(text: str) -> datetime | None:
    from lamina.states.times import to_end

    try:
        return to_end(text, When("end").convert(text, None, None))
    except (click.UsageError, OverflowError):
        return None
