"""Connections to the catalog: opening, waiting, transactions, and the mapping of SQLite's errors to ours.

Only apsw opens ``catalog.db*``: opening its shared memory any other way drops SQLite's locks (see sqlite.org,
"How To Corrupt", section 2.2).
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw

from lamina import fs
from lamina.errors import (
    ClosedError,
    CorruptionError,
    DiskFullError,
    LaminaError,
    LockedError,
    PoisonedError,
    ReadOnlyError,
    StorageError,
)
from lamina.storage.migrations import lend_tables

__all__ = ["ConnectionPool", "translate_sqlite"]

CHECKPOINT_PAGES = 4000
"""Pages in the write-ahead log (16 MB) from which a writer moves them into the catalog after its commit."""

_SCAN_BYTES = 1 << 20
_READERS_WAIT = 1.0
"""Seconds that emptying the log waits for readers; it holds up writers meanwhile."""

_FSYNC_FAILURES = {apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC}


def translate_sqlite(error: apsw.Error, path: Path, doing: str) -> LaminaError:
    """Return the error of ours that says what SQLite's error means for ``path``."""
    extended = getattr(error, "extendedresult", 0)
    where = {"path": str(path), "sqlite": extended}
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return LockedError(
            f"Another process kept writing to {path} while {doing}; nothing was written.",
            hint="Try again, or see who holds it with `lamina doctor`.",
            **where,
        )
    if isinstance(error, apsw.FullError):
        return DiskFullError(
            f"No room is left on the disk of {path} while {doing}; the change was undone.",
            hint="Free some space and repeat it.",
            **where,
        )
    if isinstance(error, (apsw.ReadOnlyError, apsw.PermissionsError, apsw.AuthError)):
        return ReadOnlyError(
            f"{path} cannot be written while {doing}.",
            hint="Check its owner and rights, or open it read-only.",
            **where,
        )
    damage = isinstance(error, (apsw.CorruptError, apsw.NotADBError, apsw.FormatError))
    if damage or "malformed JSON" in str(error):
        return CorruptionError(
            f"{path} is damaged ({error}), noticed while {doing}.",
            hint="Run `lamina verify` to see what is affected and `lamina repair` to keep what is intact.",
            **where,
        )
    if isinstance(error, apsw.IOError):
        if extended in _FSYNC_FAILURES:
            return PoisonedError(
                f"The disk did not confirm a write to {path} while {doing}, so what reached it is unknown.",
                hint="Reopen the store and run `lamina verify`.",
                **where,
            )
        return StorageError(
            f"The disk failed under {path} while {doing} ({error}).",
            hint="Check the disk, then run `lamina verify`.",
            **where,
        )
    if isinstance(error, apsw.CantOpenError):
        return StorageError(
            f"{path} cannot be opened while {doing}.", hint="Check that the folder is there and may be read.", **where
        )
    if isinstance(error, (apsw.NoMemError, apsw.TooBigError)):
        return StorageError(f"{path}: {error} while {doing}.", hint="Use smaller batches or texts.", **where)
    return LaminaError(
        f"The catalog {path} answered {type(error).__name__}: {error} while {doing}.",
        hint="This is a fault of Lamina; please report it.",
        **where,
    )


class _Connection(apsw.Connection):
    """A connection that knows what it was lent."""

    lent: int | None = None
    """Format of its catalog, where that is from before some tables and it was given empty ones of its own."""


class ConnectionPool:
    """One writing connection and as many reading ones as threads need at once.

    Args:
        path: The catalog's file; it must exist.
        read_only: Refuse every write.
        busy_timeout: Seconds that a writer waits for another one.
        relaxed: Do not wait for the disk at each commit.
    """

    def __init__(self, path: Path, *, read_only: bool, busy_timeout: float, relaxed: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._busy_timeout = busy_timeout
        self._relaxed = relaxed
        self._pid = os.getpid()
        self._closed = False
        self._poison: PoisonedError | None = None
        self._write_lock = threading.RLock()
        self._writer: apsw.Connection | None = None
        self._in_write = False
        self._idle: list[_Connection] = []
        self._idle_lock = threading.Lock()
        self._log_pages = 0
        self._snapshot: tuple[int, int, int] | None = None
        """State of the file, where it can only be read as if nobody wrote it."""
        self._checkpoint_lock = fs.FileLock(path.parent / "checkpoint.lock")

    @property
    def open(self) -> bool:
        """False once it was closed."""
        return not self._closed

    @contextmanager
    def read(self, doing: str = "reading") -> Iterator[apsw.Connection]:
        """Yield a connection inside one read transaction: everything seen belongs to one moment."""
        self.check()
        with self._mapped(doing):
            connection = self._begun()
            try:
                try:
                    yield connection
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
            except apsw.Error:
                _close(connection)  # whatever it stumbled over, the next reader begins with a fresh one
                raise
            except BaseException:
                self._put_back(connection)
                raise
            self._put_back(connection)

    @contextmanager
    def write(self, doing: str = "writing", *, wait: float | None = None) -> Iterator[apsw.Connection]:
        """Yield the writing connection inside one ``BEGIN IMMEDIATE`` transaction; commit at the end, or undo it all.

        Args:
            doing: What the caller does, for messages.
            wait: Seconds to wait for another writer; the pool's own bound when None.

        Raises:
            LockedError: Another writer was busy for longer than the wait.
            ReadOnlyError: The store was opened read-only.
        """
        self.check()
        if self.read_only:
            raise ReadOnlyError(
                f"The store {self.path.parent.parent} is open for reading only; {doing} was refused.",
                hint="Open it without read_only=True.",
            )
        limit = self._busy_timeout if wait is None else wait
        if not self._write_lock.acquire(timeout=limit):
            raise LockedError(
                f"Another thread kept writing to {self.path} for {limit:g} s while {doing}.", hint="Try again."
            )
        try:
            self.check()  # it may have been closed while this thread waited
            if self._in_write:
                raise LaminaError("A write was started inside another one.", hint="This is a fault of Lamina.")
            with self._mapped(doing):
                connection = self._writer or self._open(writing=True)
                self._writer = connection
                connection.set_busy_handler(_patience(limit))
                connection.execute("BEGIN IMMEDIATE")
                self._in_write = True
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    self._undo(connection)
                    raise
                finally:
                    self._in_write = False
            if self._log_pages >= CHECKPOINT_PAGES:
                # The commit stands whatever becomes of this: a failure is told by the next call, not by this one.
                with contextlib.suppress(LaminaError):
                    self.checkpoint()
        finally:
            self._write_lock.release()

    def checkpoint(self, *, truncate: bool = False) -> bool:
        """Move the write-ahead log into the catalog, unless another process is doing so.

        Args:
            truncate: Also empty the log's file, waiting for readers for a moment.

        Returns:
            Whether the whole log was moved (and emptied); otherwise a later commit tries again.
        """
        self.check()
        with self._write_lock:
            self.check()
            if self.read_only:
                return False
            try:
                with self._checkpoint_lock.hold(5.0 if truncate else 0.0), self._mapped("moving the log"):
                    connection = self._writer = self._writer or self._open(writing=True)
                    connection.set_busy_handler(_patience(_READERS_WAIT))
                    mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if truncate else apsw.SQLITE_CHECKPOINT_PASSIVE
                    pages, moved = connection.wal_checkpoint(mode=mode)
                    self._log_pages = pages
                    if truncate:
                        self._sync_log(connection)
                    return bool(pages == moved)
            except LockedError:
                return False

    def _sync_log(self, connection: apsw.Connection) -> None:
        """Make it durable that the log was emptied: SQLite shortens the file and leaves it at that.

        A power loss would bring the old bytes back, purged texts among them. The fsync of one more commit, which
        writes the version that is there already, is SQLite's own way to sync the log.
        """
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.pragma("user_version", connection.pragma("user_version"))
            connection.execute("COMMIT")
        except BaseException:
            self._undo(connection)
            raise

    def vacuum(self, free_share: float) -> bool:
        """Rewrite the file where more than a share of its pages is unused (-1: always); return whether it was."""
        self.check()
        with self._write_lock, self._mapped("rewriting the catalog"):
            connection = self._writer
            if connection is None or self.read_only:
                return False
            if connection.pragma("freelist_count") <= free_share * connection.pragma("page_count"):
                return False
            connection.pragma("temp_store", 1)  # the copy may be as large as the store: not in memory
            connection.execute("VACUUM")
            connection.pragma("temp_store", 2)
        self.checkpoint(truncate=True)
        return True

    def holds_any(self, stretches: Sequence[bytes]) -> bool:
        """Return whether the catalog's file still has one of these bytes anywhere, unused room included.

        SQLite clears what it deletes, but a page that was split before can hold a stale copy behind its cells. The file
        is read through SQLite: opening it any other way would drop SQLite's locks.
        """
        if not stretches:
            return False
        overlap = max(len(stretch) for stretch in stretches) - 1
        with self.read("looking for remains") as connection:
            size = connection.pragma("page_count") * connection.pragma("page_size")
            before = b""
            for offset in range(0, size, _SCAN_BYTES):
                _, block = connection.read("main", 0, offset, min(_SCAN_BYTES, size - offset))
                window = before + block
                if any(stretch in window for stretch in stretches):
                    return True
                before = window[-overlap:] if overlap else b""
        return False

    def check(self) -> None:
        """Raise unless the pool may be used by this process.

        Raises:
            ClosedError: It was closed, or this is a forked child.
            PoisonedError: An earlier fsync failed.
        """
        if os.getpid() != self._pid:
            raise ClosedError(
                "This store was opened by the parent process and cannot be used in a forked child.",
                hint="Open it again with lamina.open() in the child.",
            )
        if self._closed:
            raise ClosedError("This store is closed.", hint="Open it again with lamina.open().")
        if self._poison is not None:
            raise PoisonedError(self._poison.message, hint=self._poison.hint, **self._poison.details)

    def close(self) -> None:
        """Close every connection; the last one in the machine also folds the log into the catalog."""
        if self._closed:
            return
        self._closed = True
        if os.getpid() != self._pid:
            return  # the parent's connections: closing them here would drop its locks
        with self._write_lock, self._idle_lock:
            connections = [*self._idle, *([self._writer] if self._writer else [])]
            self._idle, self._writer = [], None
            for connection in connections:
                _close(connection)

    def _begun(self) -> _Connection:
        """Return a connection whose read transaction has begun."""
        while True:
            connection = self._take()
            try:
                connection.execute("BEGIN")
                if connection.lent is None or connection.pragma("user_version") == connection.lent:
                    return connection
            except BaseException:
                _close(connection)
                raise
            _close(connection)  # somebody brought the catalog up to date: what was lent hides what is there now

    def _take(self) -> _Connection:
        if self._snapshot is not None and self._snapshot != self._file_state():
            # The file changed under readers that had been told it would not: none of them may be used again.
            with self._idle_lock:
                stale, self._idle, self._snapshot = self._idle, [], None
            for connection in stale:
                _close(connection)
        with self._idle_lock:
            if self._idle:
                return self._idle.pop()
        return self._open(writing=False)

    def _put_back(self, connection: _Connection) -> None:
        with self._idle_lock:
            if not (connection.in_transaction or self._closed):
                self._idle.append(connection)
                return
        _close(connection)

    def _file_state(self) -> tuple[int, int, int]:
        """Return what tells one state of the catalog from another for a reader that takes no part in its log.

        Raises:
            ReadOnlyError: Acknowledged writes lie in the log, which such a reader cannot see.
        """
        try:
            log = self.path.with_name(self.path.name + "-wal").stat().st_size
        except OSError:
            log = 0
        if log:
            raise ReadOnlyError(
                f"{self.path.parent.parent} may not be written here, and its log holds writes that are not folded into "
                "the catalog yet, so reading it would answer from the past.",
                hint="Let someone who may write it run `lamina status`, or copy the folder and open the copy.",
            )
        stat = self.path.stat()
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def _open(self, *, writing: bool) -> _Connection:
        flags = apsw.SQLITE_OPEN_URI | (apsw.SQLITE_OPEN_READWRITE if writing else apsw.SQLITE_OPEN_READONLY)
        uri = "file:" + quote(os.fsencode(self.path)) + ("?immutable=1" if self._snapshot else "")
        vfs = fs.catalog_vfs()
        try:
            connection = _Connection(uri, flags=flags, vfs=vfs)
            self._configure(connection, writing=writing)
        except (apsw.CantOpenError, apsw.ReadOnlyError):
            # A reader in a folder that it may not write cannot make the shared memory of the log.
            if writing or self._snapshot or not self.path.is_file() or self._may_make_files():
                raise
            self._snapshot = self._file_state()
            return self._open(writing=False)
        return connection

    def _may_make_files(self) -> bool:
        return os.access(self.path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids)

    def _configure(self, connection: _Connection, *, writing: bool) -> None:
        connection.set_busy_handler(_patience(self._busy_timeout))
        connection.create_scalar_function("casefold", _casefold, 1, deterministic=True)
        connection.pragma("cache_size", -8192)
        connection.pragma("temp_store", 2)
        connection.pragma("trusted_schema", False)
        if self.read_only:
            connection.lent = lend_tables(connection)
        connection.pragma("query_only", not writing)
        connection.pragma("cell_size_check", True)
        if writing:
            connection.pragma("synchronous", "NORMAL" if self._relaxed else "FULL")
            connection.pragma("fullfsync", True)
            connection.pragma("checkpoint_fullfsync", True)
            connection.pragma("secure_delete", True)
            connection.pragma("wal_autocheckpoint", 0)
            connection.pragma("journal_size_limit", 64 << 20)
            connection.set_wal_hook(self._note_log)

    def _note_log(self, _connection: apsw.Connection, _schema: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _undo(self, connection: apsw.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except apsw.Error:
            _close(connection)
            self._writer = None

    @contextmanager
    def _mapped(self, doing: str) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            mapped = translate_sqlite(error, self.path, doing)
            if isinstance(mapped, PoisonedError):
                self._poison = mapped
            raise mapped from error
        except UnicodeDecodeError as error:  # bytes that are damaged can pass for text, in any column
            raise CorruptionError(
                f"{self.path} holds text that is no UTF-8 ({error.reason}), noticed while {doing}.",
                hint="Run `lamina verify` to see what is affected and `lamina repair` to keep what is intact.",
                path=str(self.path),
            ) from error


def _casefold(*values: Any) -> Any:
    return values[0].casefold() if isinstance(values[0], str) else values[0]


def _close(connection: apsw.Connection) -> None:
    """Close a connection; what was committed is durable in the log even where the last checkpoint fails."""
    with contextlib.suppress(apsw.Error):
        connection.close(True)


def _patience(limit: float) -> Callable[[int], bool]:
    """Return a busy handler that waits, with jitter, for at most ``limit`` seconds from its first call."""
    started: list[float] = []

    def wait(attempt: int) -> bool:
        now = time.monotonic()
        if attempt == 0 or not started:
            started[:] = [now]
        left = limit - (now - started[0])
        if left <= 0:
            return False
        time.sleep(min(left, random.uniform(0.2, 1.0) * min(0.001 * 2 ** min(attempt, 6), 0.05)))
        return True

    return wait
