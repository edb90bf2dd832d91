"""What every reader yields, and how it tells of trouble."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from lamina.errors import InvalidInputError
from lamina.sessions.masking import encodable
from lamina.storage.records import to_micros

__all__ = ["Closed", "Notes", "Opened", "Record", "Result", "Said", "Used", "kind_of", "text_of", "time_of"]

_MOST_PROBLEMS = 100
_DEEPEST = 50
"""Levels of blocks within blocks of which the text is taken."""
_MILLIS_FROM = 10_000_000_000
"""Seconds since 1970 that no record of an agent has; a larger number counts milliseconds."""


@dataclass(slots=True, kw_only=True)
class Opened:
    """A session that the file speaks of. Times are microseconds, or None where nobody says."""

    session: str
    at: int | None = None
    agent: str | None = None
    project: str | None = None
    title: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Said:
    """A turn."""

    session: str
    key: int
    role: str
    text: str
    at: int | None = None


@dataclass(slots=True, kw_only=True)
class Used:
    """A tool call; ``call`` names it for a result that comes later."""

    session: str
    key: int
    tool: str
    arguments: Any = None
    call: str | None = None
    at: int | None = None
    files: tuple[str, ...] | None = None
    ok: bool | None = None
    exit: int | None = None
    error: str | None = None
    result: str | None = None
    duration: int | None = None
    step: str | None = None


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of a call."""

    session: str
    call: str
    ok: bool
    text: str = ""
    exit: int | None = None
    at: int | None = None


@dataclass(slots=True, kw_only=True)
class Closed:
    """The end of a session, or what is known of how it went."""

    session: str
    outcome: bool | None = None
    quality: float | None = None
    at: int | None = None


Record: TypeAlias = Opened | Said | Used | Result | Closed


class Notes:
    """What a reader could not use, counted and named."""

    def __init__(self) -> None:
        self.unknown: Counter[str] = Counter()
        self.places: dict[str, str] = {}
        """Where each of the unknown stands first."""
        self.problems: list[str] = []
        self.file = ""
        """The file that is read, as it is named in problems; empty where there is but one."""
        self.line = 0
        """The line that is read; 0 where a file has none."""
        self._more = 0
        self.read = 0
        """Bytes read so far."""

    def strange(self, what: str) -> None:
        """Count a record that says nothing to us."""
        what = " ".join(encodable(what[:100]).split())
        self.unknown[what] += 1
        if what not in self.places:
            self.places[what] = " ".join(part for part in (self.file, f"line {self.line}" if self.line else "") if part)

    def problem(self, message: str) -> None:
        """Name what could not be read."""
        message = encodable(f"{self.file}: {message}" if self.file else message)
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(message)
        else:
            self._more += 1

    def told(self) -> tuple[str, ...]:
        """Return the problems, the last one counting those that are not named."""
        return (*self.problems, f"and {self._more:,} more") if self._more else tuple(self.problems)


def time_of(value: Any) -> int | None:
    """Return a time of a record as microseconds: ISO 8601, or (milli)seconds since 1970; None for anything else."""
    try:
        if isinstance(value, datetime):
            return to_micros(value)
        if isinstance(value, str) and value:
            return to_micros(datetime.fromisoformat(value.strip()))
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e17:
            seconds = value / 1000 if value >= _MILLIS_FROM else value
            return to_micros(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError, InvalidInputError):
        return None
    return None


def text_of(value: Any, depth: int = 0) -> str:
    """Return the text of a message's content: a string, or a list of blocks of which the text is taken."""
    if isinstance(value, str):
        return value
    if depth >= _DEEPEST:
        return ""
    if isinstance(value, list):
        return "\n".join(part for block in value if (part := text_of(block, depth + 1)))
    if isinstance(value, dict):
        found = value.get("text", value.get("content", ""))
        return text_of(found, depth + 1) if isinstance(found, (str, list)) else ""
    return ""


def kind_of(value: Any) -> str:
    """Return what JSON calls a value, for messages."""
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)
