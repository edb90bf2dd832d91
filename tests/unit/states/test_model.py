from __future__ import annotations

import faulthandler
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import lamina
from lamina.states import commit as commit_module
from lamina.states import draft, layout, scattered
from lamina.storage import recalled

ROWS = 700
Arrays = dict[str, npt.NDArray[Any]]


class StatesMachine(RuleBasedStateMachine):
    """Commits, updates, branches, retention, collection and reopening beside a model that keeps every array whole."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="lamina-model-"))
        self.store = lamina.open(self.folder, embedder="none", durability="relaxed")
        self.versions: dict[str, Arrays] = {}
        self.order: list[str] = []
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.random = np.random.default_rng(0)

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        """Commit the first version."""
        self.random = np.random.default_rng(seed)
        arrays: Arrays = {
            "noise": self.random.standard_normal((ROWS, 5)).astype("f4"),
            "zeros": np.zeros((ROWS, 3), "i2"),
            "wide": self.random.integers(0, 9, (3, 4000)).astype("u1"),
            "one": np.array(1.5),
            "empty": np.empty((0, 4), "f4"),
        }
        self.note("main", self.store.states.commit("s", arrays).id, arrays)

    def note(self, branch: str, id: str, arrays: Arrays) -> None:
        """Remember what a version holds."""
        self.versions[id] = arrays
        self.order.append(id)
        self.branches[branch] = id

    @rule(data=st.data(), how=st.sampled_from(["rows", "elements", "small", "all", "none", "grow"]))
    def commit(self, data: st.DataObject, how: str) -> None:
        """Change an array in one of several ways, and commit all."""
        branch = data.draw(st.sampled_from(sorted(self.branches)))
        arrays = {name: array.copy() for name, array in self.versions[self.branches[branch]].items()}
        name = data.draw(st.sampled_from(["noise", "zeros"]))
        array = arrays[name]
        if how == "rows":
            rows = self.random.choice(len(array), data.draw(st.integers(1, 40)), replace=False)
            array[rows] = self.random.integers(-9, 9, (len(rows), array.shape[1]))
        elif how == "elements":
            array.reshape(-1)[self.random.choice(array.size, data.draw(st.integers(1, 9)), replace=False)] += 1
        elif how == "small" and name == "noise":
            array *= np.float32(1.0001)
        elif how == "all":
            array[:] = self.random.integers(-99, 99, array.shape)
        elif how == "grow":
            arrays[name] = np.concatenate([array, array[: data.draw(st.integers(1, 50))]])
        self.note(branch, self.store.states.commit("s", arrays, branch=branch).id, arrays)

    @rule(data=st.data(), count=st.integers(0, 60))
    def update(self, data: st.DataObject, count: int) -> None:
        """Write some rows, several of them twice."""
        branch = data.draw(st.sampled_from(sorted(self.branches)))
        arrays = {name: array.copy() for name, array in self.versions[self.branches[branch]].items()}
        changes = {}
        for name in data.draw(st.sets(st.sampled_from(["noise", "zeros", "wide"]), min_size=1)):
            array = arrays[name]
            rows = self.random.integers(-len(array), len(array), count)
            values = self.random.integers(0, 99, (count, *array.shape[1:])).astype(array.dtype)
            for row, value in zip(rows, values, strict=True):
                array[row] = value
            changes[name] = (rows, values)
        self.note(branch, self.store.states.update("s", changes, branch=branch).id, arrays)

    @rule(data=st.data())
    def branch(self, data: st.DataObject) -> None:
        """Begin a branch somewhere."""
        label = f"b{len(self.branches)}-{len(self.order)}"
        source = data.draw(st.sampled_from(self.order))
        if label not in self.branches and len(self.branches) < 4:
            self.store.states.branch("s", label, source)
            self.branches[label] = source

    @rule(data=st.data())
    def tag(self, data: st.DataObject) -> None:
        """Name a version."""
        label = f"t{len(self.tags)}"
        self.tags[label] = data.draw(st.sampled_from(self.order))
        self.store.states.tag("s", self.tags[label], label)

    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        """Go back to a version."""
        branch = data.draw(st.sampled_from(sorted(self.branches)))
        source = data.draw(st.sampled_from(self.order))
        self.note(branch, self.store.states.restore("s", source, branch=branch).id, self.versions[source])

    @rule(keep=st.integers(1, 4))
    def retain(self, keep: int) -> None:
        """Keep the last few."""
        plan = self.store.states.retain("s", keep_last=keep)
        kept = {*self.order[-keep:], *self.branches.values(), *self.tags.values()}
        assert set(plan.removed) == set(self.order) - kept
        self.order = [id for id in self.order if id in kept]
        self.versions = {id: self.versions[id] for id in self.order}

    @rule()
    def collect(self) -> None:
        """Give room back."""
        self.store.gc()

    @rule()
    def optimize(self) -> None:
        """Move tiers."""
        self.store.states.optimize()

    @rule()
    def reopen(self) -> None:
        """Close and open again."""
        self.store.close()
        self.store = lamina.open(self.folder, embedder="none", durability="relaxed")

    @precondition(lambda self: self.order)
    @invariant()
    def the_log_agrees(self) -> None:
        """The versions are those of the model, the newest first."""
        assert [version.id for version in self.store.states.log("s")] == self.order[::-1]

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        """Read a version, whole and in parts."""
        id = data.draw(st.sampled_from(self.order))
        with self.store.states.open("s", id) as state:
            assert sorted(state) == sorted(self.versions[id])
            for name, expected in self.versions[id].items():
                array = state[name]
                assert (array.shape, array.dtype) == (expected.shape, expected.dtype)
                np.testing.assert_array_equal(expected, array.read())
                if len(expected.shape) and len(expected):
                    rows = self.random.integers(-len(expected), len(expected), 9)
                    np.testing.assert_array_equal(expected[rows], array[rows])
                    np.testing.assert_array_equal(expected[5:300], array[5:300])
                    np.testing.assert_array_equal(expected[-1], array[-1])

    def teardown(self) -> None:
        """Hold every version against the model."""
        try:
            if self.order:
                report = self.store.verify("full")
                assert report.ok, report.problems
                for id in self.order:
                    with self.store.states.open("s", id) as state:
                        for name, expected in self.versions[id].items():
                            np.testing.assert_array_equal(expected, state[name].read())
        finally:
            self.store.close()
            shutil.rmtree(self.folder)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of about 512 bytes and four of them a shard, so that small arrays have many of both; packs from 4 KB."""
    from lamina.storage import shards

    monkeypatch.setattr(shards, "FRAME_BYTES", 512)
    monkeypatch.setattr(layout, "FRAME_BYTES", 512)
    monkeypatch.setattr(layout, "FRAMES_A_SHARD", 4)
    monkeypatch.setattr(draft, "INLINE_BYTES", 4096)
    monkeypatch.setattr(commit_module, "_THREADS_FROM", 4096)
    monkeypatch.setattr(scattered, "_KEEP_UP_TO", 8)
    monkeypatch.setattr(recalled, "_WHOLE", 512)
    layout._cell_elements.cache_clear()


def run(examples: int, steps: int) -> None:
    """Walk."""
    run_state_machine_as_test(
        StatesMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.usefixtures("tiny")
def test_random_walks_agree_with_the_model() -> None:
    """Whatever is committed, updated, branched, retained, collected and moved comes back bit for bit."""
    try:
        run(8, 20)
    finally:
        layout._cell_elements.cache_clear()


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("tiny")
def test_long_random_walks() -> None:
    """The same, hundreds of times."""
    faulthandler.cancel_dump_traceback_later()  # a long run may be long
    try:
        run(300, 50)
    finally:
        layout._cell_elements.cache_clear()
