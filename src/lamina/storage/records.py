"""Revisions of memories as the catalog holds them."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from lamina.errors import InvalidInputError
from lamina.storage.codecs import damaged
from lamina.types import MEMORY_TYPES, Memory

__all__ = [
    "ACTIONS",
    "TYPE_IDS",
    "NewPassage",
    "Record",
    "from_micros",
    "new_id",
    "now_micros",
    "to_micros",
]

Action = Literal["update", "delete", "supersede"]
ACTIONS: tuple[Action, ...] = ("update", "delete", "supersede")
"""What ended a revision; stored as its place here plus one."""
TYPE_IDS = {name: number for number, name in enumerate(MEMORY_TYPES)}
"""Stored numbers of types; append-only."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u


@dataclass(slots=True, kw_only=True)
class NewPassage:
    """A stretch of a body, in characters, with its vector where one is known."""

    start: int
    stop: int
    tokens: str = ""
    """Index tokens of the stretch, separated by spaces."""
    scale: float | None = None
    codes: bytes | None = None
    """int8, one a dimension; the vector is ``codes * scale``."""
    given: bool = False
    """The vector came with the memory, so no embedder can make it again."""


@dataclass(slots=True, kw_only=True)
class Record:
    """One revision of a memory. Times are microseconds since 1970 in UTC."""

    id: str
    text: str
    type: str
    scope: str
    created_at: int
    valid_from: int
    revision: int = 1
    valid_to: int = 0
    ended: Action | None = None
    importance: float = 0.5
    thread: str | None = None
    position: int | None = None
    source: str | None = None
    valid_until: int | None = None
    superseded_by: str | None = None
    title: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    path: str | None = None
    uses: int = 0
    helped: int = 0
    hurt: int = 0
    used_at: int = 0
    seq: int = 0

    def to_memory(self, similar: tuple[str, ...] = (), notices: tuple[str, ...] = ()) -> Memory:
        """Return the public value."""
        return Memory(
            id=self.id,
            text=self.text,
            title=self.title,
            description=self.description,
            type=self.type,
            scope=self.scope,
            tags=self.tags,
            importance=self.importance,
            source=self.source,
            thread=self.thread,
            position=self.position,
            created_at=from_micros(self.created_at),
            updated_at=from_micros(self.valid_from),
            valid_until=None if self.valid_until is None else from_micros(self.valid_until),
            superseded_by=self.superseded_by,
            path=self.path,
            uses=self.uses,
            helped=self.helped,
            hurt=self.hurt,
            metadata=self.metadata,
            similar=similar,
            notices=notices,
        )

    def fingerprint(self) -> int:
        """Return a signed 64-bit BLAKE2b hash of everything that a revision says; its statistics are not part of it."""
        parts = (
            self.id,
            self.revision,
            self.text,
            self.type,
            self.scope,
            self.created_at,
            self.valid_from,
            self.valid_to,
            self.ended,
            self.importance + 0.0,  # SQLite keeps no negative zero
            self.thread,
            self.position,
            self.source,
            self.valid_until,
            self.superseded_by,
            self.title,
            self.description,
            "\x1f".join(self.tags),
            self.metadata_json(),
            self.path,
        )
        joined = "\x1e".join(["" if part is None else str(part) for part in parts])
        digest = hashlib.blake2b(joined.encode("utf-8"), digest_size=8).digest()
        return int.from_bytes(digest, "little", signed=True)

    def metadata_json(self) -> str | None:
        """Return the metadata as compact JSON, or None where there is none."""
        return json.dumps(self.metadata, ensure_ascii=False, separators=(",", ":")) if self.metadata else None


def now_micros() -> int:
    """Return the time now, in microseconds since 1970."""
    return time.time_ns() // 1000


def to_micros(moment: datetime, name: str = "time") -> int:
    """Return a datetime as microseconds since 1970; one without a zone is read as UTC.

    Raises:
        InvalidInputError: It is no datetime.
    """
    if not isinstance(moment, datetime):
        raise InvalidInputError(
            f"{name} is {moment!r}, not a datetime.", hint="Pass datetime.now(timezone.utc) or a parsed one."
        )
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    delta = aware - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_micros(micros: int) -> datetime:
    """Return microseconds since 1970 as an aware datetime in UTC.

    Raises:
        CorruptionError: No calendar has it; what is stored was checked when it came in.
    """
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except (OverflowError, TypeError):
        raise damaged("a time", f"{micros} is out of range") from None


class _Ids:
    """Makes ids that sort by creation: ten characters of time, then eight that are random and count upwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid, self._moment, self._tail = 0, 0, 0

    def next(self) -> str:
        with self._lock:
            pid, moment = os.getpid(), time.time_ns() // 1_000_000
            if pid == self._pid and moment <= self._moment:
                self._tail += 1
            else:
                self._pid, self._moment, self._tail = pid, moment, secrets.randbits(39)
            number = (self._moment << 40) | (self._tail & ((1 << 40) - 1))
        return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(85, -1, -5))


_ids = _Ids()


def new_id() -> str:
    """Return a new id: 18 characters, the first ten of them the time, so that ids sort by creation.

    40 bits are random and count upwards within a millisecond, so ids of several processes do not meet.
    """
    return _ids.next()
