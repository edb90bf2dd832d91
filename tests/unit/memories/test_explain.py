from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from lamina import InvalidInputError, Memories


@pytest.fixture
def orchard(m: Memories) -> Memories:
    """A store with threads, vectors, titles, feedback and long texts."""
    m.add_many(
        {"text": f"apple tree number {number} of the orchard", "thread": f"t{number % 3}", "position": number}
        for number in range(40)
    )
    m.add("the pear tree", title="Apple of the eye", importance=1.0)
    m.feedback(m.add("an apple a day, written in May 2026").id, "helped")
    m.add("\n\n".join(f"paragraph {number} about one apple" for number in range(150)))
    return m


@pytest.mark.parametrize("mode", ["hybrid", "text", "vector"])
@pytest.mark.parametrize("exact", [False, True])
def test_the_parts_sum_to_the_score(orchard: Memories, mode: Any, exact: bool) -> None:
    """Each hit's score is the sum of its signals times their weights, in every mode."""
    hits = orchard.recall("apple tree 7 in May 2026", mode=mode, exact=exact, explain=True, limit=30)
    assert hits
    for hit in hits:
        assert hit.explanation
        parts = hit.explanation
        assert set(parts.signals) == set(parts.weights)
        total = sum(value * parts.weights[name] for name, value in parts.signals.items())
        assert pytest.approx(hit.score, abs=1e-6) == total
        assert parts.passage in hit.memory.text
    assert sorted((hit.score for hit in hits), reverse=True) == [hit.score for hit in hits]


def test_terms_tell_what_matched(orchard: Memories) -> None:
    """Each matching word is told with its occurrences, how many passages hold it, and its share, the rarest first."""
    orchard.add("a zebra under an apple tree and one more zebra")
    hit = orchard.recall("zebra apple submarine", explain=True, mode="text")[0]
    assert hit.explanation
    terms = {term.term: term for term in hit.explanation.terms}
    assert {"zebra", "appl"} == set(terms) or {"zebra", "apple"} == set(terms)
    assert (2, 1) == (terms["zebra"].count, terms["zebra"].documents)
    assert "zebra" == hit.explanation.terms[0].term
    assert all(term.score >= 0 for term in hit.explanation.terms)
    assert "zebra" in hit.why


def test_without_explain_there_is_only_why(orchard: Memories) -> None:
    """The explanation costs something, so it is made only when asked for; ``why`` is always there."""
    for hit in orchard.recall("apple"):
        assert hit.explanation is None
        assert hit.why


# --- what is missing -------------------------------------------------------------------------------------------------


def reason(m: Memories, query: str, id: str, **options: Any) -> str:
    """Return the first reason, after looking that the memory is really missing."""
    assert id not in [hit.memory.id for hit in m.recall(query, **options)]
    report = m.explain_missing(query, id, **options)
    assert id == report.id
    assert report.reasons
    return report.reasons[0]


def test_nothing_is_missing_of_a_hit(orchard: Memories) -> None:
    """For a memory that was returned there is no reason, and its rank and score are the answer's."""
    hits = orchard.recall("apple tree 7")
    for place, hit in enumerate(hits, 1):
        report = orchard.explain_missing("apple tree 7", hit.memory.id)
        assert () == report.reasons
        assert place == report.rank
        assert pytest.approx(hit.score, abs=1e-4) == report.score
        assert pytest.approx(hits[-1].score, abs=1e-4) == report.cutoff
        assert report.explanation


def test_deleted_expired_superseded(m: Memories) -> None:
    """Each way of being out of date is named, with when or by what."""
    deleted, old, new = m.add("one pelican"), m.add("two pelicans"), m.add("three pelicans")
    expired = m.add("four pelicans", valid_until=datetime(2020, 1, 1, tzinfo=UTC))
    m.delete(deleted.id)
    m.supersede(old.id, new.id)
    assert "deleted at 20" in reason(m, "pelicans", deleted.id)
    assert f"superseded by {new.id}" in reason(m, "pelicans", old.id)
    assert "expired at 2020-01-01" in reason(m, "pelicans", expired.id)
    assert "no memory of this id" in reason(m, "pelicans", "0000000000000000zz")


@pytest.mark.parametrize(
    "options",
    [
        {"scope": "team"},
        {"scope": ["team", "user/x"]},
        {"type": "user"},
        {"tags": ["other"]},
        {"since": datetime(2030, 1, 1, tzinfo=UTC)},
        {"until": datetime(2000, 1, 1, tzinfo=UTC)},
        {"where": {"k": 2}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_each_filter_is_named(m: Memories, options: dict[str, Any]) -> None:
    """The filter that leaves a memory out is told by its name and value, beside one that does not."""
    memory = m.add("one pelican", tags=["bird"], metadata={"k": 1})
    told = m.explain_missing("pelican", memory.id, **{"scope": "private", **options})
    assert 1 == len(told.reasons)
    assert f"filter {next(iter(options))}=" in told.reasons[0]
    assert f"filter {next(iter(options))}=" in reason(m, "pelican", memory.id, **options)


def test_not_there_at_that_time(m: Memories) -> None:
    """With ``as_of`` the reason speaks of that moment."""
    moment = datetime.now(UTC)
    time.sleep(0.002)
    memory = m.add("one pelican")
    assert "not there at" in reason(m, "pelican", memory.id, as_of=moment)


@pytest.mark.parametrize("place", [2, 25, 55])
def test_outranked_with_rank_and_both_scores(m: Memories, place: int) -> None:
    """However far down a candidate is, its rank, its score and the last returned score are told."""
    m.add_many(f"apple number {number} " + "and other words " * number for number in range(60))
    ranked = [hit.memory.id for hit in m.recall("apple", limit=60, mode="text")]
    assert 60 == len(ranked)
    report = m.explain_missing("apple", ranked[place], limit=1, mode="text")
    assert place + 1 == report.rank
    assert report.score is not None
    assert report.cutoff is not None
    assert report.score <= report.cutoff
    assert f"ranked {place + 1}" in report.reasons[0]


def test_left_out_by_the_budget(m: Memories) -> None:
    """What a budget had no room for, and a near-duplicate of a hit, get the reason that recall gave."""
    long = m.add("pelican " * 300)
    m.add("a pelican is here")
    assert "tokens" in reason(m, "pelican", long.id, token_budget=40)
    first, second = (
        m.add("a heron and a stork stand in the water").id,
        m.add("a heron and a stork stand in the water").id,
    )
    found = [hit.memory.id for hit in m.recall("heron", token_budget=500)]
    other = second if first in found else first
    assert other not in found
    assert "near-duplicate" in reason(m, "heron", other, token_budget=500)


def test_never_a_candidate(plain: Memories) -> None:
    """A memory that nothing proposed shares no word with the question, and that is said."""
    memory = plain.add("A text about boats.")
    plain.add("A pelican.")
    assert "shares no word" in reason(plain, "pelican", memory.id)


def test_options_are_those_of_recall(m: Memories) -> None:
    """Every option of recall is taken; a made-up one is an error."""
    memory = m.add("one pelican")
    report = m.explain_missing(
        "pelican", memory.id, limit=5, mode="text", exact=True, token_budget=100, explain=True, type=None, vector=None
    )
    assert () == report.reasons
    with pytest.raises(InvalidInputError, match="colour"):
        m.explain_missing("pelican", memory.id, colour="red")
