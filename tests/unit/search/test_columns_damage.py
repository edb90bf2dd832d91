"""Columns of a damaged catalog: one bad vector is left out, and a number that is none is an error of Lamina's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamina
from lamina import CorruptionError, Store
from lamina.search.columns import PassageColumns
from lamina.storage.filters import Filter
from lamina.storage.reader import Reader

DIM = 8
FIELDS = ("passage", "memory", "scope", "type", "thread", "position", "created", "tokens", "scale", "codes")


class _Damaging(Reader):
    """A reader whose second row holds a value that no row should; SQLite checks types when they are written alone."""

    def __init__(self, reader: Reader, field: str, value: Any) -> None:
        super().__init__(reader.db, reader._names, reader._codec)
        self._place = FIELDS.index(field)
        self._value = value

    def passage_columns(self, after: int, condition: Filter) -> Iterator[tuple[Any, ...]]:
        """Yield the rows, the second one changed."""
        for number, row in enumerate(super().passage_columns(after, condition)):
            yield (*row[: self._place], self._value, *row[self._place + 1 :]) if number == 1 else row


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store of five memories with vectors of their own."""
    rows = np.random.default_rng(1).normal(size=(5, DIM))
    with lamina.open(tmp_path / "store", embedder="none", durability="relaxed") as opened:
        opened.memories.add_many({"text": f"note {n}", "vector": row} for n, row in enumerate(rows))
        yield opened


HALVES = np.array([np.nan] + [0.5] * (DIM - 1), dtype="<f2").tobytes()


@pytest.mark.parametrize(
    ("scale", "codes"),
    [
        (0.01, b"seven.."),
        (0.01, b"x" * 1000),
        (1.0, HALVES),
        (1.0, HALVES.replace(HALVES[:2], b"\x00\x7c", 1)),
        (float("inf"), b"x" * DIM),
        (-1e300, b"x" * DIM),
    ],
    ids=["short", "long", "not a number", "infinite", "infinite scale", "huge scale"],
)
def test_a_damaged_vector_is_left_out_and_told(store: Store, scale: float, codes: bytes) -> None:
    """It takes no part in a scan, the others do, and nothing that is not finite reaches a score."""
    with store._catalog.write() as writer:
        writer.db.execute("UPDATE passage SET scale = ?, codes = ? WHERE id = 2", (scale, codes))
    held = PassageColumns(DIM)
    with store._catalog.read() as reader:
        columns = held.at(reader)
    assert frozenset({2}) == held.damaged
    assert [False, True, False, False, False] == (columns.scale == 0).tolist()
    assert np.isfinite(columns.similarity(np.full(DIM, DIM**-0.5, dtype=np.float32))).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory", "text"),
        ("scope", b"bytes"),
        ("type", 2**70),
        ("created", "then"),
        ("thread", "text"),
        ("tokens", None),
        ("scale", "text"),
        ("scale", b"bytes"),
        ("codes", 7),
        ("codes", "x" * DIM),
    ],
)
def test_a_value_of_another_type_is_damage(store: Store, field: str, value: Any) -> None:
    """It is told as damage and names the passages; afterwards the columns can be had again."""
    held = PassageColumns(DIM)
    with store._catalog.read() as reader:
        with pytest.raises(CorruptionError, match="passages 1 to 5"):
            held.at(_Damaging(reader, field, value))
        assert 5 == len(held.at(reader))
