"""Learning: from sessions to patterns, with the sessions as evidence, adding only what is new."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from lamina.errors import InvalidInputError, NotFoundError, there_are
from lamina.patterns.evidence import (
    Held,
    Learned,
    Studied,
    fixes_of,
    held_evidence,
    named,
    what_is_held,
    write_evidence,
)
from lamina.patterns.mining import Found, frequent_pairs, frequent_sequences
from lamina.patterns.reports import LearnReport
from lamina.patterns.rows import portions
from lamina.patterns.traces import MAX_EDITED, make_trace, pack_trace, unpack_trace
from lamina.sessions.checks import check_id, check_number
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.checks import check_whole, shown
from lamina.storage.reader import Reader
from lamina.storage.writer import Writer

__all__ = ["learn"]

_LEAST_SUPPORT: Final = 3
_SHARE: Final = 100
"""One in so many sessions must have something, where nothing else is asked for."""
_SESSIONS_AT_ONCE: Final = 200
_TOLD: Final = 100
_GOOD: Final = 0.5
"""Quality from which a session without an outcome counts as a success."""


def learn(
    catalog: SqliteCatalog,
    sessions: Iterable[str] | None,
    *,
    min_support: int | None,
    min_success_rate: float,
    max_length: int,
    max_gap: int,
    limit: int,
    progress: Any = None,
) -> LearnReport:
    """Learn from sessions that are new or have grown; see :meth:`Patterns.learn`.

    What was learned before gets the evidence of these sessions, whatever they have of it; what is new gets that of all.

    Raises:
        InvalidInputError: A setting that makes no sense, or ``sessions`` that are no list.
        NotFoundError: A session that was named is not there.
    """
    started = time.perf_counter()
    rate = check_number(min_success_rate, "min_success_rate", 0, 1)
    check_whole(max_length, "max_length", 2, 6)
    check_whole(max_gap, "max_gap", 0, 5)
    check_whole(limit, "limit", 1, 100_000)
    wanted = None if sessions is None else _wanted(catalog, sessions)
    renewed = _trace_sessions(catalog, wanted, progress)
    with catalog.read("learning") as reader:
        known = _load(reader, renewed)
        held = what_is_held(reader)
        support = min_support
        if support is None:
            support = max(_LEAST_SUPPORT, -(-len(known) // _SHARE))
        check_whole(support, "min_support", 1, 2**53)
        patterns, counts, left_out = _mine(
            reader, known, held, support=support, rate=rate, max_length=max_length, max_gap=max_gap, limit=limit
        )
        again = held_evidence(reader, held, known, max_gap)
        ((mute,),) = reader.db.execute("SELECT count(*) FROM session WHERE calls = 0 AND turns > 0").fetchall()
    new, updated, uses = write_evidence(catalog, known, patterns, again, held=held, progress=progress)
    return LearnReport(
        sessions=len(known),
        new_sessions=len(renewed),
        without_calls=int(mute),
        patterns=tuple(new),
        updated=updated,
        uses=uses,
        found=counts,
        left_out={kind: count for kind, count in left_out.items() if count},
        min_support=support,
        seconds=time.perf_counter() - started,
    )


# --- traces ----------------------------------------------------------------------------------------------------------


def _wanted(catalog: SqliteCatalog, sessions: Iterable[Any]) -> set[str]:
    """Return the ids of sessions that were named, each of which is there.

    Raises:
        InvalidInputError: They are no list.
        NotFoundError: There is no such session.
    """
    if isinstance(sessions, (str, bytes)) or not isinstance(sessions, Iterable):
        raise InvalidInputError(f"sessions is {shown(sessions)}, not a list.", hint="Pass a list of ids of sessions.")
    wanted = {check_id(getattr(session, "id", session)) for session in sessions}
    with catalog.read("looking for sessions") as reader:
        for id in sorted(wanted):
            if not reader.db.execute("SELECT 1 FROM session WHERE id = ?", (id,)).fetchall():
                rows = reader.db.execute("SELECT id FROM session ORDER BY last_at DESC LIMIT ?", (_TOLD,)).fetchall()
                raise NotFoundError(
                    f"There is no session {id}.",
                    hint=there_are(id, [row[0] for row in rows]) or "Import or record sessions first.",
                    id=id,
                )
    return wanted


def _trace_sessions(catalog: SqliteCatalog, wanted: set[str] | None, progress: Any) -> dict[int, int]:
    """Make the traces of sessions that learning has not seen as they are now; return their events by their numbers."""
    with catalog.read("looking for new sessions") as reader:
        rows = reader.db.execute(
            "SELECT seq, id FROM session WHERE calls > 0 AND learned <> turns + calls ORDER BY seq"
        ).fetchall()
    chosen = [row for row in rows if wanted is None or row[1] in wanted]
    traced: dict[int, int] = {}
    for part in portions(chosen, _SESSIONS_AT_ONCE):
        with catalog.write("learning from sessions") as writer:
            found = {number: _trace(writer, catalog, number, id) for number, id in part}
        traced.update({number: events for number, events in found.items() if events is not None})
        if progress is not None:
            progress(len(traced), len(chosen))
    return traced


def _trace(writer: Writer, catalog: SqliteCatalog, number: int, id: str) -> int | None:
    rows = writer.db.execute("SELECT turns + calls FROM session WHERE seq = ? AND calls > 0", (number,)).fetchall()
    if not rows:
        return None  # it was deleted meanwhile
    trace = make_trace(writer, catalog.codec, number, id)
    writer.db.execute("UPDATE session SET learned = -2, trace = ? WHERE seq = ?", (pack_trace(trace), number))
    return int(rows[0][0])


def _load(reader: Reader, renewed: dict[int, int]) -> list[Studied]:
    """Return every session with a trace; ``fresh`` are those whose uses are still to be written."""
    found = []
    for number, id, at, outcome, quality, learned, events, data in reader.db.execute(
        "SELECT seq, id, last_at, outcome, quality, learned, turns + calls, trace FROM session "
        "WHERE trace IS NOT NULL ORDER BY seq"
    ):
        trace = unpack_trace(data)
        if trace is None:
            continue  # damaged; verify names it, and learning from the session again makes it anew
        result = bool(outcome) if outcome is not None else quality >= _GOOD if quality is not None else None
        final = renewed.get(number, learned if learned == events else -1)
        facts = (at, outcome, quality)
        found.append(Studied(number, id, at, result, trace, number in renewed, learned, final, facts))
    return found


# --- what is frequent ------------------------------------------------------------------------------------------------


def _mine(
    reader: Reader,
    known: Sequence[Studied],
    held: Held,
    *,
    support: int,
    rate: float,
    max_length: int,
    max_gap: int,
    limit: int,
) -> tuple[list[Learned], dict[str, int], dict[str, int]]:
    results = [session.result for session in known]
    outcomes = [session.trace.outcomes for session in known]
    options = {"min_support": support, "max_length": max_length, "max_gap": max_gap}
    steps = frequent_sequences([session.trace.steps for session in known], outcomes, results, **options)
    tools = frequent_sequences([session.trace.tools for session in known], outcomes, results, **options)
    files, too_many = frequent_pairs(
        [session.trace.edited for session in known], results, min_support=support, most=MAX_EDITED
    )
    fixes = sorted((one for one in fixes_of(known) if len(one.sessions) >= support), key=lambda one: one.items)
    patterns: list[Learned] = []
    counts: dict[str, int] = {}
    left_out: dict[str, int] = {"files of one session": too_many}
    for kind, found in (("steps", steps), ("tools", tools), ("files", files), ("fixes", fixes)):
        made = [named(reader, kind, entry) for entry in found]
        good = [
            pattern
            for pattern in made
            if pattern.id in held.ids or (pattern.id not in held.forgotten and _rate(pattern.found) >= rate)
        ]
        good.sort(key=lambda pattern: (-len(pattern.found.sessions), -len(pattern.steps), pattern.steps))
        chosen = good[:limit] + [pattern for pattern in good[limit:] if pattern.id in held.ids]
        counts[kind] = len(chosen)
        left_out[kind] = len(good) - len(chosen)
        patterns += [pattern for pattern in chosen if pattern.id not in held.ids]
    return patterns, counts, left_out


def _rate(found: Found) -> float:
    return sum(found.worked) / len(found.worked)
