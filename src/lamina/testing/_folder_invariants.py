"""What must hold of a store's folder between any two writes, whatever happened before."""

from __future__ import annotations

import os
from pathlib import Path

from lamina import fs
from lamina.config import ENGINE_FOLDER
from lamina.errors import LaminaError
from lamina.folder.document import parse_document
from lamina.folder.scan import scan
from lamina.memories.folder import CONFLICTS, JOURNAL_NAME
from lamina.store import Store
from lamina.types import CURATED_TYPES, FILE_SCOPES

__all__ = ["BROKEN", "check_folder", "kept_texts"]

BROKEN = ("orphan", "dangling", "doubled", "outdated", "index-unusable", "conflict-markers", "id-doubled")
"""Problems of an index that no write and no kill may leave."""


def check_folder(store: Store, *, loose: int = 0, kept: int = 0, left: int = 0) -> None:
    """Check that files, rows and pointers of an open store are in step, and that nothing lies about.

    Args:
        store: A store that nobody else writes to.
        loose: How many problems the indexes may have.
        kept: How many texts may lie in the folder of conflicts.
        left: How many temporary files may lie about.

    Raises:
        AssertionError: It is not so.
    """
    found = [problem for problem in store.memories.check_index().problems if problem.code in BROKEN]
    assert len(found) <= loose, found
    _check_files(store)
    again = store.memories.sync()
    assert (again.total, again.opened) == (0, 0), f"the folder was not followed: {again}"
    drafts = sorted(str(path) for path in _left_over(store.location))
    assert len(drafts) <= left, f"temporary files were left: {drafts}"
    record = fs.Journal(store.location / ENGINE_FOLDER / JOURNAL_NAME).read()
    assert record is None, f"the journal still names {record}"
    texts = kept_texts(store.location)
    assert len(texts) <= kept, f"{len(texts)} texts were kept aside: {sorted(texts)}"


def kept_texts(folder: Path) -> dict[str, str]:
    """Return the texts that lost against somebody's edit, by the name of the file that keeps them."""
    place = folder / ENGINE_FOLDER / CONFLICTS
    return {path.name: path.read_text("utf-8") for path in place.iterdir()} if place.is_dir() else {}


def _check_files(store: Store) -> None:
    """Every file is one memory and says what that says; every curated memory of a file scope is a file."""
    memories = store.memories.list(limit=None)
    by_path = {memory.path: memory for memory in memories if memory.path is not None}
    assert len(by_path) == sum(memory.path is not None for memory in memories), "two memories are one file"
    rows = [memory for memory in memories if memory.path is None]
    lost = [memory.id for memory in rows if memory.scope in FILE_SCOPES and memory.type in CURATED_TYPES]
    assert not lost, f"memories of a file scope have no file: {lost}"
    files = scan(store.location).files
    assert set(files) == set(by_path), f"files and memories differ in {set(files) ^ set(by_path)}"
    for path, memory in by_path.items():
        try:
            document = parse_document((store.location / path).read_bytes(), name=path)
        except LaminaError as error:
            raise AssertionError(f"{path} cannot be read: {error}") from error
        assert document.text == memory.text, f"{path} says something else than its memory"
        assert document.id in (None, memory.id), f"{path} has the id of another memory"


def _left_over(folder: Path) -> list[Path]:
    return [
        Path(place) / name
        for place, _, names in os.walk(folder)
        for name in names
        if name.startswith(".lamina-") and name.endswith((".tmp", ".swap"))
    ]
