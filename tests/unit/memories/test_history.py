from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lamina import InvalidInputError, Memories, Memory, NotFoundError, Store
from lamina.embed import StaticEmbedder


def now() -> datetime:
    """Return a moment that no write before or after it shares."""
    time.sleep(0.002)
    moment = datetime.now(UTC)
    time.sleep(0.002)
    return moment


CHANGES: dict[str, Any] = {
    "text": "another text",
    "title": "A title",
    "description": "What it is about",
    "type": "project",
    "scope": "team",
    "tags": ("b", "a"),
    "importance": 0.9,
    "source": "https://example.org",
    "thread": "t1",
    "position": 7,
    "valid_until": datetime(2040, 1, 1, tzinfo=UTC),
    "metadata": {"k": [1, {"z": None}]},
}


@pytest.mark.parametrize("field", CHANGES)
def test_update_changes_one_field_and_no_other(m: Memories, field: str) -> None:
    """An update sets what it names, keeps the rest, and becomes one entry of history."""
    before = m.add("the first text", tags=["x"], metadata={"old": 1})
    after = m.update(before.id, **{field: CHANGES[field]})
    extra = ("path",) if field == "type" else ()  # a curated memory is a file
    assert after == m.get(before.id)
    for name in Memory.__dataclass_fields__:
        if name == field:
            assert CHANGES[field] == getattr(after, name)
        elif name not in ("updated_at", *extra):
            assert getattr(before, name) == getattr(after, name), name
    assert after.updated_at > before.updated_at
    added, updated = m.history(before.id)
    assert ("add", None, before) == (added.action, added.before, added.after)
    assert ("update", (field, *extra), before, after) == (updated.action, updated.fields, updated.before, updated.after)
    assert after.updated_at == updated.at


@pytest.mark.parametrize("field", ["title", "description", "source", "thread", "position", "valid_until"])
def test_update_can_take_a_field_away(m: Memories, field: str) -> None:
    """None clears what may be missing."""
    memory = m.add("a text", **{field: CHANGES[field]})
    assert getattr(m.update(memory.id, **{field: None}), field) is None


@pytest.mark.parametrize("field", ["text", "type", "scope", "tags", "importance"])
def test_update_keeps_what_must_be_there(m: Memories, field: str) -> None:
    """None is refused for what every memory has."""
    memory = m.add("a text")
    with pytest.raises(InvalidInputError) as caught:
        m.update(memory.id, **{field: None})
    assert caught.value.hint
    assert 1 == len(m.history(memory.id))


@pytest.mark.parametrize("changes", [{}, {"id": "x"}, {"created_at": datetime.now(UTC)}, {"colour": 1}, {"uses": 3}])
def test_update_refuses_what_is_no_field(m: Memories, changes: dict[str, Any]) -> None:
    """Nothing to change, and a field that cannot be set, are errors that name the fields."""
    memory = m.add("a text")
    if "id" in changes:
        with pytest.raises(TypeError):
            m.update(memory.id, **changes)
        return
    with pytest.raises(InvalidInputError, match="Fields are"):
        m.update(memory.id, **changes)


def test_an_update_to_the_same_makes_no_history(m: Memories) -> None:
    """Setting what is there already changes nothing."""
    memory = m.add("a text", title="T", tags=["a"])
    assert memory == m.update(memory.id, title="T", tags=["a"], text="a text")
    assert 1 == len(m.history(memory.id))


def test_a_new_text_is_found_and_the_old_one_is_not(m: Memories) -> None:
    """Recall follows an update at once, by words and by meaning."""
    m.add_many(f"filler about something else, number {number}" for number in range(60))
    memory = m.add("The meeting is in the blue room.")
    assert not m.recall("greenhouse", mode="text")
    m.update(memory.id, text="The meeting is in the greenhouse.")
    for mode in ("hybrid", "text", "vector"):
        assert memory.id == m.recall("greenhouse", mode=mode)[0].memory.id
    assert memory.id not in [hit.memory.id for hit in m.recall("blue room", mode="text")]


def test_a_new_title_is_found(m: Memories) -> None:
    """Title and description are found as they are now, with no vector made anew."""
    memory = m.add("Nothing special in here.", title="Walrus")
    m.update(memory.id, title="Penguin", description="about an iceberg")
    for word in ("penguin", "iceberg"):
        assert [memory.id] == [hit.memory.id for hit in m.recall(word, mode="text")]
    assert not m.recall("walrus", mode="text")


def test_history_survives_deletion_and_tells_everything(m: Memories) -> None:
    """Each change is one entry with its fields and both states, oldest first, also after a deletion."""
    memory = m.add("one", title="T")
    other = m.add("the newer one")
    m.update(memory.id, text="two", tags=["x"])
    m.supersede(memory.id, other.id)
    m.delete(memory.id)
    changes = m.history(memory.id)
    assert ["add", "update", "supersede", "delete"] == [change.action for change in changes]
    assert [("text", "title"), {"text", "tags"}, ("superseded_by",), ()] == [
        tuple(name for name in changes[0].fields if name in ("text", "title")),
        set(changes[1].fields),
        changes[2].fields,
        changes[3].fields,
    ]
    assert [None, "one", "two", "two"] == [change.before.text if change.before else None for change in changes]
    assert ["one", "two", "two", None] == [change.after.text if change.after else None for change in changes]
    assert sorted(change.at for change in changes) == [change.at for change in changes]


@pytest.mark.parametrize("id", ["", "short", None, 5, "x" * 500, "no such id with spaces", "\ud800" * 10])
def test_an_impossible_id_is_refused_everywhere(m: Memories, id: Any) -> None:
    """Whatever takes an id says that this is none."""
    there = m.add("a text").id
    calls: list[Any] = [
        m.get,
        m.delete,
        m.history,
        m.similar,
        lambda id: m.update(id, title="x"),
        lambda id: m.feedback(id, "helped"),
        lambda id: m.delete(id, purge=True),
        lambda id: m.supersede(id, there),
        lambda id: m.supersede(there, id),
        lambda id: m.explain_missing("x", id),
        lambda id: m.list(after=id) if id is not None else m.similar(5),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(InvalidInputError) as caught:
            call(id)
        assert caught.value.hint


def test_an_unknown_id_is_not_found_anywhere(m: Memories) -> None:
    """Whatever takes an id says that nothing has it."""
    there, id = m.add("a text").id, "0000000000000000zz"
    calls: list[Any] = [
        m.get,
        m.delete,
        m.history,
        m.similar,
        lambda id: m.update(id, title="x"),
        lambda id: m.feedback(id, "helped"),
        lambda id: m.delete(id, purge=True),
        lambda id: m.supersede(id, there),
        lambda id: m.supersede(there, id),
        lambda id: m.list(after=id),
    ]
    for call in calls:
        with pytest.raises(NotFoundError) as caught:
            call(id)
        assert caught.value.hint


# --- as of -----------------------------------------------------------------------------------------------------------


def texts(m: Memories, query: str, moment: datetime, mode: Any, **filters: Any) -> set[str]:
    """Return the texts that an answer as of a moment holds."""
    return {hit.memory.text for hit in m.recall(query, as_of=moment, mode=mode, limit=50, **filters)}


@pytest.mark.parametrize("mode", ["hybrid", "text", "vector"])
def test_as_of_answers_from_what_was_valid_then(m: Memories, mode: Any) -> None:
    """Before it was added, between its changes and after its deletion a memory says what it said then."""
    m.add("Something about a garden and its fence.")
    before = now()
    memory = m.add("The port of the staging database is 5432.", tags=["db"])
    first = now()
    m.update(memory.id, text="The port of the staging database is 5433.")
    second = now()
    m.delete(memory.id)
    after = now()
    ask = "port of the staging database"
    assert not {text for text in texts(m, ask, before, mode) if "port" in text}
    assert "The port of the staging database is 5432." in texts(m, ask, first, mode)
    assert "The port of the staging database is 5433." not in texts(m, ask, first, mode)
    assert "The port of the staging database is 5433." in texts(m, ask, second, mode)
    assert "The port of the staging database is 5432." not in texts(m, ask, second, mode)
    assert not {text for text in texts(m, ask, after, mode) if "port" in text}
    assert {"The port of the staging database is 5432."} == texts(m, ask, first, mode, tags=["db"])
    assert set() == texts(m, ask, first, mode, tags=["other"])
    assert set() == texts(m, ask, first, mode, scope="team")


def test_as_of_sees_what_was_superseded_and_expired_since(m: Memories) -> None:
    """Before the end of its validity and before it was superseded a memory is still an answer."""
    old, new = m.add("The office is in Bremen."), m.add("The office is in Leipzig.")
    lived = m.add("The office lease ends soon.", valid_until=datetime.now(UTC) + timedelta(hours=1))
    moment = now()
    m.supersede(old.id, new.id)
    later = datetime.now(UTC) + timedelta(hours=2)
    assert {old.text, new.text, lived.text} == texts(m, "office", moment, "text")
    assert {new.text, lived.text} == {hit.memory.text for hit in m.recall("office", mode="text")}
    assert {new.text} == texts(m, "office", later, "text")


def test_as_of_shows_the_state_of_then(m: Memories) -> None:
    """A hit as of a moment carries the fields of then, not those of now."""
    memory = m.add("A lighthouse.", title="Old title", scope="team", tags=["a"])
    moment = now()
    m.update(memory.id, title="New title", scope="private", tags=["b"])
    (hit,) = m.recall("lighthouse", as_of=moment)
    assert ("Old title", "team", ("a",)) == (hit.memory.title, hit.memory.scope, hit.memory.tags)
    assert not m.recall("lighthouse", as_of=moment, scope="private")
    assert not m.recall("lighthouse", as_of=moment, tags=["b"])
    assert m.recall("lighthouse", tags=["b"])


def test_a_memory_of_the_past_counts_from_its_creation(m: Memories) -> None:
    """What is added with a time of its own was known from then on."""
    m.add("The bridge was opened.", created_at=datetime(2020, 6, 1, tzinfo=UTC))
    assert texts(m, "bridge", datetime(2021, 1, 1, tzinfo=UTC), "hybrid")
    assert not texts(m, "bridge", datetime(2019, 1, 1, tzinfo=UTC), "hybrid")


def test_as_of_ranks_words_of_the_past_by_the_whole_store(m: Memories) -> None:
    """What was edited since ranks beside what was not, by one set of statistics."""
    m.add_many(f"note {number} about the harbour" for number in range(30))
    memory = m.add("the harbour master keeps a pelican")
    moment = now()
    m.update(memory.id, text="the harbour master keeps nothing")
    assert memory.id == m.recall("pelican harbour", as_of=moment, mode="text")[0].memory.id
    assert not m.recall("pelican", mode="text")


def test_metadata_only_updates_keep_vectors(store: Store) -> None:
    """A change that leaves the text alone embeds nothing again."""
    memory = store.memories.add("A text with a vector.")
    embedder = StaticEmbedder()
    asked: list[Any] = []

    class Watched:
        name, dim, cheap = embedder.name, embedder.dim, True

        def embed(self, texts: Any) -> Any:
            asked.extend(texts)
            return embedder.embed(texts)

        def embed_query(self, text: str) -> Any:
            return embedder.embed_query(text)

    store.memories._context.__dict__["embedder"] = Watched()
    store.memories.update(memory.id, metadata={"a": 1}, tags=["x"])
    assert [] == asked
    store.memories.update(memory.id, text="Another text.")
    assert ["Another text."] == asked
    assert (1, 0) == (store.stats()["memories"], store.stats()["vectors_waiting"])
    assert store.verify("full").ok
