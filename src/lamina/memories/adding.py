"""Adding memories: one, or many in batches. What is acknowledged is durable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from lamina.errors import InvalidInputError, LaminaError
from lamina.memories.adoption import is_filed
from lamina.memories.context import Context
from lamina.memories.drafts import Prepared, embed, prepare, record_identity
from lamina.memories.filing import check_shareable, notices_of, render_file, write_files
from lamina.memories.similar import similar_to
from lamina.memories.uses import write_uses
from lamina.search.vectors import check_vector
from lamina.storage.filters import Filter
from lamina.storage.writer import Writer
from lamina.types import Memory

__all__ = ["add", "add_many"]

BATCH_ITEMS = 1000
BATCH_CHARS = 4_000_000
"""Bounds of one transaction of ``add_many``, which bound its memory too."""
DICTIONARY_FROM = 5_000
"""Memories from which a compression dictionary pays for its 64 KB."""


def add(context: Context, values: Mapping[str, Any]) -> Memory:
    """Add one memory and tell its near-duplicates."""
    prepared = _ready(context, values)
    embed(context, [prepared])
    with context.catalog.read("looking for near-duplicates") as reader:
        similar = similar_to(context, reader, prepared.record, prepared.draft.bands)
    notices = _write(context, [prepared], "adding a memory")
    return prepared.record.to_memory(similar, notices)


def add_many(
    context: Context, items: Iterable[str | Mapping[str, Any]], progress: Callable[[int], None] | None
) -> list[str]:
    """Add memories in batches; while one is written, the next is prepared and embedded beside it."""
    ids: list[str] = []
    pending: Future[list[Prepared]] | None = None
    numbered = _numbered(items)
    dims: list[int] = []
    trouble: Exception | None = None
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="lamina-embed") as beside:
        try:
            while True:
                batch: list[Prepared] = []
                if trouble is None:
                    batch, trouble = _next_batch(context, numbered, dims)
                following = beside.submit(_embedded, context, batch) if batch else None
                if pending is not None:
                    _write_batch(context, pending.result(), ids)
                    if progress is not None:
                        progress(len(ids))
                pending = following
                if pending is None:
                    break
            if trouble is not None:  # everything before it is written by now
                raise trouble
        except Exception as error:
            if isinstance(error, LaminaError):
                error.details.setdefault("added", len(ids))
            if ids:
                error.add_note(f"{len(ids)} memories of this call were added before it and are kept.")
            raise
    return ids


def _numbered(items: Iterable[str | Mapping[str, Any]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Iterable):
        raise InvalidInputError("add_many needs several items.", hint="Pass a list of texts or of dicts.")
    for number, item in enumerate(items):
        if isinstance(item, str):
            yield number, {"text": item}
        elif isinstance(item, Mapping):
            yield number, item
        else:
            raise InvalidInputError(
                f"Item {number} is a {type(item).__name__}.",
                hint="Pass texts or dicts of add's arguments.",
                item=number,
            )


def _next_batch(
    context: Context, numbered: Iterator[tuple[int, Mapping[str, Any]]], dims: list[int]
) -> tuple[list[Prepared], Exception | None]:
    """Return the next items, and what ended them early: a bad item, or the caller's own iterator.

    ``dims`` holds the dimensions of the first vector of a store that has none yet.
    """
    batch: list[Prepared] = []
    chars = 0
    try:
        for number, values in numbered:
            batch.append(_prepared(context, number, values, dims))
            chars += len(batch[-1].record.text)
            if len(batch) >= BATCH_ITEMS or chars >= BATCH_CHARS:
                break
    except Exception as error:  # noqa: BLE001 - raised to the caller once the items before it are written
        return batch, error
    return batch, None


def _prepared(context: Context, number: int, values: Mapping[str, Any], dims: list[int]) -> Prepared:
    try:
        prepared = _ready(context, values)
        if prepared.vector is not None:
            dims[:] = dims or [len(prepared.vector)]
            check_vector(prepared.vector, context.dim or dims[0])
    except LaminaError as error:
        error.details.setdefault("item", number)
        error.add_note(f"It was item {number} of the call.")
        raise
    return prepared


def _embedded(context: Context, batch: list[Prepared]) -> list[Prepared]:
    embed(context, batch)
    return batch


def _write_batch(context: Context, batch: list[Prepared], ids: list[str]) -> None:
    _write(context, batch, "adding memories")
    ids += [item.record.id for item in batch]


def _ready(context: Context, values: Mapping[str, Any]) -> Prepared:
    """Check a memory, and make the bytes of its file where it is to be one."""
    prepared = prepare(context, values)
    if is_filed(prepared.record.scope, prepared.record.type):
        render_file(prepared, created=values.get("created_at") is not None)
    else:
        check_shareable(prepared.record)
    return prepared


def _write(context: Context, batch: Sequence[Prepared], doing: str) -> tuple[str, ...]:
    """Write a batch durably; return what the writer should know of its files and their indexes."""
    files = [item for item in batch if item.file is not None]
    if files:
        notices = write_files(context, files, lambda writer: _store(context, writer, batch))
        return (*notices, *(notice for item in files for notice in notices_of(item.record)))
    with context.catalog.write(doing) as writer:
        _store(context, writer, batch)
    return ()


def _store(context: Context, writer: Writer, batch: Sequence[Prepared]) -> None:
    record_identity(context, writer, batch)
    _train_once(writer, batch)
    writer.insert([item.draft for item in batch])
    write_uses(context, writer)


def _train_once(writer: Writer, batch: Sequence[Prepared]) -> None:
    """Train the store's first compression dictionary when enough texts are there to pay for it."""
    if len(batch) < 2 or writer.newest_dictionary():
        return
    if writer.count(Filter(expired=True)) + len(batch) >= DICTIONARY_FROM:
        writer.train_dictionary()
