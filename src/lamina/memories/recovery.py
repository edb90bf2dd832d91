"""Finishing what a killed process was about to do with files.

The journal names one operation. New memories whose files are all there are finished forwards: rows, then pointers; a
part of them is taken back, and so is a move whose row was not written yet. A deletion that had begun is finished. What
cannot be told apart any more is left to the people: nothing is removed whose bytes are not those that the operation
knew, and a text that nobody can place is kept among the conflicts.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from lamina import fs
from lamina.errors import ConflictError, InvalidInputError, LaminaError, NotFoundError
from lamina.folder.index import INDEX_NAME, OVERFLOW_NAME, Index
from lamina.folder.pointers import read_link, target_key
from lamina.memories.folder import MAX_FILE_BYTES, Folder, is_memory_path, scope_of
from lamina.storage import mirror

if TYPE_CHECKING:
    from lamina.memories.context import Context

__all__ = ["recover"]


def recover(context: Context, folder: Folder) -> None:
    """Finish what the journal names, and remove what was left of files whose memory has moved; the folder is held."""
    with context.catalog.read("looking at what was left unfinished") as reader:
        leaving = mirror.leaving(reader.db)
    record = folder.journal.read()
    if record is not None and not _is_sound(record):
        folder.journal.clear()  # nobody of ours wrote it: it says nothing that could be done
        record = None
    folder.left = []
    for row in leaving:
        _leave(context, folder, row)
    paths = [*_paths(record or {}), *(row.path for row in leaving)]
    known = {row.hash.hex() for row in leaving} | _hashes(record or {})
    if record is not None:
        _finish(context, folder, record)
    if paths:
        _clear_strays(folder, paths, known)
    if record is not None:
        folder.journal.clear()


def _is_sound(record: dict[str, Any]) -> bool:
    """Return whether a journal says what this version writes, about files of this store alone.

    A folder may come from elsewhere: a journal in it must not lead recovery to anything but markdown files in it.
    """
    items, places = record.get("items", []), record.get("places", [])
    if not isinstance(items, list) or not isinstance(places, list):
        return False
    if not all(
        isinstance(item, dict) and is_memory_path(item.get("path")) and _is_id(item.get("id")) for item in items
    ):
        return False
    if not all(isinstance(place, str) and (place == "" or is_memory_path(f"{place}/x.md")) for place in places):
        return False
    if any(name in record and not is_memory_path(record[name]) for name in ("path", "from")):
        return False
    for name in ("old", "title"):
        pair = record.get(name, ["", ""])
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            return False
    if "id" in record and not _is_id(record["id"]):
        return False
    needed: dict[Any, tuple[str, ...]] = {"delete": ("path",), "rename": ("path", "from", "id"), "update": ("path",)}
    operation = record.get("op")
    return isinstance(operation, str) and all(name in record for name in needed.get(operation, ()))


def _is_id(value: object) -> bool:
    from lamina.memories.checks import check_id

    try:
        return check_id(value) == value
    except InvalidInputError:
        return False


def _finish(context: Context, folder: Folder, record: dict[str, Any]) -> None:
    """Finish or take back the operation that the journal names."""
    operation = record.get("op")
    if operation == "add":
        _complete_or_remove(context, folder, record)
    elif operation in ("file", "move"):
        _take_back(context, folder, record)
    elif operation == "delete":
        _finish_delete(folder, record)
    elif operation == "rename":
        _finish_rename(folder, record)
    _sync(context, folder)
    with contextlib.suppress(InvalidInputError):  # an index that is none holds no pointer; `index --check` names it
        _point(context, folder, record)


def _paths(record: dict[str, Any]) -> list[str]:
    """Return the files that an operation named, and the indexes where it was about those."""
    paths = [record.get("path"), record.get("from"), *(item.get("path") for item in record.get("items", ()))]
    paths += [posixpath.join(str(place), INDEX_NAME) for place in record.get("places", ())]
    return [str(path) for path in paths if path]


def _hashes(record: dict[str, Any]) -> set[str]:
    """Return the hashes of all bytes that an operation knew."""
    said = [record, *record.get("items", ())]
    return {str(part[name]) for part in said for name in ("seen", "new", "hash") if part.get(name)}


def _leave(context: Context, folder: Folder, row: mirror.FileRow) -> None:
    """Remove a file whose memory has moved, unless somebody wrote to it since."""
    from lamina.memories.pointers import remove_pointers

    if is_memory_path(row.path):
        found, known = _hash(folder, row.path), row.hash.hex()
    else:  # a damaged catalog, or one that came from elsewhere
        found, known = "unreadable", ""
    if found == known:
        remove_pointers(folder, [row.path])
        _remove(folder, row.path, known)
    if found is None:
        folder.left.append(row.path)
        return
    with context.catalog.write("removing what was left of a moved file") as writer:
        mirror.remove(writer.db, row.path)


def _complete_or_remove(context: Context, folder: Folder, record: dict[str, Any]) -> None:
    """Leave the files of new memories where all are there or their rows are; remove what is only a part of a call."""
    items = record.get("items", ())
    with context.catalog.read("looking at what was left unfinished") as reader:
        if any(reader.current(str(item["id"])) is not None for item in items):
            return
    there = [item for item in items if _hash(folder, item["path"]) == item.get("hash")]
    if len(there) < len(items):
        for item in there:
            _remove(folder, str(item["path"]), item["hash"])


def _take_back(context: Context, folder: Folder, record: dict[str, Any]) -> None:
    """Remove the new file of a move whose row was not written; where it was written the rest is finished later."""
    for item in record.get("items", ()):
        with context.catalog.read("looking at what was left unfinished") as reader:
            current = reader.current(str(item["id"]))
        if current is not None and current.path == item["path"]:
            continue
        _remove(folder, str(item["path"]), record.get("hash"))
        item["path"] = ""


def _finish_delete(folder: Folder, record: dict[str, Any]) -> None:
    from lamina.memories.pointers import remove_pointers

    path = str(record["path"])
    found = _hash(folder, path)
    if found is None or found == record.get("hash"):
        remove_pointers(folder, [path])
        _remove(folder, path, found)


def _finish_rename(folder: Folder, record: dict[str, Any]) -> None:
    """Take away one of the two names that a file had when its renaming ended early; the one with an edit stays."""
    known = record.get("hash")
    old, new = str(record["from"]), str(record["path"])
    before, after = _hash(folder, old), _hash(folder, new)
    if before is None or after is None or known is None:
        return
    if after == known and before != known:
        _remove(folder, new, known)
    elif after == known or _says_id(folder, new, str(record["id"])):  # else it is somebody else's file
        _remove(folder, old, known)


def _says_id(folder: Folder, path: str, id: str) -> bool:
    """Return whether a file says that it is a memory's."""
    from lamina.folder.document import parse_document

    try:
        return parse_document(folder.read(path) or b"", name=path).id == id
    except InvalidInputError:
        return False


def _clear_strays(folder: Folder, paths: Sequence[str], known: Collection[str]) -> None:
    """Remove the drafts that a killed process left beside files and their indexes.

    A draft that had changed places with a file may be what somebody saved in that very moment: it is kept among the
    conflicts unless it is known, or an index of which every line is still there but for pointers of this operation.
    """
    for place, around in _places(folder, paths).items():
        lines: set[str] | None = None
        for stray in fs.stray_files(folder.at(place)):
            if stray.endswith(".swap"):
                try:
                    data = fs.read_file(stray, max_bytes=MAX_FILE_BYTES, follow=False)
                except LaminaError:
                    continue
                lines = _index_lines(folder, place) if lines is None else lines
                if _hex(data) not in known and not _stands(data, lines, place, paths):
                    folder.keep_loser(around, data)
            fs.remove_file(stray, missing_ok=True)


def _places(folder: Folder, paths: Sequence[str]) -> dict[str, str]:
    """Return the folders of files and those above them up to their scope's, each with one of the files."""
    places: dict[str, str] = {}
    for path in paths:
        top, place = folder.scope_folder(scope_of(path)), posixpath.dirname(path)
        while True:
            places.setdefault(place, path)
            if place in ("", top):
                break
            place = posixpath.dirname(place)
    return places


def _index_lines(folder: Folder, place: str) -> set[str]:
    """Return the lines of the indexes of a folder."""
    lines: set[str] = set()
    for name in (INDEX_NAME, OVERFLOW_NAME):
        with contextlib.suppress(LaminaError):
            data = fs.read_file(folder.at(posixpath.join(place, name)), max_bytes=MAX_FILE_BYTES, follow=False)
            lines |= {line.strip() for line in Index.parse(data).lines}
    return lines


def _stands(data: bytes, lines: set[str], place: str, paths: Sequence[str]) -> bool:
    """Return whether every line of a draft of an index is known, but for pointers to certain files."""
    targets = {target_key(posixpath.relpath(path, place or ".")) for path in paths} | {OVERFLOW_NAME}
    for line in Index.parse(data).lines:
        if line.strip() and line.strip() not in lines:
            link = read_link(line)
            if link is None or target_key(link.target) not in targets:
                return False
    return True


def _sync(context: Context, folder: Folder) -> None:
    from lamina.memories.syncing import Changes, apply, look

    found = look(context)
    if found.differs:
        apply(context, folder, found, Changes())


def _point(context: Context, folder: Folder, record: dict[str, Any]) -> None:
    """Bring the pointers of the operation's memories to where they belong."""
    from lamina.memories.adoption import label
    from lamina.memories.pointers import add_pointers, remove_pointers, rename_pointer, retitle_pointer

    items = [item for item in record.get("items", ()) if item.get("path")]
    path, change = str(record.get("path")), record.get("pointer")
    with context.catalog.read("looking at what was left unfinished") as reader:
        now = reader.current(str(record["id"])) if "id" in record else None
    if now is not None and now.path == path:  # else it did not come to that, or went on since
        if record.get("op") == "rename":
            rename_pointer(context, folder, str(record["from"]), path, now.id)
        elif change == "retitle" and list(label(now)) == record["title"]:
            retitle_pointer(folder, path, tuple(record["old"]), tuple(record["title"]))
        elif change == "remove" and now.superseded_by is not None:
            remove_pointers(folder, [path])
    wanted = []
    for item in items:
        with context.catalog.read("looking at what was left unfinished") as reader:
            current = reader.current(str(item["id"]))
        if current is not None and current.path == item["path"] and current.superseded_by is None:
            wanted.append((str(item["path"]), *label(current)))
    if wanted:
        add_pointers(context, folder, wanted)


def _remove(folder: Folder, path: str, hash: str | None) -> None:
    """Remove a file whose bytes have this hash; any other one stays."""
    data = folder.read(path)
    if data is not None and _hex(data) == hash:
        with contextlib.suppress(ConflictError, NotFoundError):
            fs.remove_seen(folder.absolute(path), seen=data)


def _hash(folder: Folder, path: str) -> str | None:
    """Return the hash of a file's bytes; None where it is not there, and what equals no hash where it is unreadable."""
    try:
        return _hex(fs.read_file(folder.absolute(path), max_bytes=MAX_FILE_BYTES, follow=False))
    except NotFoundError:
        return None
    except LaminaError:
        return "unreadable"


def _hex(data: bytes) -> str:
    from lamina.memories.adoption import content_hash

    return content_hash(data).hex()
