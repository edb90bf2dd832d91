from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lamina
from lamina import Store
from lamina.errors import InvalidInputError
from lamina.fs import Operation, observe
from lamina.testing import check_folder

CONFLICT = (
    "# Memory\n\n- [One](one.md)\n<<<<<<< HEAD\n- [Ours](ours.md)\n=======\n- [Theirs](theirs.md)\n>>>>>>> branch\n"
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store that recalls by text alone."""
    with lamina.open(tmp_path / "store", embedder="none", durability="relaxed") as opened:
        yield opened


@pytest.fixture
def index(store: Store) -> Path:
    """Its index, which is not there yet."""
    return store.location / "MEMORY.md"


def a_symlink(path: Path) -> None:
    """Lead the index elsewhere."""
    (path.parent.parent / "elsewhere.md").write_text("# Elsewhere\n", encoding="utf-8")
    path.symlink_to(path.parent.parent / "elsewhere.md")


def a_folder(path: Path) -> None:
    """Put a folder in its place."""
    path.mkdir()


def a_huge_file(path: Path) -> None:
    """A hundred megabytes, most of them a hole."""
    path.write_bytes(b"# Memory\n")
    os.truncate(path, 100_000_000)


def a_binary_file(path: Path) -> None:
    """An image, say."""
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)))


def another_encoding(path: Path) -> None:
    """Latin-1."""
    path.write_bytes("# Gedächtnis\n".encode("latin-1"))


def a_pipe(path: Path) -> None:
    """Something that blocks whoever opens it."""
    os.mkfifo(path)


@pytest.mark.parametrize("make", [a_symlink, a_folder, a_huge_file, a_binary_file, another_encoding, a_pipe])
def test_what_is_no_index_is_left_alone(make: Callable[[Path], None], store: Store, index: Path) -> None:
    """An add is refused before it writes anything; what needs no index works, and the audit names it."""
    memory = store.memories.add("Text.", title="A", type="project")
    other = store.memories.add("Other.", title="B", type="project")
    index.unlink()
    make(index)
    before = os.lstat(index)
    with pytest.raises(InvalidInputError, match="MEMORY"):
        store.memories.add("More.", title="C", type="project")
    assert store.memories.count() == 2
    assert len(list(store.location.glob("project_*"))) == 2
    assert store.memories.update(memory.id, text="Changed.").text == "Changed."
    assert store.memories.rename(memory.id, "other_name").path == "other_name.md"
    store.memories.delete(other.id)
    assert store.memories.sync().total == 0
    assert store.memories.add("A row.").path is None
    assert isinstance(store.memories.index(), str)
    assert "index-unusable" in [problem.code for problem in store.memories.check_index().problems]
    store.memories.fix_index()
    after = os.lstat(index)
    assert (after.st_mode, after.st_size, after.st_ino) == (before.st_mode, before.st_size, before.st_ino)
    if make is a_symlink:
        assert (index.parent.parent / "elsewhere.md").read_text("utf-8") == "# Elsewhere\n"
    with lamina.open(store.location, embedder="none") as again:
        assert again.memories.count() == 2


def test_an_index_that_is_spoilt_while_a_change_is_unfinished(store: Store, index: Path) -> None:
    """A killed add cannot put its pointer anywhere: the memory is kept, the store works on, the audit tells."""
    memory = store.memories.add("Text.", title="A", type="project")
    journal = store.memories._context.folder.journal
    journal.write({"op": "add", "items": [{"id": memory.id, "path": memory.path, "hash": "00"}]})
    index.unlink()
    index.mkdir()
    assert store.memories.update(memory.id, text="Changed.").text == "Changed."
    assert journal.read() is None
    index.rmdir()
    store.memories.fix_index()
    check_folder(store)


def test_a_pointer_never_goes_into_a_merge_conflict(store: Store, index: Path) -> None:
    """It is added behind the markers, and the audit names the conflict, which no mending touches."""
    for name in ("one", "ours", "theirs"):
        (store.location / f"{name}.md").write_text(f"Text of {name}.\n", encoding="utf-8")
    index.write_text(CONFLICT, encoding="utf-8")
    store.memories.sync()
    store.memories.add("Text.", title="New", type="project")
    assert index.read_text("utf-8") == CONFLICT + "- [New](project_new.md) — Text.\n"
    problems = store.memories.check_index().problems
    assert [(found.code, found.where) for found in problems] == [("conflict-markers", "MEMORY.md:4")]
    store.memories.fix_index()
    assert index.read_text("utf-8").startswith(CONFLICT)


@pytest.mark.parametrize("tail", ["\n## Notes\n\nProse.\n", "", "\n- [Last](one.md)\n"])
def test_a_conflict_before_other_lines(store: Store, index: Path, tail: str) -> None:
    """Whatever follows the markers, the region between them stays as it is."""
    text = CONFLICT.replace("- [One](one.md)\n", "") + tail
    index.write_text(text, encoding="utf-8")
    store.memories.add("Text.", title="New", type="project")
    found = index.read_text("utf-8")
    start, stop = CONFLICT.index("<<<"), len(CONFLICT)
    assert CONFLICT[start:stop] in found
    assert found.replace("- [New](project_new.md) — Text.\n", "") == text


def test_line_ends_and_a_byte_order_mark_stay(store: Store, index: Path) -> None:
    """An index from another system is kept in its style."""
    index.write_bytes("\ufeff# Memory\r\n\r\nProse.\r\n- [One](one.md)\r\n".encode())
    (store.location / "one.md").write_text("Text.\n", encoding="utf-8")
    store.memories.sync()
    memory = store.memories.add("Text.", title="New", type="project")
    assert index.read_bytes() == (
        "\ufeff# Memory\r\n\r\nProse.\r\n- [One](one.md)\r\n- [New](project_new.md) — Text.\r\n".encode()
    )
    store.memories.delete(memory.id)
    assert index.read_bytes() == "\ufeff# Memory\r\n\r\nProse.\r\n- [One](one.md)\r\n".encode()


@pytest.mark.parametrize("k", range(8))
@pytest.mark.parametrize("act", ["edited", "replaced", "removed"])
def test_an_index_that_somebody_saves_while_a_pointer_is_written(store: Store, index: Path, act: str, k: int) -> None:
    """Whenever it is edited, replaced or removed: what the person left is there, and so is the new pointer."""
    store.memories.add("First.", title="First", type="project")
    seen = 0

    def watch(operation: Operation) -> None:
        nonlocal seen
        if ".swap" in operation.path or operation.path == str(index):
            if seen == k:
                if act == "removed":
                    index.unlink(missing_ok=True)
                elif act == "edited":
                    with index.open("a", encoding="utf-8") as file:
                        file.write("A line of a person.\n")
                else:
                    index.with_name("draft").write_text("# Theirs\n\nA line of a person.\n", encoding="utf-8")
                    index.with_name("draft").replace(index)
            seen += 1

    with observe(watch):
        memory = store.memories.add("Second.", title="Second", type="project")
    assert store.memories.get(memory.id).text == "Second."
    if seen > k:
        text = index.read_text("utf-8") if index.exists() else ""
        assert act == "removed" or "A line of a person." in text
        late = k == seen - 1  # right before the draft is thrown away: the index was written already
        assert late or "[Second](project_second.md)" in text
    assert store.verify("full").ok


def test_a_pointer_that_people_removed_is_not_put_back(store: Store, index: Path) -> None:
    """An update of the memory leaves the index as they want it."""
    memory = store.memories.add("Text.", title="A", type="project")
    index.write_text("# Memory\n", encoding="utf-8")
    store.memories.update(memory.id, text="Changed.", title="B")
    assert index.read_text("utf-8") == "# Memory\n"


def test_two_processes_with_one_index(tmp_path: Path) -> None:
    """Several processes add at once: as many files, rows and pointers as there were adds."""
    import subprocess
    import sys

    code = (
        "import lamina, sys\n"
        "with lamina.open(sys.argv[1], embedder='none', durability='relaxed') as store:\n"
        "    for number in range(25):\n"
        "        title = f'{sys.argv[2]} {number}'\n"
        "        store.memories.add(title, title=title, type='project', scope='team')\n"
        "        store.memories.sync()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "store"), name], env=environment)
        for name in ("ana", "bob")
    ]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    with lamina.open(tmp_path / "store", embedder="none") as store:
        assert store.memories.count() == 50
        assert (store.location / "team" / "MEMORY.md").read_text("utf-8").count("](project_") == 50
        check_folder(store)
