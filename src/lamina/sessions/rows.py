"""Sessions and their events as rows of the catalog."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lamina.errors import ConflictError, NotFoundError, there_are
from lamina.sessions.values import Call, Event, Session, Turn
from lamina.storage.codecs import BodyCodec, damaged
from lamina.storage.names import NameKind
from lamina.storage.reader import Reader
from lamina.storage.records import from_micros
from lamina.storage.writer import Writer

__all__ = [
    "CALL",
    "TURN",
    "NewEvent",
    "SessionDraft",
    "StoredEvent",
    "append_events",
    "ensure_session",
    "event_keys",
    "file_names",
    "found_id",
    "key_of",
    "packed",
    "read_events",
    "session_number",
    "session_row",
    "to_session",
    "unpacked",
]

TURN = 0
CALL = 1
_SHORTEST = 4
"""Characters of an id's beginning from which it may stand for the id."""
COLUMNS = (
    "s.seq, s.id, s.agent, s.project, s.title, s.source, s.started_at, s.last_at, s.ended_at, s.outcome, s.quality, "
    "s.turns, s.calls, s.errors, s.archived_at, s.metadata"
)


@dataclass(slots=True, kw_only=True)
class SessionDraft:
    """What is known of a session that is to be there."""

    id: str
    at: int
    agent: str | None = None
    project: str | None = None
    title: str | None = None
    source: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class NewEvent:
    """A turn or call on its way in; secrets are masked already. Times are microseconds."""

    kind: int
    key: int
    at: int
    name: str
    body: str
    step: str | None = None
    ok: bool | None = None
    exit: int | None = None
    duration: int | None = None
    digest: int | None = None
    files: tuple[str, ...] = ()


@dataclass(slots=True)
class StoredEvent:
    """A turn or call as it is stored, its numbers not yet looked up."""

    position: int
    kind: int
    key: int
    at: int
    name: int
    step: int | None
    ok: int | None
    exit: int | None
    duration: int | None
    digest: int | None
    files: bytes | None
    body: str


def key_of(*parts: object) -> int:
    """Return a signed 64-bit BLAKE2b hash that tells an event from the others of its session."""
    joined = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "little", signed=True)


def packed(numbers: Iterable[int]) -> bytes | None:
    """Return numbers of names as bytes, or None where there are none."""
    return array("I", numbers).tobytes() or None


def unpacked(data: bytes | None) -> array[int]:
    """Return the numbers of :func:`packed`; bytes that are no whole number are left out."""
    found = array("I")
    if data:
        found.frombytes(data[: len(data) // found.itemsize * found.itemsize])
    return found


# --- sessions --------------------------------------------------------------------------------------------------------


def session_number(reader: Reader, id: str) -> int | None:
    """Return the catalog's number of a session, or None."""
    for (number,) in reader.db.execute("SELECT seq FROM session WHERE id = ?", (id,)):
        return int(number)
    return None


def session_row(reader: Reader, id: str) -> tuple[Any, ...]:
    """Return a session's row.

    Raises:
        NotFoundError: There is none of this id.
    """
    for row in reader.db.execute(f"SELECT {COLUMNS} FROM session s WHERE s.id = ?", (id,)):
        return tuple(row)
    alike = [row[0] for row in reader.db.execute("SELECT id FROM session ORDER BY started_at DESC LIMIT 1000")]
    raise NotFoundError(f"There is no session {id}.", hint=there_are(id, alike, most=3), id=id)


def found_id(reader: Reader, reference: str) -> str:
    """Return the id of a session that a person names: exactly it, or how it alone begins.

    Raises:
        NotFoundError: Nothing fits.
        ConflictError: Several do.
    """
    if session_number(reader, reference) is None and len(reference) >= _SHORTEST:
        sql = "SELECT id FROM session WHERE id > ? AND id < ? ORDER BY id LIMIT 20"
        begun = [str(row[0]) for row in reader.db.execute(sql, (reference, reference + "\U0010ffff"))]
        if len(begun) == 1:
            return begun[0]
        if begun:
            named = ", ".join(begun[:5])
            raise ConflictError(
                f"{len(begun)} sessions begin with {reference}: {named}{' …' if len(begun) > 5 else ''}.",
                hint="Name one of them by its whole id.",
                ids=begun,
            )
    try:
        return str(session_row(reader, reference)[1])
    except NotFoundError as error:
        if len(reference) >= _SHORTEST:
            raise
        least = f"The beginning of an id is enough from {_SHORTEST} characters on."
        raise NotFoundError(error.message, hint=f"{least} {error.hint or ''}".strip(), id=reference) from None


def to_session(row: Sequence[Any]) -> Session:
    """Return the public value of a row of :data:`COLUMNS`."""
    try:
        metadata = json.loads(row[15]) if row[15] else {}
        return Session(
            id=row[1],
            agent=row[2],
            project=row[3],
            title=row[4],
            source=row[5],
            started_at=from_micros(row[6]),
            last_at=from_micros(row[7]),
            ended_at=None if row[8] is None else from_micros(row[8]),
            outcome=None if row[9] is None else "success" if row[9] else "failure",
            quality=row[10],
            turns=row[11],
            calls=row[12],
            errors=row[13],
            archived=row[14] is not None,
            metadata=metadata if isinstance(metadata, dict) else {},
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise damaged(f"session {row[1]}", f"a field makes no sense ({error})") from None


def ensure_session(writer: Writer, draft: SessionDraft) -> tuple[int, bool]:
    """Make a session where there is none of this id; fill what an earlier record left open.

    Returns:
        Its number, and whether it is new.
    """
    number = session_number(writer, draft.id)
    if number is not None:
        if draft.agent or draft.project or draft.title or draft.source:
            writer.db.execute(
                "UPDATE session SET agent = coalesce(agent, ?2), project = coalesce(project, ?3), "
                "title = coalesce(title, ?4), source = coalesce(source, ?5) WHERE seq = ?1 AND "
                "(agent IS NULL OR project IS NULL OR title IS NULL OR source IS NULL)",
                (number, draft.agent, draft.project, draft.title, draft.source),
            )
        return number, False
    metadata = json.dumps(draft.metadata, ensure_ascii=False, separators=(",", ":")) if draft.metadata else None
    for (made,) in writer.db.execute(
        "INSERT INTO session (id, agent, project, title, source, started_at, last_at, metadata) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7) RETURNING seq",
        (draft.id, draft.agent, draft.project, draft.title, draft.source, draft.at, metadata),
    ):
        number = int(made)
    assert number is not None
    return number, True


# --- events ----------------------------------------------------------------------------------------------------------


def append_events(writer: Writer, codec: BodyCodec, session: int, events: Sequence[NewEvent]) -> int:
    """Add events behind those that a session has; return the position of the first.

    Times may go back (clocks jump): a session began at the earliest and was last seen at the latest of them.
    """
    ((counted, last),) = writer.db.execute(
        "SELECT turns + calls, (SELECT max(position) FROM session_event WHERE session = s.seq) FROM session s "
        "WHERE s.seq = ?",
        (session,),
    ).fetchall()
    first = max(int(counted), 0 if last is None else int(last) + 1)  # damage may have left gaps
    rows = []
    for position, event in enumerate(events, first):
        coded, body = codec.encode(event.body, 0)
        rows.append(
            (
                session,
                position,
                event.kind,
                event.key,
                event.at,
                writer.name_number(NameKind.TOOL if event.kind == CALL else NameKind.ROLE, event.name),
                writer.name_number(NameKind.STEP, event.step),
                None if event.ok is None else int(event.ok),
                event.exit,
                event.duration,
                event.digest,
                packed(writer.name_number(NameKind.FILE, path) or 0 for path in event.files),
                coded,
                body,
            )
        )
    writer.db.executemany(
        "INSERT INTO session_event (session, position, kind, key, at, name, step, ok, exit, duration, digest, files, "
        "codec, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    said = sum(event.kind == TURN for event in events)
    writer.db.execute(
        "UPDATE session SET turns = turns + ?2, calls = calls + ?3, errors = errors + ?4, "
        "started_at = min(started_at, ?5), last_at = max(last_at, ?6) WHERE seq = ?1",
        (
            session,
            said,
            len(events) - said,
            sum(event.ok is False for event in events),
            min(event.at for event in events),
            max(event.at for event in events),
        ),
    )
    return first


def event_keys(writer: Reader, session: int, after: int = 0) -> list[tuple[int, int, int]]:
    """Return ``(number, key, whether it is a call without an outcome)`` of events behind the number ``after``.

    Archived ones are not among them.
    """
    found: list[tuple[int, int, int]] = writer.db.execute(
        "SELECT seq, key, kind = 1 AND ok IS NULL FROM session_event WHERE session = ? AND seq > ?", (session, after)
    ).fetchall()
    return found


def read_events(
    reader: Reader, codec: BodyCodec, session: int, id: str, *, start: int = 0, limit: int | None = None
) -> list[StoredEvent]:
    """Return events that are rows, in order, beginning with the position ``start``."""
    rows = reader.db.execute(
        "SELECT position, kind, key, at, name, step, ok, exit, duration, digest, files, codec, body "
        "FROM session_event WHERE session = ? AND position >= ? ORDER BY position LIMIT ?",
        (session, start, -1 if limit is None else limit),
    )
    return [
        StoredEvent(*values, codec.decode(coded, body, f"session {id}"))  # type: ignore[call-arg]
        for *values, coded, body in rows
    ]


def file_names(reader: Reader, data: bytes | None) -> tuple[str, ...]:
    """Return the paths of packed numbers."""
    return tuple(name for number in unpacked(data) if (name := reader.name(number)) is not None)


def to_events(reader: Reader, stored: Iterable[StoredEvent], id: str) -> Iterator[Event]:
    """Yield the public values of events."""
    for event in stored:
        try:
            at = from_micros(event.at)
            name = reader.name(event.name) or "?"
            if event.kind == TURN:
                yield Turn(position=event.position, at=at, role=name, text=event.body)
                continue
            body = json.loads(event.body)
            yield Call(
                position=event.position,
                at=at,
                tool=name,
                step=reader.name(event.step) or "",
                arguments=body.get("arguments"),
                digest="" if event.digest is None else f"{event.digest & (1 << 64) - 1:016x}",
                files=file_names(reader, event.files),
                ok=None if event.ok is None else bool(event.ok),
                exit=event.exit,
                error=body.get("error"),
                result=body.get("result"),
                duration=None if event.duration is None else event.duration / 1e6,
            )
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise damaged(f"session {id}", f"event {event.position} makes no sense ({error})") from None
