from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina import InvalidInputError, Patterns
from lamina.patterns.reports import Week
from lamina.patterns.usage import trend_of

START = datetime(2026, 1, 1, tzinfo=UTC)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati")


@given(
    hours=st.lists(st.integers(0, 24 * 400), min_size=1, max_size=60),
    zone=st.sampled_from(ZONES),
    unit=st.sampled_from(("day", "week", "month")),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_periods_equal_those_of_the_calendar(p: Patterns, hours: list[int], zone: str, unit: str) -> None:
    """In any zone and across changes of clocks, every use is in the day, week and month that its local date says."""
    for pattern in p.query().all():
        p.delete(pattern.id)
    moments = [START + timedelta(hours=hour, minutes=hour % 60) for hour in hours]
    p.record_many({"steps": ["a"], "type": "T", "success": at.hour % 2, "at": at} for at in moments)
    found = getattr(p.usage(p.query().all()[0].id), f"by_{unit}")(tz=zone)
    wanted: Counter[object] = Counter()
    for at in moments:
        day = at.astimezone(ZoneInfo(zone)).date()
        start = {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[unit]
        wanted[start] += 1
    assert {period.start.date(): period.count for period in found if period.count} == wanted
    assert sum(period.successes for period in found) == sum(at.hour % 2 for at in moments)
    assert all((period.start.hour, period.start.minute) == (0, 0) for period in found)
    if unit == "week":
        assert all(period.start.weekday() == 0 for period in found)
        assert len(found) == (found[-1].start.date() - found[0].start.date()).days // 7 + 1


def test_a_use_at_midnight_on_monday_is_in_the_new_week(p: Patterns) -> None:
    """The week begins on Monday at 00:00 of the zone that was asked for."""
    monday = datetime(2026, 3, 30, tzinfo=ZoneInfo("Europe/Berlin"))  # clocks went forward the day before
    p.record(["a"], type="T", success=True, at=monday)
    p.record(["a"], type="T", success=True, at=monday - timedelta(microseconds=1))
    usage = p.usage(p.query().all()[0].id)

    assert [week.count for week in usage.by_week(tz="Europe/Berlin")] == [1, 1]
    assert [week.count for week in usage.by_week()] == [2]
    with pytest.raises(InvalidInputError):
        usage.by_week(tz="Mars/Olympus")


def test_years_without_uses_are_left_out(p: Patterns) -> None:
    """Where there would be more than 100,000 days, those with uses are all there, and the others are not."""
    for at in (datetime(1601, 1, 1, tzinfo=UTC), START, START + timedelta(days=3)):
        p.record(["a"], type="T", success=True, at=at)
    usage = p.usage(p.query().all()[0].id)

    for zone in ZONES:
        days = usage.by_day(tz=zone)
        assert [day.count for day in days] == [1, 1, 1]
        assert {(day.start.hour, day.start.minute) for day in days} == {(0, 0)}
        assert sum(week.count for week in usage.by_week(tz=zone)) == 3
    assert usage.trend().direction == "steady"


@pytest.mark.parametrize("zone", ZONES)
def test_the_ends_of_the_calendar(p: Patterns, zone: str) -> None:
    """Uses on the first and the last day there are count in every zone."""
    last = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    for at in (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 3, tzinfo=UTC), last):
        p.record(["a"], type="T", success=True, at=at)
    usage = p.usage(p.query().all()[0].id)

    for found in (usage.by_day(tz=zone), usage.by_week(tz=zone), usage.by_month(tz=zone)):
        assert sum(period.count for period in found) == 3
        assert all(period.start.astimezone(UTC) for period in found)
    assert usage.effectiveness_over_time(tz=zone)


def weeks(*counts: tuple[int, int]) -> list[Week]:
    """Make weeks of (count, successes)."""
    return [Week(start=START + timedelta(weeks=n), count=c, successes=s) for n, (c, s) in enumerate(counts)]


def test_trends_say_how_sure_they_are() -> None:
    """A clear rise is rising, noise is steady, and one week says nothing."""
    rising = trend_of("p", weeks((20, 4), (20, 9), (20, 13), (20, 18)))
    steady = trend_of("p", weeks((4, 2), (4, 3), (4, 2), (4, 2)))
    falling = trend_of("p", weeks((20, 18), (0, 0), (20, 4)))

    assert (rising.direction, falling.direction, steady.direction) == ("rising", "falling", "steady")
    assert rising.slope == pytest.approx(0.23, abs=0.005)
    assert rising.low < rising.slope < rising.high
    assert rising.confidence > 0.99 > steady.confidence
    assert trend_of("p", weeks((5, 3))).direction == "unknown"
    assert trend_of("p", weeks((5, 5), (5, 5))).direction == "steady"


def test_effectiveness_over_time_fades(p: Patterns) -> None:
    """It rises with successes and halves in thirty days without use."""
    for day in range(5):
        p.record(["a"], type="T", success=True, at=START + timedelta(days=day))
    p.record(["a"], type="T", success=True, at=START + timedelta(days=70))
    values = [value for _, value in p.usage(p.query().all()[0].id).effectiveness_over_time()]

    assert len(values) == 11
    assert values[1] > values[2] > values[8] < values[10]
    assert values[2 + 4] == pytest.approx(values[2] * 2 ** (-28 / 30))


def test_trends_of_the_store(p: Patterns) -> None:
    """The surest changes come first, of patterns that were used in the time looked at."""
    for week in range(8):
        for use in range(20):
            at = START + timedelta(weeks=week, minutes=use)
            p.record(["better"], type="T", success=use < 2 + 2 * week, at=at)
            p.record(["same"], type="T", success=use % 2 == 0, at=at)
    first, second = p.trends(now=START + timedelta(weeks=8))

    assert (p.get(first.id).steps, first.direction) == (("better",), "rising")
    assert second.direction == "steady"
    assert p.trends(now=START + timedelta(weeks=60)) == []


def test_trends_of_a_time_that_is_over(p: Patterns) -> None:
    """What was first used later, or not used in the weeks looked at, is not among the trends."""
    p.record(["later"], type="T", success=True, at=START + timedelta(weeks=30))
    for week in (0, 60):
        p.record(["not then"], type="T", success=True, at=START + timedelta(weeks=week))
    p.record(["then"], type="T", success=True, at=START + timedelta(weeks=18))
    (only,) = p.trends(now=START + timedelta(weeks=20), weeks=4)

    assert p.get(only.id).steps == ("then",)
    assert only.direction == "unknown"
