"""A fresh store for every test of the memories domain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import lamina
from lamina import Memories, Store
from lamina.embed import StaticEmbedder


@pytest.fixture(scope="session")
def static() -> StaticEmbedder:
    """The default embedder, its vocabulary read once for all tests."""
    return StaticEmbedder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the test's store is."""
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path, static: StaticEmbedder) -> Iterator[Store]:
    """A new store with the default embedder."""
    with lamina.open(folder, embedder=static, durability="relaxed") as opened:
        yield opened


@pytest.fixture
def m(store: Store) -> Memories:
    """The memories of a new store."""
    return store.memories


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Memories]:
    """The memories of a new store without an embedder."""
    with lamina.open(tmp_path / "plain", embedder="none", durability="relaxed") as opened:
        yield opened.memories
