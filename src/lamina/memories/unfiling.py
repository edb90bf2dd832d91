"""Forgetting a memory that is a file: pointer, then file, then row."""

from __future__ import annotations

from lamina import fs
from lamina.errors import ConflictError, NotFoundError
from lamina.memories.adoption import (
    content_hash,
    label,
)
from lamina.memories.context import Context
from lamina.memories.folder import MAX_FILE_BYTES, Folder
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
        with context.catalog.write("deleting a memory") as writer:  # nothing is removed before
            if not write_planned(context, writer, change):
                raise ConflictError(f"Others keep changing memory {id}.", hint="Repeat the call.", id=id)
            known = "" if row is None else row.hash.hex()
            folder.journal.write({"op": "delete", "id": id, "path": path, "hash": known})
            remove_pointers(folder, [path])
            if data is not None:
                _remove(context, folder, record, data)
            mirror.remove(writer.db, path)
            folder.forget_left(writer)
            write_uses(context, writer)
        folder.journal.clear()
    removed = {"row": 1, "text": change.passages, "vector": change.vectors, "file": int(data is not None)}
    return Deletion(id=id, purged=False, removed=removed, kept=("history: its past texts; purge=True scrubs them too",))


def _remove(context: Context, folder: Folder, record: Record, data: bytes) -> None:
    """Remove a file that holds these bytes; one that is gone already is no failure.

    Raises:
        ConflictError: Somebody wrote to it; it has its pointer again.
    """
    path = str(record.path)
    try:
        fs.remove_seen(folder.absolute(path), seen=data)
    except NotFoundError:
        pass
    except ConflictError as error:
        if record.superseded_by is None:
            add_pointers(context, folder, [(path, *label(record))])
        folder.journal.clear()
        raise folder.conflict(path, None) from error
