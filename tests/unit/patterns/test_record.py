from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina import InvalidInputError, NotFoundError, Patterns, Store
from lamina.search.outcomes import HALF_LIFE_MICROS, centre, effectiveness, rank, wilson

NOW = datetime(2026, 6, 3, 12, tzinfo=UTC)
STEPS = ["open the file", "edit it", "run its tests"]


def test_a_use_makes_the_pattern_and_counts(p: Patterns) -> None:
    """Type and exact steps are the identity; every use moves the counts, files, tools and last use along."""
    one = p.record(STEPS, type="TestingPattern", success=True, files=["a.py"], tools=["Edit"], at=NOW, duration=2.5)
    two = p.record(STEPS, type="TestingPattern", success=False, files=["b.py"], at=NOW - timedelta(days=1))
    other = p.record(STEPS, type="DebuggingStrategy", success=True, at=NOW)

    assert one.id == two.id != other.id
    assert (two.uses, two.successes, two.success_rate) == (2, 1, 0.5)
    assert (two.files, two.tools) == (("a.py", "b.py"), ("Edit",))
    assert (two.first_used, two.last_used) == (NOW - timedelta(days=1), NOW)
    assert p.get(one.id).steps == tuple(STEPS)


def test_an_unknown_session_is_made(p: Patterns, store: Store) -> None:
    """A use may name a session that is not there; sessions are counted once each."""
    for session in ("s1", "s1", "s2"):
        pattern = p.record(STEPS, type="T", success=True, session=session)

    assert pattern.sessions == 2
    assert {session.id for session in store.sessions.list()} == {"s1", "s2"}


@pytest.mark.parametrize(
    "change",
    [
        {"steps": []},
        {"steps": "one string"},
        {"steps": ["two\nlines"]},
        {"steps": [3]},
        {"type": ""},
        {"success": "yes"},
        {"files": "a.py"},
        {"duration": -1},
        {"at": "yesterday"},
        {"session": "two words"},
    ],
)
def test_what_makes_no_sense_is_refused(p: Patterns, change: dict[str, Any]) -> None:
    """A bad value is an error that names it, and nothing is written."""
    with pytest.raises(InvalidInputError):
        p.record(**{"steps": STEPS, "type": "T", "success": True, **change})
    assert p.query().all() == []


def test_many_are_recorded_like_one_by_one(p: Patterns, store: Store) -> None:
    """A batch leaves the same patterns as single records; a bad event says its place, and what was before is kept."""
    events = [
        {
            "steps": [f"step {number % 3}"],
            "type": "T",
            "success": number % 2,
            "files": [f"f{number % 4}"],
            "session": f"s{number % 5}",
            "at": NOW + timedelta(minutes=number),
        }
        for number in range(40)
    ]
    assert p.record_many(events) == 40
    batch = {pattern.steps: (pattern.uses, pattern.successes, pattern.sessions) for pattern in p.query().all()}
    for event in events:
        p.record(**{**event, "type": "U", "success": bool(event["success"])})  # type: ignore[arg-type]
    single = {x.steps: (x.uses, x.successes, x.sessions) for x in p.query().of_type("U").all()}

    assert batch == single
    with pytest.raises(InvalidInputError, match="Event 1") as caught:
        p.record_many([events[0], {"steps": ["x"]}])
    assert caught.value.details["recorded"] == 1
    assert store.verify("full").ok


@pytest.mark.parametrize("wrong", [None, 5, "abc", {"steps": ["a"], "type": "T", "success": True}])
def test_many_uses_are_a_list(p: Patterns, wrong: Any) -> None:
    """What is no list of events is refused as our error, and nothing is written."""
    with pytest.raises(InvalidInputError, match="events"):
        p.record_many(wrong)
    assert p.query().all() == []


def test_secrets_do_not_reach_a_pattern(p: Patterns) -> None:
    """Steps, files and descriptions are masked."""
    key = "sk-" + "a1B2c3D4e5F6g7H8i9J0"
    pattern = p.record([f"call with {key}"], type="T", success=True, files=[f"/x/{key}"], description=f"uses {key}")

    assert key not in str(pattern)


def test_a_deleted_pattern_is_gone(p: Patterns, store: Store) -> None:
    """Deleting removes the pattern with its uses from everywhere."""
    pattern = p.record(STEPS, type="T", success=True, files=["a.py"], session="s1")
    p.delete(pattern.id)

    with pytest.raises(NotFoundError):
        p.get(pattern.id)
    assert p.query().with_file("a.py").all() == p.query().matching("tests").all() == []
    assert store.verify("full").ok


def test_the_interval_is_wilsons() -> None:
    """The interval agrees with worked values of the formula."""
    low, high = wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 5)[0] == 0.0
    assert wilson(5, 5)[1] == 1.0
    assert 2 * centre(3, 4) - 1 == pytest.approx((3 - 1) / (4 + 1.959963984540054**2))


@given(st.integers(1, 10_000), st.data())
def test_intervals_hold_the_rate(uses: int, data: st.DataObject) -> None:
    """The rate lies in its interval, which lies in 0 to 1 and gets narrower with more of the same."""
    good = data.draw(st.integers(0, uses))
    low, high = wilson(good, uses)
    wider = wilson(good * 4, uses * 4)
    assert 0 <= low <= good / uses <= high <= 1
    assert wider[1] - wider[0] <= high - low + 1e-12


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 10**16)), min_size=2, max_size=8),
    st.integers(10**16, 2 * 10**16),
)
def test_the_order_of_effectiveness_does_not_depend_on_now(entries: list[tuple[int, int, int]], now: int) -> None:
    """Sorting by the stored rank is sorting by effectiveness, whenever it is asked."""
    made = [(good, good + bad or 1, last) for good, bad, last in entries]
    ranked = sorted(made, key=lambda entry: rank(*entry), reverse=True)
    values = [effectiveness(*entry, now) for entry in ranked]
    assert all(a >= b or math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-300) for a, b in pairwise(values))


def test_effectiveness_halves_in_thirty_days() -> None:
    """A month of disuse halves it; a last use ahead of now counts as now."""
    fresh = effectiveness(9, 10, 10**15, 10**15)
    assert effectiveness(9, 10, 10**15, 10**15 + HALF_LIFE_MICROS) == pytest.approx(fresh / 2)
    assert effectiveness(9, 10, 2 * 10**15, 10**15) == fresh
