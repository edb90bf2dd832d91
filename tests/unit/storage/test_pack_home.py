"""Packs need no folder: the contract holds for a home that keeps them in memory, as an object store would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import lamina
from lamina.errors import CorruptionError, InvalidInputError, NotFoundError
from lamina.storage.packs import PackHome, PackReader, PackSink
from lamina.testing import PackTests

BUCKETS: dict[Path, dict[str, bytes]] = {}


class _Reader:
    """A pack's bytes."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.size = len(data)
        self._data = data

    def read(self, offset: int, size: int) -> bytes:
        if offset + size > self.size:
            raise CorruptionError(f"{self.path} ends early.")
        return self._data[offset : offset + size]

    def read_into(self, view: memoryview, offset: int) -> None:
        view[:] = self.read(offset, len(view))

    def advise(self, offset: int, size: int) -> None:
        pass

    def map(self, offset: int, size: int) -> memoryview:
        raise InvalidInputError(f"{self.path} cannot be mapped.")


class _Sink:
    """A pack under way."""

    def __init__(self, bucket: dict[str, bytes]) -> None:
        self.size = 0
        self._bucket = bucket
        self._parts: list[bytes] = []

    def write(self, data: bytes | memoryview) -> None:
        self._parts.append(bytes(data))
        self.size += len(data)

    def publish(self, name: str) -> str:
        self._bucket[name] = b"".join(self._parts)
        return name

    def close(self) -> None:
        self._parts = []


class _Bucket:
    """A home that is a dictionary."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def create(self, *, durable: bool) -> PackSink:
        return _Sink(self.objects)

    def open(self, name: str) -> PackReader:
        if f"{name}.pack" not in self.objects:
            raise NotFoundError(f"There is no pack {name}.")
        return _Reader(name, self.objects[f"{name}.pack"])

    def names(self) -> list[str]:
        return sorted(name.removesuffix(".pack") for name in self.objects)

    def size(self, name: str) -> int | None:
        data = self.objects.get(f"{name}.pack")
        return None if data is None else len(data)

    def sync(self, name: str) -> None:
        pass

    def remove(self, name: str) -> None:
        self.objects.pop(f"{name}.pack", None)

    def sweep(self) -> None:
        pass


@pytest.fixture(autouse=True)
def emptied() -> Iterator[None]:
    """No bucket outlives its test."""
    yield
    BUCKETS.clear()


class TestBucket(PackTests):
    """The contract of packs, for a home in memory."""

    def home(self, folder: Path) -> PackHome:
        """Return the bucket."""
        return _Bucket(BUCKETS.setdefault(folder, {}))

    def bytes_of(self, folder: Path, name: str) -> bytes:
        """Return all bytes of a pack."""
        return BUCKETS[folder][f"{name}.pack"]

    def replace(self, folder: Path, name: str, data: bytes) -> None:
        """Put other bytes there."""
        BUCKETS[folder][f"{name}.pack"] = data

    def names(self, folder: Path) -> list[str]:
        """Return the names of what is there."""
        return sorted(BUCKETS.get(folder, {}))


def test_states_live_in_any_home(tmp_path: Path) -> None:
    """Committed, changed, read, verified and collected, with no pack in the store's own folder; a map says why not."""
    bucket = _Bucket({})
    rng = np.random.default_rng(0)
    data = rng.standard_normal((5000, 16))
    with lamina.open(tmp_path / "store", embedder="none") as store:
        store.states.context.__dict__["home"] = bucket
        first = store.states.commit("s", {"a": data})
        store.states.update("s", {"a": ([7, 4000], np.zeros((2, 16)))})
        store.states.commit("s", {"a": rng.standard_normal((5000, 16))})
        with store.states.open("s", first) as state:
            np.testing.assert_array_equal(data, state["a"].read())
            np.testing.assert_array_equal(data[[3, 4999]], state["a"][[3, 4999]])
            with pytest.raises(InvalidInputError, match="map"):
                state["a"].mapped()
        assert store.verify("full").ok
        assert 2 == len(bucket.objects)
        store.states.retain("s", keep_last=1)
        store.gc()
        assert 1 == len(bucket.objects)
        assert store.verify("full").ok
        bucket.objects.clear()
        assert not store.verify("sample").ok
    assert not (tmp_path / "store" / ".lamina" / "packs").exists()
