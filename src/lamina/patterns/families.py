"""Patterns that were merged: taking one out again, deleting one, and mending what leads nowhere.

A merged pattern keeps its row, and its uses count for the one it is part of; each use keeps the name of the one it was
recorded for (``moved_from``), so that a family comes apart in any order.
"""

from __future__ import annotations

from lamina.patterns.rows import ACTIVE, MERGED, erase, family, numbered_row, pattern_row, refresh, root, to_patterns
from lamina.patterns.values import Pattern
from lamina.storage.reader import Reader
from lamina.storage.writer import Writer

__all__ = ["broken", "delete", "mend", "part"]


def part(writer: Writer, number: int) -> set[int]:
    """Give a merged pattern its uses back, and those of what was merged into it before; return what changed."""
    db = writer.db
    changed = {number}
    for member in family(writer, number):
        changed.update(
            row[0] for row in db.execute("SELECT DISTINCT pattern FROM pattern_use WHERE moved_from = ?", (member,))
        )
        db.execute(
            "UPDATE pattern_use SET pattern = ?1, moved_from = CASE WHEN moved_from = ?1 THEN NULL ELSE moved_from END "
            "WHERE moved_from = ?2",
            (number, member),
        )
    db.execute("UPDATE pattern SET state = ?, merged_into = NULL, prune = NULL WHERE seq = ?", (ACTIVE, number))
    return changed


def delete(writer: Writer, id: str) -> Pattern:
    """Delete one pattern with its own uses for good, and return it; what was merged into it is its own again.

    Raises:
        NotFoundError: There is none of this id, or it was removed.
    """
    pattern_row(writer, id)
    ((number, state),) = writer.db.execute("SELECT seq, state FROM pattern WHERE id = ?", (id,)).fetchall()
    changed = part(writer, number) if state == MERGED else set()
    merged = writer.db.execute("SELECT seq FROM pattern WHERE merged_into = ? AND state = 2", (number,)).fetchall()
    for (member,) in merged:
        changed |= part(writer, member)
    refresh(writer, sorted(changed))
    pattern = to_patterns(writer, [numbered_row(writer, number)])[0]
    erase(writer, [number])
    return pattern


def broken(reader: Reader) -> list[tuple[int, str]]:
    """Return number and id of merged patterns that are part of nothing."""
    rows = reader.db.execute("SELECT seq, id FROM pattern WHERE state = 2 ORDER BY seq").fetchall()
    return [(number, id) for number, id in rows if root(reader, number)[1] == MERGED]


def mend(writer: Writer) -> None:
    """Make merged patterns that are part of nothing their own again, with their uses; for repair."""
    for number, _ in broken(writer):
        target, state = root(writer, number)
        if state == MERGED:  # one that was mended may have mended it
            part(writer, target)
    writer.db.execute(
        "UPDATE pattern_use SET moved_from = NULL WHERE moved_from IS NOT NULL "
        "AND moved_from NOT IN (SELECT seq FROM pattern)"
    )
    for pattern, number in writer.db.execute(
        "SELECT DISTINCT u.pattern, u.moved_from FROM pattern_use u LEFT JOIN pattern p ON p.seq = u.pattern "
        "WHERE p.seq IS NULL AND u.moved_from IS NOT NULL OR p.state = 2"
    ).fetchall():
        own = pattern if number is None else number
        target = root(writer, own)[0]
        writer.db.execute(
            "UPDATE pattern_use SET pattern = ?3, moved_from = CASE WHEN ?3 = ?4 THEN NULL ELSE ?4 END "
            "WHERE pattern = ?1 AND moved_from IS ?2",
            (pattern, number, target, own),
        )
