"""Patterns that are used together, and files that go together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any, Literal

from lamina.patterns.reports import FileLink, Related
from lamina.patterns.rows import COLUMNS, portions, to_patterns
from lamina.sessions.rows import packed, unpacked
from lamina.storage.names import NameKind
from lamina.storage.reader import Reader

__all__ = ["file_edges", "files_with", "related"]

Sort = Literal["frequency", "correlation"]
_MANY = 300
"""Sessions from which on going through all of them is worth avoiding."""
_NARROW = 1e-6
"""Square of the correlation below which patterns of nearly every size fit."""


def related(reader: Reader, pattern: int, *, min_correlation: float, sort_by: Sort, limit: int | None) -> list[Related]:
    """Return patterns by the cosine of their co-occurrence over sessions: ``n_ab / sqrt(n_a n_b)``.

    Since n_ab is at most the smaller of the two, a correlation of at least c needs n_b between c² n_a and n_a / c².
    Where the pattern is used in very many sessions, the few patterns of that size are looked for in them one by one;
    else the patterns of its sessions are counted.
    """
    ((own,),) = reader.db.execute("SELECT sessions FROM pattern WHERE seq = ?", (pattern,)).fetchall()
    if not own:
        return []
    bound = min_correlation**2
    together = _by_candidates(reader, pattern, own, bound) if own > _MANY and bound >= _NARROW else None
    if together is None:
        together = _by_sessions(reader, pattern)
    found: list[tuple[float, int, tuple[Any, ...]]] = []
    numbers = [number for number, count in together.items() if count > 0 and count >= bound * own - 1e-9]
    for part in portions(numbers):
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
    for part in portions(sessions):
        marks = ", ".join("?" * len(part))
        sql = f"SELECT DISTINCT session, pattern FROM pattern_use WHERE session IN ({marks})"
        together.update(row[1] for row in reader.db.execute(sql, part))
    del together[pattern]
    return together


def _by_candidates(reader: Reader, pattern: int, own: int, bound: float) -> Counter[int] | None:
    """Look for the pattern in the sessions of those of a fitting size; None where that would take longer."""
    low, high = math.ceil(bound * own - 1e-9), math.floor(own / bound + 1e-9)
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
    """Return the files that are used together with a file: in the same uses, which are gone through.

    The correlation of two files is that of patterns, over uses instead of sessions: ``n_fg / sqrt(n_f n_g)``, with n
    uses.
    """
    number = reader.name_id(NameKind.FILE, path)
    if number is None:
        return []
    # instr finds the four bytes of the number anywhere: what it finds too much is left out below.
    sql = (
        "SELECT u.pattern, u.links, count(*), sum(u.success) FROM pattern_link m "
        "CROSS JOIN pattern p ON p.seq = m.pattern AND p.state = 0 CROSS JOIN pattern_use u ON u.pattern = p.seq "
        "WHERE m.name = ? AND instr(u.links, ?) GROUP BY u.pattern, u.links"
    )
    counts: dict[int, list[int]] = {}
    patterns: Counter[int] = Counter()
    own, last, seen = 0, -1, set[int]()
    for pattern, links, uses, good in reader.db.execute(sql, (number, packed([number]))):
        names = set(unpacked(links))
        if number not in names:
            continue
        own += uses
        if pattern != last:
            patterns.update(seen)
            last, seen = pattern, set()
        seen |= names
        for other in names:
            count = counts.setdefault(other, [0, 0])
            count[0] += uses
            count[1] += good
    patterns.update(seen)
    counts.pop(number, None)
    names_of = _files(reader, counts)
    found = [(uses, good, names_of[other], other) for other, (uses, good) in counts.items() if other in names_of]
    found.sort(reverse=True)
    if limit is not None and len(found) > limit:  # those that are as often used as the last one may go before it
        least = found[limit - 1][0]
        found = [entry for entry in found if entry[0] >= least]
    links_ = [
        FileLink(
            path=value,
            patterns=patterns[other],
            correlation=min(1.0, uses / math.sqrt(own * max(uses, _uses_with(reader, other)))),
            together=uses,
            success_rate=good / uses,
        )
        for uses, good, value, other in found
    ]
    links_.sort(key=lambda link: (-link.together, -link.correlation, link.path))
    return links_ if limit is None else links_[:limit]


def _files(reader: Reader, numbers: Iterable[int]) -> dict[int, str]:
    """Return the paths of those numbers that are files and no tools."""
    wanted = list(numbers)
    found: dict[int, str] = {}
    for part in portions(wanted):
        sql = f"SELECT id, value FROM name WHERE kind = ? AND id IN ({', '.join('?' * len(part))})"
        found.update(reader.db.execute(sql, (int(NameKind.FILE), *part)).fetchall())
    return found


def _uses_with(reader: Reader, number: int) -> int:
    """Return how many uses of patterns in use have a file: all that have it but those of the few that were pruned."""
    ((count,),) = reader.db.execute(
        "SELECT (SELECT coalesce(sum(uses), 0) FROM pattern_link WHERE name = ?1) - (SELECT coalesce(sum(l.uses), 0) "
        "FROM pattern p INDEXED BY pattern_gone JOIN pattern_link l ON l.name = ?1 AND l.pattern = p.seq "
        "WHERE p.state <> 0)",
        (number,),
    ).fetchall()
    return int(count)


def file_edges(reader: Reader, *, min_uses: int) -> Iterator[tuple[str, str, int, int]]:
    """Yield ``(file, file, uses together, successes of those)`` of all pairs, each once, in alphabetical order."""
    sql = (
        "SELECT u.links, count(*), sum(u.success) FROM pattern_use u JOIN pattern p ON p.seq = u.pattern "
        "AND p.state = 0 WHERE length(u.links) > 4 GROUP BY u.links"
    )
    counts: dict[tuple[int, int], list[int]] = {}
    for links, uses, good in reader.db.execute(sql):
        for pair in combinations(sorted(set(unpacked(links))), 2):
            count = counts.setdefault(pair, [0, 0])
            count[0] += uses
            count[1] += good
    names = _files(reader, {number for pair in counts for number in pair})
    edges = [
        (min(names[one], names[other]), max(names[one], names[other]), uses, good)
        for (one, other), (uses, good) in counts.items()
        if uses >= min_uses and one in names and other in names
    ]
    yield from sorted(edges)
