"""``store.sessions``: runs of agents, as they happen or imported."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, get_args

from lamina.sessions.checks import (
    check_choice,
    check_files,
    check_flag,
    check_id,
    check_json,
    check_line,
    check_name,
    check_number,
    check_strings,
    check_text,
    moment,
    safe_id,
)
from lamina.sessions.events import call_event, turn_event
from lamina.sessions.masking import Masker
from lamina.sessions.rows import (
    COLUMNS,
    NewEvent,
    SessionDraft,
    append_events,
    ensure_session,
    found_id,
    key_of,
    session_row,
    to_session,
)
from lamina.sessions.run import Run
from lamina.sessions.values import ArchiveReport, Event, ImportReport, Session, SessionOutcome
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.checks import bad, check_time, check_whole

__all__ = ["Sessions"]

_PAGE = 500


class Sessions:
    """The sessions of an open store; safe to use from several threads.

    Times are ``datetime``; one without a zone is read as UTC. Secrets are masked before anything is stored.
    """

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog

    # --- as it happens -----------------------------------------------------------------------------------------------

    def start(
        self,
        id: str | None = None,
        *,
        agent: str | None = None,
        project: str | None = None,
        title: str | None = None,
        at: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Run:
        """Begin a session, or go on with one that is there.

        Args:
            id: A name of one's own; made up when None.
            agent: Who works.
            project: The folder or name of what is worked on; paths below the folder are kept relative to it.
            title: One line.
            at: When it began; now when None.
            metadata: JSON values.

        Returns:
            A handle to add turns and calls with; as a ``with`` block it ends the session, as a failure where the block
            raised.

        Raises:
            InvalidInputError: A value that may not be stored; it names it.
        """
        masker = Masker()
        draft = SessionDraft(
            id=safe_id(check_id(id))
            if id is not None
            else f"session-{time.time_ns() // 10**9:x}-{secrets.token_hex(4)}",
            at=moment(at),
            agent=masker.line(check_line(agent, "agent")),
            project=masker.line(check_line(project, "project")),
            title=masker.line(check_line(title, "title")),
            metadata=masker.value(check_json(metadata, "metadata")),
        )
        with self._catalog.write("starting a session") as writer:
            ensure_session(writer, draft)
        return Run(self, draft.id)

    def turn(self, id: str, role: str, text: str, *, at: datetime | None = None) -> int:
        """Add something that was said, durably.

        Args:
            id: Of the session.
            role: Who said it, such as ``user`` or ``assistant``.
            text: What was said, up to ten million characters; a million of them are kept, and how many more there were.
            at: When; now when None.

        Returns:
            Its position in the session.

        Raises:
            NotFoundError: There is no such session.
        """
        name = check_line(role, "role", most=100) or "user"
        text = check_text(text, "text")
        return self._append(id, lambda key, _: turn_event(Masker(), key=key, at=moment(at), role=name, text=text))

    def call(
        self,
        id: str,
        tool: str,
        *,
        arguments: Any = None,
        files: Sequence[str | os.PathLike[str]] | None = None,
        ok: bool | None = True,
        exit: int | None = None,
        error: str | None = None,
        result: str | None = None,
        duration: float | timedelta | None = None,
        at: datetime | None = None,
    ) -> int:
        """Add a tool call, durably.

        Args:
            id: Of the session.
            tool: Its name.
            arguments: JSON values, or the command line of a shell; kept with secrets masked, and as a digest.
            files: Paths it touched; taken from the arguments when None.
            ok: Whether it worked; False where ``error`` or an ``exit`` other than 0 says so; None where nobody knows.
            exit: Exit code, where it ran a program.
            error: What went wrong; 2,000 characters are kept, and a longer one in place of a missing result.
            result: What it gave back, up to ten million characters; a million of them are kept.
            duration: Seconds.
            at: When; now when None.

        Returns:
            Its position in the session.

        Raises:
            NotFoundError: There is no such session.
        """
        name = check_line(tool, "tool", most=200)
        if name is None:
            raise bad("tool is empty.", "Name the tool.")
        paths = None if files is None else check_files(files)
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
        micros = None if seconds is None else round(check_number(seconds, "duration", 0, 1e9) * 1e6)
        code = None if exit is None else check_whole(exit, "exit", -(2**31), 2**32)
        good = False if error or code not in (None, 0) else check_flag(ok, "ok")
        when = moment(at)
        said = None if error is None else check_text(error, "error")
        given = None if result is None else check_text(result, "result")

        def event(key: int, project: str | None) -> NewEvent:
            return call_event(
                Masker(),
                key=key,
                at=when,
                tool=name,
                arguments=arguments,
                files=paths,
                project=project,
                ok=good,
                exit=code,
                error=said,
                result=given,
                duration=micros,
            )

        return self._append(id, event)

    def end(
        self,
        id: str,
        *,
        outcome: SessionOutcome | None = None,
        quality: float | None = None,
        at: datetime | None = None,
    ) -> Session:
        """End a session.

        Args:
            id: Of the session.
            outcome: ``success`` or ``failure``; None leaves it open, or keeps what was said before.
            quality: 0..1.
            at: When; now when None.

        Raises:
            NotFoundError: There is no such session.
        """
        good = None if outcome is None else int(check_choice(outcome, "outcome", get_args(SessionOutcome)) == "success")
        value = None if quality is None else check_number(quality, "quality", 0, 1)
        with self._catalog.write("ending a session") as writer:
            session_row(writer, check_name(id))
            writer.db.execute(
                "UPDATE session SET ended_at = ?2, last_at = max(last_at, ?2), outcome = coalesce(?3, outcome), "
                "quality = coalesce(?4, quality), "  # a verdict or a later end changes what was learned: look again
                "learned = CASE WHEN outcome IS coalesce(?3, outcome) AND quality IS coalesce(?4, quality) "
                "AND last_at >= ?2 THEN learned ELSE -1 END "
                "WHERE id = ?1",
                (id, moment(at), good, value),
            )
            return to_session(session_row(writer, id))

    # --- from records ------------------------------------------------------------------------------------------------

    def import_file(
        self,
        path: str | os.PathLike[str],
        *,
        format: str = "auto",
        progress: Callable[[int, int], None] | None = None,
    ) -> ImportReport:
        """Read sessions from a file, or from every file of a folder; a second time adds only what is new.

        Args:
            path: A transcript of a coding assistant (``.jsonl``), a trajectory (``.traj``), a session of the aircher
                file store (``.json``) or its DuckDB file, or Lamina's own JSON lines (docs/patterns.md).
            format: ``auto`` goes by name and content; else ``transcript``, ``trajectory``, ``aircher``, ``duckdb`` or
                ``lamina``.
            progress: Called with the bytes read and the bytes there are.

        Returns:
            What was added, what was there already, what was not understood and what could not be read.

        Raises:
            NotFoundError: There is no such file.
            InvalidInputError: It is none of the formats, or not text.
            DependencyError: It is a DuckDB file, and ``duckdb`` is not installed.
        """
        from lamina.sessions.importing import import_path

        return import_path(self._catalog, path, format, progress)

    # --- looking -----------------------------------------------------------------------------------------------------

    def get(self, id: str) -> Session:
        """Return a session, without its events.

        Raises:
            NotFoundError: There is none of this id.
        """
        with self._catalog.read("getting a session") as reader:
            return to_session(session_row(reader, check_name(id)))

    def find(self, reference: str) -> Session:
        """Return the session that a person means: by its id, or by how it alone begins, from four characters on.

        Raises:
            NotFoundError: Nothing fits.
            ConflictError: Several do; the message names them.
        """
        with self._catalog.read("looking for a session") as reader:
            return to_session(session_row(reader, found_id(reader, check_name(reference))))

    def events(self, id: str) -> Iterator[Event]:
        """Yield a session's turns and calls in order, a page at a time; an archived one is unpacked.

        Raises:
            NotFoundError: There is none of this id.
            CorruptionError: What is stored is damaged.
        """
        from lamina.sessions.archive import event_pages

        yield from event_pages(self._catalog, check_name(id))

    def list(
        self,
        *,
        project: str | None = None,
        agent: str | None = None,
        outcome: SessionOutcome | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        archived: bool | None = None,
        limit: int | None = 100,
        after: str | None = None,
    ) -> list[Session]:
        """Return sessions, the latest begun first; their events are not read.

        Args:
            project: Only of this project.
            agent: Only of this agent.
            outcome: Only with this outcome.
            since: Begun then or later.
            until: Begun before then.
            archived: True or False; both when None.
            limit: At most so many; None for all.
            after: Continue behind the session of this id.

        Raises:
            NotFoundError: ``after`` names a session that is not there.
        """
        tests, values = _conditions(
            project=project, agent=agent, outcome=outcome, since=since, until=until, archived=archived
        )
        with self._catalog.read("listing sessions") as reader:
            if after is not None:
                row = session_row(reader, check_name(after))
                tests.append("(s.started_at, s.seq) < (?, ?)")
                values += [row[6], row[0]]
            values.append(-1 if limit is None else check_whole(limit, "limit", 1, 2**53))
            where = " AND ".join(tests) or "1"
            rows = reader.db.execute(
                f"SELECT {COLUMNS} FROM session s WHERE {where} ORDER BY s.started_at DESC, s.seq DESC LIMIT ?", values
            )
            return [to_session(row) for row in rows]

    def count(
        self,
        *,
        project: str | None = None,
        agent: str | None = None,
        outcome: SessionOutcome | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        archived: bool | None = None,
    ) -> int:
        """Return how many sessions :meth:`list` would go through."""
        tests, values = _conditions(
            project=project, agent=agent, outcome=outcome, since=since, until=until, archived=archived
        )
        with self._catalog.read("counting sessions") as reader:
            where = " AND ".join(tests) or "1"
            return int(reader.db.execute(f"SELECT count(*) FROM session s WHERE {where}", values).fetchall()[0][0])

    def lines(self, ids: Sequence[str] | None = None) -> Iterator[str]:
        """Yield sessions in Lamina's own JSON lines, which :meth:`import_file` reads back.

        Args:
            ids: Which; all when None.
        """
        from lamina.sessions.lines import session_lines

        chosen = self._all() if ids is None else (self.get(id) for id in check_strings(ids, "ids", most=2**31))
        yield from session_lines(self._catalog, chosen)

    # --- making room -------------------------------------------------------------------------------------------------

    def archive(
        self,
        ids: Sequence[str] | None = None,
        *,
        older_than: timedelta | None = None,
        max_quality: float | None = None,
        dry_run: bool = False,
    ) -> ArchiveReport:
        """Pack sessions' events together; they stay readable, and take a fraction of the room.

        Args:
            ids: Which; or all that the other arguments name.
            older_than: Whose last event is so long ago; 30 days when nothing is given.
            max_quality: And whose quality is at most this, 0..1.
            dry_run: Only say which.
        """
        from lamina.sessions.archive import archive

        return archive(self._catalog, ids, older_than=older_than, max_quality=max_quality, dry_run=dry_run)

    def retain(
        self, *, keep_last: int | None = None, max_age: timedelta | None = None, dry_run: bool = False
    ) -> ArchiveReport:
        """Delete sessions for good: all but the newest so many, and those older than an age.

        Uses of patterns stay, and still name the session.

        Args:
            keep_last: Keep so many of the newest at least.
            max_age: Keep what is younger.
            dry_run: Only say which.
        """
        from lamina.sessions.archive import retain

        return retain(self._catalog, keep_last=keep_last, max_age=max_age, dry_run=dry_run)

    def delete(self, id: str) -> Session:
        """Delete a session's events for good; uses of patterns that came from it stay, and still name it.

        Raises:
            NotFoundError: There is none of this id.
        """
        from lamina.sessions.archive import delete_events

        with self._catalog.write("deleting a session") as writer:
            row = session_row(writer, check_name(id))
            delete_events(writer, [row[0]])
            return to_session(row)

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _append(self, id: str, make: Callable[[int, str | None], NewEvent]) -> int:
        with self._catalog.write("adding to a session") as writer:
            row = session_row(writer, check_name(id))
            event = make(key_of(id, "live", row[11] + row[12]), row[3])
            return append_events(writer, self._catalog.codec, row[0], [event])

    def _all(self) -> Iterator[Session]:
        after: str | None = None
        while page := self.list(limit=_PAGE, after=after):
            yield from page
            after = page[-1].id


def _conditions(
    *,
    project: str | None,
    agent: str | None,
    outcome: SessionOutcome | None,
    since: datetime | None,
    until: datetime | None,
    archived: bool | None,
) -> tuple[list[str], list[Any]]:
    tests: list[str] = []
    values: list[Any] = []
    for column, value in (("project", project), ("agent", agent)):
        if value is not None:
            tests.append(f"s.{column} = ?")
            values.append(check_line(value, column))
    if outcome is not None:
        tests.append("s.outcome = ?")
        values.append(int(check_choice(outcome, "outcome", get_args(SessionOutcome)) == "success"))
    for test, time_, name in (("s.started_at >= ?", since, "since"), ("s.started_at < ?", until, "until")):
        if time_ is not None:
            tests.append(test)
            values.append(check_time(time_, name))
    if archived is not None:
        tests.append(f"s.archived_at IS {'NOT ' if archived else ''}NULL")
    return tests, values


Sessions.__module__ = "lamina"  # tracebacks show the public path
