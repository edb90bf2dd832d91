"""From the filters of a query to one indexed SQL statement.

There are two ways to answer. Walk the index of the wanted order and test the filters, until enough were found: good
where many patterns fit. Or take the filter that the fewest patterns fit and sort those: good where few do. With N
patterns of which n fit, finding k costs about k N / n steps the one way and n the other, each of which takes four times
as long, so the second is taken up to n = sqrt(k N) / 2. How many fit is looked up first, in at most so many entries of
an index for each filter, and neither way has to go through all patterns.

Effectiveness counts a last use that lies ahead (clocks jump) as now, which the stored rank cannot know. Where there are
such patterns, they are taken out of the walk of the index and sorted in by what they would have if used now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lamina.patterns.rows import COLUMNS
from lamina.search.outcomes import HALF_LIFE_MICROS
from lamina.storage.reader import Reader

__all__ = ["ORDERS", "Filters", "Statement", "compile_query"]

_LEAST: Final = 20
_MOST: Final = 2_000
"""Bounds of the patterns up to which a filter is answered first and sorted afterwards; 2,000 take about 2 ms."""

ORDERS: Final[dict[str, tuple[str, str]]] = {
    "effectiveness": ("p.rank DESC", "pattern_rank"),
    "usage": ("p.uses DESC", "pattern_uses"),
    "success_rate": ("p.success_rate DESC, p.uses DESC", "pattern_success"),
    "last_used": ("p.last_used DESC", "pattern_last"),
}
"""What can be sorted by: the terms, and the index that has them in this order."""
_RANK: Final = f"(p.rank - max(0, p.last_used - ?) / {float(HALF_LIFE_MICROS)!r})"
"""The rank with a last use that lies ahead of now, which is bound, counted as now."""


@dataclass(slots=True)
class Filters:
    """What a pattern must be, in the catalog's numbers."""

    types: tuple[int, ...] | None = None
    links: tuple[int, ...] = ()
    """Names of files and tools; a pattern must have all."""
    terms: tuple[str, ...] = ()
    session: int | None = None
    since: int | None = None
    until: int | None = None
    min_rate: float | None = None
    max_rate: float | None = None
    min_uses: int | None = None
    min_rank: float | None = None
    now: int = 0
    """Microseconds since 1970."""
    origin: int | None = None


@dataclass(slots=True)
class Statement:
    """One SQL statement with its values."""

    sql: str
    bindings: list[Any] = field(default_factory=list)
    driver: str = "order"


@dataclass(slots=True)
class _Source:
    """A filter as a place to begin with."""

    name: str
    count: str
    """Statement that counts its patterns, up to a limit that is bound last."""
    join: str
    """What to select from, ending where ``WHERE`` begins."""
    bindings: tuple[Any, ...]


def compile_query(
    reader: Reader, filters: Filters, order: str, limit: int | None, *, counting: bool = False
) -> Statement:
    """Return the statement that answers a query.

    Args:
        reader: Looks up how many patterns each filter has.
        filters: What they must be.
        order: One of :data:`ORDERS`.
        limit: At most so many.
        counting: Count instead of returning rows.
    """
    source = _narrowest(reader, filters, limit, counting=counting)
    driver = source.name if source else "order"
    terms, index = ORDERS[order]
    start = source.join if source else f"FROM pattern p INDEXED BY {index}"
    bindings: list[Any] = list(source.bindings) if source else []
    tests, values = _tests(filters, source)
    where = "WHERE " + " AND ".join(tests)
    bindings += values
    if counting:
        return Statement(f"SELECT count(*) {start} {where}", bindings, driver)
    by_rank = order == "effectiveness"
    ending, ends = ("", []) if limit is None else (" LIMIT ?", [limit])
    if source is not None:  # the plus keeps SQLite from walking the index of the order instead
        sorting = f"{_RANK} DESC" if by_rank else ", ".join(f"+{term}" for term in terms.split(", "))
        now = [filters.now] if by_rank else []
        return Statement(
            f"SELECT {COLUMNS} {start} {where} ORDER BY {sorting}{ending}", [*bindings, *now, *ends], driver
        )
    if by_rank and _some_ahead(reader, filters.now):
        part = f"SELECT {COLUMNS}, {_RANK} AS place FROM pattern p INDEXED BY"
        usual = f"SELECT * FROM ({part} {index} {where} AND p.last_used <= ? ORDER BY {terms}{ending})"
        ahead = f"{part} pattern_last {where} AND p.last_used > ?"
        one = [filters.now, *bindings, filters.now]
        return Statement(f"{usual} UNION ALL {ahead} ORDER BY place DESC{ending}", [*one, *ends, *one, *ends], driver)
    return Statement(f"SELECT {COLUMNS} {start} {where} ORDER BY {terms}{ending}", [*bindings, *ends], driver)


def _some_ahead(reader: Reader, now: int) -> bool:
    """Return whether the last use of any pattern lies ahead of now."""
    sql = "SELECT 1 FROM pattern INDEXED BY pattern_last WHERE state = 0 AND last_used > ? LIMIT 1"
    return bool(reader.db.execute(sql, (now,)).fetchall())


def _tests(filters: Filters, source: _Source | None) -> tuple[list[str], list[Any]]:
    """Return the tests that a pattern must pass but for the one that the source made already, and their values."""
    driver = source.name if source else ""
    bindings: list[Any] = []
    tests = ["p.state = 0"]
    _plain_tests(filters, tests, bindings)
    for number in filters.links:
        if driver != f"link {number}":
            since = "" if filters.since is None else " AND l.last_used >= ?"
            tests.append(f"EXISTS (SELECT 1 FROM pattern_link l WHERE l.name = ? AND l.pattern = p.seq{since})")
            bindings += [number] if filters.since is None else [number, filters.since]
        elif filters.since is not None:
            tests.append("l.last_used >= ?")
            bindings.append(filters.since)
    for term in filters.terms:
        if driver != f"term {term}":
            tests.append("EXISTS (SELECT 1 FROM pattern_term t WHERE t.term = ? AND t.pattern = p.seq)")
            bindings.append(term)
    if filters.session is not None and driver != "session":
        tests.append("EXISTS (SELECT 1 FROM pattern_use u WHERE u.session = ? AND u.pattern = p.seq)")
        bindings.append(filters.session)
    return tests, bindings


def _plain_tests(filters: Filters, tests: list[str], bindings: list[Any]) -> None:
    if filters.types is not None:
        tests.append(f"p.type IN ({', '.join('?' * len(filters.types))})")
        bindings += filters.types
    for test, value in (
        ("p.success_rate >= ?", filters.min_rate),
        ("p.success_rate <= ?", filters.max_rate),
        ("p.uses >= ?", filters.min_uses),
        ("p.rank >= ?", filters.min_rank),
        ("p.last_used >= ?", filters.since),
        ("p.last_used < ?", filters.until),
        ("p.origin = ?", filters.origin),
    ):
        if value is not None:
            tests.append(test)
            bindings.append(value)
    if filters.min_rank is not None:
        tests.append(f"{_RANK} >= ?")
        bindings += [filters.now, filters.min_rank]


def _narrowest(reader: Reader, filters: Filters, limit: int | None, *, counting: bool) -> _Source | None:
    """Return the filter that the fewest patterns fit, or None where all of them have many."""
    sources = _sources(filters)
    if not sources:
        return None
    ((last,),) = reader.db.execute("SELECT coalesce(max(seq), 0) FROM pattern").fetchall()
    few = _MOST if limit is None or counting else min(_MOST, max(_LEAST, int((limit * last) ** 0.5) // 2))
    best: tuple[int, _Source] | None = None
    for source in sources:
        most = few if best is None else best[0]
        ((count,),) = reader.db.execute(source.count, (*source.bindings, most)).fetchall()
        if count < most:
            best = (count, source)
            if count == 0:
                break
    return None if best is None else best[1]


def _sources(filters: Filters) -> list[_Source]:
    sources = [
        _Source(
            f"link {number}",
            "SELECT count(*) FROM (SELECT 1 FROM pattern_link WHERE name = ? LIMIT ?)",
            "FROM (SELECT pattern, last_used FROM pattern_link WHERE name = ?) l "
            "CROSS JOIN pattern p ON p.seq = l.pattern",
            (number,),
        )
        for number in filters.links
    ]
    sources += [
        _Source(
            f"term {term}",
            "SELECT count(*) FROM (SELECT 1 FROM pattern_term WHERE term = ? LIMIT ?)",
            "FROM (SELECT pattern FROM pattern_term WHERE term = ?) t CROSS JOIN pattern p ON p.seq = t.pattern",
            (term,),
        )
        for term in filters.terms
    ]
    if filters.session is not None:
        sources.append(
            _Source(
                "session",
                "SELECT count(*) FROM (SELECT 1 FROM pattern_use WHERE session = ? LIMIT ?)",
                "FROM (SELECT DISTINCT pattern FROM pattern_use WHERE session = ?) u "
                "CROSS JOIN pattern p ON p.seq = u.pattern",
                (filters.session,),
            )
        )
    sources += _own_sources(filters)
    return sources


def _own_sources(filters: Filters) -> list[_Source]:
    """Return the filters on a pattern's own columns; each has an index."""
    found: list[tuple[str, str, str, Sequence[Any]]] = []
    if filters.types is not None and len(filters.types) == 1:
        found.append(("type", "pattern_type", "type = ?", filters.types))
    if filters.since is not None:
        found.append(("since", "pattern_last", "last_used >= ?", (filters.since,)))
    if filters.until is not None:
        found.append(("until", "pattern_last", "last_used < ?", (filters.until,)))
    if filters.min_rate is not None:
        found.append(("success rate", "pattern_success", "success_rate >= ?", (filters.min_rate,)))
    if filters.max_rate is not None:
        found.append(("success rate", "pattern_success", "success_rate <= ?", (filters.max_rate,)))
    if filters.min_uses is not None:
        found.append(("uses", "pattern_uses", "uses >= ?", (filters.min_uses,)))
    return [
        _Source(
            name,
            f"SELECT count(*) FROM (SELECT 1 FROM pattern INDEXED BY {index} WHERE state = 0 AND {test} LIMIT ?)",
            f"FROM (SELECT seq AS chosen FROM pattern INDEXED BY {index} WHERE state = 0 AND {test}) c "
            "CROSS JOIN pattern p ON p.seq = c.chosen",
            tuple(values),
        )
        for name, index, test, values in found
    ]
