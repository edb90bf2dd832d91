"""Uses over time: by day, week and month of a time zone, and where the success rate is going.

Counts come from totals by day of UTC. Where a period of another zone begins inside such a day, the uses of that one day
are looked at themselves, so that the counts are exact and a year of weeks costs 52 looks at a day.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import pairwise
from typing import Any, Literal

from lamina.patterns.reports import Period, Trend, Week
from lamina.patterns.rows import DAY
from lamina.search.outcomes import HALF_LIFE_MICROS, Z, wilson
from lamina.sessions.checks import check_time, check_zone
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.reader import Reader
from lamina.storage.records import to_micros

__all__ = ["Usage", "periods", "trend_of"]

Unit = Literal["day", "week", "month"]
_MOST_PERIODS = 100_000


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
            end = _next(week.start.date(), "week", check_zone(tz))
            last = end if week.count else last
            if last is not None:
                age = to_micros(end) - to_micros(last)
                found.append((end, wilson(successes, uses)[0] * 2.0 ** (-age / HALF_LIFE_MICROS)))
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
    starts = list(_starts(max(first, since or first), min(last, (until - 1) if until else last), unit, zone))
    if len(starts) < 2:
        return []
    counts = _Counts(reader, pattern, rows)
    return [
        Period(start=begin[1], count=found[0], successes=found[1])
        for begin, end in pairwise(starts)
        for found in (counts.between(begin[0], end[0]),)
    ]


def _ends(reader: Reader, pattern: int) -> tuple[int, int]:
    ((first, last),) = reader.db.execute(
        "SELECT first_used, last_used FROM pattern WHERE seq = ?", (pattern,)
    ).fetchall()
    return int(first), int(last)


def _starts(first: int, last: int, unit: Unit, zone: tzinfo) -> Iterator[tuple[int, datetime]]:
    """Yield the begin of each period as microseconds and as a local time, and the end of the last one."""
    if last < first:
        return
    try:
        day = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=first)).astimezone(zone).date()
        day = day - timedelta(days=day.weekday()) if unit == "week" else day.replace(day=1) if unit == "month" else day
        begin = datetime.combine(day, time(), zone)
        for _ in range(_MOST_PERIODS):
            at = to_micros(begin)
            yield at, begin
            if at > last:
                return
            begin = _next(begin.date(), unit, zone)
    except OverflowError:  # the calendar ends
        return


def _next(day: date, unit: Unit, zone: tzinfo) -> datetime:
    if unit == "month":
        after = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    else:
        after = day + timedelta(days=7 if unit == "week" else 1)
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

    def between(self, begin: int, end: int) -> tuple[int, int]:
        """Return uses and successes from ``begin`` to before ``end``, in microseconds."""
        low, high = self._until(begin), self._until(end)
        return high[0] - low[0], high[1] - low[1]

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


def trend_of(id: str, weeks: Sequence[Week]) -> Trend:
    """Return the weighted slope of the success rate over weeks, with its interval.

    With n uses and rate p in week x, P the rate of all weeks and m the mean of x weighted by n, the slope is
    ``sum n (x - m) (p - P) / sum n (x - m)²``, its standard error ``sqrt(P (1 - P) / sum n (x - m)²)``. Their quotient
    is the statistic of the Cochran-Armitage test for a trend in proportions (Armitage 1955, Biometrics 11), whose
    two-sided p is the confidence's complement.
    """
    filled = [(number, week.count, week.successes) for number, week in enumerate(weeks) if week.count]
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
