"""Where secrets stand in a text: one search for keywords, then the kinds that they call for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from lamina.guard.keywords import KeywordSearch
from lamina.guard.kinds import KINDS, SecretKind, given
from lamina.guard.masked_kinds import MASKED_KINDS
from lamina.guard.values import is_placeholder

__all__ = ["Span", "exact_spans", "keywords", "masked_spans"]

_LONG = 100
"""Characters of a match that was judged to be none, within which no other is looked for: what repeats without end."""
Span = tuple[int, int, str]
"""Begin and end of a secret, without the name before it, and its kind."""


def exact_spans(text: str) -> list[Span]:
    """Return the secrets that a text surely holds, the more exact kinds first; they may overlap.

    Placeholders (``<TOKEN>``, ``${VAR}``, ``****``, AWS's ``AKIA…EXAMPLE``) are none.
    """
    return _spans(text, KINDS, masked=False)


def masked_spans(text: str) -> list[Span]:
    """Return what is to be masked of a text, in order and without overlap: also what only may be a secret."""
    found = _spans(text, KINDS + MASKED_KINDS, masked=True)
    if len(found) < 2:
        return found
    found.sort(key=lambda span: span[0])  # the more exact kind stays first
    apart: list[Span] = []
    for span in found:
        if apart and span[0] < apart[-1][1]:
            apart[-1] = (apart[-1][0], max(apart[-1][1], span[1]), apart[-1][2])
        else:
            apart.append(span)
    return apart


@cache
def keywords(*, masked: bool) -> KeywordSearch:
    """Return the search for the keywords of all kinds that are masked, or of the exact ones alone."""
    return KeywordSearch([kind.keywords for kind in (KINDS + MASKED_KINDS if masked else KINDS)])


def _spans(text: str, kinds: tuple[SecretKind, ...], *, masked: bool) -> list[Span]:
    called = keywords(masked=masked).called(text)
    found: list[Span] = []
    for number in sorted(called):
        kind = kinds[number]
        # What has the form of a key is masked even where it looks made up; and the wide kinds judge themselves.
        judged = masked and (kind.formed or number >= len(KINDS))
        matches = _Matches(kind, text, called[number])
        for match in matches:
            value = given(match)
            fits = kind.check is None or kind.check(match)
            if fits and (judged or not is_placeholder(match[value or 0])):
                found.append((*match.span(0 if kind.formed else value or 0), kind.name))
                matches.stop = match.end()
            elif match.end() - match.start() > _LONG:
                matches.stop = match.end()
    return found


class _Matches:
    """Where a kind's pattern fits in a text; nothing is matched before ``stop``, which who iterates moves ahead."""

    def __init__(self, kind: SecretKind, text: str, places: list[int]) -> None:
        self.stop = 0
        self._kind = kind
        self._text = text
        self._places = places

    def __iter__(self) -> Iterator[re.Match[str]]:
        pattern, text = self._kind.pattern, self._text
        if not self._kind.behind:
            yield from pattern.finditer(text)  # goes on behind each match by itself
            return
        for place in self._places:
            if place >= self.stop and (match := pattern.match(text, place)) is not None:
                yield match
