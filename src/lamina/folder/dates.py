"""Relative times in a text: "yesterday" is true for a day, and a memory is read for years.

English only. What is found is pointed out to whoever writes the memory; nothing is rewritten.
"""

from __future__ import annotations

import re

from lamina.folder.links import without_code

__all__ = ["relative_dates"]

_WEEKDAY = "(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_MONTH = "(?-i:January|February|March|April|May|June|July|August|September|October|November|December)"  # "this may be"
_COUNT = r"(?:\d{1,3}|an?|one|two|three|four|five|six|seven|eight|nine|ten|twelve|a\s+few|several|a\s+couple\s+of)"
_RELATIVE = re.compile(
    rf"""
    (?<![\w/.@\#$-])(?<!\bas\s)
    (?:
        (?:the\s+)?day\s+before\s+yesterday | (?:the\s+)?day\s+after\s+tomorrow
      | yesterday | today | tonight | tomorrow
      | (?:last|next|this|this\s+coming|this\s+past)\s+
        (?: (?:week(?:end)?|month|quarter|year|sprint)(?!\s+of\b)
          | morning | afternoon | evening | night
          | spring | summer | autumn | winter
          | {_WEEKDAY} | {_MONTH} )
      | (?:on|by|until|till|before|after|since)\s+{_WEEKDAY}
      | in\s+{_COUNT}\s+(?:days?|weeks?|months?|years?)(?:['\u2019]\s+time)?
      | {_COUNT}\s+(?:minutes?|hours?|days?|weeks?|months?|years?)\s+(?:ago|from\s+(?:now|today))
      | the\s+other\s+day
    )
    (?!\w|/|[-.]\w|=)
    # A date beside it has already said which day was meant.
    (?!\W{{1,3}}\d{{4}}\b | ,?\s+(?:the\s+)?\d{{1,2}}(?:st|nd|rd|th)?\b | ,?\s+{_MONTH}\b)
    """,
    re.IGNORECASE | re.VERBOSE,
)


def relative_dates(text: str) -> tuple[str, ...]:
    """Return the relative time expressions of a text, each once, as written, in order; code is left out.

    ``yesterday``, ``next week``, ``last Tuesday``, ``by Friday``, ``in two days``, ``3 weeks ago``, ``this morning``
    and their kind. One with its date beside it (``yesterday (2026-03-04)``) is none.
    """
    found: dict[str, str] = {}
    for match in _RELATIVE.finditer(without_code(text)):
        shown = " ".join(match[0].split())
        found.setdefault(shown.lower(), shown)
    return tuple(found.values())
