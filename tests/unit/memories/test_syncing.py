from __future__ import annotations

import os
import shutil
import threading
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

import lamina
from lamina import Store
from lamina.errors import LockedError, ReadOnlyError
from lamina.fs import FileLock, Stamp
from lamina.testing import check_folder
from lamina.types import SyncReport


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the test's store is."""
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    """An empty store that recalls by text alone."""
    with lamina.open(folder, embedder="none", durability="relaxed") as opened:
        yield opened


def write(path: Path, text: str, *, id: str | None = None, title: str = "Title") -> Path:
    """Write a memory file as people do."""
    path.parent.mkdir(exist_ok=True)
    head = f"name: {title}\ntype: project\n" + (f"id: {id}\n" if id else "")
    path.write_bytes(f"---\n{head}---\n\n{text}\n".encode())
    return path


def sync(store: Store) -> SyncReport:
    """Sync; the next one must find nothing to do and open no file."""
    report = store.memories.sync()
    again = store.memories.sync()
    assert (again.total, again.opened) == (0, 0)
    return report


def one(store: Store) -> str:
    """Return the id of the only memory."""
    (memory,) = store.memories.list()
    return memory.id


def texts(store: Store) -> dict[str | None, str]:
    """Return the texts of all memories by file."""
    return {memory.path: memory.text.strip() for memory in store.memories.list(limit=None)}


def test_a_new_file_is_taken_over_as_it_is(store: Store, folder: Path) -> None:
    """A file that somebody put there is a memory after a sync, and not a byte of it is changed."""
    path = write(folder / "a.md", "The harbour closes at nine.")
    data, stamp = path.read_bytes(), path.stat().st_mtime_ns
    assert sync(store).new == ("a.md",)
    assert store.memories.recall("when does the harbour close")[0].memory.path == "a.md"
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (data, stamp)


def test_a_changed_file_is_a_revision(store: Store, folder: Path) -> None:
    """An edit keeps the memory, and its text before becomes history."""
    write(folder / "a.md", "Old.")
    sync(store)
    id = one(store)
    write(folder / "a.md", "New.")
    assert sync(store).changed == ("a.md",)
    assert [step.after and step.after.text.strip() for step in store.memories.history(id)] == ["Old.", "New."]


def test_a_touched_file_is_opened_once_and_no_revision(store: Store, folder: Path) -> None:
    """New times and the same bytes are read once and change nothing."""
    write(folder / "a.md", "Text.")
    sync(store)
    os.utime(folder / "a.md", ns=(1, 1))
    time.sleep(0.03)  # a stamp of this very moment would be looked at twice
    report = sync(store)
    assert (report.total, report.opened) == (0, 1)
    assert len(store.memories.history(one(store))) == 1


def test_an_edit_of_the_same_size_within_a_tick_of_the_clock_is_seen(store: Store, folder: Path) -> None:
    """Saved again right after it was read, with as many bytes and in place: the next sync takes it over."""
    path = write(folder / "a.md", "version 00")
    store.memories.sync()
    for number in range(1, 9):
        data = path.read_bytes().replace(b"version %02d" % (number - 1), b"version %02d" % number)
        with path.open("r+b") as file:
            file.write(data)
        store.memories.sync()
        assert texts(store) == {"a.md": f"version {number:02}"}


@pytest.mark.parametrize("id", [None, "abcdefgh12345678"], ids=["no id", "with id"])
def test_a_renamed_file_keeps_its_memory(store: Store, folder: Path, id: str | None) -> None:
    """Another name is no other memory, by the id in the file or by its content."""
    path = write(folder / "a.md", "Text.", id=id)
    sync(store)
    before = one(store)
    path.rename(folder / "b.md")
    assert sync(store).renamed == (("a.md", "b.md"),)
    assert one(store) == before
    assert len(store.memories.history(before)) == 2


def test_a_renamed_file_whose_front_matter_changed_keeps_its_memory(store: Store, folder: Path) -> None:
    """Without an id the text alone tells which file it was."""
    path = write(folder / "a.md", "A text that nothing else says.", title="Old title")
    write(folder / "other.md", "Another text.")
    sync(store)
    before = store.memories.find("a.md").id
    path.unlink()
    write(folder / "b.md", "A text that nothing else says.", title="New title")
    assert sync(store).renamed == (("a.md", "b.md"),)
    assert store.memories.get(before).title == "New title"


def test_a_renamed_and_edited_file_with_an_id_keeps_its_memory(store: Store, folder: Path) -> None:
    """The id leads, whatever else changed."""
    path = write(folder / "a.md", "Old.", id="abcdefgh12345678")
    sync(store)
    path.unlink()
    write(folder / "b.md", "New.", id="abcdefgh12345678", title="Other")
    assert sync(store).renamed == (("a.md", "b.md"),)
    assert store.memories.get("abcdefgh12345678").text.strip() == "New."


@pytest.mark.parametrize("ids", [False, True], ids=["no ids", "with ids"])
def test_two_files_that_swap_their_names(store: Store, folder: Path, ids: bool) -> None:
    """With ids each memory goes with its text; without, a path is a memory and its text is another one."""
    a = write(folder / "a.md", "Text of a.", id="aaaaaaaa11111111" if ids else None)
    b = write(folder / "b.md", "Text of b.", id="bbbbbbbb22222222" if ids else None)
    sync(store)
    first, second = store.memories.find("a.md").id, store.memories.find("b.md").id
    a.rename(folder / "c")
    b.rename(a)
    (folder / "c").rename(b)
    report = sync(store)
    assert texts(store) == {"a.md": "Text of b.", "b.md": "Text of a."}
    if ids:
        assert (store.memories.get(first).path, store.memories.get(second).path) == ("b.md", "a.md")
        assert report.renamed == (("a.md", "b.md"), ("b.md", "a.md"))
    else:
        assert (store.memories.get(first).path, store.memories.get(second).path) == ("a.md", "b.md")
        assert report.changed == ("a.md", "b.md")
    assert store.verify("full").ok


@pytest.mark.parametrize("id", [None, "abcdefgh12345678"], ids=["no id", "with id"])
def test_a_file_that_is_moved_to_the_team_and_back(store: Store, folder: Path, id: str | None) -> None:
    """The folder decides the scope, and the memory goes along."""
    path = write(folder / "a.md", "Text.", id=id)
    sync(store)
    before = one(store)
    (folder / "team").mkdir()
    path.rename(folder / "team" / "a.md")
    assert sync(store).moved == (("a.md", "team/a.md"),)
    assert store.memories.get(before).scope == "team"
    (folder / "team" / "a.md").rename(path)
    assert sync(store).moved == (("team/a.md", "a.md"),)
    assert store.memories.get(before).scope == "private"


@pytest.mark.parametrize("id", [None, "abcdefgh12345678"], ids=["no id", "with id"])
def test_a_deleted_file_that_comes_back_keeps_its_history(store: Store, folder: Path, id: str | None) -> None:
    """As a checkout of an old version does: the same memory, with what it said before."""
    path = write(folder / "a.md", "Text.", id=id)
    sync(store)
    before, data = one(store), path.read_bytes()
    path.unlink()
    assert sync(store).deleted == ("a.md",)
    assert store.memories.count() == 0
    path.write_bytes(data)
    assert sync(store).new == ("a.md",)
    assert one(store) == before
    assert [step.action for step in store.memories.history(before)] == ["add", "delete", "add"]


def test_an_old_version_that_is_checked_out_is_taken_over(store: Store, folder: Path) -> None:
    """Older times say nothing: what the file says now is what is known."""
    path = write(folder / "a.md", "One.")
    os.utime(path, ns=(10**18, 10**18))
    sync(store)
    write(path, "Two.")
    sync(store)
    write(path, "One.")
    os.utime(path, ns=(10**18, 10**18))
    assert sync(store).changed == ("a.md",)
    assert texts(store) == {"a.md": "One."}
    assert len(store.memories.history(one(store))) == 3


def test_a_folder_that_is_restored_from_a_backup_with_older_times(tmp_path: Path, folder: Path) -> None:
    """The files of yesterday come back beside the catalog of today: what they say is taken over, no memory doubles."""
    with lamina.open(folder, embedder="none") as store:
        ids = [store.memories.add(f"Text {n}.", title=f"T{n}", type="project").id for n in range(5)]
        shutil.copytree(folder, tmp_path / "backup", ignore=shutil.ignore_patterns(".lamina"))
        store.memories.update(ids[0], text="Changed since.")
        store.memories.delete(ids[1])
        late = store.memories.add("Later.", title="Later", type="project")
    for path in folder.glob("*.md"):
        path.unlink()
    for path in (tmp_path / "backup").glob("*.md"):
        shutil.copy2(path, folder / path.name)
    with lamina.open(folder, embedder="none") as store:
        assert {memory.id: memory.text for memory in store.memories.list()} == {
            id: f"Text {number}." for number, id in enumerate(ids)
        }
        assert store.synced is not None
        assert store.synced.deleted == (late.path,)
        check_folder(store)


@pytest.mark.parametrize("jump", [-(10**9), 10**9], ids=["backward", "forward"])
def test_a_clock_that_jumps(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, jump: int) -> None:
    """Thirty years either way: every edit is seen, revisions keep their order, and no time lies before its maker's."""
    path = write(folder / "a.md", "One.")
    sync(store)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + jump * 10**9)
    write(path, "Two.")
    store.memories.sync()
    monkeypatch.undo()
    write(path, "Three.")
    store.memories.sync()
    assert texts(store) == {"a.md": "Three."}
    times = [step.at for step in store.memories.history(one(store))]
    assert times == sorted(times)
    assert store.verify("full").ok


def test_a_time_of_a_file_in_the_future_is_not_believed(store: Store, folder: Path) -> None:
    """A memory is not made after now, so that ``as_of`` now finds it."""
    path = write(folder / "a.md", "Text.")
    os.utime(path, ns=(4 * 10**18, 4 * 10**18))
    sync(store)
    memory = store.memories.list()[0]
    assert memory.created_at.timestamp() <= time.time()
    assert store.memories.recall("text", as_of=memory.updated_at)


def test_a_copied_file_is_a_memory_of_its_own_and_told(store: Store, folder: Path) -> None:
    """Two files with one id: the first keeps it, the copy is another memory, and the report says what to do."""
    memory = store.memories.add("Text.", title="Title", type="project")
    shutil.copy(folder / str(memory.path), folder / "copy.md")
    report = sync(store)
    assert report.new == ("copy.md",)
    assert [(problem.code, problem.where) for problem in report.problems] == [("id-doubled", "copy.md")]
    assert store.memories.get(memory.id).path == memory.path
    assert store.memories.count() == 2
    (folder / "copy.md").unlink()
    assert sync(store).problems == ()
    assert one(store) == memory.id


def test_the_original_of_a_copy_goes_away(store: Store, folder: Path) -> None:
    """What was a copy stays the memory that it became, and the original ends."""
    memory = store.memories.add("Text.", title="Title", type="project")
    shutil.copy(folder / str(memory.path), folder / "copy.md")
    sync(store)
    (folder / str(memory.path)).unlink()
    report = sync(store)
    assert report.deleted == (memory.path,)
    assert [found.path for found in store.memories.list()] == ["copy.md"]


@pytest.mark.parametrize("id", [None, "abcdefgh12345678"], ids=["no id", "with id"])
def test_a_name_that_changes_in_case_alone(store: Store, folder: Path, id: str | None) -> None:
    """The memory goes along."""
    path = write(folder / "notes.md", "Text.", id=id)
    sync(store)
    before = one(store)
    path.rename(folder / "Notes.md")
    assert sync(store).renamed == (("notes.md", "Notes.md"),)
    assert one(store) == before


def test_a_name_in_another_unicode_form(store: Store, folder: Path) -> None:
    """A file that comes back from another computer with its accents decomposed is the same memory."""
    name = "caf\u00e9.md"
    path = write(folder / name, "Text.")
    sync(store)
    before = one(store)
    path.rename(folder / unicodedata.normalize("NFD", name))
    sync(store)
    assert one(store) == before
    assert store.memories.get(before).path == unicodedata.normalize("NFD", name)


def test_a_folder_that_is_deleted_by_accident_and_restored(store: Store, folder: Path, tmp_path: Path) -> None:
    """A thousand files go and come back: each memory keeps its id and what it said before."""
    for number in range(1000):
        write(folder / f"n{number}.md", f"Text number {number}.")
    assert len(sync(store).new) == 1000
    write(folder / "n7.md", "Another text.")
    sync(store)
    before = {memory.path: memory.id for memory in store.memories.list(limit=None)}
    aside = tmp_path / "aside"
    aside.mkdir()
    for path in folder.glob("n*.md"):
        path.rename(aside / path.name)
    assert len(sync(store).deleted) == 1000
    assert store.memories.count() == 0
    for path in aside.iterdir():
        shutil.copy(path, folder / path.name)
    assert len(sync(store).new) == 1000
    assert {memory.path: memory.id for memory in store.memories.list(limit=None)} == before
    assert len(store.memories.history(before["n7.md"])) == 4
    assert store.verify("structure").ok


def test_a_store_for_reading_only_says_that_it_is_behind(store: Store, folder: Path) -> None:
    """It answers from what the catalog has, and changes nothing."""
    write(folder / "a.md", "Old.")
    sync(store)
    write(folder / "a.md", "New.")
    with lamina.open(folder, read_only=True, embedder="none") as reader:
        assert reader.synced is None
        assert any("1 file changed since the last sync" in notice for notice in reader.notices)
        assert texts(reader) == {"a.md": "Old."}
        with pytest.raises(ReadOnlyError):
            reader.memories.sync()
    assert sync(store).changed == ("a.md",)


def test_a_narrowed_handle_reports_nothing_of_other_scopes(store: Store, folder: Path) -> None:
    """It follows all files, since there is one catalog, and tells of none that it may not see."""
    write(folder / "secret.md", "Private text.")
    (folder / "broken.md").write_bytes(b"\xff\xfe")
    write(folder / "team" / "t.md", "Team text.")
    write(folder / "to_team.md", "On its way.", id="abcdefgh12345678")
    with lamina.open(folder, scopes=["team"], embedder="none") as narrow:
        report = narrow.synced
        assert report is not None
        assert (report.new, report.files, report.problems) == (("team/t.md",), 1, ())
        assert texts(narrow) == {"team/t.md": "Team text."}
        assert not any("secret" in notice or "broken" in notice for notice in narrow.notices)
        (folder / "secret.md").unlink()
        (folder / "to_team.md").rename(folder / "team" / "to_team.md")
        report = narrow.memories.sync()
        assert (report.deleted, report.moved, report.renamed) == ((), (), ())
        assert narrow.memories.get("abcdefgh12345678").scope == "team"


def test_syncs_of_several_threads_take_each_file_once(store: Store, folder: Path) -> None:
    """Two handles that sync at once: each change is reported by one of them."""
    reports: list[SyncReport] = []
    with lamina.open(folder, embedder="none", durability="relaxed") as other:
        for round in range(5):
            for number in range(10):
                write(folder / f"r{round}_{number}.md", f"Text {round} {number}.")
            threads = [
                threading.Thread(target=lambda handle=handle: reports.append(handle.memories.sync()))
                for handle in (store, other, store)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    new = [path for report in reports for path in report.new]
    assert len(new) == len(set(new)) == 50
    assert store.memories.count() == 50
    assert all(len(store.memories.history(memory.id)) == 1 for memory in store.memories.list(limit=None))


def test_sync_while_another_handle_adds(store: Store, folder: Path) -> None:
    """A file that is being added is never taken for somebody else's."""
    found: list[SyncReport] = []
    began, stop = threading.Event(), threading.Event()

    def look() -> None:
        with lamina.open(folder, embedder="none", durability="relaxed") as other:
            while not stop.is_set():
                found.append(other.memories.sync())
                began.set()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        assert began.wait(20)
        for number in range(25):
            store.memories.add(f"Text {number}.", title=f"Title {number}", type="project")
    finally:
        stop.set()
        thread.join()
    assert found
    assert [report for report in found if report.total] == []
    assert store.memories.count() == 25
    check_folder(store)


def test_a_folder_that_someone_is_changing(store: Store, folder: Path) -> None:
    """Opening goes on with what the catalog has, and says so; a sync on demand waits, then fails."""
    write(folder / "a.md", "Text.")
    lock = FileLock(folder / ".lamina" / "folder.lock")
    lock.acquire(1.0)
    try:
        with lamina.open(folder, embedder="none") as other:
            assert other.synced is None
            assert any("changing files" in notice for notice in other.notices)
            assert other.memories.count() == 0
        from lamina.memories.syncing import sync as sync_within

        with pytest.raises(LockedError):
            sync_within(store.memories._context, wait=0.05)
    finally:
        lock.release()
    assert sync(store).new == ("a.md",)


def test_a_file_that_became_unreadable_keeps_its_memory(store: Store, folder: Path) -> None:
    """Conflict markers or bytes that are no text: told each time, and what was known stays."""
    path = write(folder / "a.md", "Text.", id="abcdefgh12345678")
    good = path.read_bytes()
    sync(store)
    for data in (good + b"<<<<<<< ours\na\n=======\nb\n>>>>>>> theirs\n", good + b"\xff\xfe", b"a\0b"):
        path.write_bytes(data)
        report = sync(store)
        assert len(report.problems) == 1
        assert report.problems[0].where == "a.md"
        assert store.memories.get("abcdefgh12345678").text.strip() == "Text."
        assert store.memories.sync().problems == report.problems
    path.write_bytes(good)
    report = sync(store)
    assert (report.changed, report.problems) == ((), ())
    assert len(store.memories.history("abcdefgh12345678")) == 1


def test_a_stamp_within_a_tick_is_not_settled() -> None:
    """Twenty milliseconds must have passed before a stamp tells a later change."""
    stamp = Stamp(size=1, mtime_ns=10**18, ctime_ns=10**18, inode=1)
    assert not stamp.settled(10**18 + 19_000_000)
    assert stamp.settled(10**18 + 20_000_000)
