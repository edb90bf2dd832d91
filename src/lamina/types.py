"""The values that cross Lamina's public face: frozen, slotted, and free of behaviour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

__all__ = [
    "CURATED_TYPES",
    "FILE_SCOPES",
    "MEMORY_TYPES",
    "Change",
    "Deletion",
    "Explanation",
    "Hit",
    "Hits",
    "IndexReport",
    "IndexView",
    "Memory",
    "MissingReport",
    "Mode",
    "Outcome",
    "Problem",
    "RepairReport",
    "SyncReport",
    "TermMatch",
    "VerifyReport",
]

CURATED_TYPES = ("user", "feedback", "project", "reference")
"""Types of curated knowledge; in a file scope each such memory is a markdown file."""

MEMORY_TYPES = (*CURATED_TYPES, "record")
"""All types; ``record`` is an event, a turn, a raw fact."""

FILE_SCOPES = ("private", "team")
"""Scopes whose curated memories are markdown files of the store's folder; the others are rows alone."""

Mode = Literal["hybrid", "text", "vector"]
Outcome = Literal["helped", "hurt", "used"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One thing known."""

    id: str
    """Unique in the store, at least 8 characters."""
    text: str
    """The text as it was given, character for character."""
    title: str | None = None
    description: str | None = None
    """One line that says what the memory is about."""
    type: str = "record"
    """One of :data:`MEMORY_TYPES`."""
    scope: str = "private"
    tags: tuple[str, ...] = ()
    importance: float = 0.5
    """0..1; weighs a little in ranking."""
    source: str | None = None
    """Where it came from: a URL, a file, a tool."""
    thread: str | None = None
    """The conversation or document it belongs to."""
    position: int | None = None
    """Its place in the thread; neighbours lend each other evidence in recall."""
    created_at: datetime
    updated_at: datetime
    valid_until: datetime | None = None
    """From then on it is no longer recalled (``as_of`` before then still finds it)."""
    superseded_by: str | None = None
    """Id of the memory that replaced it."""
    path: str | None = None
    """Its file relative to the store, or None where it is a row."""
    uses: int = 0
    """How often it was recalled or reported as used."""
    helped: int = 0
    hurt: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    similar: tuple[str, ...] = ()
    """Ids of near-duplicates that were there when it was written; filled by ``add`` alone."""
    notices: tuple[str, ...] = ()
    """What its writer should know, such as a date that will not be understood later; filled by what writes a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TermMatch:
    """One query term that a hit's text holds."""

    term: str
    """The indexed form of the word."""
    count: int
    """Occurrences in the matching passage."""
    documents: int
    """Passages of the store that hold the term."""
    score: float
    """Its share of the BM25 score."""
    word: str = ""
    """The question's own word for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a hit got its score."""

    terms: tuple[TermMatch, ...]
    signals: Mapping[str, float]
    """Each signal's value before weighting, such as ``text``, ``vector``, ``neighbours``, ``thread``, ``recency``."""
    weights: Mapping[str, float]
    """What each signal was multiplied with; the score is the sum of the products."""
    passage: str
    """The passage that matched best."""
    notes: tuple[str, ...] = ()
    """What was off or estimated, such as a vector part that is waiting for ``lamina reindex``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One answer of ``recall``."""

    memory: Memory
    score: float
    """Comparable within one answer only; higher is better."""
    why: str
    """One line for people: the words and signals that spoke for it."""
    passage: str = ""
    """The stretch of the text that matched best."""
    explanation: Explanation | None = None
    """With ``explain=True``."""
    age: str = ""
    """How old the memory is, such as ``47 days old``, as of the recall; empty for a day or less."""


class Hits(list[Hit]):
    """What ``recall`` returns: a list of :class:`Hit`, best first, with what a reader should know about it.

    Attributes:
        notices: What was off, such as a vector part that waits for ``lamina reindex``.
        left_out: ``(id, reason)`` of what ranked high enough and was not returned: near-duplicates of a hit, and
            what a token budget had no room for.
        tokens: Estimated tokens of :meth:`text`.
        patterns: With ``include`` naming them: the patterns that fit the question, the best first.
    """

    def __init__(
        self,
        hits: Iterable[Hit] = (),
        *,
        notices: tuple[str, ...] = (),
        left_out: tuple[tuple[str, str], ...] = (),
        tokens: int = 0,
        patterns: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(hits)
        self.notices = notices
        self.left_out = left_out
        self.tokens = tokens
        self.patterns = patterns

    def text(self, *, lines: int = 200, bytes: int = 4_096, total: int = 20_480) -> str:
        """Return the hits as one text for a model's context: data with its id, file, source and age, not instructions.

        Args:
            lines: Most lines of one memory.
            bytes: Most UTF-8 bytes of one memory; one that is cut says where the whole is.
            total: Most UTF-8 bytes of the whole; what has no room is named.
        """
        from lamina.framing import frame

        return frame(self, lines=lines, bytes=bytes, total=total)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingReport:
    """Why ``recall`` did not return a memory."""

    id: str
    reasons: tuple[str, ...]
    """The most decisive first; empty if it was returned."""
    rank: int | None = None
    """Its rank (from 1) where it was ranked at all."""
    score: float | None = None
    cutoff: float | None = None
    """The score of the last memory that was returned."""
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One entry of a memory's history."""

    id: str
    action: Literal["add", "update", "delete", "supersede", "purge"]
    at: datetime
    fields: tuple[str, ...] = ()
    """The names of what changed."""
    before: Memory | None = None
    """The memory as it was before; None for an ``add``."""
    after: Memory | None = None
    """The memory as it was after; None for a ``delete``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """What ``delete`` removed, place by place."""

    id: str
    purged: bool
    removed: Mapping[str, int]
    """Entries removed by place: ``row``, ``text``, ``vector``, ``history``, ``file``, ``cache``."""
    kept: tuple[str, ...] = ()
    """Places that still hold it, such as ``history`` after a plain delete, with what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that ``verify`` found."""

    code: str
    """Stable, such as ``page-damaged``, ``text-damaged``, ``index-behind``."""
    where: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexView:
    """An index as an agent loads it."""

    scope: str
    path: str
    """Of the file, relative to the store."""
    text: str
    """Within the limits; with a warning as its last line where something had to be left out."""
    lines: int = 0
    """Of the whole."""
    bytes: int = 0
    """UTF-8 bytes of the whole."""
    pointers: int = 0
    left_out: tuple[str, ...] = ()
    """Files whose pointers are not in ``text``."""
    notices: tuple[str, ...] = ()
    generated: bool = False
    """True where there is no file, and the text was made of the memories."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReport:
    """What an audit of the indexes found, and what was or would be mended."""

    problems: tuple[Problem, ...] = ()
    """In the order of the files; ``where`` is a file, with ``:line`` where there is one."""
    fixed: tuple[str, ...] = ()
    """What was done, or with a dry run would be done: one sentence each."""
    checked: Mapping[str, int] = field(default_factory=dict)
    """How many ``indexes``, ``pointers`` and ``files`` were looked at."""

    @property
    def ok(self) -> bool:
        """True where nothing is wrong."""
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """What ``sync`` found in the folder, and took over. Files are named relative to the store."""

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    """``(from, to)`` within a scope."""
    moved: tuple[tuple[str, str], ...] = ()
    """``(from, to)`` from one scope to another."""
    deleted: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    """What is wrong with files, told again at every sync until it is mended."""
    files: int = 0
    """Memory files in the folder."""
    opened: int = 0
    """Files that were opened; none where nothing changed."""

    @property
    def total(self) -> int:
        """How many changes were taken over."""
        return sum(map(len, (self.new, self.changed, self.renamed, self.moved, self.deleted)))

    @property
    def ok(self) -> bool:
        """True where no file has a problem."""
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """The outcome of ``store.verify``."""

    level: str
    problems: tuple[Problem, ...]
    checked: Mapping[str, int]
    """How many things of each kind were looked at."""

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """The outcome of ``store.repair``."""

    rebuilt: tuple[str, ...]
    """What was made anew from the catalog."""
    recovered: Mapping[str, int]
    """Rows kept, by table, where the catalog itself had to be salvaged."""
    lost: Sequence[Problem] = ()
    """What could not be kept, named."""
    kept_aside: str | None = None
    """Where the damaged file is kept."""


for _name in __all__:
    _value = globals()[_name]
    if isinstance(_value, type):
        _value.__module__ = "lamina"
