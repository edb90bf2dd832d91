from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from lamina.fs import Operation, ShortWrite, catalog_vfs, count_operations, observe


@contextmanager
def database(path: Path, *, wal: bool = True) -> Iterator[apsw.Connection]:
    """Open a database through the observed VFS, with one table, and no checkpoint of its own accord."""
    connection = apsw.Connection(str(path), vfs=catalog_vfs() or "")
    try:
        connection.execute(f"PRAGMA journal_mode = {'wal' if wal else 'delete'}").fetchall()
        connection.execute("PRAGMA synchronous = full; PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE IF NOT EXISTS t (a)")
        yield connection
    finally:
        connection.close()


def only(kind: str, suffix: str, error: OSError) -> Callable[[Operation], None]:
    """Return an observer that raises ``error`` at each ``kind`` on a path that ends so."""

    def observer(operation: Operation) -> None:
        if operation.kind == kind and operation.path.endswith(suffix):
            raise error

    return observer


def test_a_commit_in_wal_mode_is_one_fsync(tmp_path: Path) -> None:
    """A commit shows as writes to the log and one fsync, with the real bytes and offsets."""
    with count_operations() as counter, database(tmp_path / "c.db") as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        before = counter["fsync"]
        log: list[tuple[str, str, int, bytes]] = []

        def record(operation: Operation) -> None:
            log.append((operation.kind, operation.path, operation.offset, bytes(operation.data)))

        with observe(record):
            connection.execute("INSERT INTO t VALUES (2)")
        assert counter["fsync"] - before == 1
        assert {(kind, path) for kind, path, _, _ in log} == {
            ("write", str(tmp_path / "c.db-wal")),
            ("fsync", str(tmp_path / "c.db-wal")),
        }
        content = (tmp_path / "c.db-wal").read_bytes()
        assert all(content[offset : offset + len(data)] == data for _, _, offset, data in log)


def test_shared_memory_is_inherited(tmp_path: Path) -> None:
    """The log mode works through the VFS, also beside a connection that does not use it."""
    with count_operations(), database(tmp_path / "c.db") as connection:
        other = apsw.Connection(str(tmp_path / "c.db"))
        connection.execute("INSERT INTO t VALUES (1)")
        assert other.execute("SELECT a FROM t").get == 1
        other.execute("INSERT INTO t VALUES (2)")
        assert connection.execute("SELECT count(*) FROM t").get == 2
        other.close()


@pytest.mark.parametrize(
    ("kind", "suffix", "code", "result"),
    [
        ("write", "-wal", errno.EIO, apsw.SQLITE_IOERR_WRITE),
        ("write", "-wal", errno.ENOSPC, apsw.SQLITE_FULL),
        ("fsync", "-wal", errno.EIO, apsw.SQLITE_IOERR_FSYNC),
        ("fsync", "-wal", errno.ENOSPC, apsw.SQLITE_IOERR_FSYNC),
    ],
)
def test_a_failed_commit_is_rolled_back(tmp_path: Path, kind: str, suffix: str, code: int, result: int) -> None:
    """SQLite sees its own result code, rolls the transaction back, and the connection works on."""
    with count_operations(), database(tmp_path / "c.db") as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        with observe(only(kind, suffix, OSError(code, os.strerror(code)))), pytest.raises(apsw.Error) as caught:
            connection.execute("INSERT INTO t VALUES (2)")
        assert caught.value.extendedresult == result  # type: ignore[attr-defined]
        assert connection.execute("SELECT a FROM t").fetchall() == [(1,)]
        connection.execute("INSERT INTO t VALUES (3)")
        assert connection.execute("PRAGMA integrity_check").get == "ok"
    plain = apsw.Connection(str(tmp_path / "c.db"))
    assert plain.execute("SELECT a FROM t ORDER BY a").fetchall() == [(1,), (3,)]
    plain.close()


@pytest.mark.parametrize(
    ("kind", "result"), [("write", apsw.SQLITE_IOERR_WRITE), ("truncate", apsw.SQLITE_IOERR_TRUNCATE)]
)
def test_a_failed_checkpoint_loses_nothing(tmp_path: Path, kind: str, result: int) -> None:
    """A fault while the log is copied back is reported, and the rows stay."""
    with count_operations(), database(tmp_path / "c.db") as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        with observe(only(kind, "c.db", OSError(errno.EIO, "x"))), pytest.raises(apsw.IOError) as caught:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert caught.value.extendedresult == result  # type: ignore[attr-defined]
        assert connection.execute("SELECT a FROM t").get == 1


def test_a_short_write_is_a_full_disk(tmp_path: Path) -> None:
    """A short write leaves its first bytes in the file, and SQLite takes the disk for full."""
    with count_operations(), database(tmp_path / "c.db") as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        size = (tmp_path / "c.db-wal").stat().st_size
        with observe(only("write", "-wal", ShortWrite(10))), pytest.raises(apsw.FullError):
            connection.execute("INSERT INTO t VALUES (2)")
        assert (tmp_path / "c.db-wal").stat().st_size == size + 10
        connection.execute("INSERT INTO t VALUES (3)")
        assert connection.execute("SELECT count(*) FROM t").get == 2


def test_a_catalog_that_cannot_be_opened(tmp_path: Path) -> None:
    """A fault at opening is SQLITE_CANTOPEN."""
    with observe(only("create", "c.db", OSError(errno.EIO, "x"))), pytest.raises(apsw.CantOpenError):
        apsw.Connection(str(tmp_path / "c.db"), vfs=catalog_vfs() or "")


def test_rollback_journals_are_announced(tmp_path: Path) -> None:
    """In the older journal mode the journal's making, its folder's fsync and its removal are announced."""
    log: list[tuple[str, str]] = []
    with (
        observe(lambda operation: log.append((operation.kind, os.path.basename(operation.path)))),
        database(tmp_path / "c.db", wal=False) as connection,
    ):
        connection.execute("PRAGMA synchronous = extra")  # makes the removal itself durable
        log.clear()
        connection.execute("INSERT INTO t VALUES (1)")
    assert ("create", "c.db-journal") in log
    assert log.index(("fsync", tmp_path.name)) == log.index(("fsync", "c.db-journal")) + 1
    assert log[-2:] == [("unlink", "c.db-journal"), ("fsync", tmp_path.name)]


def test_a_failed_removal_of_a_journal(tmp_path: Path) -> None:
    """A journal that cannot be removed fails the commit; nothing half is seen."""
    with count_operations(), database(tmp_path / "c.db", wal=False) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        with observe(only("unlink", "-journal", OSError(errno.EIO, "x"))), pytest.raises(apsw.IOError):
            connection.execute("INSERT INTO t VALUES (2)")
        assert connection.execute("SELECT count(*) FROM t").get in (1, 2)
        assert connection.execute("PRAGMA integrity_check").get == "ok"
