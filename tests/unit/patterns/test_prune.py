from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lamina import ConflictError, NotFoundError, Pattern, Patterns, Store
from lamina.patterns import prune as prune_module
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


def test_a_part_of_a_sequence_is_no_duplicate(p: Patterns) -> None:
    """Shorter sequences are not merged into longer ones."""
    p.record(["open", "edit", "test", "commit"], type="T", success=True)
    p.record(["open", "edit", "test"], type="T", success=True)

    assert p.prune(dry_run=True, similarity=0.5).merge == ()
