from __future__ import annotations

import array as array_module
import tracemalloc
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import lamina
from lamina.errors import ClosedError, InvalidInputError, NotFoundError
from lamina.states.checks import to_array
from lamina.states.layout import Layout, dtype_name, find_dtype

DTYPES = [
    "?",
    "u1",
    "i2",
    "<f2",
    "<f4",
    ">f8",
    "<c8",
    "<c16",
    "<M8[s]",
    "<m8[ns]",
    "S5",
    "<U3",
    "bfloat16",
    "float8_e4m3fn",
]


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_comes_back(states: lamina.States, name: str) -> None:
    """Each dtype of numpy and ml_dtypes that holds no Python objects comes back bit for bit, with its shape."""
    dtype = np.dtype(getattr(ml_dtypes, name)) if hasattr(ml_dtypes, name) else np.dtype(name)
    raw = np.random.default_rng(0).integers(65, 90, 40 * dtype.itemsize, np.uint8)
    value = np.zeros(40, dtype) if dtype.kind in "U?" else raw.view(dtype)
    states.commit("s", {"a": value.reshape(8, 5), "empty": value[:0], "none": value[:0].reshape(0, 5), "one": value[0]})
    with states.open("s") as state:
        found = state["a"].read()
        assert found.dtype == dtype.newbyteorder("<")
        assert found.astype(dtype).tobytes() == value.tobytes()
        assert state["a"][3].tobytes() == found[3].tobytes()
        assert [(8, 5), (0,), (0, 5), ()] == [state[key].shape for key in ("a", "empty", "none", "one")]
        assert state["one"].read().tobytes() == value[0].astype(dtype.newbyteorder("<")).tobytes()


def test_every_bit_of_a_float_comes_back(states: lamina.States) -> None:
    """NaN with its payload, infinities, negative zero and subnormals are kept where a float array holds them."""
    bits = np.array([0x7FC00001, 0xFFC12345, 0x7F800000, 0x80000000, 1, 0x3F800000], np.uint32)
    states.commit("s", {"a": bits.view("f4")})
    states.update("s", {"a": ([5], bits[:1].view("f4"))})
    assert [*bits[:5], bits[0]] == states.open("s")["a"].read().view(np.uint32).tolist()


class _Dlpack:
    def __init__(self, value: Any) -> None:
        self._value = value

    def __dlpack__(self, **options: Any) -> Any:
        return self._value.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._value.__dlpack_device__()


def test_what_can_be_an_array(states: lamina.States) -> None:
    """Buffers, DLPack, lists, views in any order and nested mappings are taken; names are joined with a slash."""
    base = np.arange(24.0).reshape(4, 6)
    states.commit(
        "s",
        {
            "buffer": array_module.array("d", [1, 2, 3]),
            "dlpack": _Dlpack(base),
            "list": [[1, 2], [3, 4]],
            "nested": {"fortran": np.asfortranarray(base), "strided": base[::-2, ::3], "deeper": {"x": base.T}},
        },
    )
    with states.open("s") as state:
        assert ["buffer", "dlpack", "list", "nested/deeper/x", "nested/fortran", "nested/strided"] == list(state)
        assert [1, 2, 3] == state["buffer"].read().tolist()
        assert base.tolist() == state["dlpack"].read().tolist() == state["nested/fortran"].read().tolist()
        assert base[::-2, ::3].tolist() == state["nested/strided"].read().tolist()
        assert base.T.tolist() == state["nested/deeper/x"].read().tolist()
        assert base.tolist() == np.from_dlpack(state["dlpack"]).tolist()


@pytest.mark.parametrize(
    "arrays",
    [
        {"a": np.array([object()])},
        {"a": np.zeros(2, [("x", "f4")])},
        {"a": object()},
        {"": np.zeros(2)},
        {"a\n": np.zeros(2)},
        {3: np.zeros(2)},
        {"a": {"b": np.zeros(1)}, "a/b": np.zeros(1)},
        [np.zeros(2)],
        {"a": [[1], [2, 3]]},
        {"a": {1, 2}},
        {"a": None},
        {"a": np.ma.masked_greater(np.arange(3), 1)},
    ],
    ids=str,
)
def test_what_cannot_be_one(states: lamina.States, arrays: Any) -> None:
    """Objects, fields, ragged lists and bad or doubled names are refused by name, and nothing is committed."""
    with pytest.raises(InvalidInputError):
        states.commit("s", arrays)
    assert [] == states.list()


def test_large_rows_are_cut_into_cells(states: lamina.States) -> None:
    """Rows beyond a frame are changed and read in parts."""
    value = np.random.default_rng(0).standard_normal((3, 50_021, 2)).astype("f4")
    states.commit("s", {"a": value})
    value[1, 40_000] = 7
    assert (states.commit("s", {"a": value}).written or 0) < 2_000
    value[2] = 1
    states.update("s", {"a": ([2], value[2:])})
    with states.open("s") as state:
        np.testing.assert_array_equal(value, state["a"].read())
        np.testing.assert_array_equal(value[1], state["a"][1])
        np.testing.assert_array_equal(value[[2, 0]], state["a"][[2, 0]])


@settings(max_examples=60)
@given(
    elements=st.integers(0, 200_000),
    rows=st.integers(0, 100),
    dtype=st.sampled_from(["u1", "f2", "f4", "f8", "c16", "S7"]),
)
def test_layouts_cover_their_arrays(elements: int, rows: int, dtype: str) -> None:
    """Cells fit rows, frames hold whole cells of at most 16 KB, and shards together are the array."""
    layout = Layout.of(np.dtype(dtype), (rows, elements))
    assert sum(layout.bytes_in(number) for number in range(layout.shards)) == rows * elements * np.dtype(dtype).itemsize
    if layout.cells:
        assert layout.cell * layout.cells_a_row == elements * np.dtype(dtype).itemsize
        assert layout.frame_bytes <= 16_384
        assert layout.frame_bytes % layout.cell == 0


def test_indexing_is_numpys(states: lamina.States) -> None:
    """Rows, slices, lists, masks and further indices give what numpy gives."""
    value = np.random.default_rng(0).standard_normal((5000, 7, 3)).astype("f4")
    states.commit("s", {"a": value, "v": value[:, 0, 0]})
    keys: list[Any] = [
        0, -1, 4999, np.int64(7), slice(None), slice(10, 4000), slice(None, None, -700), slice(5, 5), [1, 1, 4999, -2],
        np.array([[1, 2], [3, 4]]), np.arange(5000) % 1000 == 0, (3, 2), (slice(5, 9), 1), ([4, 5], slice(1, 3)),
        (slice(None), 2, 1), ..., (..., 1), (None, 0), (), (-1, -1, -1), ([1, 2], [3, 4]), [],
        np.array(1), (0, slice(None), [1]), ([0], slice(None), [1]), (np.array(2), None, 1), (slice(0, 9), [2], [1, 1]),
    ]  # fmt: skip
    with states.open("s") as state:
        for key in keys:
            np.testing.assert_array_equal(value[key], state["a"][key], err_msg=str(key))
        for key in (0, -1, [3, 4], slice(2, 9)):
            np.testing.assert_array_equal(value[:, 0, 0][key], state["v"][key])
        assert isinstance(state["v"][0], np.float32)
        np.testing.assert_array_equal(value, np.stack(list(state["a"])))
        wrong: list[Any] = [
            5000, -5001, [0, 5000], "x", 1.5, (0, 9), [[1.5]], slice("x", None), slice(0.5, None), slice(0, 9, 0),
            [[0], [0, 1]], (0, "x"), (slice("x"), 0), ([True], 0), {1}, (0, ..., ...),
        ]  # fmt: skip
        for bad in wrong:
            with pytest.raises(InvalidInputError):
                state["a"][bad]
        with pytest.raises(NotFoundError):
            state["b"]


INDEX_SHAPE = (4, 3, 5)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[npt.NDArray[Any], Any]]:
    """An array and what a state has of it."""
    value = np.arange(60).reshape(INDEX_SHAPE)
    with lamina.open(tmp_path_factory.mktemp("index"), embedder="none") as store:
        store.states.commit("s", {"a": value})
        with store.states.open("s") as state:
            yield value, state["a"]


@st.composite
def indices(draw: st.DrawFn) -> Any:
    """An index of any kind: numbers, slices, arrays, masks, new axes and an ellipsis, mixed."""
    parts: list[Any] = []
    for size in INDEX_SHAPE[: draw(st.integers(0, 3))]:
        number = st.integers(-size, size - 1)
        part = st.one_of(
            number,
            st.slices(size),
            number.map(np.array),
            number.map(np.int32),
            st.lists(number, min_size=1, max_size=1),
            npst.arrays(np.int64, st.sampled_from([(1,), (2,), (2, 1), (1, 2)]), elements=number),
            npst.arrays(bool, size),
        )
        parts += [None] * draw(st.integers(0, 1)) + [draw(part)]
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), Ellipsis)
    return parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)


@settings(max_examples=400, deadline=None)
@given(key=indices())
def test_any_index_is_numpys(indexed: tuple[npt.NDArray[Any], Any], key: Any) -> None:
    """Whatever indices are mixed, form and values are what numpy gives; what numpy refuses is an error of ours."""
    value, array = indexed
    try:
        wanted = value[key]
    except IndexError:
        with pytest.raises(InvalidInputError):
            array[key]
        return
    found = array[key]
    assert np.shape(wanted) == np.shape(found)
    assert type(wanted) is type(found)
    np.testing.assert_array_equal(wanted, found)


def test_what_is_read_is_the_readers_own(states: lamina.States) -> None:
    """Changing what was read, or what was committed, changes neither the state nor what others read."""
    value = np.ones((100, 4))
    states.commit("s", {"a": value})
    value[:] = 2
    with states.open("s") as state:
        for key in (0, slice(0, 5), [1, 2], ...):
            read = state["a"][key]
            read[...] = 9
        assert (state["a"].read() == 1).all()
        whole = state["a"].read()
        whole[:] = 5
        assert (np.asarray(state["a"]) == 1).all()


def test_a_map_is_read_only_and_what_was_written(states: lamina.States) -> None:
    """A raw array is mapped without copying; what cannot be mapped says why and how to read it."""
    value = np.random.default_rng(0).standard_normal((9000, 256)).astype("f4")
    states.commit("s", {"a": value, "small": value[:3], "zeros": np.zeros((9000, 256), "f4")})
    with states.open("s") as state:
        mapped = state["a"].mapped()
        assert not mapped.flags.writeable
        np.testing.assert_array_equal(value, mapped)
        with pytest.raises(InvalidInputError, match="compressed"):
            state["zeros"].mapped()
    states.update("s", {"a": ([0], value[:1] * 2)})
    with pytest.raises(InvalidInputError, match="changed"):
        states.open("s")["a"].mapped()


@pytest.mark.parametrize(("precision", "share", "error"), [("float16", 0.51, 2e-3), ("int8", 0.27, 2e-2)])
def test_precision_is_traded_where_it_is_asked_for(
    states: lamina.States, precision: str, share: float, error: float
) -> None:
    """Floats are rounded within their bound and come back in their own dtype; integers stay exact."""
    value = np.random.default_rng(0).standard_normal((4000, 256)).astype("f4")
    whole = np.arange(10)
    written = states.commit("s", {"a": value, "n": whole}, precision=precision).written
    assert written is not None
    assert written <= share * value.nbytes
    with states.open("s") as state:
        found = state["a"].read()
        assert found.dtype == value.dtype
        assert np.abs(found - value).max() <= error * np.abs(value).max()
        np.testing.assert_array_equal(found[[5, 77]], state["a"][[5, 77]])
        assert whole.tolist() == state["n"].read().tolist()
    assert states.commit("s", {"a": value, "n": whole}, precision=precision).written == 0
    states.update("s", {"a": ([3], value[:1])})
    np.testing.assert_array_equal(found[0], states.open("s")["a"][3])


def test_precision_refuses_what_it_cannot_hold(states: lamina.States) -> None:
    """An overflow of float16 and NaN in int8 are refused, with the name of the array."""
    for precision, bad in (("float16", 1e6), ("int8", np.nan), ("int8", np.inf)):
        with pytest.raises(InvalidInputError, match="'a'"):
            states.commit("s", {"a": np.full((2, 30), bad)}, precision=precision)
    with pytest.raises(InvalidInputError, match="no precision"):
        states.commit("s", {"a": np.zeros(3)}, precision="float12")
    states.commit("s", {"a": np.full((2, 3), np.inf)}, precision="float16")
    states.commit("s", {"a": np.zeros((2, 30))}, precision="int8")
    with pytest.raises(InvalidInputError, match="'a'"):
        states.update("s", {"a": ([0], np.nan)})


def test_precision_is_left_out_where_it_does_not_pay(states: lamina.States) -> None:
    """Narrow rows, whose scales would take more than int8 saves, integers and bfloat16 stay exact, and that is told."""
    rng = np.random.default_rng(0)
    arrays: dict[str, npt.NDArray[Any]] = {
        "flat": rng.standard_normal(5000, dtype=np.float32),
        "narrow": rng.standard_normal((900, 15), dtype=np.float32),
        "wide": rng.standard_normal((900, 16), dtype=np.float32),
        "whole": np.arange(10),
        "half": rng.standard_normal((9, 64)).astype(ml_dtypes.bfloat16),
        "not asked": np.zeros(3),
    }
    precision = {name: "int8" for name in arrays if name != "not asked"}
    version = states.commit("s", arrays, precision=precision)
    assert {"flat", "narrow", "whole", "half"} == set(version.kept_exact)
    with states.open("s") as state:
        assert "int8" == state["wide"].info().precision
        assert all(
            state[name].read().tobytes() == arrays[name].tobytes() and state[name].info().precision == "exact"
            for name in version.kept_exact
        )
    assert () == states.commit("s", arrays).kept_exact


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_rounding_takes_little_memory(precision: str) -> None:
    """A shard is rounded a few rows at a time: beside the result there are a few megabytes, whatever the dtype."""
    value = np.random.default_rng(0).standard_normal((8000, 512))
    layout = Layout.of(value.dtype, value.shape, precision)
    tracemalloc.start()
    encoded = layout.encode(value)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= encoded.nbytes + (4 << 20)
    assert encoded.tobytes() == b"".join(layout.encode(value[row : row + 999]).tobytes() for row in range(0, 8000, 999))


def test_another_byte_order_is_turned_shard_by_shard(states: lamina.States) -> None:
    """A big-endian array is not copied whole before it is committed, and comes back little-endian."""
    value = np.random.default_rng(0).standard_normal((60, 50)).astype(">f8")
    assert np.shares_memory(value, to_array(value, "a"))
    states.commit("s", {"a": value})
    assert 0 == states.commit("s", {"a": value.astype("<f8")}).written
    states.update("s", {"a": ([3], value[4:5])})
    value[3] = value[4]
    with states.open("s") as state:
        assert np.dtype("<f8") == state["a"].dtype
        np.testing.assert_array_equal(value, state["a"].read())


def test_names_of_dtypes() -> None:
    """A stored name gives its dtype again, whatever the byte order was."""
    for name in DTYPES:
        dtype = np.dtype(getattr(ml_dtypes, name)) if hasattr(ml_dtypes, name) else np.dtype(name)
        assert find_dtype(dtype_name(dtype)) == dtype.newbyteorder("<")


def test_a_closed_state_says_so(states: lamina.States) -> None:
    """Reading from a closed state or a closed store is an error of ours."""
    states.commit("s", {"a": np.zeros(3)})
    state = states.open("s")
    array = state["a"]
    state.close()
    with pytest.raises(ClosedError):
        array.read()
    with pytest.raises(ClosedError):
        state["a"]
