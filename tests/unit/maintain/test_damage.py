"""Every planted damage: the level of verify that finds it, what verify calls it, and what a repair makes of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import apsw
import pytest

import lamina
from lamina import Store
from lamina.testing import TinyEmbedder

Level = Literal["structure", "sample", "full"]
LEVELS: tuple[Level, ...] = ("structure", "sample", "full")
COPIED = (
    "id, revision, valid_from, valid_to, ended, scope, type, codec, hash, created_at, importance, thread, position, "
    "source, valid_until, superseded_by, title, description, tags, metadata, path, body"
)
MENDED: list[tuple[str, Level, str, str]] = [
    # what was done to the catalog, the first level that must see it, the code, and what the report must name
    ("DELETE FROM text_now WHERE rowid = 3", "structure", "index-behind", "passage 3"),
    ("DELETE FROM text_past", "structure", "index-behind", "passage "),
    ("INSERT INTO text_now (rowid, head, body, mark) VALUES (99, '', 'a', '')", "structure", "index-ahead", "99"),
    ("UPDATE passage SET codes = x'0011' WHERE id = 4", "structure", "vector-damaged", "passage 4"),
    ("DELETE FROM passage WHERE memory = 5", "structure", "passages-missing", "revision 5"),
    ("INSERT INTO passage (memory, start, stop, tokens) VALUES (777, 0, 5, 4)", "structure", "passage-orphaned", "777"),
    ("UPDATE passage SET start = 3 WHERE id = 6", "sample", "passage-damaged", "revision 6"),
    ("UPDATE passage SET stop = 9999 WHERE id = 6", "sample", "passage-damaged", "revision 6"),
    ("UPDATE passage SET tokens = 77 WHERE id = 6", "full", "index-differs", "passage 6"),
    ("UPDATE passage SET codes = zeroblob(length(codes)) WHERE id = 7", "full", "vector-damaged", "passage 7"),
    ("UPDATE passage SET scale = 2 * scale WHERE id = 7", "full", "vector-damaged", "passage 7"),
    ("UPDATE passage SET scale = NULL WHERE id = 7", "full", "vector-damaged", "passage 7"),
    ("DELETE FROM meta WHERE key = 'dim'", "structure", "vector-damaged", "passage "),
    ("DELETE FROM sqlite_sequence WHERE name = 'passage'", "structure", "counter-behind", "passage"),
    ("UPDATE sqlite_sequence SET seq = 2 WHERE name = 'memory'", "structure", "counter-behind", "memory"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a closed store with a thread, tags, sources, a past revision and a deleted memory."""
    folder = tmp_path_factory.mktemp("whole") / "store"
    with lamina.open(folder, embedder="static", durability="relaxed") as store:
        ids = [
            store.memories.add(
                f"Ship number {number} lies in the harbour of town {7 * number}.",
                tags=["ship"],
                thread="harbour log",
                position=number,
                source=f"page {number}",
            ).id
            for number in range(10)
        ]
        store.memories.update(ids[0], text="The first ship has left for the north.")
        store.memories.delete(ids[1])
        assert all(store.verify(level).ok for level in LEVELS)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """Return a copy of the store, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "store"))


def change(folder: Path, *statements: str) -> None:
    """Change a closed store's catalog behind Lamina's back."""
    db = apsw.Connection(str(folder / ".lamina" / "catalog.db"))
    for statement in statements:
        db.execute(statement)
    db.close()


def codes(store: Store, level: Level = "full") -> set[str]:
    """Return the codes of what verify finds."""
    return {problem.code for problem in store.verify(level).problems}


def use(store: Store, kept: Iterable[str]) -> None:
    """Use a store in every way, and see that memories are there, are found by their words, and that more fit."""
    m = store.memories
    texts = {memory.text for memory in m.list(limit=None)}
    assert set(kept) <= texts
    for text in kept:
        assert text in [hit.memory.text for hit in m.recall(text, limit=20)]
    added = m.add("Another ship came in from the south.", tags=["ship"])
    m.update(added.id, text="Another ship came in from the south-west.")
    m.delete(added.id, purge=True)


@pytest.mark.parametrize(("statement", "level", "code", "named"), MENDED)
def test_what_is_derived_is_found_and_mended(folder: Path, statement: str, level: Level, code: str, named: str) -> None:
    """Damage to what is derived is found from its level on and named; a repair mends it, and every text stays."""
    with lamina.open(folder, embedder="static") as store:
        kept = [memory.text for memory in store.memories.list(limit=None)]
    change(folder, statement)
    with lamina.open(folder, embedder="static") as store:
        for each in LEVELS[LEVELS.index(level) :]:
            found = [problem for problem in store.verify(each).problems if problem.code == code]
            assert any(named in f"{problem.where} {problem.message}" for problem in found)

        report = store.repair()

        assert () == report.lost
        assert set() == codes(store)
        use(store, kept)


@pytest.mark.parametrize(("statement", "level", "code", "named"), MENDED)
def test_the_offline_repair_mends_it_too(folder: Path, statement: str, level: Level, code: str, named: str) -> None:
    """What ``lamina repair`` does to a closed store leaves nothing that verify would send to it again."""
    change(folder, statement)

    report = lamina.repair(folder)

    assert () == report.lost
    assert report.kept_aside is None
    with lamina.open(folder, embedder="static") as store:
        assert set() == codes(store)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE memory SET body = CAST('Sheep' || substr(CAST(body AS TEXT), 5) AS BLOB) WHERE seq = 5",
        "UPDATE memory SET hash = hash + 1 WHERE seq = 5",
        "UPDATE memory SET codec = 99 WHERE seq = 5",
        "UPDATE memory SET type = 99 WHERE seq = 5",
        "UPDATE memory SET ended = 9 WHERE seq = 5",
        "UPDATE memory SET metadata = '{no JSON' WHERE seq = 5",
        "UPDATE memory SET title = CAST(x'ff41' AS TEXT) WHERE seq = 5",
        "UPDATE memory SET created_at = 9223372036854775807 WHERE seq = 5",
    ],
)
def test_a_damaged_revision_is_named_and_put_aside(folder: Path, statement: str) -> None:
    """A row that is not what was written is found when texts are read; a repair names it and puts it aside.

    Nothing is served of it before, and nothing fails because of it afterwards.
    """
    with lamina.open(folder, embedder="static") as store:
        kept = [memory.text for memory in store.memories.list(limit=None) if memory.position != 4]
        (id,) = [memory.id for memory in store.memories.list(limit=None) if memory.position == 4]
    change(folder, statement)
    with lamina.open(folder, embedder="static") as store:
        for level in LEVELS[1:]:
            (found,) = [problem for problem in store.verify(level).problems if problem.code == "text-damaged"]
            assert "revision 5" == found.where
            assert found.hint
        with pytest.raises(lamina.CorruptionError):
            store.memories.get(id)

        report = store.repair()

        assert ["memory-lost"] == [problem.code for problem in report.lost]
        assert report.kept_aside is not None
        assert Path(report.kept_aside).is_file()
        assert set() == codes(store)
        use(store, kept)


def test_a_length_that_only_the_embedder_knows(folder: Path) -> None:
    """Where the length of vectors is lost and no embedder is at hand, vectors wait, and a reindex makes all whole."""
    change(folder, "DELETE FROM meta WHERE key = 'dim'")
    with lamina.open(folder, embedder="none") as store:
        store.repair()
        assert set() == codes(store)
        assert 0 == store.stats()["vectors"]
    with lamina.open(folder, embedder="static") as store:
        assert 11 == store.reindex()["embedded"]
        assert set() == codes(store)


class Broken(TinyEmbedder):
    """Works until it is told not to."""

    broken = False

    def embed(self, texts: Sequence[str]) -> Any:
        """Return one row a text, or fail."""
        if self.broken:
            raise RuntimeError("out of order")
        return super().embed(texts)


def test_repairing_needs_no_embedder(tmp_path: Path) -> None:
    """An embedder that fails keeps no repair from mending what needs none."""
    embedder = Broken()
    with lamina.open(tmp_path / "store", embedder=embedder) as store:
        store.memories.add("The first harbour.")
        store.memories.add("The second harbour.")
    change(tmp_path / "store", "DELETE FROM text_now")
    embedder.broken = True
    with lamina.open(tmp_path / "store", embedder=embedder) as store:
        store.repair()
        assert set() == codes(store, "sample")
        assert 2 == len(store.memories.recall("harbour", mode="text"))


def test_an_index_that_is_gone(folder: Path) -> None:
    """A catalog without one of its indexes is told at every level, and whole again after the repair of its folder."""
    change(folder, "DROP INDEX memory_id")
    with lamina.open(folder, embedder="static") as store:
        for level in LEVELS:
            (problem,) = store.verify(level).problems
            assert ("schema-differs", "index memory_id") == (problem.code, problem.where)

    assert () == lamina.repair(folder).lost

    with lamina.open(folder, embedder="static") as store:
        assert set() == codes(store)


def test_what_the_planner_keeps_is_no_damage(folder: Path) -> None:
    """Tables that SQLite makes for its own statistics are not told as strange."""
    change(folder, "ANALYZE")
    with lamina.open(folder, embedder="static") as store:
        assert set() == codes(store)


def test_a_doubled_memory(folder: Path) -> None:
    """A second current row of one memory is told, and a repair leaves one."""
    doubled = f"INSERT INTO memory (seq, {COPIED}) SELECT seq + 100, {COPIED} FROM memory WHERE seq = 5"
    change(folder, "DROP INDEX memory_id", doubled)
    with lamina.open(folder, embedder="static") as store:
        for level in LEVELS:
            assert {"memory-doubled", "schema-differs"} <= codes(store, level)

    lamina.repair(folder)

    with lamina.open(folder, embedder="static") as store:
        assert set() == codes(store)
        assert 9 == store.memories.count()
        assert 1 == [memory.position for memory in store.memories.list(limit=None)].count(4)


def test_much_damage_is_counted(folder: Path) -> None:
    """Twenty of one kind are named, and the rest is counted, so that a long list hides nothing."""
    statement = "INSERT INTO passage (memory, start, stop, tokens) VALUES (777, 0, 5, 4)"
    change(folder, *[statement] * 25)
    with lamina.open(folder, embedder="static") as store:
        found = [problem for problem in store.verify().problems if problem.code == "passage-orphaned"]
        assert 21 == len(found)
        assert "5 more" in found[-1].message


def test_what_was_looked_at_is_counted(folder: Path) -> None:
    """A report says how much was checked: all texts with ``sample`` on a small store, vectors with ``full`` alone."""
    with lamina.open(folder, embedder="static") as store:
        structure, sample, full = (store.verify(level).checked for level in LEVELS)
    assert 11 == structure["memories"] == structure["passages"]
    assert "texts" not in structure
    assert (11, 0) == (sample["texts"], sample["vectors"])
    assert (11, 11) == (full["texts"], full["vectors"])


def test_verifying_changes_nothing(folder: Path) -> None:
    """Verify only looks, also at a damaged store and through a handle that may not write."""
    change(folder, "DELETE FROM text_now WHERE rowid = 3", "UPDATE memory SET type = 99 WHERE seq = 5")
    path = folder / ".lamina" / "catalog.db"
    before = path.read_bytes()
    with lamina.open(folder, embedder="static", read_only=True) as store:
        for level in LEVELS:
            assert not store.verify(level).ok
    assert before == path.read_bytes()


def test_a_level_that_is_none(folder: Path) -> None:
    """An unknown level is refused with the names of those there are."""
    with lamina.open(folder, embedder="none") as store:
        with pytest.raises(lamina.InvalidInputError) as caught:
            store.verify("deep")  # type: ignore[arg-type]
        assert all(level in caught.value.hint for level in LEVELS)


def test_vectors_seen_by_another_handle(tmp_path: Path) -> None:
    """A handle that was open before the store had vectors does not take those of another handle for damage."""
    with lamina.open(tmp_path / "store", embedder="static") as early:
        with lamina.open(tmp_path / "store", embedder="static") as other:
            other.memories.add("The first memory, and its vector.")
        assert set() == codes(early)
        early.repair()
        assert 1 == early.stats()["vectors"]


@pytest.mark.parametrize("page", [2, 5, 9])
def test_salvage_of_a_file_with_damaged_pages(tmp_path: Path, page: int) -> None:
    """Pages full of nonsense cost the rows on them and no more; the memories that went are named or counted."""
    folder = tmp_path / "store"
    with lamina.open(folder, embedder="none", durability="relaxed") as store:
        ids = store.memories.add_many(f"Note {number}: {'word ' * 60}{number}" for number in range(300))
        store.optimize()
    path = folder / ".lamina" / "catalog.db"
    db = apsw.Connection(str(path))
    leaves = [
        number
        for (number,) in db.execute(
            "SELECT pageno FROM dbstat WHERE name = 'memory' AND pagetype = 'leaf' ORDER BY path"
        )
    ]
    db.close()
    content = bytearray(path.read_bytes())
    begin = (int(str(leaves[page])) - 1) * 4096
    content[begin : begin + 4096] = b"\xa5" * 4096
    path.write_bytes(content)

    report = lamina.repair(folder)

    assert report.kept_aside is not None
    assert Path(report.kept_aside).read_bytes()[begin : begin + 16] == b"\xa5" * 16
    with lamina.open(folder, embedder="none") as store:
        left = {memory.id for memory in store.memories.list(limit=None)}
        gone = [id for id in ids if id not in left]
        assert 1 <= len(gone) <= 60
        assert {f"memory {id}" for id in gone} == {p.where for p in report.lost if p.code == "memory-lost"}
        assert len(left) == report.recovered["memory"]
        assert store.verify("full").ok
        use(store, [])
