"""Streamed JSON, and the state files of Titan that are JSON."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lamina.errors import CorruptionError, InvalidInputError
from lamina.formats import detect_state, read_state, write_state
from lamina.formats.json_numbers import parse_json, plain, top_level_keys

FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FINITE | st.text(),
    lambda inner: st.lists(inner) | st.lists(FINITE) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
FLOATS32 = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=5), elements=st.floats(
    width=32, allow_nan=False, allow_infinity=False))  # fmt: skip


def in_pieces(text: bytes, size: int) -> list[bytes]:
    """The bytes in pieces of a size."""
    return [text[at : at + size] for at in range(0, len(text), size)]


@given(JSON, st.integers(1, 40), st.sampled_from([None, 2]), st.booleans())
def test_reads_what_json_reads(value: Any, size: int, indent: int | None, ascii: bool) -> None:
    """In pieces of any size the value is the one that the json module reads, number for number."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii, allow_nan=False)

    try:
        data = text.encode()
    except UnicodeEncodeError:
        return
    assert json.loads(text) == plain(parse_json(in_pieces(data, size), "x"))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.integers(1, 30))
def test_whole_numbers_stay_whole(values: list[int], size: int) -> None:
    """A list of whole numbers is int64, exactly."""
    array = parse_json(in_pieces(json.dumps(values).encode(), size), "x")

    assert np.int64 == array.dtype
    assert values == array.tolist()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1), st.integers(1, 30))
def test_floats_are_as_narrow_as_is_exact(values: list[float], size: int) -> None:
    """What a 32-bit float holds becomes one, bit for bit; one longer number makes all of them 64 bits wide."""
    narrow = parse_json(in_pieces(json.dumps(values).encode(), size), "x")
    wide = parse_json(in_pieces(json.dumps([*values, 0.1]).encode(), size), "x")

    assert (np.float32, np.float64) == (narrow.dtype, wide.dtype)
    assert np.array(values).tobytes() == narrow.astype(np.float64).tobytes()
    assert np.array([*values, 0.1]).tobytes() == wide.tobytes()


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"a": [1, 2, NaN]}', "item 2 of a list of numbers is NaN, at byte 13"),
        (b'{"a": [1, -Infinity]}', "item 1 of a list of numbers is"),
        (b'{"a": [1, 2e999]}', "item 1 of a list of numbers does not fit"),
        (b"[1, 2,]", "item 2 of a list of numbers is no number"),
        (b"[1,, 2]", "item 1 of a list of numbers is"),
        (b"[1, 02]", "item 1 of a list of numbers is no number"),
        (b"[1 2]", "item 0 of a list of numbers is no number"),
        (b"[1, 2", "does not end"),
        (b'{"a": 1', "the text ends here"),
        (b'{"a": 1, "a": 2}', "the key 'a' is there twice"),
        (b'{"a" 1}', "':' is missing"),
        (b'{"a": "x', "a string does not end"),
        (b'"\xff"', "a string is not valid"),
        (b"{} {}", "more after the end"),
        (b"[[" * 200, "nested too deeply"),
        (b'{"a": 1e999}', "not finite"),
        (b"nul", "no JSON value"),
        (b"", "the text ends here"),
        (b"[" + b"9" * 5000 + b"]", "at byte"),
        (b"[" + b"9" * 400 + b", 1.5]", "does not fit"),
    ],
)
def test_wrong_json_is_refused_with_its_place(text: bytes, expected: str, size: int) -> None:
    """What is no JSON, or no finite number, is an error of ours that says at which byte and item."""
    with pytest.raises(InvalidInputError, match=expected if size == 1000 else "x: "):
        parse_json(in_pieces(text, size), "x")


def test_a_wrong_number_far_into_a_list_is_named() -> None:
    """The item and its byte are counted over the pieces of the stream."""
    text = b'{"shortTerm": [' + b"1.5, " * 50_000 + b"null, 1.5]}"
    with pytest.raises(InvalidInputError, match=r"item 50,000 of a list of numbers is null, at byte 250,015"):
        parse_json(in_pieces(text, 1 << 16), "x")


@given(st.dictionaries(st.text(), JSON), st.integers(0, 50))
def test_keys_of_the_top_level(value: dict[str, Any], cut: int) -> None:
    """The scan finds the keys of the outer object, and of a cut text the first of them."""
    text = json.dumps(value).encode()
    keys = [json.loads(f'"{key}"') for key in top_level_keys(text)]

    assert list(value) == keys
    assert (
        top_level_keys(text[: len(text) - cut]) == top_level_keys(text)[: len(top_level_keys(text[: len(text) - cut]))]
    )


def memory_state() -> dict[str, Any]:
    """A ``memory_state.json`` as JavaScript writes it: shapes first, zeros without a point."""
    return {
        "shapes": {"shortTerm": [2, 3], "longTerm": [0, 3], "archive": [0, 0], "meta": [2, 1], "timestamps": [2],
                   "accessCounts": [2], "surpriseHistory": [2], "forgettingGate": [1]},
        "shortTerm": [0, 0.10000000149011612, 1, -2, 3.5, 9.5367431640625e-07],
        "longTerm": [],
        "meta": [1, 2],
        "timestamps": [1730000000123, 1730000000124],
        "accessCounts": [3, 0],
        "surpriseHistory": [0.5, 0.25],
        "momentumDecay": 0.9,
        "forgettingGate": [0.1],
        "auxiliary": {"hierarchicalMemory": {"levels": [{"data": [1.5, 2.5], "shape": [1, 2]}]}, "note": "x"},
        "timestamp": 1730000000999,
    }  # fmt: skip


def put(path: Path, value: Any) -> Path:
    """Write JSON as JavaScript does."""
    path.write_text(json.dumps(value, indent=2))
    return path


def test_memory_state_is_read(tmp_path: Path) -> None:
    """Every field has its array, shape and type, and what is no array is metadata."""
    path = put(tmp_path / "memory_state.json", memory_state())
    state = read_state(path)

    assert "titan-memory" == detect_state(path) == state.format
    assert np.float32 == state.arrays["short_term"].dtype
    expected = np.array([[0, 0.1, 1], [-2, 3.5, 2**-20]], dtype=np.float32)
    assert np.array_equal(expected, state.arrays["short_term"])
    assert (0, 3) == state.arrays["long_term"].shape
    assert "archive" not in state.arrays
    assert [1730000000123, 1730000000124] == state.arrays["timestamps"].tolist()
    assert np.int32 == state.arrays["access_counts"].dtype
    assert [[1.5, 2.5]] == state.arrays["auxiliary/hierarchicalMemory/levels/0"].tolist()
    assert (0.9, 1730000000999, "ms") == tuple(
        state.metadata[key] for key in ("momentum_decay", "timestamp", "timestamp_unit")
    )
    assert () == state.notes


def test_memory_state_and_back(tmp_path: Path) -> None:
    """Written again, the file says the same, value for value."""
    state = read_state(put(tmp_path / "memory_state.json", memory_state()))
    write_state(tmp_path / "again.json", "titan-memory", state.arrays, state.metadata)
    again, before = json.loads((tmp_path / "again.json").read_text()), memory_state()
    del before["shapes"]["archive"]
    before["forgettingGate"] = again["forgettingGate"]  # 0.1 of 64 bits: no number that TensorFlow.js would write

    assert before == again


@given(FLOATS32, hnp.arrays(np.int64, st.integers(0, 4)))
def test_any_memory_survives(tensor: Any, times: Any) -> None:
    """Floats of 32 bits and whole times come back bit for bit."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.json"
        write_state(path, "titan-memory", {"short_term": tensor, "timestamps": times}, {"timestamp_unit": "ms"})
        state = read_state(path)

    assert tensor.tobytes() == state.arrays["short_term"].tobytes()
    assert tensor.shape == state.arrays["short_term"].shape
    assert times.tolist() == state.arrays["timestamps"].tolist()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"shortTerm": [1, 2]}, r"shortTerm has 2 numbers, but its shape \[2, 3\] needs 6"),
        ({"shortTerm": [1, 2, 3, 4, 5, None]}, r"shortTerm\[5\] is null"),
        ({"shortTerm": [[1, 2], [3]]}, r"shortTerm\[1\] has the shape \[1\]"),
        ({"accessCounts": [1, 0.5]}, r"accessCounts\[1\] is 0.5, not a whole number"),
        ({"meta": {"a": 1}}, "meta is"),
        ({"shapes": {"shortTerm": [2, -3]}}, "no valid shape"),
        ({"shapes": {"shortTerm": [2**40, 2**40]}}, "impossible shape"),
        ({"shapes": []}, "shapes is no object"),
    ],
)
def test_a_wrong_memory_state_is_refused(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    """A shape that lies or a value that is none is named."""
    path = put(tmp_path / "memory_state.json", memory_state() | change)
    with pytest.raises(InvalidInputError, match=expected):
        read_state(path)


def test_timestamps_that_were_rounded_are_told(tmp_path: Path) -> None:
    """Times that fit 32-bit floats lost up to 131 seconds, and the notes say so."""
    value = memory_state() | {"timestamps": [1730000060416, 1730000060416]}

    assert "131 seconds" in read_state(put(tmp_path / "m.json", value)).notes[0]


def test_no_array_is_lost_in_writing(tmp_path: Path) -> None:
    """An array below ``auxiliary/`` that the metadata does not name is written like any other; clashes are refused."""
    write_state(tmp_path / "a.json", "titan-memory", {"short_term": np.ones((1, 1)), "auxiliary/x": np.arange(3)}, {})

    assert [0, 1, 2] == read_state(tmp_path / "a.json").arrays["auxiliary/x"].tolist()
    with pytest.raises(InvalidInputError, match="cannot hold an array 'shortTerm'"):
        write_state(tmp_path / "b.json", "titan-memory", {"short_term": np.ones(1), "shortTerm": np.ones(1)})
    with pytest.raises(InvalidInputError, match=r"short_term\[1\] is nan"):
        write_state(tmp_path / "b.json", "titan-memory", {"short_term": np.array([1, np.nan])})
    assert not (tmp_path / "b.json").exists()


def test_times_are_written_in_milliseconds(tmp_path: Path) -> None:
    """Whatever unit a state has its times in, Titan gets milliseconds."""
    for unit, times in (("us", [1500, 2000]), ("s", [0.0015, 0.002]), ("ms", [1.5, 2.0])):
        write_state(tmp_path / unit, "titan-memory", {"timestamps": np.array(times)}, {"timestamp_unit": unit})

        assert [1.5, 2.0] == json.loads((tmp_path / unit).read_text())["timestamps"]


def model_state() -> dict[str, Any]:
    """A ``hope_model_state.json``."""
    return {
        "config": {"inputDim": 2, "layers": [1, 2]},
        "weights": [[1, 2, 3.5, 4], [0.5]],
        "shapes": [[2, 2], []],
        "optimizer": {"weights": [[7]], "shapes": [[1]], "names": ["iter"]},
        "timestamp": 5,
    }


def test_model_state_and_back(tmp_path: Path) -> None:
    """Weights have numbers for names, the optimizer's their own; written again, the file says the same."""
    path = put(tmp_path / "hope_model_state.json", model_state())
    state = read_state(path)
    write_state(tmp_path / "again.json", "titan-model", state.arrays, state.metadata)

    assert "titan-model" == state.format
    assert [[1, 2], [3.5, 4]] == state.arrays["weights/0"].tolist()
    assert () == state.arrays["weights/1"].shape
    assert [7] == state.arrays["optimizer/iter"].tolist()
    assert model_state() == json.loads((tmp_path / "again.json").read_text())


def test_the_file_of_save_checkpoint(tmp_path: Path) -> None:
    """Memory and model of one file stand side by side; its checksum is told not to have been checked."""
    value = {"memoryState": memory_state(), "inputDim": 2, "config": {}, "modelSnapshot": model_state(),
             "version": "1", "timestamp": 9, "checksum": "abc"}  # fmt: skip
    state = read_state(put(tmp_path / "c.json", value))

    assert "titan-save" == state.format
    assert {"short_term", "model/weights/0", "model/optimizer/iter"} <= set(state.arrays)
    assert {"inputDim": 2, "layers": [1, 2]} == state.metadata["model"]["config"]
    assert "not checked" in state.notes[0]


def checkpoint(folder: Path) -> Path:
    """A version 2 checkpoint with sums, below ``BASE/HASH``."""
    place = folder / "0123456789abcdef" / "snapshot-20260301-093000"
    (place / "weights").mkdir(parents=True)
    put(place / "modelConfig.json", {"inputDim": 2})
    put(place / "weights" / "hope_model.json", {key: model_state()[key] for key in ("config", "weights", "shapes")})
    put(place / "memoryState.json", {"shortTerm": [[1, 2], [3, 4.5]], "longTerm": [[0, 0]], "meta": [[1]],
                                     "timestamps": [1, 2], "accessCounts": [1, 2], "surpriseHistory": []})  # fmt: skip
    put(place / "tokenizerMerges.json", {"merges": []})
    files = {"modelConfig": "modelConfig.json", "weights": "weights", "memoryState": "memoryState.json",
             "tokenizerMerges": "tokenizerMerges.json"}  # fmt: skip
    sums = {}
    for name in files.values():
        digest = hashlib.sha256()
        path = place / name
        for part in sorted(path.iterdir()) if path.is_dir() else [path]:
            digest.update(part.read_bytes())
        sums[name] = digest.hexdigest()
    put(place / "checkpoint.json", {"version": "2.0", "format": "titan-memory-v2", "created": "2026-03-01",
                                    "files": files, "integrity": {"checksums": sums, "verified": True}})  # fmt: skip
    (place.parent / "latest").symlink_to(place.name)
    return place


def test_a_checkpoint_is_read_from_any_of_its_folders(tmp_path: Path) -> None:
    """The base, the model's folder, ``latest`` and the snapshot lead to the same arrays."""
    place = checkpoint(tmp_path)
    for folder in (tmp_path, place.parent, place.parent / "latest", place):
        state = read_state(folder)

        assert "titan-checkpoint" == detect_state(folder) == state.format
        assert [[1, 2], [3, 4.5]] == state.arrays["short_term"].tolist()
        assert [[1, 2], [3.5, 4]] == state.arrays["model/weights/0"].tolist()
        assert "tokenizerMerges.json" in state.notes[0]


def test_a_checkpoint_that_changed_is_refused(tmp_path: Path) -> None:
    """A file whose SHA-256 differs, or that is gone, is damage that is named; a name may not lead outside."""
    place = checkpoint(tmp_path)
    put(place / "memoryState.json", {"shortTerm": [[1, 2]]})
    with pytest.raises(CorruptionError, match=r"memoryState\.json is not what"):
        read_state(place)
    (place / "memoryState.json").unlink()
    with pytest.raises(CorruptionError, match="is missing"):
        read_state(place)
    put(place / "checkpoint.json", {"format": "titan-memory-v2", "files": {"memoryState": "../../x.json"}})
    with pytest.raises(InvalidInputError, match="leads outside"):
        read_state(place)


def test_a_checkpoint_and_back(tmp_path: Path) -> None:
    """A checkpoint that was written is read, its sums fit, and it does not overwrite another one."""
    state = read_state(checkpoint(tmp_path / "a"))
    written = write_state(tmp_path / "b", "titan-checkpoint", state.arrays, state.metadata)
    again = read_state(tmp_path / "b")

    assert set(state.arrays) == set(again.arrays)
    for name in state.arrays:
        assert np.array_equal(state.arrays[name], again.arrays[name]), name
    assert written.bytes == sum(path.stat().st_size for path in (tmp_path / "b").rglob("*") if path.is_file())
    with pytest.raises(InvalidInputError, match="is not empty"):
        write_state(tmp_path / "b", "titan-checkpoint", state.arrays, state.metadata)


def test_a_memory_folder(tmp_path: Path) -> None:
    """The two files that Titan keeps beside each other are one state."""
    put(tmp_path / "memory_state.json", memory_state())
    put(tmp_path / "hope_model_state.json", model_state())
    state = read_state(tmp_path)

    assert "titan-folder" == state.format
    assert {"short_term", "model/weights/0"} <= set(state.arrays)


def test_the_older_model_with_its_encoder(tmp_path: Path) -> None:
    """``model.json`` of version 1 brings nested arrays, levels, and the weights of TensorFlow.js beside it."""
    state = {"shortTerm": [[1.5, 2]], "longTerm": [[3, 4]], "meta": [[1, 2, 3, 4, 5]], "timestamps": [1],
             "accessCounts": [1], "surpriseHistory": [0.5]}  # fmt: skip
    levels = {"levels": [[[1, 2]], [[3, 4]]]}
    put(tmp_path / "model.json", {"version": "1.0", "format": "titan-memory-v1", "config": {"a": 1},
                                  "memoryState": state, "hierarchicalMemory": levels})  # fmt: skip
    (tmp_path / "encoder").mkdir()
    weights = [{"name": "dense/kernel", "shape": [2, 2], "dtype": "float32"},
               {"name": "dense/bias", "shape": [2], "dtype": "int32"}]  # fmt: skip
    put(tmp_path / "encoder" / "model.json", {"weightsManifest": [{"paths": ["weights.bin"], "weights": weights}]})
    (tmp_path / "encoder" / "weights.bin").write_bytes(struct.pack("<4f2i", 1, 2, 3, 4, -5, 6))
    read = read_state(tmp_path)

    assert "titan-old" == detect_state(tmp_path / "model.json") == read.format
    assert [[1, 2], [3, 4]] == read.arrays["encoder/dense/kernel"].tolist()
    assert [-5, 6] == read.arrays["encoder/dense/bias"].tolist()
    assert [[3, 4]] == read.arrays["hierarchical/levels/1"].tolist()
    assert (1, 5) == read.arrays["meta"].shape
    assert "The decoder is not beside the file." in read.notes
    (tmp_path / "encoder" / "weights.bin").write_bytes(b"1234")
    with pytest.raises(InvalidInputError, match="only 4"):
        read_state(tmp_path)


def test_the_oldest_weights(tmp_path: Path) -> None:
    """A bare ``weights.json`` is one array for each name."""
    put(tmp_path / "weights.json", {"W1": [[1, 2], [3, 4.5]], "b": [0]})
    state = read_state(tmp_path)

    assert "titan-old" == state.format
    assert [[1, 2], [3, 4.5]] == state.arrays["W1"].tolist()


def tmem(values: list[float], shape: list[int], **header: Any) -> bytes:
    """A ``.tmem`` made by hand."""
    line = {"dtype": "float32", "shape": shape, "version": 1, "compressed": False} | header
    return json.dumps(line).encode() + b"\n" + base64.b64encode(struct.pack(f"<{len(values)}f", *values))


def test_tmem_and_back(tmp_path: Path) -> None:
    """A header line and base64; ``compressed`` that is not true is told; what is written is what was read."""
    path = tmp_path / "a.tmem"
    path.write_bytes(tmem([1.5, -2], [1, 2], compressed=True))
    state = read_state(path)
    write_state(tmp_path / "b.tmem", "tmem", state.arrays)

    assert "tmem" == detect_state(path) == state.format
    assert [[1.5, -2]] == state.arrays["array"].tolist()
    assert "it is not" in state.notes[0]
    assert tmem([1.5, -2], [1, 2]).split(b"\n")[1] == (tmp_path / "b.tmem").read_bytes().split(b"\n")[1]
    assert [[1.5, -2]] == read_state((tmp_path / "b.tmem").read_bytes() + b"\n").arrays["array"].tolist()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tmem([1], [2]), "needs 8 bytes, but the payload gives 4"),
        (tmem([1], [2**50]), "needs"),
        (tmem([1], [1], dtype="complex1"), "unknown type"),
        (tmem([1], [1], version=2), "version 2"),
        (tmem([1, 2], [2])[:-3] + b"*A=", "no base64"),
        (b'{"dtype": "float32", "shape": [4]}\n' + base64.b64encode(bytes([0, 1, 44, 255])), "cut every number"),
    ],
)
def test_a_wrong_tmem_is_refused(data: bytes, expected: str) -> None:
    """Lengths that lie, types that are none, and numbers that a writer destroyed."""
    with pytest.raises(InvalidInputError, match=expected):
        dict(read_state(data, "tmem").arrays)


def test_a_folder_of_shards(tmp_path: Path) -> None:
    """Shards join in the order of their rows as numbers; a gap is named."""
    rows = np.arange(2500 * 2, dtype=np.float32).reshape(2500, 2)
    write_state(tmp_path / "s", "tmem-shards", {"short_term": rows, "meta": rows[:0]})
    state = read_state(tmp_path / "s")

    assert [
        "meta_shard_0.tmem",
        "short_term_shard_0.tmem",
        "short_term_shard_1000.tmem",
        "short_term_shard_2000.tmem",
    ] == (sorted(path.name for path in (tmp_path / "s").iterdir()))
    assert "tmem-shards" == state.format
    assert np.array_equal(rows, state.arrays["short_term"])
    assert (0, 2) == state.arrays["meta"].shape
    (tmp_path / "s" / "short_term_shard_1000.tmem").unlink()
    with pytest.raises(InvalidInputError, match="begins at row 1000 is missing"):
        read_state(tmp_path / "s")


@pytest.mark.parametrize("name", ["short_term", "x", "access_counts", "timestamps", "auxiliary/y"])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "u1", "?", "bfloat16"])
def test_a_lost_type_is_noted(tmp_path: Path, name: str, dtype: str) -> None:
    """JSON has no types of numbers: an array that comes back with another one is named, and no other one is."""
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    metadata: dict[str, Any] = {"timestamp_unit": "ms"} if name == "timestamps" else {}
    if name.startswith("auxiliary"):
        metadata["auxiliary"] = {"y": {"$array": name}}
    for number, values in enumerate(([0, 1, 1], [-0.0, 1, 0], [0.1, 2, 3], [1e30, 1, 0])):
        if dtype in ("i8", "u1", "?") and number > 0:
            break
        array = np.array(values).astype(bfloat16 if dtype == "bfloat16" else dtype)
        path = tmp_path / str(number)
        if name == "access_counts" and number > 1:
            with pytest.raises(InvalidInputError, match="whole numbers"):
                write_state(path, "titan-memory", {name: array}, metadata)
            continue
        written = write_state(path, "titan-memory", {name: array}, metadata)
        back = read_state(path).arrays[name]
        assert array.astype("f8").tolist() == back.astype("f8").tolist()
        assert (back.dtype != array.dtype) == any(f"{name} as {back.dtype} instead" in note for note in written.notes)


def test_a_checkpoint_notes_lost_types(tmp_path: Path) -> None:
    """Weights and memory of a checkpoint are JSON too."""
    arrays = {"model/weights/0": np.ones(3), "short_term": np.ones((2, 2), "f2")}
    (first, second) = write_state(tmp_path / "out", "titan-checkpoint", arrays).notes
    assert "weights/0 as float32 instead of float64" in first
    assert "short_term as float32 instead of float16" in second
