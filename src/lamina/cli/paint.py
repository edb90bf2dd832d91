"""Colours, and text from a store made safe for a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

__all__ = ["Paint", "clean", "one_line", "shell_words"]

# Everything that moves the cursor, sets a title or turns the writing direction; newline and tab stay.
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Paint:
    """Wraps text in colours, or does nothing.

    Args:
        enabled: Whether the stream shows colours.
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    def _style(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.enabled and text else text

    def bold(self, text: str) -> str:
        """Titles."""
        return self._style("1", text)

    def dim(self, text: str) -> str:
        """What is read last."""
        return self._style("2", text)

    def red(self, text: str) -> str:
        """Failures, and what a change took away."""
        return self._style("31", text)

    def green(self, text: str) -> str:
        """What is well, and what a change brought."""
        return self._style("32", text)

    def yellow(self, text: str) -> str:
        """Warnings."""
        return self._style("33", text)

    def cyan(self, text: str) -> str:
        """Ids and commands: what can be copied."""
        return self._style("36", text)

    def mark(self, text: str) -> str:
        """The words that matched."""
        return self._style("1;33", text)

    def each(self, text: str, pattern: re.Pattern[str], style: Callable[[str], str]) -> str:
        """Styles every match of ``pattern``."""
        return pattern.sub(lambda match: style(match.group()), text) if self.enabled else text


def clean(text: str) -> str:
    """Text of a memory for a person's eyes: control characters become visible instead of acting on the terminal."""
    return _UNSAFE.sub(_visible, text)


def _visible(match: re.Match[str]) -> str:
    point = ord(match.group())
    if point < 0x20:
        return "" if point == 0x0D else chr(0x2400 + point)  # the pictures of control characters
    return "\u2421" if point == 0x7F else "\ufffd"


def one_line(text: str, width: int) -> str:
    """Text on one line of at most ``width`` columns; what is cut is marked."""
    line = " ".join(clean(text[: 8 * width]).split())
    if columns(line) <= width and len(text) <= 8 * width:
        return line
    while columns(line) > width - 1:
        line = line[:-1]
    return line.rstrip() + "…"


def columns(text: str) -> int:
    """Columns that text takes on a terminal: two for wide characters, none for marks that combine."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


_OF_STATES = re.compile(r"(?:store\.)?states\.(branch|delete|log|restore|retain|tag)\([^()]*\)")


def shell_words(text: str) -> str:
    """What the library says about its arguments, as someone at a shell would type it."""
    for python, typed in (
        ("reindex(replace_given=True)", "`lamina reindex --replace-given`"),
        ("purge=True", "--purge"),
        ('precision="int8"', "--precision int8"),
        ('precision="float16"', "--precision float16"),
    ):
        text = text.replace(python, typed)
    return _OF_STATES.sub(r"`lamina state \1`", text)
