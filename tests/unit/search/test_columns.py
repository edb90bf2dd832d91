"""Columns: kept in step they are what a fresh load gives, for every moment that a reader may see."""

from __future__ import annotations

import contextlib
import random
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamina
from lamina import CorruptionError, Store
from lamina.config import Profile
from lamina.search import columns as module
from lamina.search.columns import Columns, PassageColumns
from lamina.storage.filters import Filter
from lamina.storage.reader import Reader
from lamina.storage.records import now_micros

Floats = npt.NDArray[np.float32]
Place = tuple[Any, ...]

DIM = 8
LONG = "\n\n".join(f"Paragraph {number} says word{number}. " + "It goes on and on. " * 40 for number in range(3))


class _Hashed:
    """A small embedder: a direction of its own for every text."""

    cheap = True
    dim = DIM

    def __init__(self, name: str = "hashed") -> None:
        self.name = name

    def embed(self, texts: Sequence[str]) -> Floats:
        """Embed texts."""
        return np.array([self.embed_query(text) for text in texts], dtype=np.float32).reshape(len(texts), DIM)

    def embed_query(self, text: str) -> Floats:
        """Embed one text."""
        row = np.random.default_rng(zlib.crc32((self.name + text).encode())).normal(size=DIM)
        return (row / np.linalg.norm(row)).astype(np.float32)


class _Breaking(Reader):
    """A reader that is interrupted after some rows."""

    def __init__(self, reader: Reader, rows: int, error: BaseException) -> None:
        super().__init__(reader.db, reader._names, reader._codec)
        self._rows_left = rows
        self._error = error

    def passage_columns(self, after: int, condition: Filter) -> Iterator[tuple[Any, ...]]:
        """Yield some of the rows."""
        for number, row in enumerate(super().passage_columns(after, condition)):
            if number >= self._rows_left:
                raise self._error
            yield row


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the test's store is."""
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    """A new store."""
    with _open(folder) as opened:
        yield opened


def _open(folder: Path, profile: Profile = "balanced", name: str = "hashed") -> Store:
    return lamina.open(folder, embedder=_Hashed(name), durability="relaxed", profile=profile)


def _at(store: Store, held: PassageColumns) -> Columns:
    with store._catalog.read() as reader:
        return held.at(reader)


def _fresh(store: Store) -> Columns:
    return _at(store, PassageColumns(DIM))


def _living(columns: Columns) -> set[Place]:
    """Everything that is known of the passages that are alive."""
    numbers = ("passage", "memory", "scope", "type", "thread", "position", "created", "tokens", "scale")
    return {
        (*(getattr(columns, name)[row].item() for name in numbers), columns.codes[row].tobytes())
        for row in np.flatnonzero(columns.alive)
    }


def _around(columns: Columns) -> dict[tuple[int, int], int]:
    """The passage at each distance from each living one."""
    rows = np.flatnonzero(columns.alive)
    found: dict[tuple[int, int], int] = {}
    for distance in (-3, -2, -1, 1, 2, 3):
        others, there = columns.neighbours(rows, distance)
        for row, other, inside in zip(rows.tolist(), others.tolist(), there.tolist(), strict=True):
            if inside:
                found[int(columns.passage[row]), distance] = int(columns.passage[other])
    return found


def _check_whole(columns: Columns) -> None:
    """Order and rank say the same, over exactly what is alive, by thread, position and passage."""
    assert (np.diff(columns.passage) > 0).all()
    order = columns.order.tolist()
    assert np.flatnonzero(columns.alive).tolist() == sorted(order)
    keys = [(int(columns.thread[row]), int(columns.position[row]), row) for row in order]
    assert sorted(keys) == keys
    assert list(range(len(order))) == columns.rank[columns.order].tolist()
    assert (columns.rank[~columns.alive] == -1).all()


def _assert_in_step(held: Columns, fresh: Columns) -> None:
    _check_whole(held)
    _check_whole(fresh)
    assert fresh.alive.all()
    assert _living(fresh) == _living(held)
    assert _around(fresh) == _around(held)


def _copied(columns: Columns) -> dict[str, list[Any]]:
    return {name: getattr(columns, name).tolist() for name in Columns.__slots__}


def _act(generator: random.Random, store: Store, kind: str) -> None:
    """Do one thing to a store."""
    memories = store.memories
    ids = [memory.id for memory in memories.list(limit=None)]
    some = generator.choice(ids) if ids else None
    place: dict[str, Any] = {
        "thread": generator.choice([None, "one", "two"]),
        "position": generator.choice([None, 0, 3, 3, 7]),
        "scope": generator.choice(["private", "team"]),
    }
    if kind == "add":
        memories.add(generator.choice(["short", LONG]) + str(generator.random()), **place)
    elif kind == "many":
        memories.add_many({"text": f"note {generator.random()}", **place} for _ in range(generator.randrange(1, 9)))
    elif kind == "vector":
        memories.add("given", vector=[generator.gauss(0, 1) for _ in range(DIM)], **place)
    elif kind == "reindex":
        with contextlib.suppress(lamina.ConflictError):  # a caller's own vectors cannot be made by another embedder
            store.reindex()
    elif some is None:
        return
    elif kind == "update":
        changes: list[dict[str, Any]] = [{"text": f"new {generator.random()}"}, {"importance": generator.random()}]
        memories.update(some, **generator.choice(changes))
    elif kind == "delete":
        memories.delete(some)
    elif kind == "purge":
        memories.delete(some, purge=True)
    elif len(ids) > 1:
        other = generator.choice([id for id in ids if id != some])
        with contextlib.suppress(lamina.ConflictError):  # it has a successor already
            memories.supersede(some, other)


KINDS = ["add", "add", "many", "vector", "update", "update", "delete", "purge", "supersede", "reindex"]


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.lists(st.tuples(st.sampled_from(KINDS), st.booleans(), st.booleans()), max_size=14))
def test_whatever_happens_they_are_what_a_fresh_load_gives(
    tmp_path_factory: pytest.TempPathFactory, seed: int, actions: list[tuple[str, bool, bool]]
) -> None:
    """Adding, changing, forgetting and reindexing through two handles, looked at now and then."""
    generator = random.Random(seed)
    folder = tmp_path_factory.mktemp("store") / "store"
    held = PassageColumns(DIM)
    with _open(folder) as one, _open(folder, name=generator.choice(["hashed", "other"])) as two:
        for kind, second, look in actions:
            _act(generator, two if second and kind != "reindex" else one, kind)
            if look:
                _assert_in_step(_at(one, held), _fresh(two))
        _assert_in_step(_at(two, held), _fresh(one))


def test_a_long_life_with_another_process_keeps_them_in_step(store: Store, folder: Path) -> None:
    """Two hundred changes by two handles, seen every few of them by columns of each."""
    generator = random.Random(7)
    mine, theirs = PassageColumns(DIM), PassageColumns(DIM)
    with _open(folder) as other:
        for number in range(200):
            _act(generator, generator.choice([store, other]), generator.choice(KINDS))
            if number % 7 == 0:
                _assert_in_step(_at(store, mine), _fresh(store))
            if number % 41 == 0:
                _assert_in_step(_at(other, theirs), _fresh(other))
        _assert_in_step(_at(store, mine), _fresh(other))
        _assert_in_step(_at(other, theirs), _fresh(store))


def test_a_store_that_did_not_change_gives_the_same_columns(store: Store) -> None:
    """Nothing is loaded twice; use counts are no change."""
    kept = store.memories.add("one").id
    held = PassageColumns(DIM)
    columns = _at(store, held)
    store.memories.feedback(kept, "helped")
    assert columns is _at(store, held)


def test_columns_that_were_handed_out_never_change(store: Store) -> None:
    """A recall goes on with what it was given while others grow, end and drop it."""
    ids = store.memories.add_many([{"text": f"note {n}", "thread": "t", "position": n} for n in range(20)])
    held = PassageColumns(DIM)
    columns = _at(store, held)
    before = _copied(columns)
    store.memories.add_many(f"more {n}" for n in range(30))
    _at(store, held)
    for id in ids[:3]:
        store.memories.delete(id)
    _at(store, held)
    for id in ids[3:]:
        store.memories.delete(id, purge=True)
    _at(store, held)
    held.drop()
    assert before == _copied(columns)


def test_ended_rows_leave_when_they_are_many(store: Store) -> None:
    """Up to a fifth of dead rows stays in place; beyond, only what is alive is kept."""
    ids = store.memories.add_many(f"note {n}" for n in range(100))
    held = PassageColumns(DIM)
    _at(store, held)
    for id in ids[:20]:
        store.memories.delete(id)
    columns = _at(store, held)
    assert (100, 80) == (len(columns), int(columns.alive.sum()))
    _assert_in_step(columns, _fresh(store))
    store.memories.delete(ids[20])
    assert 79 == len(_at(store, held))
    store.memories.add_many(f"more {n}" for n in range(5))
    assert 84 == len(_at(store, held))
    _assert_in_step(_at(store, held), _fresh(store))


def test_everything_can_be_forgotten_and_begun_anew(store: Store) -> None:
    """From nothing to something and back, without a load in between."""
    held = PassageColumns(DIM)
    assert 0 == len(_at(store, held))
    for _ in range(3):
        ids = store.memories.add_many(f"note {n}" for n in range(5))
        _assert_in_step(_at(store, held), _fresh(store))
        for id in ids:
            store.memories.delete(id)
        assert 0 == int(_at(store, held).alive.sum())


@pytest.mark.parametrize("few", [0, 2000])
@pytest.mark.parametrize("batch", [1, 3, 8192])
def test_neither_batches_nor_the_way_of_ordering_show(
    store: Store, monkeypatch: pytest.MonkeyPatch, few: int, batch: int
) -> None:
    """New rows put in one by one stand where sorting all would put them, whatever is read at once."""
    monkeypatch.setattr(module, "_FEW", few)
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", batch)
    generator = random.Random(3)
    held = PassageColumns(DIM)
    for _ in range(6):
        store.memories.add_many(
            {"text": f"note {n}", "thread": generator.choice("abc"), "position": generator.randrange(9)}
            for n in range(7)
        )
        store.memories.delete(generator.choice(store.memories.list()).id)
        _assert_in_step(_at(store, held), _fresh(store))


def _texts_around(store: Store, columns: Columns, id: str, distances: Iterable[int]) -> list[str | None]:
    """The text of the memories at distances from the first passage of one."""
    with store._catalog.read() as reader:
        current = reader.current(id)
        assert current is not None
        row = np.flatnonzero(columns.memory == current.seq)[:1]
        found: list[str | None] = []
        for distance in distances:
            other, there = columns.neighbours(row, distance)
            seq = int(columns.memory[other[0]])
            found.append(reader.records([seq])[seq].text if there[0] else None)
        return found


def test_a_memory_that_comes_late_stands_at_its_position(store: Store) -> None:
    """A turn that is added in the middle of a thread becomes its neighbours' neighbour."""
    add = store.memories.add
    ids = [add(f"turn {n}", thread="talk", position=n).id for n in (0, 1, 3, 4)]
    add("a stranger")
    add("another talk", thread="other", position=2)
    held = PassageColumns(DIM)
    assert ["turn 0", "turn 3", "turn 4", None] == _texts_around(store, _at(store, held), ids[1], (-1, 1, 2, 3))
    ids.append(add("turn 2", thread="talk", position=2).id)
    assert ["turn 0", "turn 2", "turn 3", "turn 4"] == _texts_around(store, _at(store, held), ids[1], (-1, 1, 2, 3))
    assert [None, "turn 1"] == _texts_around(store, _at(store, held), ids[0], (-1, 1))


def test_a_memory_that_ended_stands_between_no_neighbours(store: Store) -> None:
    """After one is deleted and one updated, distances are those that any other process sees."""
    ids = [store.memories.add(f"turn {n}", thread="talk", position=n).id for n in range(12)]
    held = PassageColumns(DIM)
    _at(store, held)
    store.memories.delete(ids[4])
    store.memories.update(ids[6], text="turn 6, told better")
    columns = _at(store, held)
    ended = np.flatnonzero(~columns.alive)
    assert 2 == len(ended)
    assert not any(columns.neighbours(ended, distance)[1].any() for distance in (-2, -1, 1, 2))
    expected = ["turn 3", "turn 6, told better", "turn 7"]
    assert expected == _texts_around(store, columns, ids[5], (-1, 1, 2))
    _assert_in_step(columns, _fresh(store))


def test_passages_of_one_memory_are_neighbours(store: Store) -> None:
    """Without a thread a long text is one of its own, in reading order; short strangers have no neighbours."""
    store.memories.add("stranger one")
    store.memories.add(LONG)
    store.memories.add("stranger two")
    columns = _fresh(store)
    (memory,) = {int(number) for number in columns.memory if (columns.memory == number).sum() > 1}
    rows = np.flatnonzero(columns.memory == memory)
    assert len(rows) >= 3
    found, there = columns.neighbours(rows, 1)
    assert rows[1:].tolist() == found[there].tolist()
    assert not columns.neighbours(np.flatnonzero(columns.memory != memory), 1)[1].any()
    assert not columns.neighbours(np.flatnonzero(columns.memory != memory), -1)[1].any()


def test_rows_of_passages_are_found(store: Store) -> None:
    """A passage that is not here has the row -1, also where nothing is."""
    store.memories.delete(store.memories.add("gone").id)
    store.memories.add_many(["one", "two", "three"])
    columns = _fresh(store)
    asked = np.array([*columns.passage.tolist(), 0, 1, 10**9])
    assert [0, 1, 2, -1, -1, -1] == columns.rows(asked).tolist()
    empty = PassageColumns(DIM)._columns
    assert [-1, -1] == empty.rows(np.array([1, 2])).tolist()
    assert [] == empty.neighbours(np.zeros(0, dtype=np.int64), 1)[0].tolist()
    assert [] == empty.similarity(np.ones(DIM, dtype=np.float32)).tolist()


def test_several_precisions_live_in_one_store(folder: Path) -> None:
    """Whatever profile wrote a vector, its cosine is the embedder's within what its profile loses."""
    texts: dict[str, tuple[str, float]] = {}
    profiles: tuple[Profile, ...] = ("compact", "precise", "balanced", "compact")
    for number, profile in enumerate(profiles):
        with _open(folder, profile) as store:
            for each in range(5):
                text = f"{profile} {number} {each}"
                texts[text] = (store.memories.add(text).id, 0.2 if profile == "compact" else 0.02)
    with _open(folder) as store:
        columns = _fresh(store)
        query = _Hashed().embed_query("which one?")
        cosines = columns.similarity(query)
        with store._catalog.read() as reader:
            for text, (id, most) in texts.items():
                record = reader.current(id)
                assert record is not None
                cosine = float(cosines[np.flatnonzero(columns.memory == record.seq)[0]])
                assert cosine == pytest.approx(float(_Hashed().embed_query(text) @ query), abs=most)
                stored = reader.passages_of(record.seq)[0][4] or b""
                assert {"compact": DIM // 2, "balanced": DIM, "precise": 2 * DIM}[text.split()[0]] == len(stored)


def test_similarity_is_the_cosine_across_blocks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks do not show, and a passage without a vector has 0."""
    store.memories.add_many(f"note {n}" for n in range(11))
    store.memories.add(LONG, vector=[1.0] * DIM)
    columns = _fresh(store)
    query = _Hashed().embed_query("which one?")
    expected = (columns.codes.astype(np.float64) * columns.scale[:, None].astype(np.float64)) @ query
    assert (columns.scale == 0).sum() >= 2
    for block in (1, 4, 4096):
        monkeypatch.setattr(module, "BLOCK", block)
        assert np.allclose(expected, columns.similarity(query), atol=1e-6)
        assert (columns.similarity(query)[columns.scale == 0] == 0).all()


def test_vectors_that_come_later_are_seen(folder: Path) -> None:
    """A reindex of another process gives passages that waited their vectors, without a new row."""
    with lamina.open(folder, embedder="none", durability="relaxed") as store:
        store.memories.add_many(f"note {n}" for n in range(5))
        held = PassageColumns(DIM)
        assert not _at(store, held).scale.any()
        with _open(folder) as other:
            other.reindex()
        assert _at(store, held).scale.all()
        _assert_in_step(_at(store, held), _fresh(store))


def test_an_older_reader_gets_its_own_view(store: Store, folder: Path) -> None:
    """A recall that began before a purge, and before an addition, answers for its moment; the newer view stays held."""
    ids = store.memories.add_many(f"note {n}" for n in range(6))
    held = PassageColumns(DIM)
    with _open(folder) as other, store._catalog.read() as old:
        before = _living(PassageColumns(DIM).at(old))  # its moment is that of its first look
        other.memories.delete(ids[0], purge=True)
        assert 5 == int(_at(other, held).alive.sum())
        assert before == _living(held.at(old))
        other.memories.update(ids[1], text="new")
        newer = _at(other, held)
        assert before == _living(held.at(old)) != _living(newer)
        _check_whole(held.at(old))
        assert newer is _at(other, held)
    _assert_in_step(_at(store, held), _fresh(store))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, CorruptionError])
@pytest.mark.parametrize("rows", [0, 3, 4, 6, 9])
def test_an_interrupted_load_leaves_nothing_half_grown(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], rows: int
) -> None:
    """Stopped after some rows, first load or later, the next look is what a fresh load gives."""
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 4)
    held = PassageColumns(DIM)
    for _ in range(2):
        ids = store.memories.add_many(f"note {n}" for n in range(10))
        with store._catalog.read() as reader:
            breaking = _Breaking(reader, rows, error("stopped"))
            with pytest.raises(error):
                held.at(breaking)
            with pytest.raises(error):
                held.past(breaking, now_micros())
        _assert_in_step(_at(store, held), _fresh(store))
        store.memories.delete(ids[0])
        _assert_in_step(_at(store, held), _fresh(store))


def test_the_past_is_what_was_valid_then(store: Store) -> None:
    """At every moment of a store's life, the columns hold the revisions that were current at it."""
    generator = random.Random(11)
    moments: list[tuple[int, set[str]]] = []
    held = PassageColumns(DIM)
    for number in range(25):
        ids = [memory.id for memory in store.memories.list(limit=None)]
        kind = generator.choice(["add", "add", "update", "delete"]) if ids else "add"
        if kind == "add":
            store.memories.add(f"note {number}", thread="t", position=number)
        elif kind == "update":
            store.memories.update(generator.choice(ids), text=f"changed {number}")
        else:
            store.memories.delete(generator.choice(ids))
        time.sleep(0.001)
        moments.append((now_micros(), {memory.text for memory in store.memories.list(limit=None)}))
        time.sleep(0.001)
    with store._catalog.read() as reader:
        for moment, texts in moments:
            columns = held.past(reader, moment)
            _check_whole(columns)
            assert columns.alive.all()
            assert texts == {record.text for record in reader.records(columns.memory.tolist()).values()}
            assert columns is held.past(reader, moment)
        assert _living(held.at(reader)) == _living(held.past(reader, moments[-1][0]))
        assert 0 == len(held.past(reader, 0))


def test_what_is_purged_leaves_the_past_too(store: Store) -> None:
    """Columns of a past moment that are held do not outlive a purge."""
    gone, kept = store.memories.add_many(["gone", "kept"])
    time.sleep(0.001)
    moment = now_micros()
    held = PassageColumns(DIM)
    with store._catalog.read() as reader:
        assert 2 == len(held.past(reader, moment))
    store.memories.delete(gone, purge=True)
    with store._catalog.read() as reader:
        record = reader.current(kept)
        assert record is not None
        assert [record.seq] == held.past(reader, moment).memory.tolist()
