"""A fresh store for every test of sessions and patterns; real records where they are at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import lamina
from lamina import Sessions, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store without an embedder."""
    with lamina.open(tmp_path / "store", embedder="none", durability="relaxed") as opened:
        yield opened


@pytest.fixture
def s(store: Store) -> Sessions:
    """The sessions of a new store."""
    return store.sessions
