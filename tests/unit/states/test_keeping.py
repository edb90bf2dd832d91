"""Grids, sessions and experiments kept in a store, through the public face."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamina
from lamina.errors import InvalidInputError, NotFoundError
from lamina.formats import read_state, write_state


def grid_of(seed: int, width: int = 9, height: int = 7) -> lamina.ToroidalGrid:
    """A grid with every layer, labels, settings and metadata."""
    grid = lamina.ToroidalGrid(
        width, height, diffusion=lamina.DiffusionConfig(diffusion_rate=0.2), metadata={"user_id": "ada", "n": [1, None]}
    )
    rng = np.random.default_rng(seed)
    grid.set_layer("activation", rng.random((height, width)))
    grid.place(-1, 3, "tea", emotion=-0.5, confidence=0.25, recency=0.75)
    grid.set_label(2, 2, "née")
    return grid


def test_a_grid_is_committed_as_it_is(states: lamina.States) -> None:
    """Layers, labels, diffusion settings, metadata and creator come back with each version, and act as before."""
    grid = grid_of(0)
    first = states.commit("grid", grid)
    assert "ada" == first.creator
    before = grid.clone()
    grid.diffuse(3)
    grid.activate(0, 0)
    second = states.commit("grid", grid, creator="bob", metadata={"n": 2})
    with states.open("grid", first) as state:
        assert before == lamina.ToroidalGrid.from_state(state)
    with states.open("grid") as state:
        back = lamina.ToroidalGrid.from_state(state)
    assert ("bob", 2, "ada") == (second.creator, back.metadata["n"], back.metadata["user_id"])
    assert grid.diffusion == back.diffusion
    before.diffuse(3)
    before.activate(0, 0)
    np.testing.assert_array_equal(before.cells, back.cells)
    states.commit("other", grid_of(1), wait=False)
    with states.open("other") as state:
        assert grid_of(1) == lamina.ToroidalGrid.from_state(state)
    with pytest.raises(InvalidInputError, match="mapping"):
        states.commit("grid", [1, 2])  # type: ignore[call-overload]


@pytest.mark.parametrize("form", ["toroidal-snapshot", "safetensors"])
def test_a_snapshot_goes_through_a_file_and_a_store(states: lamina.States, tmp_path: Path, form: str) -> None:
    """Creator, times, settings and metadata of a grid survive file, store and file."""
    grid = lamina.ToroidalGrid.from_cells(np.random.default_rng(0).random((3, 4)))
    grid.metadata = {"user_id": "ada", "created_at": "2026-01-02T03:04:05Z", "metadata": {"mood": "calm"}}
    arrays, metadata = grid.to_state()
    write_state(tmp_path / "one", form, arrays, metadata)
    read = read_state(tmp_path / "one")
    states.commit("grid", read.arrays, metadata=read.metadata)
    with states.open("grid") as state:
        write_state(tmp_path / "two", form, state, dict(state.metadata))
        assert grid == lamina.ToroidalGrid.from_state(state)
    again = read_state(tmp_path / "two")
    assert (read.format, read.metadata) == (again.format, again.metadata)
    assert read.arrays["cells"].tobytes() == again.arrays["cells"].tobytes()


def test_keepers_take_grids(store: lamina.Store) -> None:
    """Sessions, checkpoints, autosave and experiments keep a grid whole."""
    states, grid = store.states, grid_of(2)
    states.sessions().save("bob", grid)
    states.checkpoints("run").save(3, grid)
    with states.autosave("auto", lambda: grid, 60) as auto:
        auto.mark()
    with states.experiments("run").start("trial"):
        states.experiments("run").record("trial", grid, {"active": 1.0})
    for name in ("sessions/bob", "run", "auto"):
        with states.open(name) as state:
            assert grid == lamina.ToroidalGrid.from_state(state), name
    with states.open("run", "trial") as state:
        assert grid.cells.tolist() == lamina.ToroidalGrid.from_state(state).cells.tolist()
    assert "bob" == states.sessions().load("bob").version.creator


def test_sessions_are_found(store: lamina.Store) -> None:
    """Saved sessions of all users are found by time and by metadata, the newest first, and loaded by day."""
    sessions = store.states.sessions()
    began = datetime.now(UTC)
    for number, user in enumerate(("ann", "bob", "ann")):
        sessions.save(user, {"a": np.array([number])}, metadata={"room": number % 2})
    assert ["ann", "bob", "ann"] == [one.creator for one in sessions.find()]
    assert ["ann", "ann"] == [one.creator for one in sessions.find(where={"room": 0})]
    assert [] == sessions.find(until=began) == sessions.find(where={"lamp": None})
    middle = sessions.find()[1].created_at
    assert ["ann", "bob"] == [one.creator for one in sessions.find(since=middle)]
    assert ["ann"] == [one.creator for one in sessions.find(until=middle)]
    with sessions.load("ann", datetime.now(UTC).date()) as state:
        assert 2 == state["a"][0]
    with pytest.raises(NotFoundError):
        sessions.load("ann", began.date() - timedelta(days=1))
    with pytest.raises(InvalidInputError, match="time zone"):
        sessions.find(since=datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake


def test_sessions_expire(store: lamina.Store) -> None:
    """What is past its time goes; the newest of a user only where it is asked for; a dry run only says so."""
    sessions = store.states.sessions()
    for user in ("ann", "bob", "ann"):
        sessions.save(user, {"a": np.zeros(3)})
    assert [(), ()] == [plan.removed for plan in sessions.expire()]
    planned = sessions.expire(timedelta(0), keep_newest=False, dry_run=True)
    assert [2, 1] == [len(plan.removed) for plan in planned]
    assert 3 == len(sessions.find())
    assert [1, 0] == [len(plan.removed) for plan in sessions.expire(timedelta(0))]
    assert [1, 1] == [len(plan.removed) for plan in sessions.expire(timedelta(0), keep_newest=False)]
    assert [] == sessions.users()
    store.gc()
    assert store.verify("full").ok
    sessions.save("ann", {"a": np.ones(3)})
    assert 1 == len(sessions.list("ann"))


@given(texts=st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4, unique=True))
def test_topics_lead_to_the_same_cells_after_a_store(texts: list[str]) -> None:
    """What a topic's cell is depends on the grid's size and on nothing else, so a grid that was kept is found again."""
    grid, other = lamina.ToroidalGrid(50, 50), lamina.ToroidalGrid.from_state(*grid_of(0, 50, 50).to_state())
    assert [grid.cell_of(text) for text in texts] == [other.cell_of(text) for text in texts]


def test_a_moment_brings_back_what_was_then(states: lamina.States) -> None:
    """Restoring by time gives bit for bit what the state was at that moment, as a new version."""
    rng, kept = np.random.default_rng(0), []
    for _ in range(5):
        data = rng.standard_normal((40, 8)).astype("f4")
        version = states.commit("s", {"w": data})
        kept.append((version.created_at, data))
    moment, data = kept[1]
    states.restore("s", moment)
    with states.open("s") as state:
        assert data.tobytes() == state["w"].read().tobytes()
    assert 6 == len(states.log("s"))


def test_metadata_is_json(states: lamina.States) -> None:
    """What a grid's metadata holds is what JSON gives back; anything else is refused before it is kept."""
    grid = lamina.ToroidalGrid(2, 2, metadata={"deep": {"list": [1, 2.5, None, "é"]}})
    states.commit("g", grid)
    with states.open("g") as state:
        assert json.loads(json.dumps(state.metadata))["deep"] == grid.metadata["deep"]
    grid.metadata["when"] = datetime.now(UTC)
    with pytest.raises(InvalidInputError, match="JSON"):
        states.commit("g", grid)
