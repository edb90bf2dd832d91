"""What people type for times, metadata and filters."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest

from lamina.cli.params import Fields, Metadata, When, filter_arguments, tags_of


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A user whose clock is nine hours ahead of UTC."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01", datetime(2026, 2, 28, 15, tzinfo=UTC)),
        ("2026-03-01T09:30", datetime(2026, 3, 1, 0, 30, tzinfo=UTC)),
        ("2026-03-01 09:30:05", datetime(2026, 3, 1, 0, 30, 5, tzinfo=UTC)),
        ("2026-03-01T09:30:00Z", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
        ("2026-03-01T09:30:00+02:00", datetime(2026, 3, 1, 7, 30, tzinfo=UTC)),
    ],
)
def test_times_are_the_users_own_unless_they_say_otherwise(tokyo: None, text: str, expected: datetime) -> None:
    """Without an offset a time is local; the store gets UTC."""
    assert When().convert(text, None, None) == expected


def test_a_date_alone_is_a_whole_day(tokyo: None) -> None:
    """As the end of a span a date includes its day."""
    assert When("end").convert("2026-03-01", None, None) == datetime(2026, 3, 1, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("30min", timedelta(minutes=30)),
        ("3h", timedelta(hours=3)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("6m", timedelta(days=180)),
        ("1y", timedelta(days=365)),
        ("+2d", timedelta(days=-2)),
        ("now", timedelta()),
    ],
)
def test_spans_count_back_from_now(text: str, ago: timedelta) -> None:
    """``7d`` is seven days ago, ``+7d`` seven days ahead."""
    assert abs(datetime.now(UTC) - ago - When().convert(text, None, None)) < timedelta(seconds=5)


def test_named_days_are_midnights(tokyo: None) -> None:
    """``today`` begins at the user's midnight, ``yesterday`` a day before."""
    today, yesterday = When().convert("today", None, None), When().convert("yesterday", None, None)

    assert (today - yesterday, today.hour, today.minute) == (timedelta(days=1), 15, 0)


@pytest.mark.parametrize("text", ["soon", "", "2026-13-01", "7 fortnights", "99999999d", "999999y"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """The message lists what can be written; nothing overflows."""
    with pytest.raises(click.BadParameter, match=r"is no time\. Write 2026-03-01"):
        When().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("room=blue", {"room": "blue"}),
        ("n=3", {"n": 3}),
        ("ok=true", {"ok": True}),
        ("none=null", {"none": None}),
        ('n="3"', {"n": '"3"'}),
        ("a=b=c", {"a": "b=c"}),
        ("empty=", {"empty": ""}),
        ('{"a": {"gt": 3}}', {"a": {"gt": 3}}),
    ],
)
def test_metadata_is_pairs_or_json(text: str, expected: dict[str, Any]) -> None:
    """Numbers, true, false and null are themselves; all else is text."""
    assert Metadata().convert(text, None, None) == expected


@pytest.mark.parametrize("text", ["room", "=x", "{", "{]", "[1]"])
def test_what_is_no_metadata_is_refused(text: str) -> None:
    """Neither a pair nor an object."""
    with pytest.raises(click.BadParameter):
        Metadata().convert(text, None, None)


def test_filters_become_the_stores_own() -> None:
    """What is not given is left out; several conditions must all hold."""
    assert filter_arguments((), (), ()) == {}
    assert filter_arguments(("user",), ("a,b", "c"), ({"k": 1},)) == {
        "type": "user",
        "tags": ("a", "b", "c"),
        "where": {"k": 1},
    }
    assert filter_arguments(("user", "record"), (), ({"k": 1}, {"n": 2})) == {
        "type": ["user", "record"],
        "where": {"AND": [{"k": 1}, {"n": 2}]},
    }


def test_tags_may_be_repeated_or_separated() -> None:
    """Each once, in order; a list that is none is refused."""
    assert tags_of(("b, a", "a", '["x,y"]')) == ("b", "a", "x,y")
    with pytest.raises(click.BadParameter):
        tags_of(("[",))


@pytest.mark.parametrize("text", ["text", "text=", "mood=x"])
def test_a_mapping_names_a_field(text: str) -> None:
    """--map takes FIELD=COLUMN with a field that a memory has."""
    assert Fields().convert("text=content", None, None) == ("text", "content")
    with pytest.raises(click.BadParameter):
        Fields().convert(text, None, None)
