from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina import InvalidInputError, Memories

LANGUAGES = [
    ("数据库迁移到了新的服务器上。", "数据库"),
    ("明日の会議は午後三時に始まります。", "会議"),
    ("데이터베이스를 새 서버로 옮겼습니다.", "데이터베이스"),
    ("เราย้ายฐานข้อมูลไปที่เซิร์ฟเวอร์ใหม่", "ฐานข้อมูล"),
    ("نقلنا قاعدة البيانات إلى خادم جديد", "قاعدة البيانات"),
    ("Мы перенесли базу данных на новый сервер.", "базу данных"),
    ("Das Übergabeprotokoll liegt in der Ablage.", "ubergabeprotokoll"),
    ("parseUserInput() raises when the form is empty", "parse user input"),
    ("renderPageHeader() fails on a phone", "renderPageHeader"),
    ("set max_retry_count to five", "retry count"),
    ("set max_backoff_time to five", "max_backoff_time"),
    ("see src/lamina/storage/writer.py for the insert", "writer.py"),
    ("look at docs/guides/install.md first", "docs/guides/install.md"),
    ("version 2.14.3 broke the build", "2.14.3"),
    ("party on friday 🎉", "🎉"),
]


def test_every_language_and_identifier_finds(m: Memories) -> None:
    """Scripts without spaces, accents, identifiers, paths, versions and pictures are found by their parts."""
    ids = m.add_many(text for text, _ in LANGUAGES)
    m.add_many(f"ordinary filler sentence number {number}" for number in range(40))
    for id, (text, query) in zip(ids, LANGUAGES, strict=True):
        for mode in ("hybrid", "text"):
            assert id == m.recall(query, mode=mode)[0].memory.id, (text, query, mode)


def test_stop_words_alone_answer(m: Memories) -> None:
    """A question of stop words only finds the text that has them."""
    m.add_many(f"ordinary filler sentence number {number}" for number in range(20))
    memory = m.add("To be or not to be")
    for mode in ("hybrid", "text"):
        assert memory.id == m.recall("to be or not to be", mode=mode)[0].memory.id


def test_a_long_body_is_found_by_a_sentence_in_its_middle(m: Memories) -> None:
    """A passage answers for its memory, once, and is shown."""
    filler = "\n\n".join(f"Paragraph {number} speaks of the weather and of the harvest." for number in range(200))
    needle = "The vault opens with the number seventeen."
    memory = m.add(f"{filler}\n\n{needle}\n\n{filler}")
    m.add_many(f"a short note about the harvest {number}" for number in range(20))
    hits = m.recall("which number opens the vault", explain=True)
    assert memory.id == hits[0].memory.id
    assert hits[0].explanation
    assert needle in hits[0].explanation.passage
    assert len(hits[0].explanation.passage) <= 1250
    assert len({hit.memory.id for hit in hits}) == len(hits)


def test_title_and_description_find(m: Memories) -> None:
    """Words of title and description count more than those of the text."""
    body = m.add("The walrus is mentioned here among other things.")
    title = m.add("Nothing of that kind in this text.", title="Walrus")
    described = m.add("Neither in this one, which is of something else.", description="all about the narwhal")
    m.add_many(f"ordinary filler sentence number {number}" for number in range(20))
    assert [title.id, body.id] == [hit.memory.id for hit in m.recall("walrus", mode="text")]
    assert [described.id] == [hit.memory.id for hit in m.recall("narwhal", mode="text")]


def test_what_is_added_is_found_by_the_next_question(m: Memories) -> None:
    """A word that was asked for in vain is found as soon as a memory has it, however large the store is."""
    m.add_many(f"note number {number} about apples" for number in range(300))
    assert not m.recall("zebra", mode="text")
    memory = m.add("A zebra crossing.")
    assert [memory.id] == [hit.memory.id for hit in m.recall("zebra", mode="text")]
    assert not m.recall("okapi", mode="text")
    m.update(memory.id, text="An okapi crossing.")
    assert [memory.id] == [hit.memory.id for hit in m.recall("okapi", mode="text")]
    assert not m.recall("zebra", mode="text")


def test_a_common_word_still_finds_in_a_small_store(plain: Memories) -> None:
    """In a store of a few memories everything that shares a word with the question is an answer."""
    for drink in ("tea", "coffee", "juice"):
        plain.add(f"Ana likes {drink}.")
    assert 3 == len(plain.recall("What about Ana and tea?"))


@pytest.mark.parametrize(
    "query",
    ["?!…", "🦊", "\u200b", "\ud800", "abc\ud800def", "a" * 5000, "x " * 40_000, "' OR 1=1 --", '"', "NEAR(a b)"],
)
def test_any_question_gets_an_answer(m: Memories, query: str) -> None:
    """Whatever the question holds, the answer is a list, in every mode."""
    m.add_many(["one two three", "abc def", "the fox"])
    for mode in ("hybrid", "text", "vector"):
        assert len(m.recall(query, mode=mode, explain=True)) <= 3


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(min_size=1, max_size=60).filter(lambda text: bool(text.strip())))
def test_no_question_breaks_anything(m: Memories, query: str) -> None:
    """Any text at all may be asked, surrogates and control characters included."""
    if not m.count():
        m.add_many(["one two three", "abc def", "数据库"])
    for hit in m.recall(query):
        assert math.isfinite(hit.score)
        assert hit.why


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"query": ""},
        {"query": " \n\t"},
        {"query": "x" * 100_001},
        {"query": 5},
        {"query": b"bytes"},
        {"query": "x", "mode": "fuzzy"},
        {"query": "x", "mode": None},
        {"query": "x", "limit": 10_001},
        {"query": "x", "limit": None},
        {"query": "x", "token_budget": 0},
        {"query": "x", "token_budget": "many"},
        {"query": "x", "as_of": "yesterday"},
        {"vector": [1.0] * 256, "mode": "text"},
    ],
    ids=",".join,
)
def test_a_question_without_meaning_is_refused(m: Memories, arguments: dict[str, Any]) -> None:
    """No question, an endless one and options that mean nothing are errors with a hint."""
    with pytest.raises(InvalidInputError) as caught:
        m.recall(**arguments)
    assert caught.value.hint


def test_a_hundred_thousand_characters_may_be_asked(m: Memories) -> None:
    """A very long question is answered, and what was not searched for is said."""
    m.add("word77 stands here")
    words = " ".join(f"word{number}" for number in range(11_000))[:100_000]
    hits = m.recall(words)
    assert hits
    assert any("different words" in notice for notice in hits.notices)


def test_an_empty_store_answers_with_nothing(m: Memories) -> None:
    """A store without memories has no hits, and no trouble either."""
    for mode in ("hybrid", "text", "vector"):
        hits = m.recall("anything", mode=mode, explain=True, token_budget=100)
        assert ([], (), (), 0, "") == (list(hits), hits.notices, hits.left_out, hits.tokens, hits.text())
    assert [] == m.list()
    assert 0 == m.count()


def test_limit_and_order(m: Memories) -> None:
    """At most as many as asked for, best first, and a smaller limit gives the same first ones."""
    m.add_many(f"apple tree number {number} of the orchard" for number in range(60))
    many = m.recall("orchard", limit=40)
    assert 40 == len(many)
    assert sorted((hit.score for hit in many), reverse=True) == [hit.score for hit in many]
    best = m.recall("apple tree 7", limit=1)
    assert [hit.memory.id for hit in m.recall("apple tree 7", limit=5)][:1] == [hit.memory.id for hit in best]
    assert "number 7 " in best[0].memory.text


def test_the_same_question_gets_the_same_answer(m: Memories) -> None:
    """Asking twice gives equal scores and order."""
    m.add_many(f"apple tree number {number} of the orchard" for number in range(60))
    first, second = (
        [(hit.memory.id, pytest.approx(hit.score, abs=1e-4)) for hit in m.recall("apple 7")] for _ in range(2)
    )
    assert first == [(id, score) for id, score in second]


def test_neighbours_in_a_thread_are_answers(m: Memories) -> None:
    """The turn after a question in the same thread comes up with it."""
    m.add_many(
        {"text": f"turn {number} of some talk about lunch", "thread": "x", "position": number} for number in range(20)
    )
    m.add("Where did you park the bicycle?", thread="y", position=1)
    answer = m.add("Behind the bakery.", thread="y", position=2)
    assert answer.id in [hit.memory.id for hit in m.recall("where is the bicycle parked", limit=3)]


def test_a_named_day_prefers_what_was_written_then(m: Memories) -> None:
    """A question that names a month prefers memories of that month."""
    for month in (3, 5, 9):
        m.add("We talked about the budget.", created_at=datetime(2023, month, 10, tzinfo=UTC))
    assert 5 == m.recall("what did we say about the budget in May 2023")[0].memory.created_at.month


# --- budgets ---------------------------------------------------------------------------------------------------------

FACT = "The staging database moved from port 5432 to port 5433 on the old machine because reporting needed its own"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(budget=st.integers(1, 400))
def test_a_token_budget_holds(m: Memories, budget: int) -> None:
    """The answer never takes more than the budget, as the hits count it and as four characters a token do."""
    if not m.count():
        m.add_many(f"database fact number {number} " + "and more of it " * (number % 9) for number in range(30))
    hits = m.recall("database fact", token_budget=budget, limit=20)
    assert hits.tokens <= budget
    assert math.ceil(len(hits.text()) / 4) <= budget
    assert len(hits) + len(hits.left_out) > 0


def test_near_duplicates_are_left_out_and_named(m: Memories) -> None:
    """Of near-duplicates a budget takes the best one; the others are named with it."""
    ids = {m.add(FACT).id, m.add(FACT).id, m.add(FACT + " one").id}
    other = m.add("The port of the other database is unknown to everyone in the team.")
    hits = m.recall("port of the database", token_budget=1000)
    kept = {hit.memory.id for hit in hits}
    assert 1 == len(kept & ids)
    assert other.id in kept
    assert ids - kept == {id for id, _ in hits.left_out}
    assert all("near-duplicate of" in reason for _, reason in hits.left_out)
    assert 4 == len(m.recall("port of the database")), "without a budget nothing is left out"


def test_what_does_not_fit_is_named(m: Memories) -> None:
    """A memory too long for the rest of the budget is named with its need, and a shorter one takes its place."""
    long = m.add("database " * 200)
    short = m.add("the database is small")
    hits = m.recall("database", token_budget=50, limit=5)
    assert [short.id] == [hit.memory.id for hit in hits]
    assert [long.id] == [id for id, _ in hits.left_out]
    assert "tokens" in hits.left_out[0][1]
