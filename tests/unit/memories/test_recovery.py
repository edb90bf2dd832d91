from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina import Memory, Store
from lamina.fs import Journal
from lamina.memories.adoption import content_hash
from lamina.testing import check_folder, kept_texts

SWAP = ".lamina-1-0123456789abcdef.swap"
DRAFT = ".lamina-1-0123456789abcdef.tmp"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the test's store is."""
    return tmp_path / "store"


@pytest.fixture
def memory(folder: Path) -> Memory:
    """The first of two memories of a store that is closed."""
    with lamina.open(folder, embedder="none") as store:
        memory = store.memories.add("Text.", title="A", type="project")
        store.memories.add("Other text.", title="B", type="project")
    return memory


@pytest.fixture
def opened(folder: Path, memory: Memory) -> Iterator[Any]:
    """Return what leaves a record in the journal and opens the store."""
    stores: list[Store] = []

    def leave(record: dict[str, Any]) -> Store:
        Journal(folder / ".lamina" / "folder.journal").write(record)
        stores.append(lamina.open(folder, embedder="none"))
        return stores[-1]

    yield leave
    for store in stores:
        store.close()


def hashed(path: Path) -> str:
    """Return the hash of a file as the journal has it."""
    return content_hash(path.read_bytes()).hex()


def new_file(folder: Path, name: str, id: str) -> Path:
    """Write a file as an add does."""
    path = folder / name
    path.write_bytes(f"---\nname: C\ndescription: New.\ntype: project\nid: {id}\n---\n\nNew.\n".encode())
    return path


def test_an_add_whose_file_is_there_is_finished(folder: Path, opened: Any) -> None:
    """Row and pointer follow the file."""
    path = new_file(folder, "project_c.md", "abcdefgh12345678")
    store = opened({"op": "add", "items": [{"id": "abcdefgh12345678", "path": path.name, "hash": hashed(path)}]})
    assert store.memories.get("abcdefgh12345678").text == "New."
    assert "- [C](project_c.md) — New." in (folder / "MEMORY.md").read_text("utf-8")
    check_folder(store)


def test_a_part_of_a_batch_is_taken_back(folder: Path, opened: Any) -> None:
    """Where one of two files is missing the other one goes, so that the call can be repeated."""
    path = new_file(folder, "project_c.md", "abcdefgh12345678")
    items = [
        {"id": "abcdefgh12345678", "path": path.name, "hash": hashed(path)},
        {"id": "abcdefgh87654321", "path": "project_d.md", "hash": "00"},
    ]
    store = opened({"op": "add", "items": items})
    assert not path.exists()
    assert store.memories.count() == 2
    check_folder(store)


def test_a_part_of_a_batch_that_somebody_edited_stays(folder: Path, opened: Any) -> None:
    """What people wrote is not taken back: it is a memory."""
    path = new_file(folder, "project_c.md", "abcdefgh12345678")
    items = [
        {"id": "abcdefgh12345678", "path": path.name, "hash": hashed(path)},
        {"id": "abcdefgh87654321", "path": "project_d.md", "hash": "00"},
    ]
    path.write_bytes(path.read_bytes() + b"By hand.\n")
    store = opened({"op": "add", "items": items})
    assert "By hand." in store.memories.get("abcdefgh12345678").text


@pytest.mark.parametrize("edited", ["", "old", "new"])
def test_a_rename_that_left_two_names(folder: Path, memory: Memory, opened: Any, edited: str) -> None:
    """One of the two names goes, never the one to which somebody wrote."""
    old, new = folder / str(memory.path), folder / "other.md"
    record = {"op": "rename", "id": memory.id, "from": old.name, "path": new.name, "hash": hashed(old)}
    new.write_bytes(old.read_bytes())
    if edited:
        path = old if edited == "old" else new
        path.write_bytes(path.read_bytes() + b"By hand.\n")
    store = opened(record)
    stays = old if edited == "old" else new
    assert (old.exists(), new.exists()) == (stays == old, stays == new)
    assert store.memories.get(memory.id).path == stays.name
    assert ("By hand." in store.memories.get(memory.id).text) == bool(edited)
    assert store.memories.count() == 2
    check_folder(store)


def test_a_rename_that_met_a_file_of_somebody_else(folder: Path, memory: Memory, opened: Any) -> None:
    """The name was taken in the very moment: both files stay, each as what it is."""
    old, new = folder / str(memory.path), folder / "other.md"
    record = {"op": "rename", "id": memory.id, "from": old.name, "path": new.name, "hash": hashed(old)}
    new.write_bytes(b"Somebody else's.\n")
    store = opened(record)
    assert old.exists()
    assert new.read_bytes() == b"Somebody else's.\n"
    assert store.memories.get(memory.id).path == old.name
    assert store.memories.count() == 3


def test_a_move_whose_row_was_not_written_is_taken_back(folder: Path, memory: Memory, opened: Any) -> None:
    """The new file goes, and the memory is where it was."""
    (folder / "team").mkdir()
    path = folder / "team" / "project_a.md"
    path.write_bytes((folder / str(memory.path)).read_bytes())
    record = {"op": "move", "hash": hashed(path), "items": [{"id": memory.id, "path": "team/project_a.md"}]}
    store = opened(record)
    assert not path.exists()
    assert store.memories.get(memory.id).path == "project_a.md"
    check_folder(store)


@pytest.mark.parametrize("edited", [False, True])
def test_a_delete_that_had_begun(folder: Path, memory: Memory, opened: Any, edited: bool) -> None:
    """It is finished, unless somebody wrote to the file since."""
    path = folder / str(memory.path)
    record = {"op": "delete", "id": memory.id, "path": path.name, "hash": hashed(path)}
    if edited:
        path.write_bytes(path.read_bytes() + b"By hand.\n")
    store = opened(record)
    assert path.exists() == edited
    assert store.memories.count() == (2 if edited else 1)
    check_folder(store)


def test_what_somebody_saved_at_the_moment_of_the_exchange_is_kept(folder: Path, memory: Memory, opened: Any) -> None:
    """The process died after its text and a person's had changed places: the person's is among the conflicts."""
    path = folder / str(memory.path)
    seen = path.read_bytes()
    new = seen.replace(b"Text.", b"Our text.")
    theirs = seen.replace(b"Text.", b"What a person wrote.")
    path.write_bytes(new)
    (folder / SWAP).write_bytes(theirs)
    record = {
        "op": "update",
        "id": memory.id,
        "path": path.name,
        "seen": content_hash(seen).hex(),
        "new": content_hash(new).hex(),
        "pointer": "",
    }
    store = opened(record)
    assert list(kept_texts(folder).values()) == [theirs.decode()]
    assert store.memories.get(memory.id).text == "Our text."
    check_folder(store, kept=1)


@pytest.mark.parametrize("which", ["seen", "new"])
def test_a_draft_of_an_update_goes(folder: Path, memory: Memory, opened: Any, which: str) -> None:
    """What the operation knew is nobody's loss."""
    path = folder / str(memory.path)
    seen = path.read_bytes()
    new = seen.replace(b"Text.", b"Our text.")
    (folder / SWAP).write_bytes(seen if which == "seen" else new)
    (folder / DRAFT).write_bytes(b"half of a dra")
    if which == "seen":
        path.write_bytes(new)
    record = {
        "op": "update",
        "id": memory.id,
        "path": path.name,
        "seen": content_hash(seen).hex(),
        "new": content_hash(new).hex(),
    }
    store = opened(record)
    assert store.memories.get(memory.id).text == ("Our text." if which == "seen" else "Text.")
    check_folder(store)


@pytest.mark.parametrize("line", ["", "A line of a person.\n"])
def test_a_draft_of_an_index_goes_unless_it_says_something_of_its_own(
    folder: Path, memory: Memory, opened: Any, line: str
) -> None:
    """An index without the new pointer is the old one; a line that stands nowhere else is kept among the conflicts."""
    path = new_file(folder, "project_c.md", "abcdefgh12345678")
    (folder / SWAP).write_text((folder / "MEMORY.md").read_text("utf-8") + line, encoding="utf-8")
    store = opened({"op": "add", "items": [{"id": "abcdefgh12345678", "path": path.name, "hash": hashed(path)}]})
    assert [line in text for text in kept_texts(folder).values()] == ([True] if line else [])
    check_folder(store, kept=1 if line else 0)


@pytest.mark.parametrize(
    "record",
    [
        {"op": "nothing known"},
        {"op": "add"},
        {"op": "rename", "id": "abcdefgh12345678", "from": "gone.md", "path": "gone_too.md", "hash": "00"},
        {"op": "update", "id": "abcdefgh12345678", "path": "gone.md", "pointer": "remove", "seen": "0", "new": "1"},
        {"op": "delete", "id": "abcdefgh12345678", "path": "gone.md", "hash": ""},
        {"op": "move", "items": [{"id": "abcdefgh12345678", "path": "team/gone.md"}], "hash": "00"},
        {"op": "index", "places": ["", "team", "gone"]},
    ],
    ids=lambda record: str(record["op"]),
)
def test_a_record_of_something_that_is_not_there_any_more(opened: Any, record: dict[str, Any]) -> None:
    """An old record that a power cut brought back does no harm."""
    store = opened(record)
    assert store.memories.count() == 2
    check_folder(store)


def test_an_add_that_was_finished_long_ago(folder: Path, memory: Memory, opened: Any) -> None:
    """Its record comes back after a power cut: the memory is there once, with one pointer."""
    path = folder / str(memory.path)
    store = opened({"op": "add", "items": [{"id": memory.id, "path": path.name, "hash": hashed(path)}]})
    assert store.memories.count() == 2
    assert (folder / "MEMORY.md").read_text("utf-8").count("project_a.md") == 1
    check_folder(store)


def test_a_link_in_the_place_of_a_deleted_file_is_left_alone(folder: Path, memory: Memory, opened: Any) -> None:
    """What the operation did not know is not removed."""
    path = folder / str(memory.path)
    record = {"op": "delete", "id": memory.id, "path": path.name, "hash": hashed(path)}
    path.unlink()
    os.symlink(folder.parent / "elsewhere", path)
    opened(record)
    assert path.is_symlink()
