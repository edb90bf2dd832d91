"""Why a pattern exists: the sessions it came from, and its figures with their formulas filled in."""

from __future__ import annotations

from typing import Any

from lamina.patterns.counts import DAY
from lamina.patterns.reports import Evidence, PatternExplanation
from lamina.patterns.rows import family, to_patterns
from lamina.patterns.values import Pattern
from lamina.storage.reader import Reader
from lamina.storage.records import from_micros, now_micros, to_micros

__all__ = ["explain"]


def explain(reader: Reader, row: tuple[Any, ...], limit: int) -> PatternExplanation:
    """Return the evidence of a pattern, the latest first."""
    now = now_micros()
    pattern = to_patterns(reader, [row], now)[0]
    db = reader.db
    rows = db.execute(
        "SELECT s.id, count(*), sum(u.success), max(u.at) AS latest, s.title FROM pattern_use u "
        "JOIN session s ON s.seq = u.session WHERE u.pattern = ? GROUP BY u.session ORDER BY latest DESC LIMIT ?",
        (row[0], limit),
    ).fetchall()
    ((elsewhere, learned),) = db.execute(
        "SELECT coalesce(sum(session IS NULL), 0), coalesce(sum(learned), 0) FROM pattern_use WHERE pattern = ?",
        (row[0],),
    ).fetchall()
    parts = [number for number in family(reader, row[0]) if number != row[0]]
    merged = [entry[0] for part in parts for entry in db.execute("SELECT id FROM pattern WHERE seq = ?", (part,))]
    return PatternExplanation(
        pattern=pattern,
        evidence=tuple(
            Evidence(session=id, uses=uses, successes=good, last_used=from_micros(at), title=title)
            for id, uses, good, at, title in rows
        ),
        sessions=pattern.sessions,
        elsewhere=elsewhere,
        learned=learned,
        merged=tuple(sorted(merged)),
        reasons=tuple(_reasons(pattern, now)),
    )


def _reasons(pattern: Pattern, now: int) -> list[str]:
    if not pattern.uses or pattern.last_used is None:
        return ["it was never used"]
    age = max(0.0, (now - to_micros(pattern.last_used)) / DAY)
    interval = f"95 % Wilson interval {pattern.low:.3f} to {pattern.high:.3f}"
    return [
        f"success rate {pattern.successes} / {pattern.uses} = {pattern.success_rate:.3f}, {interval}",
        f"effectiveness {pattern.low:.3f} x 2^(-{age:.1f} days / 30) = {pattern.effectiveness:.3f}",
        f"{pattern.origin}, used in {pattern.sessions:,} session{'' if pattern.sessions == 1 else 's'}",
    ]
