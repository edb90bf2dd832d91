"""Writing memories that are files: file, then row, then pointer; deletion goes the other way.

Every change holds the folder and first says in its journal what it is about to do, so that whoever holds the folder
next finishes what a killed process left (:mod:`lamina.memories.recovery`).
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from lamina import fs
from lamina.errors import AlreadyExistsError, ConflictError, InvalidInputError, LaminaError, NotFoundError
from lamina.folder.dates import relative_dates
from lamina.folder.index import INDEX_NAME
from lamina.folder.names import file_name, free_name
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
from lamina.memories.drafts import Prepared
from lamina.memories.folder import MAX_FILE_BYTES, TEAM, Folder
from lamina.memories.pointers import add_pointers, check_indexes, remove_pointers, retitle_pointer
from lamina.memories.revisions import Planned, plan, plan_end, vectorise, write_planned
from lamina.memories.uses import write_uses
from lamina.storage import mirror
from lamina.storage.mirror import FileRow
from lamina.storage.reader import Reader
from lamina.storage.records import Action, Record
from lamina.storage.writer import Writer
from lamina.types import Deletion

__all__ = ["change_filed", "delete_filed", "notices_of", "render_file", "write_files"]

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
    data = render_document(**document_fields(prepared.record, created=created))
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInputError(
            f"The memory would be a file of {len(data):,} bytes; at most {MAX_FILE_BYTES:,} fit.",
            hint="Cut it into several memories.",
        )
    prepared.file = data


def check_shareable(record: Record) -> None:
    """Raise unless a memory may be written for its scope.

    Raises:
        InvalidInputError: It is for the team and carries a secret.
    """
    if record.scope != TEAM:
        return
    from lamina.guard.secrets import find_secrets  # its rules take 10 ms to load

    parts = (record.title, record.description, record.text, record.source, record.metadata_json(), *record.tags)
    found = find_secrets("\n".join(part for part in parts if part))
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


# --- adding ----------------------------------------------------------------------------------------------------------


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
            _publish(folder, batch)
            rows = [_row_of(folder, item.record, item.file or b"") for item in batch]
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


def _publish(folder: Folder, batch: Sequence[Prepared]) -> None:
    """Give each draft a free name in its scope's folder, and write it; nothing is ever replaced."""
    waiting: dict[str, list[Prepared]] = {}
    for item in batch:
        waiting.setdefault(folder.scope_folder(item.record.scope), []).append(item)
    for _ in range(_TRIES):
        for place, drafts in waiting.items():
            _name(folder, place, drafts)
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


def _name(folder: Folder, place: str, drafts: Sequence[Prepared]) -> None:
    if place:
        fs.make_dir(folder.at(place), mode=0o755)
    taken = set(folder.names_in(place))
    for draft in drafts:
        name = free_name(file_name(draft.record.type, label(draft.record)[0]), taken)
        taken.add(name)
        draft.record.path = f"{place}/{name}" if place else name


def _announce(folder: Folder, batch: Iterable[Prepared]) -> None:
    """Say which files are to be made; no more of each, so that a thousand of them have room in the journal."""
    items = [
        {"id": item.record.id, "path": item.record.path, "hash": content_hash(item.file or b"").hex()} for item in batch
    ]
    # One file is whole or absent by itself; of several a part must be known to be one after a power cut, too.
    folder.journal.write({"op": "add", "items": items}, durable=len(items) > 1)


def _row_of(folder: Folder, record: Record, data: bytes) -> FileRow:
    return FileRow(
        path=str(record.path),
        memory=record.id,
        hash=content_hash(data),
        body=content_hash(record.text.strip().encode("utf-8")),
        stamp=folder.stamp_if(str(record.path), data),
    )


# --- changing --------------------------------------------------------------------------------------------------------


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

    def rewrite(self) -> tuple[str, ...]:
        """Change the file where it is."""
        path = str(self.before.path)
        data = self._unchanged()
        new = self._edited(data)
        change = self._pointer_change()
        self._announce_update(path, data, new)
        if new != data:
            self._replace(path, new, data)
        self._write_row(path, new)
        return self._pointers(path, change)

    def relocate(self) -> tuple[str, ...]:
        """Move the file to another scope: the new one is complete before the old one goes."""
        old = str(self.before.path)
        data = self._unchanged()
        place = self.folder.scope_folder(self.after.scope)
        check_indexes(self.folder, [place])
        new = self._edited(data)
        path = self._free(place, old.rsplit("/", 1)[-1])
        self._publish(path, new, "move")
        if self.folder.read(old) != data:  # somebody saved while the new file was written
            fs.remove_file(self.folder.absolute(path), missing_ok=True)
            self.folder.journal.clear()
            raise self.folder.conflict(old, new)
        self._write_row(path, new, leaving=old)
        notices = add_pointers(self.context, self.folder, [(path, *label(self.after))]) if self._shown() else ()
        return (*notices, *self._leave(old, data))

    def become_file(self) -> tuple[str, ...]:
        """A row becomes a file."""
        from lamina.folder.document import render_document

        place = self.folder.scope_folder(self.after.scope)
        check_indexes(self.folder, [place])
        path = self._free(place, file_name(self.after.type, label(self.after)[0]))
        data = render_document(**document_fields(self.after, created=True))
        self._publish(path, data, "file")
        self._write_row(path, data)
        return add_pointers(self.context, self.folder, [(path, *label(self.after))]) if self._shown() else ()

    def become_row(self) -> tuple[str, ...]:
        """A file becomes a row: the row is complete before the file goes."""
        old = str(self.before.path)
        data = self._unchanged()
        self.folder.journal.write({"op": "row", "path": old, "hash": content_hash(data).hex()})
        self._write_row(None, b"", leaving=old)
        return self._leave(old, data)

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
        if self.row is None or content_hash(data) != self.row.hash:
            raise self.folder.conflict(path, self._whole())
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
            return edit_document(data, changes)
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
        return f"{place}/{name}" if place else name

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

    def _write_row(self, path: str | None, data: bytes, *, leaving: str | None = None) -> None:
        after = self.after
        after.path = path
        if path is not None:
            read = read_memory(data, path)
            stamp = fs.stamp_of(self.folder.at(path))
            mtime = 0 if stamp is None else stamp.mtime_ns // 1000
            # What the file says is what is known, so that the next sync finds nothing to change.
            after, _ = to_record(read, id=after.id, path=path, scope=after.scope, mtime=mtime, before=self.before)
            self.after = after
        with self.context.catalog.read("preparing a change") as reader:
            change: Planned = plan(self.context, reader, self.before, after, action=self.action, vector=self.vector)
        vectorise(self.context, [change])
        with self.context.catalog.write("changing a memory") as writer:
            if not write_planned(self.context, writer, change):
                raise ConflictError(f"Others keep changing memory {self.before.id}.", hint="Repeat the call.")
            if leaving is not None and self.row is not None:
                mirror.put(
                    writer.db,
                    FileRow(path=leaving, memory=None, hash=self.row.hash, stamp=self.row.stamp, leaving=True),
                )
            if path is not None:
                mirror.put(writer.db, _row_of(self.folder, after, data))
            self.folder.forget_left(writer)
            write_uses(self.context, writer)

    def _shown(self) -> bool:
        """Whether the memory has a pointer: one that was replaced by another has none."""
        return self.after.superseded_by is None

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
            return add_pointers(self.context, self.folder, [(path, *label(self.after))])
        elif change == "retitle":
            retitle_pointer(self.folder, path, label(before), label(self.after))
        return ()


# --- deleting --------------------------------------------------------------------------------------------------------


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
        remove_pointers(folder, [path])
        try:
            if data is not None:
                fs.remove_seen(folder.absolute(path), seen=data)
        except NotFoundError:
            pass
        except ConflictError as error:
            if record.superseded_by is None:
                add_pointers(context, folder, [(path, *label(record))])
            folder.journal.clear()
            raise folder.conflict(path, None) from error
        with context.catalog.write("deleting a memory") as writer:
            if not write_planned(context, writer, change):
                raise ConflictError(f"Others keep changing memory {id}.", hint="Repeat the call.", id=id)
            mirror.remove(writer.db, path)
            folder.forget_left(writer)
            write_uses(context, writer)
        folder.journal.clear()
    removed = {"row": 1, "text": change.passages, "vector": change.vectors, "file": int(data is not None)}
    return Deletion(id=id, purged=False, removed=removed, kept=("history: its past texts; purge=True scrubs them too",))
