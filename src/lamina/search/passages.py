"""Cutting a long body into passages, so that recall scores what answers and not the average of a document."""

from __future__ import annotations

import re

__all__ = ["cut"]

_SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s|[\u3002\uff01\uff1f]")
_BREAKS = (("\n#", 0.25), ("\n\n", 0.35), ("\n", 0.5))
"""Where to cut, best first, and the least share of a passage that must stand before it."""


def cut(text: str, size: int = 1000) -> list[tuple[int, int]]:
    """Cut a text at headings, then paragraphs, lines, sentences and words.

    Args:
        text: Any text.
        size: Characters that a passage has at most; a text up to a quarter longer is left whole.

    Returns:
        ``(start, stop)`` of each passage in characters, in order, without the white space between them. Every
        character that is not white space is in exactly one; a text of white space alone gives none.
    """
    found: list[tuple[int, int]] = []
    start, end = 0, len(text)
    while start < end:
        stop = end if end - start <= size + size // 4 else _cut_at(text, start, size)
        piece = text[start:stop]
        if body := piece.strip():
            first = start + len(piece) - len(piece.lstrip())
            found.append((first, first + len(body)))
        start = stop
    return found


def _cut_at(text: str, start: int, size: int) -> int:
    limit = start + size
    for mark, share in _BREAKS:
        at = text.rfind(mark, start + int(size * share), limit)
        if at > start:
            return at + 1
    middle = start + size // 2
    ends = [match.end() for match in _SENTENCE_END.finditer(text, middle, limit)]
    if ends:
        return ends[-1]
    space = max(text.rfind(" ", middle, limit), text.rfind("\t", middle, limit))
    return space + 1 if space > start else limit
