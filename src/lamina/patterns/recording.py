"""Recording uses: one at a time or many, each batch one transaction that also moves every count along."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from operator import itemgetter
from typing import Any, Final

from lamina.errors import InvalidInputError
from lamina.patterns.counts import Counts
from lamina.patterns.identity import pattern_id, steps_json
from lamina.patterns.rows import (
    ACTIVE,
    FORGOTTEN,
    MERGED,
    ORIGINS,
    REMOVED,
    portions,
    root,
    terms_of,
    write_terms,
    write_totals,
)
from lamina.sessions.checks import check_files, check_id, check_line, check_number, check_strings, moment, safe_id
from lamina.sessions.masking import Masker, suspicious
from lamina.sessions.rows import SessionDraft, ensure_session, packed, unpacked
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.names import NameKind
from lamina.storage.records import now_micros
from lamina.storage.writer import Writer

__all__ = ["EVENT_FIELDS", "Recorder", "Use", "check_use", "forget_uses", "record_many", "roomy"]

EVENT_FIELDS: Final = ("steps", "type", "success", "files", "tools", "session", "description", "at", "duration")
MAX_STEPS: Final = 200
_BATCH: Final = 40_000
_PAIRS: Final = 200
_CACHE_KB: Final = 65_536
"""Pages that a bulk write may hold in memory; with the usual 8 MB it would write them twice."""
_PLACE: Final = itemgetter(0, 1)
_ORIGIN: Final[Mapping[str, int]] = {name: number for number, name in enumerate(ORIGINS)}


@dataclass(slots=True, kw_only=True)
class Use:
    """One use of a pattern on its way in, checked. Times are microseconds."""

    id: str
    type: str
    steps: tuple[str, ...]
    success: bool
    at: int
    files: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    session: str | None = None
    description: str | None = None
    duration: int | None = None
    context: dict[str, Any] | None = None
    created_at: int | None = None
    learned: bool = False
    origin: str = "recorded"


def check_use(values: Mapping[str, Any]) -> Use:
    """Return a use of the arguments of ``record``, checked, with secrets masked.

    Raises:
        InvalidInputError: A value that may not be stored; it names it.
    """
    unknown = [str(name) for name in values if name not in EVENT_FIELDS]
    missing = [name for name in ("steps", "type", "success") if name not in values]
    if unknown or missing:
        what = f"knows no {', '.join(unknown)}" if unknown else f"lacks {', '.join(missing)}"
        raise InvalidInputError(f"A use of a pattern {what}.", hint=f"Its fields are {', '.join(EVENT_FIELDS)}.")
    kind = check_line(values["type"], "type", most=200)
    if kind is None:
        raise InvalidInputError("type is empty.", hint="Name the kind of pattern, such as TestingPattern.")
    success = values["success"]
    if not isinstance(success, (bool, int)) or success not in (0, 1):
        raise InvalidInputError(f"success is {success!r}, not True or False.", hint="Pass how it went.")
    steps = check_strings(values["steps"], "steps", least=1, most=MAX_STEPS)
    files = check_files(values.get("files") or ())
    tools = tuple(dict.fromkeys(check_strings(values["tools"], "tools"))) if values.get("tools") else ()
    description = check_line(values.get("description"), "description")
    if suspicious("\n".join((kind, *steps, *files, *tools, description or ""))):
        masker = Masker()
        kind = masker.text(kind)
        steps, files, tools = (tuple(masker.text(line) for line in lines) for lines in (steps, files, tools))
        description = masker.line(description)
    duration = values.get("duration")
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    session = values.get("session")
    return Use(
        id=pattern_id(kind, steps),
        type=kind,
        steps=steps,
        success=bool(success),
        at=moment(values.get("at")),
        files=files,
        tools=tools,
        session=None if session is None else safe_id(check_id(getattr(session, "id", session))),
        description=description,
        duration=None if seconds is None else round(check_number(seconds, "duration", 0, 1e9) * 1e6),
    )


@contextmanager
def roomy(writer: Writer) -> Iterator[None]:
    """Give a bulk write a larger cache while it lasts."""
    usual = writer.db.pragma("cache_size")
    writer.db.pragma("cache_size", -_CACHE_KB)
    try:
        yield
    finally:
        writer.db.pragma("cache_size", usual)


def record_many(
    catalog: SqliteCatalog, events: Iterable[Mapping[str, Any]], progress: Callable[[int], None] | None
) -> int:
    """Record many uses in durable batches, with flat memory; return how many.

    Raises:
        InvalidInputError: An event that may not be stored; ``details`` has its place (``item``) and how many were
            ``recorded`` before, which are kept.
    """
    done = 0
    batch: list[Use] = []

    def store() -> None:
        nonlocal done
        if batch:
            with catalog.write("recording uses of patterns") as writer, roomy(writer):
                Recorder(writer).add(batch)
            done += len(batch)
            batch.clear()
            if progress is not None:
                progress(done)

    if isinstance(events, (str, bytes, Mapping)) or not isinstance(events, Iterable):
        raise InvalidInputError(f"events is a {type(events).__name__}, not a list.", hint="Pass a list of dicts.")
    for number, event in enumerate(events):
        try:
            if not isinstance(event, Mapping):
                raise InvalidInputError(f"An event is a {type(event).__name__}, not a mapping.", hint="Pass dicts.")
            batch.append(check_use(event))
        except InvalidInputError as error:
            store()
            raise InvalidInputError(
                f"Event {number}: {error.message}", hint=error.hint, item=number, recorded=done
            ) from None
        if len(batch) >= _BATCH:
            store()
    store()
    return done


@dataclass(slots=True)
class _Totals:
    uses: int
    successes: int
    sessions: int
    first: int
    last: int


class Recorder:
    """Writes uses in one transaction.

    Args:
        writer: Of the transaction.
        revive: Bring patterns back that were removed. Without it their uses are kept for undo.
    """

    def __init__(self, writer: Writer, *, revive: bool = True) -> None:
        self._writer = writer
        self._revive = revive
        self._db = writer.db
        self._known: dict[str, tuple[int, int | None]] = {}
        self._sessions: dict[str, int] = {}
        self._names: dict[tuple[NameKind, str], int] = {}
        self.new: list[str] = []
        """Ids of the patterns that were made."""
        self.touched: dict[int, None] = {}
        """Numbers of the patterns that got uses."""

    def add(self, uses: Iterable[Use]) -> None:
        """Write uses, and move counts along."""
        uses = list(uses)
        self._look_up(uses)
        rows: list[tuple[Any, ...]] = []
        counts = Counts()
        fresh: dict[int, _Totals] = {}
        pairs: dict[tuple[int, int], None] = {}
        for use in uses:
            pattern, moved = self._known[use.id]
            at, success = use.at, int(use.success)
            session = None if use.session is None else self._sessions[use.session]
            names = [self._name(NameKind.FILE, path) for path in use.files]
            if use.tools:
                names += [self._name(NameKind.TOOL, tool) for tool in use.tools]
            rows.append((pattern, at, success, int(use.learned), session, use.duration, moved, packed(names)))
            counts.add(pattern, at, success, names)
            totals = fresh.get(pattern)
            if totals is None:
                totals = fresh[pattern] = _Totals(0, 0, 0, at, at)
            totals.uses += 1
            totals.successes += success
            if at < totals.first:
                totals.first = at
            elif at > totals.last:
                totals.last = at
            if session is not None:
                pairs[session, pattern] = None
        for pair in pairs.keys() - self._there(list(pairs)):
            fresh[pair[1]].sessions += 1
        self._write(rows, fresh)
        counts.write(self._writer)
        self.touched.update(dict.fromkeys(fresh))

    def ensure(self, use: Use) -> int:
        """See to it that the pattern of a use is there, without a use; return its number."""
        if use.id not in self._known:
            self._look_up_patterns([use])
        return self._known[use.id][0]

    def _name(self, kind: NameKind, value: str) -> int:
        number = self._names.get((kind, value))
        if number is None:
            number = self._writer.name_number(kind, value)
            assert number is not None
            self._names[kind, value] = number
        return number

    def _there(self, pairs: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
        """Return those of ``(session, pattern)`` that have a use already."""
        found: set[tuple[int, int]] = set()
        for part in portions(pairs, _PAIRS):
            sql = (
                f"WITH w (s, p) AS (VALUES {', '.join(['(?, ?)'] * len(part))}) SELECT s, p FROM w WHERE EXISTS "
                "(SELECT 1 FROM pattern_use u WHERE u.session = w.s AND u.pattern = w.p)"
            )
            found.update(self._db.execute(sql, [number for pair in part for number in pair]).fetchall())
        return found

    # --- patterns and sessions ---------------------------------------------------------------------------------------

    def _look_up(self, uses: Sequence[Use]) -> None:
        """Find or make the patterns and sessions of uses, many at a time."""
        self._look_up_patterns({use.id: use for use in uses if use.id not in self._known}.values())
        missing = {use.session: use for use in uses if use.session is not None and use.session not in self._sessions}
        for part in portions(list(missing)):
            sql = f"SELECT id, seq FROM session WHERE id IN ({', '.join('?' * len(part))})"
            self._sessions.update(self._db.execute(sql, part).fetchall())
        for id, use in missing.items():
            if id not in self._sessions:
                self._sessions[id] = ensure_session(self._writer, SessionDraft(id=id, at=use.at))[0]

    def _look_up_patterns(self, uses: Iterable[Use]) -> None:
        wanted = {use.id: use for use in uses}
        for part in portions(list(wanted)):
            sql = f"SELECT id, seq, state, description FROM pattern WHERE id IN ({', '.join('?' * len(part))})"
            for id, number, state, description in self._db.execute(sql, part).fetchall():
                use = wanted.pop(id)
                if use.description and not description:
                    self._db.execute("UPDATE pattern SET description = ? WHERE seq = ?", (use.description, number))
                    write_terms(self._writer, [(number, terms_of((), use.description))])
                self._known[id] = (number, None) if state == ACTIVE else self._target(number, use)
        self._make(list(wanted.values()))

    def _target(self, number: int, use: Use) -> tuple[int, int | None]:
        """Return the pattern that counts now for one that was merged, and that one; one that was removed comes back."""
        target, state = root(self._writer, number)
        if state == MERGED or (state == REMOVED and self._revive):  # part of nothing; or used again, so it is wanted
            self._db.execute(
                "UPDATE pattern SET state = ?, prune = NULL, merged_into = NULL WHERE seq = ?", (ACTIVE, target)
            )
        if target == number and self._revive:
            self._remember(number, use)
        return target, None if target == number else number

    def _remember(self, number: int, use: Use) -> None:
        """Give a pattern that was deleted for good, of which only the id was kept, what it is made of."""
        context, created = _first_facts(use)
        made = self._db.execute(
            "UPDATE pattern SET steps = ?, description = ?, context = ?, origin = ?, created_at = ? "
            "WHERE seq = ? AND steps = ? RETURNING seq",
            (steps_json(use.steps), use.description, context, _ORIGIN[use.origin], created, number, FORGOTTEN),
        ).fetchall()
        if made:
            write_terms(self._writer, [(number, terms_of(use.steps, use.description))])

    def _make(self, uses: Sequence[Use]) -> None:
        if not uses:
            return
        number = self._writer.last_number("pattern")
        rows = []
        terms = []
        for use in uses:
            number += 1
            context, created = _first_facts(use)
            kind = self._name(NameKind.PATTERN_TYPE, use.type)
            steps = steps_json(use.steps)
            rows.append((number, use.id, kind, _ORIGIN[use.origin], created, steps, use.description, context))
            terms.append((number, terms_of(use.steps, use.description)))
            self._known[use.id] = (number, None)
            self.new.append(use.id)
        self._db.executemany(
            "INSERT INTO pattern (seq, id, type, origin, created_at, steps, description, context) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        write_terms(self._writer, terms)

    def _write(self, rows: list[tuple[Any, ...]], fresh: Mapping[int, _Totals]) -> None:
        rows.sort(key=_PLACE)  # neighbours in the index are written together
        self._db.executemany(
            "INSERT INTO pattern_use (pattern, at, success, learned, session, duration, moved_from, links) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        totals = []
        for part in portions(sorted(fresh)):
            for pattern, uses, successes, sessions, first, last in self._db.execute(
                "SELECT seq, uses, successes, sessions, first_used, last_used FROM pattern "
                f"WHERE seq IN ({', '.join('?' * len(part))})",
                part,
            ):
                add = fresh[pattern]
                totals.append(
                    (
                        pattern,
                        uses + add.uses,
                        successes + add.successes,
                        sessions + add.sessions,
                        min(first, add.first) if uses else add.first,
                        max(last, add.last) if uses else add.last,
                    )
                )
        write_totals(self._writer, totals)


def _first_facts(use: Use) -> tuple[str | None, int]:
    """Return what the first use of a pattern says of it: its context as JSON, and when it was made."""
    context = json.dumps(use.context, ensure_ascii=False, separators=(",", ":")) if use.context else None
    return context, now_micros() if use.created_at is None else use.created_at


def forget_uses(writer: Writer, session: int) -> list[int]:
    """Take back the uses that learning found in a session, and move counts back; return the patterns they were of."""
    db = writer.db
    rows = db.execute(
        "SELECT seq, pattern, at, success, links FROM pattern_use WHERE session = ? AND learned = 1", (session,)
    ).fetchall()
    db.executemany("DELETE FROM pattern_use WHERE seq = ?", [(row[0],) for row in rows])
    touched: dict[int, list[tuple[int, int]]] = defaultdict(list)
    counts = Counts()
    for _, pattern, at, success, links in rows:
        touched[pattern].append((at, success))
        counts.add(pattern, at, success, unpacked(links), sign=-1)
    counts.write(writer)
    counts.drop(writer)
    for pattern, gone in touched.items():
        _lower_last(writer, pattern, max(at for at, _ in gone))
        ((uses, successes, sessions),) = db.execute(
            "SELECT uses, successes, sessions FROM pattern WHERE seq = ?", (pattern,)
        ).fetchall()
        ((first, last),) = db.execute(
            "SELECT coalesce((SELECT min(at) FROM pattern_use WHERE pattern = ?1), 0), "
            "coalesce((SELECT max(at) FROM pattern_use WHERE pattern = ?1), 0)",
            (pattern,),
        ).fetchall()
        still = db.execute("SELECT 1 FROM pattern_use WHERE session = ? AND pattern = ? LIMIT 1", (session, pattern))
        left = sessions - (0 if still.fetchall() else 1)
        good = sum(success for _, success in gone)
        write_totals(writer, [(pattern, uses - len(gone), successes - good, left, first, last)])
    return list(touched)


def _lower_last(writer: Writer, pattern: int, gone: int) -> None:
    """Find the last use anew of the files and tools whose last use may have gone."""
    wanted = {
        row[0]
        for row in writer.db.execute(
            "SELECT name FROM pattern_link WHERE pattern = ? AND last_used <= ?", (pattern, gone)
        )
    }
    changes: list[tuple[int, int, int]] = []
    sql = "SELECT at, links FROM pattern_use WHERE pattern = ? ORDER BY at DESC"
    for at, links in writer.db.execute(sql, (pattern,)) if wanted else ():
        found = wanted.intersection(unpacked(links))
        changes += [(at, name, pattern) for name in found]
        wanted -= found
        if not wanted:
            break
    writer.db.executemany("UPDATE pattern_link SET last_used = ? WHERE name = ? AND pattern = ?", changes)
