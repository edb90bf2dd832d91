"""From a caller's arguments to what the catalog stores: checked, cut, tokenised, embedded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.config import Profile
from lamina.errors import EmbedderError, InvalidInputError, LaminaError
from lamina.memories import checks
from lamina.memories.context import Context
from lamina.search import duplicates, vectors
from lamina.search.passages import cut
from lamina.search.tokens import tokens
from lamina.storage.checks import check_time
from lamina.storage.reader import StoredPassage
from lamina.storage.records import NewPassage, Record, new_id, now_micros
from lamina.storage.writer import Draft, Indexed, Writer

__all__ = [
    "FIELDS",
    "Prepared",
    "bands_of",
    "checked_fields",
    "embed",
    "embed_rows",
    "embed_texts",
    "indexed",
    "prepare",
    "prepare_record",
    "record_identity",
]

_TEXTS: dict[str, Callable[[Any], Any]] = {
    "text": checks.check_text,
    "title": checks.check_title,
    "description": checks.check_description,
    "type": checks.check_type,
    "scope": checks.check_scope,
    "tags": checks.check_tags,
    "importance": checks.check_importance,
    "source": lambda value: checks.check_name(value, "source"),
    "thread": lambda value: checks.check_name(value, "thread"),
    "position": checks.check_position,
    "created_at": lambda value: check_time(value, "created_at"),
    "valid_until": lambda value: check_time(value, "valid_until"),
    "metadata": checks.check_metadata,
    "vector": lambda value: value,
}
FIELDS = tuple(_TEXTS)
"""What ``add`` takes."""


@dataclass(slots=True)
class Prepared:
    """A draft on its way into the catalog."""

    draft: Draft
    words: list[list[str]] = field(default_factory=list)
    """Index tokens of each passage."""
    vector: Any = None
    """The caller's own vector."""
    file: bytes | None = None
    """The bytes of its file, where it is to be one."""

    @property
    def record(self) -> Record:
        """The revision that is to be written."""
        return self.draft.record


def checked_fields(values: Mapping[str, Any], *, allowed: Sequence[str] = FIELDS) -> dict[str, Any]:
    """Return the values as the catalog holds them.

    Raises:
        InvalidInputError: An unknown field or a value that may not be stored.
    """
    unknown = [str(name) for name in values if name not in allowed]
    if unknown:
        raise InvalidInputError(
            f"{', '.join(sorted(unknown))} is no field that can be set here.", hint=f"Fields are {', '.join(allowed)}."
        )
    return {name: _TEXTS[name](value) for name, value in values.items()}


def prepare(context: Context, values: Mapping[str, Any]) -> Prepared:
    """Make a new memory's draft from ``add``'s arguments; nothing is written, and no vector is made yet."""
    given = checked_fields(values)
    if "text" not in given:
        raise InvalidInputError("A memory needs a text.", hint="Pass text=...")
    vector = given.pop("vector", None)
    scope = given.get("scope", "private")
    context.check_writes_to(scope)
    now = now_micros()
    created = given.pop("created_at", None)
    created = now if created is None else created
    record = Record(
        id=new_id(),
        created_at=created,
        valid_from=min(created, now),
        **{"type": "record", "scope": scope, **given},
    )
    return prepare_record(context, record, vector=vector)


def prepare_record(context: Context, record: Record, *, vector: Any = None) -> Prepared:
    """Cut and tokenise a revision."""
    head = _head_tokens(record)
    spans = cut(record.text, context.settings.passage_chars)
    words = [tokens(record.text[start:stop]) for start, stop in spans]
    passages = [
        NewPassage(start=start, stop=stop, tokens=" ".join(found))
        for (start, stop), found in zip(spans, words, strict=True)
    ]
    if vector is not None:
        vector = vectors.check_vector(vector, context.dim or None)
    return Prepared(Draft(record, passages, " ".join(head)), words, vector)


def embed(context: Context, batch: Sequence[Prepared]) -> None:
    """Give the passages of a batch their vectors and near-duplicate bands.

    Where the embedder is missing or is not the store's, passages stay without and wait for ``lamina reindex``.

    Raises:
        EmbedderError: The embedder failed; nothing was written.
    """
    found = duplicates.bands([[word for words in item.words for word in words] for item in batch])
    for item, bands in zip(batch, found, strict=True):
        item.draft.bands = bands
    profile = context.settings.profile
    waiting: list[tuple[NewPassage, str]] = []
    for item in batch:
        if item.vector is not None:
            _give(item, profile)
            continue
        text = item.record.text
        waiting += [(passage, text[passage.start : passage.stop]) for passage in item.draft.passages]
    embedder = context.active
    if embedder is None or not waiting:
        return
    for (passage, _), code in zip(waiting, embed_texts(embedder, [text for _, text in waiting], profile), strict=True):
        if code is None:
            passage.scale, passage.codes = 0.0, b""
        else:
            passage.scale, passage.codes = code


def embed_texts(embedder: Any, texts: Sequence[str], profile: Profile) -> list[tuple[float, bytes] | None]:
    """Return the stored form of each text's vector; None for a text that has none.

    Raises:
        EmbedderError: The embedder failed, or gave something else than finite rows of its dimension.
    """
    return vectors.encode(embed_rows(embedder, texts), profile)


def embed_rows(embedder: Any, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the vectors of texts as the embedder makes them, checked.

    Raises:
        EmbedderError: The embedder failed, or gave something else than finite rows of its dimension.
    """
    try:
        rows = np.asarray(embedder.embed(list(texts)), dtype=np.float32)
    except LaminaError:
        raise
    except Exception as error:  # an embedder of the user's may raise anything
        raise EmbedderError(
            f"The embedder {embedder.name} failed: {type(error).__name__}: {error}.",
            hint="Check it, or open the store with embedder='none' and run `lamina reindex` later.",
        ) from error
    if rows.shape != (len(texts), embedder.dim) or not np.isfinite(rows).all():
        raise EmbedderError(
            f"The embedder {embedder.name} gave an array of shape {rows.shape} for {len(texts)} texts of "
            f"{embedder.dim} dimensions, with {int((~np.isfinite(rows)).sum())} non-finite numbers.",
            hint="Check the embedder.",
        )
    return rows


def indexed(record: Record) -> Callable[[int, int], Indexed]:
    """Return what gives the index tokens of a stretch of a stored revision's text."""
    head = " ".join(_head_tokens(record))
    return lambda start, stop: Indexed(head, " ".join(tokens(record.text[start:stop])))


def bands_of(record: Record, held: Sequence[StoredPassage]) -> tuple[int, ...]:
    """Return a stored revision's near-duplicate bands, given its passages."""
    words = [word for _, start, stop, *_ in held for word in tokens(record.text[start:stop])]
    return duplicates.bands([words])[0]


def _head_tokens(record: Record) -> list[str]:
    return tokens(" ".join(part for part in (record.title, record.description) if part))


def _give(item: Prepared, profile: Profile) -> None:
    """Put a caller's vector on the first passage; the others have none, and wait for none."""
    for passage in item.draft.passages:
        passage.given = True
    code = vectors.encode(np.asarray(item.vector, dtype=np.float32)[None, :], profile)[0]
    if code is not None:
        item.draft.passages[0].scale, item.draft.passages[0].codes = code


def record_identity(context: Context, writer: Writer, batch: Sequence[Prepared]) -> None:
    """Record which embedder the store's vectors come from, with the first of them."""
    recorded = writer.meta("embedder")
    having = [item for item in batch if any(passage.codes is not None for passage in item.draft.passages)]
    if recorded is None and having:
        given = next((item.vector for item in having if item.vector is not None), None)
        dim = context.embedder.dim if context.embedder else len(given) if given is not None else 0
        name = context.embedder.name if context.embedder else f"given/{dim}"
        writer.set_meta("embedder", name)
        writer.set_meta("dim", str(dim))
        recorded = name
    elif recorded is not None and context.embedder is not None and recorded != context.embedder.name:
        # Another process settled on another embedder since this handle looked: these vectors are not comparable.
        for item in batch:
            for passage in item.draft.passages:
                if not passage.given:
                    passage.scale, passage.codes = None, None
    if recorded != context.recorded:
        held = context.recorded, context.recorded_dim

        def forget() -> None:
            context.recorded, context.recorded_dim = held

        writer.on_undo(forget)
        context.see_identity(writer)
    for item in batch:
        if item.vector is not None:  # the first of the store may stand beside others in this batch
            vectors.check_vector(item.vector, context.recorded_dim)
