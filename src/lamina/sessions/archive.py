"""Archiving packs a session's events together; retention deletes them; reading finds them in either place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from datetime import timedelta
from typing import Any

from lamina.errors import InvalidInputError
from lamina.sessions.checks import check_age, check_number, check_strings
from lamina.sessions.rows import StoredEvent, read_events, session_row, to_events
from lamina.sessions.values import ArchiveReport, Event
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.checks import check_whole
from lamina.storage.codecs import BodyCodec, damaged
from lamina.storage.reader import Reader
from lamina.storage.records import now_micros
from lamina.storage.writer import Writer

__all__ = [
    "archive",
    "archived_events",
    "delete_events",
    "event_pages",
    "keyed_events",
    "old_sessions",
    "pack",
    "retain",
    "unpack",
]

_PAGE = 200
_PART_CHARS = 4 << 20
"""Characters of one part of an archive, before compression."""
_DAYS = 30


def archive(
    catalog: SqliteCatalog,
    ids: Sequence[str] | None,
    *,
    older_than: timedelta | None,
    max_quality: float | None,
    dry_run: bool,
) -> ArchiveReport:
    """Pack the events of sessions, each in a transaction of its own."""
    age = check_age(timedelta(days=_DAYS) if older_than is None else older_than, "older_than")
    if ids is None:
        with catalog.read("looking for old sessions") as reader:
            ids = old_sessions(reader, age, max_quality)
    else:
        ids = check_strings(ids, "ids", most=2**31)
    before = after = 0
    for id in ids:
        if dry_run:
            with catalog.read("looking at a session") as reader:
                before += _stored_bytes(reader, session_row(reader, id)[0])
            continue
        with catalog.write("archiving a session") as writer:
            row = session_row(writer, id)
            sizes = pack(writer, catalog.codec, row[0], id)
            before, after = before + sizes[0], after + sizes[1]
    return ArchiveReport(sessions=tuple(ids), bytes_before=before, bytes_after=after, dry_run=dry_run)


def old_sessions(reader: Reader, older_than: timedelta, max_quality: float | None) -> list[str]:
    """Return the sessions that are not archived and whose last event is long ago."""
    limit = now_micros() - micros_of(older_than)
    quality = None if max_quality is None else check_number(max_quality, "max_quality", 0, 1)
    rows = reader.db.execute(
        "SELECT id FROM session WHERE archived_at IS NULL AND last_at < ?1 AND turns + calls > 0 "
        "AND (?2 IS NULL OR quality <= ?2) ORDER BY started_at",
        (limit, quality),
    )
    return [row[0] for row in rows]


def pack(writer: Writer, codec: BodyCodec, session: int, id: str) -> tuple[int, int]:
    """Move a session's events into its archive; return the bytes before and after. What is packed already stays."""
    before = _stored_bytes(writer, session)
    events = read_events(writer, codec, session, id)
    parts: list[list[str]] = [[]]
    size = 0
    for event in events:
        line = json.dumps(_listed(event), ensure_ascii=False, separators=(",", ":"))
        if size > _PART_CHARS:
            parts.append([])
            size = 0
        parts[-1].append(line)
        size += len(line)
    ((number,),) = writer.db.execute(
        "SELECT coalesce(max(part), -1) + 1 FROM session_archive WHERE session = ?", (session,)
    ).fetchall()
    after = 0
    for part, lines in enumerate(parts, int(number)):
        if lines:
            coded, body = codec.encode("\n".join(lines), 0)
            data = bytes([coded]) + body
            after += len(data)
            writer.db.execute(
                "INSERT INTO session_archive (session, part, body) VALUES (?, ?, ?)", (session, part, data)
            )
    writer.db.execute("DELETE FROM session_event WHERE session = ?", (session,))
    writer.db.execute("UPDATE session SET archived_at = ? WHERE seq = ?", (now_micros(), session))
    return before, after


def unpack(writer: Writer, codec: BodyCodec, id: str) -> None:
    """Bring a session's events back from its archive."""
    row = session_row(writer, id)
    events = [event for part in archived_events(writer, codec, row[0], id) for event in part]
    coded = [(event, codec.encode(event.body, 0)) for event in events]
    writer.db.executemany(
        "INSERT INTO session_event (session, position, kind, key, at, name, step, ok, exit, duration, digest, files, "
        "codec, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ((row[0], *astuple(event)[:11], number, body) for event, (number, body) in coded),
    )
    writer.db.execute("DELETE FROM session_archive WHERE session = ?", (row[0],))
    writer.db.execute("UPDATE session SET archived_at = NULL WHERE seq = ?", (row[0],))


def archived_events(reader: Reader, codec: BodyCodec, session: int, id: str) -> Iterator[list[StoredEvent]]:
    """Yield the events of a session's archive, a part at a time."""
    for (data,) in reader.db.execute("SELECT body FROM session_archive WHERE session = ? ORDER BY part", (session,)):
        if not data:
            raise damaged(f"session {id}", "a part of its archive is empty")
        text = codec.decode(data[0], data[1:], f"session {id}")
        try:
            yield [_event(json.loads(line)) for line in text.split("\n")]
        except (ValueError, TypeError) as error:
            raise damaged(f"session {id}", f"a part of its archive makes no sense ({error})") from None


def event_pages(catalog: SqliteCatalog, id: str) -> Iterator[Event]:
    """Yield a session's events, packed and not; no read transaction outlives a page."""
    for _, event in keyed_events(catalog, id):
        yield event


def keyed_events(catalog: SqliteCatalog, id: str) -> Iterator[tuple[int, Event]]:
    """Yield a session's events, each with the key that tells it from the others.

    It may be archived, or brought back, while somebody reads: each page looks where its events are by then.
    """
    start = 0
    looked: int | None = None
    while True:
        with catalog.read("reading a session") as reader:
            row = session_row(reader, id)
            stored: list[StoredEvent] = []
            if row[14] is not None and row[14] != looked:
                looked = row[14]
                for part in archived_events(reader, catalog.codec, row[0], id):
                    stored += (event for event in part if event.position >= start)
            if not stored:
                stored = read_events(reader, catalog.codec, row[0], id, start=start, limit=_PAGE)
            page = list(zip((event.key for event in stored), to_events(reader, stored, id), strict=True))
        yield from page
        if not page:
            return
        start = page[-1][1].position + 1


def retain(catalog: SqliteCatalog, *, keep_last: int | None, max_age: timedelta | None, dry_run: bool) -> ArchiveReport:
    """Delete the events of sessions that are neither among the newest nor young enough.

    Raises:
        InvalidInputError: Nothing says what to keep.
    """
    if keep_last is None and max_age is None:
        raise InvalidInputError("Nothing says what to keep.", hint="Pass keep_last=, max_age= or both.")
    keep = 0 if keep_last is None else check_whole(keep_last, "keep_last", 0, 2**53)
    limit = 2**62 if max_age is None else now_micros() - micros_of(check_age(max_age, "max_age"))
    sql = (
        "SELECT seq, id, last_at FROM session WHERE turns + calls > 0 ORDER BY last_at DESC, seq DESC LIMIT -1 OFFSET ?"
    )
    with catalog.read("looking for old sessions") as reader:
        chosen = [row for row in reader.db.execute(sql, (keep,)).fetchall() if row[2] < limit]
        before = sum(_stored_bytes(reader, row[0]) for row in chosen)
    if chosen and not dry_run:
        with catalog.write("deleting sessions") as writer:
            delete_events(writer, [row[0] for row in chosen])
    return ArchiveReport(sessions=tuple(row[1] for row in chosen), bytes_before=before, dry_run=dry_run)


def delete_events(writer: Writer, sessions: Sequence[int]) -> None:
    """Delete what sessions said and did; the row goes as well, unless uses of patterns name it."""
    for session in sessions:
        for table in ("session_event", "session_archive"):
            writer.db.execute(f"DELETE FROM {table} WHERE session = ?", (session,))
        writer.db.execute(
            "DELETE FROM session WHERE seq = ?1 AND NOT EXISTS (SELECT 1 FROM pattern_use WHERE session = ?1)",
            (session,),
        )
        writer.db.execute(
            "UPDATE session SET turns = 0, calls = 0, errors = 0, title = NULL, metadata = NULL, archived_at = NULL, "
            "trace = NULL, learned = -1 WHERE seq = ?",
            (session,),
        )


def micros_of(age: timedelta) -> int:
    """Return an age in microseconds."""
    return age // timedelta(microseconds=1)


def _stored_bytes(reader: Reader, session: int) -> int:
    ((size,),) = reader.db.execute(
        "SELECT coalesce(sum(length(body)), 0) FROM session_event WHERE session = ?", (session,)
    ).fetchall()
    return int(size)


def _listed(event: StoredEvent) -> list[Any]:
    values = list(astuple(event))
    values[10] = None if event.files is None else event.files.hex()
    return values


def _event(values: list[Any]) -> StoredEvent:
    values[10] = None if values[10] is None else bytes.fromhex(values[10])
    return StoredEvent(*values)
