from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

import lamina
from lamina.errors import (
    ClosedError,
    CorruptionError,
    InvalidInputError,
    LockedError,
    NotFoundError,
    ReadOnlyError,
)
from lamina.fs import count_operations
from lamina.testing import CrashFS, Killer, Ledger, TinyEmbedder

NOW = datetime.now(UTC)
HOLD = """
import apsw, sys
db = apsw.Connection(sys.argv[1])
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE meta SET value = value")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def write_lock_held(folder: Path) -> Iterator[None]:
    """Hold the store's write lock in another process."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder / ".lamina" / "catalog.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


class DearEmbedder(TinyEmbedder):
    """An embedder whose vectors are worth a cache."""

    cheap = False
    asked = 0

    def embed(self, texts: Any) -> Any:
        """Count what is asked."""
        type(self).asked += len(texts)
        return super().embed(texts)


def fill(folder: Path, **options: Any) -> list[str]:
    """Make a store of ten memories; return their ids."""
    with lamina.open(folder, **{"embedder": TinyEmbedder(), **options}) as store:
        return store.memories.add_many([f"number{number} about the harbour and its lantern" for number in range(10)])


# --- 1 ---------------------------------------------------------------------------------------------------------------


def test_invariant_1_acknowledged_means_durable(tmp_path: Path) -> None:
    """When a write has returned, SIGKILL at once and power loss at once keep it."""
    root = tmp_path / "store"
    crash = CrashFS(root)
    with crash, lamina.open(root, embedder="none") as store:
        kept = [store.memories.add(f"kept {number}").id for number in range(3)]
        store.memories.update(kept[0], text="kept in another form")
        store.memories.delete(kept[1])
        at_once = crash.image(tmp_path / "image", loss="all")
    with lamina.open(at_once.path, embedder="none") as store:
        assert {memory.text for memory in store.memories.list()} == {"kept in another form", "kept 2"}
        assert store.verify("full").ok
    with Killer("lamina.testing._workloads:mixed_work", preload=["lamina.store"]) as killer:
        outcome = killer.kill(tmp_path / "killed", after_s=0.15)
    Ledger.replayed(outcome.said).check(tmp_path / "killed")


def test_invariant_1_a_commit_is_one_fsync(tmp_path: Path) -> None:
    """An add waits for the disk once, and a batch once for all of it."""
    with count_operations() as counter, lamina.open(tmp_path / "store", embedder="none") as store:
        store.memories.add("the first makes names and numbers")
        before = counter["fsync"]
        store.memories.add("one")
        assert counter["fsync"] - before == 1
        before = counter["fsync"]
        store.memories.add_many(["two", "three", "four"])
        assert counter["fsync"] - before == 1


# --- 2 ---------------------------------------------------------------------------------------------------------------


def test_invariant_2_bytes_before_rows(tmp_path: Path) -> None:
    """The catalog gets its name when it is whole and on the disk: no crash while it is made leaves part of one."""
    root = tmp_path / "store"
    crash = CrashFS(root)
    with crash:
        lamina.open(root, embedder="none").close()
    seen = set()
    for at in range(len(crash) + 1):
        for seed in range(3):
            image = crash.image(tmp_path / f"{at}-{seed}", at=at, seed=seed)
            catalog = Path(image.path) / ".lamina" / "catalog.db"
            seen.add(catalog.exists())
            if catalog.exists():
                with lamina.open(image.path, embedder="none", create=False) as store:
                    assert store.verify("full").ok
                    assert store.memories.count() == 0
            else:
                with pytest.raises(NotFoundError):
                    lamina.open(image.path, embedder="none", create=False)
            shutil.rmtree(image.path)
    assert seen == {False, True}


def test_invariant_2_a_backup_is_published_whole(tmp_path: Path) -> None:
    """A crash while a backup is made leaves no catalog there, or a whole one."""
    fill(tmp_path / "store", embedder="none")
    copy = tmp_path / "copy"
    crash = CrashFS(copy)
    with crash, lamina.open(tmp_path / "store", embedder="none") as store:
        store.backup(copy)
        crash.acknowledge("done")
    for image in crash.images(tmp_path / "images", count=60, seed=2):
        if (Path(image.path) / ".lamina" / "catalog.db").exists():
            with lamina.open(image.path, embedder="none") as store:
                assert store.memories.count() == 10
                assert store.verify("full").ok
        else:
            assert not image.acknowledged


# --- 3 ---------------------------------------------------------------------------------------------------------------


def test_invariant_3_search_proposes_catalog_disposes(tmp_path: Path) -> None:
    """What was deleted, expired, superseded or is foreign never comes back, in any mode and through any handle."""
    folder = tmp_path / "store"
    with lamina.open(folder, embedder=TinyEmbedder()) as store, lamina.open(folder, embedder=TinyEmbedder()) as other:
        add = store.memories.add
        keep, deleted, purged, old = (
            add(f"the harbour lantern {word}") for word in ("kept", "deleted", "purged", "old")
        )
        add("the harbour lantern of another", scope="user/bob")
        add("the harbour lantern expired", valid_until=NOW - timedelta(days=1))
        for handle in (store, other):  # both hold the passages in memory by now
            assert handle.memories.recall("harbour lantern", scope="private")
        store.memories.delete(deleted.id)
        store.memories.delete(purged.id, purge=True)
        store.memories.supersede(old.id, keep.id)
        with lamina.open(folder, embedder=TinyEmbedder(), scopes=["private"]) as narrow:
            for handle in (store, other, narrow):
                scope = None if handle is narrow else "private"
                for mode in ("hybrid", "text", "vector"):
                    hits = handle.memories.recall("harbour lantern", mode=mode, scope=scope)
                    found = [hit.memory.id for hit in hits]
                    assert found == [keep.id] or (mode == "vector" and not found), (handle, mode)
            assert narrow.memories.count() == 3
            with pytest.raises(NotFoundError):
                narrow.memories.get(other.memories.list(scope="user/bob")[0].id)


@pytest.mark.parametrize(
    "damage", ["deleted", "file deleted", "truncated", "flipped", "garbage", "a folder in its place"]
)
def test_invariant_3_anything_derived_may_be_damaged(tmp_path: Path, damage: str) -> None:
    """Whatever becomes of search/, the store opens, answers and takes writes, and the cache is made anew."""
    folder = tmp_path / "store"
    ids = fill(folder, embedder=DearEmbedder("dear/8"))
    search = folder / ".lamina" / "search"
    cache = search / "embeddings.db"
    assert cache.exists()
    content = bytearray(cache.read_bytes())
    if damage == "deleted":
        shutil.rmtree(search)
    elif damage == "truncated":
        cache.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        for place in range(0, len(content), 97):
            content[place] ^= 0x55
        cache.write_bytes(content)
    elif damage == "garbage":
        cache.write_bytes(b"\xff" * 10_000)
    else:
        cache.unlink()
        if damage == "a folder in its place":
            (cache / "inner").mkdir(parents=True)
    with lamina.open(folder, embedder=DearEmbedder("dear/8")) as store:
        assert store.memories.recall("number3 harbour")[0].memory.id == ids[3]
        assert store.memories.add("written after the damage").text == "written after the damage"
        assert len(store.memories.add_many(["one more", "and another"])) == 2
        assert store.verify("full").ok
        if damage == "a folder in its place":
            with pytest.raises(ReadOnlyError, match="may still be in it"):  # what cannot be scrubbed is told
                store.memories.delete(ids[0], purge=True)
        else:
            assert store.memories.delete(ids[0], purge=True).purged


# --- 4 ---------------------------------------------------------------------------------------------------------------


def test_invariant_4_reading_waits_for_nobody(tmp_path: Path) -> None:
    """While another process holds the write lock, opening, recall, list, history, verify and closing go on at once."""
    ids = fill(tmp_path / "store")
    with write_lock_held(tmp_path / "store"):
        began = datetime.now(UTC)
        for read_only in (False, True):
            with lamina.open(tmp_path / "store", embedder=TinyEmbedder(), read_only=read_only) as store:
                assert store.memories.recall("number3")[0].memory.id == ids[3]
                assert store.memories.count() == len(store.memories.list()) == 10
                assert store.memories.history(ids[0])
                assert store.verify("structure").ok
                assert store.stats()["memories"] == 10
        assert datetime.now(UTC) - began < timedelta(seconds=5)


def test_invariant_4_reading_writes_nothing(tmp_path: Path) -> None:
    """Opening and reading change no byte: not one write is seen at the seam, and the files stay as they were."""
    ids = fill(tmp_path / "store")
    catalog = tmp_path / "store" / ".lamina" / "catalog.db"
    before = catalog.read_bytes()
    with (
        count_operations() as counter,
        lamina.open(tmp_path / "store", embedder=TinyEmbedder(), read_only=True) as store,
    ):
        store.memories.recall("harbour")
        store.memories.get(ids[0])
        store.memories.list()
        store.verify("full")
        _ = store.notices
    assert set(counter) <= {"open", "create"}  # SQLite makes the empty log that readers share
    with count_operations() as counter:
        store = lamina.open(tmp_path / "store", embedder=TinyEmbedder())
        store.memories.get(ids[0])
        store.memories.list()
        assert set(counter) <= {"open", "create"}
        store.close()
    assert catalog.read_bytes() == before


def test_invariant_4_uses_are_counted_later(tmp_path: Path) -> None:
    """Recall only remembers what was used; it is written with the next write, or at closing when the lock is free."""
    ids = fill(tmp_path / "store")
    with lamina.open(tmp_path / "store", embedder=TinyEmbedder()) as store:
        with count_operations() as counter:
            store.memories.recall("number3", limit=1)
        assert not counter["write"]
        store.memories.add("the next write takes the counts along")
        assert store.memories.get(ids[3]).uses == 1
        store.memories.recall("number4", limit=1)
        with write_lock_held(tmp_path / "store"):
            store.close()  # the lock is busy: the count is given up, and closing does not wait
    with lamina.open(tmp_path / "store", embedder=TinyEmbedder()) as store:
        assert store.memories.get(ids[4]).uses == 0


# --- 5 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["body", "title", "metadata", "tag"])
def test_invariant_5_checked_on_the_way_in(tmp_path: Path, what: str) -> None:
    """A byte that changes on the disk in a text, title, metadata or tag is an error, never a wrong answer."""
    marker = f"marker-of-{what}-0123456789"
    folder = tmp_path / "store"
    with lamina.open(folder, embedder="none") as store:
        store.memories.add("an innocent one")
        kinds: dict[str, dict[str, Any]] = {
            "body": {},
            "title": {"title": marker},
            "metadata": {"metadata": {"k": marker}},
            "tag": {"tags": [marker]},
        }
        id = store.memories.add(f"the harbour {marker if what == 'body' else ''}", **kinds[what]).id
    catalog = folder / ".lamina" / "catalog.db"
    content = catalog.read_bytes()
    assert marker.encode() in content
    catalog.write_bytes(content.replace(marker.encode(), marker.replace("0123456789", "0123456780").encode()))
    with lamina.open(folder, embedder="none") as store:
        for ask in (
            lambda: store.memories.get(id),
            lambda: store.memories.recall("harbour"),
            store.memories.list,
            lambda: store.memories.history(id),
        ):
            with pytest.raises(CorruptionError, match=f"{id}|catalog.db"):
                ask()
        assert not store.verify("full").ok


def test_invariant_5_a_size_that_lies_allocates_nothing(tmp_path: Path) -> None:
    """A compressed body that claims to be huge is refused before anything is allocated for it."""
    folder = tmp_path / "store"
    with lamina.open(folder, embedder="none") as store:
        id = store.memories.add("harbour " * 2_000).id
    db = apsw.Connection(str(folder / ".lamina" / "catalog.db"))
    body = bytearray(db.execute("SELECT body FROM memory").fetchall()[0][0])  # type: ignore[arg-type]
    huge = b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + bytes(body[7:])
    db.execute("UPDATE memory SET body = ?", (huge,))
    db.close()
    with lamina.open(folder, embedder="none") as store, pytest.raises(CorruptionError, match=id):
        store.memories.get(id)


# --- 7 ---------------------------------------------------------------------------------------------------------------


def test_invariant_7_nothing_is_cut_silently(tmp_path: Path) -> None:
    """What a token budget has no room for is named, a long query's unused words are counted, and limits refuse."""
    with lamina.open(tmp_path / "store", embedder=TinyEmbedder()) as store:
        ids = store.memories.add_many([f"number{n} harbour " + f"word{n} " * 40 for n in range(10)])
        hits = store.memories.recall("harbour", mode="text", token_budget=220)
        assert 0 < len(hits) < 10
        assert {hit.memory.id for hit in hits} | {id for id, _ in hits.left_out} == set(ids)
        assert hits.tokens <= 220
        assert all(reason for _, reason in hits.left_out)
        long = store.memories.recall(" ".join(f"different{n}" for n in range(500)) + " harbour")
        assert any("different words" in notice for notice in long.notices), long.notices
        with pytest.raises(InvalidInputError, match="10,000,000"):
            store.memories.add("x" * 10_000_001)
        tail = "the last words of a long text: zanzibar"
        long_text = store.memories.add("filler sentence about nothing. " * 500 + tail)
        assert store.memories.recall("zanzibar", mode="text")[0].memory.id == long_text.id
        assert len(store.memories.list(limit=None)) == store.memories.count() == 11


# --- 8 ---------------------------------------------------------------------------------------------------------------


def test_invariant_8_several_processes_are_normal(tmp_path: Path) -> None:
    """A writer waits for another one for a bounded time, then raises and has written nothing; afterwards it works."""
    folder = tmp_path / "store"
    fill(folder)
    (folder / "lamina.toml").write_text("busy_timeout = 0.3\n")
    with lamina.open(folder, embedder="none") as store:
        with write_lock_held(folder):
            for write in (
                lambda: store.memories.add("not now"),
                lambda: store.memories.add_many(["nor", "this"]),
                lambda: store.memories.delete(store.memories.list()[0].id, purge=True),
            ):
                began = datetime.now(UTC)
                with pytest.raises(LockedError):
                    write()
                assert timedelta(seconds=0.2) < datetime.now(UTC) - began < timedelta(seconds=5)
            assert store.memories.count() == 10
        assert store.memories.add("now").text == "now"
        assert store.memories.count() == 11


def test_invariant_8_what_one_process_writes_the_other_sees(tmp_path: Path) -> None:
    """A handle that has the passages in memory sees what other handles add, change, delete and reindex."""
    folder = tmp_path / "store"
    with lamina.open(folder, embedder=TinyEmbedder()) as one, lamina.open(folder, embedder=TinyEmbedder()) as two:
        first = one.memories.add("the harbour at night")
        assert [hit.memory.id for hit in two.memories.recall("harbour")] == [first.id]
        one.memories.update(first.id, text="the meadow at noon")
        assert two.memories.recall("meadow")[0].memory.text == "the meadow at noon"
        assert not two.memories.recall("harbour", mode="text")
        two.memories.delete(first.id)
        assert not one.memories.recall("meadow")
        assert one.verify("full").ok
        assert two.verify("full").ok


def test_invariant_8_threads_share_a_handle(tmp_path: Path) -> None:
    """Threads that write and read through one handle lose nothing and see whole memories alone."""
    errors: list[BaseException] = []
    with lamina.open(tmp_path / "store", embedder=TinyEmbedder()) as store:

        def work(name: str) -> None:
            try:
                for number in range(15):
                    memory = store.memories.add(f"{name} number{number} harbour")
                    assert memory.id in {
                        hit.memory.id for hit in store.memories.recall(f"{name} number{number}", limit=100)
                    }
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=work, args=(f"thread{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert store.memories.count() == 60
        assert store.verify("full").ok


def test_invariant_8_a_forked_child_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a forked child every call raises, and what the child does harms nothing of the parent's."""
    monkeypatch.setattr("lamina.maintain.repair._WAIT", 0.2)
    with lamina.open(tmp_path / "store", embedder="none") as store:
        id = store.memories.add("from the parent").id
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for call in (lambda: store.memories.get(id), lambda: store.memories.add("x"), store.verify):
                    try:
                        call()
                    except ClosedError:
                        code = 0
                    else:
                        code = 1
                        break
                store.close()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        store.memories.add("the parent goes on")
        with pytest.raises(LockedError):  # the child's close did not give the parent's claim back
            lamina.repair(tmp_path / "store")
        assert store.verify("full").ok
