from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest
from numpy.typing import NDArray

from lamina.embed import CachedEmbedder, Embedder, EmbeddingCache, StaticEmbedder, _cache, forget_cached
from lamina.errors import InvalidInputError, LockedError, ReadOnlyError, StorageError
from lamina.testing import EmbedderTests

TEXTS = ["one", "two", "", "\ud800 lone", "a\0b", "x" * 100_000]
ROWS = np.random.default_rng(7).standard_normal((len(TEXTS), 8)).astype(np.float32)


class Counting:
    """The default embedder, counting what it is asked for; costly as far as a cache can tell."""

    name = "counting/1"
    cheap = False

    def __init__(self) -> None:
        self.inner = StaticEmbedder()
        self.dim = self.inner.dim
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed and count."""
        self.asked.extend(texts)
        return self.inner.embed(texts)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Embed a question."""
        return self.inner.embed_query(text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a cache goes."""
    return tmp_path / "embeddings.db"


@pytest.fixture
def cache(path: Path) -> Iterator[EmbeddingCache]:
    """A cache that holds TEXTS."""
    cache = EmbeddingCache(path, "model/a", 8)
    cache.put_many(TEXTS, ROWS)
    yield cache
    cache.close()


class TestContract(EmbedderTests):
    """An embedder behind a cache keeps the contract."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> Iterator[None]:
        """Give each test a folder, and close what it opened there."""
        self.path = tmp_path / "embeddings.db"
        self.made: list[EmbeddingCache] = []
        yield
        for cache in self.made:
            cache.close()

    def make_embedder(self) -> Embedder:
        """Return one."""
        inner = Counting()
        self.made.append(EmbeddingCache(self.path, inner.name, inner.dim))
        return CachedEmbedder(inner, self.made[-1])


def test_what_was_put_is_found(cache: EmbeddingCache, path: Path) -> None:
    """Vectors come back bit for bit, in the order asked, also through another handle; others are not found."""
    other = EmbeddingCache(path, "model/a", 8)
    vectors, found = other.get_many(["unknown", *TEXTS[::-1]])
    other.close()

    assert found.tolist() == [False] + [True] * len(TEXTS)
    assert not vectors[0].any()
    assert vectors[1:].tobytes() == ROWS[::-1].tobytes()
    assert (other.stats.hits, other.stats.misses) == (len(TEXTS), 1)


def test_never_for_another_embedder(cache: EmbeddingCache, path: Path) -> None:
    """Another name, or another number of dimensions, gets nothing."""
    for name, dim in (("model/b", 8), ("model/a", 9), ("model/a", 4), ("model/", 8)):
        other = EmbeddingCache(path, name, dim)
        assert not other.get_many([*TEXTS, "a\0one"])[1].any()
        other.close()


def test_name_and_text_do_not_run_together(path: Path) -> None:
    """What ends a name and starts a text is part of the key."""
    one, other = EmbeddingCache(path, "m", 1), EmbeddingCache(path, "m\0a", 1)
    one.put_many(["a\0b"], np.ones((1, 1), np.float32))
    assert not one.get_many(["b"])[1].any()
    assert one.get_many(["a\0b"])[1].all()
    for cache in (one, other):
        cache.close()


def test_only_misses_are_embedded(path: Path) -> None:
    """The wrapped embedder sees each different new text once, and the vectors are its own."""
    inner = Counting()
    embedder = CachedEmbedder(inner, EmbeddingCache(path, inner.name, inner.dim))
    first = embedder.embed(["a cat", "a dog", "a cat"])
    second = embedder.embed(["a bird", "a dog", "a cat", ""])
    embedder.cache.close()

    assert inner.asked == ["a cat", "a dog", "a bird", ""]
    assert first.tobytes() == inner.inner.embed(["a cat", "a dog", "a cat"]).tobytes()
    assert second.tobytes() == inner.inner.embed(["a bird", "a dog", "a cat", ""]).tobytes()


def test_a_cache_of_another_embedder_is_refused(path: Path) -> None:
    """A cache made for another name is not accepted for an embedder."""
    with pytest.raises(InvalidInputError, match="cannot serve"):
        CachedEmbedder(Counting(), EmbeddingCache(path, "other", 256))


def test_the_oldest_go(path: Path) -> None:
    """The cache never holds more than its bound, and what goes is the oldest."""
    cache = EmbeddingCache(path, "m", 1, max_rows=50)
    for start in range(0, 200, 10):
        texts = [str(number) for number in range(start, start + 10)]
        cache.put_many(texts, np.ones((10, 1), np.float32))
        assert cache.count() <= 50
        assert cache.get_many(texts)[1].all()
    assert cache.count() >= 40
    assert not cache.get_many(["0", "99"])[1].any()
    cache.close()


@pytest.mark.parametrize("damage", ["zeros", "cut", "garbage", "empty", "another"])
def test_a_damaged_file_is_made_anew(cache: EmbeddingCache, path: Path, damage: str) -> None:
    """A damaged file, or one of another kind, gives misses instead of errors, is remade, and that is counted."""
    cache.close()
    size = path.stat().st_size
    if damage == "another":
        path.unlink()
        db = apsw.Connection(str(path))
        db.execute("CREATE TABLE precious (x)")
        db.close()
    else:
        path.write_bytes(
            {"zeros": b"\0" * size, "cut": path.read_bytes()[: size // 2], "empty": b""}.get(damage, os.urandom(size))
        )
    vectors, found = cache.get_many(TEXTS)
    cache.put_many(TEXTS, ROWS)

    assert not vectors[~found].any()
    assert vectors[found].tobytes() == ROWS[found].tobytes()
    assert cache.get_many(TEXTS)[0].tobytes() == ROWS.tobytes()
    assert cache.stats.rebuilt + cache.stats.damaged >= (damage != "empty")


def test_every_damaged_byte_is_a_miss_or_the_truth(cache: EmbeddingCache, path: Path) -> None:
    """Wherever a byte is flipped, no wrong vector is served and nothing raises."""
    cache.close()
    whole = path.read_bytes()
    chance = np.random.default_rng(3)
    for at in chance.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.write_bytes(damaged)
        again = EmbeddingCache(path, "model/a", 8)
        vectors, found = again.get_many(TEXTS)
        again.close()
        assert vectors[found].tobytes() == ROWS[found].tobytes()


def test_an_entry_that_fails_its_checksum_is_dropped(cache: EmbeddingCache, path: Path) -> None:
    """A vector with a flipped bit is not served, is counted, and is gone afterwards."""
    cache.close()
    db = apsw.Connection(str(path))
    db.execute("UPDATE vectors SET vector = zeroblob(36) WHERE number = 1")
    db.close()
    _, found = cache.get_many(TEXTS)

    assert found.tolist() == [False] + [True] * (len(TEXTS) - 1)
    assert cache.stats.damaged == 1
    assert cache.count() == len(TEXTS) - 1


def test_no_folder_no_cache(tmp_path: Path) -> None:
    """Where the file cannot be opened, embedding goes on without it."""
    inner = Counting()
    embedder = CachedEmbedder(inner, EmbeddingCache(tmp_path / "missing" / "e.db", inner.name, inner.dim))
    embedder.embed(["text"])
    embedder.embed(["text"])

    assert inner.asked == ["text", "text"]
    assert embedder.cache.stats.skipped == 4
    assert embedder.cache.count() == 0


def test_a_busy_file_is_not_waited_for(cache: EmbeddingCache, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process writes, lookups are served, keeping is skipped, and forgetting says that it could not."""
    monkeypatch.setattr(_cache, "_FORGET_BUSY_MS", 50)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    assert cache.get_many(TEXTS)[1].all()
    cache.put_many(["new"], np.ones((1, 8), np.float32))
    with pytest.raises(LockedError, match="may still be in it"):
        cache.forget(["one"])
    other.execute("COMMIT")
    other.close()

    assert cache.stats.skipped == 1
    assert cache.forget(["one", "new"]) == 1


def test_forgetting_waits_for_readers(cache: EmbeddingCache, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a reader holds the log, so that the old pages stay in it, forgetting does not claim success."""
    monkeypatch.setattr(_cache, "_FORGET_BUSY_MS", 50)
    other = apsw.Connection(str(path))
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM vectors").fetchone()
    with pytest.raises(LockedError):
        cache.forget(["one"])
    other.execute("COMMIT")
    other.close()
    cache.forget(["one"])

    assert not cache.get_many(["one"])[1].any()


@pytest.mark.parametrize("by", ["handle", "path"])
def test_forget_leaves_no_trace(cache: EmbeddingCache, path: Path, by: str) -> None:
    """After forgetting, the vectors' bytes are in no file of the cache, under whichever embedder they were kept."""
    second = EmbeddingCache(path, "model/b", 8)
    second.put_many(TEXTS, -ROWS)
    second.close()
    removed = cache.forget(["one", "not there"]) if by == "handle" else forget_cached(path, iter(["one", "not there"]))
    kept = b"".join(file.read_bytes() for file in path.parent.iterdir())

    assert removed == 2
    assert [kept.count(row.tobytes()) for row in (ROWS[0], -ROWS[0], ROWS[1], -ROWS[1])] == [0, 0, 1, 1]
    assert cache.get_many(TEXTS)[1].tolist() == [False] + [True] * (len(TEXTS) - 1)


def test_forget_in_a_damaged_file(cache: EmbeddingCache, path: Path) -> None:
    """Where the file is damaged all of it goes, so nothing is left of the texts either."""
    cache.close()
    path.write_bytes(ROWS.tobytes() * 20)
    cache.forget(["one"])

    assert all(ROWS[0].tobytes() not in file.read_bytes() for file in path.parent.iterdir())


def test_forget_without_a_file(path: Path) -> None:
    """Where there is no cache, nothing is forgotten and no file appears."""
    assert forget_cached(path, ["one"]) == 0
    assert not path.exists()


def test_a_folder_in_its_place(path: Path) -> None:
    """A folder where the file should be: lookups miss, and forgetting is an error of ours."""
    path.mkdir()
    cache = EmbeddingCache(path, "m", 8)
    assert not cache.get_many(["one"])[1].any()
    with pytest.raises((StorageError, ReadOnlyError), match=r"may still be in it|could not be scrubbed"):
        cache.forget(["one"])


def test_clear(cache: EmbeddingCache, path: Path) -> None:
    """Clearing deletes the files; the cache goes on empty."""
    cache.clear()
    assert list(path.parent.iterdir()) == []
    assert cache.count() == 0
    cache.put_many(["one"], ROWS[:1])
    assert cache.count() == 1


@pytest.mark.parametrize(("name", "dim", "rows"), [("m", 0, 5), ("m", 4, 0)])
def test_bad_bounds_are_refused(path: Path, name: str, dim: int, rows: int) -> None:
    """No dimensions, or no room, is an InvalidInputError."""
    with pytest.raises(InvalidInputError):
        EmbeddingCache(path, name, dim, max_rows=rows)


def test_bad_shapes_are_refused(cache: EmbeddingCache) -> None:
    """Vectors that do not fit the texts are not kept."""
    for rows in (ROWS[:1], ROWS[:, :4], ROWS[0]):
        with pytest.raises(InvalidInputError):
            cache.put_many(["p", "q"], rows)


def test_nothing_waits_for_a_disk(path: Path) -> None:
    """SQLite is told not to sync, to scrub what it deletes, and to keep a log beside the file."""
    cache = EmbeddingCache(path, "m", 1)
    cache.put_many(["a"], np.ones((1, 1), np.float32))
    db: Any = cache._connection()

    assert [db.pragma(name) for name in ("synchronous", "secure_delete", "journal_mode")] == [0, 1, "wal"]
    cache.close()


def test_threads_share_a_cache(cache: EmbeddingCache) -> None:
    """Several threads may read and write one handle."""
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            for turn in range(20):
                text = f"{number}/{turn}"
                cache.put_many([text], np.full((1, 8), number, np.float32))
                vectors, found = cache.get_many([text, "one"])
                if not found.all() or vectors[0, 0] != number:
                    wrong.append((number, turn))
        except Exception as error:  # noqa: BLE001  (handed to the test)
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


WRITER = """
import sys, numpy as np
from lamina.embed import EmbeddingCache
cache = EmbeddingCache(sys.argv[1], "m", 4)
for turn in range(60):
    text = f"{sys.argv[2]}/{turn}"
    cache.put_many([text], np.full((1, 4), turn, np.float32))
    vectors, found = cache.get_many([f"{who}/{turn}" for who in "ab"])
    assert all(row[0] == turn for row, there in zip(vectors, found) if there)
print(cache.stats.rebuilt)
cache.close()
"""


def test_two_processes(path: Path) -> None:
    """Two processes that fill one cache at once see no wrong vector and no damage."""
    source = str(Path(_cache.__file__).parents[2])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), who],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": source},
        )
        for who in "ab"
    ]
    outputs = [process.communicate(timeout=50) for process in running]
    cache = EmbeddingCache(path, "m", 4)
    _, found = cache.get_many([f"{who}/{turn}" for who in "ab" for turn in range(60)])
    cache.close()

    assert [(process.returncode, *output) for process, output in zip(running, outputs, strict=True)] == [
        (0, "0\n", "")
    ] * 2
    assert found.mean() > 0.5  # what met a lock was skipped, not waited for
