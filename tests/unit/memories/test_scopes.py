"""A handle that is narrowed to some scopes sees, writes and deletes nothing in any other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina import InvalidInputError, Memories, Memory, NotFoundError, ReadOnlyError, Store
from lamina.embed import StaticEmbedder

SECRET = "The pelican sleeps in the harbour every single night of the year, next to the old red boat."


@pytest.fixture
def wide(folder: Path, static: StaticEmbedder) -> Iterator[Store]:
    """A handle that sees everything."""
    with lamina.open(folder, embedder=static) as store:
        yield store


@pytest.fixture
def narrow(wide: Store, folder: Path, static: StaticEmbedder) -> Iterator[Store]:
    """A handle for Alice's scope alone."""
    with lamina.open(folder, embedder=static, scopes=["user/alice"]) as store:
        yield store


@pytest.fixture
def secret(wide: Store) -> Memory:
    """What Alice must not see."""
    return wide.memories.add(SECRET, scope="private", tags=["bird"], thread="t", position=1, metadata={"k": 1})


def test_reading_sees_nothing_foreign(narrow: Store, secret: Memory) -> None:
    """Get, list, count, history, similar, recall and stats know only the handle's scopes, whatever is asked."""
    m = narrow.memories
    mine = m.add(SECRET, scope="user/alice", thread="t", position=2)
    assert () == mine.similar == m.similar(mine.id)
    assert [mine.id] == [memory.id for memory in m.list(limit=None)]
    assert 1 == m.count()
    assert 0 == m.count(scope="private") == m.count(tags=["bird"]) == m.count(where={"k": 1})
    assert [] == m.list(scope=["private", "team"])
    for call in (m.get, m.history, m.similar, lambda id: m.list(after=id)):
        with pytest.raises(NotFoundError):
            call(secret.id)
    moment = datetime.now(UTC)
    for mode in ("hybrid", "text", "vector"):
        for filters in ({}, {"as_of": moment}, {"tags": ["bird"]}, {"scope": ["user/alice", "private"]}):
            hits = m.recall("pelican harbour boat", mode=mode, token_budget=5000, **filters)
            assert secret.id not in {hit.memory.id for hit in hits} | {id for id, _ in hits.left_out}
    stats = narrow.stats()
    assert {"user/alice": 1} == stats["by_scope"]
    assert 1 == stats["memories"]


def test_writing_touches_nothing_foreign(narrow: Store, wide: Store, secret: Memory) -> None:
    """Add, update, delete, purge, supersede and feedback are refused, and the foreign memory is as it was."""
    m = narrow.memories
    mine = m.add("My own.", scope="user/alice")
    for refused in (
        lambda: m.add("x", scope="private"),
        lambda: m.add("the default scope is another one"),
        lambda: m.add_many([{"text": "x", "scope": "team"}]),
        lambda: m.update(mine.id, scope="private"),
    ):
        with pytest.raises(ReadOnlyError) as caught:
            refused()
        assert "user/alice" in caught.value.hint
    for missing in (
        lambda: m.update(secret.id, title="mine now"),
        lambda: m.update(secret.id, scope="user/alice"),
        lambda: m.delete(secret.id),
        lambda: m.delete(secret.id, purge=True),
        lambda: m.supersede(secret.id, mine.id),
        lambda: m.supersede(mine.id, secret.id),
        lambda: m.feedback(secret.id, "hurt"),
    ):
        with pytest.raises(NotFoundError) as not_there:
            missing()
        assert "scope" not in not_there.value.message, "that it exists elsewhere is not told"
    assert secret == wide.memories.get(secret.id)
    assert 1 == len(wide.memories.history(secret.id))
    assert 2 == wide.memories.count()


def test_explaining_tells_nothing_foreign(narrow: Store, secret: Memory) -> None:
    """A foreign id and an unknown one get the same answer, without score, rank or explanation."""
    narrow.memories.add("Something about a pelican.", scope="user/alice")
    for options in ({}, {"as_of": datetime.now(UTC)}, {"scope": "private"}):
        foreign = narrow.memories.explain_missing("pelican", secret.id, **options)
        unknown = narrow.memories.explain_missing("pelican", "0000000000000000zz", **options)
        assert foreign.reasons == unknown.reasons
        assert (None, None, None) == (foreign.rank, foreign.score, foreign.explanation)
        assert "pelican" not in foreign.reasons[0]


def test_what_moved_away_is_seen_only_until_then(narrow: Store, wide: Store) -> None:
    """A memory that left for another scope is history here; what was written there stays there."""
    memory = narrow.memories.add("The heron was mine.", scope="user/alice")
    time.sleep(0.002)
    moment = datetime.now(UTC)
    time.sleep(0.002)
    wide.memories.update(memory.id, scope="private", text="The heron is not yours.")
    with pytest.raises(NotFoundError):
        narrow.memories.get(memory.id)
    assert not narrow.memories.recall("heron")
    assert ["The heron was mine."] == [hit.memory.text for hit in narrow.memories.recall("heron", as_of=moment)]
    assert "not yours" not in str(narrow.memories.history(memory.id))
    (reason,) = narrow.memories.explain_missing("heron", memory.id).reasons
    assert "moved" in reason


def test_several_scopes_and_one_name(folder: Path, wide: Store, static: StaticEmbedder) -> None:
    """A handle may be narrowed to several scopes; one name alone stands for itself, not for its letters."""
    for scope in ("private", "team", "p", "user/alice"):
        wide.memories.add(f"in {scope}", scope=scope)
    with lamina.open(folder, embedder=static, scopes=["team", "user/alice", "team"]) as store:
        assert {"team", "user/alice"} == {memory.scope for memory in store.memories.list()}
    with lamina.open(folder, embedder=static, scopes="private") as store:
        assert ["in private"] == [memory.text for memory in store.memories.list()]
    with lamina.open(folder, embedder=static, scopes=[]) as store:
        assert [] == store.memories.list()
        with pytest.raises(ReadOnlyError):
            store.memories.add("x")


@pytest.mark.parametrize("scopes", [5, ["no good"], [None], "", b"private"])
def test_scopes_that_are_none_are_refused_before_anything_is_made(tmp_path: Path, scopes: Any) -> None:
    """A slip in ``scopes`` is an error, and leaves no store behind."""
    with pytest.raises(InvalidInputError) as caught:
        lamina.open(tmp_path / "new", scopes=scopes)
    assert caught.value.hint
    assert not (tmp_path / "new").exists()


def test_foreign_neighbours_lend_nothing(wide: Store, narrow: Store) -> None:
    """A foreign turn beside one's own gives it no evidence and no rank."""
    m: Memories = wide.memories
    m.add("the pelican question", scope="private", thread="t", position=0)
    own = m.add("yes, of course", scope="user/alice", thread="t", position=1)
    m.add("another matter entirely", scope="user/alice", thread="u", position=0)
    hits = narrow.memories.recall("pelican question", explain=True)
    signals = [hit.explanation.signals for hit in hits if hit.memory.id == own.id and hit.explanation]
    assert all(found["text"] == found["neighbours"] == 0 for found in signals)
