"""Text statistics: which terms are searched for, what is counted anew, and scores that repeat FTS5's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamina
from lamina import Store
from lamina.search.text import HEAD_WEIGHT, TermStatistics, ease_length, term_scores
from lamina.search.tokens import tokens
from lamina.storage.filters import Filter
from lamina.storage.fts import TextStatistics


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store that is searched by text alone."""
    with lamina.open(tmp_path / "store", embedder="none", durability="relaxed") as opened:
        yield opened


def _statistics(store: Store, passages: int, frequency: dict[str, int]) -> TermStatistics:
    """What a store of so many passages would say of terms."""
    with store._catalog.read() as reader:
        statistics = TermStatistics(reader, [])
    statistics.store = TextStatistics(passages, 10 * passages)
    statistics.frequency = frequency
    return statistics


def _count(store: Store, term: str, known: dict[str, tuple[int, int]], fresh: float) -> int:
    with store._catalog.read() as reader:
        return TermStatistics(reader, [term], known, fresh).frequency[term]


# --- which terms are searched for ------------------------------------------------------------------------------------


def test_terms_are_searched_rarest_first(store: Store) -> None:
    """The order is that of frequency; a term that nothing holds is not searched for."""
    statistics = _statistics(store, 100, {"often": 40, "rare": 1, "some": 7, "never": 0})
    assert ["rare", "some", "often"] == statistics.searched(["often", "never", "unknown", "some", "rare"])
    assert [] == statistics.searched(["never"])


@pytest.mark.parametrize(
    ("passages", "count", "kept"),
    [(2000, 1999, True), (2001, 1001, False), (2001, 1000, True), (2001, 2001, False), (3000, 1500, True)],
)
def test_a_very_common_term_is_left_out_of_a_large_store(store: Store, passages: int, count: int, kept: bool) -> None:
    """Beyond 2,000 passages a term in more than half of them is dropped; below, it costs little and stays."""
    statistics = _statistics(store, passages, {"rare": 1, "common": count})
    assert ["rare", *(["common"] if kept else [])] == statistics.searched(["common", "rare"])


@pytest.mark.parametrize(
    ("counts", "kept"),
    [((6000, 6000), 2), ((6000, 6001), 1), ((4000, 4000, 4000), 3), ((4000, 4000, 4001), 2), ((1, 11_999, 12_000), 2)],
)
def test_the_most_frequent_terms_go_when_the_search_would_be_long(
    store: Store, counts: tuple[int, ...], kept: int
) -> None:
    """12,000 postings are read at most, the rarest terms' first."""
    statistics = _statistics(store, 100_000, {f"t{number}": count for number, count in enumerate(counts)})
    assert [f"t{number}" for number in range(kept)] == statistics.searched(list(statistics.frequency))


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 50_000)), st.integers(1, 50_000))
def test_the_rarest_always_stays(frequency: dict[str, int], passages: int) -> None:
    """A question with any known word searches; what is kept is a beginning of the terms by frequency."""
    statistics = object.__new__(TermStatistics)
    statistics.store = TextStatistics(passages, passages)
    statistics.frequency = frequency
    kept = statistics.searched(list(frequency))
    ordered = sorted((term for term in frequency if frequency[term]), key=frequency.__getitem__)
    assert ordered[: len(kept)] == kept
    assert bool(kept) == bool(ordered)
    assert len(kept) < 2 or sum(frequency[term] for term in kept) <= 12_000


def test_a_store_of_2001_passages_drops_what_most_of_them_hold(store: Store) -> None:
    """The same with real counts; asked alone, the common word is still searched for."""
    store.memories.add_many(f"common {'half' if n % 2 else ''} word{n}" for n in range(2001))
    with store._catalog.read() as reader:
        statistics = TermStatistics(reader, ["common", "half", "word7", "word"])
    assert {"common": 2001, "half": 1000, "word7": 1, "word": 2001} == statistics.frequency
    assert ["word7", "half"] == statistics.searched(["common", "half", "word7", "word"])
    assert ["common"] == statistics.searched(["common"])


# --- what is counted -------------------------------------------------------------------------------------------------


def test_a_known_frequency_is_used_until_the_store_grew(store: Store) -> None:
    """With a share of 0.02, two new passages of a hundred change nothing, and the third has all counted anew."""
    known: dict[str, tuple[int, int]] = {}
    store.memories.add_many(["a fox"] * 100)
    assert 100 == _count(store, "fox", known, 0.02)
    assert {"fox": (100, 100)} == known
    store.memories.add_many(["a fox"] * 2)
    assert 100 == _count(store, "fox", known, 0.02)
    store.memories.add("a fox")
    assert 103 == _count(store, "fox", known, 0.02)
    assert {"fox": (103, 103)} == known


def test_a_known_frequency_is_counted_anew_when_the_store_shrank(store: Store) -> None:
    """Forgetting counts like adding."""
    known: dict[str, tuple[int, int]] = {}
    ids = store.memories.add_many(["a fox"] * 10)
    assert 10 == _count(store, "fox", known, 0.1)
    store.memories.delete(ids[0])
    assert 10 == _count(store, "fox", known, 0.1)
    store.memories.delete(ids[1])
    assert 8 == _count(store, "fox", known, 0.1)


def test_without_a_share_every_change_is_counted(store: Store) -> None:
    """The default is exact."""
    known: dict[str, tuple[int, int]] = {}
    store.memories.add("a fox")
    assert 1 == _count(store, "fox", known, 0.0)
    store.memories.add("a fox")
    assert 2 == _count(store, "fox", known, 0.0)


def test_what_is_known_stays_bounded(store: Store) -> None:
    """Beyond 50,000 terms the known ones are forgotten rather than kept forever."""
    known = {f"t{number}": (1, 1) for number in range(50_001)}
    assert 0 == _count(store, "fox", known, 0.5)
    assert {"fox": (0, 0)} == known


def test_an_empty_store_has_statistics(store: Store) -> None:
    """No division by nothing: a mean of one token, and weights that are finite."""
    with store._catalog.read() as reader:
        statistics = TermStatistics(reader, ["fox"])
    assert 1.0 == statistics.mean_tokens
    assert np.isfinite([statistics.idf("fox"), statistics.weight("fox"), statistics.weight("unknown")]).all()
    assert 0.0 == statistics.weight(None)


def test_idf_and_weight_are_their_formulas(store: Store) -> None:
    """FTS5's idf with its floor, and the smoothed one for vectors, worked out by hand."""
    statistics = _statistics(store, 99, {"rare": 9, "most": 80})
    assert np.log(90.5 / 9.5) == pytest.approx(statistics.idf("rare"))
    assert 1e-6 == statistics.idf("most")
    assert np.log(100 / 9.5) == pytest.approx(statistics.weight("rare"))
    assert np.log(100 / 0.5) == pytest.approx(statistics.weight("unknown"))


# --- scores ----------------------------------------------------------------------------------------------------------


@given(
    st.floats(0.01, 12),
    st.integers(1, 2000),
    st.floats(1, 300),
)
def test_easing_turns_one_length_norm_into_the_other(idf: float, length: int, mean: float) -> None:
    """For a term that occurs once, BM25 with b = 0.75 becomes BM25 with b = 0.5, k1 staying 1.2."""
    ratio = length / mean
    old = idf * 2.2 / (1 + 1.2 * (0.25 + 0.75 * ratio))
    new = idf * 2.2 / (1 + 1.2 * (0.5 + 0.5 * ratio))
    found = ease_length(np.array([old], dtype=np.float32), np.array([length]), mean)
    assert found.dtype == np.float32
    assert new == pytest.approx(float(found[0]), rel=1e-5)


def test_easing_leaves_a_passage_of_mean_length_as_it_is() -> None:
    """Longer ones gain, shorter ones lose, none stays at 0 but 0."""
    found = ease_length(np.array([2, 2, 2, 0], dtype=np.float32), np.array([50, 10, 200, 200]), 50.0)
    assert 2 == found[0]
    assert found[1] < 2 < found[2]
    assert 0 == found[3]
    assert 0 == len(ease_length(np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64), 1.0))


def test_term_scores_add_up_to_what_fts5_says(store: Store) -> None:
    """The explanation of a score is the score: title and body, repeated words, different lengths."""
    texts = [
        ("The red fox.", "fox"),
        ("A fox and a fox and another fox met a hound.", None),
        ("Hounds sleep all day long, and nobody minds, since the days are long.", "Hound"),
        ("Nothing of the kind.", None),
        *((f"Filler number {number}.", None) for number in range(12)),
    ]
    for text, title in texts:
        store.memories.add(text, title=title)
    terms = ["fox", "hound", "day"]
    with store._catalog.read() as reader:
        statistics = TermStatistics(reader, terms)
        found = reader.match(terms, Filter(expired=True), limit=50, head_weight=HEAD_WEIGHT)
        places = reader.passages([id for id, _ in found])
        records = reader.records([place.memory for place in places.values()])
    assert 3 == len(found)
    for id, score in found:
        record = records[places[id].memory]
        shares = term_scores(tokens(record.title or ""), tokens(record.text), statistics, terms)
        assert score == pytest.approx(sum(share.score for share in shares), rel=1e-6)
        assert [share.score for share in shares] == sorted((share.score for share in shares), reverse=True)


def test_a_share_says_how_often_and_how_common(store: Store) -> None:
    """Occurrences in title and body are counted together; other words are no share."""
    statistics = _statistics(store, 100, {"fox": 3, "red": 5, "day": 1})
    (share,) = term_scores(["fox"], ["a", "fox", "red", "fox"], statistics, ["fox", "day"])
    assert ("fox", 3, 3) == (share.term, share.count, share.documents)
    assert () == term_scores([], [], statistics, ["fox"])
