"""Changing a memory that is a file, becomes one, or ceases to be one; a file is replaced only while it is as known."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any

from lamina import fs
from lamina.errors import ConflictError, InvalidInputError, LaminaError, NotFoundError
from lamina.folder.index import INDEX_NAME
from lamina.folder.names import file_name, free_name, id_moment
from lamina.memories.adoption import (
    content_hash,
    document_changes,
    document_fields,
    is_filed,
    label,
    read_memory,
    to_record,
)
from lamina.memories.context import Context
from lamina.memories.filing import (
    PRIVATE_MODE,
    TEAM_MODE,
    check_shareable,
    check_taken,
    checked_size,
    notices_of,
    row_of,
)
from lamina.memories.folder import MAX_FILE_BYTES, TEAM
from lamina.memories.pointers import add_pointers, check_indexes, remove_pointers, retitle_pointer
from lamina.memories.revisions import Planned, plan, vectorise, write_planned
from lamina.memories.uses import write_uses
from lamina.storage import mirror
from lamina.storage.mirror import FileRow
from lamina.storage.reader import Reader
from lamina.storage.records import Action, Record, now_micros
from lamina.storage.writer import Writer

__all__ = ["change_filed"]


def change_filed(
    context: Context,
    id: str,
    action: Action,
    changed: Callable[[Reader, Record], Record],
    *,
    vector: Any = None,
) -> tuple[Record, tuple[str, ...]]:
    """Change a memory that is a file, or becomes one, or ceases to be one.

    Returns:
        The new revision, and what its writer should know.

    Raises:
        ConflictError: Somebody changed the file since it was last read; both texts are kept.
        InvalidInputError: The change may not be made.
    """
    folder = context.folder
    with folder.changing(context, context.settings.busy_timeout):
        with context.catalog.read("reading what is to change") as reader:
            before = context.current(reader, id)
            after = changed(reader, before)
            row = mirror.by_memory(reader.db, id) if before.path else None
        if after == before and vector is None:
            return before, ()
        filed = is_filed(after.scope, after.type)
        if filed and (before.scope != after.scope or document_changes(before, after)):
            check_shareable(after)
        change = _Change(context, before, after, row=row, action=action, vector=vector)
        if before.path and filed:
            notices = change.rewrite() if before.scope == after.scope else change.relocate()
        elif filed:
            notices = change.become_file()
        else:
            notices = change.become_row()
        if not change.unfinished:
            folder.journal.clear()
    return change.after, (*notices, *(notices_of(after) if after.text != before.text else ()))


class _Change:
    """One change of a memory that is or becomes a file; the folder is held."""

    def __init__(
        self,
        context: Context,
        before: Record,
        after: Record,
        *,
        row: FileRow | None,
        action: Action,
        vector: Any,
    ) -> None:
        self.context, self.folder = context, context.folder
        self.before, self.after = before, after
        self.row, self.action, self.vector = row, action, vector
        self.pointed = True
        """False where an index could not be changed; the journal then stays for whoever holds the folder next."""
        self.unfinished = False
        """Whether the journal has to stay, for whoever holds the folder next."""

    def rewrite(self) -> tuple[str, ...]:
        """Change the file where it is."""
        path = str(self.before.path)
        data = self._unchanged()
        new = self._edited(data)
        change = self._pointer_change()
        planned = self._planned(path, new)
        with self.context.catalog.write("changing a memory") as writer:  # nothing is changed before
            self._check_first(writer)
            self._announce_update(path, data, new)
            if new != data:
                self._replace(path, new, data)
            self._write_row(writer, planned, path, new)
        return self._pointed(lambda: self._pointers(path, change))

    def relocate(self) -> tuple[str, ...]:
        """Move the file to another scope: the new one is complete before the old one goes."""
        old = str(self.before.path)
        data = self._unchanged()
        place = self.folder.scope_folder(self.after.scope)
        check_indexes(self.folder, [place])
        new = self._edited(data)
        path = self._free(place, old.rsplit("/", 1)[-1])
        self._write_new(path, new, "move", leaving=(old, data))
        notices = self._pointed(self._add_pointer)
        return (*notices, *self._leave(old, data))

    def become_file(self) -> tuple[str, ...]:
        """A row becomes a file."""
        from lamina.folder.document import render_document

        place = self.folder.scope_folder(self.after.scope)
        check_indexes(self.folder, [place])
        path = self._free(place, file_name(self.after.type, label(self.after)[0]))
        made = self.after.created_at // 1000 != (id_moment(self.after.id) or 0) // 1000
        data = checked_size(render_document(**document_fields(self.after, created=made)))
        self._write_new(path, data, "file")
        return self._pointed(self._add_pointer)

    def become_row(self) -> tuple[str, ...]:
        """A file becomes a row: the row is complete before the file goes."""
        old = str(self.before.path)
        data = self._unchanged()
        planned = self._planned(None, b"")
        with self.context.catalog.write("changing a memory") as writer:
            self._check_first(writer)
            self.folder.journal.write({"op": "row", "path": old, "hash": content_hash(data).hex()})
            self._write_row(writer, planned, None, b"", leaving=old)
        return self._leave(old, data)

    def _write_new(self, path: str, data: bytes, operation: str, leaving: tuple[str, bytes] | None = None) -> None:
        """Write a file under a name that is free, and its row; a failure is taken back by whoever comes next."""
        planned = self._planned(path, data)
        with self.context.catalog.write("changing a memory") as writer:
            self._check_first(writer)
            self._publish(path, data, operation)
            if leaving is not None and self.folder.read(leaving[0]) != leaving[1]:
                fs.remove_file(self.folder.absolute(path), missing_ok=True)
                self.folder.journal.clear()
                raise self.folder.conflict(leaving[0], data)  # somebody saved while the new file was written
            self._write_row(writer, planned, path, data, leaving=None if leaving is None else leaving[0])

    def _leave(self, old: str, data: bytes) -> tuple[str, ...]:
        """Remove the file that the memory has left; say so where somebody wrote to it meanwhile, and it stays."""
        remove_pointers(self.folder, [old])
        try:
            fs.remove_seen(self.folder.absolute(old), seen=data)
        except NotFoundError:
            pass
        except ConflictError:
            return (f"Someone wrote to {old} while the memory left it: the file stays, as a memory of its own.",)
        return ()

    def _pointed(self, act: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """Change pointers; what is durable by then is not told as an error, but what is still to come."""
        try:
            return act()
        except LaminaError as error:
            self.unfinished = True
            return (f"A pointer in {INDEX_NAME} is still to come: {error.message} Opening the store again mends it.",)

    def _add_pointer(self) -> tuple[str, ...]:
        if self.after.superseded_by is not None:  # what was replaced by another has no pointer
            return ()
        return add_pointers(self.context, self.folder, [(str(self.after.path), *label(self.after))])

    def _announce_update(self, path: str, seen: bytes, new: bytes) -> None:
        self.folder.journal.write(
            {
                "op": "update",
                "id": self.before.id,
                "path": path,
                "seen": content_hash(seen).hex(),
                "new": content_hash(new).hex(),
                "pointer": self._pointer_change(),
                "old": list(label(self.before)),
                "title": list(label(self.after)),
                "items": [{"id": self.before.id, "path": path}] if self._pointer_change() == "add" else [],
            }
        )

    def _unchanged(self) -> bytes:
        """Return the file's bytes, which must be those that the catalog knows.

        Raises:
            ConflictError: They are others; what was to be written is kept.
        """
        path = str(self.before.path)
        try:
            data = fs.read_file(self.folder.absolute(path), max_bytes=MAX_FILE_BYTES, follow=False)
        except NotFoundError:
            raise self.folder.conflict(path, self._whole()) from None
        if self.row is None or content_hash(data) != self.row.hash or not data.strip():
            raise self.folder.conflict(path, self._whole())  # an empty file is one that an editor is about to fill
        return data

    def _whole(self) -> bytes:
        """What the file would say if nobody else had changed it."""
        from lamina.folder.document import render_document

        return render_document(**document_fields(self.after, created=True))

    def _edited(self, data: bytes) -> bytes:
        from lamina.folder.document import edit_document, parse_document

        path, changes = str(self.before.path), document_changes(self.before, self.after)
        try:
            made = [name for name in ("title", "description") if name in changes and getattr(self.after, name) is None]
            if made:  # follows from the text: a file that does without it goes on so
                document = parse_document(data, name=path)
                for name in made:
                    if getattr(self.before, name) is None and getattr(document, name) is None:
                        del changes[name]
            return checked_size(edit_document(data, changes))
        except InvalidInputError as error:
            details = error.details | {"path": path}
            message = f"{path} was not changed: {error.message}"
            raise InvalidInputError(message, hint=error.hint or "Mend the file by hand first.", **details) from error

    def _replace(self, path: str, new: bytes, seen: bytes) -> None:
        try:
            fs.replace_file(self.folder.absolute(path), new, seen=seen)
        except (ConflictError, NotFoundError) as error:
            self.folder.journal.clear()  # nothing was done
            raise self.folder.conflict(path, new) from error

    def _free(self, place: str, name: str) -> str:
        name = free_name(name, self.folder.names_in(place))
        path = f"{place}/{name}" if place else name
        check_taken(self.context, path)
        return path

    def _publish(self, path: str, data: bytes, operation: str) -> None:
        place = posixpath.dirname(path)
        if place:
            fs.make_dir(self.folder.at(place), mode=0o755)
        items = [{"id": self.before.id, "path": path}]
        # Synced: a second file with the memory's id must not be met without knowing what it is.
        record: dict[str, Any] = {"op": operation, "hash": content_hash(data).hex(), "items": items}
        if self.row is not None:
            record |= {"from": self.before.path, "seen": self.row.hash.hex()}
        self.folder.journal.write(record, durable=True)
        mode = TEAM_MODE if self.after.scope == TEAM else PRIVATE_MODE
        fs.write_file(self.folder.absolute(path, for_writing=True), data, mode=mode)

    def _planned(self, path: str | None, data: bytes) -> Planned:
        """Prepare the row: what the file says is what is known, so that the next sync finds nothing to change."""
        self.after.path = path
        if path is not None:
            read = read_memory(data, path)
            self.after, _ = to_record(
                read, id=self.after.id, path=path, scope=self.after.scope, mtime=now_micros(), before=self.before
            )
        with self.context.catalog.read("preparing a change") as reader:
            change = plan(self.context, reader, self.before, self.after, action=self.action, vector=self.vector)
        vectorise(self.context, [change])
        return change

    def _check_first(self, writer: Writer) -> None:
        """Raise where somebody else changed the memory since it was read.

        Raises:
            ConflictError: It was changed.
        """
        now = writer.current(self.before.id)
        if now is None or now.seq != self.before.seq:
            raise ConflictError(f"Others keep changing memory {self.before.id}.", hint="Repeat the call.")

    def _write_row(
        self, writer: Writer, planned: Planned, path: str | None, data: bytes, *, leaving: str | None = None
    ) -> None:
        write_planned(self.context, writer, planned)
        if leaving is not None and self.row is not None:
            row = FileRow(path=leaving, memory=None, hash=self.row.hash, stamp=self.row.stamp, leaving=True)
            mirror.put(writer.db, row)
        if path is not None:
            mirror.put(writer.db, row_of(self.folder, self.after, data))
        self.folder.forget_left(writer)
        write_uses(self.context, writer)

    def _pointer_change(self) -> str:
        before, after = self.before, self.after
        if (before.superseded_by is None) != (after.superseded_by is None):
            return "remove" if before.superseded_by is None else "add"
        return "retitle" if label(before) != label(after) else ""

    def _pointers(self, path: str, change: str) -> tuple[str, ...]:
        before = self.before
        if change == "remove":
            remove_pointers(self.folder, [path])
        elif change == "add":
            return self._add_pointer()
        elif change == "retitle":
            retitle_pointer(self.folder, path, label(before), label(self.after))
        return ()
