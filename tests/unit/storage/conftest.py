"""A fresh catalog for every test of the storage floor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.config import Settings
from lamina.storage.catalog import SqliteCatalog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the test's catalog lives."""
    return tmp_path / "store" / ".lamina"


@pytest.fixture
def catalog(folder: Path) -> Iterator[SqliteCatalog]:
    """An empty, writable catalog."""
    made = SqliteCatalog(folder, Settings(busy_timeout=10, durability="relaxed"))
    yield made
    made.close()
