"""Where success rates are going, of many patterns at once."""

from __future__ import annotations

from datetime import tzinfo
from typing import Final

from lamina.patterns.reports import Trend
from lamina.patterns.rows import DAY
from lamina.patterns.usage import periods, trend_of
from lamina.storage.reader import Reader

__all__ = ["trends"]

_MOST: Final = 500
"""Patterns that are looked at, the most used first."""
_PLACES: Final = {"rising": 0, "falling": 0, "steady": 1, "unknown": 2}


def trends(reader: Reader, end: int, weeks: int, zone: tzinfo) -> list[Trend]:
    """Return the trends of the patterns that were used in the weeks before ``end``, the surest changes first.

    Args:
        reader: Of the catalog.
        end: Microseconds since 1970.
        weeks: How many before it.
        zone: Time zone of the weeks.
    """
    since = end - weeks * 7 * DAY
    rows = reader.db.execute(
        "SELECT seq, id FROM pattern INDEXED BY pattern_last WHERE state = 0 AND last_used >= ? AND first_used <= ? "
        "ORDER BY uses DESC LIMIT ?",
        (since, end, _MOST),
    ).fetchall()
    found = []
    for number, id in rows:
        used = periods(reader, number, "week", zone, since=since, until=end + 1)
        if any(week.count for week in used):  # else it was used before and after that time
            found.append(trend_of(id, used))
    found.sort(key=lambda trend: (_PLACES[trend.direction], -trend.confidence, trend.id))
    return found
