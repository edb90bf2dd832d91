"""Vectors: what a caller may give, and how little is lost by storing it."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina import InvalidInputError
from lamina.config import Profile
from lamina.search.vectors import MOST_SCALE, check_vector, decode, encode, to_int8

Floats = npt.NDArray[np.float32]

PROFILES: tuple[Profile, ...] = get_args(Profile)
BYTES: dict[str, Callable[[int], int]] = {
    "precise": lambda dim: 2 * dim,
    "balanced": lambda dim: dim,
    "compact": lambda dim: (dim + 1) // 2,
}
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(NUMBERS, min_size=2, max_size=40).filter(any)


def _unit_rows(seed: int, count: int, dim: int) -> Floats:
    rows = np.random.default_rng(seed).normal(size=(count, dim))
    found: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def _stored(row: Floats, profile: Profile) -> tuple[float, bytes]:
    found = encode(row[None, :], profile)[0]
    assert found is not None
    return found


def _most_lost(row: Floats, profile: Profile) -> Floats:
    """The largest error that each number may have: half a step, or half of float16's last place."""
    if profile == "precise":
        return np.abs(row) * np.float32(2**-11) + np.float32(2**-25)
    step = float(np.abs(row).max()) / (7 if profile == "compact" else 127)
    return np.full(len(row), step * 0.5001, dtype=np.float32)


# --- storing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
@given(seed=st.integers(0, 10**6), dim=st.integers(2, 70), count=st.integers(1, 4))
def test_little_is_lost(profile: Profile, seed: int, dim: int, count: int) -> None:
    """Every number comes back within half a step of its profile, in the bytes that the profile promises."""
    rows = _unit_rows(seed, count, dim)
    for row, held in zip(rows, encode(rows, profile), strict=True):
        assert held is not None
        scale, codes = held
        assert BYTES[profile](dim) == len(codes)
        back = decode(scale, codes, dim)
        assert back.dtype == np.float32
        assert (np.abs(back - row) <= _most_lost(row, profile)).all()


@pytest.mark.parametrize(("profile", "least"), [("precise", 0.999999), ("balanced", 0.9999), ("compact", 0.98)])
def test_the_direction_is_kept(profile: Profile, least: float) -> None:
    """At 256 dimensions a stored vector points where the vector did."""
    rows = _unit_rows(5, 50, 256)
    for row in rows:
        back = decode(*_stored(row, profile), 256)
        assert float(back @ row / np.linalg.norm(back)) >= least


@pytest.mark.parametrize("profile", PROFILES)
def test_a_row_of_zeros_has_no_stored_form(profile: Profile) -> None:
    """None stands where there was nothing to embed, and the rows around it keep their places."""
    rows = _unit_rows(1, 3, 16)
    rows[1] = 0
    first, none, last = encode(rows, profile)
    assert none is None
    assert (first, last) == (_stored(rows[0], profile), _stored(rows[2], profile))
    assert [] == encode(np.zeros((0, 16), dtype=np.float32), profile)


@pytest.mark.parametrize("profile", PROFILES)
@given(values=ROWS)
def test_a_vector_of_any_magnitude_is_stored(profile: Profile, values: list[float]) -> None:
    """Numbers from the smallest to the largest are brought to length one and then kept like any others."""
    row = check_vector(values, None)
    back = decode(*_stored(row, profile), len(row))
    assert np.isfinite(back).all()
    assert (np.abs(back - row) <= _most_lost(row, profile)).all()


@pytest.mark.parametrize("profile", PROFILES)
@given(seed=st.integers(0, 10**6), dim=st.integers(2, 70))
def test_any_form_becomes_int8_for_scanning(profile: Profile, seed: int, dim: int) -> None:
    """What int8 adds to the error is half a step of its own."""
    row = _unit_rows(seed, 1, dim)[0]
    scale, codes = _stored(row, profile)
    held, scanned = to_int8(scale, codes, dim)
    assert dim == len(scanned)
    most = _most_lost(row, profile) + _most_lost(row, "balanced") * np.float32(1.2)
    assert (np.abs(decode(held, scanned, dim) - row) <= most).all()
    if profile == "balanced":
        assert (scale, codes) == (held, scanned)


def test_the_forms_are_told_apart_by_their_lengths() -> None:
    """From two dimensions on no two profiles have the same number of bytes; at one, two of them do."""
    for dim in range(2, 300):
        assert 3 == len({length(dim) for length in BYTES.values()})
    assert 2 == len({length(1) for length in BYTES.values()})


@pytest.mark.parametrize("length", [0, 1, 7, 9, 15, 17, 1000])
def test_other_lengths_are_refused(length: int) -> None:
    """Bytes that no profile writes are a ValueError, never a vector."""
    with pytest.raises(ValueError, match="no vector of 8 dimensions"):
        decode(0.1, bytes(length), 8)
    with pytest.raises(ValueError, match="no vector of 8 dimensions"):
        to_int8(0.1, bytes(length), 8)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_damaged_halves_are_refused(wrong: float) -> None:
    """A float16 vector with a number that is none must not reach a score."""
    codes = np.array([0.5, wrong, 0.5, 0.5], dtype="<f2").tobytes()
    with pytest.raises(ValueError, match="not finite"):
        to_int8(1.0, codes, 4)


@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf, MOST_SCALE, 1e300])
def test_damaged_scales_are_refused(scale: float) -> None:
    """A scale that no vector of length one can have is a ValueError."""
    with pytest.raises(ValueError, match="no scale"):
        decode(scale, bytes(4), 4)


# --- what a caller gives ---------------------------------------------------------------------------------------------


@given(ROWS)
def test_a_callers_vector_gets_length_one(values: list[float]) -> None:
    """Whatever its magnitude, it keeps its direction and has length one."""
    found = check_vector(values, len(values))
    assert found.dtype == np.float32
    assert abs(float(np.linalg.norm(found.astype(np.float64))) - 1) < 1e-5
    assert int(np.argmax(np.abs(found))) in np.flatnonzero(np.isclose(np.abs(found), np.abs(found).max()))
    largest = max(values, key=abs)
    assert math.copysign(1, largest) == math.copysign(1, found[values.index(largest)])


@pytest.mark.parametrize("magnitude", [5e-324, 1e-300, 1e-40, 1e40, 1.7e308])
def test_huge_and_tiny_vectors_keep_their_direction(magnitude: float) -> None:
    """Neither squares that overflow nor squares that vanish turn a vector."""
    assert np.allclose([0.5, -0.5, 0.5, -0.5], check_vector([magnitude, -magnitude, magnitude, -magnitude], 4))


@pytest.mark.parametrize(
    "vector",
    [
        [3, 4],
        (3, 4),
        range(3, 5),
        [Fraction(3), Decimal(4)],
        np.array([3, 4], dtype=np.uint8),
        np.array([3, 4], dtype=np.float16),
        np.array([30, 40], dtype=np.longdouble),
    ],
    ids=lambda vector: type(vector).__name__,
)
def test_any_row_of_numbers_will_do(vector: Any) -> None:
    """Lists, tuples, ranges, exact numbers and arrays of any number type."""
    assert np.allclose([0.6, 0.8], check_vector(vector, 2))


def test_the_callers_array_is_left_as_it_was() -> None:
    """Bringing to length one happens on a copy; an array that may not be written is fine."""
    mine = np.array([3.0, 4.0])
    mine.flags.writeable = False
    assert np.allclose([0.6, 0.8], check_vector(mine, 2))
    mine = np.array([3.0, 4.0])
    check_vector(mine, 2)
    assert [3.0, 4.0] == mine.tolist()


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([1.0, math.nan], r"vector\[1\] is nan"),
        ([math.inf, 1.0], r"vector\[0\] is inf"),
        ([1.0, -math.inf], r"vector\[1\] is -inf"),
        ([1.0, None], r"vector\[1\] is nan"),
        (np.array([1, np.finfo(np.longdouble).max], dtype=np.longdouble), r"vector\[1\] is inf"),
        ([0.0, -0.0], "points nowhere"),
        ([[1.0, 2.0]], r"shape \(1, 2\)"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        ([], r"shape \(0,\)"),
        (3.5, r"shape \(\)"),
        (None, r"shape \(\)"),
        ([1.0], "one dimension"),
        ("12", "not a row of numbers"),
        (b"12", "not a row of numbers"),
        (["1", "2"], "not a row of numbers"),
        ([1.0, "2"], "not a row of numbers"),
        ([1 + 2j, 2], "not a row of numbers"),
        (np.array([1 + 2j, 2]), "not a row of numbers"),
        ([[1.0], [1.0, 2.0]], "not a row of numbers"),
        ([10**400, 1], "not a row of numbers"),
        ({"a": 1}, "not a row of numbers"),
        (object(), "not a row of numbers"),
        (np.array(["2023-05-07", "2023-05-08"], dtype="datetime64[D]"), "not a row of numbers"),
    ],
)
def test_what_is_no_vector_is_refused(vector: Any, message: str) -> None:
    """Each is an error of Lamina's that says what is wrong, and where."""
    with pytest.raises(InvalidInputError, match=message):
        check_vector(vector, None)


def test_another_number_of_dimensions_is_refused() -> None:
    """The error names both numbers, and carries them for programs."""
    with pytest.raises(
        InvalidInputError, match="the query has 3 dimensions, and this store's vectors have 4"
    ) as caught:
        check_vector([1, 2, 3], 4, "the query")
    assert {"expected": 4, "got": 3} == {name: caught.value.details[name] for name in ("expected", "got")}
