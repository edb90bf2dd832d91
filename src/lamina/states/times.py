"""Times in words: what was cut off the end of one does not make it earlier."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

__all__ = ["moment_in", "to_end"]

_CLOCK = re.compile(r"[T ]\d\d(?P<minute>:?\d\d)?(?P<second>:?\d\d)?(?:[.,](?P<fraction>\d+))?(?=[-+Zz]|$)")
_MICROSECOND = timedelta(microseconds=1)


def moment_in(text: str) -> datetime | None:
    """Return the time that a text of ISO 8601 says, None where it says none; it has a zone only where the text has one.

    A time that is given to the second means the end of that second, so that one which was copied from a list, where the
    fraction is cut off, is not before what it was copied from; likewise to the minute, the hour or the millisecond.
    """
    if "-" not in text[:10]:  # digits alone are the beginning of an id
        return None
    try:
        return to_end(text, datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def to_end(text: str, moment: datetime) -> datetime:
    """Return the last microsecond of what a text names, which begins at a moment; a text without a clock is exact."""
    found = _CLOCK.search(text, 8)
    if found is None:
        return moment
    if found["fraction"]:
        unit = timedelta(microseconds=10 ** max(0, 6 - len(found["fraction"])))
    else:
        unit = timedelta(hours=0 if found["minute"] else 1, minutes=1 if found["minute"] and not found["second"] else 0)
        unit = unit or timedelta(seconds=1)
    return moment + (unit - _MICROSECOND)
