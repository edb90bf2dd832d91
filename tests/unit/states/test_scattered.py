"""Reading many rows at once, and comparing with the parent: each frame once, and none that need not be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import lamina
from lamina.errors import CorruptionError
from lamina.fs import FileReader
from lamina.states import scattered
from lamina.states.manifest import Entry
from lamina.storage.recalled import RecalledContents
from lamina.storage.shards import ObjectKind, hash_content

Array = npt.NDArray[Any]
ROWS, DIM = 70_001, 64
"""18 MB in five shards; the last frame is short."""


@pytest.fixture(scope="module")
def noise() -> Array:
    """An array that no codec makes smaller."""
    return np.random.default_rng(0).standard_normal((ROWS, DIM), dtype=np.float32)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what is read from packs straight into room that is there."""
    sizes: list[int] = []
    original = FileReader.read_into

    def counted(self: FileReader, view: memoryview, offset: int) -> None:
        sizes.append(len(view))
        original(self, view, offset)

    monkeypatch.setattr(FileReader, "read_into", counted)
    return sizes


def entries(store: lamina.Store, name: str) -> list[Entry]:
    """What each shard of an array is made of."""
    with store.states.open(name) as state:
        return state["w"].entries


def changed(array: Array, seed: int, count: int = 300) -> Iterator[Array]:
    """Yield the array with other rows changed, again and again."""
    random = np.random.default_rng(seed)
    for _ in itertools.count():
        array = array.copy()
        rows = random.choice(len(array), count, replace=False)
        array[rows] = random.standard_normal((count, array.shape[1]), dtype=np.float32)
        yield array


@pytest.mark.parametrize("many", [300, 3000])
@pytest.mark.parametrize("precision", [None, "float16", "int8"])
def test_many_rows_are_numpys(states: lamina.States, noise: Array, precision: str | None, many: int) -> None:
    """Rows in any order, several the same and the last of all among them, are what reading the whole gives."""
    array = noise.copy()
    array[:20_000] = np.round(array[:20_000])  # compresses
    states.commit("s", {"w": array}, precision=precision)
    array[::97] += 1
    states.commit("s", {"w": array}, precision=precision)
    array[5::1009] = 0
    states.update("s", {"w": (np.arange(5, ROWS, 1009), array[5::1009])})
    rows = np.random.default_rng(1).integers(-ROWS, ROWS, many)
    rows[:3] = ROWS - 1, 0, ROWS - 1
    with states.open("s") as state:
        whole = state["w"].read()
        np.testing.assert_array_equal(whole[rows], state["w"][rows])
        if precision is None:
            np.testing.assert_array_equal(whole, array)


def test_a_sweep_reads_each_frame_once(states: lamina.States, noise: Array, read: list[int]) -> None:
    """A thousand rows of which ten lie in each frame cost a tenth of so many reads, of 16 KB each."""
    states.commit("s", {"w": noise})
    rows = (np.arange(100)[:, None] * 640 + np.arange(10) * 6).reshape(-1)
    with states.open("s") as state:
        state["w"][ROWS - 1]
        read.clear()
        np.testing.assert_array_equal(noise[rows], state["w"][rows])
    assert read == [16_384] * 100


@pytest.mark.parametrize("many", [9, 2000])
def test_a_wrong_byte_is_named_by_a_sweep(store: lamina.Store, folder: Path, noise: Array, many: int) -> None:
    """Rows of a damaged frame are an error, those of its neighbours are right."""
    store.states.commit("s", {"w": noise})
    (pack,) = (folder / ".lamina" / "packs").iterdir()
    data = bytearray(pack.read_bytes())
    data[64 + 16_384 * 3 + 11] ^= 1  # in frame 3: rows 192 to 255
    pack.write_bytes(data)
    rows = np.random.default_rng(3).choice(np.arange(300, ROWS), many, replace=False)
    with lamina.open(folder, embedder="none") as other, other.states.open("s") as state:
        np.testing.assert_array_equal(noise[rows], state["w"][rows])
        with pytest.raises(CorruptionError, match="frame 3"):
            state["w"][np.append(rows, 200)]
        np.testing.assert_array_equal(noise[[191, *rows, 256]], state["w"][[191, *rows, 256]])


def test_a_commit_reads_only_frames_that_differ(states: lamina.States, noise: Array, read: list[int]) -> None:
    """Rows changed in three frames cost three reads of 16 KB, whether or not the shard was changed before."""
    states.commit("s", {"w": noise})
    array = noise
    for _ in range(3):
        array = array.copy()
        array[[10, 70, 9000, ROWS - 1]] += 1  # 10 and 70 lie in neighbouring frames, which are read at once
        read.clear()
        states.commit("s", {"w": array})
        assert sum(read) == 3 * 16_384 + (ROWS % 64) * DIM * 4
        assert len(read) == 3
    with states.open("s") as state:
        np.testing.assert_array_equal(array, state["w"].read())


@pytest.mark.parametrize("rows", [200, ROWS])
def test_what_is_recalled_decides_nothing(folder: Path, noise: Array, rows: int) -> None:
    """A handle that recalls what it committed stores the same as fresh handles, over more changes than fit a base."""
    sequence = [array for array, _ in zip(changed(noise[:rows], 4, 40), range(12), strict=False)]
    with lamina.open(folder, embedder="none", durability="relaxed") as store:
        made = []
        for array in sequence:
            store.states.commit("one", {"w": array})
            made.append(entries(store, "one"))
    other = folder.with_name("other")
    for array, expected in zip(sequence, made, strict=True):
        with lamina.open(other, embedder="none", durability="relaxed") as store:
            store.states.commit("one", {"w": array})
            assert entries(store, "one") == expected
    with lamina.open(folder, embedder="none") as store, store.states.open("one") as state:
        np.testing.assert_array_equal(sequence[-1], state["w"].read())


def test_an_update_of_many_shards_is_compressed(states: lamina.States, noise: Array) -> None:
    """Rows that compress are stored compressed in every shard's patch."""
    states.commit("s", {"w": noise})
    rows = np.arange(0, ROWS, 50)
    version = states.update("s", {"w": (rows, np.ones((len(rows), DIM), np.float32))})
    assert version.written is not None
    assert version.written < 0.1 * len(rows) * DIM * 4


def test_few_rows_are_kept_and_a_sweep_drives_nothing_out(store: lamina.Store, noise: Array) -> None:
    """Frames of few rows stay in memory; those of many do not take their place."""
    store.states.commit("s", {"w": noise})
    objects = store.states.context.objects
    with store.states.open("s") as state:
        state["w"][[0, 5000, 60_000]]
        kept = objects.hot()
        assert kept[0] == 3
        state["w"][np.arange(0, ROWS, ROWS // (2 * scattered._KEEP_UP_TO))]
        assert objects.hot() == kept


def test_what_is_recalled_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest contents are forgotten where there is no room, and short ones are kept whole."""
    monkeypatch.setattr("lamina.storage.recalled._BYTES", 3000)
    monkeypatch.setattr("lamina.storage.recalled._WHOLE", 900)
    contents = RecalledContents()
    tables = []
    for number in range(6):
        content = np.full(900 + (number % 2) * 16_384 * 10, number, np.uint8)
        table = hash_content(content, ObjectKind.CONTENT, 1, 16_384)
        contents.keep(table, content)
        contents.keep(table, content)
        tables.append((table, content))
    found = [contents.find(table.address()) for table, _ in tables]
    assert found[0] is None
    assert found[-1] is not None
    assert found[-1].plain is None
    assert found[-1].hashes == tables[-1][0].hashes
    assert found[-2] is not None
    assert found[-2].plain == bytes(tables[-2][1])
    assert sum(one.size for one in found if one) <= 3000
    contents.clear()
    assert contents.find(tables[-1][0].address()) is None
    assert contents.find(None) is None
