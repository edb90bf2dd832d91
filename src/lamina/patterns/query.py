"""``store.patterns.query()``: filters, an order and a limit, said one after another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, overload

from lamina.patterns.arguments import check_path
from lamina.patterns.planning import ORDERS, Filters, Statement, compile_query
from lamina.patterns.rows import ORIGINS, to_patterns
from lamina.search.outcomes import HALF_LIFE_MICROS
from lamina.sessions.checks import check_choice, check_id, check_line, check_number, check_text
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.checks import bad, check_time, check_whole
from lamina.storage.names import NameKind
from lamina.storage.reader import Reader
from lamina.storage.records import now_micros

if TYPE_CHECKING:
    from lamina.patterns.reports import QueryPlan
    from lamina.patterns.values import Pattern

__all__ = ["Order", "PatternQuery"]

Order = Literal["effectiveness", "usage", "success_rate", "last_used"]
_NOBODY = -1
"""Stands for a name that nothing has; it fits no row."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    types: tuple[str, ...] | None = None
    files: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    session: str | None = None
    since: int | None = None
    until: int | None = None
    min_rate: float | None = None
    max_rate: float | None = None
    min_uses: int | None = None
    min_effectiveness: float | None = None
    origin: str | None = None
    order: Order = "effectiveness"
    limit: int | None = None


class PatternQuery:
    """A question for patterns. Each method returns a new one; nothing is read before :meth:`all`."""

    def __init__(self, catalog: SqliteCatalog, wanted: _Wanted | None = None) -> None:
        self._catalog = catalog
        self._wanted = wanted or _Wanted()

    def _with(self, **changes: Any) -> PatternQuery:
        return PatternQuery(self._catalog, replace(self._wanted, **changes))

    # --- filters -----------------------------------------------------------------------------------------------------

    def of_type(self, *types: str) -> PatternQuery:
        """Only of these types; several mean any of them."""
        if not types:
            raise bad("of_type was given no type.", "Name at least one.")
        return self._with(types=tuple(check_line(type, "type") or "" for type in types))

    def min_success_rate(self, rate: float) -> PatternQuery:
        """Only with at least this share of successes, 0..1."""
        return self._with(min_rate=check_number(rate, "rate", 0, 1))

    def max_success_rate(self, rate: float) -> PatternQuery:
        """Only with at most this share of successes, 0..1."""
        return self._with(max_rate=check_number(rate, "rate", 0, 1))

    def min_uses(self, uses: int) -> PatternQuery:
        """Only used so often at least."""
        return self._with(min_uses=check_whole(uses, "uses", 0, 2**53))

    def min_effectiveness(self, value: float) -> PatternQuery:
        """Only with at least this effectiveness now, 0..1."""
        return self._with(min_effectiveness=check_number(value, "value", 0, 1))

    def with_file(self, path: str | os.PathLike[str]) -> PatternQuery:
        """Only used with this file; with :meth:`used_since`, used with it since then. Several must all be there."""
        return self._with(files=(*self._wanted.files, check_path(path)))

    def with_tool(self, tool: str) -> PatternQuery:
        """Only used with this tool; with :meth:`used_since`, used with it since then."""
        return self._with(tools=(*self._wanted.tools, check_line(tool, "tool") or ""))

    def used_since(self, at: datetime) -> PatternQuery:
        """Only used then or later."""
        return self._with(since=check_time(at, "at"))

    def not_used_since(self, at: datetime) -> PatternQuery:
        """Only not used any more since then."""
        return self._with(until=check_time(at, "at"))

    def in_session(self, id: str) -> PatternQuery:
        """Only used in this session."""
        return self._with(session=check_id(getattr(id, "id", id)))

    def matching(self, text: str) -> PatternQuery:
        """Only with all of these words in steps or description, whatever their form (``tests`` finds ``testing``)."""
        from lamina.search.tokens import query_terms

        words = tuple(dict.fromkeys(query_terms(check_text(text, "text"))))
        if not words:
            raise bad("The text has no word to look for.", "Pass at least one word.")
        return self._with(words=(*self._wanted.words, *words))

    def from_origin(self, origin: Literal["recorded", "learned", "imported"]) -> PatternQuery:
        """Only patterns that were first recorded by a caller, learned, or imported."""
        return self._with(origin=check_choice(origin, "origin", ORIGINS))

    # --- order and number --------------------------------------------------------------------------------------------

    def sort_by(self, order: Order) -> PatternQuery:
        """Best first by ``effectiveness`` (the default), ``usage``, ``success_rate`` or ``last_used``."""
        return self._with(order=check_choice(order, "order", tuple(ORDERS)))

    def limit(self, count: int) -> PatternQuery:
        """At most so many."""
        return self._with(limit=check_whole(count, "limit", 1, 2**53))

    # --- answers -----------------------------------------------------------------------------------------------------

    @overload
    def all(self, *, explain: Literal[False] = False) -> list[Pattern]: ...
    @overload
    def all(self, *, explain: Literal[True]) -> QueryPlan: ...
    def all(self, *, explain: bool = False) -> list[Pattern] | QueryPlan:
        """Return the patterns, best first.

        Args:
            explain: Return what :meth:`explain` does, with the patterns in ``patterns``.
        """
        with self._catalog.read("looking for patterns") as reader:
            statement = self._statement(reader)
            found = to_patterns(reader, reader.db.execute(statement.sql, statement.bindings).fetchall())
            return _explained(reader, statement, found) if explain else found

    def first(self) -> Pattern | None:
        """Return the best, or None."""
        found = self.limit(1).all()
        return found[0] if found else None

    def count(self) -> int:
        """Return how many patterns fit, whatever the limit."""
        with self._catalog.read("counting patterns") as reader:
            statement = self._statement(reader, counting=True)
            return int(reader.db.execute(statement.sql, statement.bindings).fetchall()[0][0])

    def explain(self) -> QueryPlan:
        """Return the SQL that answers the query, and how SQLite runs it."""
        with self._catalog.read("explaining a query") as reader:
            return _explained(reader, self._statement(reader), [])

    def __iter__(self) -> Iterator[Pattern]:
        return iter(self.all())

    def _statement(self, reader: Reader, *, counting: bool = False) -> Statement:
        wanted = self._wanted
        now = now_micros()
        links = [reader.name_id(NameKind.FILE, path) or _NOBODY for path in wanted.files]
        links += [reader.name_id(NameKind.TOOL, tool) or _NOBODY for tool in wanted.tools]
        filters = Filters(
            types=None
            if wanted.types is None
            else tuple(reader.name_id(NameKind.PATTERN_TYPE, name) or _NOBODY for name in wanted.types),
            links=tuple(links),
            terms=wanted.words,
            session=None if wanted.session is None else _session(reader, wanted.session),
            since=wanted.since,
            until=wanted.until,
            min_rate=wanted.min_rate,
            max_rate=wanted.max_rate,
            min_uses=wanted.min_uses,
            min_rank=_rank(wanted.min_effectiveness, now),
            now=now,
            origin=None if wanted.origin is None else ORIGINS.index(wanted.origin),
        )
        return compile_query(reader, filters, wanted.order, wanted.limit, counting=counting)


def _session(reader: Reader, id: str) -> int:
    from lamina.sessions.rows import session_number

    return session_number(reader, id) or _NOBODY


def _rank(effectiveness: float | None, now: int) -> float | None:
    """Return the rank from which on a pattern has this effectiveness now."""
    from math import log2

    if not effectiveness:
        return None
    return log2(effectiveness) + now / HALF_LIFE_MICROS


def _explained(reader: Reader, statement: Statement, found: list[Pattern]) -> QueryPlan:
    from lamina.patterns.reports import QueryPlan

    rows = reader.db.execute(f"EXPLAIN QUERY PLAN {statement.sql}", statement.bindings).fetchall()
    return QueryPlan(
        sql=statement.sql,
        bindings=tuple(statement.bindings),
        plan=tuple(row[3] for row in rows),
        driver=statement.driver,
        patterns=tuple(found),
    )
