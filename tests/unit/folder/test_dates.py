"""Relative times in a text: which are pointed out, and what is left in peace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.folder.dates import relative_dates


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("We decided it yesterday.", ("yesterday",)),
        ("Yesterday we decided it.", ("Yesterday",)),
        ("today's build and tomorrow's", ("today", "tomorrow")),
        ("It ships tonight; the day after tomorrow we look.", ("tonight", "the day after tomorrow")),
        ("the freeze starts next week", ("next week",)),
        ("last Tuesday and next  \nMonday", ("last Tuesday", "next Monday")),
        ("last month, last year, this quarter", ("last month", "last year", "this quarter")),
        ("this morning", ("this morning",)),
        ("last night", ("last night",)),
        ("in two days", ("in two days",)),
        ("in a couple of weeks", ("in a couple of weeks",)),
        ("in 3 months' time", ("in 3 months' time",)),
        ("3 weeks ago", ("3 weeks ago",)),
        ("an hour ago", ("an hour ago",)),
        ("two years from now", ("two years from now",)),
        ("merge by Friday, test on Monday", ("by Friday", "on Monday")),
        ("last March", ("last March",)),
        ("the other day", ("the other day",)),
        ("(yesterday)", ("yesterday",)),
        ("**yesterday** and _today_", ("yesterday",)),
        ("yesterday, Yesterday, YESTERDAY", ("yesterday",)),
    ],
)
def test_relative_times_are_found(text: str, found: tuple[str, ...]) -> None:
    """What is true for a while only is pointed out as written, each once."""
    assert relative_dates(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "Decided on 2026-03-04.",
        "day 3 of the plan",
        "This may be wrong.",
        "this march of progress",
        "The next step, the last time, the next release.",
        "every day, every Friday, on Mondays",
        "the last week of March",
        "`yesterday` is a function; so is `next week`",
        "```\nreturn today's\nyesterday\n```",
        "today_date = last_week + 1",
        "see yesterday.md, /logs/today/x and get-yesterday",
        "@today, $today, #today",
        "as today as ever",
        "yesterday (2026-03-04) it broke",
        "on Friday, 2026-03-06",
        "on Friday, 6 March",
        "last March 2025",
        "a two-day trip that takes 3 days",
        "in the morning",
        "It runs in 5 seconds.",
        "",
    ],
)
def test_what_stays_true_is_left_in_peace(text: str) -> None:
    """Dates, code, habits, durations, names and a day whose date stands beside it set nothing off."""
    assert relative_dates(text) == ()


@given(st.text(max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    """Whatever the text, each find is in it, apart from its spaces."""
    for found in relative_dates(text):
        assert "".join(found.split()) in "".join(text.split())
