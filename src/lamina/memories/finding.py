"""The memory that a person means: an id or the beginning of one, a file, or a title."""

from __future__ import annotations

from lamina.errors import ConflictError, NotFoundError
from lamina.folder.names import slug
from lamina.guard.paths import safe_relative
from lamina.memories.context import Context
from lamina.storage.reader import Reader
from lamina.types import Memory

__all__ = ["find"]

_SHORTEST = 4
"""Characters of an id's beginning from which it may stand for the id."""
_MOST_NAMED = 5


def find(context: Context, reference: str) -> Memory:
    """Return the memory that a reference means: exactly an id or path, else what it begins or names.

    Raises:
        NotFoundError: Nothing fits.
        ConflictError: Several do.
        InvalidInputError: It is a path that leads outside the store.
    """
    wanted = reference.strip().removeprefix("./")
    with context.catalog.read("looking for a memory") as reader:
        record = reader.current(wanted)
        if record is not None and context.allows(record.scope):
            return record.to_memory()
        if "/" in wanted or wanted.lower().endswith(".md"):
            wanted = safe_relative(wanted)
        seqs = _candidates(reader, wanted)
        found = [record for record in reader.records(seqs).values() if context.allows(record.scope)]
    if not found:
        raise NotFoundError(
            f"No memory is meant by {reference!r}.",
            hint="Name an id, a file or a title; `lamina list` shows them.",
            reference=reference,
        )
    exact = [record for record in found if wanted in (record.path, record.title)]
    found = exact if len(exact) == 1 else found
    if len(found) > 1:
        named = ", ".join(f"{record.id} ({record.path or record.title or 'a row'})" for record in found[:_MOST_NAMED])
        raise ConflictError(
            f"{len(found)} memories are meant by {reference!r}: {named}{' …' if len(found) > _MOST_NAMED else ''}.",
            hint="Name one of them by its id.",
            ids=[record.id for record in found],
        )
    return found[0].to_memory()


def _candidates(reader: Reader, wanted: str) -> list[int]:
    """Return the revisions that a reference may mean, by the first rule that finds any."""
    name = wanted if wanted.lower().endswith(".md") else f"{wanted}.md"
    files = "SELECT seq, path FROM memory WHERE path IS NOT NULL AND valid_to = 0"
    paths = [(seq, path) for seq, path in reader.db.execute(files)]
    for fits in (
        lambda path: path in (wanted, name),
        lambda path: path.rsplit("/", 1)[-1] == name,
        lambda path: path.casefold().rsplit("/", 1)[-1] == name.casefold(),
    ):
        if seqs := [seq for seq, path in paths if fits(path)]:
            return seqs
    if len(wanted) >= _SHORTEST and wanted.isascii() and wanted.isalnum():
        upper = wanted[:-1] + chr(ord(wanted[-1]) + 1)
        rows = reader.db.execute(
            "SELECT seq FROM memory WHERE valid_to = 0 AND id >= ? AND id < ? LIMIT 20", (wanted.lower(), upper.lower())
        )
        if seqs := [seq for (seq,) in rows]:
            return seqs
    titles = reader.db.execute("SELECT seq, title FROM memory WHERE title IS NOT NULL AND valid_to = 0").fetchall()
    exact = [seq for seq, title in titles if title == wanted]
    return exact or [seq for seq, title in titles if slug(title) == slug(wanted)]
