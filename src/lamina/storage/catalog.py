"""The catalog of a store: opening it, and the way to read and write through it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import quote

import apsw

from lamina import fs
from lamina.config import CATALOG_NAME, SALVAGE, Settings
from lamina.errors import AlreadyExistsError, CorruptionError, FormatError, NotFoundError, ReadOnlyError
from lamina.storage.codecs import BodyCodec
from lamina.storage.connection import ConnectionPool, translate_sqlite
from lamina.storage.migrations import FORMAT_VERSION, check_format, migrate
from lamina.storage.names import Names
from lamina.storage.reader import Reader
from lamina.storage.writer import Writer

__all__ = ["Catalog", "SqliteCatalog", "check_repaired"]

PAGE_BYTES = 4096

"""Begins the name of the folder in which a repair makes its new catalog."""


@runtime_checkable
class Catalog(Protocol):
    """What a store needs of its catalog; ``lamina.testing.CatalogTests`` is the contract."""

    @property
    def read_only(self) -> bool:
        """True where no write is possible through this handle."""
        ...

    def read(self, doing: str = ...) -> AbstractContextManager[Reader]:
        """Open one consistent view; it ends with the block."""
        ...

    def write(self, doing: str = ..., *, wait: float | None = ...) -> AbstractContextManager[Writer]:
        """Open one atomic change: all of the block's writes are durable when it ends, or none is."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class SqliteCatalog:
    """The catalog on SQLite through apsw.

    Args:
        folder: The engine's folder, ``.lamina``.
        settings: Of the store.
        read_only: Never write; a missing catalog is then an error.
        create: Make the catalog where there is none.

    Raises:
        NotFoundError: There is no catalog, and it may not be made.
        FormatError: It was written by a newer version.
        CorruptionError: It is damaged.
    """

    def __init__(self, folder: Path, settings: Settings, *, read_only: bool = False, create: bool = True) -> None:
        self.path = folder / CATALOG_NAME
        self.settings = settings
        self.names = Names()
        if not self.path.exists():
            check_repaired(folder)
            if read_only or not create:
                raise _missing(folder)
            _create(folder, self.path)
        self.pool = ConnectionPool(
            self.path,
            read_only=read_only,
            busy_timeout=settings.busy_timeout,
            relaxed=settings.durability == "relaxed",
        )
        self.codec = BodyCodec(self._dictionary)
        try:
            self.format, self._writable = self._prepare(folder)
        except BaseException:
            self.pool.close()
            raise

    @property
    def read_only(self) -> bool:
        """True where no write is possible through this handle."""
        return self.pool.read_only or not self._writable

    @contextmanager
    def read(self, doing: str = "reading") -> Iterator[Reader]:
        """Open one consistent view of the catalog; it ends with the block."""
        with self.pool.read(doing) as db:
            yield Reader(db, self.names, self.codec)

    @contextmanager
    def write(self, doing: str = "writing", *, wait: float | None = None) -> Iterator[Writer]:
        """Open one atomic change: all of the block's writes are durable when it ends, or none is.

        Raises:
            LockedError: Another writer was busy for longer than the wait.
            ReadOnlyError: The handle is read-only.
        """
        if not self._writable:
            raise ReadOnlyError(
                f"{self.path.parent.parent} was written by a newer Lamina (format {self.format}); this one reads.",
                hint="Upgrade with `pip install --upgrade lamina`.",
            )
        writer: Writer | None = None
        try:
            with self.pool.write(doing, wait=wait) as db:
                writer = Writer(db, self.names, self.codec)
                yield writer
        except BaseException:
            if writer is not None:
                writer.undone()
            raise
        self.names.remember(writer.new_names)

    def copy_to(
        self,
        path: Path,
        pages: int,
        progress: Callable[[int, int], None] | None,
        *,
        ready: Callable[[], None] | None = None,
    ) -> None:
        """Copy the catalog to a new file by SQLite's online backup: one moment of it, while others write.

        Args:
            path: The new file; it must not exist.
            pages: How many to copy between two looks at other processes.
            progress: Called with the pages done and the pages there are.
            ready: Called when the copy is whole, before it gets its name.
        """
        draft = path.with_name(f"{path.name}.part")
        for ending in ("", "-journal", "-wal", "-shm"):  # of a copy that was interrupted
            fs.remove_file(draft.with_name(draft.name + ending), missing_ok=True)
        fs.write_file(draft, b"", mode=0o600)
        with self.pool.read("backing up") as db:
            try:
                flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
                uri = "file:" + quote(bytes(draft))  # a path need not be UTF-8
                target = apsw.Connection(uri, flags=flags, vfs=fs.catalog_vfs())
            except apsw.Error as error:
                raise translate_sqlite(error, path, "backing up") from error
            try:
                copy = target.backup("main", db, "main")
                try:
                    while not copy.done:
                        copy.step(pages)
                        if progress is not None:
                            progress(copy.page_count - copy.remaining, copy.page_count)
                    copy.finish()
                finally:
                    copy.close(True)
                target.pragma("synchronous", "FULL")
                target.pragma("journal_mode", "wal")
            except apsw.Error as error:
                raise translate_sqlite(error, path, "backing up") from error
            finally:
                with contextlib.suppress(apsw.Error):  # an error that matters was told by the copying itself
                    target.close(True)
        if ready is not None:
            ready()
        fs.move_file(draft, path)

    def close(self) -> None:
        """Close every connection."""
        self.pool.close()

    def _prepare(self, folder: Path) -> tuple[int, bool]:
        """Check the format, and bring an older one up to date where that is allowed."""
        with self.pool.read("opening the catalog") as db:
            version, writable = check_format(db, str(folder.parent))
        if version >= FORMAT_VERSION or not writable or (version and self.pool.read_only):
            return version, writable
        if version == 0:
            raise FormatError(
                f"{self.path} is an empty file, not a catalog.", hint="Remove it, or restore the store from a backup."
            )
        with self.pool.write("bringing the catalog to this version's format") as db:
            version, writable = check_format(db, str(folder.parent))
            if version < FORMAT_VERSION and writable:
                migrate(db, version)
                version = FORMAT_VERSION
        return version, writable

    def _dictionary(self, number: int) -> bytes | None:
        with self.read("reading a dictionary") as reader:
            return reader.dictionary(number)


def _create(folder: Path, path: Path) -> None:
    """Publish an empty catalog in one step, so that no crash can leave half of one; two processes end with one.

    The names of the folders are made durable here even where they were there: whoever made them may have died before.
    """
    fs.make_dir(folder, mode=0o700)
    draft = apsw.Connection(":memory:")
    try:
        draft.pragma("page_size", PAGE_BYTES)
        migrate(draft, 0)
        image = bytearray(draft.serialize("main"))
    finally:
        draft.close(True)
    image[18] = image[19] = 2  # read and write version of the file header: a write-ahead log (sqlite.org/fileformat2)
    with contextlib.suppress(AlreadyExistsError):
        fs.write_file(path, bytes(image), mode=0o600)
    fs.sync_dir(folder)
    fs.sync_dir(folder.parent)


def check_repaired(folder: Path) -> None:
    """Refuse to go on where a repair was interrupted while it replaced the catalog.

    Raises:
        CorruptionError: The repaired catalog is there, and only ``lamina repair`` may put it into its place.
    """
    if any(folder.glob(f"{SALVAGE}*/{CATALOG_NAME}")):
        raise CorruptionError(
            f"A repair of {folder.parent} was interrupted.", hint="Run `lamina repair` again.", path=str(folder.parent)
        )


def _missing(folder: Path) -> NotFoundError:
    return NotFoundError(
        f"There is no store in {folder.parent}.",
        hint="Make one with `lamina init` or lamina.open(..., create=True).",
        path=str(folder.parent),
    )
