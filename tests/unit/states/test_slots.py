from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamina
from lamina.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from lamina.states.where import matching

COLUMNS = {
    "surprise": np.array([0.1, 0.9, np.nan, np.inf, -1.0]),
    "access_count": np.array([0, 3, 2**53 + 1, 5, 3]),
}


@pytest.fixture
def slots(states: lamina.States) -> lamina.Slots:
    """A table of two tensors, three slots of which are written."""
    table = states.slots("titan")
    table.create({"short_term": np.zeros((8, 4), "f4"), "long_term": np.zeros((16, 4), "f4")})
    table.put(
        "short_term", [1, 2, 3], np.arange(12.0, dtype="f4").reshape(3, 4), surprise=[0.9, 0.1, 0.5],
        access_count=[1, 5, 2], timestamp=1_700_000_000_000_000,
    )  # fmt: skip
    return table


def test_slots_are_by_tensor_and_number(slots: lamina.Slots, states: lamina.States) -> None:
    """A slot has its row and its columns, microseconds keep every digit, and another tensor's slots are others."""
    assert ["short_term", "long_term"] == slots.tensors()
    slot = slots.get("short_term", 2)
    assert ([4, 5, 6, 7], 1_700_000_000_000_000, 5, 0.1) == (
        slot.value.tolist(), slot.timestamp, slot.access_count, slot.surprise
    )  # fmt: skip
    assert 0 == slots.get("long_term", 2).timestamp
    assert 7 == slots.get("short_term", -1).number
    before = states.log("titan")[0]
    assert slots.put("short_term", 2, surprise=0.7).parent == before.id
    assert (5, 0.7) == (slots.get("short_term", 2).access_count, slots.get("short_term", 2).surprise)
    slots.count("short_term", [2, 2, 3])
    assert [0, 1, 7, 3, 0, 0, 0, 0] == slots.columns("short_term")["access_count"].tolist()
    for tensor, number in (("meta", 0), ("short_term", 8)):
        with pytest.raises((NotFoundError, InvalidInputError)):
            slots.get(tensor, number)
    states.commit("plain", {"a": np.zeros(3)})
    with pytest.raises(NotFoundError, match="declares no slots"):
        states.slots("plain").tensors()


def test_the_top_leaves_empty_slots_out(slots: lamina.Slots) -> None:
    """Slots that were never written, or cleared since, are not among the most or the least of anything."""
    assert [2, 3, 1] == slots.top("short_term", "access_count", 5)
    assert [1, 3, 2] == slots.top("short_term", "access_count", 5, largest=False)
    assert [] == slots.top("long_term", "timestamp", 5, largest=False)
    slots.prune("short_term", 1)
    assert 1 == len(slots.top("short_term", "surprise"))


def test_questions(slots: lamina.Slots) -> None:
    """Conditions and the largest or smallest of a column find slots by their numbers."""
    assert [1, 3] == slots.where("short_term", "surprise > 0.2")
    assert [2] == slots.where("short_term", "not (surprise >= 0.5 or timestamp == 0)")
    assert [1, 3] == slots.top("short_term", "surprise", 2)
    assert [2, 3, 1] == slots.top("short_term", "access_count", 3)
    assert [1] == slots.top("short_term", "access_count", 1, largest=False)
    assert [0, 4, 5, 6, 7] == slots.free("short_term")


def test_moving_between_tensors(slots: lamina.Slots) -> None:
    """Promotion takes a slot with all its columns and clears where it was; within a tensor the target wins."""
    slots.move("short_term", [1, 3], "long_term", [10, 0])
    moved = slots.get("long_term", 10)
    assert ([0, 1, 2, 3], 1, 0.9) == (moved.value.tolist(), moved.access_count, moved.surprise)
    assert [8, 9, 10, 11] == slots.get("long_term", 0).value.tolist()
    assert [0, 1, 3, 4, 5, 6, 7] == slots.free("short_term")
    slots.move("long_term", [10, 0], "long_term", [0, 5])
    assert [0, 1, 2, 3] == slots.get("long_term", 0).value.tolist()
    assert [8, 9, 10, 11] == slots.get("long_term", 5).value.tolist()
    with pytest.raises(InvalidInputError):
        slots.move("short_term", [1, 2], "long_term", [1])


def test_pruning_keeps_the_worthy(slots: lamina.Slots) -> None:
    """New, used and surprising slots stay; a dry run changes nothing; an empty slot is never pruned."""
    now = 1_700_000_000_000_000
    scores = slots.scores("short_term", now=now)
    assert np.isneginf(scores[[0, 4, 5, 6, 7]]).all()
    assert scores[1] == pytest.approx(np.log(2) + 0.9 + 1)
    assert scores[1] > slots.scores("short_term", now=now + 7 * 86_400_000_000)[1]
    plan = slots.prune("short_term", 2, now=now, dry_run=True)
    assert ((1,), None) == (plan.numbers, plan.version)
    assert 0.9 == slots.get("short_term", 1).surprise
    done = slots.prune("short_term", 2, now=now)
    assert done.numbers == plan.numbers
    assert done.version is not None
    assert [0, 1, 4, 5, 6, 7] == slots.free("short_term")
    assert [0, 0, 0, 0] == slots.get("short_term", 1).value.tolist()


def test_a_slot_is_one_however_it_is_counted(slots: lamina.Slots) -> None:
    """A negative number and a whole one of the same slot are the same slot: nothing is lost, doubled or missed."""
    before = [slots.get("short_term", number).value.tolist() for number in (1, 2)]
    with pytest.raises(InvalidInputError, match="one place of its own"):
        slots.move("short_term", [1, 2], "long_term", [15, -1])
    with pytest.raises(InvalidInputError, match="one place of its own"):
        slots.move("short_term", [-7, 1], "long_term", [0, 1])
    assert before == [slots.get("short_term", number).value.tolist() for number in (1, 2)]
    slots.count("short_term", [-1, 7])
    assert 2 == slots.get("short_term", 7).access_count
    slots.move("short_term", [-6], "long_term", [-1])
    assert before[1] == slots.get("long_term", 15).value.tolist()
    assert 2 in slots.free("short_term")


def test_a_move_loses_nothing_unasked(slots: lamina.Slots) -> None:
    """A slot that is not empty is taken only where that was asked for."""
    slots.move("short_term", [1], "long_term", [4])
    with pytest.raises(AlreadyExistsError, match="Slot 4"):
        slots.move("short_term", [2], "long_term", [4])
    assert [0, 1, 2, 3] == slots.get("long_term", 4).value.tolist()
    slots.move("short_term", [2], "long_term", [4], replace=True)
    assert [4, 5, 6, 7] == slots.get("long_term", 4).value.tolist()


@pytest.mark.parametrize(
    "act",
    [
        lambda slots: slots.put("short_term", [1.7], np.ones((1, 4))),
        lambda slots: slots.put("short_term", "ab", np.ones((2, 4))),
        lambda slots: slots.put("short_term", [True, False], np.ones((2, 4))),
        lambda slots: slots.put("short_term", [3, 4], np.ones((1, 4))),
        lambda slots: slots.put("short_term", [3, 4], np.ones((2, 3))),
        lambda slots: slots.put("short_term", [3, 4], surprise=[1]),
        lambda slots: slots.put("short_term", [3, 4], surprise=[[1, 2]]),
        lambda slots: slots.put("short_term", 3, surprise=float("nan")),
        lambda slots: slots.put("short_term", 3, surprise="high"),
        lambda slots: slots.put("short_term", 3, timestamp=1.9),
        lambda slots: slots.put("short_term", 3, timestamp=2**70),
        lambda slots: slots.put("short_term", 3, timestamp=np.uint64(2**63)),
        lambda slots: slots.put("short_term", 3, access_count=float("inf")),
        lambda slots: slots.put("short_term", 3, access_count=True),
        lambda slots: slots.count("short_term", [0.5]),
        lambda slots: slots.count("short_term", None),
        lambda slots: slots.get("short_term", [1, 2]),
        lambda slots: slots.get("short_term", 1.0),
        lambda slots: slots.top("short_term", "surprise", 1.5),
        lambda slots: slots.top("short_term", ["surprise"]),
        lambda slots: slots.prune("short_term", 1, now="yesterday"),
        lambda slots: slots.prune("short_term", 1.5),
        lambda slots: slots.move("short_term", [1.5], "long_term", [0]),
    ],
)
def test_nothing_is_cut_to_fit(slots: lamina.Slots, states: lamina.States, act: Callable[[Any], Any]) -> None:
    """What is no slot, or does not fit the slots, is refused as ours and writes nothing."""
    before = len(states.log("titan"))
    with pytest.raises(InvalidInputError):
        act(slots)
    assert before == len(states.log("titan"))


def test_what_numbers_and_moments_may_be(slots: lamina.Slots) -> None:
    """Numbers of numpy, a slice, a bool for each slot, and moments as datetimes are what they say."""
    slots.put("short_term", np.array([5], "u1"), np.ones(4), timestamp=datetime(2026, 1, 1, tzinfo=UTC))
    assert 1_767_225_600_000_000 == slots.get("short_term", np.int64(5)).timestamp
    slots.put("short_term", slice(6, 8), surprise=[0.25, float("inf")])
    assert [0.25, float("inf")] == slots.columns("short_term")["surprise"][6:].tolist()
    slots.count("short_term", [number == 4 for number in range(8)])
    slots.count("short_term", 4)
    assert 2 == slots.get("short_term", 4).access_count
    slots.put("short_term", [0, 4], timestamp=[datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 7])
    assert [1_000_000, 7] == slots.columns("short_term")["timestamp"][[0, 4]].tolist()
    plan = slots.prune("short_term", np.int64(2), now=datetime(2026, 1, 1, tzinfo=UTC), dry_run=True)
    assert 4 == len(plan.numbers)


def test_a_table_is_made_once(states: lamina.States) -> None:
    """Making a table that is there loses nothing; a program that may be the first says so, and gets its own table."""
    table, tensors = states.slots("memory"), {"a": np.zeros((4, 2)), "b": np.zeros((2, 2))}
    table.create(tensors)
    table.put("a", 1, [5, 6])
    with pytest.raises(AlreadyExistsError, match="there already"):
        table.create({"a": np.zeros((4, 2))})
    assert states.log("memory")[0].id == table.create(tensors, exist_ok=True).id
    assert [5, 6] == table.get("a", 1).value.tolist()
    with pytest.raises(AlreadyExistsError, match="other tensors"):
        table.create({"a": np.zeros((5, 2)), "b": np.zeros((2, 2))}, exist_ok=True)
    with pytest.raises(InvalidInputError, match="typo"):
        states.slots("new").create(tensors, columns={"typo": {"surprise": np.zeros(4)}})
    with pytest.raises(InvalidInputError):
        states.slots("new").create(tensors, columns={"a": {"surprise": [0.0, float("nan"), 0, 0]}})


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("surprise > 0.5", [1, 3]),
        ("surprise >= 0.9 and access_count = 3", [1]),
        ("not surprise > 0.5", [0, 2, 4]),
        ("surprise != surprise", None),
        ("surprise == nan", []),
        ("surprise == inf or surprise < -.5e0", [3, 4]),
        ("access_count == 9007199254740993", [2]),
        ("ACCESS_COUNT > 1", None),
        ("(surprise < 1", None),
        ("surprise < 1)", None),
        ("surprise <", None),
        ("surprise ** 2", None),
        ("__import__('os')", None),
        ("", None),
        ("surprise > ٣", None),
        ("surprise > 0.5 AND NOT (access_count <= 3)", [3]),
    ],
)
def test_conditions_are_parsed(condition: str, wanted: list[int] | None) -> None:
    """A condition means what it says, and what cannot be read is refused with the position; nothing is evaluated."""
    if wanted is None:
        with pytest.raises(InvalidInputError, match="character") as caught:
            matching(condition, COLUMNS)
        assert isinstance(caught.value.details["position"], int)
    else:
        assert wanted == np.flatnonzero(matching(condition, COLUMNS)).tolist()


@given(
    bound=st.floats(allow_nan=False, allow_infinity=False, width=32),
    name=st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    negate=st.booleans(),
)
def test_comparisons_are_numpys(bound: float, name: str, negate: bool) -> None:
    """Each comparison with any number is the one of IEEE 754."""
    compare: Any = {
        "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne
    }[name]  # fmt: skip
    expected = compare(COLUMNS["surprise"], bound)
    text = f"{'not ' if negate else ''}surprise {name} {bound!r}"
    assert (~expected if negate else expected).tolist() == matching(text, COLUMNS).tolist()
