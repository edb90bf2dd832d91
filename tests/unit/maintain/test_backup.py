"""A backup is one moment of a store that others go on writing to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import lamina
from lamina import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return an empty store without an embedder."""
    with lamina.open(tmp_path / "store", embedder="none", durability="relaxed") as opened:
        yield opened


def texts(store: Store) -> list[str]:
    """Return every text, sorted."""
    return sorted(memory.text for memory in store.memories.list(limit=None))


def test_a_moment_while_another_handle_writes(store: Store, tmp_path: Path) -> None:
    """Batches that land during the copy are in it whole or not at all, in order, and what was there before is."""
    store.memories.add_many(f"start {number} " + "x" * 500 for number in range(1_000))
    stop = threading.Event()
    failed: list[BaseException] = []

    def write() -> None:
        try:
            with lamina.open(store.location, embedder="none", durability="relaxed") as other:
                for batch in range(10_000):
                    other.memories.add_many(f"batch {batch:04} item {item}" for item in range(10))
                    if stop.wait(0.002):
                        return
        except BaseException as error:  # noqa: BLE001  (a thread must hand its failure to the test)
            failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while store.memories.count() < 1_050:
            stop.wait(0.005)
        before = store.memories.count()
        store.backup(tmp_path / "copy")
        after = store.memories.count()
    finally:
        stop.set()
        writer.join()

    assert not failed
    with lamina.open(tmp_path / "copy", embedder="none", create=False) as copy:
        assert copy.verify("full").ok
        held = texts(copy)
    assert before <= len(held) <= after
    assert 1_000 == sum(text.startswith("start") for text in held)
    batches = [text.split()[1] for text in held if text.startswith("batch")]
    assert len(batches) == 10 * len(set(batches))
    assert sorted(set(batches)) == [f"{number:04}" for number in range(len(set(batches)))]


def test_the_copy_is_a_store_of_its_own(store: Store, tmp_path: Path) -> None:
    """The copy has history, tags and uses, can be written to, and neither store hears of the other."""
    m = store.memories
    first = m.add("What was first.", tags=["tag"], metadata={"key": 1})
    m.update(first.id, text="What came second.")
    m.feedback(first.id, "helped")

    path = store.backup(tmp_path / "deep" / "copy")

    with lamina.open(path, embedder="none") as copy:
        assert m.get(first.id) == copy.memories.get(first.id)
        assert m.history(first.id) == copy.memories.history(first.id)
        copy.memories.add("Only in the copy.")
        m.add("Only in the store.")
        assert ["Only in the copy.", "What came second."] == texts(copy)
        assert ["Only in the store.", "What came second."] == texts(store)


def test_progress_ends_with_all_pages(store: Store, tmp_path: Path) -> None:
    """Progress counts pages upwards and ends with all of them."""
    store.memories.add("x" * 5_000_000)
    told: list[tuple[int, int]] = []
    store.backup(tmp_path / "copy", progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] > 0


def test_a_read_only_handle_can_make_one(store: Store, tmp_path: Path) -> None:
    """Copying needs no right to write to the store, and holds up no writer."""
    store.memories.add("The one.")

    def write(_done: int, _total: int) -> None:
        store.memories.add("During it.")

    with lamina.open(store.location, embedder="none", read_only=True) as reader:
        reader.backup(tmp_path / "copy", progress=write)
    with lamina.open(tmp_path / "copy", embedder="none") as copy:
        assert ["The one."] == texts(copy)


def test_settings_travel(store: Store, tmp_path: Path) -> None:
    """The store's own settings file comes along, byte for byte."""
    settings = b"# mine\r\npassage_chars = 500\r\n"
    (store.location / "lamina.toml").write_bytes(settings)
    path = store.backup(tmp_path / "copy")
    assert settings == (path / "lamina.toml").read_bytes()


@pytest.mark.parametrize("name", ["a file", "a folder with something in it"])
def test_nothing_is_replaced(store: Store, tmp_path: Path, name: str) -> None:
    """A destination that holds anything is refused, and what it holds stays."""
    dest = tmp_path / "there"
    held = dest
    if name != "a file":
        dest.mkdir()
        held = dest / "mine.txt"
    held.write_text("mine")
    with pytest.raises(lamina.AlreadyExistsError):
        store.backup(dest)
    assert "mine" == held.read_text()
    assert held == dest or [held] == list(dest.iterdir())


def test_an_empty_folder_will_do(store: Store, tmp_path: Path) -> None:
    """A destination that is there and empty is used."""
    dest = tmp_path / "empty"
    dest.mkdir()
    assert dest == store.backup(dest)
    lamina.open(dest, create=False, embedder="none").close()


def test_inside_the_store_by_another_name(store: Store, tmp_path: Path) -> None:
    """A destination inside the store is refused, by whatever links it is reached."""
    (tmp_path / "link").symlink_to(store.location)
    for dest in (store.location / "copy", tmp_path / "link" / "copy", tmp_path / "link", store.location):
        with pytest.raises(lamina.InvalidInputError):
            store.backup(dest)
    with lamina.open(tmp_path / "link", embedder="none") as linked, pytest.raises(lamina.InvalidInputError):
        linked.backup(store.location / "copy")
    assert not (store.location / "copy").exists()


def test_a_path_that_is_no_utf_8(store: Store, tmp_path: Path) -> None:
    """Folder names are bytes to the system; one that is no text is a place like any other."""
    dest = Path(str(tmp_path) + "/caf\udce9")
    store.memories.add("The one.")
    store.backup(dest)
    with lamina.open(dest, embedder="none") as copy:
        assert ["The one."] == texts(copy)
