"""Changing the embedder: never two kinds of vectors in one store, and none that cannot be made again is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import numpy.typing as npt
import pytest

import lamina
from lamina.errors import ConflictError, EmbedderError
from lamina.maintain import reindex
from lamina.testing import TinyEmbedder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a store whose passages all wait for a vector."""
    place = tmp_path / "store"
    with lamina.open(place, embedder="none", durability="relaxed") as store:
        store.memories.add_many(f"Memory number {number}." for number in range(10))
    return place


class Interrupted(TinyEmbedder):
    """Another process reindexes while this one makes its second batch."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self.folder = folder
        self.batches = 0

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one row a text."""
        self.batches += 1
        if self.batches == 2:
            with lamina.open(self.folder, embedder=TinyEmbedder("other/8")) as store:
                store.reindex()
        return super().embed(texts)


def recorded(folder: Path) -> list[Any]:
    """Return the embedder that a store records."""
    db = apsw.Connection(str(folder / ".lamina" / "catalog.db"))
    try:
        return db.execute("SELECT value FROM meta WHERE key = 'embedder'").fetchall()
    finally:
        db.close()


def endings(folder: Path) -> int:
    """Return how many notes to other processes there were."""
    db = apsw.Connection(str(folder / ".lamina" / "catalog.db"))
    try:
        found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'ending'").fetchall()
        return int(found[0][0]) if found else 0  # type: ignore[arg-type]
    finally:
        db.close()


def test_two_reindexes_do_not_mix_vectors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was overtaken stops with a conflict, and every vector comes from the embedder that is recorded."""
    monkeypatch.setattr(reindex, "_BATCH", 3)
    with (
        lamina.open(folder, embedder=Interrupted("mine/8", folder)) as store,
        pytest.raises(ConflictError, match="other/8"),
    ):
        store.reindex()

    assert [("other/8",)] == recorded(folder)
    with lamina.open(folder, embedder=TinyEmbedder("other/8")) as store:
        assert (10, 0) == (store.stats()["vectors"], store.stats()["vectors_waiting"])
        assert store.verify("full").ok


def test_others_are_told_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reindex of many batches makes other processes load the vectors anew once, not once a batch."""
    monkeypatch.setattr(reindex, "_BATCH", 2)
    with (
        lamina.open(folder, embedder=TinyEmbedder(), read_only=True) as reader,
        lamina.open(folder, embedder=TinyEmbedder()) as store,
    ):
        assert [] == reader.memories.recall("number", mode="vector")
        before = endings(folder)
        assert 10 == store.reindex()["embedded"]
        assert 1 == endings(folder) - before
        assert 10 == len(reader.memories.recall("number", mode="vector"))
        store.reindex()
        assert 1 == endings(folder) - before


def test_others_are_told_of_a_reindex_that_failed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done before an embedder failed is seen by others."""
    monkeypatch.setattr(reindex, "_BATCH", 4)

    class Tired(TinyEmbedder):
        batches = 0

        def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
            self.batches += 1
            if self.batches == 2:
                raise RuntimeError("no more")
            return super().embed(texts)

    with lamina.open(folder, embedder=TinyEmbedder(), read_only=True) as reader:
        assert [] == reader.memories.recall("number", mode="vector")
        with lamina.open(folder, embedder=Tired()) as store, pytest.raises(EmbedderError):
            store.reindex()
        assert 4 == len(reader.memories.recall("number", mode="vector"))


def test_given_vectors_are_not_dropped_unasked(folder: Path) -> None:
    """A vector that came with a memory stops the change of the embedder, until its caller gives it up."""
    with lamina.open(folder, embedder=TinyEmbedder()) as store:
        store.reindex()
        given = store.memories.add("With a vector.", vector=[1.0] + [0.0] * 7)
    with lamina.open(folder, embedder=TinyEmbedder("other/8")) as store:
        with pytest.raises(ConflictError, match="1 memories carry vectors of their own") as caught:
            store.reindex()
        assert "replace_given" in caught.value.hint
        assert [("tiny/8",)] == recorded(folder)

        report = store.reindex(replace_given=True)

        assert (11, 10, 1, 0) == tuple(report[name] for name in ("embedded", "cleared", "replaced", "waiting"))
        assert [("other/8",)] == recorded(folder)
        assert given.id == store.memories.recall("With a vector.", mode="vector", limit=1)[0].memory.id
        assert store.verify("full").ok


def test_given_vectors_stay_with_the_same_embedder(folder: Path) -> None:
    """A reindex that only fills gaps leaves given vectors alone, and replaces them where that is asked."""
    with lamina.open(folder, embedder=TinyEmbedder()) as store:
        store.memories.add("With a vector.", vector=[1.0] + [0.0] * 7)
        assert 10 == store.reindex()["embedded"]
        assert 1 == store.reindex(replace_given=True)["replaced"]
        assert store.verify("full").ok
