"""The wrapped grid."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lamina import DiffusionConfig, InvalidInputError, ToroidalGrid
from lamina.states.topics import siphash13

SIZES = st.integers(1, 9)
VALUES = st.floats(0, 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def grids(draw: st.DrawFn, elements: st.SearchStrategy[float] = VALUES) -> ToroidalGrid:
    """A grid of up to 9 by 9."""
    shape = (draw(SIZES), draw(SIZES))
    return ToroidalGrid.from_cells(draw(hnp.arrays(np.float64, shape, elements=elements)))


@given(grids(), st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30), FINITE)
def test_coordinates_wrap(grid: ToroidalGrid, x: int, y: int, value: float) -> None:
    """Any signed coordinate means the cell at its remainder."""
    grid.set(x, y, value)

    assert value == grid.get(x % grid.width, y % grid.height)
    assert value == grid[x + 7 * grid.width, y - 3 * grid.height]
    assert value == grid.cells.reshape(-1)[(y % grid.height) * grid.width + x % grid.width]


@given(grids(), st.integers(-20, 20), st.integers(-20, 20), st.integers(0, 12))
def test_neighbors_are_the_wrapped_square_each_once(grid: ToroidalGrid, x: int, y: int, radius: int) -> None:
    """The neighbourhood is the Chebyshev square without its middle, however large it is."""
    found = grid.neighbors(x, y, radius)

    expected = {grid.wrap(x + dx, y + dy) for dx in range(-radius, radius + 1) for dy in range(-radius, radius + 1)} - {
        grid.wrap(x, y)
    }
    assert expected == {(cell.x, cell.y) for cell in found}
    assert len(found) == len(expected)
    assert all(cell.value == grid.get(cell.x, cell.y) for cell in found)


def naive_step(cells: list[list[float]], config: DiffusionConfig) -> list[list[float]]:
    """One step, cell by cell, as the seed's library writes the formula."""
    height, width = len(cells), len(cells[0])
    new = [[0.0] * width for _ in range(height)]
    for y in range(height):
        for x in range(width):
            around = cells[y][x - 1] + cells[y][(x + 1) % width] + cells[y - 1][x] + cells[(y + 1) % height][x]
            v = cells[y][x]
            v = v + around * config.diffusion_rate / 4.0 - v * config.diffusion_rate - v * config.decay_rate
            v = max(0.0, min(1.0, v))
            new[y][x] = 0.0 if v < config.threshold else v
    return new


@given(grids(), VALUES, VALUES, VALUES, st.integers(0, 4))
def test_diffusion_is_the_formula_bit_for_bit(
    grid: ToroidalGrid, rate: float, decay: float, threshold: float, steps: int
) -> None:
    """The vectorised step equals the formula cell by cell, and the threshold clears what is below it."""
    config = DiffusionConfig(diffusion_rate=rate, decay_rate=decay, threshold=threshold)
    expected = grid.cells.tolist()
    for _ in range(steps):
        expected = naive_step(expected, config)
    grid.diffusion = config

    grid.diffuse(steps)

    assert expected == grid.cells.tolist()


def test_diffusion_keeps_what_it_does_not_decay() -> None:
    """Without decay and threshold the sum stays; with a threshold a faint cell is gone."""
    grid = ToroidalGrid(10, 10, diffusion=DiffusionConfig(decay_rate=0, threshold=0))
    grid.set(0, 0, 1.0)
    grid.diffuse(20)

    assert math.isclose(1.0, float(grid.cells.sum()))
    assert grid.get(-1, 0) > 0
    assert 0.02 > grid.get(5, 5)
    grid.diffuse(1, DiffusionConfig(decay_rate=0, threshold=0.02))
    assert 0.0 == grid.get(5, 5)


def test_activate_stops_at_one() -> None:
    """Strength adds up to 1."""
    grid = ToroidalGrid(3, 3)

    assert 0.7 == grid.activate(-1, 0, 0.7)
    assert 1.0 == grid.activate(2, 3, 0.7)


@pytest.mark.parametrize("mode", ["add", "max"])
@given(grid=grids(), x=st.integers(-9, 9), y=st.integers(-9, 9), radius=st.floats(0, 12), strength=VALUES)
def test_a_disc_falls_off_with_wrapped_distance(
    mode: Any, grid: ToroidalGrid, x: int, y: int, *, radius: float, strength: float
) -> None:
    """Each cell within the radius is reached once, by the formula of its mode and its shortest distance."""
    before = grid.clone()
    reached = grid.activate_radius(x, y, radius, strength, mode=mode)

    count = 0
    for row in range(grid.height):
        for column in range(grid.width):
            dx = min((column - x) % grid.width, (x - column) % grid.width)
            dy = min((row - y) % grid.height, (y - row) % grid.height)
            d, v = math.sqrt(dx * dx + dy * dy), before.get(column, row)
            if d <= radius:
                count += 1
                if mode == "add":
                    v = min(1.0, v + strength * (1 - d / radius if radius else 1))
                else:
                    v = max(v, strength * (1 - d / (radius + 1)))
            assert math.isclose(v, grid.get(column, row), abs_tol=1e-12)
    assert count == reached


def test_radius_zero_adds_its_strength_to_one_cell() -> None:
    """No division by nothing: a disc of radius 0 is its middle, with the strength that was asked for."""
    grid = ToroidalGrid(5, 5)

    assert 1 == grid.activate_radius(2, 2, 0, 0.25)
    assert 0.25 == grid.get(2, 2)
    assert 0.25 == float(grid.cells.sum())


@given(st.binary(max_size=40).filter(lambda data: b"\0" not in data))
def test_siphash_has_no_state(data: bytes) -> None:
    """The hash is a 64-bit number that depends on every byte."""
    assert 0 <= siphash13(data) < 2**64
    assert siphash13(data) != siphash13(data + b"x")


def test_siphash_is_what_python_uses_with_a_zero_key() -> None:
    """An independent SipHash-1-3: the interpreter's own, with its key set to zero."""
    texts = ["", "a", "rust", "memory", "12345678", "ünïcode and more than sixteen bytes"]
    code = (
        "import sys, json\n"
        "hashes = [hash(text.encode() + b'\\xff') % 2**64 for text in json.loads(sys.argv[1])]\n"
        "print(json.dumps([sys.hash_info.algorithm] + hashes))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(texts)], capture_output=True, check=True, env=environment, timeout=30
    )
    algorithm, *expected = json.loads(done.stdout)
    if algorithm != "siphash13":
        pytest.skip("this interpreter hashes otherwise")

    assert expected == [siphash13(text.encode() + b"\xff") for text in texts]


def test_a_topic_has_its_cell() -> None:
    """X is the hash modulo the width, y the rest modulo the height."""
    grid = ToroidalGrid(7, 5)
    value = siphash13(b"weather\xff")

    assert (value % 7, value // 7 % 5) == grid.cell_of("weather")


@given(grids(st.sampled_from([0.0, 0.5, 1.0])), st.data())
def test_a_pattern_is_found_where_it_lies(grid: ToroidalGrid, data: st.DataObject) -> None:
    """Exact search finds every place, across edges too, and similarity is 1 exactly there."""
    width, height = data.draw(st.integers(1, grid.width)), data.draw(st.integers(1, grid.height))
    x, y = data.draw(st.integers(0, grid.width - 1)), data.draw(st.integers(0, grid.height - 1))
    pattern = [[grid.get(x + dx, y + dy) for dx in range(width)] for dy in range(height)]
    found = grid.find(pattern)

    assert (x, y) in found
    for row in range(grid.height):
        for column in range(grid.width):
            same = [grid.get(column + i, row + j) == pattern[j][i] for j in range(height) for i in range(width)]
            assert all(same) == ((column, row) in found)
            assert math.isclose(sum(same) / len(same), grid.similarity(pattern, column, row))


@given(grids(FINITE), st.data())
def test_a_delta_gives_the_other_grid_bit_for_bit(base: ToroidalGrid, data: st.DataObject) -> None:
    """Base plus delta is the new grid, signed zeros included, and holds changed cells only."""
    new = base.clone()
    count = data.draw(st.integers(0, 5))
    for _ in range(count):
        new.set(data.draw(st.integers(-9, 9)), data.draw(st.integers(-9, 9)), data.draw(FINITE | st.just(-0.0)))
    x, y, values = new.delta_since(base)

    assert count >= len(x)
    base.apply_delta(x, y, values)
    assert new.cells.tobytes() == base.cells.tobytes()


def test_the_last_change_of_a_cell_wins() -> None:
    """Changes apply in order, at wrapped places."""
    grid = ToroidalGrid(3, 2)
    grid.apply_delta([1, -2, 4], [0, 0, 2], [0.1, 0.2, 0.3])

    assert [[0.0, 0.3, 0.0], [0.0, 0.0, 0.0]] == grid.cells.tolist()


def test_layers_labels_and_the_retrieval_score() -> None:
    """The score is half activation, 0.3 confidence and 0.2 recency; the best labelled cells come first."""
    grid = ToroidalGrid(4, 4)
    grid.place(0, 0, "rust", activation=0.8, emotion=-0.5, confidence=0.5, recency=1.0)
    grid.place(1, 1, "python", activation=0.2, confidence=1.0, recency=0.5)

    assert ("activation", "emotion", "confidence", "recency") == grid.layers
    assert math.isclose(0.5 * 0.8 + 0.3 * 0.5 + 0.2, grid.score(4, -4))
    assert ["rust", "python"] == [one.label for one in grid.retrieve()]
    assert ["rust"] == [one.label for one in grid.retrieve(min_score=0.6)]
    grid.age(0.5)
    assert 0.5 == grid.get(0, 0, layer="recency")
    with pytest.raises(InvalidInputError, match="emotion is -2"):
        grid.place(2, 2, "bad", emotion=-2)
    assert 0.0 == grid.score(2, 2)


def test_statistics() -> None:
    """Active cells are those above 0.01."""
    stats = ToroidalGrid.from_cells([[0.0, 0.01, 0.02, 0.97]]).stats()

    assert (4, 2, 50.0, 0.0, 0.97, 0.25) == (
        stats.cells, stats.active, stats.active_percent, stats.minimum, stats.maximum, stats.mean
    )  # fmt: skip


@given(grids(FINITE))
def test_state_and_back(grid: ToroidalGrid) -> None:
    """Named arrays and JSON metadata hold all of a grid, and alias none of it."""
    grid.metadata = {"user_id": "ada", "note": {"a": [1, None]}}
    grid.place(1, 2, "topic", activation=0.5, emotion=0.25)
    grid.diffusion = DiffusionConfig(threshold=0.5)
    arrays, metadata = grid.to_state()
    back = ToroidalGrid.from_state(arrays, json.loads(json.dumps(metadata)))

    assert grid == back
    arrays["cells"][:] = 7
    assert grid == back


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: ToroidalGrid(0, 3), "width is 0"),
        (lambda: ToroidalGrid(3, True), "height is True"),
        (lambda: ToroidalGrid(2**20, 2**20), "more than"),
        (lambda: ToroidalGrid.from_cells([[1.0, math.nan], [math.inf, 0]]), r"Cell \(1, 0\) of activation is nan"),
        (lambda: ToroidalGrid.from_cells([[1.0], [1.0, 2.0]]), "no table of numbers"),
        (lambda: ToroidalGrid.from_cells([[]]), "width is 0"),
        (lambda: ToroidalGrid.from_cells([["x"]]), "no table of numbers"),
        (lambda: ToroidalGrid(2, 2).set(0, 0, math.nan), "value is nan"),
        (lambda: ToroidalGrid(2, 2).set(0.5, 0, 1.0), "x is 0.5"),  # type: ignore[arg-type]
        (lambda: ToroidalGrid(2, 2).set_many([(0, 0, 1.0), (0, 0, math.inf)]), "value is inf"),
        (lambda: ToroidalGrid(2, 2).map(lambda cells: cells[0]), "has the shape"),
        (lambda: ToroidalGrid(2, 2).find([[0, 0, 0]]), "the grid has 2 of 2"),
        (lambda: ToroidalGrid(2, 2).diffuse(-1), "steps is -1"),
        (lambda: ToroidalGrid(2, 2).layer("mood"), "no layer 'mood'"),
        (lambda: DiffusionConfig(decay_rate=1.5), "decay_rate is 1.5"),
        (lambda: DiffusionConfig.from_dict({"speed": 1}), "unknown key 'speed'"),
        (lambda: ToroidalGrid.from_state({"weights": np.zeros((2, 2))}), "no array 'cells'"),
        (lambda: ToroidalGrid.from_state({"cells": np.zeros((2, 2)), "x": np.zeros((2, 2))}), "'x' is no layer"),
        (lambda: ToroidalGrid.from_state({"cells": np.zeros((2, 2))}, {"width": 3}), "says width 3"),
        (lambda: ToroidalGrid(2, 2).delta_since(ToroidalGrid(2, 3)), "is no base"),
        (lambda: ToroidalGrid(2, 2).apply_delta([0], [0], [math.nan]), "Change 0 of the delta is nan"),
    ],
)  # fmt: skip
def test_what_is_refused(make: Any, expected: str) -> None:
    """Sizes, values and shapes that cannot be are refused with our error, which says what."""
    with pytest.raises(InvalidInputError, match=expected):
        make()


def test_views_cannot_be_written_and_clones_are_apart() -> None:
    """What the grid hands out cannot change it."""
    grid = ToroidalGrid(2, 2)
    with pytest.raises(ValueError, match="read-only"):
        grid.cells[0, 0] = 1.0
    grid.clone().set(0, 0, 1.0)

    assert 0.0 == grid.get(0, 0)


def test_a_picture_in_characters() -> None:
    """Without colour each character is the shade of an upper and a lower cell."""
    grid = ToroidalGrid.from_cells([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.5, 0.0, 1.0]])

    assert " ▒█\n░ ▒" == grid.picture(color=False)


def test_a_picture_in_colour_is_half_blocks() -> None:
    """With colour every character is an upper half-block, and each line ends in a reset."""
    lines = ToroidalGrid(6, 4).picture().split("\n")

    assert 2 == len(lines)
    assert all(6 == line.count("▀") and line.endswith("\x1b[0m") for line in lines)


def test_a_wide_grid_is_drawn_narrow_and_keeps_its_one_active_cell() -> None:
    """Drawing smaller takes the largest of each block."""
    grid = ToroidalGrid(1000, 10)
    grid.set(777, 5, 1.0)
    lines = grid.picture(50, color=False).split("\n")

    assert all(50 == len(line) for line in lines)
    assert 1 == sum(line.count("▒") + line.count("█") for line in lines)


def test_a_png_is_what_its_chunks_say() -> None:
    """Signature, checksums, size and pixels are those of an 8-bit RGB image; brighter means more active."""
    data = ToroidalGrid.from_cells([[0, 1]]).png(scale=2)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, {}
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.pack(">I", zlib.crc32(kind + body)) == data[at + 8 + length : at + 12 + length]
        chunks[kind] = body
        at += 12 + length

    assert (4, 2, 8, 2, 0, 0, 0) == struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    rows = zlib.decompress(chunks[b"IDAT"])
    assert 2 * (1 + 3 * 4) == len(rows)
    assert sum(rows[1:4]) < sum(rows[10:13])
    assert b"" == chunks[b"IEND"]


@pytest.mark.parametrize(
    "act",
    [
        lambda grid: grid.diffuse(1, {"speed": 1}),
        lambda grid: grid.diffuse(1, 3),
        lambda grid: grid.set_many([(0, 0)]),
        lambda grid: grid.set_many(3),
        lambda grid: grid.apply_delta([0], [0], ["x"]),
        lambda grid: grid.apply_delta(None, None, None),
        lambda grid: grid.retrieve("x"),
        lambda grid: grid["ab"],
        lambda grid: grid.__setitem__(3, 1.0),
        lambda grid: grid.delta_since(3),
        lambda grid: ToroidalGrid.from_state(3),  # type: ignore[arg-type]
        lambda grid: ToroidalGrid.from_state({"cells": np.zeros((2, 2))}, 3),  # type: ignore[arg-type]
        lambda grid: ToroidalGrid.from_state({"cells": np.zeros((2, 2))}, {"labels": 3}),
        lambda grid: ToroidalGrid(2, 2, metadata=3),  # type: ignore[arg-type]
        lambda grid: ToroidalGrid(2, 2, diffusion=3),  # type: ignore[arg-type]
        lambda grid: ToroidalGrid(2, 2, diffusion={"diffusion_rate": "fast"}),
    ],
)
def test_only_our_errors_leave_a_grid(act: Callable[[Any], object]) -> None:
    """What cannot be is refused when it is given, in words of ours, and changes nothing."""
    grid = ToroidalGrid(3, 3)
    with pytest.raises(InvalidInputError):
        act(grid)
    assert grid == ToroidalGrid(3, 3)


def test_settings_may_be_a_mapping() -> None:
    """Numbers of diffusion by name are settings, of numpy too, and are kept as such."""
    settings = {"diffusion_rate": np.float32(0.5), "decay_rate": 0}
    grid = ToroidalGrid(3, 3, diffusion=settings)
    assert DiffusionConfig(diffusion_rate=0.5, decay_rate=0.0) == grid.diffusion
    assert 0.5 == grid.to_state()[1]["diffusion_config"]["diffusion_rate"]
    grid.set(1, 1, 1.0)
    other = grid.clone()
    grid.diffuse(1)
    other.diffuse(1, {"diffusion_rate": 0.5, "decay_rate": 0.0})
    assert grid == other


def test_what_is_no_grid_says_what_it_has() -> None:
    """Arrays without cells are no grid, and are named."""
    with pytest.raises(InvalidInputError, match="no grid") as caught:
        ToroidalGrid.from_state({"w": np.zeros(3), "b": np.zeros(2)})
    assert "Its arrays are: w, b." == caught.value.hint
