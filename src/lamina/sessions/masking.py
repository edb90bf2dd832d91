"""Secrets are masked before anything of a session is stored.

A text is looked at in two steps: a handful of plain words that every secret has near it are searched first, which costs
a nanosecond a byte, and only where one is found the expressions run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

__all__ = ["Masker", "find_secrets", "mask", "suspicious"]

Span = tuple[int, int, str]
"""Begin, end and kind of a secret."""

_MARKS: Final = (
    ("", ("passw", "secret", "token", "private key", "bearer ", "eyj", "akia", "asia", "aiza")),
    ("api", ("api_key", "apikey", "api-key")),
    ("_", ("ghp_", "gho_", "ghs_", "ghu_", "ghr_", "_pat_", "npm_", "hf_")),
    ("-", ("sk-", "glpat-", "pypi-", "xox")),
)
"""Words that stand near secrets, each group behind what all of it has in common."""
_URL_MARK: Final = "://"
_KINDS: Final[Sequence[tuple[str, re.Pattern[str]]]] = (
    (
        "private key",
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]{0,20000}?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"),
    ),
    ("access key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("api key", re.compile(r"\bAIza[0-9A-Za-z_-]{30,}|\bsk-[A-Za-z0-9_-]{20,}")),
    (
        "token",
        re.compile(
            r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_-]{16,}"
            r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{40,}|hf_[A-Za-z0-9]{30,})"
        ),
    ),
    ("token", re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}")),
    ("token", re.compile(r"(?i)\bbearer\s+([A-Za-z0-9._~+/-]{16,}=*)")),
    (
        "password",
        re.compile(
            r"(?i)\b[\w-]{0,40}(?:passw(?:or)?d|secret(?:[_-]?key)?|api[_-]?key|access[_-]?token|auth[_-]?token)"
            r"\\?[\"']?\s{0,3}[:=]\s{0,3}\\?[\"']?([^\s\"'\\,;&<>{}()$\[\]]{8,200})"
        ),
    ),
)  # fmt: skip
_URL_PASSWORD: Final = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"']{1,100}:([^\s/@\"']{3,200})@")


def suspicious(text: str) -> bool:
    """Return whether a text has a word that stands near secrets; where it has none, it needs no second look."""
    lowered = text.lower()
    for common, marks in _MARKS:
        if common in lowered:
            for mark in marks:
                if mark in lowered:
                    return True
    return _URL_MARK in lowered and "@" in lowered


def find_secrets(text: str) -> list[Span]:
    """Return where secrets stand in a text, in order and without overlap."""
    found: list[Span] = []
    if suspicious(text):
        for kind, pattern in _KINDS:
            for match in pattern.finditer(text):
                group = 1 if pattern.groups else 0
                found.append((match.start(group), match.end(group), kind))
    if _URL_MARK in text and "@" in text:
        found += [(match.start(1), match.end(1), "password") for match in _URL_PASSWORD.finditer(text)]
    if len(found) < 2:
        return found
    found.sort()
    apart: list[Span] = []
    for span in found:
        if apart and span[0] < apart[-1][1]:
            apart[-1] = (apart[-1][0], max(apart[-1][1], span[1]), apart[-1][2])
        else:
            apart.append(span)
    return apart


def mask(text: str) -> tuple[str, int]:
    """Return a text with ``[masked: kind]`` in place of each secret, and how many there were."""
    spans = find_secrets(text)
    if not spans:
        return text, 0
    parts: list[str] = []
    at = 0
    for start, stop, kind in spans:
        parts += (text[at:start], f"[masked: {kind}]")
        at = stop
    return "".join((*parts, text[at:])), len(spans)


class Masker:
    """Masks texts and values, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def text(self, text: str) -> str:
        """Return a text without its secrets."""
        masked, count = mask(text)
        self.count += count
        return masked

    def line(self, text: str | None) -> str | None:
        """Return a line without its secrets; None stays None."""
        return None if text is None else self.text(text)

    def value(self, value: Any) -> Any:
        """Return a JSON value whose texts have no secrets; a value under a telling name counts as one."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {str(key): self._named(str(key), item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value

    def _named(self, name: str, value: Any) -> Any:
        if isinstance(value, str) and len(value) >= 8 and "\n" not in value and find_secrets(f"{name}={value}"):
            self.count += 1
            return "[masked: password]" if not find_secrets(value) else mask(value)[0]
        return self.value(value)
