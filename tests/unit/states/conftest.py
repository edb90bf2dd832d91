from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import lamina


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the test's store is."""
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[lamina.Store]:
    """A store that does not wait for the disk where the test is not about that."""
    with lamina.open(folder, embedder="none") as opened:
        yield opened


@pytest.fixture
def states(store: lamina.Store) -> lamina.States:
    """Its states."""
    return store.states
