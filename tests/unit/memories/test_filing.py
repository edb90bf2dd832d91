from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina import Memories, Store
from lamina.errors import AlreadyExistsError, ConflictError, InvalidInputError, NotFoundError
from lamina.fs import Operation, observe
from lamina.testing import check_folder, files_holding, kept_texts

MARKERS = "<<<<<<< ours\nour text\n=======\ntheir text\n>>>>>>> theirs\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the test's store is."""
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    """An empty store that recalls by text alone."""
    with lamina.open(folder, embedder="none", durability="relaxed") as opened:
        yield opened


@pytest.fixture
def m(store: Store) -> Memories:
    """Its memories."""
    return store.memories


def mode(path: Path) -> int:
    """Return a file's permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def at(kind: str, act: Any) -> Any:
    """Return an observer that acts once, right before the first operation of a kind."""
    left = [act]

    def watch(operation: Operation) -> None:
        if operation.kind == kind and left:
            left.pop()()

    return watch


def test_an_add_is_a_file_a_row_and_a_pointer(m: Memories, folder: Path) -> None:
    """The file is named after type and title, and for its owner alone; a team's is for all."""
    mine = m.add("Text.", title="How we deploy", type="project")
    ours = m.add("Text of all.", title="Dashboards", type="reference", scope="team")
    assert (mine.path, ours.path) == ("project_how_we_deploy.md", "team/reference_dashboards.md")
    assert (mode(folder / str(mine.path)), mode(folder / str(ours.path))) == (0o600, 0o644)
    assert "[How we deploy](project_how_we_deploy.md)" in (folder / "MEMORY.md").read_text("utf-8")
    assert "[Dashboards](reference_dashboards.md)" in (folder / "team" / "MEMORY.md").read_text("utf-8")
    assert m.get(mine.id) == mine


def test_a_record_is_a_row(m: Memories, folder: Path) -> None:
    """Events make no files."""
    assert m.add("Something happened.").path is None
    assert not (folder / "MEMORY.md").exists()


def test_a_name_that_is_taken_gets_a_number(m: Memories, folder: Path) -> None:
    """Nothing is replaced, whatever lies there: a file, a folder, a link."""
    (folder / "project_a.md").mkdir()
    os.symlink("nowhere", folder / "project_a_2.md")
    assert m.add("Text.", title="A", type="project").path == "project_a_3.md"
    assert m.add("Text.", title="A", type="project").path == "project_a_4.md"


def test_another_program_takes_the_name_at_that_very_moment(m: Memories, folder: Path) -> None:
    """Theirs stays, ours gets the next name, and both are memories after a sync."""
    theirs = folder / "project_a.md"
    with observe(at("link", lambda: theirs.write_bytes(b"Theirs.\n"))):
        assert m.add("Ours.", title="A", type="project").path == "project_a_2.md"
    assert theirs.read_bytes() == b"Theirs.\n"
    assert m.sync().new == ("project_a.md",)
    assert m.count() == 2


def test_an_update_changes_what_it_must(m: Memories, folder: Path) -> None:
    """Comments, unknown keys, order and line ends of the people's file stay byte for byte."""
    head = b"---\r\n# ours\r\nowner: ana\r\nname:   A\r\ntype: project\r\nid: abcdefgh12345678\r\n---\r\n\r\n"
    (folder / "a.md").write_bytes(head + b"Old.\r\n")
    m.sync()
    m.update("abcdefgh12345678", text="New.")
    assert (folder / "a.md").read_bytes() == head + b"New.\r\n"


def test_an_update_that_says_the_same_writes_nothing(m: Memories, folder: Path) -> None:
    """No revision, no new file."""
    memory = m.add("Text.", title="A", type="project")
    before = (folder / str(memory.path)).stat()
    m.update(memory.id, text="Text.")
    after = (folder / str(memory.path)).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(m.history(memory.id)) == 1


def test_a_file_that_was_edited_and_not_synced_is_not_overwritten(m: Memories, folder: Path) -> None:
    """The file stays as people left it, and what was to be written is kept and told."""
    memory = m.add("Text.", title="A", type="project")
    path = folder / str(memory.path)
    path.write_bytes(path.read_bytes().replace(b"Text.", b"Theirs."))
    with pytest.raises(ConflictError) as caught:
        m.update(memory.id, text="Ours.")
    assert b"Theirs." in path.read_bytes()
    assert "Ours." in (folder / caught.value.details["kept"]).read_text("utf-8")
    assert caught.value.details["path"] == memory.path
    m.sync()
    assert m.update(memory.id, text="Both.").text == "Both."
    assert [step.after and step.after.text.strip() for step in m.history(memory.id)] == ["Text.", "Theirs.", "Both."]


def test_a_file_that_is_gone_is_not_made_anew(m: Memories, folder: Path) -> None:
    """An update of a memory whose file somebody removed is a conflict, and the text is kept."""
    memory = m.add("Text.", title="A", type="project")
    (folder / str(memory.path)).unlink()
    with pytest.raises(ConflictError):
        m.update(memory.id, text="Ours.")
    assert ["Ours." in text for text in kept_texts(folder).values()] == [True]
    m.sync()
    with pytest.raises(NotFoundError):
        m.get(memory.id)


def test_a_delete_of_a_file_that_was_edited_is_a_conflict(m: Memories, folder: Path) -> None:
    """What nobody has read is not deleted."""
    memory = m.add("Text.", title="A", type="project")
    path = folder / str(memory.path)
    path.write_bytes(path.read_bytes() + b"More.\n")
    with pytest.raises(ConflictError):
        m.delete(memory.id)
    assert path.exists()
    m.sync()
    m.delete(memory.id)
    assert not path.exists()


def test_a_save_while_a_delete_is_under_way_keeps_file_and_pointer(m: Memories, folder: Path) -> None:
    """Saved after the pointer was taken away: the memory is whole again."""
    m.add("Another.", title="B", type="project")
    memory = m.add("Text.", title="A", type="project")
    path = folder / str(memory.path)
    theirs = path.read_bytes() + b"More.\n"
    seen: list[str] = []

    def watch(operation: Operation) -> None:
        if operation.kind == "rename" and operation.path == str(path) and not seen:
            seen.append("saved")
            path.write_bytes(theirs)

    with observe(watch), pytest.raises(ConflictError):
        m.delete(memory.id)
    assert seen
    assert path.read_bytes() == theirs
    assert m.sync().changed == (memory.path,)
    assert [problem.code for problem in m.check_index().problems] == []


def test_a_memory_whose_file_has_become_unreadable(m: Memories, folder: Path) -> None:
    """An update names the file and what is wrong with it, and writes nothing; a delete still works."""
    memory = m.add("Text.", title="A", type="project")
    path = folder / str(memory.path)
    path.write_bytes(path.read_bytes() + MARKERS.encode())
    data = path.read_bytes()
    m.sync()
    with pytest.raises(InvalidInputError, match=r"project_a\.md was not changed") as caught:
        m.update(memory.id, text="New.")
    assert caught.value.details["path"] == "project_a.md"
    assert caught.value.details["reason"] == "conflict-markers"
    assert path.read_bytes() == data
    m.delete(memory.id)
    assert not path.exists()


def test_a_move_carries_everything(m: Memories, folder: Path) -> None:
    """Another scope is another folder, index and rights; the memory, its history and its words stay."""
    memory = m.add("Text.", title="A", type="project")
    index = folder / "MEMORY.md"
    moved = m.update(memory.id, scope="team")
    assert (moved.path, moved.id) == ("team/project_a.md", memory.id)
    assert mode(folder / "team" / "project_a.md") == 0o644
    assert not (folder / "project_a.md").exists()
    assert "project_a.md" not in index.read_text("utf-8")
    assert mode(folder / str(m.update(memory.id, scope="private").path)) == 0o600


def test_a_file_becomes_a_row_and_a_file_again(m: Memories, folder: Path, store: Store) -> None:
    """What a memory is follows from its scope and type, and nothing of it is lost."""
    memory = m.add("Text.", title="A", description="What it is.", tags=["x"], type="project", metadata={"k": [1]})
    row = m.update(memory.id, type="record")
    assert row.path is None
    assert not list(folder.glob("project*"))
    again = m.update(memory.id, type="project")
    assert (again.path, again.text, again.tags, again.metadata) == ("project_a.md", "Text.", ("x",), {"k": [1]})
    check_folder(store)


def test_a_rename_to_a_name_that_is_taken(m: Memories, folder: Path, store: Store) -> None:
    """Nothing changes, neither file nor pointer."""
    first = m.add("Text.", title="A", type="project")
    second = m.add("Other.", title="B", type="project")
    data = (folder / str(second.path)).read_bytes()
    with pytest.raises(AlreadyExistsError):
        m.rename(first.id, str(second.path))
    assert m.get(first.id).path == first.path
    assert (folder / str(second.path)).read_bytes() == data
    check_folder(store)


def test_a_rename_to_a_name_that_another_program_takes_at_that_very_moment(m: Memories, folder: Path) -> None:
    """Theirs stays, ours keeps its old name, now and after the next change."""
    memory = m.add("Text.", title="A", type="project")
    theirs = folder / "other.md"
    with observe(at("link", lambda: theirs.write_bytes(b"Theirs.\n"))), pytest.raises(AlreadyExistsError):
        m.rename(memory.id, "other.md")
    assert m.get(memory.id).path == memory.path
    m.update(memory.id, text="Changed.")
    assert theirs.read_bytes() == b"Theirs.\n"
    assert m.get(memory.id).path == memory.path
    assert (folder / str(memory.path)).exists()


def test_secrets_are_not_written_for_the_team(m: Memories, folder: Path) -> None:
    """Neither by add, nor by update, nor by a move; the error names the kind and not the secret."""
    key = "AKIA" + "QX7WZ4TRPL2MVN3K"
    with pytest.raises(InvalidInputError) as caught:
        m.add(f"The key is {key}.", title="A", type="project", scope="team")
    assert key not in str(caught.value)
    memory = m.add(f"The key is {key}.", title="A", type="project")
    with pytest.raises(InvalidInputError):
        m.update(memory.id, scope="team")
    assert not list((folder / "team").glob("*project*")) if (folder / "team").exists() else True


# --- many ------------------------------------------------------------------------------------------------------------


def test_hundreds_of_files_with_long_titles_in_one_batch(m: Memories) -> None:
    """What is written down of them has room, whatever the titles' alphabet."""
    items = [{"text": f"{number} " + "\u8a18\u61b6" * 90, "type": "project"} for number in range(300)]
    for number in range(300):
        items.append({"text": f"Text {number}.", "title": "\u8a18\u61b6" * 40 + str(number), "type": "project"})
    assert len(m.add_many(items)) == 600
    assert m.count() == 600


def test_a_batch_of_both_scopes(m: Memories, store: Store, folder: Path) -> None:
    """Files of private and team, and rows, in one call."""
    items: list[dict[str, Any]] = [
        {"text": f"Text {number}.", "title": f"Title {number}", "type": kind, "scope": scope}
        for number, (kind, scope) in enumerate([("project", "private"), ("project", "team"), ("record", "private")] * 3)
    ]
    ids = m.add_many(items)
    assert [m.get(id).text for id in ids] == [item["text"] for item in items]
    assert len(list(folder.glob("project_*.md"))) == len(list((folder / "team").glob("project_*.md"))) == 3
    check_folder(store)


# --- purging ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["private", "team"])
def test_a_purge_leaves_no_trace(folder: Path, scope: str) -> None:
    """Text, title, past texts, what was kept for a conflict and what a killed process left: all are gone."""
    words = ["Zugspitze", "Watzmann", "Hochkalter", "Karwendel", "Wetterstein"]
    with lamina.open(folder, embedder="none") as store:
        m = store.memories
        m.add("Something else.", title="Else", type="project", scope=scope)
        memory = m.add(f"About {words[0]}.", title=f"Title {words[1]}", type="project", scope=scope, tags=[words[2]])
        m.update(memory.id, text=f"Now about {words[3]}.")
        m.update(memory.id, scope="team" if scope == "private" else "private")
        m.update(memory.id, scope=scope)
        path = folder / str(memory.path)
        path.write_bytes(path.read_bytes() + b"By hand.\n")
        with pytest.raises(ConflictError):
            m.update(memory.id, text=f"A lost one about {words[4]}.")
        assert kept_texts(folder)
        (path.parent / f".lamina-1-{'0' * 16}.swap").write_bytes(path.read_bytes())
        (folder / ".lamina" / "conflicts" / f".lamina-1-{'0' * 16}.tmp").write_bytes(path.read_bytes())
        m.sync()
        report = m.delete(memory.id, purge=True)
        assert report.purged
        assert report.removed["file"] == 1
        assert any("git" in place for place in report.kept)
    slugs = [word.lower() for word in words]
    assert files_holding(folder, [*words, *slugs, memory.id]) == {}


def test_a_purge_leaves_the_conflicts_of_other_memories(m: Memories, folder: Path) -> None:
    """Two memories of one file name in two scopes: only what belongs to the purged one goes."""
    mine = m.add("Mine.", title="A", type="project")
    ours = m.add("Ours.", title="A", type="project", scope="team")
    for memory in (mine, ours):
        path = folder / str(memory.path)
        path.write_bytes(path.read_bytes() + b"By hand.\n")
        with pytest.raises(ConflictError):
            m.update(memory.id, text=f"Lost text of {memory.scope}.")
    m.sync()
    m.delete(mine.id, purge=True)
    assert ["Lost text of team." in text for text in kept_texts(folder).values()] == [True]


def test_a_purge_of_a_memory_that_was_deleted_before(m: Memories, folder: Path) -> None:
    """Its past and what was kept for a conflict go, though its file went long ago."""
    memory = m.add("About Zugspitze.", title="A", type="project")
    path = folder / str(memory.path)
    path.write_bytes(path.read_bytes() + b"By hand.\n")
    with pytest.raises(ConflictError):
        m.update(memory.id, text="Lost.")
    m.sync()
    m.delete(memory.id)
    m.delete(memory.id, purge=True)
    assert kept_texts(folder) == {}
    assert files_holding(folder, ["Zugspitze", memory.id]) == {}
