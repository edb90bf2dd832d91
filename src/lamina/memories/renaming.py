"""Giving a memory's file another name; the memory, its history and its pointer follow."""

from __future__ import annotations

import contextlib
import posixpath
from dataclasses import replace

from lamina import fs
from lamina.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    LaminaError,
    NotFoundError,
)
from lamina.folder.index import INDEX_NAME, OVERFLOW_NAME
from lamina.folder.names import folded
from lamina.guard.paths import safe_relative
from lamina.memories.adoption import content_hash
from lamina.memories.context import Context
from lamina.memories.filing import check_shareable, check_taken
from lamina.memories.folder import MAX_FILE_BYTES, TEAM, Folder, is_memory_path, scope_of
from lamina.memories.pointers import rename_pointer
from lamina.memories.revisions import plan, vectorise, write_planned
from lamina.storage import mirror
from lamina.storage.records import now_micros
from lamina.types import Memory

__all__ = ["rename_file"]


def rename_file(context: Context, id: str, name: str) -> Memory:
    """Give a memory's file another name within its scope's folder.

    Raises:
        AlreadyExistsError: There is a file of that name.
        ConflictError: Somebody changed the file since it was last read.
        InvalidInputError: The memory is no file, or the name leads outside of its scope's folder.
    """
    folder = context.folder
    with folder.changing(context, context.settings.busy_timeout):
        with context.catalog.read("reading what is to be renamed") as reader:
            before = context.current(reader, id)
            row = mirror.by_memory(reader.db, id)
        context.check_writes_to(before.scope)
        if before.path is None or row is None:
            raise InvalidInputError(f"Memory {id} is no file.", hint="Only curated memories of private and team are.")
        old, new = before.path, _new_path(before.scope, name)
        if new == old:
            return before.to_memory()
        check_shareable(before, new)
        check_taken(context, new)
        _check_free(folder, old, new)
        data = _unchanged(folder, old, row)
        after = replace(before, path=new, valid_from=max(now_micros(), before.valid_from))
        with context.catalog.read("preparing a change") as reader:
            change = plan(context, reader, before, after)
        vectorise(context, [change])
        with context.catalog.write("renaming a memory's file") as writer:  # nothing is changed before
            if not write_planned(context, writer, change):
                raise ConflictError(f"Others keep changing memory {id}.", hint="Repeat the call.", id=id)
            # Synced: after a power cut nothing else tells that the pointer to the old name is this memory's.
            journal = {"op": "rename", "id": id, "from": old, "path": new, "hash": row.hash.hex()}
            folder.journal.write(journal, durable=True)
            _move(folder, before.scope, old, new, data)
            mirror.remove(writer.db, old)
            mirror.put(writer.db, replace(row, path=new, stamp=folder.stamp_if(new, data)))
            folder.forget_left(writer)
        with contextlib.suppress(LaminaError):  # else whoever holds the folder next leads the pointer there
            rename_pointer(context, folder, old, new, id)
            folder.journal.clear()
        with context.catalog.read("reading what was renamed") as reader:
            return context.current(reader, id).to_memory()


def _unchanged(folder: Folder, path: str, row: mirror.FileRow) -> bytes:
    """Return a file's bytes, which must be those that the catalog knows."""
    try:
        data = fs.read_file(folder.absolute(path), max_bytes=MAX_FILE_BYTES, follow=False)
    except NotFoundError:
        raise folder.conflict(path, None) from None
    if content_hash(data) != row.hash:
        raise folder.conflict(path, None)
    return data


def _check_free(folder: Folder, old: str, new: str) -> None:
    """Raise where a file has a name that some file systems take for the new one."""
    taken = {folded(name) for name in folder.names_in(posixpath.dirname(new)) if _join(new, name) != old}
    if folded(posixpath.basename(new)) in taken:
        raise AlreadyExistsError(f"There is a file {new} already.", hint="Choose another name.", path=new)


def _join(path: str, name: str) -> str:
    place = posixpath.dirname(path)
    return f"{place}/{name}" if place else name


def _move(folder: Folder, scope: str, old: str, new: str, data: bytes) -> None:
    if posixpath.dirname(new):
        fs.make_dir(folder.at(posixpath.dirname(new)), mode=0o755 if scope == TEAM else 0o700)
    try:
        fs.move_seen(folder.absolute(old), folder.absolute(new, for_writing=True), seen=data)
    except AlreadyExistsError:
        folder.journal.clear()  # nothing was done
        raise
    except (ConflictError, NotFoundError) as error:
        folder.journal.clear()
        raise folder.conflict(old, None) from error


def _new_path(scope: str, name: str) -> str:
    """Return the path that a name means in a scope.

    Raises:
        InvalidInputError: It leads outside of the scope's folder, or names an index.
    """
    path = safe_relative(name)
    if not path.lower().endswith(".md"):
        path += ".md"
    if scope == TEAM and scope_of(path) != TEAM:
        path = f"{TEAM}/{path}"
    meant = TEAM if "/" in path and folded(path.split("/", 1)[0]) == TEAM else "private"  # TEAM/ is team/ on macOS
    if meant != scope or scope_of(path) != scope:
        raise InvalidInputError(
            f"{path} lies in scope {scope_of(path)}, and the memory is in {scope}.",
            hint="Change its scope with update(id, scope=...) or `lamina move`.",
        )
    indexes = {folded(INDEX_NAME), folded(OVERFLOW_NAME)}
    if folded(posixpath.basename(path)) in indexes or not is_memory_path(path):
        raise InvalidInputError(f"{path} can be no memory's file.", hint="Choose another name.")
    return path
