"""What every embedder must do, as tests that an embedder's author inherits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lamina.embed import Embedder, WeightedQueryEmbedder
from lamina.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EmbedderTests"]

TEXTS = (
    "The rollout of the billing service moved to Thursday.",
    "Alice prefers short answers with a source.",
    "deploy_to_staging() retries three times",
    "Die Straße führt über den Fluß.",
    "検索エンジンは言葉を探す",
    "🙂🙃 emoji only 👩‍👩‍👧",
    "x",
)
ODD_TEXTS = (
    "\ud800 a lone surrogate",
    "\udfff",
    "nul \x00 inside",
    "\u202eright to left\u202c",
    "a" * 5_000,
    "e\u0301 " * 300,
    "\ufeffbyte order mark",
    "1" * 400,
)
EMPTY_TEXTS = ("", " ", "\n\t \u3000")


class EmbedderTests:
    """Contract of :class:`lamina.embed.Embedder`.

    Subclass it, and override :meth:`make_embedder`::

        class TestMine(EmbedderTests):
            def make_embedder(self):
                return MyEmbedder("small")
    """

    tolerance: float = 1e-5
    """Greatest difference of an entry between two computations; model runtimes may round. 0 for ``cheap`` embedders."""

    def make_embedder(self) -> Embedder:
        """Return a new embedder; called twice in a test that compares two."""
        raise NotImplementedError("an embedder's contract tests must override make_embedder()")

    @pytest.fixture
    def embedder(self) -> Embedder:
        """The embedder under test."""
        return self.make_embedder()

    def same(self, embedder: Embedder, one: NDArray[Any], other: NDArray[Any]) -> bool:
        """Return whether two results agree: bit for bit where the embedder is cheap, within rounding otherwise."""
        return bool(
            np.array_equal(one, other) if embedder.cheap else np.allclose(one, other, atol=self.tolerance, rtol=0)
        )

    def test_speaks_the_protocol(self, embedder: Embedder) -> None:
        """It has every part of the protocol."""
        assert isinstance(embedder, Embedder)
        assert isinstance(embedder.cheap, bool)

    def test_name(self, embedder: Embedder) -> None:
        """Its name is short and printable, and the same for each instance made alike: stores record it."""
        assert embedder.name
        assert len(embedder.name) <= 200
        assert embedder.name.isprintable()
        assert embedder.name == embedder.name.strip()
        assert embedder.name == self.make_embedder().name

    def test_shape_and_type(self, embedder: Embedder) -> None:
        """Texts become float32 rows of ``dim`` columns, in order."""
        rows = embedder.embed(TEXTS)
        assert isinstance(rows, np.ndarray)
        assert rows.dtype == np.float32
        assert rows.shape == (len(TEXTS), embedder.dim)
        assert embedder.dim > 0

    def test_query_shape(self, embedder: Embedder) -> None:
        """A query becomes one float32 vector of ``dim`` entries and length 1."""
        query = embedder.embed_query("Who prefers short answers?")
        assert query.dtype == np.float32
        assert query.shape == (embedder.dim,)
        assert np.linalg.norm(query) == pytest.approx(1.0, abs=1e-3)

    def test_rows_have_length_one(self, embedder: Embedder) -> None:
        """Every row is finite and has length 1."""
        rows = embedder.embed(TEXTS)
        assert np.isfinite(rows).all()
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-3)

    def test_nothing_to_embed(self, embedder: Embedder) -> None:
        """Empty and blank texts give all-zero rows, queries too, and leave their neighbours alone."""
        rows = embedder.embed([TEXTS[0], *EMPTY_TEXTS, TEXTS[1]])
        assert not rows[1:-1].any()
        assert self.same(embedder, rows[[0, -1]], embedder.embed(TEXTS[:2]))
        for text in EMPTY_TEXTS:
            assert not embedder.embed_query(text).any()

    def test_no_texts(self, embedder: Embedder) -> None:
        """No texts give no rows, with the right width and type."""
        rows = embedder.embed([])
        assert rows.shape == (0, embedder.dim)
        assert rows.dtype == np.float32

    def test_deterministic(self, embedder: Embedder) -> None:
        """The same text gives the same vector, now, later and from another instance."""
        first = embedder.embed(TEXTS)
        embedder.embed(["something else in between"])
        assert self.same(embedder, first, embedder.embed(TEXTS))
        assert self.same(embedder, first, self.make_embedder().embed(TEXTS))

    def test_the_batch_does_not_matter(self, embedder: Embedder) -> None:
        """A text's vector does not depend on what is embedded beside it, nor on the order."""
        together = embedder.embed(TEXTS)
        single = np.concatenate([embedder.embed([text]) for text in TEXTS])
        reverse = embedder.embed(TEXTS[::-1])[::-1]
        assert self.same(embedder, together, single)
        assert self.same(embedder, together, reverse)

    def test_the_result_is_the_callers(self, embedder: Embedder) -> None:
        """A result does not change when more is embedded, and writing into it changes no later one."""
        result = embedder.embed(TEXTS[:1])
        kept = np.array(result, copy=True)
        embedder.embed(TEXTS[1:2])
        assert np.array_equal(result, kept)
        if result.flags.writeable:
            result[:] = 7.0
        assert self.same(embedder, kept, embedder.embed(TEXTS[:1]))

    @pytest.mark.parametrize("number", range(len(ODD_TEXTS)))
    def test_odd_texts(self, embedder: Embedder, number: int) -> None:
        """Lone surrogates, control characters and very long texts give a finite row of length 1 or 0."""
        row = embedder.embed([ODD_TEXTS[number]])[0]
        assert np.isfinite(row).all()
        assert np.linalg.norm(row) == pytest.approx(1.0, abs=1e-3) or not row.any()
        query = embedder.embed_query(ODD_TEXTS[number])
        assert np.isfinite(query).all()

    def test_different_texts_differ(self, embedder: Embedder) -> None:
        """Different texts have different vectors, and a text is nearest to itself."""
        rows = embedder.embed(TEXTS[:4])
        closeness = rows @ rows.T
        assert (closeness.argmax(axis=1) == np.arange(4)).all()
        off_diagonal = closeness[~np.eye(4, dtype=bool)]
        assert (off_diagonal < 0.9999).all()

    @pytest.mark.parametrize("bad", ["one string", [1], [None], [b"bytes"]])
    def test_refuses_what_is_no_text(self, embedder: Embedder, bad: Any) -> None:
        """A single string, or anything that is not a string, is refused with InvalidInputError."""
        with pytest.raises(InvalidInputError):
            embedder.embed(bad)

    def test_threads(self, embedder: Embedder) -> None:
        """Several threads may embed at once and get what one alone would."""
        expected = embedder.embed(TEXTS)
        wrong: list[str] = []

        def work(shift: int) -> None:
            order = [*range(shift, len(TEXTS)), *range(shift)]
            try:
                rounds = [embedder.embed([TEXTS[place] for place in order]) for _ in range(5)]
                if not all(self.same(embedder, rows, expected[order]) for rows in rounds):
                    wrong.append(f"thread {shift} got other vectors")
            except Exception as error:  # noqa: BLE001  (a thread must hand its failure to the test)
                wrong.append(repr(error))

        threads = [threading.Thread(target=work, args=(shift,)) for shift in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    def test_weighted_query(self, embedder: Embedder) -> None:
        """Where words can be weighted: equal weights change nothing much, a word of weight 0 does not count."""
        if not isinstance(embedder, WeightedQueryEmbedder):
            pytest.skip("this embedder has no weighted queries")
        plain = embedder.embed_query("alice prefers short answers")
        equal = embedder.embed_query_weighted("alice prefers short answers", lambda _: 2.5)
        assert float(plain @ equal) > 0.999
        only = embedder.embed_query_weighted("alice prefers answers", lambda word: float(word == "alice"))
        alone = embedder.embed_query_weighted("alice", lambda _: 1.0)
        assert float(only @ alone) > 0.999
        nothing = embedder.embed_query_weighted("alice prefers", lambda _: 0.0)
        assert self.same(embedder, nothing, embedder.embed_query("alice prefers"))
        for bad in (-1.0, float("nan"), float("inf")):
            weights = {"alice": bad}
            with pytest.raises(InvalidInputError):
                embedder.embed_query_weighted("alice", weights.__getitem__)
