from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import lamina
from lamina import EmbedderError, InvalidInputError, Store
from lamina.embed import StaticEmbedder


class Letters:
    """Counts letters: a vector of 26 numbers, the length brought to one; says what it was asked."""

    def __init__(
        self, name: str = "letters/1", *, cheap: bool = True, letters: str = "abcdefghijklmnopqrstuvwxyz"
    ) -> None:
        self.name = name
        self.cheap = cheap
        self.letters = letters
        self.dim = len(letters)
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed, and remember what was asked."""
        self.asked.extend(texts)
        rows = np.array([[text.lower().count(letter) for letter in self.letters] for text in texts], dtype=np.float32)
        rows = rows.reshape(len(texts), self.dim)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Embed a question."""
        row: NDArray[np.float32] = self.embed([text])[0]
        return row


class Broken(Letters):
    """Gives whatever the test says, or raises it."""

    answer: Any = None

    def embed(self, texts: Sequence[str]) -> Any:
        """Answer as told."""
        if isinstance(self.answer, BaseException):
            raise self.answer
        return super().embed(texts) if self.answer is None else self.answer

    def embed_query(self, text: str) -> Any:
        """Answer as told."""
        return self.embed([text]) if self.answer is not None else super().embed_query(text)


def test_without_an_embedder_recall_is_by_text_and_says_so(tmp_path: Path) -> None:
    """``none`` works by words alone; the notice says what would bring the rest."""
    with lamina.open(tmp_path, embedder="none") as store:
        memory = store.memories.add("The pelican sleeps.")
        hits = store.memories.recall("pelican")
        assert [memory.id] == [hit.memory.id for hit in hits]
        assert store.embedder is None
        assert any("text alone" in notice for notice in hits.notices)
        assert store.notices == hits.notices
        assert [] == store.memories.recall("pelican", mode="vector")
        assert 1 == store.stats()["vectors_waiting"]


def test_an_embedder_of_the_users_is_recorded(tmp_path: Path) -> None:
    """An object with the protocol's methods is used, and the store remembers its name."""
    with lamina.open(tmp_path, embedder=Letters()) as store:
        store.memories.add_many(["zzz zz z", "aaa aa a", "bcd bcd"])
        assert "zzz zz z" == store.memories.recall("zzzz", mode="vector")[0].memory.text
        assert ("letters/1", "letters/1") == (store.embedder, store.stats()["embedder_recorded"])
        assert () == store.notices


@pytest.mark.parametrize("other", ["letters/2", "static", "none"])
def test_another_embedder_turns_the_vector_part_off_until_reindex(
    tmp_path: Path, static: StaticEmbedder, other: str
) -> None:
    """With another embedder recall goes on by text and says so, adding queues, reindex mends; and back again."""
    another: Any = {"letters/2": Letters("letters/2"), "static": static, "none": "none"}[other]
    with lamina.open(tmp_path, embedder=Letters()) as store:
        first = store.memories.add("The pelican sleeps.")
    with lamina.open(tmp_path, embedder=another) as store:
        m = store.memories
        second = m.add("The heron sleeps.")
        hits = m.recall("heron")
        assert second.id == hits[0].memory.id
        assert "letters/1" in hits.notices[0]
        assert "reindex" in hits.notices[0]
        assert hits.notices == store.notices
        assert (1, 1) == (store.stats()["vectors"], store.stats()["vectors_waiting"])
        assert first.id == m.recall("pelican")[0].memory.id
        assert [] == m.recall("pelican", mode="vector")
        assert store.verify("full").ok
        if other == "none":
            with pytest.raises(EmbedderError) as caught:
                store.reindex()
            assert caught.value.hint
        else:
            told: list[tuple[int, int]] = []
            done = store.reindex(lambda done, total: told.append((done, total)))
            assert (2, 1, 0) == (done["embedded"], done["cleared"], done["waiting"])
            assert (2, 2) == told[-1]
            assert () == store.notices
            assert m.recall("pelican", mode="vector")
    with lamina.open(tmp_path, embedder=Letters()) as store:
        assert bool(store.notices) is (other != "none")
        store.reindex()
        assert () == store.notices
        assert 0 == store.stats()["vectors_waiting"]
        assert 2 == store.stats()["vectors"]
        assert store.memories.recall("pelican", mode="vector")
        assert store.verify("full").ok


def test_a_long_lived_handle_notices_that_another_embedder_took_over(tmp_path: Path) -> None:
    """After another process reindexed, a handle that is still open compares nothing with the new vectors."""
    with lamina.open(tmp_path, embedder=Letters()) as old:
        old.memories.add_many(["zzz zz z", "aaa aa a", "bcd bcd"])
        assert old.memories.recall("zzzz", mode="vector")
        with lamina.open(tmp_path, embedder=Letters("letters/2", letters="zyxwvutsrqponmlkjihgfedcba")) as new:
            new.reindex()
            hits = old.memories.recall("zzzz", mode="vector")
            assert [] == hits
            assert "letters/2" in hits.notices[0]
            waiting = old.memories.add("qqq").id
            assert 1 == new.stats()["vectors_waiting"]
            assert waiting == new.memories.recall("qqq")[0].memory.id


@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError("out of memory"),
        KeyError("model"),
        np.zeros((1, 5), dtype=np.float32),
        np.zeros((2, 26), dtype=np.float32),
        np.full((1, 26), np.nan, dtype=np.float32),
        np.full((1, 26), np.inf, dtype=np.float32),
        "nonsense",
        [["a"] * 26],
        [[1.0], [1.0, 2.0]],
        EmbedderError("The service is down.", hint="Wait."),
    ],
    ids=["raises", "key", "short", "two", "nan", "inf", "text", "words", "ragged", "ours"],
)
def test_a_failing_embedder_is_one_error_of_ours(tmp_path: Path, answer: Any) -> None:
    """Whatever an embedder does wrong is an EmbedderError with a hint, and nothing is half written."""
    broken = Broken()
    with lamina.open(tmp_path, embedder=broken) as store:
        m = store.memories
        memory = m.add("The pelican sleeps.")
        broken.answer = answer
        for call in (
            lambda: m.add("x"),
            lambda: m.add_many(["x"]),
            lambda: m.update(memory.id, text="another"),
            lambda: m.recall("pelican"),
            lambda: m.recall("pelican", mode="vector"),
        ):
            with pytest.raises(EmbedderError) as caught:
                call()
            assert caught.value.hint
        assert memory == m.get(memory.id)
        assert 1 == len(m.history(memory.id)) == m.count()
        assert [memory.id] == [hit.memory.id for hit in m.recall("pelican", mode="text")]
        assert m.update(memory.id, title="needs no vector").title
        broken.answer = None
        assert "fine again" == m.add("fine again").text
        assert store.verify("full").ok


def test_a_batch_that_cannot_be_embedded_keeps_the_ones_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how many were added; they are there."""
    from lamina.memories import adding

    monkeypatch.setattr(adding, "BATCH_ITEMS", 10)
    broken = Broken()

    def source() -> Any:
        for number in range(50):
            if number == 30:
                broken.answer = RuntimeError("gone")
            yield f"text {number}"

    with lamina.open(tmp_path, embedder=broken) as store:
        with pytest.raises(EmbedderError) as caught:
            store.memories.add_many(source())
        assert caught.value.details["added"] == store.memories.count() >= 10
        broken.answer = None
        assert store.verify("full").ok


def test_exact_recall_survives_a_failing_embedder(tmp_path: Path) -> None:
    """A cheap embedder that fails while the best are compared again is an error of ours, too."""

    class Moody(Letters):
        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            if len(self.asked) > 3:
                raise RuntimeError("tired")
            return super().embed(texts)

    with lamina.open(tmp_path, embedder=Moody()) as store:
        store.memories.add_many(["zzz", "aaa", "bbb"])
        with pytest.raises(EmbedderError):
            store.memories.recall("zzz", mode="vector", exact=True)


def test_an_expensive_embedder_is_asked_once_a_text(tmp_path: Path) -> None:
    """Where a vector is dear, the same text is embedded once, also after reopening and reindexing; purge forgets it."""
    dear = Letters(cheap=False)
    with lamina.open(tmp_path, embedder=dear) as store:
        ids = store.memories.add_many(["The pelican sleeps.", "The heron sleeps."])
        store.memories.add("The pelican sleeps.")
        assert ["The pelican sleeps.", "The heron sleeps."] == dear.asked
    with lamina.open(tmp_path, embedder=Letters("letters/2")) as store:
        store.reindex()
    again = Letters(cheap=False)
    with lamina.open(tmp_path, embedder=again) as store:
        store.reindex()
        assert [] == again.asked
        assert 1 == store.memories.delete(ids[1], purge=True).removed["cache"]
        store.memories.add("The heron sleeps.")
        assert ["The heron sleeps."] == again.asked


def test_a_cheap_embedder_has_no_cache(store: Store) -> None:
    """The default embedder leaves no file behind beside the catalog."""
    store.memories.add("x")
    assert not (store.location / ".lamina" / "search" / "embeddings.db").exists()


@pytest.mark.parametrize("embedder", ["statik", "openai:", "fastembed", 5, object(), "none:x"])
def test_a_slip_in_the_embedders_name_is_told(tmp_path: Path, embedder: Any) -> None:
    """An embedder that does not exist is an error with a hint, before anything is written."""
    with (
        pytest.raises((InvalidInputError, lamina.DependencyError)) as caught,
        lamina.open(tmp_path, embedder=embedder) as store,
    ):
        store.memories.add("x")
    assert caught.value.hint
    with lamina.open(tmp_path, embedder="none") as store:
        assert 0 == store.memories.count()


def test_texts_without_anything_to_embed_wait_for_nothing(tmp_path: Path) -> None:
    """An all-zero row means "nothing to embed": the memory is stored, and is not queued again and again."""
    with lamina.open(tmp_path, embedder=Letters()) as store:
        store.memories.add("12345")
        assert 0 == store.stats()["vectors_waiting"]
        assert store.memories.recall("12345")
        assert () == store.notices
