"""Taking away what a purged memory left beside its file: texts kept for conflicts, and drafts of killed processes."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence

from lamina import fs
from lamina.config import ENGINE_FOLDER
from lamina.errors import LaminaError
from lamina.memories.context import Context
from lamina.memories.folder import CONFLICTS, MAX_FILE_BYTES, Folder, loser_stem
from lamina.storage.records import Record

__all__ = ["scrub_leftovers"]

_SURELY_ITS_OWN = 12
"""Bytes from which a text in somebody's draft is no chance."""
_KEPT = re.compile(r"(.*)\.\d{8}-\d{6}-\d{9}\.md")  # as `Folder.keep_loser` names them


def scrub_leftovers(context: Context, id: str, revisions: Sequence[Record]) -> list[str]:
    """Remove what is kept of a memory beside its file.

    A text that was kept for a conflict goes where it has the memory's id, its text, or the name of its file and no
    other id; a draft goes where it holds a text of the memory.

    Args:
        context: Of the store.
        id: Of the memory.
        revisions: All that it ever said.

    Returns:
        What could not be removed, as ``Deletion.kept`` has it.

    Raises:
        LockedError: Someone kept changing files.
    """
    paths = {record.path for record in revisions if record.path is not None}
    if not paths:
        return []
    folder = context.folder
    texts = {record.text.strip().encode("utf-8") for record in revisions}
    kept = []
    with folder.changing(context, context.settings.busy_timeout):
        for path in (*_conflicts(folder, id, paths, texts), *_drafts(folder, id, paths, texts)):
            try:
                fs.remove_file(path, missing_ok=True)
            except LaminaError as error:
                kept.append(f"{os.path.relpath(path, folder.root)}: {error.message} Remove it yourself.")
    return kept


def _conflicts(folder: Folder, id: str, paths: Iterable[str], texts: set[bytes]) -> Iterator[str]:
    from lamina.folder.document import parse_document

    stems = {loser_stem(path) for path in paths}
    for name in folder.names_in(f"{ENGINE_FOLDER}/{CONFLICTS}"):
        path = folder.at(f"{ENGINE_FOLDER}/{CONFLICTS}/{name}")
        data = _read(path)
        found = _KEPT.fullmatch(name)
        same_name = found is not None and found[1] in stems
        try:
            document = parse_document(data, name=name)
        except LaminaError:
            if same_name or id.encode() in data:
                yield path
            continue
        said = document.text.strip().encode("utf-8", "surrogatepass")
        if document.id == id or said in texts or (same_name and document.id is None):
            yield path


def _drafts(folder: Folder, id: str, paths: Iterable[str], texts: set[bytes]) -> Iterator[str]:
    places = {folder.at(f"{ENGINE_FOLDER}/{CONFLICTS}"), folder.root}
    places |= {folder.at(posixpath.dirname(path)) for path in paths}
    for place in sorted(places):
        for stray in fs.stray_files(place):
            data = _read(stray)
            if id.encode() in data or any(len(text) >= _SURELY_ITS_OWN and text in data for text in texts):
                yield stray


def _read(path: str) -> bytes:
    try:
        return fs.read_file(path, max_bytes=MAX_FILE_BYTES, follow=False)
    except LaminaError:
        return b""
