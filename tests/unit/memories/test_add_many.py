from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import lamina
from lamina import InvalidInputError, Memories
from lamina.memories import adding

BATCH = 20


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a batch end after a few items, so that a short test sees many."""
    monkeypatch.setattr(adding, "BATCH_ITEMS", BATCH)


def test_ids_come_in_the_order_of_the_items(m: Memories) -> None:
    """Each id belongs to the item in its place, across batches, texts and dicts mixed."""
    items: list[Any] = [
        f"text {number}" if number % 3 else {"text": f"text {number}", "tags": [f"t{number}"]} for number in range(95)
    ]
    ids = m.add_many(items)
    assert 95 == len(set(ids))
    assert [f"text {number}" for number in range(95)] == [m.get(id).text for id in ids]
    assert ("t3",) == m.get(ids[3]).tags
    assert 95 == m.count()


def test_nothing_to_add_is_fine(m: Memories) -> None:
    """An empty list adds nothing and says so."""
    told: list[int] = []
    assert [] == m.add_many([], progress=told.append)
    assert [] == told


def test_a_generator_is_read_as_it_is_needed(plain: Memories) -> None:
    """The source is never read further ahead than two batches of what was acknowledged."""
    read = 0
    ahead: list[int] = []

    def source() -> Iterator[str]:
        nonlocal read
        for number in range(10 * BATCH):
            read += 1
            yield f"text {number}"

    plain.add_many(source(), progress=lambda done: ahead.append(read - done))
    assert 10 == len(ahead)
    assert max(ahead) <= 2 * BATCH


def test_a_batch_ends_at_its_characters_too(plain: Memories, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long texts make short batches, so that memory stays flat."""
    monkeypatch.setattr(adding, "BATCH_CHARS", 1000)
    told: list[int] = []
    plain.add_many(["x" * 600] * 6, progress=told.append)
    assert [2, 4, 6] == told


def test_progress_tells_what_is_durable(plain: Memories) -> None:
    """Progress is called after each batch with what is in the store by then, the last time with all."""
    told: list[tuple[int, int]] = []
    plain.add_many((f"text {number}" for number in range(50)), progress=lambda done: told.append((done, plain.count())))
    assert [(20, 20), (40, 40), (50, 50)] == told


@pytest.mark.parametrize("place", [0, 5, BATCH - 1, BATCH, 3 * BATCH + 7])
@pytest.mark.parametrize(
    "bad", ["", {"text": "x", "type": "nope"}, {"title": "no text"}, {"text": "x", "colour": 1}, 5, None, ["text"]]
)
def test_a_bad_item_is_named_and_what_came_before_is_kept(plain: Memories, place: int, bad: Any) -> None:
    """The error says which item it was and how many were added; those before it are there, none after it."""
    items: list[Any] = [f"text {number}" for number in range(4 * BATCH)]
    items[place] = bad
    with pytest.raises(InvalidInputError) as caught:
        plain.add_many(items)
    assert (place, place) == (caught.value.details["item"], caught.value.details["added"])
    assert caught.value.hint
    assert {f"text {number}" for number in range(place)} == {memory.text for memory in plain.list(limit=None)}
    assert plain.add_many(["and on it goes"])


def test_an_iterator_that_fails_fails_as_it_is(plain: Memories) -> None:
    """What the caller's own source raises comes through unchanged, and what it gave before is kept."""

    def source() -> Iterator[str]:
        yield from (f"text {number}" for number in range(BATCH + 3))
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        plain.add_many(source())
    assert BATCH + 3 == plain.count()
    assert str(BATCH + 3) in caught.value.__notes__[0]


@pytest.mark.parametrize("items", ["one text", b"bytes", {"text": "x"}, None, 5])
def test_what_is_no_list_of_items_is_refused(plain: Memories, items: Any) -> None:
    """One text, one dict or no list at all is a slip of the caller's, not many items."""
    with pytest.raises(InvalidInputError) as caught:
        plain.add_many(items)
    assert caught.value.hint
    assert "item" not in caught.value.details
    assert 0 == plain.count()


def test_a_closed_store_takes_no_batch(folder: Any) -> None:
    """A handle that is closed under way raises ours, and what was acknowledged is there."""
    store = lamina.open(folder, embedder="none")
    with pytest.raises(lamina.ClosedError) as caught:
        store.memories.add_many((f"text {number}" for number in range(50)), progress=lambda done: store.close())
    assert BATCH == caught.value.details["added"]
    with lamina.open(folder, embedder="none") as again:
        assert BATCH == again.memories.count()


def test_all_of_a_batch_is_found_at_once(m: Memories) -> None:
    """What add_many returned an id for is found by the next question."""
    m.add_many(f"ordinary sentence number {number}" for number in range(60))
    assert not m.recall("xylophone", mode="text")
    (id,) = m.add_many(["A xylophone stands in the hall."])
    assert [id] == [hit.memory.id for hit in m.recall("xylophone", mode="text")]
