"""Finishing what a killed process was about to do with files.

The journal names one operation. A new memory whose file is there is finished forwards: row, then pointer. A move whose
row was not written yet is taken back. A deletion that had begun is finished. What cannot be told apart any more is left
to the people: nothing is removed whose bytes are not those that the operation knew.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from lamina import fs
from lamina.errors import LaminaError, NotFoundError
from lamina.memories.folder import MAX_FILE_BYTES, Folder
from lamina.storage import mirror

if TYPE_CHECKING:
    from lamina.memories.context import Context

__all__ = ["recover"]


def recover(context: Context, folder: Folder) -> None:
    """Finish what the journal names, and remove what was left of files whose memory has moved; the folder is held."""
    with context.catalog.read("looking at what was left unfinished") as reader:
        leaving = mirror.leaving(reader.db)
    record = folder.journal.read()
    folder.left = []
    for row in leaving:
        _leave(context, folder, row)
    if record is None:
        return
    operation = record.get("op")
    if operation in ("file", "move"):
        _take_back(context, folder, record)
    elif operation == "delete":
        _finish_delete(folder, record)
    elif operation == "update":
        _look_after(folder, record)
    _sync(context, folder)
    _point(context, folder, record)
    folder.journal.clear()


def _leave(context: Context, folder: Folder, row: mirror.FileRow) -> None:
    """Remove a file whose memory has moved, unless somebody wrote to it since."""
    from lamina.memories.pointers import remove_pointers

    found = _hash(folder, row.path)
    if found is None:
        folder.left.append(row.path)
        return
    if found == row.hash.hex():
        remove_pointers(folder, [row.path])
        fs.remove_file(folder.absolute(row.path), missing_ok=True)
    with context.catalog.write("removing what was left of a moved file") as writer:
        mirror.remove(writer.db, row.path)


def _take_back(context: Context, folder: Folder, record: dict[str, Any]) -> None:
    """Remove the new file of a move whose row was not written; where it was written the rest is finished later."""
    for item in record.get("items", ()):
        with context.catalog.read("looking at what was left unfinished") as reader:
            current = reader.current(str(item["id"]))
        if current is not None and current.path == item["path"]:
            continue
        if _hash(folder, item["path"]) == record.get("hash"):
            fs.remove_file(folder.absolute(item["path"]), missing_ok=True)
        item["path"] = ""


def _finish_delete(folder: Folder, record: dict[str, Any]) -> None:
    from lamina.memories.pointers import remove_pointers

    path = str(record["path"])
    found = _hash(folder, path)
    if found is None or found == record.get("hash"):
        remove_pointers(folder, [path])
        fs.remove_file(folder.absolute(path), missing_ok=True)


def _look_after(folder: Folder, record: dict[str, Any]) -> None:
    """Keep what somebody saved in the moment in which the file was replaced and the process killed."""
    path = str(record["path"])
    place = folder.at(posixpath.dirname(path))
    if _hash(folder, path) != record.get("new"):
        return  # nothing was exchanged: what lies about is the draft
    for stray in fs.stray_files(place):
        try:
            data = fs.read_file(stray, max_bytes=MAX_FILE_BYTES, follow=False)
        except LaminaError:
            continue
        if _hex(data) not in (record.get("seen"), record.get("new")):
            folder.keep_loser(path, data)
        fs.remove_file(stray, missing_ok=True)


def _sync(context: Context, folder: Folder) -> None:
    from lamina.memories.syncing import Changes, apply, look

    found = look(context)
    if found.differs:
        apply(context, folder, found, Changes())


def _point(context: Context, folder: Folder, record: dict[str, Any]) -> None:
    """Bring the pointers of the operation's memories to where they belong."""
    from lamina.memories.pointers import add_pointers, remove_pointers, rename_pointer, retitle_pointer

    items = [item for item in record.get("items", ()) if item.get("path")]
    if record.get("op") == "rename":
        rename_pointer(context, folder, str(record["from"]), str(record["path"]), str(record["id"]))
    elif record.get("op") == "update" and record.get("pointer") == "retitle":
        retitle_pointer(folder, str(record["path"]), tuple(record["old"]), tuple(record["title"]))
    elif record.get("op") == "update" and record.get("pointer") == "remove":
        remove_pointers(folder, [str(record["path"])])
    wanted = []
    for item in items:
        with context.catalog.read("looking at what was left unfinished") as reader:
            current = reader.current(str(item["id"]))
        if current is not None and current.path == item["path"] and current.superseded_by is None:
            wanted.append((str(item["path"]), *(str(part) for part in item["pointer"])))
    if wanted:
        add_pointers(context, folder, [(path, title, hook) for path, title, hook in wanted])


def _hash(folder: Folder, path: str) -> str | None:
    """Return the hash of a file's bytes, or None where it is not there or is no plain file."""
    try:
        return _hex(fs.read_file(folder.absolute(path), max_bytes=MAX_FILE_BYTES, follow=False))
    except NotFoundError:
        return None
    except LaminaError:
        return ""


def _hex(data: bytes) -> str:
    from lamina.memories.adoption import content_hash

    return content_hash(data).hex()
