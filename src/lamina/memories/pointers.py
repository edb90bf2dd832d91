"""Keeping the indexes: each memory file has one pointer, in the index of the nearest folder above it that has one.

An index is changed under the folder's lock and replaced only where it still is what was read; where somebody edited it
meanwhile, it is read again and the pointer goes into what they left.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import posixpath
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lamina import fs
from lamina.errors import AlreadyExistsError, ConflictError, InvalidInputError, NotFoundError, StorageError
from lamina.folder.index import INDEX_NAME, OVERFLOW_NAME, Index
from lamina.folder.limits import Limits
from lamina.folder.names import id_moment
from lamina.folder.overflow import add_all_within, settle
from lamina.memories.adoption import label
from lamina.memories.context import Context
from lamina.memories.folder import TEAM, Folder, scope_of
from lamina.storage import mirror
from lamina.storage.names import NameKind
from lamina.storage.records import now_micros

__all__ = [
    "MAX_INDEX_BYTES",
    "Edit",
    "Ranks",
    "add_pointers",
    "adder",
    "check_indexes",
    "index_place",
    "limits_of",
    "new_index",
    "read_index",
    "remove_pointers",
    "rename_pointer",
    "retitle_pointer",
    "write_indexes",
]

MAX_INDEX_BYTES = 4_000_000
"""A longer index is refused: it has 160 times the bytes that are ever shown."""
_TRIES = 10
_HEADS = {"": b"# Memory\n\n", TEAM: b"# Team memory\n\n"}
_RECENCY_DAYS = 30.0
_MICROS_A_DAY = 86_400_000_000

Edit = Callable[[Index, Index | None], tuple[Index, Index | None]]
"""Returns an index and its overflow as they are to be, given what they are."""


def limits_of(context: Context) -> Limits:
    """Return the limits of the store's indexes."""
    return Limits(lines=context.settings.index_lines, bytes=context.settings.index_bytes)


class Ranks:
    """How important the pointers of one index are; read from the catalog when first asked for.

    In ``private``: pinned, then ``importance + 0.25 · log2(1 + uses) / log2(51) + 0.5 · 2^(-age / 30 days)``, so that
    50 uses weigh as much as a quarter of the importance, and what is new is not the first to go. In ``team``: pinned,
    then importance, then when it was made, all from what is committed, so that two clones agree.

    Args:
        context: Of the store.
        place: The index's folder, relative to the store.
    """

    def __init__(self, context: Context, place: str) -> None:
        self._context = context
        self._place = place
        self._scope = scope_of(f"{place}/x" if place else "x")
        self._ranks: dict[str, tuple[Any, ...]] | None = None

    def __call__(self, target: str) -> tuple[Any, ...]:
        """Return the rank of the memory that a target, relative to the index's folder, leads to; higher is better."""
        if self._ranks is None:
            self._ranks = self._read()
        path = posixpath.normpath(posixpath.join(self._place, target))
        return (*self._ranks.get(path, (False, -1.0, 0)), path)

    def _read(self) -> dict[str, tuple[Any, ...]]:
        now = now_micros()
        ranks: dict[str, tuple[Any, ...]] = {}
        with self._context.catalog.read("ranking pointers") as reader:
            number = reader.name_id(NameKind.SCOPE, self._scope)
            for row in mirror.ranked(reader.db, number or 0):
                path, id, _, _, importance, created, metadata, uses, _, superseded, valid_until = row
                pinned = _pinned(metadata)
                if superseded is not None or (valid_until is not None and valid_until <= now):
                    ranks[path] = (False, -0.5, 0)
                elif self._scope == TEAM:
                    ranks[path] = (pinned, importance, id_moment(id) or 0)
                else:
                    used = min(math.log2(1 + uses) / math.log2(51), 2.0)
                    fresh = 2.0 ** (-max(now - created, 0) / _MICROS_A_DAY / _RECENCY_DAYS)
                    ranks[path] = (pinned, round(importance + 0.25 * used + 0.5 * fresh, 6), created)
        return ranks


def _pinned(metadata: str | None) -> bool:
    """Return whether a memory's metadata says ``pinned: true``."""
    if metadata is None or '"pinned"' not in metadata:
        return False
    try:
        return json.loads(metadata).get("pinned") is True
    except (ValueError, AttributeError):
        return False


def read_index(folder: Folder, place: str, name: str = INDEX_NAME) -> bytes | None:
    """Return an index's bytes, or None where there is none.

    Args:
        folder: The store's.
        place: Of the index, relative to the store.
        name: Of the index.

    Raises:
        InvalidInputError: It is a link, a folder, no text, or far too long.
    """
    path = _join(place, name)
    try:
        data = fs.read_file(folder.at(path), max_bytes=MAX_INDEX_BYTES, follow=False)
        data.decode("utf-8")
    except NotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise _unusable(path, f"is no UTF-8 text at byte {error.start:,}") from None
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{path} cannot serve as an index: {error.message}", hint=error.hint, path=path
        ) from None
    except StorageError as error:
        if place and not os.path.isdir(folder.at(place)):  # noqa: PTH112
            raise _unusable(path, f"lies in {place}, which is no folder") from error
        raise
    if b"\0" in data:
        raise _unusable(path, "is a binary file")
    return data


def check_indexes(folder: Folder, places: Iterable[str]) -> None:
    """Raise unless pointers can be added in these folders.

    Raises:
        InvalidInputError: An index there is a link, a folder, no text, or far too long.
    """
    for place in places:
        for name in (INDEX_NAME, OVERFLOW_NAME):
            read_index(folder, place, name)


def index_place(folder: Folder, path: str) -> str:
    """Return the folder of the index that a file's pointer belongs to: the nearest with one, else the scope's own."""
    top = folder.scope_folder(scope_of(path))
    place = posixpath.dirname(path)
    while place not in ("", top):
        if os.path.lexists(folder.at(_join(place, INDEX_NAME))):
            return place
        place = posixpath.dirname(place)
    return top


def add_pointers(context: Context, folder: Folder, entries: Sequence[tuple[str, str, str]]) -> tuple[str, ...]:
    """Add pointers: ``(path, title, hook)``; return what the writer should know of the indexes' room.

    Raises:
        ConflictError: Somebody kept changing the index.
    """
    notices: dict[str, None] = {}
    places: dict[str, list[tuple[str, str, str]]] = {}
    for path, title, hook in entries:
        places.setdefault(index_place(folder, path), []).append((path, title, hook))
    for place, part in places.items():
        _edit(folder, place, adder(context, place, part, notices), create=True)
    return tuple(notices)[-3:]


def new_index(place: str) -> Index:
    """Return the index of a folder that has none yet."""
    return Index.parse(_HEADS.get(place, _HEADS[""]))


def adder(context: Context, place: str, part: Sequence[tuple[str, str, str]], notices: dict[str, None]) -> Edit:
    """Return what adds pointers ``(path, title, hook)`` to the index of a folder; ``notices`` gets what to tell."""
    ranks, limits = Ranks(context, place), limits_of(context)
    name = _join(place, INDEX_NAME)

    def edit(index: Index, more: Index | None) -> tuple[Index, Index | None]:
        entries = [(title, posixpath.relpath(path, place or "."), hook) for path, title, hook in part]
        placed = add_all_within(index, more, entries, limits=limits, rank=ranks, name=name)
        notices.update(dict.fromkeys(placed.notices))
        return placed.index, placed.overflow

    return edit


def remove_pointers(folder: Folder, paths: Iterable[str]) -> None:
    """Remove every pointer to files from the indexes above them; prose that mentions them stays."""
    for path in paths:
        top = folder.scope_folder(scope_of(path))
        place = posixpath.dirname(path)
        while True:
            target = posixpath.relpath(path, place or ".")

            def edit(index: Index, more: Index | None, target: str = target) -> tuple[Index, Index | None]:
                settled = settle(index.without(target), None if more is None else more.without(target))
                return settled.index, settled.overflow

            with contextlib.suppress(InvalidInputError):  # what is no index holds no pointer; `index --check` names it
                _edit(folder, place, edit, create=False)
            if place in ("", top):
                break
            place = posixpath.dirname(place)


def retitle_pointer(folder: Folder, path: str, old: Sequence[str], new: Sequence[str]) -> None:
    """Bring a pointer's title and hook up to date where they still are the generated ones."""
    place = index_place(folder, path)
    target = posixpath.relpath(path, place or ".")

    def edit(index: Index, more: Index | None) -> tuple[Index, Index | None]:
        before, after = (old[0], old[1]), (new[0], new[1])
        more = None if more is None else more.retitled(target, old=before, new=after)
        return index.retitled(target, old=before, new=after), more

    with contextlib.suppress(InvalidInputError):  # as in `remove_pointers`
        _edit(folder, place, edit, create=False)


def rename_pointer(context: Context, folder: Folder, old: str, new: str, id: str) -> None:
    """Let the pointer of a memory's file follow it to its new name, with the words that people gave it."""
    place = index_place(folder, new)
    if index_place(folder, old) != place:
        with context.catalog.read("reading what was renamed") as reader:
            record = reader.current(id)
        with contextlib.suppress(InvalidInputError):  # as in `remove_pointers`
            had = _has_pointer(folder, old)
            remove_pointers(folder, [old])
            if had and record is not None and record.path == new:
                add_pointers(context, folder, [(new, *label(record))])
        return
    before, after = (posixpath.relpath(path, place or ".") for path in (old, new))

    def edit(index: Index, more: Index | None) -> tuple[Index, Index | None]:
        return index.renamed(before, after), None if more is None else more.renamed(before, after)

    with contextlib.suppress(InvalidInputError):
        _edit(folder, place, edit, create=False)


def _has_pointer(folder: Folder, path: str) -> bool:
    place = index_place(folder, path)
    target = posixpath.relpath(path, place or ".")
    for name in (INDEX_NAME, OVERFLOW_NAME):
        data = read_index(folder, place, name)
        if data is not None and Index.parse(data).find(target):
            return True
    return False


def write_indexes(folder: Folder, place: str, edit: Edit) -> bool:
    """Change the index of a folder and its overflow; return whether anything changed.

    Raises:
        ConflictError: Somebody kept changing them.
        InvalidInputError: They cannot serve as indexes.
    """
    return _edit(folder, place, edit, create=True)


def _edit(folder: Folder, place: str, edit: Edit, *, create: bool) -> bool:
    """Read an index and its overflow, change both, write what grows first: a pointer may stand twice, never nowhere."""
    for _ in range(_TRIES):
        data, more = read_index(folder, place), read_index(folder, place, OVERFLOW_NAME)
        if data is None and not create:
            return False
        index = new_index(place) if data is None else Index.parse(data)
        overflow = None if more is None else Index.parse(more)
        after, beside = edit(index, overflow)
        try:
            changed = False
            grew = beside is not None and (more is None or len(beside.data) > len(more))
            if grew:
                changed |= _put(folder, place, OVERFLOW_NAME, more, beside)
            if data is None or after.data != data:
                changed |= _put(folder, place, INDEX_NAME, data, after)
            if not grew and more is not None:
                changed |= _put(folder, place, OVERFLOW_NAME, more, beside)
        except (ConflictError, AlreadyExistsError, NotFoundError):
            continue  # somebody saved it meanwhile: the pointer goes into what they left
        return changed
    raise ConflictError(
        f"Somebody keeps changing {_join(place, INDEX_NAME)}.", hint="Repeat it when they are done.", path=place
    )


def _put(folder: Folder, place: str, name: str, seen: bytes | None, after: Index | None) -> bool:
    path = folder.at(_join(place, name))
    if after is None:
        if seen is not None:
            fs.remove_seen(path, seen=seen)
        return True
    if seen == after.data:
        return False
    if seen is None:
        fs.write_file(path, after.data, mode=0o644 if scope_of(_join(place, name)) == TEAM else 0o600)
    else:
        fs.replace_file(path, after.data, seen=seen)
    return True


def _join(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name


def _unusable(path: str, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"{path} cannot serve as an index: it {why}.",
        hint="Move it away; `lamina index --fix` makes a new one.",
        path=path,
    )
