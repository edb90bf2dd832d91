"""Storing what readers yield: in batches, each one transaction, so that a second import adds only what is new."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from os import PathLike, fspath, walk
from pathlib import Path
from typing import Any, Final

from lamina.errors import InvalidInputError, LaminaError, NotFoundError
from lamina.sessions.archive import archived_events
from lamina.sessions.checks import check_choice
from lamina.sessions.events import MAX_RESULT, call_event, merged_body, turn_event
from lamina.sessions.masking import Masker
from lamina.sessions.readers.lines import peek
from lamina.sessions.readers.records import Closed, Notes, Opened, Record, Result, Said, Used
from lamina.sessions.rows import NewEvent, SessionDraft, append_events, ensure_session, event_keys, key_of
from lamina.sessions.values import ImportReport
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.records import now_micros
from lamina.storage.writer import Writer

__all__ = ["FORMATS", "import_path"]

FORMATS: Final = ("transcript", "trajectory", "aircher", "duckdb", "lamina")
_READERS: Final = {
    "transcript": "lamina.sessions.readers.transcripts",
    "trajectory": "lamina.sessions.readers.trajectories",
    "aircher": "lamina.sessions.readers.aircher",
    "duckdb": "lamina.sessions.readers.duck",
    "lamina": "lamina.sessions.lines",
}
_SUFFIXES: Final = (".jsonl", ".ndjson", ".traj", ".json", ".duckdb")
_BATCH_RECORDS = 5_000
_BATCH_CHARS = 16 << 20


def import_path(
    catalog: SqliteCatalog,
    path: str | PathLike[str],
    format: str,
    progress: Callable[[int, int], None] | None,
) -> ImportReport:
    """Import a file, or every file of a folder that looks like one of the formats.

    Raises:
        NotFoundError: There is no such file, or the folder holds none.
        InvalidInputError: It is none of the formats, or not text; of a folder's files that is only told as a problem.
    """
    check_choice(format, "format", ("auto", *FORMATS))
    place = Path(fspath(path)).expanduser()
    files = _files(place)
    total = sum(file.stat().st_size for file in files)
    work = _Import(catalog)
    started = time.perf_counter()
    formats: dict[str, None] = {}
    for file in files:
        try:
            chosen = _detect(file) if format == "auto" else format
            formats[chosen] = None
            reader = import_module(_READERS[chosen])
            advance = (lambda _: None) if progress is None else _told(progress, work.notes, total)
            work.run(reader.read(file, work.notes, advance), str(file))
        except LaminaError as error:
            if len(files) == 1 or not isinstance(error, (InvalidInputError, NotFoundError)):
                raise
            work.notes.problem(f"{file}: {error.message}")
    return ImportReport(
        path=str(place),
        format=", ".join(formats),
        sessions=tuple(work.seen),
        new_sessions=work.new_sessions,
        turns=work.turns,
        calls=work.calls,
        known=work.known,
        unknown=dict(work.notes.unknown.most_common()),
        problems=work.notes.told(),
        masked=work.masker.count,
        bytes=work.notes.read,
        seconds=time.perf_counter() - started,
    )


def _told(progress: Callable[[int, int], None], notes: Notes, total: int) -> Callable[[int], None]:
    return lambda _: progress(min(notes.read, total), total)


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        found = sorted(
            Path(folder) / name for folder, _, names in walk(place) for name in names if name.endswith(_SUFFIXES)
        )
        if not found:
            raise NotFoundError(
                f"{place} holds no file that could be a session.", hint=f"They end in {', '.join(_SUFFIXES)}."
            )
        return found
    if not place.is_file():
        raise NotFoundError(
            f"There is no file {place}.", hint="Name a file or a folder with sessions.", path=str(place)
        )
    return [place]


def _detect(path: Path) -> str:
    """Return the format of a file by its name, then by what it holds.

    Raises:
        InvalidInputError: It is none that is known.
    """
    if path.suffix == ".traj":
        return "trajectory"
    if path.suffix == ".duckdb":
        return "duckdb"
    first: Any = None
    if path.suffix != ".json":
        first = peek(path)
        if isinstance(first, dict):
            own = first.get("type") in ("session", "turn", "call", "end") and "message" not in first
            return "lamina" if own else "transcript"
    from lamina.sessions.readers.whole import whole_json

    document = whole_json(path)
    if isinstance(document, dict) and isinstance(document.get("session_id"), str):
        return "aircher"
    if isinstance(document, dict) and ("trajectory" in document or "history" in document):
        return "trajectory"
    raise InvalidInputError(
        f"{path} is none of the formats that can be imported.",
        hint=f"They are {', '.join(FORMATS)}; name one with format=. Patterns go to store.patterns.import_file.",
        path=str(path),
    )


@dataclass(slots=True)
class _Held:
    """What is known, in this import, of one session's events."""

    number: int
    project: str | None
    keys: set[int]
    last: int = 0
    waiting: dict[int, int] = field(default_factory=dict)
    """Stored calls without an outcome: their keys and numbers."""


class _Import:
    """One import: several files share what it counts and knows."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog
        self.notes = Notes()
        self.masker = Masker()
        self.seen: dict[str, None] = {}
        self.new_sessions = self.turns = self.calls = self.known = 0
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
        self._held.clear()


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record.text) if isinstance(record, (Said, Result)) else 500
        if len(batch) >= _BATCH_RECORDS or size > _BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Batch:
    """One transaction of an import."""

    def __init__(self, work: _Import, writer: Writer, source: str) -> None:
        self._work = work
        self._writer = writer
        self._codec = work._catalog.codec  # noqa: SLF001 - one thing in two classes
        self._source = source
        self.new_sessions = self.turns = self.calls = self.known = 0
        self._drafts: dict[str, Opened] = {}
        self._fresh: dict[str, list[Said | Used]] = {}
        self._calls: dict[tuple[str, str], Used] = {}
        self._at: dict[str, int] = {}

    def store(self, batch: list[Record]) -> _Batch:
        """Store a batch of records; returns itself."""
        ends: dict[str, Closed] = {}
        late: list[Result] = []
        for record in batch:
            held = self._session(record)
            if isinstance(record, (Said, Used)):
                self._event(held, record)
            elif isinstance(record, Result):
                if not self._answer(record):
                    late.append(record)
            elif isinstance(record, Closed):
                ends[record.session] = record
        for session, events in self._fresh.items():
            if events:
                held = self._work._held[session]  # noqa: SLF001
                append_events(self._writer, self._codec, held.number, [self._stored(held, event) for event in events])
        for result in late:
            self._answer_stored(result)
        for session, end in ends.items():
            self._close(self._work._held[session].number, end)  # noqa: SLF001
        return self

    def _session(self, record: Record) -> _Held:
        """See to it that a record's session is there, and what was stored of it is known."""
        held = self._work._held.get(record.session)  # noqa: SLF001
        opened = record if isinstance(record, Opened) else None
        if held is None or opened is not None:
            at = record.at if record.at is not None else now_micros()
            draft = SessionDraft(id=record.session, at=at, source=self._work.masker.text(self._source))
            if opened is not None:
                masker = self._work.masker
                draft.agent, draft.title = opened.agent, masker.line(opened.title)
                draft.project = masker.line(opened.project)
                draft.metadata = masker.value(opened.metadata)
            number, new = ensure_session(self._writer, draft)
            self.new_sessions += new
            if held is None:
                held = _Held(number, draft.project, set())
                self._recall_archive(number, record.session, held)
                self._work._held[record.session] = held  # noqa: SLF001
                self._work.seen[record.session] = None
            held.project = held.project or draft.project
        if record.session not in self._fresh:  # what other processes added since the last batch
            self._fresh[record.session] = []
            for number, key, waits in event_keys(self._writer, held.number, held.last):
                held.keys.add(key)
                held.last = max(held.last, number)
                if waits:
                    held.waiting[key] = number
        return held

    def _recall_archive(self, number: int, id: str, held: _Held) -> None:
        """Learn the keys of events that are packed away."""
        for part in archived_events(self._writer, self._codec, number, id):
            held.keys.update(event.key for event in part)

    def _event(self, held: _Held, record: Said | Used) -> None:
        if record.at is None:
            record.at = self._at.get(record.session, now_micros())
        self._at[record.session] = record.at
        if record.key in held.keys:
            self.known += 1
            return
        held.keys.add(record.key)
        if isinstance(record, Said):
            self.turns += 1
        else:
            self.calls += 1
            if record.call is not None:
                self._calls[record.session, record.call] = record
        self._fresh[record.session].append(record)

    def _stored(self, held: _Held, record: Said | Used) -> NewEvent:
        """Return a record as it is stored; by now its result is known, if it came with the same batch."""
        masker, at = self._work.masker, record.at or 0
        if isinstance(record, Said):
            return turn_event(masker, key=record.key, at=at, role=record.role[:100], text=record.text)
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

    def _answer_stored(self, result: Result) -> None:
        """Give a call that was stored before its result, unless it has one."""
        db = self._writer.db
        held = self._work._held[result.session]  # noqa: SLF001
        key = key_of(result.session, "call", result.call)
        if key not in held.keys:
            self._work.notes.strange("a result without its call")
            return
        seq = held.waiting.pop(key, -1)
        rows = db.execute("SELECT at, codec, body FROM session_event WHERE seq = ? AND ok IS NULL", (seq,)).fetchall()
        for at, coded, body in rows:
            error, text = _told_of(result)
            whole = self._codec.decode(coded, body, f"session {result.session}")
            merged = merged_body(self._work.masker, whole, error=error, result=text)
            number, data = self._codec.encode(merged, 0)
            duration = None if result.at is None else max(0, result.at - at)
            db.execute(
                "UPDATE session_event SET ok = ?, exit = ?, duration = ?, codec = ?, body = ? WHERE seq = ?",
                (int(result.ok), result.exit, duration, number, data, seq),
            )
            db.execute(
                "UPDATE session SET errors = errors + ?, learned = -1 WHERE seq = ?", (int(not result.ok), held.number)
            )

    def _close(self, number: int, end: Closed) -> None:
        """Note how a session went; what was said of it before stays."""
        self._writer.db.execute(
            "UPDATE session SET ended_at = coalesce(ended_at, ?2, last_at), outcome = coalesce(outcome, ?3), "
            "quality = coalesce(quality, ?4), last_at = max(last_at, coalesce(?2, last_at)) WHERE seq = ?1",
            (number, end.at, None if end.outcome is None else int(end.outcome), end.quality),
        )


def _told_of(result: Result) -> tuple[str | None, str | None]:
    """Return ``(error, result)`` of what a tool gave back."""
    text = result.text[: MAX_RESULT + 1]
    return (None, text or None) if result.ok else (text or "it failed", None)
