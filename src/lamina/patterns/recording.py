"""Recording uses: one at a time or many, each batch one transaction that also moves every count along."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lamina.errors import InvalidInputError
from lamina.patterns.identity import pattern_id, steps_json
from lamina.patterns.rows import ACTIVE, DAY, MERGED, ORIGINS, REMOVED, terms_of, write_terms, write_totals
from lamina.sessions.checks import check_files, check_id, check_line, check_number, check_strings, moment
from lamina.sessions.masking import Masker
from lamina.sessions.rows import SessionDraft, ensure_session, packed, unpacked
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.names import NameKind
from lamina.storage.records import now_micros
from lamina.storage.writer import Writer

__all__ = ["EVENT_FIELDS", "Recorder", "Use", "check_use", "forget_uses", "record_many"]

EVENT_FIELDS: Final = ("steps", "type", "success", "files", "tools", "session", "description", "at", "duration")
MAX_STEPS: Final = 200
_BATCH: Final = 20_000


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
    masker = Masker()
    steps = tuple(masker.text(step) for step in check_strings(values["steps"], "steps", least=1, most=MAX_STEPS))
    duration = values.get("duration")
    seconds = duration.total_seconds() if hasattr(duration, "total_seconds") else duration
    session = values.get("session")
    return Use(
        id=pattern_id(kind, steps),
        type=kind,
        steps=steps,
        success=bool(success),
        at=moment(values.get("at")),
        files=tuple(masker.text(path) for path in check_files(values.get("files") or ())),
        tools=tuple(dict.fromkeys(check_strings(values.get("tools") or (), "tools"))),
        session=None if session is None else check_id(getattr(session, "id", session)),
        description=masker.line(check_line(values.get("description"), "description")),
        duration=None if seconds is None else int(check_number(seconds, "duration", 0, 1e9) * 1e6),
    )


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
            with catalog.write("recording uses of patterns") as writer:
                Recorder(writer).add(batch)
            done += len(batch)
            batch.clear()
            if progress is not None:
                progress(done)

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
    """Writes uses in one transaction."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._db = writer.db
        self._known: dict[str, tuple[int, int | None]] = {}
        self._sessions: dict[str, int] = {}
        self.new: list[str] = []
        """Ids of the patterns that were made."""
        self.touched: dict[int, None] = {}
        """Numbers of the patterns that got uses."""

    def add(self, uses: Iterable[Use]) -> None:
        """Write uses, and move counts along."""
        rows: list[tuple[Any, ...]] = []
        days: dict[tuple[int, int], list[int]] = {}
        links: dict[tuple[int, int], list[int]] = {}
        fresh: dict[int, _Totals] = {}
        pairs: dict[tuple[int, int], None] = {}
        for use in uses:
            pattern, moved = self._pattern(use)
            session = self._session(use)
            names = [self._name(NameKind.FILE, path) for path in use.files]
            names += [self._name(NameKind.TOOL, tool) for tool in use.tools]
            success = int(use.success)
            rows.append((pattern, use.at, success, int(use.learned), session, use.duration, moved, packed(names)))
            day = days.setdefault((pattern, use.at // DAY), [0, 0])
            day[0] += 1
            day[1] += success
            for name in names:
                link = links.setdefault((name, pattern), [0, 0, 0])
                link[0] += 1
                link[1] += success
                link[2] = max(link[2], use.at)
            totals = fresh.get(pattern)
            if totals is None:
                totals = fresh[pattern] = _Totals(0, 0, 0, use.at, use.at)
            totals.uses += 1
            totals.successes += success
            totals.first, totals.last = min(totals.first, use.at), max(totals.last, use.at)
            if session is not None:
                pairs[session, pattern] = None
        for (session, pattern), there in zip(pairs, self._there(pairs), strict=True):
            fresh[pattern].sessions += not there
        self._write(rows, days, links, fresh)
        self.touched.update(dict.fromkeys(fresh))

    def ensure(self, use: Use) -> int:
        """See to it that the pattern of a use is there, without a use; return its number."""
        return self._pattern(use)[0]

    def _name(self, kind: NameKind, value: str) -> int:
        number = self._writer.name_number(kind, value)
        assert number is not None
        return number

    def _there(self, pairs: Iterable[tuple[int, int]]) -> list[bool]:
        """Return for each ``(session, pattern)`` whether it has a use already."""
        db = self._db
        sql = "SELECT 1 FROM pattern_use WHERE session = ? AND pattern = ? LIMIT 1"
        return [bool(db.execute(sql, pair).fetchall()) for pair in pairs]

    def _session(self, use: Use) -> int | None:
        if use.session is None:
            return None
        number = self._sessions.get(use.session)
        if number is None:
            number = self._sessions[use.session] = ensure_session(
                self._writer, SessionDraft(id=use.session, at=use.at)
            )[0]
        return number

    def _pattern(self, use: Use) -> tuple[int, int | None]:
        """Return the pattern that a use counts for, and the one it was recorded for where that was merged away."""
        known = self._known.get(use.id)
        if known is None:
            known = self._known[use.id] = self._find(use) or self._make(use)
        return known

    def _find(self, use: Use) -> tuple[int, int | None] | None:
        sql = "SELECT seq, state, merged_into, description FROM pattern WHERE"
        for seq, state, into, description in self._db.execute(f"{sql} id = ?", (use.id,)).fetchall():
            if use.description and not description:
                self._db.execute("UPDATE pattern SET description = ? WHERE seq = ?", (use.description, seq))
                write_terms(self._writer, [(seq, terms_of((), use.description))])
            target = seq
            while state == MERGED and into is not None:
                target = into
                ((_, state, into, _),) = self._db.execute(f"{sql} seq = ?", (target,)).fetchall() or ((0, 0, None, 0),)
            if state == REMOVED:  # used again, so it is wanted
                self._db.execute("UPDATE pattern SET state = ?, prune = NULL WHERE seq = ?", (ACTIVE, target))
                if target == seq:
                    write_terms(self._writer, [(seq, terms_of(use.steps, use.description or description))])
            return target, None if target == seq else seq
        return None

    def _make(self, use: Use) -> tuple[int, int | None]:
        context = json.dumps(use.context, ensure_ascii=False, separators=(",", ":")) if use.context else None
        created = now_micros() if use.created_at is None else use.created_at
        ((number,),) = self._db.execute(
            "INSERT INTO pattern (id, type, origin, created_at, steps, description, context) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING seq",
            (
                use.id,
                self._name(NameKind.PATTERN_TYPE, use.type),
                ORIGINS.index(use.origin),  # type: ignore[arg-type]
                created,
                steps_json(use.steps),
                use.description,
                context,
            ),
        ).fetchall()
        write_terms(self._writer, [(number, terms_of(use.steps, use.description))])
        self.new.append(use.id)
        return int(number), None

    def _write(
        self,
        rows: list[tuple[Any, ...]],
        days: Mapping[tuple[int, int], list[int]],
        links: Mapping[tuple[int, int], list[int]],
        fresh: Mapping[int, _Totals],
    ) -> None:
        rows.sort(key=lambda row: row[:2])  # neighbours in the index are written together
        self._db.executemany(
            "INSERT INTO pattern_use (pattern, at, success, learned, session, duration, moved_from, links) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        self._db.executemany(
            "INSERT INTO pattern_day (pattern, day, uses, successes) VALUES (?, ?, ?, ?) ON CONFLICT (pattern, day) "
            "DO UPDATE SET uses = uses + excluded.uses, successes = successes + excluded.successes",
            sorted((*key, *counts) for key, counts in days.items()),
        )
        self._db.executemany(
            "INSERT INTO pattern_link (name, pattern, uses, successes, last_used) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (name, pattern) DO UPDATE SET uses = uses + excluded.uses, "
            "successes = successes + excluded.successes, last_used = max(last_used, excluded.last_used)",
            sorted((*key, *counts) for key, counts in links.items()),
        )
        totals = []
        for pattern, add in sorted(fresh.items()):
            ((uses, successes, sessions, first, last),) = self._db.execute(
                "SELECT uses, successes, sessions, first_used, last_used FROM pattern WHERE seq = ?", (pattern,)
            ).fetchall()
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


def forget_uses(writer: Writer, session: int) -> list[int]:
    """Take back the uses that learning found in a session, and move counts back; return the patterns they were of."""
    db = writer.db
    rows = db.execute(
        "SELECT seq, pattern, at, success, links FROM pattern_use WHERE session = ? AND learned = 1", (session,)
    ).fetchall()
    db.executemany("DELETE FROM pattern_use WHERE seq = ?", [(row[0],) for row in rows])
    touched: dict[int, list[tuple[int, int, bytes | None]]] = defaultdict(list)
    for _, pattern, at, success, links in rows:
        touched[pattern].append((at, success, links))
    for pattern, gone in touched.items():
        for at, success, links in gone:
            db.execute(
                "UPDATE pattern_day SET uses = uses - 1, successes = successes - ?3 WHERE pattern = ?1 AND day = ?2",
                (pattern, at // DAY, success),
            )
            for name in unpacked(links):
                db.execute(
                    "UPDATE pattern_link SET uses = uses - 1, successes = successes - ?3 WHERE name = ?2 AND pattern = ?1",
                    (pattern, name, success),
                )
        db.execute("DELETE FROM pattern_day WHERE pattern = ? AND uses <= 0", (pattern,))
        db.execute("DELETE FROM pattern_link WHERE pattern = ? AND uses <= 0", (pattern,))
        _lower_last(writer, pattern, max(at for at, _, _ in gone))
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
        good = sum(success for _, success, _ in gone)
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
