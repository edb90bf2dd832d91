"""What sessions give back: frozen, slotted, free of behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

__all__ = ["ArchiveReport", "Call", "Event", "ImportReport", "Session", "SessionOutcome", "Turn"]

SessionOutcome = Literal["success", "failure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One run of an agent."""

    id: str
    agent: str | None = None
    project: str | None = None
    """The folder or name of what was worked on; file paths below it are kept relative to it."""
    title: str | None = None
    source: str | None = None
    """The file that it was imported from, as an absolute path; or None."""
    started_at: datetime
    last_at: datetime
    """When the last event happened."""
    ended_at: datetime | None = None
    """None while it runs, and for one that never ended."""
    outcome: SessionOutcome | None = None
    quality: float | None = None
    """0..1."""
    turns: int = 0
    calls: int = 0
    errors: int = 0
    """Calls that failed."""
    archived: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Something said."""

    position: int
    """Its place in the session, from 0; turns and calls count together."""
    at: datetime
    role: str
    text: str
    """As it was said, with secrets masked; of more than a million characters, the first million and how many more there
    were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool that was used."""

    position: int
    at: datetime
    tool: str
    step: str
    """Its normal form, such as ``edit``, ``search``, ``run-tests`` or ``git commit``."""
    arguments: Any = None
    """As given, with secrets masked."""
    digest: str = ""
    """BLAKE2b of the arguments as they were, in hexadecimal: equal calls have equal digests."""
    files: tuple[str, ...] = ()
    ok: bool | None = None
    """None where nobody said how it went."""
    exit: int | None = None
    """Exit code, where the tool ran a program."""
    error: str | None = None
    result: str | None = None
    duration: float | None = None
    """Seconds."""


Event = Turn | Call


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did."""

    path: str
    format: str
    sessions: tuple[str, ...] = ()
    """Ids of the sessions that the file speaks of. What is no id in a record is made one: ``my session`` becomes
    ``my_session-`` and eight digits of its hash."""
    new_sessions: int = 0
    turns: int = 0
    """Turns that were added."""
    calls: int = 0
    """Tool calls that were added."""
    known: int = 0
    """Events that were there from an earlier import."""
    twice: int = 0
    """Events that stand more than once in the files, beyond the first time."""
    unknown: Mapping[str, int] = field(default_factory=dict)
    """Records that say nothing to Lamina, by what they call themselves."""
    unknown_at: Mapping[str, str] = field(default_factory=dict)
    """Where each of them stands first: the file of a folder, and the line."""
    problems: tuple[str, ...] = ()
    """Lines and files that could not be read, each with its place; at most 100, the rest counted in the last one."""
    masked: int = 0
    """Secrets that were masked on the way in."""
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveReport:
    """What archiving or retention did, or would do."""

    sessions: tuple[str, ...] = ()
    bytes_before: int = 0
    """Bytes of the events' bodies as they were stored."""
    bytes_after: int = 0
    dry_run: bool = False


for _name in __all__:
    _value = globals()[_name]
    if isinstance(_value, type):
        _value.__module__ = "lamina"
