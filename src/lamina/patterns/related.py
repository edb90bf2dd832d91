"""Patterns that are used together, and files that go together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

from lamina.patterns.reports import FileLink, Related
from lamina.patterns.rows import COLUMNS, to_patterns
from lamina.storage.names import NameKind
from lamina.storage.reader import Reader

__all__ = ["file_edges", "files_with", "related"]

Sort = Literal["frequency", "correlation"]
_BATCH = 500
_MANY = 300
"""Sessions from which on going through all of them is worth avoiding."""


def related(reader: Reader, pattern: int, *, min_correlation: float, sort_by: Sort, limit: int | None) -> list[Related]:
    """Return patterns by the cosine of their co-occurrence over sessions: ``n_ab / sqrt(n_a n_b)``.

    Since n_ab is at most the smaller of the two, a correlation of at least c needs n_b between c² n_a and n_a / c².
    Where the pattern is used in very many sessions, the few patterns of that size are looked for in them one by one;
    else the patterns of its sessions are counted.
    """
    ((own,),) = reader.db.execute("SELECT sessions FROM pattern WHERE seq = ?", (pattern,)).fetchall()
    if not own:
        return []
    bound = max(min_correlation, 1e-9) ** 2
    low, high = math.ceil(bound * own - 1e-9), math.floor(own / bound + 1e-9)
    together = _by_candidates(reader, pattern, own, low, high) if own > _MANY else None
    if together is None:
        together = _by_sessions(reader, pattern)
    found: list[tuple[float, int, tuple[Any, ...]]] = []
    numbers = [number for number, count in together.items() if count > 0 and count >= bound * own - 1e-9]
    for start in range(0, len(numbers), _BATCH):
        part = numbers[start : start + _BATCH]
        marks = ", ".join("?" * len(part))
        sql = f"SELECT {COLUMNS} FROM pattern p WHERE p.seq IN ({marks}) AND p.state = 0"
        for row in reader.db.execute(sql, part):
            count = together[row[0]]
            correlation = count / math.sqrt(own * row[6]) if row[6] else 0.0
            if correlation >= min_correlation - 1e-12:
                found.append((min(correlation, 1.0), count, tuple(row)))
    if sort_by == "frequency":
        found.sort(key=lambda entry: (-entry[1], -entry[0], entry[2][1]))
    else:
        found.sort(key=lambda entry: (-entry[0], -entry[1], entry[2][1]))
    chosen = found if limit is None else found[:limit]
    patterns = to_patterns(reader, [row for _, _, row in chosen])
    return [
        Related(pattern=value, correlation=correlation, together=count)
        for value, (correlation, count, _) in zip(patterns, chosen, strict=True)
    ]


def _by_sessions(reader: Reader, pattern: int) -> Counter[int]:
    """Count in how many of its sessions every other pattern was used."""
    together: Counter[int] = Counter()
    rows = reader.db.execute(
        "SELECT DISTINCT session FROM pattern_use WHERE pattern = ? AND session IS NOT NULL", (pattern,)
    )
    sessions = [row[0] for row in rows]
    for start in range(0, len(sessions), _BATCH):
        part = sessions[start : start + _BATCH]
        marks = ", ".join("?" * len(part))
        sql = f"SELECT DISTINCT session, pattern FROM pattern_use WHERE session IN ({marks})"
        together.update(row[1] for row in reader.db.execute(sql, part))
    del together[pattern]
    return together


def _by_candidates(reader: Reader, pattern: int, own: int, low: int, high: int) -> Counter[int] | None:
    """Look for the pattern in the sessions of those of a fitting size; None where that would take longer."""
    sql = (
        "SELECT seq, uses FROM pattern INDEXED BY pattern_uses WHERE state = 0 AND uses >= ?1 "  # at least its sessions
        "AND sessions BETWEEN ?1 AND ?2 AND seq <> ?3 LIMIT ?4"
    )
    most = max(10, own // 50)
    found = reader.db.execute(sql, (max(low, 1), high, pattern, most + 1)).fetchall()
    if len(found) > most or sum(row[1] for row in found) > 20 * own:
        return None
    together: Counter[int] = Counter()
    for number, _ in found:
        ((together[number],),) = reader.db.execute(
            "SELECT count(*) FROM "
            "(SELECT DISTINCT session FROM pattern_use WHERE pattern = ?1 AND session IS NOT NULL) s "
            "WHERE EXISTS (SELECT 1 FROM pattern_use u WHERE u.session = s.session AND u.pattern = ?2)",
            (number, pattern),
        ).fetchall()
    return together


def files_with(reader: Reader, path: str, limit: int | None) -> list[FileLink]:
    """Return the files that are used in the same patterns as a file.

    The correlation of two files is that of patterns, over patterns instead of sessions: ``n_fg / sqrt(n_f n_g)`` with n
    patterns. They were used together in at most ``sum min(u_p(f), u_p(g))`` uses, with u_p(f) the uses of p with f.
    """
    number = reader.name_id(NameKind.FILE, path)
    if number is None:
        return []
    sql = (
        "SELECT l.name, n.value, count(*), sum(min(l.uses, m.uses)), sum(min(l.successes, m.successes)) "
        "FROM pattern_link m JOIN pattern p ON p.seq = m.pattern AND p.state = 0 "
        "JOIN pattern_link l ON l.pattern = m.pattern AND l.name <> m.name JOIN name n ON n.id = l.name AND n.kind = ? "
        "WHERE m.name = ? GROUP BY l.name"
    )
    own = _patterns_with(reader, number)
    found = [
        FileLink(
            path=value,
            patterns=patterns,
            correlation=min(1.0, patterns / math.sqrt(own * _patterns_with(reader, other))),
            together=together,
            success_rate=good / together if together else 0.0,
        )
        for other, value, patterns, together, good in reader.db.execute(sql, (int(NameKind.FILE), number)).fetchall()
    ]
    found.sort(key=lambda link: (-link.together, -link.correlation, link.path))
    return found if limit is None else found[:limit]


def _patterns_with(reader: Reader, number: int) -> int:
    """Return how many patterns in use have a file: all that have it but the few that were pruned."""
    ((count,),) = reader.db.execute(
        "SELECT (SELECT count(*) FROM pattern_link WHERE name = ?1) - (SELECT count(*) FROM pattern p "
        "INDEXED BY pattern_gone JOIN pattern_link l ON l.name = ?1 AND l.pattern = p.seq WHERE p.state <> 0)",
        (number,),
    ).fetchall()
    return max(1, int(count))


def file_edges(reader: Reader, *, min_uses: int) -> Iterator[tuple[str, str, int, int]]:
    """Yield ``(file, file, uses together, successes of those)`` of all pairs, each once, in alphabetical order."""
    sql = (
        "SELECT min(n.value, o.value) AS low, max(n.value, o.value) AS high, sum(min(l.uses, m.uses)) AS shared, "
        "sum(min(l.successes, m.successes)) FROM pattern_link l JOIN pattern p ON p.seq = l.pattern AND p.state = 0 "
        "JOIN pattern_link m ON m.pattern = l.pattern AND m.name > l.name "
        "JOIN name n ON n.id = l.name AND n.kind = ?1 JOIN name o ON o.id = m.name AND o.kind = ?1 "
        "GROUP BY low, high HAVING shared >= ?2 ORDER BY low, high"
    )
    yield from reader.db.execute(sql, (int(NameKind.FILE), min_uses)).fetchall()
