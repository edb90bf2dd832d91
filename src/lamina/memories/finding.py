"""The memory that a person means: an id or the beginning of one, a file, or a title."""

from __future__ import annotations

from collections.abc import Callable

from lamina.errors import ConflictError, InvalidInputError, NotFoundError
from lamina.folder.names import slug
from lamina.guard.paths import safe_relative
from lamina.memories.context import Context
from lamina.storage.reader import Reader
from lamina.storage.records import Record
from lamina.types import Memory

__all__ = ["find"]

_SHORTEST = 4
"""Characters of an id's beginning from which it may stand for the id."""
_MOST_NAMED = 5


def find(context: Context, reference: object) -> Memory:
    """Return the memory that a reference means: exactly an id or path, else what it begins or names.

    Raises:
        NotFoundError: Nothing fits.
        ConflictError: Several do.
        InvalidInputError: It is no text, or a path that leads outside the store.
    """
    if not isinstance(reference, str) or not _is_text(reference):
        raise InvalidInputError(f"{reference!a} names no memory.", hint="Name an id, a file or a title.")
    with context.catalog.read("looking for a memory") as reader:
        record = reader.current(reference)
        if record is not None and context.allows(record.scope):
            return record.to_memory()
        found = _meant(context, reader, reference)
        if not found:
            wanted = reference.strip().removeprefix("./")
            if "/" in wanted or wanted.lower().endswith(".md"):
                wanted = safe_relative(wanted)
            found = _meant(context, reader, wanted)
    if not found:
        raise NotFoundError(
            f"No memory is meant by {reference!r}.",
            hint="Name an id, a file or a title; `lamina list` shows them.",
            reference=reference,
        )
    if len(found) > 1:
        named = ", ".join(f"{record.id} ({record.path or record.title or 'a row'})" for record in found[:_MOST_NAMED])
        raise ConflictError(
            f"{len(found)} memories are meant by {reference!r}: {named}{' …' if len(found) > _MOST_NAMED else ''}.",
            hint="Name one of them by its id.",
            ids=[record.id for record in found],
        )
    return found[0].to_memory()


def _is_text(reference: str) -> bool:
    try:
        reference.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return bool(reference.strip()) and "\0" not in reference


def _meant(context: Context, reader: Reader, wanted: str) -> list[Record]:
    """Return the memories that this handle may see and a reference may mean, by the first rule that finds any."""
    name = wanted if wanted.lower().endswith(".md") else f"{wanted}.md"
    seen = context.condition(reader, expired=True).sql()
    files = reader.db.execute(
        f"SELECT m.seq, m.path, m.title FROM memory m WHERE m.path IS NOT NULL AND {seen.text}", seen.bindings
    ).fetchall()
    by_path: tuple[Callable[[str], bool], ...] = (
        lambda path: path in (wanted, name),
        lambda path: path.rsplit("/", 1)[-1] in (wanted, name),
        lambda path: path.casefold().rsplit("/", 1)[-1] == name.casefold(),
    )
    for fits in by_path:
        if seqs := [seq for seq, path, _ in files if fits(path)]:
            return list(reader.records(seqs).values())
    if len(wanted) >= _SHORTEST and wanted.isascii() and wanted.isalnum():
        begins = wanted.lower()
        found = reader.db.execute(
            f"SELECT m.seq FROM memory m WHERE m.id >= ? AND m.id < ? AND {seen.text} LIMIT 20",
            (begins, begins[:-1] + chr(ord(begins[-1]) + 1), *seen.bindings),
        ).fetchall()
        if found:
            return list(reader.records(seq for (seq,) in found).values())
    titled = reader.db.execute(
        f"SELECT m.seq FROM memory m WHERE m.title = ? AND {seen.text}", (wanted, *seen.bindings)
    )
    seqs = [seq for (seq,) in titled] or [seq for seq, _, title in files if title and slug(title) == slug(wanted)]
    return list(reader.records(seqs).values())
