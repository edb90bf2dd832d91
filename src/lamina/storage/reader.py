"""Reading the catalog: every method answers from the one moment that its transaction sees."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import apsw

from lamina.storage import fts
from lamina.storage.codecs import BodyCodec, damaged, dictionary_hash
from lamina.storage.dialect import SqliteDialect
from lamina.storage.filters import Filter
from lamina.storage.fts import TextStatistics
from lamina.storage.names import NameKind, Names
from lamina.storage.records import ACTIONS, Record, from_micros
from lamina.types import MEMORY_TYPES

__all__ = ["PassageRow", "Position", "Reader", "Standing", "StoredPassage"]

_SELECT = (
    "SELECT m.seq, m.id, m.revision, m.valid_from, m.valid_to, m.ended, m.scope, m.type, m.codec, m.body, m.hash, "
    "m.created_at, m.importance, m.thread, m.position, m.source, m.valid_until, m.superseded_by, m.title, "
    "m.description, m.tags, m.metadata, m.path, u.uses, u.helped, u.hurt, u.used_at "
    "FROM memory m LEFT JOIN use_count u ON u.id = m.id"
)
StoredPassage: TypeAlias = tuple[int, int, int, float | None, bytes | None, int]
"""``(id, start, stop, scale, codes, given)`` of a passage."""
_BATCH = 500
_COUNTED = (
    ("name", "id"),
    ("dictionary", "id"),
    ("memory", "seq"),
    ("passage", "id"),
    ("state", "id"),
    ("state_version", "seq"),
    ("pack", "id"),
    ("object", "id"),
    *((table, "seq") for table in ("session", "session_event", "pattern", "pattern_use", "pattern_prune")),
)
"""Tables whose numbers are never used twice, and the column that has them."""
_SHORTEST_TRACE = 12
"""Bytes from which a value is its own and no chance."""
_LONGEST_TRACE = 1_000
"""A longer value lies on pages of its own, and its beginning is enough to know it by."""
SEPARATOR = "\x1f"
"""Between tags in a row; no tag holds it."""


@dataclass(frozen=True, slots=True)
class PassageRow:
    """Where a passage stands."""

    id: int
    memory: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Position:
    """How far the log of passages and of endings reaches; equal positions mean that nothing was added or ended."""

    passage: int
    ending: int


class Standing(NamedTuple):
    """What ranks a revision, whatever it says; a tuple, because each recall reads several for every hit."""

    id: str
    created_at: int
    importance: float
    helped: int
    hurt: int


class Reader:
    """One consistent view of the catalog.

    Args:
        db: A connection inside a transaction.
        names: Names whose rows are committed.
        codec: For bodies.
    """

    def __init__(self, db: apsw.Connection, names: Names, codec: BodyCodec) -> None:
        self.db: Any = db  # apsw types every value as "any of SQLite's"; the schema knows better
        self._names = names
        self._codec = codec
        self._ids: dict[tuple[int, str], int] = {}
        self.new_names: dict[int, str] = {}
        """Names that this transaction made; not to be shared before it is committed."""

    # --- small facts -------------------------------------------------------------------------------------------------

    def meta(self, key: str) -> str | None:
        """Return a fact recorded about the store, or None."""
        found: str | None = self._one("SELECT value FROM meta WHERE key = ?", key)
        return found

    def name_id(self, kind: NameKind, value: str) -> int | None:
        """Return the catalog's number of a string, or None where no memory uses it."""
        number = self._ids.get((kind, value))
        if number is None:
            number = self._one("SELECT id FROM name WHERE kind = ? AND value = ?", int(kind), value)
            if number is not None:
                self._ids[kind, value] = number
        return number

    def name(self, number: int | None) -> str | None:
        """Return the string of a number of the catalog."""
        if number is None:
            return None
        known = self._names.value(number)
        if known is None:
            known = self._one("SELECT value FROM name WHERE id = ?", number)
            if known is not None and number not in self.new_names:
                self._names.remember({number: known})
        return known

    def newest_dictionary(self) -> int:
        """Return the number of the dictionary for new bodies, or 0 where none was trained."""
        return int(self._one("SELECT max(id) FROM dictionary") or 0)

    def dictionary(self, number: int) -> bytes | None:
        """Return a compression dictionary from the copy of it that is whole, or None."""
        wanted = self._one("SELECT hash FROM dictionary WHERE id = ?", number)
        for table in ("dictionary", "dictionary_copy"):
            with contextlib.suppress(apsw.CorruptError):
                data = self._one(f"SELECT data FROM {table} WHERE id = ?", number)
                if isinstance(data, bytes) and dictionary_hash(data) == wanted:
                    return data
        return None

    def position(self) -> Position:
        """Return how far passages and endings reach."""
        return Position(self.last_number("passage"), self.last_number("ending"))

    def last_number(self, table: str) -> int:
        """Return the last number that a table gave out; no number is given out twice."""
        return int(self._one(SqliteDialect.last_number, table) or 0)

    def counters_behind(self) -> dict[str, int]:
        """Return the tables that would give out a number again, each with the last number that a row has."""
        last = {table: int(self._one(f"SELECT max({key}) FROM {table}") or 0) for table, key in _COUNTED}
        return {table: number for table, number in last.items() if self.last_number(table) < number}

    # --- memories ----------------------------------------------------------------------------------------------------

    def current(self, id: str) -> Record | None:
        """Return the current revision of a memory, or None."""
        sql = f"{_SELECT} WHERE m.id = ? AND m.valid_to = 0"
        for row in self._rows(sql, (id,), f"memory {id}"):
            return self._record(row)
        return None

    def records(self, seqs: Iterable[int], condition: Filter | None = None) -> dict[int, Record]:
        """Return revisions by their number; what ``condition`` does not confirm is left out."""
        wanted = list(dict.fromkeys(int(seq) for seq in seqs))
        test = condition.sql() if condition else None
        found: dict[int, Record] = {}
        for start in range(0, len(wanted), _BATCH):
            part = wanted[start : start + _BATCH]
            sql = f"{_SELECT} WHERE m.seq IN ({', '.join('?' * len(part))})"
            bindings: tuple[Any, ...] = tuple(part)
            if test:
                sql, bindings = f"{sql} AND {test.text}", bindings + test.bindings
            where = f"revision {part[0]}" if len(part) == 1 else f"one of the revisions {part[0]} to {part[-1]}"
            for row in self._rows(sql, bindings, where):
                found[row[0]] = self._record(row)
        return found

    def standings(self, seqs: Iterable[int], condition: Filter) -> dict[int, Standing]:
        """Return what ranks revisions, by number; what ``condition`` does not confirm is left out.

        No text is read or checked for it: :meth:`records` does so for those that are returned.
        """
        wanted = list(dict.fromkeys(int(seq) for seq in seqs))
        test = condition.sql()
        found: dict[int, Standing] = {}
        for start in range(0, len(wanted), _BATCH):
            part = wanted[start : start + _BATCH]
            sql = (
                "SELECT m.seq, m.id, m.created_at, m.importance, u.helped, u.hurt "
                "FROM memory m LEFT JOIN use_count u ON u.id = m.id "
                f"WHERE m.seq IN ({', '.join('?' * len(part))}) AND {test.text}"
            )
            where = f"one of the revisions {part[0]} to {part[-1]}"
            for seq, id, created_at, importance, helped, hurt in self._rows(sql, (*part, *test.bindings), where):
                found[seq] = Standing(id, created_at, importance, helped or 0, hurt or 0)
        return found

    def revisions(self, id: str) -> list[Record]:
        """Return every revision of a memory, oldest first; empty where it never was or was purged."""
        sql = f"{_SELECT} WHERE m.id = ? AND m.valid_to <> 0 ORDER BY m.revision"
        found = [self._record(row) for row in list(self._rows(sql, (id,), f"memory {id}"))]
        current = self.current(id)
        return found + ([current] if current else [])

    def page(self, condition: Filter, limit: int | None, after: str | None) -> list[Record]:
        """Return current revisions, newest first, beginning behind the memory ``after``."""
        test = condition.sql()
        sql, bindings = f"{_SELECT} WHERE {test.text}", test.bindings
        if after is not None:
            sql += " AND (m.created_at, m.id) < (?, ?)"
            bindings += (self.created_at(after) or 0, after)
        sql += " ORDER BY m.created_at DESC, m.id DESC"
        if limit is not None:
            sql, bindings = sql + " LIMIT ?", (*bindings, limit)
        return [self._record(row) for row in self._rows(sql, bindings, "one of the memories asked for")]

    def count(self, condition: Filter) -> int:
        """Return how many revisions fit."""
        test = condition.sql()
        return int(self._one(f"SELECT count(*) FROM memory m WHERE {test.text}", *test.bindings) or 0)

    def created_at(self, id: str) -> int | None:
        """Return when a memory that is or was there was made, or None where there never was one."""
        for test in ("valid_to = 0", "valid_to <> 0"):  # an index each
            found: int | None = self._one(f"SELECT created_at FROM memory WHERE id = ? AND {test} LIMIT 1", id)
            if found is not None:
                return found
        return None

    def traces(self, seqs: Iterable[int]) -> list[bytes]:
        """Return the bytes by which what revisions say would be known anywhere in the catalog's file."""
        found: set[bytes] = set()
        for seq in seqs:
            sql = "SELECT body, title, description, metadata, tags FROM memory WHERE seq = ?"
            for row in self.db.execute(sql, (seq,)):
                values = (value.encode() if isinstance(value, str) else value for value in row if value)
                found.update(value[:_LONGEST_TRACE] for value in values if len(value) >= _SHORTEST_TRACE)
        return sorted(found)

    def near(self, bands: Sequence[int], limit: int) -> list[int]:
        """Return the revisions that share MinHash bands, those that share the most and the newest first."""
        if not bands:
            return []
        marks = ", ".join("?" * len(bands))
        rows = self.db.execute(
            f"SELECT memory FROM band WHERE hash IN ({marks}) GROUP BY memory "
            "ORDER BY count(*) DESC, memory DESC LIMIT ?",
            (*bands, limit),
        )
        return [row[0] for row in rows]

    # --- passages ----------------------------------------------------------------------------------------------------

    def passages(self, ids: Iterable[int]) -> dict[int, PassageRow]:
        """Return where passages stand, by id."""
        wanted = [int(id) for id in ids]
        found: dict[int, PassageRow] = {}
        for start in range(0, len(wanted), _BATCH):
            part = wanted[start : start + _BATCH]
            marks = ", ".join("?" * len(part))
            for row in self.db.execute(f"SELECT id, memory, start, stop FROM passage WHERE id IN ({marks})", part):
                found[row[0]] = PassageRow(*row)
        return found

    def passages_of(self, memory: int) -> list[StoredPassage]:
        """Return ``(id, start, stop, scale, codes, given)`` of a revision's passages, in order."""
        found: list[StoredPassage] = self.db.execute(
            "SELECT id, start, stop, scale, codes, given FROM passage WHERE memory = ? ORDER BY id", (memory,)
        ).fetchall()
        return found

    def passage_columns(self, after: int, condition: Filter) -> Iterator[tuple[Any, ...]]:
        """Yield the columns of passages behind ``after``, by id; ``lamina.search.columns`` names them."""
        test = condition.sql()
        yield from self.db.execute(
            "SELECT p.id, p.memory, m.scope, m.type, m.thread, m.position, m.created_at, p.tokens, p.scale, p.codes "
            f"FROM passage p JOIN memory m ON m.seq = p.memory WHERE p.id > ? AND {test.text} ORDER BY p.id",
            (after, *test.bindings),
        )

    def passage_ids(self, condition: Filter) -> list[int]:
        """Return the passages of every revision that fits."""
        test = condition.sql()
        rows = self.db.execute(
            f"SELECT p.id FROM memory m JOIN passage p ON p.memory = m.seq WHERE {test.text}", test.bindings
        )
        return [row[0] for row in rows]

    def endings(self, after: int) -> list[int]:
        """Return revisions that ended behind ``after``; 0 among them means "load everything anew"."""
        return [row[0] for row in self.db.execute("SELECT memory FROM ending WHERE seq > ?", (after,))]

    def waiting(self, after: int, limit: int) -> list[tuple[int, int, int, int]]:
        """Return ``(passage, memory, start, stop)`` of passages that wait for a vector, behind ``after``."""
        found: list[tuple[int, int, int, int]] = self.db.execute(
            "SELECT id, memory, start, stop FROM passage WHERE codes IS NULL AND given = 0 AND id > ? "
            "ORDER BY id LIMIT ?",
            (after, limit),
        ).fetchall()
        return found

    def count_given(self) -> int:
        """Return how many passages carry a vector that came with its memory."""
        return int(self._one("SELECT count(*) FROM passage WHERE given = 1 AND codes IS NOT NULL") or 0)

    def count_waiting(self) -> int:
        """Return how many passages wait for a vector."""
        return int(self._one("SELECT count(*) FROM passage WHERE codes IS NULL AND given = 0") or 0)

    # --- text --------------------------------------------------------------------------------------------------------

    def match(
        self, terms: Sequence[str], condition: Filter, *, limit: int, head_weight: float, past: bool = False
    ) -> list[tuple[int, float]]:
        """Return ``(passage, BM25 score)`` of the passages that hold any of the terms, best first.

        Args:
            terms: Index terms, as the tokeniser makes them.
            condition: Scope and type are applied inside the index; anything else by joining the rows.
            limit: At most so many.
            head_weight: What an occurrence in title or description counts, one in the body being 1.
            past: Search past revisions instead of current ones.
        """
        return fts.match(self.db, fts.PAST if past else fts.NOW, terms, condition, limit=limit, head_weight=head_weight)

    def document_frequency(self, term: str) -> int:
        """Return how many current passages hold a term."""
        return fts.frequency(self.db, term)

    def text_statistics(self) -> TextStatistics:
        """Return how many current passages are indexed and how many tokens they have."""
        return fts.statistics(self.db)

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _one(self, sql: str, *bindings: Any) -> Any:
        for row in self.db.execute(sql, bindings):
            return row[0]
        return None

    def _rows(self, sql: str, bindings: Sequence[Any], where: str) -> Iterator[tuple[Any, ...]]:
        """Yield rows; bytes that are no longer text are an error that says where."""
        try:
            yield from self.db.execute(sql, bindings)
        except UnicodeDecodeError as error:
            raise damaged(where, f"it holds text that is no UTF-8 ({error.reason})") from None

    def _record(self, row: Sequence[Any]) -> Record:
        try:
            return self._checked_record(row)
        except (ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
            raise damaged(f"memory {row[1]}", f"a field makes no sense ({error})") from None

    def _checked_record(self, row: Sequence[Any]) -> Record:
        (seq, id, revision, valid_from, valid_to, ended, scope, kind, codec, body, hash, created_at, importance) = row[
            :13
        ]
        (thread, position, source, valid_until, superseded_by, title, description, tags, metadata, path) = row[13:23]
        record = Record(
            seq=seq,
            id=id,
            revision=revision,
            valid_from=valid_from,
            valid_to=valid_to,
            ended=ACTIONS[ended - 1] if ended else None,
            scope=self.name(scope) or "",
            type=_type_name(kind, id),
            text=self._codec.decode(codec, body, f"memory {id}", self.dictionary),
            created_at=created_at,
            importance=importance,
            thread=self.name(thread),
            position=position,
            source=self.name(source),
            valid_until=valid_until,
            superseded_by=superseded_by,
            title=title,
            description=description,
            tags=tuple(tags.split(SEPARATOR)) if tags else (),
            metadata=_metadata(metadata, id),
            path=path,
            uses=row[23] or 0,
            helped=row[24] or 0,
            hurt=row[25] or 0,
            used_at=row[26] or 0,
        )
        # What changes while a revision lives or ends is not in its fingerprint.
        if not all(value is None or isinstance(value, int) for value in (valid_to, ended, *row[23:27])):
            raise damaged(f"memory {id}", "a count or a time is no number")
        if valid_to:
            from_micros(valid_to)
        if record.fingerprint() != hash:
            raise damaged(f"memory {id}", "its fingerprint differs")
        return record


def _type_name(number: int, id: str) -> str:
    if not 0 <= number < len(MEMORY_TYPES):
        raise damaged(f"memory {id}", f"{number} is no type")
    return MEMORY_TYPES[number]


def _metadata(text: str | None, id: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        raise damaged(f"memory {id}", "its metadata is no JSON") from None
    return found if isinstance(found, dict) else {}
