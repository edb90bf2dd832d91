"""Copying a store while it is in use."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from lamina import fs
from lamina.config import CATALOG_NAME, ENGINE_FOLDER, SETTINGS_NAME
from lamina.errors import AlreadyExistsError, InvalidInputError
from lamina.storage.catalog import SqliteCatalog

__all__ = ["backup_store"]

_PAGES_AT_ONCE = 2048
_MAX_SETTINGS = 1_000_000


def backup_store(catalog: SqliteCatalog, folder: Path, dest: Path, progress: Callable[[int, int], None] | None) -> Path:
    """Copy the store to a new folder, through SQLite's own online backup; the copy is of one moment.

    Raises:
        AlreadyExistsError: The destination is there and not empty.
        InvalidInputError: The destination lies inside the store.
    """
    dest = dest.expanduser().absolute()
    if dest == folder or folder in dest.resolve().parents:
        raise InvalidInputError(f"{dest} lies inside the store itself.", hint="Choose a folder outside of it.")
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise AlreadyExistsError(f"{dest} is there already and not empty.", hint="Choose a new folder.", path=str(dest))
    engine = dest / ENGINE_FOLDER
    fs.make_dir(dest, mode=0o700)
    fs.make_dir(engine, mode=0o700)
    fs.write_file(engine / ".gitignore", b"*\n", mode=0o600)
    catalog.copy_to(engine / CATALOG_NAME, _PAGES_AT_ONCE, progress)
    settings = folder / SETTINGS_NAME
    with contextlib.suppress(FileNotFoundError):
        if settings.is_file():
            fs.write_file(dest / SETTINGS_NAME, fs.read_file(settings, max_bytes=_MAX_SETTINGS), mode=0o600)
    return dest
