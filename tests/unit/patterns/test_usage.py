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
