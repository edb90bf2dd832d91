"""Writing new memories that are files: file, then row, then pointer; and what every change of a file asks first.

Every change holds the folder and first says in its journal what it is about to do, so that whoever holds the folder
next finishes what a killed process left (:mod:`lamina.memories.recovery`).
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence

from lamina import fs
from lamina.errors import AlreadyExistsError, ConflictError, InvalidInputError, LaminaError, NotFoundError
from lamina.folder.dates import relative_dates
from lamina.folder.index import INDEX_NAME
from lamina.folder.names import file_name, free_names
from lamina.folder.scan import passed_over
from lamina.memories.adoption import (
    content_hash,
    document_fields,
    label,
)
from lamina.memories.context import Context
from lamina.memories.drafts import Prepared
from lamina.memories.folder import MAX_FILE_BYTES, TEAM, Folder
from lamina.memories.pointers import add_pointers, check_indexes
from lamina.storage import mirror
from lamina.storage.mirror import FileRow
from lamina.storage.records import Record
from lamina.storage.writer import Writer

__all__ = [
    "PRIVATE_MODE",
    "TEAM_MODE",
    "check_shareable",
    "check_taken",
    "checked_size",
    "notices_of",
    "render_file",
    "row_of",
    "write_files",
]

PRIVATE_MODE, TEAM_MODE = 0o600, 0o644
_TRIES = 5
"""Names that are tried where other programs take them at the same moment."""


def render_file(prepared: Prepared, *, created: bool) -> None:
    """Give a new memory that will be a file its bytes.

    Args:
        prepared: The memory.
        created: Whether the time of its making was given, so that the file has to say it.

    Raises:
        InvalidInputError: Its text carries a secret and is for the team, or it is too large for a file.
    """
    from lamina.folder.document import render_document

    check_shareable(prepared.record)
    prepared.file = checked_size(render_document(**document_fields(prepared.record, created=created)))


def checked_size(data: bytes) -> bytes:
    """Return a memory's file, which must not be too large to be read again.

    Raises:
        InvalidInputError: It is.
    """
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInputError(
            f"The memory would be a file of {len(data):,} bytes; at most {MAX_FILE_BYTES:,} fit.",
            hint="Cut it into several memories.",
        )
    return data


def check_shareable(record: Record, *names: str) -> None:
    """Raise unless a memory, and names of files besides, may be written for its scope.

    Raises:
        InvalidInputError: It is for the team and carries a secret.
    """
    if record.scope != TEAM:
        return
    from lamina.guard.secrets import find_secrets  # its rules take 10 ms to load

    parts = (record.title, record.description, record.text, record.source, record.thread, record.metadata_json())
    found = find_secrets("\n".join(part for part in (*parts, *record.tags, *names) if part))
    if found:
        kinds = ", ".join(dict.fromkeys(secret.kind for secret in found))
        raise InvalidInputError(
            f"The text looks as if it carried a secret ({kinds}), and scope team is made to be committed to git.",
            hint="Take it out and say where it is kept instead, or write it to scope private.",
            kinds=[secret.kind for secret in found],
        )


def notices_of(record: Record) -> Iterator[str]:
    """Yield what the writer of a memory should know of what it says."""
    if record.scope == TEAM and record.type == "user":
        yield "A memory of type user is about one person, and scope team is everybody's: keep it in scope private."
    found = relative_dates(record.text)
    if found:
        yield f"{', '.join(repr(phrase) for phrase in found[:3])} will not be understood later: write the date."


def write_files(context: Context, batch: Sequence[Prepared], write_rows: Callable[[Writer], None]) -> tuple[str, ...]:
    """Write new memories as files, rows and pointers; return what the writer should know of the indexes.

    Args:
        context: Of the store.
        batch: The memories, each with the bytes of its file; each record gets its path.
        write_rows: Writes all rows of the call, those of the batch among them, in one transaction.

    Raises:
        LockedError: Someone kept changing files.
        InvalidInputError: An index cannot be kept: it is a link, a folder or no text.
    """
    folder = context.folder
    with folder.changing(context, context.settings.busy_timeout):
        check_indexes(folder, {folder.scope_folder(item.record.scope) for item in batch})
        try:
            _publish(context, batch)
            rows = [row_of(folder, item.record, item.file or b"") for item in batch]
            with context.catalog.write("adding a memory" if len(batch) == 1 else "adding memories") as writer:
                write_rows(writer)
                for row in rows:
                    mirror.put(writer.db, row)
                folder.forget_left(writer)
        except LaminaError:
            with contextlib.suppress(LaminaError):  # else whoever holds the folder next finishes it
                _take_back(folder, batch)
            raise
        try:
            notices = add_pointers(context, folder, [(str(item.record.path), *label(item.record)) for item in batch])
            folder.journal.clear()
        except LaminaError as error:  # what is durable is not told as an error: a repeated call would double it
            later = f"The pointer in {INDEX_NAME} is still to come: {error.message} Opening the store again adds it."
            notices = (later,)
    return notices


def _take_back(folder: Folder, batch: Sequence[Prepared]) -> None:
    """Remove the files of a call that failed before its rows were written, so that it can be repeated."""
    for item in batch:
        if item.record.path is not None and item.file is not None:
            with contextlib.suppress(NotFoundError, ConflictError):  # not written, or another program's
                fs.remove_seen(folder.absolute(item.record.path), seen=item.file)
    folder.journal.clear()


def _publish(context: Context, batch: Sequence[Prepared]) -> None:
    """Give each draft a free name in its scope's folder, and write it; nothing is ever replaced."""
    folder = context.folder
    waiting: dict[str, list[Prepared]] = {}
    for item in batch:
        waiting.setdefault(folder.scope_folder(item.record.scope), []).append(item)
    for _ in range(_TRIES):
        for place, drafts in waiting.items():
            _name(context, place, drafts)
        _announce(folder, batch)  # all of them, so that a part is known to be one
        for place in list(waiting):
            drafts = waiting[place]
            try:
                names = [(posixpath.basename(str(draft.record.path)), draft.file or b"") for draft in drafts]
                fs.write_files(folder.at(place), names, mode=TEAM_MODE if place == TEAM else PRIVATE_MODE)
            except AlreadyExistsError as error:  # another program was faster
                waiting[place] = drafts[int(error.details.get("written", 0)) :]
                break
            del waiting[place]
        if not waiting:
            return
    raise ConflictError(
        f"Other programs keep making files of the same names in {folder.root}.", hint="Repeat the call."
    )


def _name(context: Context, place: str, drafts: Sequence[Prepared]) -> None:
    folder = context.folder
    if place:
        fs.make_dir(folder.at(place), mode=0o755)
    wanted = [file_name(draft.record.type, label(draft.record)[0]) for draft in drafts]
    for draft, name in zip(drafts, free_names(wanted, folder.names_in(place)), strict=True):
        path = f"{place}/{name}" if place else name
        check_taken(context, path)
        draft.record.path = path


def _announce(folder: Folder, batch: Iterable[Prepared]) -> None:
    """Say which files are to be made; no more of each, so that a thousand of them have room in the journal."""
    items = [
        {"id": item.record.id, "path": item.record.path, "hash": content_hash(item.file or b"").hex()} for item in batch
    ]
    # One file is whole or absent by itself; of several a part must be known to be one after a power cut, too.
    folder.journal.write({"op": "add", "items": items}, durable=len(items) > 1)


def row_of(folder: Folder, record: Record, data: bytes) -> FileRow:
    """Return how the catalog remembers the file of a memory that was just written."""
    return FileRow(
        path=str(record.path),
        memory=record.id,
        hash=content_hash(data),
        body=content_hash(record.text.strip().encode("utf-8")),
        stamp=folder.stamp_if(str(record.path), data),
    )


def check_taken(context: Context, path: str) -> None:
    """Raise unless a new file of this path would be taken for a memory when the folder is looked at.

    Raises:
        InvalidInputError: It would be passed over, and the memory with it.
    """
    why = passed_over(context.folder.root, path, ignore=context.settings.ignore)
    if why is not None:
        raise InvalidInputError(
            f"{path} can be no memory's file: files there are passed over ({why}).",
            hint="Choose another name, or change `ignore` in lamina.toml.",
            path=path,
            reason=why,
        )
