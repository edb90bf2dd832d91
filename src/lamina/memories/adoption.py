"""From a memory file to the catalog's record of it, and back to the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from lamina.errors import InvalidInputError
from lamina.folder.names import hook_from, id_moment, title_from
from lamina.memories import checks
from lamina.storage.checks import check_time
from lamina.storage.records import Record, from_micros, now_micros
from lamina.types import CURATED_TYPES, FILE_SCOPES, Problem

if TYPE_CHECKING:
    from lamina.folder.document import Document

__all__ = [
    "Read",
    "content_hash",
    "document_changes",
    "document_fields",
    "is_filed",
    "label",
    "read_memory",
    "same",
    "to_record",
]

DEFAULT_TYPE = "project"
"""What a file without a type, or with one of its own, counts as: project is what is known and not in the code."""
_FIELDS = (
    "title",
    "description",
    "type",
    "tags",
    "importance",
    "source",
    "thread",
    "position",
    "created_at",
    "valid_until",
    "superseded_by",
    "metadata",
    "text",
)
"""Fields of a memory that its file holds, by the names that they have here and there."""


def is_filed(scope: str, type: str) -> bool:
    """Return whether a memory of this scope and type is a markdown file."""
    return scope in FILE_SCOPES and type in CURATED_TYPES


def label(record: Record) -> tuple[str, str]:
    """Return the title and the hook that a memory's file and pointer show: its own, else what its text begins with."""
    title, hook = _made(record.text)
    return record.title or title, record.description or hook


@lru_cache(maxsize=2)  # each write asks several times about the same text, or about a text before and after
def _made(text: str) -> tuple[str, str]:
    """Return the title and the hook that are made of a text."""
    return _line(title_from(text), checks.MAX_TITLE) or "", _line(hook_from(text), checks.MAX_DESCRIPTION) or ""


def content_hash(data: bytes) -> bytes:
    """Return the BLAKE2b hash, 16 bytes, by which a file's content is known again."""
    return blake2b(data, digest_size=16).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A memory file that was read."""

    data: bytes
    document: Document
    problems: tuple[Problem, ...]

    @property
    def hash(self) -> bytes:
        """Of the whole file."""
        return content_hash(self.data)

    @property
    def body(self) -> bytes:
        """Of the text alone."""
        return content_hash(self.document.text.strip().encode("utf-8"))


def read_memory(data: bytes, path: str) -> Read:
    """Read a memory file's bytes.

    Raises:
        InvalidInputError: It cannot be read as one; ``details`` has the ``reason``.
    """
    from lamina.folder.document import parse_document

    document = parse_document(data, name=path)
    problems = [Problem(code=code, where=path, message=f"{path}: {message}") for code, message in document.problems]
    if document.type is not None and document.type not in CURATED_TYPES:
        message = (
            f"{path}: the type {document.type!r} is none of {', '.join(CURATED_TYPES)}; it counts as {DEFAULT_TYPE}"
        )
        problems.append(Problem(code="type-unknown", where=path, message=message, hint="Give it one of the four."))
    return Read(data=data, document=document, problems=tuple(problems))


def to_record(
    read: Read, *, id: str, path: str, scope: str, mtime: int, before: Record | None
) -> tuple[Record, tuple[Problem, ...]]:
    """Return the revision that a file says, and what of it could not be taken over.

    Args:
        read: The file.
        id: Of the memory.
        path: Of the file, relative to the store.
        scope: That the file lies in.
        mtime: When the file changed last, in microseconds.
        before: The memory's revision until now.

    A field that may not be stored is left as it was, or empty, and is told; the file keeps it.
    """
    document = read.document
    problems: list[Problem] = []

    def checked(value: Any, check: Callable[[Any], Any], default: Any) -> Any:
        try:
            return default if value is None else check(value)
        except InvalidInputError as error:
            problems.append(Problem(code="field", where=path, message=f"{path}: {error.message}", hint=error.hint))
            return default

    now = now_micros()
    changed = min(max(mtime, 0), now)
    created = None if document.created_at is None else checked(document.created_at, _micros, None)
    if created is None:
        created = before.created_at if before else id_moment(id) or changed
    kind = document.type if document.type in CURATED_TYPES else DEFAULT_TYPE
    title = _line(document.title, checks.MAX_TITLE)
    description = _line(document.description, checks.MAX_DESCRIPTION)
    text = document.text
    if not text.strip():
        text = description or title or path.rsplit("/", 1)[-1].removesuffix(".md")
    elif title is None:
        title = _made(text)[0] or None
    else:  # what only repeats the beginning of the text was not given, but made by `label`
        made, hook = _made(text)
        title = _given(title, made, before.title if before else None)
        description = _given(description, hook, before.description if before else None)
    record = Record(
        id=id,
        text=text,
        type=kind,
        scope=scope,
        created_at=created,
        valid_from=min(created, changed) if before is None else max(before.valid_from + 1, changed),
        revision=1 if before is None else before.revision + 1,
        importance=checked(document.importance, checks.check_importance, 0.5),
        thread=checked(document.thread, lambda value: checks.check_name(value, "thread"), None),
        position=checked(document.position, checks.check_position, None),
        source=checked(document.source, lambda value: checks.check_name(value, "source"), None),
        valid_until=checked(document.valid_until, _micros, None),
        superseded_by=checked(document.superseded_by, checks.check_id, None),
        title=title,
        description=description,
        tags=checked(document.tags, checks.check_tags, ()),
        metadata=checked(document.metadata, checks.check_metadata, {}),
        path=path,
    )
    return record, tuple(problems)


def document_fields(record: Record, *, created: bool) -> dict[str, Any]:
    """Return what a record's file says, as the arguments of ``render_document``.

    Args:
        record: A revision.
        created: Whether the time of its making was given, so that the file has to say it; its id tells it otherwise.
    """
    title, hook = label(record)
    return {
        "title": title,
        "description": hook,
        "type": record.type,
        "id": record.id,
        "tags": record.tags,
        "importance": None if record.importance == 0.5 else record.importance,
        "source": record.source,
        "thread": record.thread,
        "position": record.position,
        "created_at": from_micros(record.created_at) if created else None,
        "valid_until": None if record.valid_until is None else from_micros(record.valid_until),
        "superseded_by": record.superseded_by,
        "metadata": dict(record.metadata),
        "text": record.text,
    }


def document_changes(before: Record, after: Record) -> dict[str, Any]:
    """Return what has to change in a file so that it says ``after`` instead of ``before``."""
    old, new = (document_fields(record, created=True) for record in (before, after))
    return {name: new[name] for name in _FIELDS if old[name] != new[name]}


def same(before: Record, after: Record) -> bool:
    """Return whether two revisions say the same, whenever they were made."""
    return before == replace(
        after,
        revision=before.revision,
        valid_from=before.valid_from,
        seq=before.seq,
        uses=before.uses,
        helped=before.helped,
        hurt=before.hurt,
        used_at=before.used_at,
    )


def _given(said: str | None, made: str, before: str | None) -> str | None:
    return None if said == made != before else said


def _micros(value: datetime) -> int | None:
    return check_time(value, "a time")


def _line(text: str | None, most: int) -> str | None:
    """Return a text as the one line that a title or description is; the file keeps the whole."""
    if text is None:
        return None
    line = text.strip()
    if any(char < " " or char == "\x7f" for char in line):
        line = " ".join("".join(char if char.isprintable() else " " for char in line).split())
    return (line if len(line) <= most else f"{line[: most - 1]}…") or None
