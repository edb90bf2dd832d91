"""Vectors that cost time or money to make, kept by the hash of their text.

The cache is derived data in a SQLite file of its own. It is written without a single fsync: a crash of the machine may
damage it, and a damaged cache is deleted and begun anew. Nothing that goes wrong with it stops embedding; what went
wrong is counted in :attr:`EmbeddingCache.stats`. Only :meth:`EmbeddingCache.forget` raises where it could not do its
work, because a promise to a person hangs on it.
"""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lamina import fs
from lamina.embed._vectors import checked_texts
from lamina.errors import AlreadyExistsError, InvalidInputError, LaminaError, LockedError, ReadOnlyError, StorageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lamina.embed._protocol import Embedder, Matrix, Vector

__all__ = ["CacheStats", "CachedEmbedder", "EmbeddingCache", "forget_cached"]

_VERSION = 1
_APPLICATION_ID = 0x4C616D45  # "LamE"
_SCHEMA = """
CREATE TABLE vectors (
    number INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    vector BLOB NOT NULL
) STRICT;
CREATE TABLE embedders (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
"""
_BUSY_MS = 250
_FORGET_BUSY_MS = 5_000
_EVICT = 256
_FILES = ("", "-wal", "-shm", "-journal")
_parents: list[Any] = []
"""Connections that a forked child found: to close one there would touch the parent's files, so they are only kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """What happened since the cache was opened."""

    hits: int = 0
    misses: int = 0
    damaged: int = 0
    """Entries that failed their checksum and were not served."""
    rebuilt: int = 0
    """Times the file was damaged, deleted and begun anew."""
    skipped: int = 0
    """Calls that did without the cache: it was locked, read-only, full or could not be opened."""


class EmbeddingCache:
    """A bounded map from text to vector, for one embedder.

    Several processes may use one file. Entries of several embedders may lie in it: the key is a hash of embedder and
    text together, so no vector is ever served for another one, nor for another number of dimensions. Past ``max_rows``
    the oldest entries go. Each entry has a checksum.

    Args:
        path: The SQLite file; its folder is there. It is opened at first use.
        name: Name of the embedder.
        dim: Its number of dimensions.
        max_rows: Entries kept; 50,000 of 384 dimensions take about 80 MB.
    """

    def __init__(self, path: str | os.PathLike[str], name: str, dim: int, *, max_rows: int = 50_000) -> None:
        if dim < 1 or max_rows < 1:
            raise InvalidInputError(f"dim is {dim}, max_rows is {max_rows}.", hint="Both are at least 1.")
        self.path = Path(path)
        self.name = name
        self.dim = dim
        self.max_rows = max_rows
        self._lock = threading.RLock()
        self._db: Any = None
        self._pid = os.getpid()
        self._stats = CacheStats()

    def __repr__(self) -> str:
        return f"EmbeddingCache({str(self.path)!r}, name={self.name!r}, dim={self.dim})"

    @property
    def stats(self) -> CacheStats:
        """Counts since the cache was opened."""
        return self._stats

    def get_many(self, texts: Sequence[str]) -> tuple[Matrix, NDArray[np.bool_]]:
        """Look texts up.

        Returns:
            Vectors, float32, shape ``(len(texts), dim)``, all zero where there is none; and which were found, shape
            ``(len(texts),)``. Never raises for the state of the file.
        """
        import numpy as np

        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        found = np.zeros(len(texts), dtype=np.bool_)
        damaged: list[tuple[bytes]] = []

        def look_up(db: Any) -> None:
            with db:  # one read transaction
                for place, text in enumerate(texts):
                    key = _key(self.name, text)
                    blob = _value(db, "SELECT vector FROM vectors WHERE key = ?", (key,))
                    values = None if blob is None else self._unpack(key, blob)
                    if values is not None:
                        vectors[place] = values
                        found[place] = True
                    elif blob is not None:
                        damaged.append((key,))
                if damaged:
                    db.executemany("DELETE FROM vectors WHERE key = ?", damaged)

        self._try(look_up)
        hits = int(found.sum())
        self._count(hits=hits, misses=len(texts) - hits, damaged=len(damaged))
        return vectors, found

    def put_many(self, texts: Sequence[str], vectors: Matrix) -> None:
        """Keep the vectors of texts; a call that the file does not take is counted and forgotten.

        Args:
            texts: The texts.
            vectors: Shape ``(len(texts), dim)``.

        Raises:
            InvalidInputError: The shape is another one.
        """
        import numpy as np

        rows = np.ascontiguousarray(vectors, dtype="<f4")
        if rows.shape != (len(texts), self.dim):
            raise InvalidInputError(
                f"Vectors of shape {rows.shape} for {len(texts)} texts of {self.dim} dimensions.",
                hint="Pass one row a text.",
            )
        if not len(texts):
            return
        entries = []
        for text, row in zip(texts, rows, strict=True):
            key = _key(self.name, text)
            data = row.tobytes()
            entries.append((key, data + _check(key, data)))

        def keep(db: Any) -> None:
            with db:
                db.execute("INSERT OR IGNORE INTO embedders VALUES (?)", (_storable(self.name),))
                db.executemany("INSERT OR REPLACE INTO vectors (key, vector) VALUES (?, ?)", entries)
                self._evict(db)

        self._try(keep)

    def forget(self, texts: Iterable[str]) -> int:
        """Scrub the vectors of texts, whichever embedder made them: from the file and from its log.

        Returns:
            Entries removed.

        Raises:
            LockedError: Another process kept the file busy; nothing is promised about what is left.
            ReadOnlyError: The file cannot be written.
            StorageError: The file could not be written or truncated for another reason.
        """
        apsw = _apsw()
        with self._lock:
            try:
                self.path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return 0
            except OSError as error:  # its folder may not be entered, so nobody knows what is there
                raise fs.translate(error, self.path, "scrub the embedding cache") from error
            try:
                db = self._connection()
                db.set_busy_timeout(_FORGET_BUSY_MS)
                try:
                    names = {self.name, *(row[0] for row in db.execute("SELECT name FROM embedders"))}
                    before = db.total_changes()
                    with db:
                        keys = ((_key(name, text),) for text in texts for name in names)
                        db.executemany("DELETE FROM vectors WHERE key = ?", keys)
                    removed = int(db.total_changes() - before)
                    if db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                        raise apsw.BusyError("its log is in use")
                finally:
                    db.set_busy_timeout(_BUSY_MS)
            except (apsw.CorruptError, apsw.NotADBError):
                self._count(rebuilt=1)
                self.clear()  # all of it goes, so the texts' vectors do too
                return 0
            except apsw.Error as error:
                raise self._not_forgotten(error) from error
        return removed

    def clear(self) -> None:
        """Delete the file, with every entry of every embedder.

        Raises:
            StorageError: It could not be deleted.
        """
        with self._lock:
            try:
                self._drop()
            except OSError as error:
                raise self._not_forgotten(error) from error

    def count(self) -> int:
        """Return the number of entries in the file, of every embedder; 0 where it cannot be read."""
        return int(self._try(lambda db: _value(db, "SELECT count(*) FROM vectors")) or 0)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            self._disconnect()

    def _try(self, action: Callable[[Any], Any]) -> Any:
        # returns what the action returned, or None where the file was not to be had; SQLite's errors become counts
        apsw = _apsw()
        with self._lock:
            result = None
            try:
                result = action(self._connection())
            except (apsw.CorruptError, apsw.NotADBError):
                self._count(rebuilt=1)
                with suppress(OSError):
                    self._drop()
            except apsw.Error:
                self._count(skipped=1)
            return result

    def _connection(self) -> Any:
        self._leave_parents()
        if self._db is None:
            apsw = _apsw()
            try:
                self._db = self._open()
            except (apsw.CorruptError, apsw.NotADBError):
                self._count(rebuilt=1)
                with suppress(OSError):
                    self._drop()
                self._db = self._open()
        return self._db

    def _open(self) -> Any:
        self._keep_private()
        apsw = _apsw()
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
        db = apsw.Connection("file:" + quote(os.fsencode(self.path)), flags=flags)  # a path need not be UTF-8
        try:
            db.set_busy_timeout(_BUSY_MS)
            # the log keeps readers and a killed writer apart; synchronous=OFF means that nothing ever waits for a disk
            for pragma in ("journal_mode=WAL", "synchronous=OFF", "secure_delete=ON", "trusted_schema=OFF"):
                db.pragma(*pragma.split("="))
            known = (_APPLICATION_ID, _VERSION)
            if (db.pragma("application_id"), db.pragma("user_version")) != known:
                with _immediate(db):
                    if (db.pragma("application_id"), db.pragma("user_version")) != known:
                        if _value(db, "SELECT count(*) FROM sqlite_schema"):
                            raise apsw.NotADBError("not this version's cache")
                        db.execute(_SCHEMA)
                        db.pragma("application_id", _APPLICATION_ID)
                        db.pragma("user_version", _VERSION)
        except BaseException:
            db.close(True)
            raise
        return db

    def _keep_private(self) -> None:
        """See to it that only its owner can read the file; SQLite gives its log the same rights."""
        try:
            fs.write_file(self.path, b"", mode=0o600)  # SQLite takes an empty file for a new database
        except AlreadyExistsError:
            for suffix in _FILES:
                file = self.path.with_name(self.path.name + suffix)
                with suppress(OSError):
                    if file.stat().st_mode & 0o077:
                        file.chmod(0o600)
        except LaminaError as error:
            raise _apsw().CantOpenError(str(error)) from error

    def _evict(self, db: Any) -> None:
        last = _value(db, "SELECT max(number) FROM vectors")
        first = _value(db, "SELECT min(number) FROM vectors")
        if last is None or last - first < self.max_rows:  # numbers only grow, so there cannot be more rows than that
            return
        excess = int(_value(db, "SELECT count(*) FROM vectors")) - self.max_rows
        if excess > 0:
            db.execute(
                "DELETE FROM vectors WHERE number IN (SELECT number FROM vectors ORDER BY number LIMIT ?)",
                (excess + min(_EVICT, self.max_rows // 8),),
            )

    def _not_forgotten(self, error: Exception) -> LockedError | ReadOnlyError | StorageError:
        apsw = _apsw()
        where = {"path": str(self.path)}
        if isinstance(error, (apsw.BusyError, apsw.LockedError)):
            return LockedError(
                f"The embedding cache {self.path} is busy, so vectors of purged texts may still be in it.",
                hint="Purge again when the other process is done, or delete the file.",
                **where,
            )
        if isinstance(error, (apsw.ReadOnlyError, apsw.CantOpenError)):
            return ReadOnlyError(
                f"The embedding cache {self.path} cannot be written, so vectors of purged texts may still be in it.",
                hint="Delete the file, or make its folder writable and purge again.",
                **where,
            )
        return StorageError(
            f"The embedding cache {self.path} could not be scrubbed: {error}.",
            hint="Delete the file; it is made anew.",
            **where,
        )

    def _unpack(self, key: bytes, blob: bytes) -> NDArray[np.float32] | None:
        import numpy as np

        data = blob[:-4]
        if len(data) != 4 * self.dim or blob[-4:] != _check(key, data):
            return None
        return np.frombuffer(data, dtype="<f4")

    def _drop(self) -> None:
        self._disconnect()
        for suffix in _FILES:
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _leave_parents(self) -> None:
        if self._pid != os.getpid():
            _parents.append(self._db)
            self._db, self._pid = None, os.getpid()

    def _disconnect(self) -> None:
        self._leave_parents()
        if self._db is not None:
            with suppress(_apsw().Error):
                self._db.close(True)
            self._db = None

    def _count(self, **more: int) -> None:
        with self._lock:
            self._stats = replace(self._stats, **{key: getattr(self._stats, key) + n for key, n in more.items()})


class CachedEmbedder:
    """An embedder that asks the wrapped one only for texts it has not seen; questions go straight through.

    Args:
        embedder: One that is not :attr:`~lamina.embed.Embedder.cheap`.
        cache: A cache for its name and its number of dimensions.

    Raises:
        InvalidInputError: The cache is for another embedder.
    """

    cheap = False

    def __init__(self, embedder: Embedder, cache: EmbeddingCache) -> None:
        if (cache.name, cache.dim) != (embedder.name, embedder.dim):
            raise InvalidInputError(
                f"A cache for {cache.name} ({cache.dim}) cannot serve {embedder.name} ({embedder.dim}).",
                hint="Make the cache with the embedder's own name and dim.",
            )
        self.embedder = embedder
        self.cache = cache

    def __repr__(self) -> str:
        return f"CachedEmbedder({self.embedder!r})"

    @property
    def name(self) -> str:
        """The wrapped embedder's name: the vectors are the same."""
        return self.embedder.name

    @property
    def dim(self) -> int:
        """The wrapped embedder's number of dimensions."""
        return self.embedder.dim

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Embed texts, each different one at most once; see :class:`~lamina.embed.Embedder`."""
        import numpy as np

        checked_texts(texts)
        distinct = list(dict.fromkeys(texts))
        place = {text: number for number, text in enumerate(distinct)}
        vectors, found = self.cache.get_many(distinct)
        missing = [text for text, there in zip(distinct, found.tolist(), strict=True) if not there]
        if missing:
            fresh = self.embedder.embed(missing)
            vectors[~found] = fresh
            self.cache.put_many(missing, fresh)
        result: Matrix = vectors[np.array([place[text] for text in texts], dtype=np.intp)]
        return result

    def embed_query(self, text: str) -> Vector:
        """Embed a question with the wrapped embedder; questions are not kept."""
        return self.embedder.embed_query(text)


def forget_cached(path: str | os.PathLike[str], texts: Iterable[str]) -> int:
    """Scrub texts from a cache file, whichever embedders filled it and whether or not one is in use now.

    Returns:
        Entries removed; 0 where there is no file.

    Raises:
        LockedError: Another process kept the file busy.
        ReadOnlyError: The file cannot be written.
        StorageError: It could not be scrubbed for another reason.
    """
    cache = EmbeddingCache(path, "", 1)
    try:
        return cache.forget(texts)
    finally:
        cache.close()


def _apsw() -> Any:
    import apsw  # 6 ms, which a store with a cheap embedder does not pay here

    return apsw


@contextmanager
def _immediate(db: Any) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _value(db: Any, sql: str, bindings: tuple[object, ...] = ()) -> Any:
    row = db.execute(sql, bindings).fetchone()
    return None if row is None else row[0]


def _key(name: str, text: str) -> bytes:
    data = f"{name}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16).digest()


def _storable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _check(key: bytes, data: bytes) -> bytes:
    return zlib.crc32(data, zlib.crc32(key)).to_bytes(4, "little")
