"""From evidence to one score: sums that can be checked by hand, and nothing that may not be seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.search.columns import Columns
from lamina.search.fuse import SEEDS, WEIGHTS, Ranking, by_cosine, fuse

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

DAY = 86_400_000_000


def _columns(
    threads: list[int],
    *,
    positions: list[int] | None = None,
    created: list[int] | None = None,
    without: tuple[int, ...] = (),
) -> Columns:
    """Passages of one memory each; rows in ``without`` have no vector."""
    count = len(threads)
    numbers = np.arange(1, count + 1)
    thread = np.array(threads, dtype=np.int64)
    position = np.arange(count) if positions is None else np.array(positions, dtype=np.int64)
    order = np.lexsort((position, thread))
    rank = np.empty(count, dtype=np.int64)
    rank[order] = np.arange(count)
    scale = np.ones(count, dtype=np.float32)
    scale[list(without)] = 0
    return Columns(
        passage=numbers,
        memory=numbers,
        scope=np.ones(count, dtype=np.int64),
        type=np.zeros(count, dtype=np.int64),
        thread=thread,
        position=position,
        created=np.zeros(count, dtype=np.int64) if created is None else np.array(created, dtype=np.int64),
        tokens=np.full(count, 5),
        scale=scale,
        codes=np.zeros((count, 2), dtype=np.int8),
        alive=np.ones(count, dtype=bool),
        order=order,
        rank=rank,
    )


def _in_memories(columns: Columns, memories: list[int]) -> Columns:
    """The same passages, several of one memory."""
    return replace(columns, memory=np.array(memories, dtype=np.int64))


def _text(scores: dict[int, float]) -> tuple[Integers, Floats]:
    return np.array(list(scores), dtype=np.int64), np.array(list(scores.values()), dtype=np.float32)


def _all(columns: Columns) -> Mask:
    return np.ones(len(columns), dtype=bool)


def _by_row(ranking: Ranking, name: str | None = None) -> dict[int, float]:
    values = ranking.score if name is None else ranking.signals[name]
    return dict(zip(ranking.rows.tolist(), values.tolist(), strict=True))


@st.composite
def _questions(draw: st.DrawFn) -> tuple[Columns, Mask, dict[str, Any]]:
    """Some passages and what might be asked of them; cosines of what has no vector are 0, as a scan gives them."""
    count = draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    columns = _columns(
        generator.integers(1, 6, count).tolist(),
        positions=generator.integers(0, 8, count).tolist(),
        created=(generator.integers(0, 400, count) * DAY).tolist(),
        without=tuple(np.flatnonzero(generator.random(count) < draw(st.sampled_from([0, 0.3, 1]))).tolist()),
    )
    visible = generator.random(count) < draw(st.sampled_from([0, 0.5, 1]))
    matched = np.flatnonzero(generator.random(count) < draw(st.sampled_from([0, 0.2, 1])))
    cosines = generator.uniform(-1, 1, count).astype(np.float32) * (columns.scale > 0)
    start = date(1970, 3, 1).toordinal()
    options = {
        "text": (matched, generator.uniform(0, 9, len(matched)).astype(np.float32)),
        "vector": draw(st.sampled_from([None, cosines])),
        "days": draw(st.sampled_from([[], [(start, start + 10)]])),
        "context": draw(st.booleans()),
        "candidates": draw(st.integers(1, 50)),
    }
    return columns, visible, options


# --- what holds for every question -----------------------------------------------------------------------------------


@given(_questions())
def test_a_score_is_the_weighted_sum_of_its_signals(question: tuple[Columns, Mask, dict[str, Any]]) -> None:
    """Best first, each candidate once, every signal a finite number of at least 0 for each."""
    columns, visible, options = question
    ranking = fuse(columns, visible, **options)
    total = np.zeros(len(ranking.rows))
    for name, values in ranking.signals.items():
        assert len(values) == len(ranking.rows)
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        total += WEIGHTS[name] * values.astype(np.float64)
    assert np.allclose(total, ranking.score, atol=1e-5)
    assert (np.diff(ranking.score) <= 0).all()
    assert len(ranking.rows) == len(set(ranking.rows.tolist()))
    for name in ("text", "thread", "date"):
        assert (ranking.signals.get(name, np.zeros(0)) <= 1).all()


@given(_questions())
def test_what_may_not_be_seen_is_not_returned(question: tuple[Columns, Mask, dict[str, Any]]) -> None:
    """No candidate is outside of ``visible``, whatever proposed it."""
    columns, visible, options = question
    assert visible[fuse(columns, visible, **options).rows].all()
    if options["vector"] is not None:
        assert visible[by_cosine(columns, visible, options["vector"], options["candidates"]).rows].all()


@given(_questions(), st.integers(0, 10**6))
def test_what_may_not_be_seen_lends_nothing(question: tuple[Columns, Mask, dict[str, Any]], seed: int) -> None:
    """Whatever hidden passages score, the answer is the same to the last bit."""
    columns, visible, options = question
    generator = np.random.default_rng(seed)
    rows, scores = options["text"]
    other = dict(
        options, text=(rows, np.where(visible[rows], scores, generator.uniform(0, 99, len(rows)).astype("f4")))
    )
    if options["vector"] is not None:
        noise = generator.uniform(-1, 1, len(visible)).astype(np.float32)
        other["vector"] = np.where(visible, options["vector"], noise)
    _assert_same(fuse(columns, visible, **options), fuse(columns, visible, **other))


@given(_questions())
def test_the_same_question_has_the_same_answer(question: tuple[Columns, Mask, dict[str, Any]]) -> None:
    """Nothing but the arguments decides, and the order of the text index's proposals does not either."""
    columns, visible, options = question
    rows, scores = options["text"]
    turned = dict(options, text=(rows[::-1].copy(), scores[::-1].copy()))
    _assert_same(fuse(columns, visible, **options), fuse(columns, visible, **options))
    _assert_same(fuse(columns, visible, **options), fuse(columns, visible, **turned))


@given(_questions())
def test_what_the_text_index_proposes_is_a_candidate(question: tuple[Columns, Mask, dict[str, Any]]) -> None:
    """Every visible proposal is ranked; without context and vectors, nothing else is."""
    columns, visible, options = question
    proposed = {row for row in options["text"][0].tolist() if visible[row]}
    assert proposed <= set(fuse(columns, visible, **options).rows.tolist())
    alone = fuse(columns, visible, **dict(options, vector=None, context=False))
    assert proposed == set(alone.rows.tolist())


def _assert_same(one: Ranking, two: Ranking) -> None:
    assert one.rows.tolist() == two.rows.tolist()
    assert one.score.tolist() == two.score.tolist()
    assert {n: v.tolist() for n, v in one.signals.items()} == {n: v.tolist() for n, v in two.signals.items()}


# --- edges -----------------------------------------------------------------------------------------------------------


def test_no_passages_give_no_candidates() -> None:
    """An empty store has an empty answer, with vectors and without."""
    columns = _columns([])
    none = np.zeros(0, dtype=np.float32)
    assert [] == fuse(columns, _all(columns), text=_text({}), vector=none).rows.tolist()
    assert [] == fuse(columns, _all(columns), text=_text({}), vector=None, days=[(1, 2)]).rows.tolist()
    assert [] == by_cosine(columns, _all(columns), none, 5).rows.tolist()
    assert [] == by_cosine(columns, _all(columns), None, 5).rows.tolist()


def test_a_single_passage_is_found_by_its_text() -> None:
    """The best text counts as 1, and a thread of one passage as its own best."""
    columns = _columns([1])
    ranking = fuse(columns, _all(columns), text=_text({0: 0.001}), vector=None)
    assert {"text": [1.0], "vector": [0.0], "neighbours": [0.0], "thread": [1.0]} == {
        name: values.tolist() for name, values in ranking.signals.items()
    }
    assert 1.8 == pytest.approx(float(ranking.score[0]))


def test_a_single_passage_is_found_by_its_vector() -> None:
    """One cosine has no spread to be measured by, so it speaks for itself; one below 0 proposes nothing."""
    columns = _columns([1])
    ranking = fuse(columns, _all(columns), text=_text({}), vector=np.array([0.4], dtype=np.float32))
    assert {0: pytest.approx(0.4)} == _by_row(ranking, "vector")
    ranking = fuse(columns, _all(columns), text=_text({}), vector=np.array([-0.4], dtype=np.float32))
    assert [] == ranking.rows.tolist()


def test_text_alone_ranks_by_text() -> None:
    """Without vectors and context a score is the share of the best text score; a best of 0 is no evidence."""
    columns = _columns([1, 1, 1, 1])
    ranking = fuse(columns, _all(columns), text=_text({3: 4, 0: 8, 2: 2}), vector=None, context=False)
    assert [(0, 1.0), (3, 0.5), (2, 0.25)] == list(_by_row(ranking).items())
    ranking = fuse(columns, _all(columns), text=_text({3: 0.0}), vector=None, context=False)
    assert {3: 0.0} == _by_row(ranking)


def test_vectors_alone_rank_by_how_far_they_stand_out() -> None:
    """Standard deviations above the mean of what has a vector and may be seen; what is not above it is no candidate."""
    columns = _columns([1, 2, 3, 4, 5, 6], without=(4,))
    visible = np.array([True, True, True, True, True, False])
    vector = np.array([0.8, 0.4, 0.4, 0.4, 0.0, 0.9], dtype=np.float32)
    # Mean 0.5 and deviation 0.1732 of the first four: the best stands sqrt(3) above.
    ranking = fuse(columns, visible, text=_text({1: 1}), vector=vector, context=False)
    assert {0: pytest.approx(3**0.5), 1: 0} == _by_row(ranking, "vector")
    assert {0: pytest.approx(0.15 * 3**0.5), 1: 1} == _by_row(ranking)


def test_vectors_propose_no_more_than_asked_for() -> None:
    """The closest ``candidates`` and no others become candidates."""
    columns = _columns(list(range(1, 101)))
    vector = np.linspace(-1, 1, 100, dtype=np.float32)
    ranking = fuse(columns, _all(columns), text=_text({5: 1.0}), vector=vector, context=False, candidates=7)
    assert {5, *range(93, 100)} == set(ranking.rows.tolist())


# --- context ---------------------------------------------------------------------------------------------------------


def test_neighbours_and_threads_worked_out_by_hand() -> None:
    """One thread of six around a match of 4, another with a match of 2, and a stranger that no one proposes."""
    columns = _columns([1, 1, 1, 1, 1, 1, 2, 3])
    ranking = fuse(columns, _all(columns), text=_text({2: 4, 6: 2}), vector=None)
    assert {0: 0.2, 1: 0.5, 2: 0.0, 3: 0.5, 4: 0.2, 5: 0.1, 6: 0.0} == pytest.approx(_by_row(ranking, "neighbours"))
    assert {0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 0.5} == pytest.approx(_by_row(ranking, "thread"))
    assert {2: 1.8, 1: 1.3, 3: 1.3, 0: 1.0, 4: 1.0, 5: 0.9, 6: 0.9} == pytest.approx(_by_row(ranking))
    assert [2, 1, 3, 0, 4] == ranking.rows.tolist()[:5]


def test_evidence_of_several_neighbours_adds_up() -> None:
    """Two matches of 8 and 4 beside each other: each lends the other half, and both lend to the third."""
    columns = _columns([1, 1, 1])
    ranking = fuse(columns, _all(columns), text=_text({0: 8, 1: 4}), vector=None)
    assert {0: 0.25, 1: 0.5, 2: 0.2 + 0.25} == pytest.approx(_by_row(ranking, "neighbours"))


def test_vector_evidence_is_lent_too() -> None:
    """What neighbours lend is text and vector by their weights."""
    columns = _columns([1, 1, 2, 2])
    vector = np.array([0.8, 0.4, 0.4, 0.4], dtype=np.float32)
    ranking = fuse(columns, _all(columns), text=_text({}), vector=vector)
    own = 0.15 * 3**0.5
    assert {0: 0, 1: 0.5 * own} == pytest.approx(_by_row(ranking, "neighbours"))
    assert {0: 1, 1: 1} == pytest.approx(_by_row(ranking, "thread"))


def test_neighbours_stand_by_position_not_by_age() -> None:
    """The rows of a thread came in another order than they stand in it."""
    columns = _columns([1, 2, 1, 2, 1], positions=[9, 0, 3, 1, 5])
    ranking = fuse(columns, _all(columns), text=_text({2: 1}), vector=None)
    assert {2: 0.0, 4: 0.5, 0: 0.2} == pytest.approx(_by_row(ranking, "neighbours"))


def test_a_hidden_neighbour_keeps_its_place_and_lends_nothing() -> None:
    """It is not returned, and those behind it stand no closer."""
    columns = _columns([1, 1, 1, 1])
    visible = np.array([True, False, True, True])
    ranking = fuse(columns, visible, text=_text({0: 2, 1: 4}), vector=None)
    assert {0: 0.0, 2: 0.2, 3: 0.1} == pytest.approx(_by_row(ranking, "neighbours"))


def test_only_the_strongest_bring_their_neighbours() -> None:
    """The 50 strongest candidates propose those around them; a weaker one is ranked without."""
    count = SEEDS + 1
    columns = _columns([thread for thread in range(1, count + 1) for _ in range(2)])
    scores = {2 * number: float(count - number) for number in range(count)}
    found = set(fuse(columns, _all(columns), text=_text(scores), vector=None).rows.tolist())
    assert {*scores, *(row + 1 for row in list(scores)[:SEEDS])} == found


# --- days ------------------------------------------------------------------------------------------------------------


def test_evidence_of_days_worked_out_by_hand() -> None:
    """Nothing before the span, all within it, and less and less over the two weeks behind it."""
    stamps = ["2023-05-06", "2023-05-07", "2023-05-09", "2023-05-10", "2023-05-16", "2023-05-23", "2024-05-08"]
    created = [int(datetime.fromisoformat(f"{s}T23:59:59+00:00").timestamp()) * 10**6 for s in stamps]
    columns = _columns(list(range(1, 8)), created=created)
    days = [(date(2023, 5, 7).toordinal(), date(2023, 5, 9).toordinal())]
    ranking = fuse(
        columns, _all(columns), text=_text(dict.fromkeys(range(7), 1.0)), vector=None, days=days, context=False
    )
    expected = {0: 0, 1: 1, 2: 1, 3: 13 / 14, 4: 0.5, 5: 0, 6: 0}
    assert expected == pytest.approx(_by_row(ranking, "date"))
    assert {row: 1 + 0.6 * value for row, value in expected.items()} == pytest.approx(_by_row(ranking))


def test_the_nearest_of_several_spans_counts() -> None:
    """A month without a year is several spans; a passage has the evidence of its best."""
    created = [int(datetime(year, 6, 7, tzinfo=UTC).timestamp()) * 10**6 for year in (1950, 2022, 2023)]
    columns = _columns([1, 2, 3], created=created)
    days = [(date(year, 5, 1).toordinal(), date(year, 5, 31).toordinal()) for year in (1950, 2022)]
    text = _text(dict.fromkeys(range(3), 1.0))
    ranking = fuse(columns, _all(columns), text=text, vector=None, days=days, context=False)
    assert {0: 0.5, 1: 0.5, 2: 0.0} == pytest.approx(_by_row(ranking, "date"))


# --- cosine alone ----------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(0, 80), st.integers(1, 90))
def test_by_cosine_is_the_brute_force_answer(seed: int, count: int, candidates: int) -> None:
    """Exactly the closest of what may be seen and has a vector, best first, the older first among equals."""
    generator = np.random.default_rng(seed)
    columns = _columns([1] * count, without=tuple(np.flatnonzero(generator.random(count) < 0.2).tolist()))
    visible = generator.random(count) < 0.7
    vector = generator.permutation(np.linspace(-1, 1, count)).astype(np.float32)
    ranking = by_cosine(columns, visible, vector, candidates)
    able = [row for row in range(count) if visible[row] and columns.scale[row] > 0]
    expected = sorted(able, key=lambda row: (-vector[row], row))[:candidates]
    assert expected == ranking.rows.tolist()
    assert vector[expected].tolist() == ranking.score.tolist() == ranking.signals["cosine"].tolist()


def test_by_cosine_puts_the_older_first_among_equals() -> None:
    """Equal cosines stand in the order of passages."""
    columns = _columns([1] * 5)
    vector = np.array([0.5, 0.7, 0.5, 0.7, 0.5], dtype=np.float32)
    assert [1, 3, 0, 2, 4] == by_cosine(columns, _all(columns), vector, 5).rows.tolist()


def test_a_memory_lends_itself_no_evidence() -> None:
    """Passages of one memory are no neighbours of each other; those of another memory in the thread are."""
    columns = _columns([7, 7, 7])
    alone = fuse(_in_memories(columns, [1, 1, 2]), _all(columns), text=_text({0: 2.0}), vector=None)
    apart = fuse(_in_memories(columns, [1, 3, 2]), _all(columns), text=_text({0: 2.0}), vector=None)

    assert 0.0 == _by_row(alone, "neighbours")[1]
    assert _by_row(apart, "neighbours")[1] > 0
    assert _by_row(alone, "neighbours")[2] == _by_row(apart, "neighbours")[2] > 0


def test_a_long_memory_does_not_win_by_one_close_passage() -> None:
    """Half of a passage's vector signal is the mean of its memory, so a short memory as close as one of many leads."""
    columns = _in_memories(_columns([1, 1, 1, 1, 2]), [1, 1, 1, 1, 2])
    vector = np.array([0.6, 0.0, 0.0, 0.0, 0.6], dtype=np.float32)
    ranking = fuse(columns, _all(columns), text=_text({}), vector=vector, context=False)

    assert 4 == ranking.rows[0]
    assert _by_row(ranking, "vector")[4] > _by_row(ranking, "vector")[0] > 0
