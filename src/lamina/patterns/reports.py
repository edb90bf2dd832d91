"""What the questions about patterns are answered with: frozen, slotted, free of behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from lamina.patterns.values import Pattern

__all__ = [
    "Evidence",
    "FileLink",
    "LearnReport",
    "Merge",
    "PatternExplanation",
    "PatternImport",
    "Period",
    "Plan",
    "QueryPlan",
    "Related",
    "Removal",
    "Suggestion",
    "Trend",
    "Week",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Uses in a day, a week or a month."""

    start: datetime
    """When it begins, in the time zone that was asked for."""
    count: int
    successes: int

    @property
    def success_rate(self) -> float | None:
        """Successes of all uses; None where there were none."""
        return self.successes / self.count if self.count else None


Week = Period
"""A period that begins on a Monday (ISO 8601)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Where the success rate is going: the weighted slope over weeks."""

    id: str
    direction: Literal["rising", "falling", "steady", "unknown"]
    """``steady`` where the interval holds 0 or all outcomes are alike; ``unknown`` in fewer than two weeks of use."""
    slope: float = 0.0
    """Change of the success rate a week."""
    low: float = 0.0
    """Lower end of the slope's 95 % interval."""
    high: float = 0.0
    confidence: float = 0.0
    """1 - p of the two-sided Cochran-Armitage test, 0..1."""
    weeks: tuple[Week, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Related:
    """A pattern that is used in the same sessions as another."""

    pattern: Pattern
    correlation: float
    """Sessions with both, divided by the geometric mean of the sessions with each; 0..1."""
    together: int
    """Sessions with both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLink:
    """A file that goes with another one."""

    path: str
    correlation: float
    """Uses with both, divided by the geometric mean of the uses with each; 0..1."""
    together: int
    """Uses with both."""
    success_rate: float
    """Of those uses."""
    patterns: int
    """How many patterns they are of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A step that may come next."""

    step: str
    probability: float
    """Share of the uses that went on like this."""
    support: int
    """Uses that went on like this."""
    success_rate: float
    high: float
    """Upper end of its 95 % interval; where that is below 0.5 the step comes after the others."""
    after: tuple[str, ...]
    """The last steps that it was found behind."""
    patterns: tuple[str, ...]
    """Ids of the patterns that say so, at most five."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A session that a pattern came from."""

    session: str
    uses: int
    successes: int
    last_used: datetime
    title: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternExplanation:
    """Why a pattern exists and how its figures come about."""

    pattern: Pattern
    evidence: tuple[Evidence, ...]
    """Sessions, the latest first; at most as many as were asked for."""
    sessions: int
    """How many sessions there are in all."""
    elsewhere: int
    """Uses outside of any session."""
    learned: int
    """Uses that learning found."""
    merged: tuple[str, ...]
    """Ids of patterns that were merged into it."""
    reasons: tuple[str, ...]
    """The figures in words, with their formulas filled in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnReport:
    """What learning did."""

    sessions: int
    """Sessions that it has seen by now."""
    new_sessions: int
    """Those that were new, or had grown."""
    without_calls: int = 0
    """Sessions in which no tool was called: there is nothing to learn from them."""
    patterns: tuple[str, ...] = ()
    """Ids of patterns that are new."""
    updated: int = 0
    """Patterns that were there and got uses."""
    uses: int = 0
    """Uses that were added."""
    found: Mapping[str, int] = field(default_factory=dict)
    """Frequent things by kind: ``steps``, ``tools``, ``files``, ``fixes``."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Frequent things beyond the limit of each kind, and files beyond what one session may pair."""
    min_support: int = 0
    """Sessions that something had to be seen in."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A pattern that pruning removes."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """A pattern that pruning merges into another."""

    id: str
    into: str
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What pruning does, or would do."""

    remove: tuple[Removal, ...] = ()
    merge: tuple[Merge, ...] = ()
    archive: tuple[str, ...] = ()
    """Ids of sessions."""
    expired: int = 0
    """Patterns of earlier runs that can no longer be brought back and are deleted for good."""
    id: str | None = None
    """Of the run, for undo; None where nothing was done."""
    undo_until: datetime | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternImport:
    """What an import of patterns did."""

    path: str
    format: str
    patterns: int = 0
    """Patterns that are new."""
    uses: int = 0
    """Uses that were added."""
    known: int = 0
    """Uses that were there."""
    sessions: int = 0
    """Sessions that were imported along."""
    problems: tuple[str, ...] = ()
    """What could not be read or carried over, and what was not found again."""
    verified: bool = True
    """There are no problems: the source was read once more afterwards, and every use of it is in the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPlan:
    """How a query is run."""

    sql: str
    bindings: tuple[Any, ...]
    plan: tuple[str, ...]
    """SQLite's own words."""
    driver: str
    """What the query walks: ``order`` or the filter with the fewest patterns."""
    patterns: tuple[Pattern, ...] = ()
    """The answer, with ``all(explain=True)``."""


for _name in __all__:
    _value = globals()[_name]
    if isinstance(_value, type):
        _value.__module__ = "lamina"
