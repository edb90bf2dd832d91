"""Pruning: remove what does not work, merge what is nearly the same, archive old sessions; a plan first, undo for 30 days.

* A pattern is *ineffective* where the upper end of its success rate's interval is below 0.3, or where it was not used
  for 90 days and its effectiveness is below 0.5 (both can be set).
* Two patterns of a type are *near-duplicates* where they have as many steps, and these are alike by more than 0.85 in the
  mean: twice the words in common, in matching stretches, by the words of both (Ratcliff and Metzener 1988). Pairs to
  compare are found by MinHash. A part of a longer sequence is no duplicate of it. The one with fewer uses is merged into the other: its uses move there, and recording it counts there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from lamina.errors import ConflictError, NotFoundError
from lamina.patterns.rows import ACTIVE, MERGED, REMOVED, erase, refresh
from lamina.patterns.values import Merge, Plan, Removal
from lamina.search.outcomes import effectiveness, wilson
from lamina.sessions.archive import old_sessions, pack, unpack
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.reader import Reader
from lamina.storage.records import from_micros, now_micros
from lamina.storage.writer import Writer

__all__ = ["UNDO_DAYS", "plan_prune", "prune", "undo"]

UNDO_DAYS: Final = 30
_DAY: Final = 86_400 * 1_000_000
_WIDEST_BAND: Final = 200
"""Patterns of one band that are compared with each other; a band shared by more says nothing."""


def prune(
    catalog: SqliteCatalog,
    *,
    max_upper: float,
    unused_days: float,
    min_effectiveness: float,
    similarity: float,
    archive_days: float | None,
    archive_max_quality: float | None,
    dry_run: bool,
) -> Plan:
    """Plan and, unless it is a dry run, do it, all patterns in one transaction; see :meth:`Patterns.prune`."""
    options = (max_upper, unused_days, min_effectiveness, similarity)
    if dry_run:
        with catalog.read("planning what to prune") as reader:
            return _planned(reader, options, archive_days, archive_max_quality)[0]
    with catalog.write("pruning patterns") as writer:
        plan, numbers = _planned(writer, options, archive_days, archive_max_quality)
        expired = _expired(writer)
        erase(writer, expired, remember=True)
        if not (plan.remove or plan.merge or plan.archive):
            return Plan(expired=len(expired))
        at = now_micros()
        ((run,),) = writer.db.execute(
            "INSERT INTO pattern_prune (at, plan) VALUES (?, ?) RETURNING seq",
            (at, json.dumps({"archived": plan.archive})),
        ).fetchall()
        for entry in plan.remove:
            writer.db.execute(
                "UPDATE pattern SET state = ?, prune = ? WHERE seq = ?", (REMOVED, run, numbers[entry.id])
            )
        for pair in plan.merge:
            _merge(writer, numbers[pair.id], numbers[pair.into], run)
        refresh(writer, [numbers[pair.into] for pair in plan.merge])
        for id in plan.archive:
            rows = writer.db.execute("SELECT seq FROM session WHERE id = ?", (id,)).fetchall()
            pack(writer, catalog.codec, rows[0][0], id)
    return Plan(
        remove=plan.remove,
        merge=plan.merge,
        archive=plan.archive,
        expired=len(expired),
        id=f"prune-{run}",
        undo_until=from_micros(at + UNDO_DAYS * _DAY),
    )


def _planned(
    reader: Reader,
    options: tuple[float, float, float, float],
    archive_days: float | None,
    archive_max_quality: float | None,
) -> tuple[Plan, dict[str, int]]:
    remove, merge, numbers = plan_prune(reader, *options)
    archive = [] if archive_days is None else old_sessions(reader, timedelta(days=archive_days), archive_max_quality)
    expired = len(_expired(reader))
    return Plan(remove=remove, merge=merge, archive=tuple(archive), expired=expired, dry_run=True), numbers


def plan_prune(
    reader: Reader, max_upper: float, unused_days: float, min_effectiveness: float, similarity: float
) -> tuple[tuple[Removal, ...], tuple[Merge, ...], dict[str, int]]:
    """Return what is ineffective, what is nearly the same, and the numbers of the patterns named."""
    now = now_micros()
    remove: list[Removal] = []
    numbers: dict[str, int] = {}
    kept: list[tuple[Any, ...]] = []
    for row in reader.db.execute(
        "SELECT seq, id, type, steps, uses, successes, last_used, description FROM pattern WHERE state = 0 ORDER BY seq"
    ):
        reason = _ineffective(row[4], row[5], row[6], now, (max_upper, unused_days, min_effectiveness))
        if reason:
            remove.append(Removal(id=row[1], reason=reason))
            numbers[row[1]] = row[0]
        else:
            kept.append(row)
    merge = list(_near(kept, similarity))
    by_id = {row[1]: row[0] for row in kept}
    for pair in merge:
        numbers[pair.id], numbers[pair.into] = by_id[pair.id], by_id[pair.into]
    return tuple(remove), tuple(merge), numbers


def _ineffective(
    uses: int, successes: int, last_used: int, now: int, limits: tuple[float, float, float]
) -> str | None:
    """Return why a pattern is ineffective, or None; one that was never used is not judged."""
    if not uses:
        return None
    max_upper, unused_days, min_effectiveness = limits
    high = wilson(successes, uses)[1]
    if high < max_upper:
        return f"worked {successes} of {uses} times: at most {high:.0%} with 95 % confidence"
    age = (now - last_used) / _DAY
    value = effectiveness(successes, uses, last_used, now)
    if age > unused_days and value < min_effectiveness:
        return f"not used for {age:.0f} days, effectiveness {value:.2f}"
    return None


def _near(rows: Sequence[tuple[Any, ...]], similarity: float) -> Iterable[Merge]:
    """Yield merges: each pattern into one that is like it and used more; none is both merged and merged into."""
    from lamina.search.duplicates import bands
    from lamina.search.tokens import tokens

    words = [[tokens(step) for step in json.loads(row[3])] for row in rows]
    groups: dict[tuple[int, int, int], list[int]] = {}
    for place, found in enumerate(bands([[word for step in steps for word in step] for steps in words])):
        for band in set(found):
            groups.setdefault((rows[place][2], len(words[place]), band), []).append(place)
    pairs: set[tuple[int, int]] = set()
    for places in groups.values():
        if 1 < len(places) <= _WIDEST_BAND:
            pairs.update((one, other) for number, one in enumerate(places) for other in places[number + 1 :])
    alike = [
        (value, one, other)
        for one, other in pairs
        if (value := _likeness(words[one], words[other])) > similarity
    ]
    gone: dict[int, None] = {}
    into: set[int] = set()
    for value, one, other in sorted(alike, key=lambda entry: (-entry[0], entry[1], entry[2])):
        keep, drop = sorted((one, other), key=lambda place: (-rows[place][4], place))
        if keep in gone or drop in gone or drop in into:
            continue
        gone[drop] = None
        into.add(keep)
        yield Merge(id=rows[drop][1], into=rows[keep][1], similarity=value)


def _likeness(one: Sequence[Sequence[str]], other: Sequence[Sequence[str]]) -> float:
    """Return how alike the steps of two patterns are, in the mean of their pairs; 0..1."""
    from difflib import SequenceMatcher

    pairs = zip(one, other, strict=True)
    return sum(1.0 if a == b else SequenceMatcher(None, a, b, autojunk=False).ratio() for a, b in pairs) / len(one)


def _merge(writer: Writer, number: int, into: int, run: int) -> None:
    """Move a pattern's uses to another; each keeps the name of the one that it was recorded for."""
    writer.db.execute(
        "UPDATE pattern_use SET pattern = ?2, moved_from = coalesce(moved_from, ?1) WHERE pattern = ?1", (number, into)
    )
    writer.db.execute(
        "UPDATE pattern SET state = ?, merged_into = ?, prune = ? WHERE seq = ?", (MERGED, into, run, number)
    )


def _expired(reader: Reader) -> list[int]:
    """Return the removed patterns that can no longer be brought back."""
    limit = now_micros() - UNDO_DAYS * _DAY
    rows = reader.db.execute(
        "SELECT p.seq FROM pattern p JOIN pattern_prune r ON r.seq = p.prune WHERE p.state = 1 AND r.at < ?", (limit,)
    )
    return [row[0] for row in rows]


def undo(catalog: SqliteCatalog, id: str | None) -> Plan:
    """Take a run of pruning back: patterns and uses are as if it had not been, and what came since stays.

    Raises:
        NotFoundError: There is no such run, or none to undo.
        ConflictError: It is older than 30 days, or undone already.
    """
    with catalog.write("undoing a pruning") as writer:
        run, at, undone, text = _run(writer, id)
        if undone is not None:
            raise ConflictError(f"prune-{run} is undone already.", hint="`lamina patterns prune` makes a new plan.")
        if now_micros() - at > UNDO_DAYS * _DAY:
            raise ConflictError(
                f"prune-{run} was more than {UNDO_DAYS} days ago; it cannot be undone.", hint="Restore a backup."
            )
        db = writer.db
        removed = db.execute("SELECT seq, id FROM pattern WHERE prune = ? AND state = 1", (run,)).fetchall()
        merged = db.execute("SELECT seq, id, merged_into FROM pattern WHERE prune = ? AND state = 2", (run,)).fetchall()
        db.execute("UPDATE pattern SET state = ?, prune = NULL WHERE prune = ? AND state = 1", (ACTIVE, run))
        changed: set[int] = set()
        pairs = []
        for number, name, into in merged:
            changed |= _part(writer, number)
            pairs.append((name, into))
        refresh(writer, sorted(changed))
        names = dict(db.execute("SELECT seq, id FROM pattern").fetchall()) if pairs else {}
        archived = [
            session
            for session in json.loads(text).get("archived", [])
            if db.execute("SELECT 1 FROM session WHERE id = ? AND archived_at IS NOT NULL", (session,)).fetchall()
        ]
        for session in archived:
            unpack(writer, catalog.codec, session)
        db.execute("UPDATE pattern_prune SET undone_at = ? WHERE seq = ?", (now_micros(), run))
    return Plan(
        remove=tuple(Removal(id=row[1], reason="brought back") for row in removed),
        merge=tuple(Merge(id=name, into=names.get(into, "?"), similarity=1.0) for name, into in pairs),
        archive=tuple(archived),
        id=f"prune-{run}",
    )


def _run(writer: Writer, id: str | None) -> tuple[int, int, int | None, str]:
    if id is None:
        rows = writer.db.execute(
            "SELECT seq, at, undone_at, plan FROM pattern_prune WHERE undone_at IS NULL ORDER BY seq DESC LIMIT 1"
        ).fetchall()
    else:
        number = id.removeprefix("prune-")
        rows = writer.db.execute(
            "SELECT seq, at, undone_at, plan FROM pattern_prune WHERE seq = ?",
            (int(number) if number.isascii() and number.isdigit() and len(number) < 18 else -1,),
        ).fetchall()
    for row in rows:
        return int(row[0]), int(row[1]), row[2], str(row[3])
    raise NotFoundError(
        "There is no pruning to undo." if id is None else f"There is no pruning {id}.",
        hint="A pruning says its id when it is done.",
    )


def _part(writer: Writer, number: int) -> set[int]:
    """Give a merged pattern its uses back, and those of what was merged into it before; return what changed."""
    db = writer.db
    family = [number]
    for member in family:
        family += [
            row[0] for row in db.execute("SELECT seq FROM pattern WHERE merged_into = ? AND state = 2", (member,))
        ]
    changed = {number}
    for member in family:
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
