from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import pytest

import lamina
from lamina.testing import TinyEmbedder, build_golden, describe_store

HERE = Path(__file__).parent
GOLDEN = sorted(HERE.glob("format-*.db"))


@pytest.fixture(params=GOLDEN, ids=[path.stem for path in GOLDEN])
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """Return a copy of a golden store and the file that says what it holds."""
    kept: Path = request.param
    folder = tmp_path / "store"
    (folder / ".lamina").mkdir(parents=True)
    shutil.copyfile(kept, folder / ".lamina" / "catalog.db")
    if kept.with_suffix(".packs").is_dir():
        shutil.copytree(kept.with_suffix(".packs"), folder / ".lamina" / "packs")
    return folder, kept.with_suffix(".json")


def test_a_golden_store_says_what_it_said(golden: tuple[Path, Path]) -> None:
    """A store of every format version opens, verifies and gives every answer that it was made to give."""
    folder, path = golden
    expected = json.loads(path.read_text("utf-8"))
    with lamina.open(folder, embedder=TinyEmbedder()) as store:
        moments = [datetime.fromisoformat(moment) for moment in expected["moments"]]

        assert json.loads(json.dumps(describe_store(store, moments))) == expected
        assert store.verify("full").ok


def test_a_golden_store_takes_writes(golden: tuple[Path, Path]) -> None:
    """This version writes to a store of every format version, and repairs it, without changing what was there."""
    folder, path = golden
    expected = json.loads(path.read_text("utf-8"))
    with lamina.open(folder, embedder=TinyEmbedder()) as store:
        new = store.memories.add("written by this version")
        store.repair()
        store.optimize()
        assert store.memories.get(new.id).text == "written by this version"
        assert store.memories.count() == expected["count"] + 1
        for memory in expected["memories"]:
            assert store.memories.get(memory["id"]).text == memory["text"]
        for name, versions in expected.get("states", {}).items():
            with store.states.open(name) as state:
                store.states.commit(name, {"new": state[next(iter(state))].read()})
            assert [one["id"] for one in versions] == [one.id for one in store.states.log(name)][1:]
        assert store.verify("full").ok


def test_an_older_store_is_read_as_one_that_lacks_what_came_later(golden: tuple[Path, Path]) -> None:
    """Opened for reading only, a store of every format answers every question; what it is too old to hold is empty."""
    folder, path = golden
    expected = json.loads(path.read_text("utf-8"))
    with lamina.open(folder, embedder=TinyEmbedder(), read_only=True) as store:
        assert len(store.memories.recall("memory", include=("memories", "patterns")).patterns) <= 5
        assert {one.name for one in store.states.list()} == set(expected.get("states", {}))
        assert store.patterns.query().count() == store.patterns.stats()["patterns"] == len(expected.get("patterns", ()))
        assert store.sessions.count() == sum('"type": "session"' in line for line in expected.get("sessions", ()))
        assert store.patterns.suggest(["edit"]) == [] or expected.get("patterns")
        assert store.patterns.trends() == [] or expected.get("patterns")
        assert store.stats()["patterns"] == len(expected.get("patterns", ()))
        assert store.gc(dry_run=True)["dry_run"]
        assert store.verify("full").ok
        for write in (
            lambda: store.states.commit("new", {"a": [1.0]}),
            lambda: store.patterns.record(["edit"], type="x", success=True),
            lambda: store.sessions.start(agent="me"),
        ):
            with pytest.raises(lamina.ReadOnlyError):
                write()


def test_a_reader_sees_what_came_after_it_opened_an_older_store(golden: tuple[Path, Path]) -> None:
    """A reader of an older store sees what another process adds that brought it up to date."""
    folder, _ = golden
    with lamina.open(folder, embedder=TinyEmbedder(), read_only=True) as reader:
        before = reader.patterns.query().count()
        pool = reader.memories._context.catalog.pool
        with pool.read(), pool.read(), pool.read():  # as many readers at once leave three connections behind
            pass
        with lamina.open(folder, embedder=TinyEmbedder()) as writer:
            writer.patterns.record(["look", "leap"], type="TestingPattern", success=True)

        for _ in range(2):
            with pool.read(), pool.read():
                assert reader.patterns.query().count() == before + 1


def test_this_version_has_a_golden_store(tmp_path: Path) -> None:
    """The format that this version writes is among the kept ones, and the builder still makes it."""
    made = build_golden(tmp_path)
    assert made.name in {path.name for path in GOLDEN}
    assert set(json.loads(made.with_suffix(".json").read_text("utf-8"))) == set(
        json.loads((HERE / made.name).with_suffix(".json").read_text("utf-8"))
    )
