"""A backup that fails, or is killed, leaves nothing in the way of the next one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import lamina
from lamina import Store
from lamina.errors import AlreadyExistsError, InvalidInputError, LockedError, StorageError
from lamina.fs import FileLock, Operation, observe


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a store with settings of its own."""
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "lamina.toml").write_text("passage_chars = 500\n")
    with lamina.open(folder, embedder="none", durability="relaxed") as opened:
        opened.memories.add("Copies are made while others write.")
        yield opened


def whole(copy: Path) -> bool:
    """Return whether a copy opens with its settings and what was added."""
    with lamina.open(copy, embedder="none", create=False) as opened:
        return opened.verify("full").ok and opened.memories.count() == 1 and opened.settings.passage_chars == 500


@pytest.mark.parametrize("there", [False, True])
def test_a_backup_that_fails_takes_its_files_away(store: Store, tmp_path: Path, there: bool) -> None:
    """Wherever a backup fails, the destination is as it was, and the next backup to it works."""
    copy = tmp_path / "copy"
    if there:
        copy.mkdir()

    class Stop:
        def __init__(self, after: int) -> None:
            self.left = after

        def __call__(self, operation: Operation) -> None:
            if str(copy) in str(operation.path) and operation.kind != "unlink":
                self.left -= 1
                if self.left == 0:
                    raise OSError(5, "Input/output error")

    failed = 0
    for after in range(1, 200):
        try:
            with observe(Stop(after)):
                store.backup(copy)
        except StorageError:
            failed += 1
            if not (copy / ".lamina" / "catalog.db").exists():
                assert there == copy.exists()
                assert not there or not list(copy.iterdir())
                continue
        assert whole(copy)
        break
    assert failed > 5


def test_an_interrupted_backup_takes_its_files_away(store: Store, tmp_path: Path) -> None:
    """Whoever stops a backup with Ctrl-C can start it again."""

    def stop(_done: int, _all: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.backup(tmp_path / "copy", progress=stop)
    assert not (tmp_path / "copy").exists()
    assert whole(store.backup(tmp_path / "copy"))


def test_a_killed_backup_is_begun_anew(store: Store, tmp_path: Path) -> None:
    """What a killed backup left is recognised: there is no catalog yet, and nothing that is not the copy's."""
    engine = tmp_path / "copy" / ".lamina"
    engine.mkdir(parents=True)
    (engine / ".gitignore").write_text("*\n")
    (engine / "catalog.db.part").write_bytes(b"half of it")
    (engine / "catalog.db.part-journal").write_bytes(b"")
    (engine / ".lamina-1-0123456789abcdef.tmp").write_bytes(b"")
    (tmp_path / "copy" / "lamina.toml").write_text("passage_chars = 500\n")

    assert whole(store.backup(tmp_path / "copy"))
    with pytest.raises(AlreadyExistsError):
        store.backup(tmp_path / "copy")


@pytest.mark.parametrize("name", ["lamina.toml", "letter.txt", ".lamina/catalog.db", ".lamina/packs"])
def test_a_folder_of_someone_elses_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    """A destination that holds anything of its own stays as it is."""
    (tmp_path / "copy" / ".lamina").mkdir(parents=True)
    (tmp_path / "copy" / name).write_text("mine\n")
    with pytest.raises(AlreadyExistsError):
        store.backup(tmp_path / "copy")
    assert "mine\n" == (tmp_path / "copy" / name).read_text()


def test_two_backups_to_one_place(store: Store, tmp_path: Path) -> None:
    """A backup that is being made is not mistaken for one that was killed."""
    engine = tmp_path / "copy" / ".lamina"
    engine.mkdir(parents=True)
    with FileLock(engine / "in-use.lock").hold(0.0), pytest.raises(LockedError):
        store.backup(tmp_path / "copy")
    assert engine.exists()


@pytest.mark.parametrize("dest", ["~nobody-of-this-name/x", "a\0b", "\ud800", "", 7])
def test_a_destination_that_can_be_no_folder(store: Store, dest: object) -> None:
    """A path that leads nowhere is our error with what to do."""
    with pytest.raises(InvalidInputError) as caught:
        store.backup(dest)  # type: ignore[arg-type]
    assert caught.value.hint


def test_a_destination_inside_the_store(store: Store, tmp_path: Path) -> None:
    """A copy inside the store, also by way of a link, is refused."""
    os.symlink(store.location, tmp_path / "link")
    for dest in (store.location, store.location / "copy", tmp_path / "link" / "copy"):
        with pytest.raises(InvalidInputError, match="inside"):
            store.backup(dest)
