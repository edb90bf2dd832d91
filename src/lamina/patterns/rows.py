"""Patterns as rows: reading them, and keeping what is derived from their uses."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar

from lamina.errors import NotFoundError
from lamina.patterns.counts import DAY, Counts
from lamina.patterns.values import Pattern
from lamina.search.outcomes import faded, rank, wilson
from lamina.storage.codecs import damaged
from lamina.storage.names import NameKind
from lamina.storage.reader import Reader
from lamina.storage.records import from_micros, now_micros
from lamina.storage.writer import Writer

__all__ = [
    "ACTIVE",
    "COLUMNS",
    "DAY",
    "FORGOTTEN",
    "MERGED",
    "ORIGINS",
    "REMOVED",
    "erase",
    "family",
    "numbered_row",
    "pattern_row",
    "portions",
    "rebuild",
    "refresh",
    "root",
    "terms_of",
    "to_patterns",
    "write_totals",
]

Origin = Literal["recorded", "learned", "imported"]
State = Literal["active", "removed", "merged"]
ORIGINS: Final[tuple[Origin, ...]] = ("recorded", "learned", "imported")
STATES: Final[tuple[State, ...]] = ("active", "removed", "merged")
ACTIVE, REMOVED, MERGED = 0, 1, 2
FORGOTTEN: Final = "[]"
"""The steps of a pattern that was deleted for good, of which only the id is kept."""
COLUMNS: Final = (
    "p.seq, p.id, p.type, p.steps, p.uses, p.successes, p.sessions, p.first_used, p.last_used, p.created_at, "
    "p.description, p.context, p.origin, p.state"
)
_BATCH = 500
_FILE: Final = int(NameKind.FILE)
_T = TypeVar("_T")


def portions(values: Sequence[_T], size: int = _BATCH) -> Iterator[Sequence[_T]]:
    """Yield values so many at a time."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def root(reader: Reader, number: int) -> tuple[int, int]:
    """Return the pattern that counts now for one that may have been merged, and its state.

    The state is MERGED only where the way there is broken (what it was merged into is not there, or leads back to it);
    then the number is that of the last one that is there. Repair mends that.
    """
    seen: set[int] = set()
    last = number
    while number not in seen:
        seen.add(number)
        for state, into in reader.db.execute("SELECT state, merged_into FROM pattern WHERE seq = ?", (number,)):
            if state != MERGED:
                return number, state
            last, number = number, number if into is None else into
    return last, MERGED


def family(reader: Reader, number: int) -> list[int]:
    """Return a pattern and all that was merged into it, also by way of others."""
    found = {number: None}
    todo = [number]
    while todo:
        rows = reader.db.execute("SELECT seq FROM pattern WHERE merged_into = ? AND state = 2", (todo.pop(),))
        new = [row[0] for row in rows if row[0] not in found]
        found.update(dict.fromkeys(new))
        todo += new
    return list(found)


def numbered_row(reader: Reader, number: int) -> tuple[Any, ...]:
    """Return the row of :data:`COLUMNS` of a pattern that is there, whatever its state."""
    return tuple(reader.db.execute(f"SELECT {COLUMNS} FROM pattern p WHERE p.seq = ?", (number,)).fetchall()[0])


def pattern_row(reader: Reader, id: str) -> tuple[Any, ...]:
    """Return a pattern's row of :data:`COLUMNS`; of one that was merged, that of the pattern it is part of now.

    Raises:
        NotFoundError: There is none of this id, or it was removed.
    """
    for (seq,) in reader.db.execute("SELECT seq FROM pattern WHERE id = ?", (id,)).fetchall():
        number, state = root(reader, seq)
        if state == ACTIVE:
            return numbered_row(reader, number)
    raise NotFoundError(
        f"There is no pattern {id}.",
        hint="`lamina patterns list` shows what is there; undo brings back the pruned.",
        id=id,
    )


def to_patterns(reader: Reader, rows: Sequence[Sequence[Any]], now: int | None = None) -> list[Pattern]:
    """Return the public values of rows of :data:`COLUMNS`, with their files and tools."""
    if not rows:
        return []
    moment = now_micros() if now is None else now
    files: dict[int, list[str]] = defaultdict(list)
    tools: dict[int, list[str]] = defaultdict(list)
    numbers = [row[0] for row in rows]
    none: list[str] = []
    for part in portions(numbers):
        marks = ", ".join("?" * len(part))
        for pattern, kind, value in reader.db.execute(
            "SELECT l.pattern, n.kind, n.value FROM pattern_link l JOIN name n ON n.id = l.name "
            f"WHERE l.pattern IN ({marks})",
            part,
        ):
            (files if kind == _FILE else tools)[pattern].append(value)
    return [
        _pattern(reader, row, sorted(files.get(row[0], none)), sorted(tools.get(row[0], none)), moment) for row in rows
    ]


def _pattern(reader: Reader, row: Sequence[Any], files: list[str], tools: list[str], now: int) -> Pattern:
    try:
        uses, successes, last = row[4], row[5], row[8]
        low, high = wilson(successes, uses)
        return Pattern(
            id=row[1],
            type=reader.name(row[2]) or "?",
            steps=_steps(row[3]),
            files=tuple(files),
            tools=tuple(tools),
            uses=uses,
            successes=successes,
            success_rate=successes / uses if uses else 0.0,
            low=low,
            high=high,
            effectiveness=faded(low, now - last),
            sessions=row[6],
            first_used=from_micros(row[7]) if uses else None,
            last_used=from_micros(last) if uses else None,
            created_at=from_micros(row[9]),
            description=row[10],
            context=json.loads(row[11]) if row[11] else {},
            origin=ORIGINS[row[12]],
            state=STATES[row[13]],
        )
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise damaged(f"pattern {row[1]}", f"a field makes no sense ({error})") from None


@lru_cache(maxsize=4_096)
def _steps(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def terms_of(steps: Iterable[str], description: str | None) -> list[str]:
    """Return the words by which a pattern is found."""
    from lamina.search.tokens import tokens

    return list(dict.fromkeys(tokens(" ".join([*steps, description or ""]))))


def write_totals(writer: Writer, totals: Iterable[tuple[int, int, int, int, int, int]]) -> None:
    """Set ``(pattern, uses, successes, sessions, first use, last use)``, and what follows from them."""
    writer.db.executemany(
        "UPDATE pattern SET uses = ?2, successes = ?3, sessions = ?4, first_used = ?5, last_used = ?6, "
        "success_rate = ?7, rank = ?8 WHERE seq = ?1",
        [
            (
                seq,
                uses,
                successes,
                sessions,
                first,
                last,
                successes / uses if uses else 0.0,
                rank(successes, uses, last),
            )
            for seq, uses, successes, sessions, first, last in totals
        ],
    )


def refresh(writer: Writer, patterns: Iterable[int]) -> None:
    """Make what is derived of patterns anew from their uses: totals, days, files and tools."""
    from lamina.sessions.rows import unpacked

    for pattern in dict.fromkeys(patterns):
        db = writer.db
        for table in ("pattern_day", "pattern_link"):
            db.execute(f"DELETE FROM {table} WHERE pattern = ?", (pattern,))
        counts = Counts()
        sessions: set[int] = set()
        first = last = uses = successes = 0
        for at, success, session, packed in db.execute(
            "SELECT at, success, session, links FROM pattern_use WHERE pattern = ? ORDER BY at", (pattern,)
        ):
            first = first if uses else at
            last = at
            uses += 1
            successes += success
            if session is not None:
                sessions.add(session)
            counts.add(pattern, at, success, unpacked(packed))
        counts.write(writer)
        write_totals(writer, [(pattern, uses, successes, len(sessions), first, last)])


def write_terms(writer: Writer, entries: Iterable[tuple[int, Iterable[str]]]) -> None:
    """Make patterns findable by words."""
    writer.db.executemany(
        "INSERT INTO pattern_term (term, pattern) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(term, pattern) for pattern, terms in entries for term in terms],
    )


def erase(writer: Writer, patterns: Iterable[int]) -> None:
    """Delete patterns and all that was merged into them for good, with their uses and all that is derived.

    Of what learning found the bare id stays, so that it does not find it again in the same sessions.
    """
    db = writer.db
    numbers = list(dict.fromkeys(member for pattern in patterns for member in family(writer, pattern)))
    kept = [number for number in numbers if is_learned(writer, number)]
    for number in numbers:
        for steps, description in db.execute("SELECT steps, description FROM pattern WHERE seq = ?", (number,)):
            terms = [(term, number) for term in terms_of(json.loads(steps), description)]
            db.executemany("DELETE FROM pattern_term WHERE term = ? AND pattern = ?", terms)
        for table in ("pattern_use", "pattern_day", "pattern_link"):
            db.execute(f"DELETE FROM {table} WHERE pattern = ?", (number,))
        if number not in kept:
            db.execute("DELETE FROM pattern WHERE seq = ?", (number,))
    db.executemany(
        "UPDATE pattern SET state = ?, prune = NULL, merged_into = NULL, origin = 1, steps = ?, description = NULL, "
        "context = NULL WHERE seq = ?",
        [(REMOVED, FORGOTTEN, number) for number in kept],
    )
    write_totals(writer, [(number, 0, 0, 0, 0, 0) for number in kept])


def is_learned(reader: Reader, number: int) -> bool:
    """Return whether learning found a pattern, be it the first to do so or not."""
    rows = reader.db.execute(
        "SELECT 1 FROM pattern WHERE seq = ?1 AND origin = 1 UNION ALL SELECT 1 FROM pattern_use WHERE learned = 1 "
        "AND (moved_from = ?1 OR pattern = ?1 AND moved_from IS NULL) LIMIT 1",
        (number,),
    )
    return bool(rows.fetchall())


def rebuild(writer: Writer) -> int:
    """Make all that is derived anew from patterns and uses, for repair; return how many patterns there are."""
    db = writer.db
    db.execute("DELETE FROM pattern_use WHERE NOT EXISTS (SELECT 1 FROM pattern p WHERE p.seq = pattern_use.pattern)")
    for table in ("pattern_day", "pattern_link", "pattern_term"):
        db.execute(f"DELETE FROM {table}")
    rows = db.execute("SELECT seq, steps, description FROM pattern").fetchall()
    for seq, steps, description in rows:
        try:
            words = terms_of([str(step) for step in json.loads(steps)], description)
        except (ValueError, TypeError):
            continue  # verify names it
        write_terms(writer, [(seq, words)])
    refresh(writer, [row[0] for row in rows])
    return len(rows)
