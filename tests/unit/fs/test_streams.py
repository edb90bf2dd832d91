from __future__ import annotations

import os
from pathlib import Path

import pytest

from lamina.errors import CorruptionError, DiskFullError, NotFoundError, PoisonedError
from lamina.fs import FileReader, FileWriter, count_operations, sync_file
from lamina.testing import inject


def test_a_stream_appears_whole_under_the_name_that_it_gets_last(tmp_path: Path) -> None:
    """Nothing has the name before it is published; then the file is whole, and file and folder were fsynced."""
    with count_operations() as counter, FileWriter(tmp_path) as writer:
        writer.write(b"first ")
        writer.write(memoryview(b"second"))
        assert 12 == writer.size
        assert [] == list(tmp_path.glob("[!.]*"))
        writer.publish("named")
    assert b"first second" == (tmp_path / "named").read_bytes()
    assert ["named"] == [path.name for path in tmp_path.iterdir()]
    assert (2, 1, 1) == (counter["fsync"], counter["create"], counter["rename"])


def test_a_stream_that_need_not_be_durable(tmp_path: Path) -> None:
    """Without durability nothing is fsynced until someone asks for it."""
    with count_operations() as counter, FileWriter(tmp_path, durable=False) as writer:
        writer.write(b"x")
        path = writer.publish("named")
        assert 0 == counter["fsync"]
        sync_file(path)
        assert 2 == counter["fsync"]
    with pytest.raises(NotFoundError):
        sync_file(tmp_path / "missing")


def test_an_abandoned_stream_leaves_nothing(tmp_path: Path) -> None:
    """What was not published is removed, also where the disk was full."""
    with FileWriter(tmp_path) as writer:
        writer.write(b"x" * 1000)
    with inject(0, "short", lasting=True), FileWriter(tmp_path) as writer, pytest.raises(DiskFullError):
        writer.write(b"x" * 1000)
    assert [] == list(tmp_path.iterdir())


def test_a_failed_fsync_poisons(tmp_path: Path) -> None:
    """After a failed fsync the name is not given, and not tried again."""
    with inject(0, "EIO", kinds=frozenset({"fsync"})), FileWriter(tmp_path) as writer:
        writer.write(b"x")
        with pytest.raises(PoisonedError):
            writer.publish("named")
    with FileWriter(tmp_path) as writer, pytest.raises(PoisonedError):
        writer.publish("named")
    assert [] == list(tmp_path.iterdir())


def test_reading_at_offsets(tmp_path: Path) -> None:
    """Bytes come from where they were asked for; what lies beyond the end is refused before it is allocated."""
    (tmp_path / "file").write_bytes(bytes(range(256)) * 64)
    reader = FileReader(tmp_path / "file")
    assert bytes(range(10, 20)) == reader.read(10, 10)
    view = bytearray(4)
    reader.read_into(memoryview(view), 255)
    assert bytes([255, 0, 1, 2]) == view
    assert bytes([5, 6]) == bytes(reader.map(256 * 20 + 5, 2))
    for offset, size in ((16_384, 1), (0, 1 << 60), (-1, 4), (16_000, 400)):
        with pytest.raises(CorruptionError):
            reader.read(offset, size)
        with pytest.raises(CorruptionError):
            reader.map(offset, size)
    os.unlink(tmp_path / "file")
    assert b"\x07" == reader.read(7, 1)
    with pytest.raises(NotFoundError):
        FileReader(tmp_path / "file")


def test_a_file_that_was_cut_is_told(tmp_path: Path) -> None:
    """A file that became shorter since it was opened is an error, never fewer bytes."""
    (tmp_path / "file").write_bytes(bytes(1000))
    reader = FileReader(tmp_path / "file")
    os.truncate(tmp_path / "file", 500)
    with pytest.raises(CorruptionError):
        reader.read(400, 200)
