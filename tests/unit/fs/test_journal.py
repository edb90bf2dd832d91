from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import DiskFullError, InvalidInputError, LaminaError
from lamina.fs import Journal, Operation, ShortWrite, observe
from lamina.testing import CrashFS

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
records = st.dictionaries(st.text(), values, max_size=5)


def test_absent_written_cleared(tmp_path: Path) -> None:
    """There is no record before the first write, the last one after it, none after clearing, and again one later."""
    journal = Journal(tmp_path / "journal")
    assert journal.read() is None
    journal.clear()
    assert not (tmp_path / "journal").exists()
    journal.write({"path": "über.md", "odd": "\udcff", "op": "add"})
    journal.write({"op": "move"})
    assert b"add" not in (tmp_path / "journal").read_bytes()  # nothing stays of a longer one
    assert Journal(tmp_path / "journal").read() == {"op": "move"}
    journal.clear()
    assert journal.read() is None
    assert (tmp_path / "journal").read_bytes() == b""
    journal.write({})
    assert journal.read() == {}


def test_it_is_the_owners_and_costs_no_fsync(tmp_path: Path) -> None:
    """The file is the owner's alone; a write is announced as create, write, truncate, without an fsync."""
    log: list[tuple[str, int]] = []
    journal = Journal(tmp_path / "journal")
    with observe(lambda operation: log.append((operation.kind, operation.size))):
        journal.write({"a": 1})
        size = (tmp_path / "journal").stat().st_size
        journal.write({"a": 2})
        journal.clear()
    expected = [("create", 0), ("write", size), ("truncate", size), ("write", size), ("truncate", size)]
    assert log == [*expected, ("truncate", 0)]
    assert stat.S_IMODE((tmp_path / "journal").stat().st_mode) == 0o600


@given(old=records, new=records)
def test_any_record_comes_back(old: dict[str, Any], new: dict[str, Any]) -> None:
    """What is written over any other record comes back equal."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(os.path.join(folder, "journal"))
        journal.write(old)
        journal.write(new)
        assert journal.read() == new


@given(old=records, new=records, cut=st.integers(min_value=0))
def test_a_torn_write_is_no_lie(old: dict[str, Any], new: dict[str, Any], cut: int) -> None:
    """However far a write got over an older record: the old one, the new one, or none, and never a mixture."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(os.path.join(folder, "journal"))
        journal.write(new)
        fresh = Path(journal.path).read_bytes()
        journal.write(old)
        before = Path(journal.path).read_bytes()
        cut %= len(fresh) + 1
        Path(journal.path).write_bytes(fresh[:cut] + before[cut:])
        found = journal.read()
        assert found in (None, old, new)
        if cut == len(fresh):
            assert found == new


@given(record=records.filter(bool), place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_flipped_bit_is_seen(record: dict[str, Any], place: int, bit: int) -> None:
    """A record with one wrong bit reads as none, or (in the head's letters' case) as itself."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(os.path.join(folder, "journal"))
        journal.write(record)
        data = bytearray(Path(journal.path).read_bytes())
        data[place % len(data)] ^= 1 << bit
        Path(journal.path).write_bytes(data)
        assert journal.read() in (None, record)
        Path(journal.path).write_bytes(data[: place % len(data)])
        assert journal.read() is None


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b"x" * 2_000_000, b"lamina-journal 1 00000002 00000000\n[]"])
def test_what_is_no_record(tmp_path: Path, content: bytes) -> None:
    """Foreign, empty or huge content reads as none."""
    (tmp_path / "journal").write_bytes(content)
    assert Journal(tmp_path / "journal").read() is None


def test_a_list_is_no_record(tmp_path: Path) -> None:
    """JSON of another kind with the right checksum reads as none."""
    (tmp_path / "journal").write_bytes(b"lamina-journal 1 %08x %08x\n[]" % (2, zlib.crc32(b"[]")))
    assert Journal(tmp_path / "journal").read() is None


def test_what_cannot_be_recorded(tmp_path: Path) -> None:
    """What is no JSON, or too large, is refused before the old record is touched."""
    journal = Journal(tmp_path / "journal")
    journal.write({"kept": True})
    circle: dict[str, Any] = {}
    circle["self"] = circle
    refused: list[dict[Any, Any]] = [{"a": b"bytes"}, circle, {("a",): 1}]
    for record in refused:
        with pytest.raises(InvalidInputError, match="as JSON"):
            journal.write(record)
    with pytest.raises(InvalidInputError, match="at most 1,000,000"):
        journal.write({"text": "x" * 1_000_000})
    assert journal.read() == {"kept": True}
    journal.write({"text": "x" * 999_000})
    assert json.dumps(journal.read()) == json.dumps({"text": "x" * 999_000})


def test_links_and_folders(tmp_path: Path) -> None:
    """A link or a folder in the journal's place is neither followed nor read, and a write says so."""
    (tmp_path / "target").write_bytes(b"safe")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder"):
        journal = Journal(tmp_path / name)
        assert journal.read() is None
        with pytest.raises(LaminaError):
            journal.write({})
        with pytest.raises(LaminaError):
            journal.clear()
    assert (tmp_path / "target").read_bytes() == b"safe"


def test_faults(tmp_path: Path) -> None:
    """A short write is continued, a full disk is an error of ours, and then there is no record."""
    journal = Journal(tmp_path / "journal")

    def one_byte(operation: Operation) -> None:
        if operation.kind == "write":
            raise ShortWrite(1)

    with observe(one_byte):
        journal.write({"a": 1})
    assert journal.read() == {"a": 1}

    def full(operation: Operation) -> None:
        if operation.kind == "write":
            if operation.offset == 0:
                raise ShortWrite(30)
            raise OSError(errno.ENOSPC, "No space left on device")

    with observe(full), pytest.raises(DiskFullError):
        journal.write({"a": 2})
    assert journal.read() is None


def test_crashes(tmp_path: Path) -> None:
    """Every kill finds the record that was written last, and power loss finds one of them or none."""
    root = tmp_path / "store"
    root.mkdir()
    journal = Journal(root / "journal")
    crash = CrashFS(root)
    written = [{"step": step, "text": "x" * 3000 * (step % 2)} for step in range(6)]
    with crash:
        for record in written:
            journal.write(record)
            crash.acknowledge(record)
    for image in crash.every_kill(tmp_path / "kills"):
        if image.acknowledged:
            found = Journal(os.path.join(image.path, "journal")).read()
            assert written.index(found or {}) >= len(image.acknowledged) - 1
    for image in crash.images(tmp_path / "images", count=100, seed=5):
        assert Journal(os.path.join(image.path, "journal")).read() in (None, *written)


def test_kill_keeps_it(tmp_path: Path) -> None:
    """A process that is killed right after a write leaves its record."""
    code = (
        "import os, signal, sys; from lamina.fs import Journal\n"
        "Journal(sys.argv[1]).write({'op': 'add'}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "journal")], check=False)
    assert done.returncode == -9
    assert Journal(tmp_path / "journal").read() == {"op": "add"}
