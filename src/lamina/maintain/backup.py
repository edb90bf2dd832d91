"""Copying a store while it is in use."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from lamina import fs
from lamina.config import CATALOG_NAME, ENGINE_FOLDER, IN_USE_NAME, SETTINGS_NAME
from lamina.errors import AlreadyExistsError, InvalidInputError, LaminaError, LockedError, NotFoundError
from lamina.folder.scan import scan
from lamina.memories.context import Context
from lamina.states.context import StatesContext
from lamina.storage import mirror
from lamina.storage.catalog import SqliteCatalog

__all__ = ["backup_store"]

_PAGES_AT_ONCE = 2048
_COPY_BYTES = 4 << 20
PACKS = "packs"
_MAX_SETTINGS = 1_000_000
_IGNORE = ".gitignore"
_MAX_COPIED = 1 << 30
"""A memory's file may have grown past what is read as one; it is copied all the same."""
UNFINISHED = "backup.unfinished"
"""Says that what lies beside it is a copy that did not come to its end."""
_PART = f"{CATALOG_NAME}.part"


def backup_store(context: Context, folder: Path, dest: Path, progress: Callable[[int, int], None] | None) -> Path:
    """Copy the store to a new folder: its files, and the catalog through SQLite's own online backup.

    The copy is of one moment: nobody changes files through Lamina meanwhile, and rows are those of the catalog's copy.

    The catalog gets its name last, when the copy is complete. A copy that fails is taken away again; one that was
    killed is recognised by what is there and lacks, and begun anew by the next.

    Args:
        context: Of the store.
        folder: The store's.
        dest: Where to; absolute.
        progress: Called with the pages done and the pages there are.

    Raises:
        AlreadyExistsError: The destination is there, and holds anything but an unfinished copy.
        InvalidInputError: The destination lies inside the store.
        LockedError: Another backup is being made there.
    """
    settings = _settings(folder)
    try:
        if dest == folder or folder.resolve() in (dest.resolve(), *dest.resolve().parents):
            raise InvalidInputError(f"{dest} lies inside the store itself.", hint="Choose a folder outside of it.")
        ours = _is_ours(dest, settings)
    except (OSError, RuntimeError) as error:  # a folder on the way may not be entered, or is a circle of links
        cause = error if isinstance(error, OSError) else OSError(str(error))
        raise fs.translate(cause, dest, "look at") from error
    if not ours:
        raise _taken(dest)
    engine = dest / ENGINE_FOLDER
    fs.clear_poison(dest)  # what an earlier attempt left unsure is written anew
    there = dest.exists()
    lock = fs.FileLock(engine / IN_USE_NAME)
    try:
        fs.make_dir(engine, mode=0o700)
        lock.acquire(0.0)
    except LockedError as error:
        raise LockedError(
            f"Another process is making a backup in {dest}.", hint="Wait for it, or choose another folder."
        ) from error
    except BaseException:
        _remove_empty(dest, there=there)
        raise
    try:
        if not _is_ours(dest, settings):  # another backup finished between the look and the lock
            raise _taken(dest)
        try:
            _write(engine / _IGNORE, b"*\n")
            if settings is not None:
                _write(dest / SETTINGS_NAME, settings)
            _write(engine / UNFINISHED, b"")
            catalog = context.catalog
            with _still(context), StatesContext(catalog, catalog.settings, folder / ENGINE_FOLDER).holding_packs():
                _copy_files(context, folder, dest)
                copy = partial(_copy_packs, catalog, folder / ENGINE_FOLDER / PACKS, engine / PACKS)
                copy()
                catalog.copy_to(engine / CATALOG_NAME, _PAGES_AT_ONCE, progress, ready=copy)
            fs.remove_file(engine / UNFINISHED, missing_ok=True)
        except BaseException:
            if not (engine / CATALOG_NAME).exists():
                _take_away(dest, there=there)
            raise
    finally:
        lock.release()
    return dest


@contextlib.contextmanager
def _still(context: Context) -> Iterator[None]:
    """Keep others from changing files through Lamina; a store that may only be read is copied as it is."""
    if context.catalog.read_only:
        yield
        return
    with context.folder.changing(context, context.settings.busy_timeout):
        yield


def _copy_files(context: Context, folder: Path, dest: Path) -> None:
    """Copy memory files and indexes with their rights; the copy's catalog knows them again by their content."""
    found = scan(folder, ignore=context.settings.ignore)
    with context.catalog.read("listing files") as reader:
        known = mirror.stamps(reader.db)
    for path in sorted({*found.files, *found.indexes, *known}):
        source, target = Path(context.folder.at(path)), dest / path
        try:
            data = fs.read_file(source, max_bytes=_MAX_COPIED, follow=False)
            mode = source.stat().st_mode & 0o777
        except NotFoundError:
            continue  # it went meanwhile, or is gone and not synced yet
        except OSError as error:
            raise fs.translate(error, source, "copy") from error
        fs.make_dir(target.parent, mode=0o700)
        fs.write_file(target, data, replace=target.exists(), mode=mode)


def _copy_packs(catalog: SqliteCatalog, packs: Path, dest: Path) -> None:
    """Copy the packs that are not in the copy yet; while they are held none goes, so what the catalog knew is there."""
    with catalog.read("listing packs") as reader:
        known = reader.db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'pack'").fetchall()
        names = [row[0] for row in reader.db.execute("SELECT name FROM pack").fetchall()] if known else []
    if names:
        fs.make_dir(dest, mode=0o700)
    for name in names:
        if not (dest / f"{name}.pack").exists():
            _write_stream(dest / f"{name}.pack", fs.FileReader(packs / f"{name}.pack"))


def _write_stream(path: Path, source: fs.FileReader) -> None:
    offsets = range(0, source.size, _COPY_BYTES)
    parts = (source.read(offset, min(_COPY_BYTES, source.size - offset)) for offset in offsets)
    with contextlib.suppress(AlreadyExistsError):
        fs.write_file(path, parts, mode=0o600)


def _settings(folder: Path) -> bytes | None:
    """Return what the store's own settings file holds."""
    path = folder / SETTINGS_NAME
    try:
        if not path.is_file():
            return None
        return fs.read_file(path, max_bytes=_MAX_SETTINGS)
    except OSError as error:
        raise fs.translate(error, path, "read") from error


def _is_ours(dest: Path, settings: bytes | None) -> bool:
    """Return whether a destination is free: not there, empty, or holding nothing but an unfinished copy of a store."""
    if not dest.exists():
        return not dest.is_symlink()
    if not dest.is_dir():
        return False
    names = {item.name for item in dest.iterdir()}
    if not names:
        return True
    engine = dest / ENGINE_FOLDER
    if ENGINE_FOLDER not in names or engine.is_symlink() or not engine.is_dir():
        return False
    inside = {item.name for item in engine.iterdir()}
    if not all(
        name.startswith(_PART) or name in (_IGNORE, IN_USE_NAME, PACKS, UNFINISHED) or _temporary(name)
        for name in inside
    ):
        return False
    packs = engine / PACKS
    if PACKS in inside and not (
        packs.is_dir() and all(item.suffix == ".pack" or _temporary(item.name) for item in packs.iterdir())
    ):
        return False
    if UNFINISHED in inside:
        return True
    rest = {name for name in names if not _temporary(name)} - {ENGINE_FOLDER}
    return not rest or (rest == {SETTINGS_NAME} and settings == _settings(dest))


def _temporary(name: str) -> bool:
    return name.startswith(".lamina-") and name.endswith((".tmp", ".swap"))


def _taken(dest: Path) -> AlreadyExistsError:
    return AlreadyExistsError(f"{dest} is there already and not empty.", hint="Choose a new folder.", path=str(dest))


def _write(path: Path, data: bytes) -> None:
    """Write a file of the copy; one that an unfinished copy left has the same content."""
    with contextlib.suppress(AlreadyExistsError):
        fs.write_file(path, data, mode=0o600)


def _take_away(dest: Path, *, there: bool) -> None:
    """Remove a copy that failed, as far as that is possible; what the destination was before stays."""
    engine = dest / ENGINE_FOLDER
    with contextlib.suppress(OSError, LaminaError):
        if (engine / UNFINISHED).exists():
            copied = scan(dest)
            for path in (*copied.files, *copied.indexes):
                fs.remove_file(dest / path, missing_ok=True)
            for place in sorted({(dest / path).parent for path in copied.files} - {dest}, reverse=True):
                place.rmdir()
        for file in [*(engine / PACKS).glob("*"), *engine.iterdir(), dest / SETTINGS_NAME]:
            if not file.is_dir():
                fs.remove_file(file, missing_ok=True)
    _remove_empty(dest, there=there)


def _remove_empty(dest: Path, *, there: bool) -> None:
    for folder in (dest / ENGINE_FOLDER / PACKS, dest / ENGINE_FOLDER):
        with contextlib.suppress(OSError):
            folder.rmdir()
    if not there:
        with contextlib.suppress(OSError):
            dest.rmdir()
