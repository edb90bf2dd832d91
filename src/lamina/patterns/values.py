"""A pattern, as it is given back: frozen, slotted, free of behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

__all__ = ["FILE_COMBO", "PATTERN_TYPES", "Pattern"]

FILE_COMBO: Final = "SuccessfulFileCombo"
PATTERN_TYPES: Final = (
    FILE_COMBO,
    "EffectiveToolSequence",
    "UserPreference",
    "ArchitecturalPattern",
    "DebuggingStrategy",
    "TestingPattern",
    "ConfigurationStrategy",
)
"""The types that agents bring along; any other name works as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A sequence of steps with its outcomes."""

    id: str
    """Made of the type and the steps, which are its identity."""
    type: str
    steps: tuple[str, ...]
    files: tuple[str, ...] = ()
    """Files that it was used with, in alphabetical order."""
    tools: tuple[str, ...] = ()
    uses: int = 0
    successes: int = 0
    success_rate: float = 0.0
    low: float = 0.0
    """Lower end of the 95 % Wilson interval of the success rate."""
    high: float = 1.0
    """Its upper end."""
    effectiveness: float = 0.0
    """``low``, halved for every 30 days since the last use; as of when it was read."""
    sessions: int = 0
    """In how many sessions it was used."""
    first_used: datetime | None = None
    last_used: datetime | None = None
    created_at: datetime
    description: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    origin: Literal["recorded", "learned", "imported"] = "recorded"
    state: Literal["active", "removed", "merged"] = "active"


Pattern.__module__ = "lamina"
