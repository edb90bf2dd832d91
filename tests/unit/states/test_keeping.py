"""Grids, sessions and experiments kept in a store, through the public face."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamina
from lamina.errors import AlreadyExistsError, CorruptionError, InvalidInputError, NotFoundError
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
    assert 3 == len(sessions.find(since=began.replace(tzinfo=None)))  # in UTC, as everywhere
    for wrong in ("now", 3):
        with pytest.raises(InvalidInputError):
            sessions.find(since=wrong)  # type: ignore[arg-type]


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


def until(what: Callable[[], Any]) -> None:
    """Wait until something is so, ten seconds at most."""
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


class Flaky:
    """Arrays that cannot be had the first times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.asked = 0

    def __call__(self) -> dict[str, Any]:
        """Return them, or fail."""
        self.asked += 1
        if self.asked <= self.failures:
            raise OSError("not now")
        return {"a": np.full(3, self.asked)}


def test_autosave_goes_on_after_a_failure(states: lamina.States) -> None:
    """A save that failed is told once and tried again, and later marks are saved as if nothing had been."""
    get = Flaky(1)
    auto = states.autosave("live", get, 0.0)
    auto.mark()
    until(lambda: auto.saved is not None)
    with pytest.raises(OSError, match="not now"):
        auto.mark()
    until(lambda: not auto.dirty)
    assert 2 == len(states.log("live"))
    auto.close()


def test_autosave_saves_before_it_complains(states: lamina.States) -> None:
    """Closing saves what was marked, whatever failed before; what failed is raised afterwards."""
    get = Flaky(1)
    auto = states.autosave("live", get, 0.01)
    auto.mark()
    until(lambda: get.asked == 1)
    with pytest.raises(OSError, match="not now"):
        auto.close()
    assert 1 == len(states.log("live"))
    with pytest.raises(InvalidInputError, match="gives no arrays"):
        states.autosave("live", 3, 1)  # type: ignore[arg-type]


def test_autosave_takes_a_grid(states: lamina.States) -> None:
    """A grid, or arrays that change in place, need no function around them."""
    grid, arrays = grid_of(0), {"a": np.zeros(3)}
    with states.autosave("grid", grid, 60) as first, states.autosave("arrays", arrays, 60) as second:
        grid.activate(0, 0, 0.5)
        arrays["a"][1] = 7
        first.mark()
        second.mark()
    with states.open("grid") as state:
        assert grid == lamina.ToroidalGrid.from_state(state)
    with states.open("arrays") as state:
        assert 7 == state["a"][1]


def test_the_newest_checkpoint_has_a_step_and_is_whole(states: lamina.States, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed without a step is no checkpoint; a damaged one is passed over; none that is whole is said."""
    run = states.checkpoints("run", keep_last=5)
    assert run.latest() is None
    states.commit("run", {"a": np.array([0])})
    assert run.latest() is None
    made = [run.save(step, {"a": np.array([step])}) for step in (10, 20)]
    states.update("run", {"a": ([0], [99])})
    latest = run.latest()
    assert latest is not None
    assert (20, 20) == (latest[0], latest[1]["a"][0])
    log = states.log
    for damaged, wanted in (({1}, 10), ({0, 1}, None)):
        ids = {made[number].id for number in damaged}

        def hurt(name: str, ref: Any = None, ids: set[str] = ids) -> list[lamina.Version]:
            return [replace(version, damaged=version.id in ids) for version in log(name, ref)]

        monkeypatch.setattr(states, "log", hurt)
        if wanted is None:
            with pytest.raises(CorruptionError, match=r"step 20 .*, step 10 .* are damaged"):
                run.latest()
        else:
            found = run.latest()
            assert found is not None
            assert wanted == found[0] == found[1]["a"][0]


def test_experiments_show_what_was_recorded_for_them(states: lamina.States) -> None:
    """An experiment that begins at another has no results of its own; an update keeps none for new arrays."""
    states.commit("net", {"a": np.zeros(3)})
    trials = states.experiments("net")
    trials.start("a").close()
    results: dict[str, Any] = {"loss": np.float32(0.5)}
    recorded = trials.record("a", {"a": np.ones(3)}, results)
    trials.start("b", baseline="a").close()
    assert ["a"] == [row.name for row in trials.compare()]
    states.update("net", {"a": ([0], [9])}, branch="a")
    assert [(recorded.id, {"loss": 0.5})] == [(row.version.id, row.results) for row in trials.compare("loss")]
    trials.record("b", {"a": np.ones(3)}, {"loss": 0.25, "steps": 3})
    assert ["b", "a"] == [row.name for row in trials.compare("loss", largest=False)]
    with pytest.raises(InvalidInputError, match="No experiment") as caught:
        trials.compare("los")
    assert "There are: loss, steps." == caught.value.hint
    assert recorded.id == trials.best("loss", "best").id
    trials.record("b", {"a": np.ones(3)}, {"loss": 0.75})
    with pytest.raises(AlreadyExistsError, match="never given again") as taken:
        trials.best("loss", "best")
    assert "'b'" in taken.value.hint
    for wrong in (None, {"loss": "low"}, {"loss": float("nan")}):
        with pytest.raises(InvalidInputError):
            trials.record("b", {"a": np.ones(3)}, wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        trials.compare(["loss"])  # type: ignore[arg-type]


def test_a_failure_in_the_background_is_told_by_every_call(states: lamina.States) -> None:
    """Whatever concerns a state waits for its commit in the background, and raises its failure once."""
    first = states.commit("s", {"a": np.zeros(3)})

    def fail() -> lamina.Version:
        raise CorruptionError("torn", hint="")

    for call in (
        lambda: states.log("s"),
        lambda: states.open("s", first),
        lambda: states.diff("s", first, "main"),
        lambda: states.tag("s", first, "t"),
        lambda: states.branch("s", "b"),
        states.list,
        lambda: states.retain("s", keep_last=9),
        lambda: states.delete("s", "t"),
    ):
        states._background.start("s", "main", fail)
        with pytest.raises(CorruptionError, match="torn"):
            call()
    assert 1 == len(states.log("s"))


def test_a_pending_version_is_a_version(states: lamina.States) -> None:
    """What is being committed has what a version has, and is taken where one is, waited for."""
    first = states.commit("s", {"a": np.zeros(3)})
    pending = states.commit("s", {"a": np.ones(3)}, step=4, message="later", metadata={"n": 1}, wait=False)
    assert pending.id == states.tag("s", "main", "newest").id
    assert (first.id, 4, "later", {"n": 1}) == (pending.parent, pending.step, pending.message, pending.metadata)
    assert pending.result().created_at == pending.created_at
    for field in fields(lamina.Version):
        assert hasattr(pending, field.name)
    assert not hasattr(pending, "colour")
    assert 1 == states.open("s", pending)["a"][0]  # type: ignore[arg-type]
    assert 3 == states.diff("s", first, pending).changes[0].rows  # type: ignore[arg-type]


def test_metadata_takes_numbers_of_numpy(states: lamina.States) -> None:
    """Scalars of numpy are the numbers they are; what cannot be kept is named by its key."""
    given = {"lr": np.float32(0.5), "n": [np.int64(3)], "deep": {"on": np.bool_(True)}}
    assert {"lr": 0.5, "n": [3], "deep": {"on": True}} == states.commit(
        "s", {"a": np.zeros(1)}, metadata=given
    ).metadata
    for wrong, named in (({"deep": {"loss": [1.0, np.float32("nan")]}}, "deep/loss/1"), ({"at": object()}, "at")):
        with pytest.raises(InvalidInputError, match=named):
            states.commit("s", {"a": np.zeros(1)}, metadata=wrong)


def test_bounds_are_checked(states: lamina.States) -> None:
    """A limit, an age or a number to keep that is none is refused as ours; numbers of numpy are numbers."""
    states.commit("s", {"a": np.zeros(1)})
    with pytest.raises(InvalidInputError):
        states.log("s", limit="a")  # type: ignore[arg-type]
    assert 1 == len(states.log("s", limit=np.int64(1)))  # type: ignore[arg-type]
    assert () == states.retain("s", keep_last=np.int64(1)).removed  # type: ignore[arg-type]
    states.sessions().save("ann", {"a": np.zeros(1)})
    assert [()] == [plan.removed for plan in states.sessions().expire(0)]
    for age in ("month", -1, float("nan")):
        with pytest.raises(InvalidInputError):
            states.sessions().expire(age)  # type: ignore[arg-type]


def test_what_was_nested_comes_back_nested(states: lamina.States) -> None:
    """Dicts within dicts are flattened by name and can be had back; a name that is both is said."""
    given = {"a": {"b": {"c": np.ones(2)}, "d": np.zeros(1)}, "e": np.ones(3)}
    states.commit("s", given)
    with states.open("s") as state:
        back = state.nested()
    assert {"a", "e"} == back.keys()
    assert {"b", "d"} == back["a"].keys()
    assert [1, 1] == back["a"]["b"]["c"].tolist()
    for wrong in ({"a": np.ones(1), "a/b": np.ones(1)}, {"a/b/c": np.ones(1), "a/b": np.ones(1)}):
        states.commit("t", wrong)
        with states.open("t") as state, pytest.raises(InvalidInputError, match="in dicts"):
            state.nested()


def test_a_commit_in_the_background_does_not_wait_for_itself(states: lamina.States) -> None:
    """What tells of its progress may look at the state; it sees what was there before."""
    states.commit("s", {"a": np.zeros(3)})
    seen: list[int] = []

    def look(done: int, total: int) -> None:
        assert done == total
        seen.append(len(states.log("s")))

    states.commit("s", {"a": np.ones(3)}, wait=False, progress=look).result(10)
    assert [1] == seen
    assert 2 == len(states.log("s"))
