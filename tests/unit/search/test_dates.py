"""Days that a question names: which it finds, and that anything else says nothing."""

from __future__ import annotations

import time
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.search.dates import named_days

Span = tuple[str, str]


def _named(question: str, first: int = 2022, last: int = 2023) -> list[Span]:
    return [
        (date.fromordinal(start).isoformat(), date.fromordinal(stop).isoformat())
        for start, stop in named_days(question, first, last)
    ]


def _day(text: str) -> Span:
    return text, text


MAY_2023 = ("2023-05-01", "2023-05-31")
YEAR_2023 = ("2023-01-01", "2023-12-31")


@pytest.mark.parametrize(
    ("question", "spans"),
    [
        ("What happened on 2023-05-07?", [_day("2023-05-07")]),
        ("2023-05-07", [_day("2023-05-07")]),
        ("the report of 2023-05", [MAY_2023]),
        ("from 2023-05-07 to 2023-06-01", [_day("2023-05-07"), _day("2023-06-01")]),
        ("on 7 May 2023", [_day("2023-05-07")]),
        ("on the 7th of May, 2023", [_day("2023-05-07")]),
        ("on May 7, 2023", [_day("2023-05-07")]),
        ("on May 7th 2023", [_day("2023-05-07")]),
        ("MAY 7 2023", [_day("2023-05-07")]),
        ("may 7 2023", [_day("2023-05-07")]),
        ("Sept. 1st, 2022", [_day("2022-09-01")]),
        ("sep 1 2022", [_day("2022-09-01")]),
        ("May 2023", [MAY_2023]),
        ("may of 2023", [MAY_2023]),
        ("May, 2023", [MAY_2023]),
        ("February 2024", [("2024-02-01", "2024-02-29")]),
        ("29 February 2024", [_day("2024-02-29")]),
        ("7 May", [_day("2022-05-07"), _day("2023-05-07")]),
        ("in May", [("2022-05-01", "2022-05-31"), MAY_2023]),
        ("early in late May", [("2022-05-01", "2022-05-31"), MAY_2023]),
        ("last December", [("2022-12-01", "2022-12-31"), ("2023-12-01", "2023-12-31")]),
        ("before March or after June 2023", [
            ("2022-03-01", "2022-03-31"), ("2023-03-01", "2023-03-31"), ("2023-06-01", "2023-06-30")
        ]),
        ("What did we do in 2023?", [YEAR_2023]),
        ("2022 or 2023", [("2022-01-01", "2022-12-31"), YEAR_2023]),
        ("in May 2023, not in 2022", [MAY_2023]),
    ],
)  # fmt: skip
def test_finds_the_days_that_are_named(question: str, spans: list[Span]) -> None:
    """ISO dates, month names with a day, a year or a preposition; a bare year only where nothing finer is named."""
    assert spans == _named(question)


@pytest.mark.parametrize(
    "question",
    [
        "",
        "Which port does staging use?",
        "May I ask you something?",
        "may we march in step",
        "You may go",
        "They march on the town",
        "in may",
        "April is my sister",
        "a decent sepia marble jar",
        "port 5432, room 1066, 12345, 20234 and 2023x",
        "section 2.10, version 19.5",
        "in the mayor's office",
        "on 31 April",
        "on May 0",
        "on May 45th",
        "yesterday, last week, on Monday",
        "\u0662\u0660\u0662\u0663",
        "v2023",
    ],
)
def test_anything_else_names_no_day(question: str) -> None:
    """Verbs that look like months, names, other numbers and days that no month has say nothing."""
    assert [] == _named(question)


@pytest.mark.parametrize("question", ["on 2023-02-30", "in 2023-13", "on 31 April 2023", "on February 29, 2023"])
def test_a_day_that_never_was_leaves_its_year(question: str) -> None:
    """Where the day cannot be, the year is all that is named."""
    assert [YEAR_2023] == _named(question)


def test_a_year_out_of_the_store_is_taken_as_it_is() -> None:
    """A named year is not moved into the store's years: it simply favours nothing there."""
    assert [("1987-05-01", "1987-05-31")] == _named("in May 1987")
    assert [("2087-01-01", "2087-12-31")] == _named("what comes in 2087?")


def test_a_month_alone_is_taken_in_the_last_ten_years_of_the_store() -> None:
    """However old the oldest memory is, a question stays short."""
    found = _named("in May", 1970, 2023)
    assert [f"{year}-05-01" for year in range(2014, 2024)] == [start for start, _ in found]


def test_a_leap_day_is_taken_in_the_years_that_have_it() -> None:
    """29 February without a year means the leap years alone."""
    assert [_day("2020-02-29"), _day("2024-02-29")] == _named("on 29 February", 2019, 2024)


@pytest.mark.parametrize("unit", ["x", " ", "1 ", "May ", "in May 7 ", "12 of ", "2023-", "in   ", "1st of\t"])
def test_a_very_long_question_takes_a_moment(unit: str) -> None:
    """Only the beginning is looked at, and no text makes that slow."""
    start = time.process_time()
    named_days(unit * (3_000_000 // len(unit)), 2022, 2023)
    assert time.process_time() - start < 0.5


def test_what_stands_behind_the_beginning_is_not_looked_at() -> None:
    """A date behind 2,000 characters is part of a document, not of a question."""
    assert [] == _named("x" * 2000 + " on 2023-05-07")
    assert [_day("2023-05-07")] == _named("x" * 1980 + " on 2023-05-07")


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["May", "march", "in", "7", "31st", "of", "2023", "2023-02-30", ",", "."]), max_size=9)
    .map(" ".join),
    st.integers(1, 9999),
    st.integers(0, 40),
)  # fmt: skip
def test_any_question_gives_spans_of_real_days(question: str, first: int, more: int) -> None:
    """Nothing fails, and every span runs forwards within what a date can be."""
    for start, stop in named_days(question, first, min(first + more, 9999)):
        assert 1 <= start <= stop <= date.max.toordinal()


@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)))
def test_every_way_of_writing_a_day_names_it(day: date) -> None:
    """The same day, written five ways."""
    only = [(day.toordinal(), day.toordinal())]
    long, short = day.strftime("%B"), day.strftime("%b")
    for text in (
        day.isoformat(),
        f"{day.day} {long} {day.year}",
        f"{long} {day.day}, {day.year}",
        f"{short} {day.day} {day.year}",
        f"on the {day.day}th of {short}. {day.year}",
    ):
        assert only == named_days(text, 2000, 2001), text
