"""Optimize keeps every answer and gives back room; garbage is what nobody needs; stats say what is there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import lamina
from lamina import Store
from lamina.storage.migrations import FORMAT_VERSION


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return an empty store without an embedder."""
    with lamina.open(tmp_path / "store", embedder="none", durability="relaxed") as opened:
        yield opened


def answers(store: Store) -> list[object]:
    """Return everything that a store says, in an order of its own."""
    m = store.memories
    every = m.list(limit=None)
    found = m.recall("harbour ship 17", limit=20, mode="text")
    return [
        *(sorted(every, key=lambda memory: memory.id)),
        *(m.history(memory.id) for memory in every[:20]),
        *((hit.memory.id, round(hit.score, 5)) for hit in found),
    ]


def test_optimize_keeps_content_and_shrinks(store: Store) -> None:
    """After many updates and purges the store says the same as before, in fewer bytes, and is whole."""
    m = store.memories
    ids = m.add_many(f"Ship {number} of the harbour carries {number * 37} sacks of coffee." for number in range(1_500))
    for id in ids[:40]:
        m.update(id, importance=0.7)
    for id in ids[40:60]:
        m.delete(id)
    before = answers(store)

    report = store.optimize()

    assert before == answers(store)
    assert report["bodies_recoded"] > 1_000
    assert report["bytes_after"] < report["bytes_before"]
    assert store.stats()["bytes_on_disk"]["total"] == report["bytes_after"]
    assert store.stats()["compression_dictionary"]
    assert store.verify("full").ok
    again = store.optimize()
    assert 0 == again["bodies_recoded"]
    assert again["bytes_after"] <= report["bytes_after"]


def test_optimize_gives_back_what_was_deleted(store: Store) -> None:
    """Pages that purged memories left are given back to the file system."""
    m = store.memories
    (id,) = m.add_many(["Lorem ipsum of a long book. " * 40_000])
    m.add("A short note stays.")
    m.delete(id, purge=True)

    report = store.optimize()

    assert report["bytes_after"] < 400_000
    assert ["A short note stays."] == [memory.text for memory in m.list()]


def test_optimize_beside_another_handle(store: Store) -> None:
    """A handle that was open meanwhile, and had read and recalled, sees the same store and goes on working."""
    store.memories.add_many(f"Ship {number} lies in the harbour." for number in range(1_200))
    with lamina.open(store.location, embedder="none", durability="relaxed") as other:
        before = answers(other)
        store.optimize()
        assert before == answers(other)
        added = other.memories.add("A ship from the other handle lies in the harbour, and its text is long enough.")
        assert added == store.memories.get(added.id)
        assert other.verify("full").ok


def test_garbage_is_old_leftovers_alone(store: Store) -> None:
    """Only temporary files that are more than an hour old go, and a dry run only names them."""
    engine = store.location / ".lamina"
    old, young = engine / f".lamina-1-{0:016x}.tmp", engine / f".lamina-2-{1:016x}.tmp"
    strange = engine / ".lamina-whose.tmp"
    for path in (old, young, strange):
        path.write_bytes(b"12345")
    for path in (old, strange):
        os.utime(path, (time.time() - 7_200,) * 2)

    assert old.name in store.gc(dry_run=True)["files"]
    assert old.exists()
    assert {"files": [old.name], "bytes": 5, "dry_run": False} == store.gc()
    assert not old.exists()
    assert young.exists()
    assert strange.exists()
    assert [] == store.gc()["files"]


def test_stats_count_what_is_there(tmp_path: Path) -> None:
    """Memories by scope and type, past revisions, passages, vectors and those that wait: each is counted."""
    with lamina.open(tmp_path / "store", embedder="none") as store:
        m = store.memories
        waits = m.add("The first has no vector yet.", scope="team", type="project")
        m.update(waits.id, importance=1.0)
        m.delete(m.add("The second went.").id)
    with lamina.open(tmp_path / "store", embedder="static") as store:
        long = "\n\n".join(f"Paragraph {number}. " + "Words of a harbour. " * 40 for number in range(4))
        store.memories.add(long)
        stats = store.stats()

    assert stats == json.loads(json.dumps(stats))
    assert {"private": 1, "team": 1} == stats["by_scope"]
    assert {"project": 1, "record": 1} == stats["by_type"]
    passages = stats["passages"] - 3
    assert passages >= 3
    expected = {
        "location": str(tmp_path / "store"),
        "memories": 2,
        "history": 2,
        "vectors": passages,
        "vectors_waiting": 3,
        "embedder": stats["embedder_recorded"],
        "dimensions": 256,
        "profile": "balanced",
        "durability": "full",
        "format": FORMAT_VERSION,
        "compression_dictionary": False,
    }
    assert expected == {name: stats[name] for name in expected}
    sizes = stats["bytes_on_disk"]
    assert sizes["total"] == sum(size for part, size in sizes.items() if part != "total")
    assert sizes["catalog"] > 0


def test_stats_of_an_empty_store(store: Store) -> None:
    """Nothing is counted as nothing."""
    stats = store.stats()
    names = ("memories", "history", "passages", "vectors", "vectors_waiting", "text_bytes")
    assert [0] * 6 == [stats[name] for name in names]
    assert (None, {}, {}) == (stats["last_write"], stats["by_scope"], stats["by_type"])
