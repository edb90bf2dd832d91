"""Secrets are masked before anything of a session or pattern is stored, and what no store can hold is replaced.

What a secret is, :mod:`lamina.guard.spans` says; its rules are loaded when the first text is looked at.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from lamina.guard.keywords import KeywordSearch

__all__ = ["TOO_DEEP", "Masker", "encodable", "mask", "plain", "suspicious"]

_DEEPEST: Final = 100
"""Levels of lists and objects that are looked at one by one; what lies deeper is kept as its JSON text."""
_TELLING: Final = re.compile(
    r"(?:\w+[_-])?(?:pass(?:word|wd|phrase)|pwd|api[_-]?key|secret(?:[_-]?(?:access[_-]?)?key)?|client[_-]?secret"
    r"|private[_-]?key|(?:access|refresh|auth|bearer|api|id|session)[_-]?token)|(?:proxy-)?authorization|(?:set-)?cookie",
    re.IGNORECASE,
)
"""Names of values that are secrets whatever they look like. A ``token`` alone may be one of a grammar."""
TOO_DEEP: Final = "[left out: nested too deeply]"
"""What stands in the place of a value that is nested by thousands."""


@cache
def _search() -> KeywordSearch:
    from lamina.guard.spans import keywords

    return keywords(masked=True)


@lru_cache(maxsize=4_096)
def _tells(name: str) -> bool:
    return _TELLING.fullmatch(name) is not None


def suspicious(text: str) -> bool:
    """Return whether a text has a word that stands near secrets; where it has none, it needs no second look."""
    return _search().any(text)


def mask(text: str) -> tuple[str, int]:
    """Return a text with ``[masked: kind]`` in place of each secret, and how many there were."""
    if not suspicious(text):
        return text, 0
    from lamina.guard.spans import masked_spans

    spans = masked_spans(text)
    if not spans:
        return text, 0
    parts: list[str] = []
    at = 0
    for start, stop, kind in spans:
        parts += (text[at:start], f"[masked: {kind}]")
        at = stop
    return "".join((*parts, text[at:])), len(spans)


def encodable(text: str) -> str:
    """Return a text whose lone surrogates, which UTF-8 does not have, are question marks."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def plain(value: Any, depth: int = 0) -> Any:
    """Return a value as JSON has it: names are text, as are NaN and infinity and what lies too deep."""
    if isinstance(value, (dict, list, tuple)) and depth >= _DEEPEST:
        try:
            return json.dumps(value, ensure_ascii=False, default=str)
        except (RecursionError, ValueError, TypeError):
            return TOO_DEEP
    if isinstance(value, dict):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


class Masker:
    """Masks texts and values, and counts."""

    def __init__(self) -> None:
        self.count = 0
        self._known: dict[str, str] = {}
        self._suspicious = _search().any

    def text(self, text: str) -> str:
        """Return a text without its secrets."""
        if not text.isascii():
            text = encodable(text)
        if not self._suspicious(text):
            return text
        masked, count = mask(text)
        self.count += count
        return masked

    def name(self, text: str, most: int) -> str:
        """Return a name, a path or a title without secrets, on one line, of at most so many characters.

        It is masked before it is cut, so that no half of a secret stays.
        """
        known = self._known.get(text)
        if known is None:
            known = self.text(text)
            if not known.isprintable():
                known = "".join(char if char.isprintable() else " " for char in known)
            if len(text) <= most:
                if len(self._known) >= 10_000:
                    self._known.clear()
                self._known[text] = known
        return known[:most].strip()

    def line(self, text: str | None, most: int = 2_000) -> str | None:
        """Return a line like :meth:`name`; None stays None, and nothing becomes it."""
        return None if text is None else self.name(text, most) or None

    def value(self, value: Any) -> Any:
        """Return a JSON value whose texts and names have no secrets; a value under a telling name counts as one."""
        return self._value(plain(value))

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self._named(key, item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item) for item in value]
        return value

    def _named(self, name: str, value: Any) -> Any:
        from lamina.guard.masked_kinds import is_named_secret

        if _tells(name):
            return self._hidden(value)
        if not isinstance(value, str):
            return self._value(value)
        masked, count = mask(encodable(value))
        if count == 0 and is_named_secret(name, value):
            masked, count = "[masked: password]", 1
        self.count += count
        return masked

    def _hidden(self, value: Any) -> Any:
        """Return what stands in the place of a value that its name alone makes a secret, however plain it looks."""
        if isinstance(value, list):
            return [self._hidden(item) for item in value]
        if isinstance(value, dict):
            return self._value(value)
        if value is None or isinstance(value, bool) or not str(value).strip():
            return value
        masked, count = mask(encodable(str(value)))
        self.count += max(count, 1)
        return masked if count else "[masked: password]"
