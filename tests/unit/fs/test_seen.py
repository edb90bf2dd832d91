from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lamina.errors import AlreadyExistsError, ConflictError, NotFoundError, StorageError
from lamina.fs import Operation, count_operations, move_seen, observe, remove_seen, stray_files
from lamina.testing import inject


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file that holds ``old``."""
    file = tmp_path / "a.md"
    file.write_bytes(b"old")
    return file


def before(kind: str, act: Callable[[], object]) -> Callable[[Operation], None]:
    """Return an observer that acts right before the first operation of a kind."""
    left = [act]

    def watch(operation: Operation) -> None:
        if operation.kind == kind and left:
            left.pop()()

    return watch


def save(path: Path, data: bytes) -> None:
    """Save as most editors do: a new file renamed over the old one."""
    (path.parent / "editor").write_bytes(data)
    (path.parent / "editor").replace(path)


def test_a_file_that_is_as_seen_is_removed(path: Path) -> None:
    """One fsync, and nothing is left."""
    with count_operations() as counts:
        remove_seen(path, seen=b"old")
    assert counts["fsync"] == 1
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("kind", ["start", "rename"])
def test_a_file_that_somebody_saved_is_not_removed(path: Path, kind: str) -> None:
    """Neither where it was saved long ago, nor at the last moment."""
    if kind == "start":
        save(path, b"theirs")
    with observe(before(kind, lambda: save(path, b"theirs"))), pytest.raises(ConflictError) as caught:
        remove_seen(path, seen=b"old")
    assert path.read_bytes() == b"theirs"
    assert caught.value.details["found"] == "theirs"
    assert os.listdir(path.parent) == ["a.md"]


def test_two_saves_while_a_file_is_removed(path: Path) -> None:
    """Before and after it was moved aside: the later text has the name, the earlier one is kept and told."""
    acts = [lambda: save(path, b"first"), lambda: save(path, b"second")]

    def watch(operation: Operation) -> None:
        if operation.kind in ("rename", "link") and acts:
            acts.pop(0)()

    with observe(watch), pytest.raises(ConflictError) as caught:
        remove_seen(path, seen=b"old")
    assert path.read_bytes() == b"second"
    assert Path(caught.value.details["kept"]).read_bytes() == b"first"
    assert stray_files(path.parent) == [caught.value.details["kept"]]


def test_a_file_that_cannot_be_removed_gets_its_name_back(path: Path) -> None:
    """The error is ours, and the file is where it was."""
    with inject(0, "EIO", kinds=frozenset({"unlink"})), pytest.raises(StorageError):
        remove_seen(path, seen=b"old")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["a.md"]


def test_a_file_that_is_not_there(path: Path) -> None:
    """It is said so."""
    path.unlink()
    with pytest.raises(NotFoundError):
        remove_seen(path, seen=b"old")


def test_a_file_that_is_as_seen_is_moved(path: Path) -> None:
    """One name goes, one comes, the file stays the same."""
    inode = path.stat().st_ino
    move_seen(path, path.with_name("b.md"), seen=b"old")
    assert os.listdir(path.parent) == ["b.md"]
    assert path.with_name("b.md").stat().st_ino == inode


@pytest.mark.parametrize("kind", ["link", "rename"])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_file_that_somebody_saves_is_not_moved(path: Path, kind: str, in_place: bool) -> None:
    """Before it has its second name or after: it keeps its name, and what they saved."""

    def act() -> None:
        if in_place:
            path.write_bytes(b"theirs")
        else:
            save(path, b"theirs")

    with observe(before(kind, act)), pytest.raises(ConflictError):
        move_seen(path, path.with_name("b.md"), seen=b"old")
    assert path.read_bytes() == b"theirs"
    assert os.listdir(path.parent) == ["a.md"]


def test_a_name_that_is_taken(path: Path) -> None:
    """Nothing changes."""
    path.with_name("b.md").write_bytes(b"other")
    with pytest.raises(AlreadyExistsError):
        move_seen(path, path.with_name("b.md"), seen=b"old")
    assert (path.read_bytes(), path.with_name("b.md").read_bytes()) == (b"old", b"other")


def test_without_hard_links(path: Path) -> None:
    """Where the file system has none, it is renamed, and renamed back where somebody saved."""

    def no_links(operation: Operation) -> None:
        if operation.kind == "link":
            raise OSError(95, "Operation not supported")

    with observe(no_links):
        move_seen(path, path.with_name("b.md"), seen=b"old")
        move_seen(path.with_name("b.md"), path, seen=b"old")
        with observe(before("rename", lambda: save(path, b"theirs"))), pytest.raises(ConflictError):
            move_seen(path, path.with_name("b.md"), seen=b"old")
    assert path.read_bytes() == b"theirs"
    assert os.listdir(path.parent) == ["a.md"]
