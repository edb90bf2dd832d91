"""Giving a memory's file another name; the memory, its history and its pointer follow."""

from __future__ import annotations

import posixpath
from dataclasses import replace

from lamina import fs
from lamina.errors import AlreadyExistsError, ConflictError, InvalidInputError, NotFoundError
from lamina.folder.index import INDEX_NAME, OVERFLOW_NAME
from lamina.guard.paths import safe_relative
from lamina.memories.adoption import content_hash
from lamina.memories.context import Context
from lamina.memories.folder import MAX_FILE_BYTES, TEAM, scope_of
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
            context.check_writes_to(before.scope)
            row = mirror.by_memory(reader.db, id)
        if before.path is None or row is None:
            raise InvalidInputError(f"Memory {id} is no file.", hint="Only curated memories of private and team are.")
        new = _new_path(before.scope, name)
        old = before.path
        if new == old:
            return before.to_memory()
        try:
            data = fs.read_file(folder.absolute(old), max_bytes=MAX_FILE_BYTES, follow=False)
        except NotFoundError:
            raise folder.conflict(old, None) from None
        if content_hash(data) != row.hash:
            raise folder.conflict(old, None)
        target = folder.absolute(new, for_writing=True)
        if posixpath.dirname(new):
            fs.make_dir(folder.at(posixpath.dirname(new)), mode=0o755 if before.scope == TEAM else 0o700)
        # Synced: for a moment the file has two names, and after a power cut they must be known to be one memory.
        folder.journal.write({"op": "rename", "id": id, "from": old, "path": new, "hash": row.hash.hex()}, durable=True)
        try:
            fs.move_seen(folder.absolute(old), target, seen=data)
        except AlreadyExistsError:
            folder.journal.clear()  # nothing was done
            raise
        except (ConflictError, NotFoundError) as error:
            folder.journal.clear()
            raise folder.conflict(old, None) from error
        with context.catalog.read("preparing a change") as reader:
            after = replace(before, path=new, valid_from=max(now_micros(), before.valid_from))
            change = plan(context, reader, before, after)
        vectorise(context, [change])
        with context.catalog.write("renaming a memory's file") as writer:
            if not write_planned(context, writer, change):
                raise ConflictError(f"Others keep changing memory {id}.", hint="Repeat the call.", id=id)
            mirror.remove(writer.db, old)
            mirror.put(writer.db, replace(row, path=new, stamp=folder.stamp_if(new, data)))
            folder.forget_left(writer)
        rename_pointer(context, folder, old, new, id)
        folder.journal.clear()
        with context.catalog.read("reading what was renamed") as reader:
            return context.current(reader, id).to_memory()


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
    if scope_of(path) != scope:
        raise InvalidInputError(
            f"{path} lies in scope {scope_of(path)}, and the memory is in {scope}.",
            hint="Change its scope with update(id, scope=...) or `lamina move`.",
        )
    if posixpath.basename(path) in (INDEX_NAME, OVERFLOW_NAME) or any(part.startswith(".") for part in path.split("/")):
        raise InvalidInputError(f"{path} can be no memory's file.", hint="Choose another name.")
    return path
