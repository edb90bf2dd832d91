"""What verify and repair need to know of sessions and patterns."""

from __future__ import annotations

import json
from collections.abc import Iterator

from lamina.errors import LaminaError
from lamina.patterns.families import broken, mend
from lamina.patterns.identity import pattern_id
from lamina.patterns.rows import FORGOTTEN, REMOVED, rebuild, terms_of
from lamina.patterns.traces import unpack_trace
from lamina.sessions.archive import archived_events
from lamina.storage.codecs import BodyCodec
from lamina.storage.reader import Reader
from lamina.storage.writer import Writer
from lamina.types import Problem

__all__ = ["content_problems", "problems", "rebuild_patterns"]

_REPAIR = "Run `lamina repair`."


def _problem(code: str, where: str, message: str, hint: str = _REPAIR) -> Problem:
    return Problem(code=code, where=where, message=message, hint=hint)


def problems(reader: Reader, checked: dict[str, int]) -> Iterator[Problem]:
    """Compare what is derived of patterns with their uses, and sessions' counts with their events."""
    db = reader.db
    checked["sessions"] = int(db.execute("SELECT count(*) FROM session").fetchall()[0][0])
    checked["patterns"] = int(db.execute("SELECT count(*) FROM pattern").fetchall()[0][0])
    counted = (
        "SELECT p.id, p.uses, count(u.seq) FROM pattern p LEFT JOIN pattern_use u ON u.pattern = p.seq GROUP BY p.seq "
        "HAVING p.uses <> count(u.seq) OR p.successes <> coalesce(sum(u.success), 0) "
        "OR p.sessions <> count(DISTINCT u.session) OR (p.uses > 0 AND p.last_used <> max(u.at))"
    )
    for id, uses, found in db.execute(counted):
        yield _problem("index-differs", f"pattern {id}", f"pattern {id} counts {uses} uses and has {found}")
    for id in _ids(
        reader,
        "SELECT p.id FROM pattern p WHERE p.uses <> "
        "(SELECT coalesce(sum(d.uses), 0) FROM pattern_day d WHERE d.pattern = p.seq)",
    ):
        yield _problem("index-differs", f"pattern {id}", f"the days of pattern {id} do not add up to its uses")
    for (seq,) in db.execute(
        "SELECT seq FROM pattern_use u WHERE NOT EXISTS (SELECT 1 FROM pattern p WHERE p.seq = u.pattern)"
    ):
        yield _problem("use-orphaned", f"use {seq}", f"use {seq} belongs to a pattern that is not there")
    for _, id in broken(reader):
        message = f"pattern {id} was merged into one that is not there"
        yield _problem("merge-broken", f"pattern {id}", message)
    for (seq,) in db.execute(
        "SELECT u.seq FROM pattern_use u JOIN pattern p ON p.seq = u.pattern WHERE p.state = 2 UNION ALL "
        "SELECT seq FROM pattern_use WHERE moved_from IS NOT NULL AND moved_from NOT IN (SELECT seq FROM pattern)"
    ):
        yield _problem("merge-broken", f"use {seq}", f"use {seq} does not count for the pattern it should")
    for (seq,) in db.execute(
        "SELECT seq FROM session_event e WHERE NOT EXISTS (SELECT 1 FROM session s WHERE s.seq = e.session)"
    ):
        yield _problem("event-orphaned", f"event {seq}", f"event {seq} belongs to a session that is not there")
    for id, steps, kind in db.execute(
        "SELECT id, steps, type FROM pattern WHERE state <> ? OR steps <> ?", (REMOVED, FORGOTTEN)
    ):
        try:
            good = pattern_id(reader.name(kind) or "", [str(step) for step in json.loads(steps)]) == id
        except (ValueError, TypeError):
            good = False
        if not good:
            message = f"the steps of pattern {id} are not what it was made of"
            yield _problem("pattern-damaged", f"pattern {id}", message, "Restore it from a backup or an export.")


def _ids(reader: Reader, sql: str) -> list[str]:
    return [row[0] for row in reader.db.execute(sql)]


def content_problems(reader: Reader, codec: BodyCodec, checked: dict[str, int]) -> Iterator[Problem]:
    """Decode every event and trace, and compare the words of patterns."""
    yield from _words(reader)
    checked["events"] = 0
    for session, id, trace in reader.db.execute("SELECT seq, id, trace FROM session ORDER BY seq").fetchall():
        if trace is not None and unpack_trace(trace) is None:
            message = f"what was learned from session {id} cannot be read"
            yield _problem("trace-damaged", f"session {id}", message)
        try:
            for part in archived_events(reader, codec, session, id):
                checked["events"] += len(part)
        except LaminaError as error:
            yield _problem("event-damaged", f"session {id}", error.message, "Import it again, or restore a backup.")
        for place, coded, body in reader.db.execute(
            "SELECT position, codec, body FROM session_event WHERE session = ?", (session,)
        ):
            checked["events"] += 1
            try:
                codec.decode(coded, body, f"event {place} of session {id}")
            except LaminaError as error:
                yield _problem("event-damaged", f"session {id}", error.message, "Import it again, or restore a backup.")


def _words(reader: Reader) -> Iterator[Problem]:
    """Compare the words by which patterns are found with those of their steps and descriptions."""
    held = dict(reader.db.execute("SELECT pattern, count(*) FROM pattern_term GROUP BY pattern").fetchall())
    for number, id, steps, description in reader.db.execute(
        "SELECT seq, id, steps, description FROM pattern WHERE state <> 1"
    ).fetchall():
        try:
            wanted = len(terms_of([str(step) for step in json.loads(steps)], description))
        except (ValueError, TypeError):
            continue  # that was told
        if held.get(number, 0) != wanted:
            yield _problem("index-differs", f"pattern {id}", f"pattern {id} cannot be found by all of its words")


def rebuild_patterns(writer: Writer) -> None:
    """Make all that is derived of sessions and patterns anew, and drop what belongs to nothing."""
    db = writer.db
    for table in ("session_event", "session_archive"):
        db.execute(f"DELETE FROM {table} WHERE NOT EXISTS (SELECT 1 FROM session s WHERE s.seq = {table}.session)")
    for number, trace in db.execute("SELECT seq, trace FROM session WHERE trace IS NOT NULL").fetchall():
        if unpack_trace(trace) is None:
            db.execute("UPDATE session SET trace = NULL, learned = -1 WHERE seq = ?", (number,))
    mend(writer)
    rebuild(writer)
