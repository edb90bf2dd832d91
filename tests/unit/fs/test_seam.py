from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from lamina.errors import StorageError
from lamina.fs import Operation, ShortWrite, catalog_vfs, count_operations, observe, write_file


def test_count_operations(tmp_path: Path) -> None:
    """A file costs two fsyncs, its own and its folder's, and the counter lives with the context alone."""
    with count_operations() as counter:
        write_file(tmp_path / "a", b"x")
        assert counter["fsync"] == 2
    write_file(tmp_path / "b", b"x")
    assert counter == {"create": 1, "write": 1, "fsync": 2, "link": 1, "unlink": 1}


def test_an_injected_fault_is_hidden_from_outer_observers(tmp_path: Path) -> None:
    """An operation that an inner observer made fail never reaches the outer ones: it did not happen."""
    outer: list[Operation] = []

    def fail(operation: Operation) -> None:
        if operation.kind == "link":
            raise OSError(errno.EIO, "Input/output error")

    with observe(outer.append), observe(fail), pytest.raises(StorageError):
        write_file(tmp_path / "a", b"x")
    assert [operation.kind for operation in outer] == ["create", "write", "fsync", "unlink"]


def test_outer_observers_see_what_a_short_write_left(tmp_path: Path) -> None:
    """The bytes that outer observers see add up to what is in the file."""
    seen = bytearray()

    def record(operation: Operation) -> None:
        if operation.kind == "write":
            assert operation.offset == len(seen)
            assert operation.size == len(operation.data)
            seen.extend(operation.data)

    def halve(operation: Operation) -> None:
        if operation.kind == "write" and operation.size > 1:
            raise ShortWrite(operation.size // 2)

    with observe(record), observe(halve):
        write_file(tmp_path / "a", b"0123456789")
    assert bytes(seen) == b"0123456789"


def test_the_vfs_is_there_only_while_observed() -> None:
    """Without an observer the catalog opens on SQLite's own VFS, and apsw is not even imported."""
    assert catalog_vfs() is None
    with count_operations():
        assert catalog_vfs() is not None
    assert catalog_vfs() is None
    code = "import sys, lamina.fs as f; assert f.catalog_vfs() is None; assert not {'apsw', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_same_observer_twice(tmp_path: Path) -> None:
    """Contexts that share an observer end independently."""
    log: list[Operation] = []
    observer = log.append
    with observe(observer):
        with observe(observer):
            write_file(tmp_path / "a", b"")
        doubled = len(log)
        write_file(tmp_path / "b", b"")
    assert len(log) == doubled + doubled // 2
