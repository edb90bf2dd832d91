"""Binary state files: arrays of any type, made and read by independent code, damaged in every way."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lamina.errors import (
    AlreadyExistsError,
    ConflictError,
    CorruptionError,
    InvalidInputError,
    LaminaError,
    NotFoundError,
)
from lamina.formats import READABLE_STATES, WRITABLE_STATES, detect_state, read_state, write_state
from lamina.formats.state_source import Source
from lamina.formats.wire import packed, unpack_varints
from lamina.formats.zarr_codecs import crc32c
from lamina.formats.zip_stream import ZipStream

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\"), min_size=1, max_size=8)
ARRAYS = hnp.arrays(
    st.sampled_from(
        [np.bool_, np.int8, np.uint16, np.int32, np.uint64, np.float16, np.float32, np.float64, np.complex64]
    ),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
STATES = st.dictionaries(NAMES.filter(lambda name: name != "__metadata__"), ARRAYS, max_size=4)
METADATA = st.dictionaries(
    st.text(min_size=1, max_size=5), st.none() | st.integers(-9, 9) | st.text(max_size=5) | st.lists(st.booleans())
)


def same(first: Any, second: Any) -> bool:
    """Whether two arrays have the same type, shape and bits."""
    return (first.dtype, first.shape, first.tobytes()) == (second.dtype, second.shape, second.tobytes())


def through(format: str, arrays: Any, metadata: Any = None) -> bytes:
    """The bytes that a format is written as."""
    with tempfile.TemporaryDirectory() as folder:
        write_state(Path(folder) / "x", format, arrays, metadata)
        return (Path(folder) / "x").read_bytes()


@given(STATES, METADATA, st.sampled_from(["safetensors", "npz", "titan-protobuf"]))
def test_any_arrays_survive(arrays: dict[str, Any], metadata: dict[str, Any], format: str) -> None:
    """Every type, shape and name comes back bit for bit, empty and 0-dimensional arrays too, and the metadata."""
    arrays = {name: array for name, array in arrays.items() if name != "timestamps"}
    try:
        json.dumps(metadata, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    state = read_state(through(format, arrays, metadata), format)

    assert set(arrays) == set(state.arrays)
    for name, array in arrays.items():
        assert same(array, state.arrays[name]), name
    assert metadata == state.metadata


@given(STATES)
@settings(max_examples=30)
def test_safetensors_is_the_reference_bytes(arrays: dict[str, Any]) -> None:
    """The reference implementation reads ours; ours reads the reference's."""
    assert (
        {name: array.tobytes() for name, array in arrays.items()}
        == {name: array.tobytes() for name, array in safetensors.numpy.load(through("safetensors", arrays)).items()}
    )  # fmt: skip
    theirs = safetensors.numpy.save(arrays, {"a": "b"})
    state = read_state(theirs)

    assert "safetensors" == detect_state(theirs) == state.format
    assert {"a": "b"} == state.metadata
    assert all(same(array, state.arrays[name]) for name, array in arrays.items())


def tensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file made by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(offsets: list[int], shape: list[int], dtype: str = "U8") -> dict[str, Any]:
    """An entry of such a file."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x00" * 7, "the length of the header"),
        (tensors({}, length=2**40), "would have"),
        (tensors({}, length=9), "the header would take"),
        (tensors(b"{oops}"), "not JSON"),
        (tensors(b"[]"), "no JSON object"),
        (tensors(b'{"a": {}, "a": {}}'), "there twice"),
        (tensors({"a": entry([0, 4], [4])}, b"123"), "would take bytes"),
        (tensors({"a": entry([0, 3], [4])}, b"123"), "needs 4"),
        (tensors({"a": entry([0, 2**62], [2**62])}), "impossible shape"),
        (tensors({"a": entry([0, 2**50], [2**50])}), "there are only"),
        (tensors({"a": entry([1, 4], [3])}, b"1234"), "begins at byte 1 of the data, not at 0"),
        (tensors({"a": entry([0, 3], [3]), "b": entry([2, 4], [2])}, b"1234"), "begins at byte 2 .*not at 3"),
        (tensors({"a": entry([0, 3], [3])}, b"1234"), "take 3 bytes, but 4 follow"),
        (tensors({"a": entry([0, 3], [3], "F4")}, b"123"), "unknown type 'F4'"),
        (tensors({"a": entry([-1, 2], [3])}, b"123"), "needs 3"),
        (tensors({"a": {"dtype": "U8"}}), "lacks"),
        (tensors({"__metadata__": {"a": 1}}), "no object of texts"),
        (tensors({"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}, b"1"), "no valid shape"),
    ],
)  # fmt: skip
def test_a_lying_safetensors_is_refused(data: bytes, expected: str) -> None:
    """Lengths, offsets and shapes that overlap, leave holes or pass the end are refused."""
    with pytest.raises(InvalidInputError, match=expected):
        read_state(data, "safetensors")


@given(ARRAYS, st.sampled_from("CF"), st.booleans())
def test_npy_is_numpys(array: Any, order: Any, big: bool) -> None:
    """What numpy saves is read, in either order of memory and of bytes; what is written numpy loads."""
    with tempfile.TemporaryDirectory() as folder:
        stored = np.asarray(array.astype(array.dtype.newbyteorder(">")) if big else array, order=order)
        np.save(Path(folder) / "a.npy", stored)
        state = read_state(Path(folder) / "a.npy")
        loaded = state.arrays["array"]
        write_state(Path(folder) / "b.npy", "npy", {"array": loaded})
        again = np.load(Path(folder) / "b.npy")

    assert "npy" == state.format
    assert stored.dtype == loaded.dtype
    assert array.shape == loaded.shape == again.shape
    assert array.tobytes() == loaded.astype(array.dtype).tobytes() == again.astype(array.dtype).tobytes()


@given(STATES, st.booleans())
@settings(max_examples=30)
def test_npz_is_numpys(arrays: dict[str, Any], compressed: bool) -> None:
    """What numpy saves is read, packed or not; what is written numpy loads."""
    arrays = {name: array for name, array in arrays.items() if "/" not in name and name != "file"}
    with tempfile.TemporaryDirectory() as folder:
        (np.savez_compressed if compressed else np.savez)(Path(folder) / "a.npz", **arrays)
        theirs = read_state(Path(folder) / "a.npz")
        assert all(same(array, theirs.arrays[name]) for name, array in arrays.items())
        write_state(Path(folder) / "b.npz", "npz", arrays)
        with np.load(Path(folder) / "b.npz") as ours:
            assert set(arrays) == set(ours.files)
            assert all(same(array, ours[name]) for name, array in arrays.items())


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    """Arrays of objects and what torch.save writes are refused without being opened; the marker stays unmade."""

    class Bomb:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "boom"),))

    np.save(tmp_path / "o.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "o.npz", a=np.array([Bomb()], dtype=object))
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Bomb()))
    with zipfile.ZipFile(tmp_path / "new.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
        archive.writestr("archive/data/0", b"1234")
    for name in ("o.npy", "o.npz"):
        with pytest.raises(InvalidInputError, match="not numbers or booleans"):
            dict(read_state(tmp_path / name).arrays)
    for name in ("old.pt", "new.pt"):
        assert "pytorch" == detect_state(tmp_path / name)
        with pytest.raises(InvalidInputError, match=r"this is a pickle.*save_file"):
            read_state(tmp_path / name)
    assert not (tmp_path / "boom").exists()


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    """A member that says that it grows more than deflate can is refused unread; so is a shape beyond its member."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", through("npy", {"a": np.zeros(100)}))
    data = (tmp_path / "a.npz").read_bytes()
    at = data.index(b"PK\x01\x02")
    lie = data[: at + 24] + struct.pack("<I", 2**31) + data[at + 28 :]
    with pytest.raises(InvalidInputError, match="which it cannot"):
        read_state(lie)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("a.npy", through("npy", {"a": np.zeros(100)}).replace(b"(100,)", b"(999,)"))
    with pytest.raises(InvalidInputError, match="needs 7,992 bytes, but has 800"):
        read_state(tmp_path / "b.npz")


def test_damage_in_a_zip_is_damage() -> None:
    """A flipped byte of an array fails its CRC when it is loaded, and is no array."""
    data = bytearray(through("npz", {"a": np.zeros(1000)}))
    data[500] ^= 1
    with pytest.raises(CorruptionError, match="damaged"):
        read_state(bytes(data)).arrays["a"]


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_varints(values: list[int]) -> None:
    """Packed whole numbers of 64 bits come back; each takes the bytes that the format's documentation gives it."""
    data = packed(np.array(values, dtype=np.int64))

    assert values == unpack_varints(data, 64).tolist()
    assert len(data) == sum(10 if value < 0 else max(1, -(-value.bit_length() // 7)) for value in values)


def message(*parts: tuple[int, int, Any]) -> bytes:
    """A protobuf message made by hand: field, wire type, value; numbers below 128 only."""
    data = b""
    for number, wire, value in parts:
        data += bytes([number << 3 | wire])
        data += bytes([len(value)]) + value if wire == 2 else value if wire == 5 else bytes([value])
    return data


SHARD = message((1, 2, struct.pack("<4f", 1, 2, 3, 4)), (2, 2, bytes([2, 2])), (3, 2, b"float32"), (4, 0, 1))
STATE = message(
    (1, 2, SHARD), (1, 2, SHARD), (4, 2, struct.pack("<f", 1.73e12)), (5, 2, bytes([7, 0x96, 0x01])), (5, 0, 9),
    (6, 5, struct.pack("<f", 0.5)), (15, 0, 1),
)  # fmt: skip


def test_protobuf_is_read_by_its_numbers() -> None:
    """Shards are joined, packed and single numbers too, an unknown field is told, and so is the loss in the times."""
    state = read_state(STATE, "titan-protobuf")

    assert "titan-protobuf" == detect_state(message((1, 2, SHARD), (6, 5, struct.pack("<f", 0.5))))
    assert [[1, 2], [3, 4], [1, 2], [3, 4]] == state.arrays["short_term"].tolist()
    assert [7, 150, 9] == state.arrays["access_counts"].tolist()
    assert [0.5] == state.arrays["surprise_history"].tolist()
    assert "ms" == state.metadata["timestamp_unit"]
    assert any("131 seconds" in note for note in state.notes)
    assert any("Field 15" in note for note in state.notes)


def test_protobuf_keeps_times_exactly() -> None:
    """Milliseconds are written as old readers want them and exactly as microseconds, which are read."""
    data = through("titan-protobuf", {"timestamps": np.array([1730000000123])}, {"timestamp_unit": "ms"})
    state = read_state(data)

    assert message((4, 2, struct.pack("<f", 1730000000123))) == data[:6]
    assert [1730000000123000] == state.arrays["timestamps"].tolist()
    assert "us" == state.metadata["timestamp_unit"]
    assert () == state.notes


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x0a\xff\xff\xff\xff\x0f", "would take 4,294,967,295 bytes, but 0 are left"),
        (message((1, 2, message((1, 2, b"123"), (2, 2, bytes([2])), (3, 2, b"float32")))), "needs 8 bytes, but has 3"),
        (message((1, 2, message((2, 2, b"\xff" * 9 + b"\x01"), (3, 2, b"float32")))), "no valid shape"),
        (message((1, 2, message((2, 2, b"\xff\x7f\xff\x7f\x80"), (3, 2, b"float32")))), "middle of a number"),
        (message((1, 2, message((3, 2, b"object")))), "unknown type"),
        (message((1, 2, message((1, 2, b""), (4, 0, 9)))), "version 9"),
        (message((1, 2, SHARD), (1, 2, message((1, 2, b"1234"), (2, 2, b"\x01"), (3, 2, b"float32")))), "do not fit"),
        (message((4, 2, b"123")), "no 32-bit floats"),
        (message((5, 2, b"\xff" * 11)), "access_counts"),
        (message((5, 2, b"\xff\xff\xff\xff\xff\x01")), "beyond 32 bits"),
        (message((5, 5, b"1234")), "wrong wire type"),
        (b"\x07", "no field 0"),
        (b"\x0f", "unknown wire type 7"),
        (b"\x08\x80", "does not end"),
        (message((9, 2, b"[]")), "no JSON object"),
        (message((8, 2, b"")), "has no name"),
    ],
)
def test_a_lying_protobuf_is_refused(data: bytes, expected: str) -> None:
    """Fields, shapes and numbers that pass their ends are refused, with the place."""
    with pytest.raises(InvalidInputError, match=expected):
        read_state(data, "titan-protobuf")


def group(folder: Path, **arrays: Any) -> Path:
    """A Zarr group of version 3 made by hand; each array is its metadata beyond the defaults, and its chunks."""
    folder.mkdir()
    (folder / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {"k": [1, []]}}')
    for name, (meta, chunks) in arrays.items():
        place = folder / name
        place.mkdir()
        defaults = {"zarr_format": 3, "node_type": "array", "data_type": "int16", "fill_value": 0,
                    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}}  # fmt: skip
        shape = meta.pop("chunks", None)
        if shape is not None:
            meta["chunk_grid"] = {"name": "regular", "configuration": {"chunk_shape": shape}}
        (place / "zarr.json").write_text(json.dumps(defaults | meta))
        for key, data in chunks.items():
            (place / key).parent.mkdir(parents=True, exist_ok=True)
            (place / key).write_bytes(data)
    return folder


LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
BIG = {"name": "bytes", "configuration": {"endian": "big"}}


def sealed(data: bytes) -> bytes:
    """Data with the CRC-32C behind it, computed bit by bit."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return data + struct.pack("<I", state ^ 0xFFFFFFFF)


@given(st.binary(max_size=200) | st.binary(min_size=16_000, max_size=40_000))
@settings(max_examples=20)
def test_crc32c(data: bytes) -> None:
    """The checksum is that of RFC 3720, however long the data is."""
    assert struct.pack("<I", crc32c(data)) == sealed(data)[-4:]


def test_crc32c_of_the_standard() -> None:
    """The vectors that RFC 3720 gives in B.4, and the usual check."""
    assert 0x8A9136AA == crc32c(bytes(32))
    assert 0x62A8AB43 == crc32c(b"\xff" * 32)
    assert 0xE3069283 == crc32c(b"123456789")


def part(array: Any) -> bytes:
    """A chunk of little-endian 16-bit numbers."""
    return np.ascontiguousarray(array, dtype="<i2").tobytes()


def test_a_zarr_group_is_read(tmp_path: Path) -> None:
    """Chunks of every codec that is known, edges, missing chunks and shards become the arrays that they stand for."""
    numbers = np.arange(12, dtype=np.int16).reshape(3, 4)
    edge = np.full((2, 4), 7, dtype=np.int16)
    edge[0] = numbers[2]
    inner = [part(numbers[:2, :2]), part(numbers[:2, 2:])]
    index = struct.pack("<4Q", 0, 8, 8, 8) + struct.pack("<4Q", *[2**64 - 1] * 4)
    shard = {"name": "sharding_indexed", "configuration": {"chunk_shape": [2, 2], "codecs": [LITTLE],
             "index_codecs": [LITTLE, {"name": "crc32c"}], "index_location": "end"}}  # fmt: skip
    folder = group(
        tmp_path / "g",
        plain=(
            {"shape": [3, 4], "chunks": [2, 4], "codecs": [LITTLE]},
            {"c/0/0": part(numbers[:2]), "c/1/0": part(edge)},
        ),
        packed=(
            {"shape": [3, 4], "chunks": [3, 4], "codecs": [
                {"name": "transpose", "configuration": {"order": [1, 0]}}, BIG,
                {"name": "gzip", "configuration": {"level": 5}}, {"name": "crc32c"}]},
            {"c/0/0": sealed(zlib.compress(numbers.T.astype(">i2").tobytes(), wbits=31))},
        ),
        sparse=(
            {"shape": [5], "chunks": [2], "codecs": [LITTLE], "fill_value": -1,
             "chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}},
            {"1": struct.pack("<2h", 8, 9)},
        ),
        shards=(
            {"shape": [4, 4], "chunks": [4, 4], "codecs": [shard], "fill_value": 5},
            {"c/0/0": b"".join(inner) + sealed(index)},
        ),
        scalar=({"shape": [], "chunks": [], "codecs": [LITTLE]}, {"c": struct.pack("<h", 3)}),
        empty=({"shape": [0, 2], "chunks": [1, 2], "codecs": [LITTLE]}, {}),
        nan=({"shape": [1], "chunks": [1], "codecs": [LITTLE], "data_type": "float32", "fill_value": "NaN"}, {}),
    )  # fmt: skip
    state = read_state(folder)

    assert "zarr" == detect_state(folder) == state.format
    assert {"k": [1, []]} == state.metadata
    assert same(numbers, state.arrays["plain"])
    assert same(numbers, np.ascontiguousarray(state.arrays["packed"]))
    assert [-1, -1, 8, 9, -1] == state.arrays["sparse"].tolist()
    assert [*numbers[:2].tolist(), [5] * 4, [5] * 4] == state.arrays["shards"].tolist()
    assert 3 == state.arrays["scalar"]
    assert (0, 2) == state.arrays["empty"].shape
    assert np.isnan(state.arrays["nan"][0])


@pytest.mark.parametrize(
    ("meta", "chunk", "expected"),
    [
        ({"codecs": [{"name": "blosc"}]}, b"", "blosc' is not read. Rewrite"),
        ({"codecs": []}, b"", "lead to no array"),
        ({"codecs": [LITTLE]}, b"123", "needs 4 bytes, but has 3"),
        ({"codecs": [LITTLE], "shape": [2**40]}, b"1234", "far more bytes than its chunks"),
        ({"codecs": [LITTLE], "chunks": [2**40]}, b"1234", "do not fit"),
        ({"codecs": [LITTLE], "chunks": [0]}, b"1234", "do not fit"),
        ({"codecs": [LITTLE], "data_type": "object"}, b"1234", "unknown type"),
        ({"codecs": [LITTLE], "data_type": {"name": "x"}}, b"1234", "unknown type"),
        ({"codecs": [LITTLE], "fill_value": "x"}, b"1234", "fill value"),
        ({"codecs": [LITTLE], "zarr_format": 2}, b"1234", "version 3"),
        ({"codecs": [LITTLE, {"name": "gzip"}]}, zlib.compress(bytes(10**6), wbits=31), "does not end within the 4"),
        ({"codecs": [{"name": "sharding_indexed", "configuration": {"chunk_shape": [2], "codecs": [LITTLE]}}]},
         struct.pack("<2Q", 0, 99), "beyond its end"),
        ({"codecs": [{"name": "sharding_indexed", "configuration": {"chunk_shape": [3]}}]}, b"", "do not divide"),
    ],
)  # fmt: skip
def test_a_lying_zarr_is_refused(tmp_path: Path, meta: dict[str, Any], chunk: bytes, expected: str) -> None:
    """Codecs that are not known, chunks of the wrong size, shapes without chunks: ours, and named."""
    with pytest.raises(InvalidInputError, match=expected):
        dict(read_state(group(tmp_path / "g", a=({"shape": [2], "chunks": [2]} | meta, {"c/0": chunk}))).arrays)


@pytest.mark.parametrize("codec", ["gzip", "zstd", "crc32c"])
def test_damage_in_a_chunk_is_damage(tmp_path: Path, codec: str) -> None:
    """A chunk that does not unpack, or whose checksum differs, is named."""
    folder = group(
        tmp_path / "g", a=({"shape": [2], "chunks": [2], "codecs": [LITTLE, {"name": codec}]}, {"c/0": b"1234567890"})
    )
    with pytest.raises(CorruptionError, match="c/0 is damaged"):
        read_state(folder).arrays["a"]


def test_a_pytorch_index(tmp_path: Path) -> None:
    """A state_dict in several files is read through its index; what an index says wrongly is refused."""
    arrays = {"a.weight": np.ones((2, 2), dtype=np.float32), "b": np.arange(3)}
    for number, (name, array) in enumerate(arrays.items()):
        write_state(tmp_path / f"{number}.safetensors", "pytorch", {name: array})
    index = {"metadata": {"total_size": 40}, "weight_map": {"a.weight": "0.safetensors", "b": "1.safetensors"}}
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    for place in (tmp_path, path):
        state = read_state(place)
        assert "pytorch" == detect_state(place) == state.format
        assert all(same(array, state.arrays[name]) for name, array in arrays.items())
    index["weight_map"]["b"] = "0.safetensors"  # type: ignore[index]
    path.write_text(json.dumps(index))
    with pytest.raises(InvalidInputError, match=r"'b' is not in 0\.safetensors"):
        read_state(tmp_path)
    path.write_text('{"weight_map": {"a": "../x.safetensors"}}')
    with pytest.raises(InvalidInputError, match="leads outside"):
        read_state(tmp_path)


def test_a_state_dict_says_that_it_is_pytorchs() -> None:
    """Loaders look for the format in the metadata."""
    assert {"format": "pt"} == read_state(through("pytorch", {"w": np.ones(2)})).metadata


def wholes() -> Iterator[tuple[str, bytes]]:
    """A small file of every binary format."""
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2], dtype=np.int16)}
    grid = {"cells": np.array([[0.25, 0.5], [0.75, 1.0]])}
    for format in ("safetensors", "npz", "titan-protobuf", "titan-memory"):
        yield format, through(format, arrays, {"k": [1, "x"]})
    yield "titan-protobuf", STATE
    for format in ("npy", "tmem"):
        yield format, through(format, {"a": arrays["a"]})
    for format in ("toroidal-bin", "toroidal-gzip", "toroidal-json", "toroidal-snapshot"):
        yield format, through(format, grid)
    yield "toroidal-delta", through("toroidal-delta", {"x": [1], "y": [2], "value": [0.5]})
    yield "titan-model", through("titan-model", {"weights/0": arrays["a"]}, {"config": {"a": 1}})


WHOLES = list(wholes())


@given(st.sampled_from(WHOLES), st.data())
@settings(max_examples=400)
def test_damaged_files_never_surprise(whole: tuple[str, bytes], data: st.DataObject) -> None:
    """Cut, flipped or lengthened anywhere, a file is read or refused with an error of ours; nothing else escapes."""
    format, good = whole
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(bad) - 1))
        what = data.draw(st.sampled_from(["cut", "flip", "byte", "insert"]))
        if what == "cut":
            del bad[max(1, at) :]
        elif what == "flip":
            bad[at] ^= 1 << data.draw(st.integers(0, 7))
        elif what == "byte":
            bad[at] = data.draw(st.sampled_from([0, 0x7F, 0x80, 0xFF]))
        else:
            bad[at:at] = data.draw(st.binary(min_size=1, max_size=8))
    detect_state(bytes(bad))
    with contextlib.suppress(LaminaError):
        for array in read_state(bytes(bad), format).arrays.values():
            assert array.nbytes < 10_000


@given(st.binary(max_size=100))
def test_detection_never_fails(data: bytes) -> None:
    """Any bytes are of a known format or of none."""
    assert detect_state(data) in (None, *READABLE_STATES)


@pytest.mark.parametrize(("format", "data"), WHOLES)
def test_every_format_is_told_by_its_content(format: str, data: bytes) -> None:
    """No name is needed."""
    if data != STATE:  # whose unknown field makes it a guess that is not made
        assert format == detect_state(data)
        assert format == read_state(data).format


def test_arrays_are_read_when_they_are_asked_for_and_from_the_same_file(tmp_path: Path) -> None:
    """Each reading gives an array of the caller's own; another file under the name is a conflict, not other numbers."""
    path = tmp_path / "s"
    write_state(path, "safetensors", {"a": np.zeros(4)})
    state = read_state(path)
    state.arrays["a"][:] = 7
    assert [0, 0, 0, 0] == state.arrays["a"].tolist()
    write_state(path, "safetensors", {"a": np.ones(4)}, overwrite=True)
    with pytest.raises(ConflictError, match="changed while it was read"):
        state.arrays["a"]


def test_what_is_written_is_written_whole_or_not(tmp_path: Path) -> None:
    """A file that is there stays unless it may be replaced, and a failed write leaves it as it was."""
    path = tmp_path / "s"
    report = write_state(path, "safetensors", {"a": np.zeros(4)}, {"k": 1})
    before = path.read_bytes()

    assert len(before) == report.bytes
    with pytest.raises(AlreadyExistsError):
        write_state(path, "safetensors", {"a": np.ones(4)})
    for arrays, metadata in (({"a": ["x"]}, {}), ({"a": np.ones(2)}, {"k": float("nan")}), ({"a": object()}, {})):
        with pytest.raises(InvalidInputError):
            write_state(path, "safetensors", arrays, metadata, overwrite=True)
        assert before == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_what_is_no_state(tmp_path: Path) -> None:
    """A missing path, a folder of something else, an unknown format and unknown bytes are told apart."""
    with pytest.raises(NotFoundError):
        read_state(tmp_path / "none")
    with pytest.raises(InvalidInputError, match="in no format"):
        read_state(tmp_path)
    with pytest.raises(InvalidInputError, match="in no format"):
        read_state(b"hello")
    with pytest.raises(InvalidInputError, match="'hdf5' is no format"):
        read_state(b"hello", "hdf5")
    with pytest.raises(InvalidInputError, match="zarr can be read, but not written"):
        write_state(tmp_path / "z", "zarr", {})
    with pytest.raises(InvalidInputError, match="from a path"):
        read_state(b"hello", "zarr")
    with pytest.raises(InvalidInputError, match="not a regular file"):
        Source("/dev/null")


def test_each_format_that_is_written_is_read() -> None:
    """Nothing can be written that could not come back."""
    assert set(WRITABLE_STATES) <= set(READABLE_STATES)


def test_metadata_of_an_npz_is_no_array(tmp_path: Path) -> None:
    """A program that goes through the arrays of an exported file finds arrays alone; the metadata comes back."""
    path = tmp_path / "a.npz"
    write_state(path, "npz", {"w": np.ones(3), "b": np.zeros(2)}, {"lr": 0.5, "name": "né"})
    with np.load(path) as archive:
        assert {"w": (3,), "b": (2,)} == {name: archive[name].shape for name in archive.files}
    assert {"lr": 0.5, "name": "né"} == read_state(path).metadata
    long = {"text": "x" * 100_000}
    write_state(tmp_path / "b.npz", "npz", {"w": np.ones(3)}, long)
    assert long == read_state(tmp_path / "b.npz").metadata
    path.write_bytes(path.read_bytes().replace(b'"lr": 0.5', b'"lr": 0 5'))
    with pytest.raises(InvalidInputError, match="no JSON object"):
        read_state(path)


@pytest.mark.parametrize("form", ["npz", "npy", "safetensors", "titan-memory", "tmem", "titan-protobuf"])
def test_damage_in_a_store_is_told_by_an_export(tmp_path: Path, form: str) -> None:
    """An array that a store cannot read is damage, and not a value that a caller gave wrongly; no file is left."""

    class Damaged:
        shape, dtype = (3,), np.dtype("f4")

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise CorruptionError("a byte is wrong", hint="")

    with pytest.raises(CorruptionError, match="a byte is wrong"):
        write_state(tmp_path / "out", form, {"w": Damaged()})
    assert [] == list(tmp_path.iterdir())


@pytest.mark.filterwarnings("error")
def test_an_archive_that_is_given_up_says_nothing() -> None:
    """When an export fails half-way what is left of its archive goes silently, in whatever order it goes."""
    archive = ZipStream()
    assert list(archive.member("a", 3, [b"abc"]))
    archive._archive.again = archive  # type: ignore[attr-defined]  # a cycle, as a traceback makes one
    del archive
    gc.collect()
