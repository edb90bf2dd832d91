"""Reindexing: another embedder, an interruption, progress, and what other handles see of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina.testing import TinyEmbedder

MANY = 1_300  # more than two batches


class Failing(TinyEmbedder):
    """Fails after some calls."""

    def __init__(self, name: str, calls: int) -> None:
        super().__init__(name)
        self.calls = calls

    def embed(self, texts: Sequence[str]) -> Any:
        """Return one row a text, so many times."""
        if self.calls <= 0:
            raise RuntimeError("out of order")
        self.calls -= 1
        return super().embed(texts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a closed store of many memories with the vectors of one embedder."""
    place = tmp_path / "store"
    with lamina.open(place, embedder=TinyEmbedder("old/8"), durability="relaxed") as store:
        store.memories.add_many(f"note {number}" for number in range(MANY))
    return place


def test_another_embedder(folder: Path) -> None:
    """Until then the vector part is off and says so; afterwards every vector is the new embedder's."""
    with lamina.open(folder, embedder=TinyEmbedder("new/8"), durability="relaxed") as store:
        assert any("old/8" in notice and "reindex" in notice for notice in store.notices)
        assert store.memories.recall("note 7")
        told: list[tuple[int, int]] = []

        report = store.reindex(lambda done, total: told.append((done, total)))

        assert {"embedder": "new/8", "embedded": MANY, "cleared": MANY, "waiting": 0} == report
        assert told == sorted(told)
        assert (MANY, MANY) == told[-1]
        assert len(told) == 3
        assert () == store.notices
        assert store.verify("full").ok
        assert MANY == store.verify("full").checked["vectors"]
        assert {"embedder": "new/8", "embedded": 0, "cleared": 0, "waiting": 0} == store.reindex()


def test_an_interruption_costs_nothing(folder: Path) -> None:
    """An embedder that fails in the middle leaves what it made; the next run makes the rest and no more."""
    with lamina.open(folder, embedder=Failing("new/8", 1), durability="relaxed") as store:
        with pytest.raises(lamina.EmbedderError):
            store.reindex()
        made = store.stats()["vectors"]
        assert 0 < made < MANY
        assert store.verify("sample").ok
    with lamina.open(folder, embedder=TinyEmbedder("new/8"), durability="relaxed") as store:
        told: list[tuple[int, int]] = []
        report = store.reindex(lambda done, total: told.append((done, total)))
        assert (MANY - made, 0, 0) == (report["embedded"], report["cleared"], report["waiting"])
        assert (MANY - made, MANY - made) == told[-1]
        assert store.verify("full").ok


def test_a_progress_that_raises(folder: Path) -> None:
    """Stopping from the progress call keeps what was made."""

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with lamina.open(folder, embedder=TinyEmbedder("new/8"), durability="relaxed") as store:
        with pytest.raises(KeyboardInterrupt):
            store.reindex(stop)
        made = store.stats()["vectors"]
        assert made > 0
        assert MANY - made == store.reindex()["embedded"]


def test_a_handle_that_was_open(folder: Path) -> None:
    """A handle of the old embedder stops comparing vectors that are no longer its own, and mixes none in."""
    with (
        lamina.open(folder, embedder=TinyEmbedder("old/8"), durability="relaxed") as old,
        lamina.open(folder, embedder=TinyEmbedder("new/8"), durability="relaxed") as new,
    ):
        assert "vector" in old.memories.recall("note 7", explain=True)[0].explanation.signals  # type: ignore[union-attr]
        new.reindex()

        hits = old.memories.recall("note 7", explain=True)
        assert any("new/8" in notice for notice in hits.notices)
        assert not any(hit.explanation.signals.get("vector") for hit in hits if hit.explanation)
        old.memories.add("added by the handle of the old embedder")
        assert 1 == new.stats()["vectors_waiting"]
        assert 1 == new.reindex()["embedded"]
        assert new.verify("full").ok


def test_past_revisions_and_texts_without_words(tmp_path: Path) -> None:
    """Past revisions get vectors too, and what has nothing to embed does not wait for ever."""
    with lamina.open(tmp_path / "store", embedder="none") as store:
        memory = store.memories.add("The harbour opens at six.")
        store.memories.update(memory.id, text="The harbour opens at seven.")
        store.memories.add("\N{SNOWMAN}\N{SNOWMAN}")
        assert 3 == store.stats()["vectors_waiting"]
    with lamina.open(tmp_path / "store", embedder="static") as store:
        assert (3, 0) == (store.reindex()["embedded"], store.stats()["vectors_waiting"])
        assert 0 == store.reindex()["embedded"]
        assert store.verify("full").ok


def test_without_an_embedder(folder: Path) -> None:
    """There is nothing to make vectors with, and the error says how to get it."""
    with lamina.open(folder, embedder="none") as store:
        with pytest.raises(lamina.EmbedderError) as caught:
            store.reindex()
        assert caught.value.hint
        assert MANY == store.stats()["vectors"]
