from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

import lamina
from lamina.errors import (
    AlreadyExistsError,
    ClosedError,
    ConflictError,
    InvalidInputError,
    LockedError,
    NotFoundError,
    ReadOnlyError,
)
from lamina.fs import count_operations
from lamina.states.times import moment_in


def value(number: float) -> dict[str, npt.NDArray[Any]]:
    """A state of one array."""
    return {"a": np.full((50, 4), number)}


def test_a_version_says_what_it_is(states: lamina.States) -> None:
    """What was given with a commit comes back with the version, and the log lists the newest first."""
    first = states.commit("s", value(1), message="one", step=7, metadata={"lr": 0.1, "tags": ["x"]}, creator="ann")
    second = states.commit("s", value(2))
    assert (None, first.id) == (first.parent, second.parent)
    found = states.log("s")
    assert [second.id, first.id] == [version.id for version in found]
    assert ("one", 7, {"lr": 0.1, "tags": ["x"]}, "ann") == (
        found[1].message, found[1].step, found[1].metadata, found[1].creator
    )  # fmt: skip
    assert (("main",), ()) == (found[0].branches, found[1].branches)
    assert first.created_at < second.created_at <= datetime.now(UTC) + timedelta(seconds=1)
    assert 64 == len(first.id)
    assert [found[0].id] == [version.id for version in states.log("s", limit=1)]
    assert {"lr": 0.1, "tags": ["x"]} == states.open("s", first).metadata


def test_refs(states: lamina.States) -> None:
    """A version is found by branch, tag, id, the beginning of an id, itself, and the time that it was newest."""
    first = states.commit("s", value(1))
    between = datetime.now(UTC)
    time.sleep(0.002)
    second = states.commit("s", value(2))
    states.tag("s", first, "best")
    for ref in ("best", first.id, first.id[:8], first.id.upper(), first, between):
        assert 1 == states.open("s", ref)["a"][0, 0], ref
    assert second.id == states.open("s").version.id == states.open("s", datetime.now(UTC)).version.id
    for bad in ("nothing", "abcdef0", between - timedelta(days=1)):
        with pytest.raises(NotFoundError):
            states.open("s", bad)
    with pytest.raises(NotFoundError, match="no state"):
        states.open("t")
    with pytest.raises(InvalidInputError):
        states.open("s", 3)  # type: ignore[arg-type]


def test_a_stale_parent_is_a_conflict(store: lamina.Store) -> None:
    """Who follows a version that is no longer the newest is told, writes nothing, and may branch instead."""
    states = store.states
    first = states.commit("s", value(1))
    with lamina.open(store.location, embedder="none") as other:
        other.states.open("s")
        states.commit("s", value(2))
        changes: list[Callable[[], object]] = [
            lambda: other.states.commit("s", value(3)),
            lambda: other.states.update("s", {"a": ([0], np.zeros((1, 4)))}),
            lambda: other.states.restore("s", first),
        ]
        for change in changes:
            with pytest.raises(ConflictError, match="main"):
                change()
        assert 2 == len(states.log("s"))
        with pytest.raises(ConflictError):
            states.commit("s", value(3), parent=first)
        other.states.branch("s", "mine", first)
        other.states.commit("s", value(3), branch="mine")
        other.states.open("s")
        other.states.commit("s", value(4))
    assert 3 == states.open("s", "mine")["a"][0, 0]
    with pytest.raises(ConflictError):
        states.commit("s", value(5))
    assert 4 == states.open("s")["a"][0, 0]
    assert states.commit("s", value(5)).parent == states.log("s")[1].id


def test_names_of_branches_and_tags(states: lamina.States) -> None:
    """A name is given once: a tag never again, not even after it was deleted; a branch until it is deleted."""
    first = states.commit("s", value(1))
    states.commit("s", value(2))
    states.tag("s", first, "t")
    assert first.id == states.tag("s", first, "t").id
    for taken in ("t", "main"):
        with pytest.raises(AlreadyExistsError):
            states.tag("s", "main", taken)
        with pytest.raises(AlreadyExistsError):
            states.branch("s", taken)
    states.delete("s", "t")
    with pytest.raises(AlreadyExistsError, match="once"):
        states.tag("s", "main", "t")
    states.branch("s", "b", first)
    states.delete("s", "b")
    states.branch("s", "b")
    with pytest.raises(NotFoundError, match="branch"):
        states.commit("s", value(3), branch="c")
    with pytest.raises(InvalidInputError):
        states.tag("s", "main", first.id)


def test_restore_adds_and_loses_nothing(states: lamina.States) -> None:
    """What a version was becomes the newest one, without writing its bytes again."""
    first = states.commit("s", value(1), step=3)
    states.commit("s", value(2))
    back = states.restore("s", first)
    assert (0, 3, first.id[:12]) == (back.written, back.step, (back.message or "")[-12:])
    assert [1, 2, 1] == [states.open("s", version)["a"][0, 0] for version in states.log("s")]


def test_deleting(store: lamina.Store) -> None:
    """A state goes with all it has; a version goes unless it has a name; the name of a state is free again."""
    states = store.states
    versions = [states.commit("s", value(number)) for number in range(3)]
    for kept in ("main", versions[2]):
        with pytest.raises(InvalidInputError):
            states.delete("s", kept)
    assert 1 == states.delete("s", versions[1])
    assert [versions[2].id, versions[0].id] == [version.id for version in states.log("s")]
    store.gc()
    assert 0 == states.open("s", versions[0])["a"][0, 0]
    assert store.verify("full").ok
    assert 2 == states.delete("s")
    assert [] == states.list()
    assert states.commit("s", value(9)).parent is None
    store.gc()
    assert 9 == states.open("s")["a"][0, 0]
    assert store.verify("full").ok


def test_retention_keeps_what_has_a_reason(states: lamina.States) -> None:
    """Neither the newest of a branch nor a tagged version nor one that is read goes; a dry run only says what would."""
    versions = [states.commit("s", value(number)) for number in range(8)]
    states.tag("s", versions[1], "kept")
    states.branch("s", "side", versions[2])
    reader = states.open("s", versions[3])
    plan = states.retain("s", keep_last=2, dry_run=True)
    assert 8 == len(states.log("s"))
    assert plan.removed == states.retain("s", keep_last=2).removed == tuple(versions[n].id for n in (0, 4, 5))
    assert ["tagged kept", "the newest of branch side", "being read"] == [plan.kept[versions[n].id] for n in (1, 2, 3)]
    reader.close()
    assert (versions[3].id,) == states.retain("s", max_age=0).removed[:1]
    wrong: list[dict[str, Any]] = [{}, {"keep_last": 0}, {"max_age": -1}, {"keep_last": True}]
    for options in wrong:
        with pytest.raises(InvalidInputError):
            states.retain("s", **options)


def test_a_diff_tells_what_changed(states: lamina.States) -> None:
    """Rows that differ in any bit, norms and the largest change, array by array; what is the same is counted."""
    first = states.commit("s", {"a": np.zeros((100, 3)), "b": np.ones(4), "c": np.ones(4), "d": np.zeros(2)})
    changed = np.zeros((100, 3))
    changed[[5, 70]] = [[3, 0, 0], [0, -4, 0]]
    second = states.commit("s", {"a": changed, "b": np.ones(4), "c": np.ones(5), "e": np.array([-0.0])})
    found = states.diff("s", first, second)
    assert (first.id, second.id, 1) == (found.before, found.after, found.unchanged)
    changes = {change.name: change for change in found.changes}
    assert {"a": "changed", "c": "reshaped", "d": "removed", "e": "added"} == {
        name: change.change for name, change in changes.items()
    }
    assert (2, (5, 70), 0.0, 5.0, 4.0) == (
        changes["a"].rows, changes["a"].first_rows, changes["a"].norm_before, changes["a"].norm_after,
        changes["a"].largest_change,
    )  # fmt: skip
    third = states.commit("s", {"e": np.array([0.0])})
    assert 1 == states.diff("s", second, third).changes[-1].rows
    assert () == states.diff("s", third, third).changes


def test_update_refuses_what_does_not_fit(states: lamina.States) -> None:
    """Rows beyond the array, values of another shape or kind, and unknown arrays are refused; nothing is committed."""
    states.commit("s", {"a": np.zeros((10, 3), "i4")})
    for rows, values in (
        ([10], np.zeros((1, 3))),
        ([0], np.zeros((2, 3), "i4")),
        ([0], np.zeros((1, 3))),
        ([0.5], np.zeros((1, 3), "i4")),
        ([[0]], np.zeros((1, 3), "i4")),
    ):
        with pytest.raises(InvalidInputError):
            states.update("s", {"a": (rows, values)})
    with pytest.raises(InvalidInputError):
        states.update("s", {"a": 3})
    with pytest.raises(NotFoundError):
        states.update("s", {"b": ([0], np.zeros((1, 3)))})
    with pytest.raises(NotFoundError):
        states.update("t", {"a": ([0], np.zeros((1, 3)))})
    assert 1 == len(states.log("s"))
    states.update("s", {"a": (slice(2, 4), np.int8(5))})
    states.update("s", {"a": ([0, 0, -1], [[1, 1, 1], [2, 2, 2], [3, 3, 3]])})
    assert [2, 0, 5, 5, 0, 0, 0, 0, 0, 3] == states.open("s")["a"][:, 0].tolist()


@pytest.mark.parametrize(
    ("dtype", "values", "there"),
    [
        ("i1", [127, -128, 3], None),
        ("i1", [300], "300"),
        ("u1", [5, 255], None),
        ("u1", [-1], "-1"),
        ("u8", [2**64 - 1], None),
        ("i8", np.array([2**63], np.uint64), str(2**63)),
        ("?", [0, 1], None),
        ("?", [2], "2"),
        ("f4", [1e300], "e\\+300"),
        ("f4", [1 / 3, np.inf, np.nan], None),
        ("f2", np.array([70_000], "f4"), "70000"),
        ("f2", [70_000], "70000"),
        ("bfloat16", [1e39], "e\\+39"),
        ("float8_e4m3fn", [np.inf], "inf"),
        ("int4", [7, -8], None),
        ("int4", [8], "8"),
        ("i4", np.array([1, 2], ml_dtypes.int4), None),
        ("i4", np.array([1, 2], ml_dtypes.bfloat16), "change"),
        ("f4", np.array([1, 2], ml_dtypes.bfloat16), None),
        ("c8", [1 + 1e300j], "e\\+300"),
        ("S3", np.array([b"long"]), "long"),
        ("S3", np.array([b"ok"]), None),
        ("<M8[s]", np.array(["2026-01-01T00:00:00.5", "NaT"], "M8[ms]"), "00.5"),
        ("<M8[s]", np.array(["2026-01-01", "NaT"], "M8[D]"), None),
        ("i4", [0.5], "change"),
        ("f4", ["a"], "change"),
    ],
    ids=str,
)
def test_update_changes_no_value_silently(states: lamina.States, dtype: str, values: Any, there: str | None) -> None:
    """What fits the array's dtype is taken, whatever it came as; what would become another value is refused."""
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    states.commit("s", {"a": np.zeros(10, kind)})
    change = {"a": (range(len(values)), values)}
    if there is None:
        states.update("s", change)
        found = states.open("s")["a"][: len(values)]
        np.testing.assert_array_equal(np.asarray(values).astype(kind), found)
    else:
        with pytest.raises(InvalidInputError, match=there):
            states.update("s", change)
        assert 1 == len(states.log("s"))


def test_an_update_of_nothing(states: lamina.States) -> None:
    """No rows and no values are a change of nothing, though an empty list is one of floats to numpy."""
    states.commit("s", {"a": np.arange(10)})
    states.update("s", {"a": ([], [])})
    assert list(range(10)) == states.open("s")["a"].read().tolist()
    with pytest.raises(InvalidInputError, match="sliced"):
        states.update("s", {"a": (slice("a", 3), 1)})


def test_a_line_steps_over_what_was_removed(store: lamina.Store) -> None:
    """Log, times and retention go on behind versions that were deleted, before and after they were collected."""
    states = store.states
    versions = [states.commit("s", value(number), message=str(number)) for number in range(10)]

    def line(ref: str) -> str:
        return "".join(version.message or "" for version in states.log("s", ref))

    states.branch("s", "side", versions[7])
    states.commit("s", value(20), branch="side", message="x")
    for number in (6, 4):
        states.delete("s", versions[number])
    for _ in range(2):
        assert ("98753210", "x753210") == (line("main"), line("side"))
        assert versions[5].id == states.open("s", versions[6].created_at).version.id
        assert versions[3].id == states.open("s", versions[3].created_at).version.id
        assert versions[5].id in states.retain("s", branch="main", keep_last=2, dry_run=True).removed
        store.gc()
        assert store.verify("full").ok
    states.tag("s", versions[2], "kept")
    states.retain("s", keep_last=1)
    store.gc()
    assert ("92", "x2") == (line("main"), line("side"))
    assert versions[2].id == states.open("s", versions[8].created_at).version.id
    assert versions[8].id == states.log("s", "main")[0].parent
    assert (("main", "side"), ("kept",)) == (states.list()[0].branches, states.list()[0].tags)
    assert store.verify("full").ok
    assert () == store.repair().lost
    assert "92" == line("main")
    states.delete("s", "kept")
    states.delete("s", versions[2])
    store.gc()
    assert ("9", "x") == (line("main"), line("side"))
    with pytest.raises(NotFoundError, match="by"):
        states.open("s", versions[8].created_at)
    for limit in ("a", -1, True, 1.5):
        with pytest.raises(InvalidInputError, match="limit"):
            states.log("s", limit=limit)  # type: ignore[arg-type]


def test_a_time_may_be_text(states: lamina.States) -> None:
    """ISO 8601 with a zone is a ref wherever one is asked for; without a zone it is refused, and a datetime is UTC."""
    first = states.commit("s", value(1))
    time.sleep(0.002)
    states.commit("s", value(2))
    moment = first.created_at
    for text in (moment.isoformat(), moment.astimezone(timezone(timedelta(hours=2))).isoformat()):
        assert first.id == states.open("s", text).version.id
        assert [first.id] == [version.id for version in states.log("s", text)]
    assert first.id == states.open("s", moment.replace(tzinfo=None)).version.id
    assert 1 == len(states.diff("s", f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}", "main").changes)
    assert first.id == states.tag("s", moment.isoformat(), "t").id
    assert first.id == states.branch("s", "b", moment.isoformat()).id
    states.restore("s", moment.isoformat())
    with pytest.raises(InvalidInputError, match="no zone"):
        states.open("s", moment.replace(tzinfo=None).isoformat())
    with pytest.raises(InvalidInputError, match="no zone") as caught:
        states.open("s", "2026-03-01")
    assert "Write 2026-03-01T00:00Z" in caught.value.hint


def test_a_time_without_its_fraction_is_the_end_of_its_second(states: lamina.States) -> None:
    """A time copied from a list that shows seconds, or minutes, names the newest version of them, none before."""
    old = states.commit("s", value(0))
    wait = 1_050_000 - old.created_at.microsecond  # the rest is of a later second
    time.sleep(max(0, wait) / 1e6)
    made = [states.commit("s", value(number)) for number in (1, 2, 3)]
    for one in made:
        second = one.created_at.replace(microsecond=0)
        same = [other for other in made if other.created_at.replace(microsecond=0) == second]
        assert same[-1].id == states.open("s", f"{one.created_at:%Y-%m-%dT%H:%M:%SZ}").version.id
    assert made[0].id == states.open("s", made[0].created_at).version.id  # a datetime is exact
    assert made[0].id == states.open("s", f"{made[0].created_at:%Y-%m-%dT%H:%M:%S.%fZ}").version.id
    assert made[-1].id == states.open("s", f"{made[-1].created_at:%Y-%m-%d %H:%MZ}").version.id


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2026-11-25T10:42:58Z", "10:42:58.999999"),
        ("2026-11-25T104258+00:00", "10:42:58.999999"),
        ("2026-11-25 10:42Z", "10:42:59.999999"),
        ("2026-11-25T10Z", "10:59:59.999999"),
        ("2026-11-25T10:42:58.5Z", "10:42:58.599999"),
        ("2026-11-25T10:42:58.123456Z", "10:42:58.123456"),
    ],
)
def test_what_a_time_names_has_an_end(text: str, end: str) -> None:
    """The last digit that is given says which stretch of time is meant; its end counts."""
    found = moment_in(text)
    assert found is not None
    assert f"2026-11-25T{end}" == found.astimezone(UTC).replace(tzinfo=None).isoformat()


def test_a_commit_without_arrays_is_refused(states: lamina.States) -> None:
    """An emptied mapping does not become the newest version; an array of no rows may."""
    first = states.commit("s", value(1))
    nothing: tuple[dict[str, Any], ...] = ({}, {"a": {}})
    for empty in nothing:
        with pytest.raises(InvalidInputError, match="no arrays to commit to state 's'"):
            states.commit("s", empty)
    assert [first.id] == [version.id for version in states.log("s")]
    states.commit("s", {"a": np.empty((0, 3))})


def test_opening_by_any_name_is_remembered(store: lamina.Store) -> None:
    """Who opened the newest version by its id, a tag or a time follows it, and is told when someone else was faster."""
    states = store.states
    for number, how in enumerate(("id", "version", "tag", "time")):
        head = states.commit("s", value(number))
        states.tag("s", head, how)
        with lamina.open(store.location, embedder="none") as other:
            refs: dict[str, Any] = {"id": head.id, "version": head, "tag": "tag", "time": head.created_at}
            other.states.open("s", refs[how])
            states.commit("s", value(number + 0.5))
            with pytest.raises(ConflictError):
                other.states.commit("s", value(9))


def test_a_diff_between_precisions(states: lamina.States) -> None:
    """Shards of two precisions hold different numbers of rows; they are compared row by row all the same."""
    data = np.round(np.random.default_rng(0).standard_normal((40_000, 64)), 1).astype("f2").astype("f4")
    first = states.commit("s", {"a": data})
    second = states.commit("s", {"a": data}, precision="float16")
    assert () == states.diff("s", first, second).changes
    data[[7, 39_999]] += 1
    third = states.commit("s", {"a": data}, precision="float16")
    change = states.diff("s", first, third).changes[0]
    assert (2, (7, 39_999)) == (change.rows, change.first_rows)
    assert ("changed", 40_000) == (
        states.diff("s", third, states.commit("s", {"a": data * 1.001}, precision="int8")).changes[0].change, len(data)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "largest"),
    [
        ([np.inf, 1, 2], [np.inf, 1, 5], 3.0),
        ([np.nan, 1, 2], [np.nan, 1, 4], 2.0),
        ([1, 1, 2], [1, np.inf, 7], np.inf),
        ([np.nan, 1, 2], [1, 1, 7], np.nan),
        ([0.0, 1], [-0.0, 1], 0.0),
    ],
    ids=str,
)
def test_the_largest_change(states: lamina.States, before: Any, after: Any, largest: float) -> None:
    """It is that of the elements that differ: NaN and infinities that stayed hide none, those that changed are told."""
    first = states.commit("s", {"a": np.array(before, float)})
    second = states.commit("s", {"a": np.array(after, float)})
    np.testing.assert_equal(states.diff("s", first, second).changes[0].largest_change, largest)


def test_small_commits_cost_one_fsync_and_no_file(folder: Path) -> None:
    """A session's autosave: one fsync, an object of at most 200 bytes for five cells, nothing beside the catalog."""
    cells = np.random.default_rng(0).random((50, 50))
    with count_operations() as counter, lamina.open(folder, embedder="none") as store:
        store.states.commit("grid", {"cells": cells})
        counter.clear()
        for number in range(20):
            cells.reshape(-1)[[number, 700 + number, 1400 + number, 2100, 2400]] = number / 20
            assert (store.states.commit("grid", {"cells": cells}).written or 0) <= (200 if number < 8 else 700)
        assert 20 == counter["fsync"]
        np.testing.assert_array_equal(cells, store.states.open("grid")["cells"].read())
        assert not (folder / ".lamina" / "packs").exists()


def test_a_large_commit_is_durable_before_its_row(folder: Path) -> None:
    """Invariant 2 for states: the pack is fsynced, renamed and its folder fsynced before the catalog is written."""
    from lamina.fs import Operation, observe

    seen: list[str] = []

    def note(operation: Operation) -> None:
        name = operation.path.rpartition("/")[2]
        kind = "catalog" if name.startswith("catalog.db") else "packs" if name == "packs" else "pack"
        seen.append(f"{operation.kind} {kind}")

    with observe(note), lamina.open(folder, embedder="none") as store:
        store.states.commit("s", {"a": np.random.default_rng(0).standard_normal((100, 4))})
        del seen[:]
        store.states.commit("s", {"a": np.random.default_rng(0).standard_normal((40_000, 4))})
    order = [seen.index(step) for step in ("fsync pack", "rename pack", "fsync packs", "write catalog")]
    assert order == sorted(order)


def test_commits_in_the_background(store: lamina.Store) -> None:
    """A commit that does not wait keeps what the arrays were, is published once durable, and orders with the next."""
    states = store.states
    data = np.zeros((20_000, 32))
    pending = states.commit("s", {"a": data}, wait=False)
    data[:] = 9
    second = states.commit("s", {"a": data}, wait=False)
    assert pending.done()
    assert (pending.result().id, second.result().id) == tuple(version.id for version in states.log("s")[::-1])
    assert 0 == states.open("s", pending.result())["a"][5, 5]
    assert 9 == states.open("s")["a"][5, 5]
    assert second.id == second.result().id


def test_a_failure_in_the_background_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong is raised by result, else by the next call on the branch, else by close; and once."""
    import lamina.states.commit as module

    gate = threading.Event()

    def broken(*_: object, **__: object) -> None:
        gate.wait(5)
        raise ConflictError("nobody knows why")

    monkeypatch.setattr(module, "publish", broken)
    store = lamina.open(folder, embedder="none")
    pending = store.states.commit("s", value(1), wait=False)
    with pytest.raises(LockedError):
        pending.result(0.01)
    gate.set()
    with pytest.raises(ConflictError):
        pending.result()
    store.states.commit("s", value(1), wait=False)
    with pytest.raises(ConflictError):
        store.states.commit("s", value(2))
    store.states.commit("s", value(3), wait=False)
    with pytest.raises(ConflictError):
        store.close()
    with pytest.raises(ClosedError):
        store.states.list()


def test_checkpoints(store: lamina.Store) -> None:
    """The last few are kept by the order they were saved in, and the newest is what a run goes on from."""
    saved = store.states.checkpoints("run", keep_last=3)
    assert saved.latest() is None
    for step in (1, 10, 999_999, 1_000_000, 5):
        saved.save(step, value(step))
    assert [5, 1_000_000, 999_999] == [version.step for version in saved.list()]
    latest = saved.latest()
    assert latest is not None
    assert (5, 5) == (latest[0], latest[1]["a"][0, 0])


def test_a_checkpoint_is_opened_by_its_step(store: lamina.Store) -> None:
    """The newest one of a step that is kept; of one that is not, the error names those that are."""
    saved = store.states.checkpoints("run", keep_last=3)
    with pytest.raises(NotFoundError, match="No checkpoint of step 3"):
        saved.open(3)
    for step, number in ((1, 1), (2, 2), (3, 3), (2, 4)):
        saved.save(step, value(number))
    store.states.commit("run", value(9))
    assert [3, 4] == [saved.open(step)["a"][0, 0] for step in (3, 2)]
    with pytest.raises(NotFoundError) as caught:
        saved.open(1)
    assert "2, 3" in caught.value.hint


def test_autosave_loses_at_most_the_interval(store: lamina.Store) -> None:
    """What was marked is committed within the interval, once; closing saves the rest; a failure is told."""
    now = [0]
    with store.states.autosave("auto", lambda: value(now[0]), 0.05) as auto:
        for now[0] in range(1, 4):
            auto.mark()
        deadline = time.monotonic() + 5
        while auto.dirty and time.monotonic() < deadline:
            time.sleep(0.005)
        assert 3 == store.states.open("auto")["a"][0, 0]
        assert 1 == len(store.states.log("auto"))
        now[0] = 4
        auto.mark()
    assert 4 == store.states.open("auto")["a"][0, 0]

    def fails() -> dict[str, npt.NDArray[Any]]:
        raise InvalidInputError("no arrays today")

    broken = store.states.autosave("auto", fails, 60)
    broken.mark()
    with pytest.raises(InvalidInputError, match="today"):
        broken.close()


def test_a_read_only_handle_reads(store: lamina.Store) -> None:
    """A read-only handle opens and reads while another one writes, and refuses every change."""
    store.states.commit("s", value(1))
    with lamina.open(store.location, read_only=True, embedder="none") as reader:
        assert 1 == reader.states.open("s")["a"][0, 0]
        store.states.commit("s", value(2))
        assert 2 == reader.states.open("s")["a"][0, 0]
        for change in (
            lambda: reader.states.commit("s", value(3)),
            lambda: reader.states.tag("s", "main", "t"),
            lambda: reader.states.retain("s", keep_last=1),
            lambda: reader.states.delete("s"),
        ):
            with pytest.raises(ReadOnlyError):
                change()


def test_tiers_follow_use(store: lamina.Store) -> None:
    """What is read often becomes raw, what only old versions need is compressed; bytes and ids stay the same."""
    rng = np.random.default_rng(0)
    small = (rng.standard_normal((9000, 64)) * 0.02).astype("f2").astype("f4")
    noise = rng.standard_normal((9000, 64)).astype("f4")
    first = store.states.commit("s", {"small": small, "noise": noise})
    with store.states.open("s") as state:
        assert {"shuffle+zstd": 1} == state["small"].info().codecs
        for row in range(20):
            state["small"][row]
    assert 1 == store.optimize()["states"]["to_warm"]
    assert {"raw": 1} == store.states.open("s")["small"].info().codecs
    store.states.commit("s", {"small": small + 1, "noise": noise[::-1].copy()})
    for _ in range(6):  # read counts are halved each time
        store.states.optimize()
    with store.states.open("s", first) as state:
        assert {"shuffle+zstd": 1} == state["small"].info().codecs == state["noise"].info().codecs
        np.testing.assert_array_equal(small, state["small"].read())
        np.testing.assert_array_equal(noise, state["noise"].read())
    tiers = store.stats()["states"]["tiers"]
    assert 1 <= tiers["warm"]["moved_in"]
    assert 2 <= tiers["cold"]["moved_in"]
    assert store.verify("full").ok


def test_collection_leaves_little_that_is_dead(store: lamina.Store) -> None:
    """After keeping 5 of 30 versions of 5 % change, dead bytes are at most a quarter of the live ones."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((4000, 64)).astype("f4")
    for _ in range(30):
        rows = rng.choice(4000, 200, replace=False)
        data[rows] = rng.standard_normal((200, 64))
        store.states.commit("s", {"a": data})
    store.states.retain("s", keep_last=5)
    before = store.gc(dry_run=True)
    done = store.gc()
    assert before["states"]["objects"] == done["states"]["objects"] > 0
    with store.states.context.catalog.read() as reader:
        live = reader.db.execute("SELECT sum(stored + record_size) FROM object WHERE pack <> 0").fetchall()[0][0]
    packs = sum(path.stat().st_size for path in (store.location / ".lamina" / "packs").iterdir())
    assert packs <= 1.25 * live
    np.testing.assert_array_equal(data, store.states.open("s")["a"].read())
    assert store.gc()["states"]["bytes"] == 0


def test_a_backup_has_the_packs(store: lamina.Store, tmp_path: Path) -> None:
    """A backup opens as a store, with every version."""
    data = np.random.default_rng(0).standard_normal((9000, 64))
    store.states.commit("s", {"a": data})
    with lamina.open(store.backup(tmp_path / "copy"), embedder="none") as copy:
        np.testing.assert_array_equal(data, copy.states.open("s")["a"].read())
        assert copy.verify("full").ok


def test_sessions_by_user(store: lamina.Store) -> None:
    """Each user has sessions of their own, whatever the name holds; the old go, the newest stays."""
    sessions = store.states.sessions()
    for user in ("ann", "../bob", "ann"):
        sessions.save(user, value(len(user)), metadata={"rate": 0.25})
    assert ["../bob", "ann"] == [one.name for one in sessions.users()]
    assert [2, 1, 0] == [len(sessions.list(user)) for user in ("ann", "../bob", "eve")]
    with sessions.load("ann") as state:
        assert ({"rate": 0.25}, "ann", 3) == (state.metadata, state.version.creator, state["a"][0, 0])
    assert [1, 0] == sorted((len(plan.removed) for plan in sessions.expire(timedelta(0))), reverse=True)
    assert [1, 1] == [len(sessions.list(user)) for user in ("ann", "../bob")]
    with pytest.raises(InvalidInputError):
        sessions.save("", value(1))


def test_experiments_begin_alike_and_are_compared(store: lamina.Store) -> None:
    """Experiments begin at the baseline, leave it alone, and are ranked by their results; the best is tagged."""
    store.states.commit("m", value(1))
    experiments = store.states.experiments("m")
    for name, score in (("high", 0.9), ("low", 0.2), ("mid", 0.5)):
        with experiments.start(name) as baseline:
            assert 1 == baseline["a"][0, 0]
        experiments.record(name, value(score), {"accuracy": score})
    assert ["high", "mid", "low"] == [row.name for row in experiments.compare("accuracy")]
    assert ["low", "mid", "high"] == [row.name for row in experiments.compare("accuracy", largest=False)]
    assert ("best_model",) == experiments.best("accuracy", "best_model").tags
    assert 0.9 == store.states.open("m", "best_model")["a"][0, 0]
    assert 1 == store.states.open("m")["a"][0, 0]
    with pytest.raises(InvalidInputError):
        experiments.best("speed", "fast")


def test_a_store_of_an_older_format_that_may_only_be_read(tmp_path: Path) -> None:
    """A catalog without the tables of states, opened for reading, has no states; nothing else fails."""
    import shutil

    golden = Path(__file__).parents[2] / "golden" / "format-1.db"
    engine = tmp_path / "old" / ".lamina"
    engine.mkdir(parents=True)
    shutil.copy(golden, engine / "catalog.db")
    with lamina.open(tmp_path / "old", read_only=True, embedder="none") as store:
        assert [] == store.states.list()
        assert 0 == store.stats()["states"]["versions"]
        with pytest.raises(NotFoundError):
            store.states.open("s")
        with pytest.raises(NotFoundError):
            store.states.log("s")
    with lamina.open(tmp_path / "old", embedder="none") as store:
        store.states.commit("s", value(1))
        assert store.verify("full").ok


@pytest.mark.parametrize("how", ["update", "commit"])
def test_many_small_changes_stay_small(states: lamina.States, how: str) -> None:
    """Patches are merged by their sizes, at most eight over a base: a save costs a few times what it changes."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((4000, 128), dtype=np.float32)
    states.commit("s", {"a": data})
    written = 0
    for number in range(150):
        rows = rng.choice(len(data), 5, replace=False)
        data[rows] = rng.standard_normal((5, 128), dtype=np.float32)
        change = {"a": (rows, data[rows])}
        version = states.update("s", change) if how == "update" else states.commit("s", {"a": data})
        written += version.written or 0
        if number % 10 == 9:
            with states.open("s") as state:
                assert 8 >= max(len(entry.layers) for entry in state["a"].entries)
                np.testing.assert_array_equal(data, state["a"].read())
    assert written / 150 <= 5 * 5 * 128 * 4


def test_a_repaired_branch_stays_on_its_line(store: lamina.Store) -> None:
    """A branch whose newest version is damaged goes back to what that followed, over versions that were removed."""
    states, rng = store.states, np.random.default_rng(0)
    versions = [states.commit("s", {"a": rng.standard_normal((300, 90))}) for _ in range(2)]
    states.branch("s", "side", versions[0])
    packs = {path.name for path in (store.location / ".lamina" / "packs").iterdir()}
    states.commit("s", {"a": rng.standard_normal((300, 90))})
    (pack,) = (path for path in (store.location / ".lamina" / "packs").iterdir() if path.name not in packs)
    states.commit("s", {"a": rng.standard_normal((300, 90))}, branch="side")
    states.delete("s", versions[1])
    store.gc()
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    assert "ref-moved" in [problem.code for problem in store.repair().lost]
    assert versions[0].id == states.open("s").version.id
