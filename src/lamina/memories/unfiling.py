"""Forgetting a memory that is a file: pointer, then file, then row."""

from __future__ import annotations

import contextlib

from lamina import fs
from lamina.errors import AlreadyExistsError, ConflictError, LaminaError, NotFoundError
from lamina.memories.adoption import (
    content_hash,
    label,
)
from lamina.memories.context import Context
from lamina.memories.filing import (
    PRIVATE_MODE,
    TEAM_MODE,
)
from lamina.memories.folder import MAX_FILE_BYTES, TEAM, Folder
from lamina.memories.pointers import add_pointers, remove_pointers
from lamina.memories.revisions import plan_end, write_planned
from lamina.memories.uses import write_uses
from lamina.storage import mirror
from lamina.storage.records import Record
from lamina.types import Deletion

__all__ = ["delete_filed"]


def delete_filed(context: Context, id: str) -> Deletion:
    """Forget a memory that is a file: pointer, then file, then row.

    Raises:
        ConflictError: Somebody changed the file since it was last read.
        NotFoundError: There is no such memory.
    """
    folder = context.folder
    with folder.changing(context, context.settings.busy_timeout):
        with context.catalog.read("reading what is to go") as reader:
            record = context.current(reader, id)
            change = plan_end(reader, record)
            row = mirror.by_memory(reader.db, id)
        path = str(record.path)
        try:
            data = fs.read_file(folder.absolute(path), max_bytes=MAX_FILE_BYTES, follow=False)
        except NotFoundError:
            data = None
        if data is not None and (row is None or content_hash(data) != row.hash):
            raise folder.conflict(path, None)
        folder.journal.write({"op": "delete", "id": id, "path": path, "hash": "" if row is None else row.hash.hex()})
        try:
            with context.catalog.write("deleting a memory") as writer:  # whoever waits here has removed nothing yet
                if not write_planned(context, writer, change):
                    raise ConflictError(f"Others keep changing memory {id}.", hint="Repeat the call.", id=id)
                remove_pointers(folder, [path])
                if data is not None:
                    _remove(folder, path, data)
                mirror.remove(writer.db, path)
                folder.forget_left(writer)
                write_uses(context, writer)
        except LaminaError:
            with contextlib.suppress(LaminaError):  # else whoever holds the folder next finishes it
                _bring_back(context, folder, record, data)
            raise
        folder.journal.clear()
    removed = {"row": 1, "text": change.passages, "vector": change.vectors, "file": int(data is not None)}
    return Deletion(id=id, purged=False, removed=removed, kept=("history: its past texts; purge=True scrubs them too",))


def _remove(folder: Folder, path: str, data: bytes) -> None:
    """Remove a file that holds these bytes; one that is gone already is no failure.

    Raises:
        ConflictError: Somebody wrote to it.
    """
    try:
        fs.remove_seen(folder.absolute(path), seen=data)
    except NotFoundError:
        pass
    except ConflictError as error:
        raise folder.conflict(path, None) from error


def _bring_back(context: Context, folder: Folder, record: Record, data: bytes | None) -> None:
    """Undo a deletion whose row could not be ended: the file and its pointer are there again."""
    path = str(record.path)
    if data is not None:
        with contextlib.suppress(AlreadyExistsError):
            fs.write_file(folder.absolute(path), data, mode=TEAM_MODE if record.scope == TEAM else PRIVATE_MODE)
        if record.superseded_by is None:
            add_pointers(context, folder, [(path, *label(record))])
    folder.journal.clear()
