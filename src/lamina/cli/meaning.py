"""Which memory a person means on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from lamina.store import Store

__all__ = ["meant"]


def meant(store: Store, reference: str) -> str:
    """Return the id of the memory that is meant by an id, the beginning of one, a file or a title.

    What means nothing is returned as it is, so that the caller says what it looked for; it may be the id of a memory
    that was deleted.

    Raises:
        ConflictError: Several memories are meant.
    """
    try:
        return store.memories.find(reference).id
    except (NotFoundError, InvalidInputError):
        return reference
