from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lamina
from lamina.errors import InvalidInputError, NotFoundError
from lamina.formats import write_state


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """Each save is a version; the newest is loaded, or the one that is asked for; keep_last bounds them."""
    folder = tmp_path / "deep" / "model"
    versions = [
        lamina.save_state(folder, {"w": np.full((5, 2), number)}, metadata={"n": number}, keep_last=2)
        for number in range(4)
    ]
    loaded = lamina.load_state(folder)
    assert (3, {"n": 3}, versions[3].id) == (
        loaded.arrays["w"][0, 0],
        loaded.metadata,
        loaded.version and loaded.version.id,
    )
    loaded.arrays["w"][:] = 0
    assert 2 == lamina.load_state(folder, ref=versions[2].id).arrays["w"][0, 0]
    with pytest.raises(NotFoundError):
        lamina.load_state(folder, ref=versions[0].id)
    lamina.save_state(folder, {"b": np.zeros(1)}, name="other")
    assert ["b"] == list(lamina.load_state(folder, name="other").arrays)
    with pytest.raises(NotFoundError, match="third"):
        lamina.load_state(folder, name="third")
    with pytest.raises(InvalidInputError):
        lamina.save_state(folder, {"w": object()})
    with lamina.open(folder, embedder="none") as store:
        assert store.verify("full").ok


def test_what_an_older_program_left_is_loaded_until_the_first_save(tmp_path: Path) -> None:
    """A folder with a JSON state is read as it is, left as it is, and its first save takes over from there."""
    weights = np.random.default_rng(0).random((6, 3)).astype("f4")
    file = tmp_path / "memory_state.json"
    write_state(file, "titan-memory", {"short_term": weights}, {})
    before = file.read_bytes()
    for place in (tmp_path, file):
        found = lamina.load_state(place)
        assert found.version is None
        np.testing.assert_array_equal(weights, found.arrays["short_term"])
    lamina.save_state(tmp_path, {**found.arrays, "more": np.ones(2)}, metadata=found.metadata)
    assert ["more", "short_term"] == list(lamina.load_state(tmp_path).arrays)
    assert before == file.read_bytes()


def test_nothing_is_nothing(tmp_path: Path) -> None:
    """A folder without a state is told, and loading makes no store."""
    with pytest.raises(NotFoundError, match="No state"):
        lamina.load_state(tmp_path)
    with pytest.raises(NotFoundError):
        lamina.load_state(tmp_path / "missing")
    assert [] == list(tmp_path.iterdir())


def test_a_grid_is_saved_whole(tmp_path: Path) -> None:
    """A grid goes in as it is, and comes back from arrays and metadata."""
    grid = lamina.ToroidalGrid(4, 3, metadata={"user_id": "ada"})
    grid.place(1, 1, "tea")
    lamina.save_state(tmp_path, grid)
    loaded = lamina.load_state(tmp_path)
    assert grid == lamina.ToroidalGrid.from_state(loaded.arrays, loaded.metadata)


def test_nothing_is_saved_where_what_to_keep_makes_no_sense(tmp_path: Path) -> None:
    """The bound is checked before the commit, not after it."""
    lamina.save_state(tmp_path, {"a": np.zeros(2)})
    for wrong in (0, "x", 1.5):
        with pytest.raises(InvalidInputError):
            lamina.save_state(tmp_path, {"a": np.ones(2)}, keep_last=wrong)  # type: ignore[arg-type]
    assert 0 == lamina.load_state(tmp_path).arrays["a"][0]
    with pytest.raises(InvalidInputError, match="no path"):
        lamina.load_state(5)  # type: ignore[arg-type]
