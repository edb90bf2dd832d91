from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw

import lamina
from lamina.errors import (
    CorruptionError,
)
from lamina.testing import CrashFS, TinyEmbedder, files_holding


class DearEmbedder(TinyEmbedder):
    """An embedder whose vectors are worth a cache."""

    cheap = False


def fill(folder: Path, **options: Any) -> list[str]:
    """Make a store of ten memories; return their ids."""
    with lamina.open(folder, **{"embedder": TinyEmbedder(), **options}) as store:
        return store.memories.add_many([f"number{number} about the harbour and its lantern" for number in range(10)])


def test_invariant_10_repair_needs_nothing_but_the_catalog(tmp_path: Path) -> None:
    """Without search/, settings, embedder or log, and with every derived table emptied, repair restores all answers."""
    ids = fill(tmp_path / "store")
    with lamina.open(tmp_path / "store", embedder=TinyEmbedder()) as store:
        store.memories.update(ids[0], text="number0 now about the meadow", tags=["red"])
        store.memories.delete(ids[1])
    bare = tmp_path / "bare"
    (bare / ".lamina").mkdir(parents=True)
    shutil.copyfile(tmp_path / "store" / ".lamina" / "catalog.db", bare / ".lamina" / "catalog.db")
    db = apsw.Connection(str(bare / ".lamina" / "catalog.db"))
    for table in ("passage", "memory_tag", "band", "text_now_data", "text_now_idx", "text_past_docsize", "ending"):
        db.execute(f"DELETE FROM {table}")
    db.close()
    report = lamina.repair(bare)
    assert not report.lost
    with lamina.open(bare, embedder=TinyEmbedder()) as store:
        assert store.verify("full").ok
        assert store.memories.recall("number3", mode="text")[0].memory.id == ids[3]
        assert store.memories.recall("meadow", mode="text", tags=["red"])[0].memory.id == ids[0]
        then = store.memories.history(ids[1])[0].at + timedelta(microseconds=1)
        assert ids[1] in {hit.memory.id for hit in store.memories.recall("number1", mode="text", as_of=then)}
        store.reindex()
        assert store.memories.recall("number3 harbour")[0].memory.id == ids[3]
        assert store.verify("full").ok


def test_invariant_10_an_interrupted_repair_is_repeated(tmp_path: Path) -> None:
    """Power loss at any moment of a repair loses nothing: no new store takes the place, and repair ends its work."""
    folder = tmp_path / "store"
    ids = fill(folder, embedder="none")
    catalog = folder / ".lamina" / "catalog.db"
    db = apsw.Connection(str(catalog))
    root = int(db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'text_now_data'").fetchall()[0][0])  # type: ignore[arg-type]
    db.close()
    content = bytearray(catalog.read_bytes())
    content[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
    catalog.write_bytes(content)
    crash = CrashFS(folder)
    with crash:
        lamina.repair(folder)
    refused = 0
    moved = next(n for n, step in enumerate(crash.operations()) if ".damaged-" in step.target)
    for at in (*range(0, moved, 7), *range(moved, len(crash) + 1)):
        image = crash.image(tmp_path / f"{at}", at=at, seed=at)
        try:
            lamina.open(image.path, embedder="none").close()
        except CorruptionError:
            refused += 1
        lamina.repair(image.path)
        with lamina.open(image.path, embedder="none") as store:
            assert {memory.id for memory in store.memories.list()} == set(ids), image
            assert store.verify("full").ok
        shutil.rmtree(image.path)
    assert refused


def test_a_purge_leaves_no_byte(tmp_path: Path) -> None:
    """After a purge neither text, title, tags, source, thread nor metadata are anywhere below the store's folder."""
    folder = tmp_path / "store"
    with lamina.open(folder, embedder=DearEmbedder("dear/8")) as store:
        store.memories.add_many([f"others stay {number} " * 30 for number in range(40)])
        secrets = [f"secret-{number}-{part}" for number in range(6) for part in "abcdefg"]
        ids = []
        for number in range(6):
            a, b, c, d, e, f, g = (f"secret-{number}-{part}" for part in "abcdefg")
            memory = store.memories.add(
                f"{a} in words " * (1 + 300 * (number % 2)),
                title=b,
                description=c,
                tags=[d],
                source=e,
                thread=f,
                metadata={"k": g},
            )
            ids.append(memory.id)
            store.memories.update(memory.id, text=f"{a} in other words")
            store.memories.add_many([f"in between {number} {n} " * 20 for n in range(10)])
        store.memories.delete(ids[0])
        assert files_holding(folder, secrets)
        for id in ids:
            report = store.memories.delete(id, purge=True)
            assert report.removed["row"] + report.removed["history"] == 2
            assert not any("write-ahead" in place for place in report.kept)
        assert files_holding(folder, secrets) == {}
        assert store.verify("full").ok
        assert store.memories.count() == 100


def test_invariant_10_a_whole_catalog_is_left_alone(tmp_path: Path) -> None:
    """Repair of a store that is whole puts nothing aside, loses nothing and keeps every vector."""
    fill(tmp_path / "store")
    with lamina.open(tmp_path / "store", embedder=TinyEmbedder()) as store:
        store.optimize()
        store.repair()
        before = store.stats()
    report = lamina.repair(tmp_path / "store")
    assert report.kept_aside is None
    assert not report.lost
    assert not report.recovered
    with lamina.open(tmp_path / "store", embedder=TinyEmbedder()) as store:
        assert store.stats()["vectors"] == before["vectors"] == 10
        assert store.memories.recall("number3 harbour")
