"""Storing what readers yield: in batches, each one transaction, so that a second import adds only what is new."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from lamina.sessions.archive import archived_events, pack, unpack
from lamina.sessions.checks import safe_id
from lamina.sessions.events import call_event, merged_body, turn_event
from lamina.sessions.masking import Masker
from lamina.sessions.readers.records import Closed, Notes, Opened, Record, Result, Said, Used
from lamina.sessions.rows import (
    CALL,
    NewEvent,
    SessionDraft,
    append_events,
    ensure_session,
    event_keys,
    key_of,
    session_number,
)
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.records import now_micros
from lamina.storage.writer import Writer

__all__ = ["Import", "UnreadableError"]

_UNSTORABLE: Final = (ValueError, TypeError, OverflowError, RecursionError)
_BATCH_RECORDS = 5_000
_BATCH_CHARS = 4 << 20
"""A batch holds the write lock while it is masked: a small one lets others in sooner."""


class UnreadableError(Exception):
    """A file could not be read; what was read of it before is kept. Failures of the store itself are not meant."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(slots=True)
class _Held:
    """What is known, in this import, of one session's events."""

    number: int
    project: str | None
    keys: set[int]
    added: set[int] = field(default_factory=set)
    last: int = 0
    waiting: dict[int, int] = field(default_factory=dict)
    """Stored calls without an outcome: their keys and numbers."""
    packed: set[int] = field(default_factory=set)
    """Keys of calls without an outcome that are packed away."""
    archive: tuple[int, int] | None = None
    """When its events were packed and in how many parts, as far as this import has looked."""
    metadata: dict[str, Any] = field(default_factory=dict)
    grew: bool = False
    """Whether this import added events."""


class Import:
    """One import: several files share what it counts and knows."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog
        self.notes = Notes()
        self.masker = Masker()
        self.ids: dict[str, str] = {}
        """Ids of sessions by what records call them."""
        self.seen: dict[str, None] = {}
        self.new_sessions = self.turns = self.calls = self.known = self.twice = 0
        self._made: set[int] = set()
        self._held: dict[str, _Held] = {}

    def run(self, records: Iterable[Record], source: str) -> None:
        """Store what a reader yields."""
        for batch in _batches(records):
            with self._catalog.write("importing sessions") as writer:
                counts = _Batch(self, writer, source).store(batch)
            # Counted when it is durable: a batch that was undone left nothing behind.
            self.new_sessions += counts.new_sessions
            self.turns += counts.turns
            self.calls += counts.calls
            self.known += counts.known
            self.twice += counts.twice
        self._held.clear()


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    size = 0
    failure: UnreadableError | None = None
    try:
        for record in records:
            batch.append(record)
            size += len(record.text) if isinstance(record, (Said, Result)) else 500
            if len(batch) >= _BATCH_RECORDS or size > _BATCH_CHARS:
                yield batch
                batch, size = [], 0
    except UnreadableError as error:
        failure = error
    if batch:
        yield batch
    if failure is not None:
        raise failure


class _Batch:
    """One transaction of an import."""

    def __init__(self, work: Import, writer: Writer, source: str) -> None:
        self._work = work
        self._writer = writer
        self._codec = work._catalog.codec  # noqa: SLF001 - one thing in two classes
        self._source = source
        self.new_sessions = self.turns = self.calls = self.known = self.twice = 0
        self._drafts: dict[str, Opened] = {}
        self._fresh: dict[str, list[Said | Used]] = {}
        self._open: dict[tuple[str, int], Used] = {}
        """Calls of this batch that came without an outcome."""
        self._calls: dict[tuple[str, str], Used] = {}
        self._late: dict[str, dict[int, Result | Used]] = {}
        """Outcomes of calls that were stored before, by session and key."""
        self._at: dict[str, int] = {}

    def store(self, batch: list[Record]) -> _Batch:
        """Store a batch of records; returns itself. A record that cannot be stored is counted and named."""
        ends: dict[str, Closed] = {}
        for record in batch:
            try:
                self._take(record, ends)
            except _UNSTORABLE as error:
                self._strange(record, error)
        for session, events in self._fresh.items():
            held = self._work._held[session]  # noqa: SLF001
            rows = []
            for event in events:
                try:
                    rows.append(self._stored(held, event))
                except _UNSTORABLE as error:
                    self._strange(event, error)
            if rows:
                held.grew = True
                append_events(self._writer, self._codec, held.number, rows)
        for session, answers in self._late.items():
            self._answer_stored(session, answers)
        for session in self._fresh:
            self._close(self._work._held[session], ends.get(session))  # noqa: SLF001
        return self

    def _take(self, record: Record, ends: dict[str, Closed]) -> None:
        held = self._session(record)
        if isinstance(record, (Said, Used)):
            self._event(held, record)
        elif isinstance(record, Result):
            if not self._answer(record):
                self._answer_later(held, record)
        elif isinstance(record, Closed):
            ends[record.session] = record

    def _strange(self, record: Record, error: Exception) -> None:
        what = {Said: "a turn", Used: "a call", Result: "a result"}.get(type(record), "a session")
        self._work.notes.strange(f"{what} that cannot be stored ({type(error).__name__})")

    def _id(self, name: str) -> str:
        ids = self._work.ids
        if name not in ids:
            ids[name] = safe_id(name)
        return ids[name]

    def _session(self, record: Record) -> _Held:
        """See to it that a record's session is there, and what was stored of it is known."""
        held = self._work._held.get(record.session)  # noqa: SLF001
        opened = record if isinstance(record, Opened) else None
        first = record.session not in self._fresh
        if first and held is not None and session_number(self._writer, self._id(record.session)) != held.number:
            held = None  # another process deleted it since the last batch
        if held is None or opened is not None:
            id = self._id(record.session)
            masker = self._work.masker
            at = record.at if record.at is not None else now_micros()
            draft = SessionDraft(id=id, at=at, source=masker.line(self._source))
            if opened is not None:
                draft.agent, draft.title = masker.line(opened.agent), masker.line(opened.title, 300)
                draft.project = masker.line(opened.project)
                draft.metadata = masker.value(opened.metadata)
            number, new = ensure_session(self._writer, draft)
            self.new_sessions += new
            if new:
                self._work._made.add(number)  # noqa: SLF001
            if held is None:
                held = _Held(number, draft.project, set())
                self._work._held[record.session] = held  # noqa: SLF001
                self._work.seen[id] = None
            held.project = held.project or draft.project
            held.metadata |= draft.metadata
        if first:
            self._fresh[record.session] = []
            self._recall(held, self._id(record.session))
        return held

    def _recall(self, held: _Held, id: str) -> None:
        """Learn what is stored of a session, by now: other processes may have added to it, or packed it away."""
        ((at, parts),) = self._writer.db.execute(
            "SELECT archived_at, (SELECT count(*) FROM session_archive WHERE session = s.seq) FROM session s "
            "WHERE seq = ?",
            (held.number,),
        ).fetchall()
        archive = None if at is None and parts == 0 else (at or 0, parts)
        if archive != held.archive:
            held.archive = archive
            # Rows that moved into the archive may have given their numbers to others: all are looked at again.
            held.last = 0
            held.waiting.clear()
            held.packed.clear()
            for part in archived_events(self._writer, self._codec, held.number, id):
                held.keys.update(event.key for event in part)
                held.packed.update(event.key for event in part if event.kind == CALL and event.ok is None)
        for number, key, waits in event_keys(self._writer, held.number, held.last):
            held.keys.add(key)
            held.last = max(held.last, number)
            if waits:
                held.waiting[key] = number

    def _event(self, held: _Held, record: Said | Used) -> None:
        if record.at is None:
            record.at = self._at.get(record.session, now_micros())
        self._at[record.session] = record.at
        if record.key in held.keys:
            self._tell(held, record)
            # Of a session that this import made, nothing can have been there before.
            if record.key in held.added or held.number in self._work._made:  # noqa: SLF001
                self.twice += 1
            else:
                self.known += 1
            return
        held.keys.add(record.key)
        held.added.add(record.key)
        if isinstance(record, Said):
            self.turns += 1
        else:
            self.calls += 1
            if record.call is not None:
                self._calls[record.session, record.call] = record
            if record.ok is None:
                self._open[record.session, record.key] = record
        self._fresh[record.session].append(record)

    def _tell(self, held: _Held, record: Said | Used) -> None:
        """Give a call that was there without an outcome the one that its record has by now."""
        if not isinstance(record, Used) or record.ok is None:
            return
        if record.key in held.waiting or record.key in held.packed:
            self._late.setdefault(record.session, {})[record.key] = record
            return
        open = self._open.pop((record.session, record.key), None)
        if open is not None and open.ok is None:
            open.ok, open.exit, open.duration = record.ok, record.exit, record.duration
            open.error, open.result = record.error, record.result

    def _stored(self, held: _Held, record: Said | Used) -> NewEvent:
        """Return a record as it is stored; by now its result is known, if it came with the same batch."""
        masker, at = self._work.masker, record.at or 0
        if isinstance(record, Said):
            return turn_event(masker, key=record.key, at=at, role=record.role, text=record.text)
        return call_event(
            masker,
            key=record.key,
            at=at,
            tool=record.tool,
            arguments=record.arguments,
            files=record.files,
            project=held.project,
            ok=record.ok,
            exit=record.exit,
            error=record.error,
            result=record.result,
            duration=record.duration,
            step=record.step,
        )

    def _answer(self, result: Result) -> bool:
        """Give a call of this batch its result; return whether it was there."""
        record = self._calls.pop((result.session, result.call), None)
        if record is None:
            return False
        record.error, record.result = _told_of(result)
        record.ok, record.exit = result.ok, result.exit
        if result.at is not None and record.at is not None:
            record.duration = max(0, result.at - record.at)  # a clock that went back took no time
        return True

    def _answer_later(self, held: _Held, result: Result) -> None:
        key = key_of(result.session, "call", result.call)
        if key in held.keys:
            self._late.setdefault(result.session, {})[key] = result
        else:
            self._work.notes.strange("a result without its call")

    def _answer_stored(self, session: str, answers: dict[int, Result | Used]) -> None:
        """Give calls that were stored before their results, unless they have one; packed ones are unpacked for that."""
        held = self._work._held[session]  # noqa: SLF001
        id = self._id(session)
        again = not held.packed.isdisjoint(answers)
        if again:
            unpack(self._writer, self._codec, id)
            for number, key, waits in event_keys(self._writer, held.number):
                if waits:
                    held.waiting[key] = number
        for key, answer in answers.items():
            self._answer_row(held, held.waiting.pop(key, -1), answer)
        if again:
            pack(self._writer, self._codec, held.number, id)  # the next batch sees that, and looks where things are

    def _answer_row(self, held: _Held, seq: int, answer: Result | Used) -> None:
        db = self._writer.db
        rows = db.execute("SELECT at, codec, body FROM session_event WHERE seq = ? AND ok IS NULL", (seq,)).fetchall()
        for at, coded, body in rows:
            if isinstance(answer, Used):
                error, text, duration = answer.error, answer.result, answer.duration
            else:
                error, text = _told_of(answer)
                duration = None if answer.at is None else max(0, answer.at - at)
            whole = self._codec.decode(coded, body, f"session {answer.session}")
            merged = merged_body(self._work.masker, whole, error=error, result=text)
            number, data = self._codec.encode(merged, 0)
            db.execute(
                "UPDATE session_event SET ok = ?, exit = ?, duration = ?, codec = ?, body = ? WHERE seq = ?",
                (int(bool(answer.ok)), answer.exit, duration, number, data, seq),
            )
            db.execute(
                "UPDATE session SET errors = errors + ?, learned = -1 WHERE seq = ?", (int(not answer.ok), held.number)
            )

    def _close(self, held: _Held, end: Closed | None) -> None:
        """Note what is known of a session and how it went.

        Of one that grew the newer record counts; of another, what was said before. A verdict or a time that
        changed makes learning look at it again.
        """
        db = self._writer.db
        if held.metadata:
            for (text,) in db.execute("SELECT metadata FROM session WHERE seq = ?", (held.number,)).fetchall():
                known = json.loads(text) if text else {}
                merged = {**known, **held.metadata} if held.grew else {**held.metadata, **known}
                if merged != known:
                    written = json.dumps(merged, ensure_ascii=False, separators=(",", ":"))
                    db.execute("UPDATE session SET metadata = ? WHERE seq = ?", (written, held.number))
        if end is None:
            return
        pick = "coalesce(?{0}, {1})" if held.grew else "coalesce({1}, ?{0})"
        outcome, quality = pick.format(3, "outcome"), pick.format(4, "quality")
        ended = "coalesce(?2, last_at)" if held.grew else "coalesce(ended_at, ?2, last_at)"
        db.execute(
            f"UPDATE session SET ended_at = {ended}, last_at = max(last_at, coalesce(?2, last_at)), "
            f"learned = CASE WHEN outcome IS {outcome} AND quality IS {quality} "
            "AND last_at >= coalesce(?2, last_at) THEN learned ELSE -1 END, "
            f"outcome = {outcome}, quality = {quality} WHERE seq = ?1",
            (held.number, end.at, None if end.outcome is None else int(end.outcome), end.quality),
        )


def _told_of(result: Result) -> tuple[str | None, str | None]:
    """Return ``(error, result)`` of what a tool gave back."""
    return (None, result.text or None) if result.ok else (result.text or "it failed", None)
