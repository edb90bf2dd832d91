from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

import lamina
from lamina.errors import (
    ClosedError,
    ConflictError,
    EmbedderError,
    FormatError,
    InvalidInputError,
    LaminaError,
    NotFoundError,
    ReadOnlyError,
)
from lamina.testing import TinyEmbedder


def fill(folder: Path, **options: Any) -> list[str]:
    """Make a store of ten memories; return their ids."""
    with lamina.open(folder, **{"embedder": TinyEmbedder(), **options}) as store:
        return store.memories.add_many([f"number{number} about the harbour and its lantern" for number in range(10)])


BAD: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("add", ("",), {}),
    ("add", ("   \n",), {}),
    ("add", (None,), {}),
    ("add", (b"bytes",), {}),
    ("add", ("lone \ud800 surrogate",), {}),
    ("add", ("x",), {"type": "unknown"}),
    ("add", ("x",), {"type": None}),
    ("add", ("x",), {"scope": "../escape"}),
    ("add", ("x",), {"scope": ["private"]}),
    ("add", ("x",), {"tags": 5}),
    ("add", ("x",), {"tags": ["\ud800"]}),
    ("add", ("x",), {"importance": float("nan")}),
    ("add", ("x",), {"importance": "high"}),
    ("add", ("x",), {"position": 2**70}),
    ("add", ("x",), {"created_at": "yesterday"}),
    ("add", ("x",), {"created_at": 5}),
    ("add", ("x",), {"metadata": {"k": object()}}),
    ("add", ("x",), {"metadata": {1: "not a string"}}),
    ("add", ("x",), {"metadata": [1]}),
    ("add", ("x",), {"metadata": {"k": float("inf")}}),
    ("add", ("x",), {"vector": [float("nan")] * 8}),
    ("add", ("x",), {"vector": [1.0] * 3}),
    ("add", ("x",), {"vector": "text"}),
    ("add", ("x",), {"title": "\ud800"}),
    ("add_many", ("text",), {}),
    ("add_many", ([1],), {}),
    ("add_many", ([{"text": "x", "colour": "red"}],), {}),
    ("add_many", (None,), {}),
    ("get", ("unknown-id",), {}),
    ("get", (None,), {}),
    ("get", ("\ud800" * 10,), {}),
    ("update", ("unknown-id",), {"text": "x"}),
    ("update", ("unknown-id",), {}),
    ("delete", ("unknown-id",), {}),
    ("delete", ("unknown-id",), {"purge": True}),
    ("supersede", ("unknown-id", "another-id"), {}),
    ("feedback", ("unknown-id", "helped"), {}),
    ("feedback", ("unknown-id", "loved"), {}),
    ("history", ("unknown-id",), {}),
    ("list", (), {"limit": 0}),
    ("list", (), {"limit": "ten"}),
    ("list", (), {"after": "unknown-id"}),
    ("list", (), {"where": {"k": {"in": 5}}}),
    ("list", (), {"where": "text"}),
    ("list", (), {"tags": 7}),
    ("list", (), {"since": "monday"}),
    ("count", (), {"type": "unknown"}),
    ("recall", (), {}),
    ("recall", ("",), {}),
    ("recall", (5,), {}),
    ("recall", ("\ud800",), {}),
    ("recall", ("x",), {"limit": -1}),
    ("recall", ("x",), {"mode": "magic"}),
    ("recall", ("x",), {"vector": [1, 2]}),
    ("recall", ("x",), {"token_budget": 0}),
    ("recall", ("x",), {"as_of": "then"}),
    ("recall", ("x" * 200_000,), {}),
]


@pytest.mark.parametrize(
    ("name", "arguments", "options"), BAD, ids=[f"{name}-{n}" for n, (name, _, _) in enumerate(BAD)]
)
def test_invariant_9_no_foreign_exception_escapes(
    tmp_path: Path, name: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    """Whatever is passed in, the error is ours, says what happened and what to do, and nothing is written."""
    with lamina.open(tmp_path / "store", embedder=TinyEmbedder()) as store:
        store.memories.add("something is there")
        with pytest.raises(LaminaError) as caught:
            getattr(store.memories, name)(*arguments, **options)
        assert caught.value.message
        assert caught.value.hint
        assert caught.value.to_dict()["code"] == caught.value.code
        assert store.memories.count() == 1


def test_invariant_9_embedders_that_fail(tmp_path: Path) -> None:
    """What an embedder raises or returns wrongly becomes an error of ours, and nothing is written."""

    class Failing(TinyEmbedder):
        def embed(self, texts: Any) -> Any:
            raise ZeroDivisionError("foreign")

    class Lying(TinyEmbedder):
        def embed(self, texts: Any) -> Any:
            return np.full((len(texts), 3), np.nan, dtype=np.float32)

    for number, kind in enumerate((Failing, Lying)):
        with lamina.open(tmp_path / str(number), embedder=kind()) as store:
            with pytest.raises(EmbedderError):
                store.memories.add("x")
            with pytest.raises(EmbedderError):
                store.memories.add_many(["x", "y"])
            assert store.memories.count() == 0


def test_invariant_9_items_that_raise(tmp_path: Path) -> None:
    """An iterable of the caller's that raises lets its own error through; what was written before stays whole."""

    def items() -> Iterator[str]:
        yield from (f"item {number}" for number in range(1500))
        raise KeyboardInterrupt

    with lamina.open(tmp_path / "store", embedder="none") as store:
        with pytest.raises(KeyboardInterrupt):
            store.memories.add_many(items())
        assert store.memories.count() in (0, 1000)
        assert store.verify("full").ok
        store.memories.add("goes on")


def test_invariant_9_places_that_are_no_store(tmp_path: Path) -> None:
    """Missing, unreadable, foreign, newer and closed stores are each an error of ours with what to do."""
    (tmp_path / "file").write_text("x")
    foreign = tmp_path / "foreign" / ".lamina"
    foreign.mkdir(parents=True)
    db = apsw.Connection(str(foreign / "catalog.db"))
    db.execute("CREATE TABLE t (a)")
    db.close()
    fill(tmp_path / "newer", embedder="none")
    db = apsw.Connection(str(tmp_path / "newer" / ".lamina" / "catalog.db"))
    db.execute("UPDATE meta SET value = '[\"from-the-future\"]' WHERE key = 'reader_features'")
    db.close()
    for place, kind in (
        ("missing", NotFoundError),
        ("file", InvalidInputError),
        ("file/below", LaminaError),
        ("foreign", FormatError),
        ("newer", FormatError),
        ("nul\0byte", InvalidInputError),
    ):
        with pytest.raises(kind) as caught:
            lamina.open(tmp_path / place, create=False, embedder="none")
        assert caught.value.hint
    with pytest.raises(LaminaError):
        lamina.repair(tmp_path / "missing")
    store = lamina.open(tmp_path / "store", embedder="none")
    store.close()
    for call in (store.memories.list, store.verify, store.repair, store.optimize, store.stats, lambda: store.notices):
        with pytest.raises(ClosedError):
            call()


def test_invariant_9_a_read_only_handle(tmp_path: Path) -> None:
    """Through a read-only handle every write is refused as such, and reading works."""
    ids = fill(tmp_path / "store")
    with lamina.open(tmp_path / "store", embedder=TinyEmbedder(), read_only=True) as store:
        for call in (
            lambda: store.memories.add("x"),
            lambda: store.memories.add_many(["x"]),
            lambda: store.memories.update(ids[0], text="x"),
            lambda: store.memories.delete(ids[0]),
            lambda: store.memories.delete(ids[0], purge=True),
            lambda: store.memories.supersede(ids[0], ids[1]),
            lambda: store.memories.feedback(ids[0], "helped"),
            store.repair,
            store.optimize,
        ):
            with pytest.raises(ReadOnlyError):
                call()
        assert store.memories.count() == 10
        assert store.backup(tmp_path / "copy").exists()


def test_invariant_9_circles_are_conflicts(tmp_path: Path) -> None:
    """Memories that would replace each other in a circle are a conflict."""
    ids = fill(tmp_path / "store")
    with lamina.open(tmp_path / "store", embedder="none") as store:
        store.memories.supersede(ids[0], ids[1])
        store.memories.supersede(ids[1], ids[2])
        with pytest.raises(ConflictError):
            store.memories.supersede(ids[2], ids[0])
        with pytest.raises(ConflictError):
            store.memories.supersede(ids[0], ids[5])
