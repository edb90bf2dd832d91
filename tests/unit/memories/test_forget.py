from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

import lamina
from lamina import ConflictError, InvalidInputError, Memories, NotFoundError
from lamina.embed import StaticEmbedder

# --- delete ----------------------------------------------------------------------------------------------------------


def test_a_deleted_memory_is_out_of_sight_and_in_history(m: Memories) -> None:
    """Deleting hides a memory from every question at once; the report says that history keeps it."""
    memory = m.add("The cellar floods in spring.")
    moment = datetime.now(UTC)
    report = m.delete(memory.id)
    assert (memory.id, False) == (report.id, report.purged)
    assert {"row": 1, "text": 1, "vector": 1} == dict(report.removed)
    assert "history" in report.kept[0]
    assert [] == m.list()
    assert 0 == m.count()
    for mode in ("hybrid", "text", "vector"):
        assert not m.recall("cellar spring", mode=mode)
    with pytest.raises(NotFoundError):
        m.get(memory.id)
    with pytest.raises(NotFoundError):
        m.delete(memory.id)
    assert ["add", "delete"] == [change.action for change in m.history(memory.id)]
    assert m.recall("cellar", as_of=moment)


def test_purge_scrubs_every_place(folder: Path, static: StaticEmbedder) -> None:
    """After a purge no file of the store holds a word of any of its texts, tags or titles, past ones included."""
    with lamina.open(folder, embedder=static) as store:
        m = store.memories
        kept = m.add("The pelican stays where it is.", tags=["bird"])
        memory = m.add("Qwertzuiop lives at zyxwvutsr.", title="Asdfghjkla", tags=["mnbvcxyxc"], source="plokijuhyg")
        m.update(memory.id, text="Now wsxedcrfvt lives there.", metadata={"key": "tgbyhnujmi"})
        moment = datetime.now(UTC)
        report = m.delete(memory.id, purge=True)
        assert report.purged
        assert {"row": 1, "history": 1, "text": 2, "vector": 2} == {
            name: count for name, count in report.removed.items() if name != "cache"
        }
        assert any("backups" in place for place in report.kept)
        with pytest.raises(NotFoundError):
            m.history(memory.id)
        with pytest.raises(NotFoundError):
            m.delete(memory.id, purge=True)
        assert not [hit for hit in m.recall("qwertzuiop wsxedcrfvt", as_of=moment) if hit.memory.id == memory.id]
        assert kept == m.get(kept.id)
        assert [kept.id] == [hit.memory.id for hit in m.recall("pelican", tags=["bird"])]
        assert store.verify("full").ok
    words = ["qwertzuiop", "zyxwvutsr", "asdfghjkla", "mnbvcxyxc", "plokijuhyg", "wsxedcrfvt", "tgbyhnujmi"]
    for file in (path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes().lower()
        assert [] == [word for word in words if word.encode() in content], file


def test_a_deleted_memory_can_be_purged_later(m: Memories) -> None:
    """Purging reaches what an earlier delete left in history."""
    memory = m.add("A secret.")
    m.delete(memory.id)
    report = m.delete(memory.id, purge=True)
    assert (0, 1) == (report.removed["row"], report.removed["history"])
    with pytest.raises(NotFoundError):
        m.history(memory.id)


def test_a_purged_name_can_come_back(m: Memories) -> None:
    """A tag and a thread that went with a purge are as good as new when they are used again."""
    memory = m.add("first", tags=["rare"], thread="t", source="s")
    m.delete(memory.id, purge=True)
    again = m.add("second", tags=["rare"], thread="t", source="s")
    held = m.get(again.id)
    assert (("rare",), "t", "s") == (held.tags, held.thread, held.source)
    assert [again.id] == [found.id for found in m.list(tags=["rare"])]


# --- supersede -------------------------------------------------------------------------------------------------------


def test_a_superseded_memory_points_to_the_newer_one(m: Memories) -> None:
    """The old one is no longer recalled, stays readable and says what replaced it; the new one is unchanged."""
    old, new = m.add("The standup is at nine."), m.add("The standup is at ten.")
    assert new.id == m.supersede(old.id, new.id).superseded_by
    assert [new.id] == [hit.memory.id for hit in m.recall("standup")]
    assert new.id == m.get(old.id).superseded_by
    assert 2 == m.count()
    assert m.get(new.id).superseded_by is None
    assert m.get(old.id) == m.supersede(old.id, new.id), "saying it twice changes nothing"
    assert 2 == len(m.history(old.id))


def test_supersede_makes_chains_and_no_loops(m: Memories) -> None:
    """A chain ends with the newest; itself, a loop of any length and a second successor are refused."""
    a, b, c, d = (m.add(f"version {letter}").id for letter in "abcd")
    m.supersede(a, b)
    m.supersede(b, c)
    with pytest.raises(InvalidInputError):
        m.supersede(a, a)
    for old, new in ((b, a), (c, a), (c, b)):
        with pytest.raises(ConflictError) as caught:
            m.supersede(old, new)
        assert caught.value.hint
    with pytest.raises(ConflictError, match=b):
        m.supersede(a, d)
    assert {c, d} == {hit.memory.id for hit in m.recall("version", mode="text")}


def test_many_superseded_ones_do_not_hide_the_live_one(m: Memories) -> None:
    """However many outdated memories match better, the valid one is an answer."""
    past = datetime(2001, 1, 1, tzinfo=UTC)
    m.add_many({"text": "deploy failed", "valid_until": past} for _ in range(400))
    live = m.add("On a long and windy day we saw that the deploy of the weather service had failed for good.")
    for mode in ("hybrid", "text", "vector"):
        assert [live.id] == [hit.memory.id for hit in m.recall("deploy failed", mode=mode)]


# --- feedback --------------------------------------------------------------------------------------------------------


def test_feedback_counts(m: Memories) -> None:
    """Each outcome counts as a use, helped and hurt on their own too; nothing of it becomes history."""
    id = m.add("A hint.").id
    for outcome in ("helped", "helped", "hurt", "used"):
        m.feedback(id, outcome)
    memory = m.get(id)
    assert (4, 2, 1) == (memory.uses, memory.helped, memory.hurt)
    assert 1 == len(m.history(id))
    assert (4, 2, 1) == (memory.uses, memory.helped, m.update(id, title="T").hurt)
    assert 4 == m.get(id).uses


def test_feedback_orders_equals(m: Memories) -> None:
    """Of two memories that answer alike, the one that helped comes first, the one that hurt last."""
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    ids = [m.add("Restart the gateway to clear the queue.", created_at=moment).id for _ in range(3)]
    m.feedback(ids[0], "hurt")
    m.feedback(ids[2], "helped")
    hits = m.recall("clear the queue", explain=True)
    assert [ids[2], ids[1], ids[0]] == [hit.memory.id for hit in hits]
    assert "helped" in hits[0].why
    assert hits[0].explanation
    assert hits[0].explanation.signals["feedback"] > 0


@pytest.mark.parametrize("outcome", ["", "good", None, 1, ["helped"]])
def test_an_unknown_outcome_is_refused(m: Memories, outcome: object) -> None:
    """Only the three outcomes are understood."""
    memory = m.add("A hint.")
    with pytest.raises(InvalidInputError):
        m.feedback(memory.id, outcome)  # type: ignore[arg-type]
    assert 0 == m.get(memory.id).uses


# --- uses ------------------------------------------------------------------------------------------------------------


def test_uses_are_written_with_the_next_write(m: Memories) -> None:
    """Being recalled is counted in memory and reaches the catalog with the next write of any kind."""
    memory = m.add("The pelican sleeps.")
    m.recall("pelican")
    m.recall("pelican")
    assert 0 == m.get(memory.id).uses
    m.add("something else")
    assert 2 == m.get(memory.id).uses


def test_uses_go_on_with_an_update(m: Memories) -> None:
    """Counts that were gathered before an update are not lost with the revision that it ends."""
    memory = m.add("The pelican sleeps.")
    m.recall("pelican")
    assert 1 == m.update(memory.id, text="The pelican wakes.").uses
    m.recall("pelican")
    other = m.add("The heron sleeps.")
    assert 2 == m.supersede(memory.id, other.id).uses


def test_uses_are_written_at_close(folder: Path, static: StaticEmbedder) -> None:
    """A handle that only read leaves its counts when it is closed."""
    with lamina.open(folder, embedder=static) as store:
        id = store.memories.add("The pelican sleeps.").id
    with lamina.open(folder, embedder=static) as store:
        store.memories.recall("pelican")
    with lamina.open(folder, embedder=static) as store:
        assert 1 == store.memories.get(id).uses


def test_uses_that_could_not_be_written_are_kept(folder: Path, static: StaticEmbedder) -> None:
    """Where the write that carried the counts is undone, the next one carries them."""
    with lamina.open(folder, embedder=static) as store:
        m = store.memories
        memory = m.add("The pelican sleeps.")
        m.recall("pelican")
        with pytest.raises(NotFoundError):
            m.update("0000000000000000zz", title="nobody")
        m.add("something else")
        assert 1 == m.get(memory.id).uses
