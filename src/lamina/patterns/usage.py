"""Uses over time: by day, week and month of a time zone, and where the success rate is going.

Counts come from totals by day of UTC. Where a period of another zone begins inside such a day, the uses of that one day
are looked at themselves, so that the counts are exact and a year of weeks costs 52 looks at a day.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Literal

from lamina.patterns.reports import Period, Trend, Week
from lamina.patterns.rows import DAY
from lamina.search.outcomes import Z, faded, wilson
from lamina.sessions.checks import check_zone
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.checks import check_time
from lamina.storage.reader import Reader
from lamina.storage.records import to_micros

__all__ = ["Usage", "periods", "trend_of"]

Unit = Literal["day", "week", "month"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime.min.replace(tzinfo=UTC)
_SHORTEST: dict[Unit, int] = {"day": DAY, "week": 7 * DAY, "month": 28 * DAY}
_MOST_PERIODS = 100_000
"""Periods from which on those without uses are left out."""
_EVER = 2**62
"""Microseconds beyond the calendar: where its first period begins and its last one ends."""


class Usage:
    """Uses of one pattern over time; read when asked. Made by ``store.patterns.usage``."""

    def __init__(self, catalog: SqliteCatalog, pattern: int, id: str) -> None:
        self._catalog = catalog
        self._pattern = pattern
        self.id = id

    def by_day(
        self, *, tz: str | tzinfo = "UTC", since: datetime | None = None, until: datetime | None = None
    ) -> list[Period]:
        """Return the days from the first use to the last, those without uses among them.

        Beyond 100,000 days, those without uses are left out; so they are of weeks and months.

        Args:
            tz: Time zone whose days are meant.
            since: Leave out what ended before.
            until: Leave out what begins then or later.
        """
        return self._by("day", tz, since, until)

    def by_week(
        self, *, tz: str | tzinfo = "UTC", since: datetime | None = None, until: datetime | None = None
    ) -> list[Week]:
        """Return the weeks from the first use to the last; a week begins on Monday at 00:00 of the time zone.

        Args:
            tz: Time zone whose weeks are meant; across a change of clocks a week is an hour shorter or longer.
            since: Leave out what ended before.
            until: Leave out what begins then or later.
        """
        return self._by("week", tz, since, until)

    def by_month(
        self, *, tz: str | tzinfo = "UTC", since: datetime | None = None, until: datetime | None = None
    ) -> list[Period]:
        """Return the months from the first use to the last, like :meth:`by_week`."""
        return self._by("month", tz, since, until)

    def effectiveness_over_time(self, *, tz: str | tzinfo = "UTC") -> list[tuple[datetime, float]]:
        """Return the effectiveness at the end of each week, of the uses until then."""
        uses = successes = 0
        last: datetime | None = None
        found: list[tuple[datetime, float]] = []
        for week in self.by_week(tz=tz):
            uses, successes = uses + week.count, successes + week.successes
            end = _next(week.start.date(), "week", check_zone(tz)) or week.start
            last = end if week.count else last
            if last is not None:
                age = to_micros(end) - to_micros(last)
                found.append((end, faded(wilson(successes, uses)[0], age)))
        return found

    def trend(self, *, tz: str | tzinfo = "UTC", since: datetime | None = None) -> Trend:
        """Return where the success rate is going, week by week."""
        return trend_of(self.id, self.by_week(tz=tz, since=since))

    def _by(self, unit: Unit, tz: str | tzinfo, since: datetime | None, until: datetime | None) -> list[Period]:
        zone = check_zone(tz)
        begin, end = check_time(since, "since"), check_time(until, "until")
        with self._catalog.read("counting uses") as reader:
            return periods(reader, self._pattern, unit, zone, since=begin, until=end)


def periods(
    reader: Reader, pattern: int, unit: Unit, zone: tzinfo, *, since: int | None = None, until: int | None = None
) -> list[Period]:
    """Return the periods between a pattern's first and last use, those without uses among them."""
    rows = reader.db.execute(
        "SELECT day, uses, successes FROM pattern_day WHERE pattern = ? ORDER BY day", (pattern,)
    ).fetchall()
    if not rows:
        return []
    first, last = _ends(reader, pattern)
    first, last = max(first, since or first), min(last, (until - 1) if until else last)
    if last < first:
        return []
    counts = _Counts(reader, pattern, rows)
    if (last - first) / _SHORTEST[unit] <= _MOST_PERIODS:
        wanted = _every(_start(_local(first, zone), unit), _start(_local(last, zone), unit), unit, zone)
        return list(counts.periods(wanted, unit, zone))
    days = sorted(
        {
            _start(_local(min(max(moment, first), last), zone), unit)
            for day, _, _ in rows
            for moment in (day * DAY, day * DAY + DAY // 2, day * DAY + DAY - 1)
            if day * DAY <= last and (day + 1) * DAY > first
        }
    )
    return [period for period in counts.periods(days, unit, zone) if period.count]


def _ends(reader: Reader, pattern: int) -> tuple[int, int]:
    ((first, last),) = reader.db.execute(
        "SELECT first_used, last_used FROM pattern WHERE seq = ?", (pattern,)
    ).fetchall()
    return int(first), int(last)


def _local(moment: int, zone: tzinfo) -> date:
    """Return the local date of a moment; beyond the ends of the calendar, its first or last day."""
    try:
        return (_EPOCH + timedelta(microseconds=moment)).astimezone(zone).date()
    except (OverflowError, ValueError):
        return date.min if moment < 0 else date.max


def _start(day: date, unit: Unit) -> date:
    """Return the first day of the period that a day is in."""
    return day - timedelta(days=day.weekday()) if unit == "week" else day.replace(day=1) if unit == "month" else day


def _every(first: date, last: date, unit: Unit, zone: tzinfo) -> Iterator[date]:
    """Yield the first days of all periods between two of them."""
    day: date | None = first
    while day is not None and day <= last:
        yield day
        after = _next(day, unit, zone)
        day = None if after is None else after.date()


def _next(day: date, unit: Unit, zone: tzinfo) -> datetime | None:
    """Return when the period after one begins, or None where the calendar ends."""
    try:
        if unit == "month":
            after = date(day.year + day.month // 12, day.month % 12 + 1, 1)
        else:
            after = day + timedelta(days=7 if unit == "week" else 1)
    except (OverflowError, ValueError):
        return None
    return datetime.combine(after, time(), zone)


class _Counts:
    """Uses between two moments: whole days of UTC from their totals, parts of days from the uses themselves."""

    def __init__(self, reader: Reader, pattern: int, rows: Sequence[tuple[Any, ...]]) -> None:
        self._reader = reader
        self._pattern = pattern
        self._days = {day: (uses, successes) for day, uses, successes in rows}
        self._running: list[tuple[int, int, int]] = []
        uses = successes = 0
        for day, count, good in rows:
            self._running.append((day, uses, successes))
            uses, successes = uses + count, successes + good
        self._running.append((2**62, uses, successes))
        self._before: dict[int, tuple[int, int]] = {}

    def periods(self, days: Iterable[date], unit: Unit, zone: tzinfo) -> Iterator[Period]:
        """Yield the periods that begin on these days, in order."""
        for day in days:
            after = _next(day, unit, zone)
            begin = -_EVER if day == date.min else to_micros(datetime.combine(day, time(), zone))
            low = self._until(begin)
            high = self._until(_EVER if after is None else to_micros(after))
            yield Period(start=_begin(day, zone), count=high[0] - low[0], successes=high[1] - low[1])

    def _until(self, moment: int) -> tuple[int, int]:
        """Return uses and successes before a moment."""
        from bisect import bisect_left

        known = self._before.get(moment)
        if known is not None:
            return known
        day, rest = divmod(moment, DAY)
        place = bisect_left(self._running, (day, -1, -1))
        _, uses, successes = self._running[place]
        if rest and day in self._days:
            ((count, good),) = self._reader.db.execute(
                "SELECT count(*), coalesce(sum(success), 0) FROM pattern_use WHERE pattern = ? AND at >= ? AND at < ?",
                (self._pattern, day * DAY, moment),
            ).fetchall()
            uses, successes = uses + count, successes + good
        self._before[moment] = (uses, successes)
        return uses, successes


def _begin(day: date, zone: tzinfo) -> datetime:
    """Return midnight of a day; of the calendar's first one, what of it UTC can say."""
    if day == date.min:
        try:
            return _FIRST.astimezone(zone)
        except (OverflowError, ValueError):
            pass
    return datetime.combine(day, time(), zone)


def trend_of(id: str, weeks: Sequence[Week]) -> Trend:
    """Return the weighted slope of the success rate over weeks, with its interval.

    With n uses and rate p in week x, P the rate of all weeks and m the mean of x weighted by n, the slope is
    ``sum n (x - m) (p - P) / sum n (x - m)²``, its standard error ``sqrt(P (1 - P) / sum n (x - m)²)``. Their quotient
    is the statistic of the Cochran-Armitage test for a trend in proportions (Armitage 1955, Biometrics 11), whose
    two-sided p is the confidence's complement.
    """
    filled = [
        ((week.start.date() - weeks[0].start.date()).days // 7, week.count, week.successes)
        for week in weeks
        if week.count
    ]
    total = sum(count for _, count, _ in filled)
    rate = sum(good for _, _, good in filled) / total if total else 0.0
    if len(filled) < 2 or not 0 < rate < 1:
        return Trend(id=id, direction="unknown" if len(filled) < 2 else "steady", weeks=tuple(weeks))
    mean = sum(number * count for number, count, _ in filled) / total
    spread = sum(count * (number - mean) ** 2 for number, count, _ in filled)
    slope = sum((number - mean) * (good - count * rate) for number, count, good in filled) / spread
    error = math.sqrt(rate * (1 - rate) / spread)
    low, high = slope - Z * error, slope + Z * error
    return Trend(
        id=id,
        direction="rising" if low > 0 else "falling" if high < 0 else "steady",
        slope=slope,
        low=low,
        high=high,
        confidence=math.erf(abs(slope) / error / math.sqrt(2)),
        weeks=tuple(weeks),
    )
