"""Days that a question names, so that what was written then can be preferred.

Recognised are ISO dates, and English month names with a day, a year or a preposition beside them; a bare year counts
where nothing finer is named. Anything else says nothing, and changes nothing.
"""

from __future__ import annotations

import calendar
import re
from datetime import date

__all__ = ["named_days"]

_MONTHS = {name.lower(): number for number, name in enumerate(
    ("", "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
     "December")) if name}  # fmt: skip
_MONTHS |= {name[:3]: number for name, number in list(_MONTHS.items())} | {"sept": 9}
_NAMES = "|".join(sorted(_MONTHS, key=len, reverse=True))
_ISO = re.compile(r"\b((?:19|20)\d\d)-(\d\d)(?:-(\d\d))?\b", re.ASCII)
_NAMED = re.compile(
    rf"\b(?:(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?)?({_NAMES})\b\.?"
    r"(?:\s+(\d{1,2})(?:st|nd|rd|th)?\b)?(?:,?\s+(?:of\s+)?((?:19|20)\d\d)\b)?",
    re.IGNORECASE | re.ASCII,
)
_YEAR = re.compile(r"\b((?:19|20)\d\d)\b", re.ASCII)
_PREPOSITION = re.compile(
    r"\b(?:in|on|of|during|early|late|mid|since|until|by|before|after|around|last|this|next|for|from|to)\W+$",
    re.IGNORECASE,
)
_LOOK_BACK = 20
_LONGEST = 2000
_MOST_YEARS = 10


def named_days(question: str, first_year: int, last_year: int) -> list[tuple[int, int]]:
    """Return the spans of days that a question names.

    Args:
        question: Text; only its first 2,000 characters are looked at.
        first_year: Of the oldest memory; a month without a year is taken in every year of the store, the last ten.
        last_year: Of the newest memory.

    Returns:
        ``(first, last)`` as proleptic Gregorian ordinals (``date.toordinal``), both inclusive.
    """
    question = question[:_LONGEST]
    years = range(max(first_year, last_year - _MOST_YEARS + 1), last_year + 1)
    found: list[tuple[int, int]] = []
    for match in _ISO.finditer(question):
        found += _span(int(match[1]), int(match[2]), match[3])
    for match in _NAMED.finditer(question):
        day, year = match[1] or match[3], match[4]
        before = question[max(0, match.start(2) - _LOOK_BACK) : match.start(2)]
        if not (day or year or (match[2][0].isupper() and _PREPOSITION.search(before))):
            continue
        for one in [int(year)] if year else years:
            found += _span(one, _MONTHS[match[2].lower()], day)
    if not found:
        for year in _YEAR.findall(question):
            found.append((date(int(year), 1, 1).toordinal(), date(int(year), 12, 31).toordinal()))
    return found


def _span(year: int, month: int, day: str | None) -> list[tuple[int, int]]:
    try:
        if day:
            only = date(year, month, int(day)).toordinal()
            return [(only, only)]
        last = calendar.monthrange(year, month)[1]
        return [(date(year, month, 1).toordinal(), date(year, month, last).toordinal())]
    except (ValueError, calendar.IllegalMonthError):
        return []
