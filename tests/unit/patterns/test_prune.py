from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina import ConflictError, InvalidInputError, NotFoundError, Pattern, Patterns, Store
from lamina.patterns import likeness
from lamina.patterns import prune as prune_module
from lamina.patterns.identity import pattern_id
from lamina.storage.records import now_micros

NOW = datetime.now(UTC)
LONG = ["open the settings file", "change the value of the timeout", "start the service again"]
ALIKE = ["open the settings file", "change the value of a timeout", "starting the service again"]


def everything(p: Patterns) -> dict[str, tuple[object, ...]]:
    """What is told of all patterns in use."""

    def facts(x: Pattern) -> tuple[object, ...]:
        return (x.type, x.steps, x.uses, x.successes, x.sessions, x.files, x.first_used, x.last_used)

    return {pattern.id: facts(pattern) for pattern in p.query().all()}


def filled(p: Patterns) -> dict[str, str]:
    """Record a good pattern, a bad one, a forgotten one and two that are nearly the same; return their ids."""
    for number in range(12):
        p.record(["bad idea"], type="T", success=False, at=NOW)
        p.record(["good idea"], type="T", success=True, at=NOW, files=["a.py"])
        p.record(["old idea"], type="T", success=True, at=NOW - timedelta(days=100))
        p.record(LONG, type="T", success=True, at=NOW, session=f"s{number}")
    for number in range(3):
        p.record(ALIKE, type="T", success=number > 0, at=NOW, session=f"s{number}", files=["b.py"])
    return {pattern.steps[0] if pattern.steps != tuple(ALIKE) else "alike": pattern.id for pattern in p.query().all()}


def test_a_plan_changes_nothing(p: Patterns) -> None:
    """A dry run says what would go and why, and all stays."""
    ids = filled(p)
    before = everything(p)
    plan = p.prune(dry_run=True)

    assert {entry.id for entry in plan.remove} == {ids["bad idea"], ids["old idea"]}
    assert [(pair.id, pair.into) for pair in plan.merge] == [(ids["alike"], ids["open the settings file"])]
    assert plan.merge[0].similarity > 0.85
    assert everything(p) == before


def test_pruning_can_be_undone(p: Patterns, store: Store) -> None:
    """Removed ones are gone, merged ones count together, and undo brings every figure back."""
    ids = filled(p)
    before = everything(p)
    plan = p.prune()
    merged = p.get(ids["alike"])

    assert set(everything(p)) == {ids["good idea"], ids["open the settings file"]}
    assert (merged.id, merged.uses, merged.sessions, merged.files) == (ids["open the settings file"], 15, 12, ("b.py",))
    assert p.explain(merged.id).merged == (ids["alike"],)
    with pytest.raises(NotFoundError):
        p.get(ids["bad idea"])
    assert store.verify("full").ok
    p.undo(plan.id)
    assert everything(p) == before
    assert store.verify("full").ok
    with pytest.raises(ConflictError):
        p.undo(plan.id)
    with pytest.raises(NotFoundError):
        p.undo("prune-99")


def test_a_use_after_pruning_counts_once_and_survives_undo(p: Patterns) -> None:
    """A merged pattern's new use counts for the other one, and goes back with it; a removed one comes back."""
    ids = filled(p)
    p.prune()
    answered = p.record(ALIKE, type="T", success=True, at=NOW)
    revived = p.record(["bad idea"], type="T", success=True, at=NOW)

    assert (answered.id, answered.uses) == (ids["open the settings file"], 16)
    assert (revived.uses, revived.successes) == (13, 1)
    p.undo()
    assert (p.get(ids["alike"]).uses, p.get(ids["open the settings file"]).uses) == (4, 12)
    assert p.get(ids["bad idea"]).uses == 13


def test_a_merge_of_a_merge_is_undone_in_any_order(p: Patterns, store: Store) -> None:
    """What was merged into a pattern that was merged itself comes apart again, either way round."""
    filled(p)
    before = everything(p)
    first = p.prune(max_upper=0, unused_days=1000, archive_days=None)
    for _ in range(20):
        p.record([LONG[0], LONG[1], "start the service again now"], type="T", success=True, at=NOW)
    second = p.prune(max_upper=0, unused_days=1000, archive_days=None, similarity=0.8)
    assert second.merge
    p.undo(first.id)
    p.undo(second.id)
    now = everything(p)

    assert {id: facts for id, facts in now.items() if id in before} == before
    assert store.verify("full").ok


def test_undo_ends_after_thirty_days(p: Patterns, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the next pruning deletes what was removed for good, and undo says that it is too late."""
    ids = filled(p)
    plan = p.prune()
    later = now_micros() + 31 * 86_400 * 1_000_000
    monkeypatch.setattr(prune_module, "now_micros", lambda: later)
    with pytest.raises(ConflictError, match="30 days"):
        p.undo(plan.id)
    done = p.prune(unused_days=1000)

    assert done.expired == 2
    assert p.query().matching("bad idea").all() == []
    assert p.record(["bad idea"], type="T", success=True).uses == 1
    assert ids["good idea"] in everything(p)
    assert store.verify("full").ok


def test_old_sessions_are_archived_and_come_back(p: Patterns, store: Store) -> None:
    """Pruning packs old sessions of poor quality; undo unpacks them."""
    run = store.sessions.start("old", at=NOW - timedelta(days=60))
    run.turn("user", "hello", at=NOW - timedelta(days=60))
    run.end(quality=0.2, at=NOW - timedelta(days=60))
    events = list(store.sessions.events("old"))
    plan = p.prune()

    assert plan.archive == ("old",)
    assert store.sessions.get("old").archived
    assert list(store.sessions.events("old")) == events
    p.undo()
    assert not store.sessions.get("old").archived
    assert list(store.sessions.events("old")) == events


BASE = "run the tests of the parser module quickly now please again and again"
CHAIN = ([f"{BASE} alpha beta"], [f"{BASE} alpha gamma"], [f"{BASE} delta gamma"])


def chain(p: Patterns) -> tuple[str, str, str, list[str]]:
    """Merge a pattern into another and that one into a third; return their ids, and the runs that did it."""
    runs = []
    for steps, count in zip(CHAIN, (2, 3, 9), strict=True):
        p.record_many([{"steps": steps, "type": "T", "success": True, "at": NOW, "files": ["a.py"]}] * count)
        runs.append(p.prune().id or "")
    first, second, third = (pattern_id("T", steps) for steps in CHAIN)
    assert (p.get(first).id, p.get(first).uses) == (third, 14)
    assert set(p.explain(third).merged) == {first, second}
    return first, second, third, runs[1:]


def test_deleting_the_end_of_a_chain_leaves_the_others(p: Patterns, store: Store) -> None:
    """What was merged into a deleted pattern is its own again, with its uses, and can be recorded as ever."""
    first, second, third, runs = chain(p)
    gone = p.delete(third)

    assert (gone.id, gone.uses) == (third, 9)
    assert {id: facts[2] for id, facts in everything(p).items()} == {second: 5}
    assert store.verify("full").ok
    assert p.record(CHAIN[0], type="T", success=True).uses == 6
    assert p.record_many([{"steps": CHAIN[0], "type": "T", "success": True}] * 5) == 5
    assert p.get(first).uses == 11
    p.undo(runs[1])
    p.undo(runs[0])
    assert {id: facts[2] for id, facts in everything(p).items()} == {first: 8, second: 3}
    assert p.query().with_file("a.py").count() == 2
    assert store.verify("full").ok


@pytest.mark.parametrize(("which", "left"), [(0, {2: 12}), (1, {0: 2, 2: 9}), (2, {1: 5})])
def test_deleting_one_of_a_chain_deletes_no_other(p: Patterns, store: Store, which: int, left: dict[int, int]) -> None:
    """A pattern that was merged takes only its own uses along."""
    ids = chain(p)[:3]
    p.delete(ids[which])

    assert {id: facts[2] for id, facts in everything(p).items()} == {ids[place]: uses for place, uses in left.items()}
    assert store.verify("full").ok


def test_what_was_merged_into_one_that_expires_goes_with_it(
    p: Patterns, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removed pattern that nobody brought back in time does not leave parts of it behind."""
    first, second, third, _ = chain(p)
    p.prune(unused_days=0, min_effectiveness=1)
    later = now_micros() + 31 * 86_400 * 1_000_000
    monkeypatch.setattr(prune_module, "now_micros", lambda: later)

    assert p.prune().expired == 1
    for id in (first, second, third):
        with pytest.raises(NotFoundError):
            p.get(id)
    with store._catalog.read() as reader:
        assert reader.db.execute("SELECT count(*) FROM pattern_use").fetchall() == [(0,)]
    assert p.record(CHAIN[0], type="T", success=True).uses == 1
    assert store.verify("full").ok


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_merges_undo_and_deleting_in_any_order_lose_nothing(store: Store, data: st.DataObject) -> None:
    """Whatever is recorded, merged, undone and deleted in turn, every use is counted once and for its pattern."""
    p = store.patterns
    kind = f"T{now_micros()}"
    names = [[f"run the tests of parser module now {word}"] for word in ("ma", "mb", "mc", "md")]
    wanted: dict[str, int] = {}
    runs: list[str] = []
    for _ in range(data.draw(st.integers(3, 14))):
        what = data.draw(st.sampled_from(["record", "record", "record", "prune", "prune", "undo", "delete"]))
        steps = data.draw(st.sampled_from(names))
        id = pattern_id(kind, steps)
        if what == "record":
            p.record_many([{"steps": steps, "type": kind, "success": True}] * (count := data.draw(st.integers(1, 4))))
            wanted[id] = wanted.get(id, 0) + count
        elif what == "prune":
            plan = p.prune(similarity=0.7, max_upper=0, unused_days=1000, archive_days=None)
            runs += [plan.id] if plan.id else []
        elif what == "undo" and runs:
            p.undo(runs.pop(data.draw(st.integers(0, len(runs) - 1))))
        elif what == "delete" and id in wanted:
            assert p.delete(id).uses == wanted.pop(id)
        assert sum(pattern.uses for pattern in p.query().of_type(kind).all()) == sum(wanted.values())
    for run in reversed(runs):
        p.undo(run)
    assert {pattern.id: pattern.uses for pattern in p.query().of_type(kind).all()} == wanted
    assert store.verify("full").ok


@pytest.mark.parametrize(
    ("one", "other", "similarity"),
    [
        (["now run all tests"], ["now run all the tests"], 0.85),
        (["run the tests of parser module now alpha"], ["run the tests of parser module now zulu"], 0.85),
        ([f"{BASE} once more here today"], [f"{BASE} once more there tomorrow"], 0.85),
        (["open the file", "change a value", "start it"], ["open the file", "change the value", "start it"], 0.85),
        (["open", "edit"], ["open", "search"], 0.4),
        (["Run: tests!"], ["run tests"], 0.99),
    ],
)
def test_near_duplicates_are_found_wherever_they_differ(
    p: Patterns, one: list[str], other: list[str], similarity: float
) -> None:
    """Words that differ may stand anywhere, be more than one or be missing, and any similarity is honoured."""
    p.record_many([{"steps": one, "type": "T", "success": True}] * 2)
    p.record(other, type="T", success=True)
    p.record(other, type="another type", success=True)
    (merge,) = p.prune(dry_run=True, similarity=similarity).merge

    assert (merge.id, merge.into) == (pattern_id("T", other), pattern_id("T", one))
    assert p.prune(dry_run=True, similarity=merge.similarity).merge == ()


WORDS = st.lists(st.sampled_from([f"w{number}" for number in range(7)]), max_size=7).map(tuple)
ALL_WORDS = st.integers(1, 3).flatmap(lambda count: st.lists(st.tuples(*[WORDS] * count), max_size=14))


@given(ALL_WORDS, st.sampled_from([0, 0.2, 0.4, 0.7, 0.85, 0.9, 1]), st.sampled_from([1, 2, 3]))
def test_near_duplicates_equal_those_of_comparing_every_two(
    patterns: list[likeness.Steps], least: float, level: int
) -> None:
    """Looking up by rare words, one, two or three at a time, finds what comparing all finds."""
    wanted = []
    leaders: list[int] = []
    for place, pattern in enumerate(patterns):
        alike = [(likeness.likeness(patterns[leader], pattern), -leader) for leader in leaders]
        value, leader = max(alike, default=(0.0, 0))
        if alike and value > least:
            wanted.append((place, -leader, value))
        else:
            leaders.append(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likeness, "_level", lambda *_: level)
        assert list(likeness.duplicates(patterns, least)) == wanted


def test_the_most_alike_of_those_that_stay_takes_a_pattern_in(p: Patterns) -> None:
    """Not the first that is found, and none that is merged itself."""
    p.record_many([{"steps": [f"{BASE} one two"], "type": "T", "success": True}] * 9)
    p.record_many([{"steps": [f"{BASE} four six eight nine"], "type": "T", "success": True}] * 5)
    p.record([f"{BASE} one two eight nine"], type="T", success=True)
    merges = {merge.id: merge.into for merge in p.prune(dry_run=True).merge}

    assert merges == {
        pattern_id("T", [f"{BASE} one two eight nine"]): pattern_id("T", [f"{BASE} one two"]),
    }


def test_the_id_of_a_pruning_is_a_string(p: Patterns) -> None:
    """A number is refused as our error."""
    with pytest.raises(InvalidInputError):
        p.undo(5)  # type: ignore[arg-type]


def test_a_part_of_a_sequence_is_no_duplicate(p: Patterns) -> None:
    """Shorter sequences are not merged into longer ones."""
    p.record(["open", "edit", "test", "commit"], type="T", success=True)
    p.record(["open", "edit", "test"], type="T", success=True)

    assert p.prune(dry_run=True, similarity=0.5).merge == ()
