"""Pruning: remove what does not work, merge near-duplicates, archive old sessions; a plan first, undo for 30 days.

* A pattern is *ineffective* where the upper end of its success rate's interval is below 0.3, or where it was not used
  for 90 days and its effectiveness is below 0.5 (both can be set).
* Two patterns of a type are *near-duplicates* where they have as many steps, and these are alike by more than 0.85 in
  the mean: twice the words in common, in matching stretches, by the words of both (Ratcliff and Metzener 1988). Those
  are compared that have all words but one in common or, of long patterns, a band of MinHash, each with the most used of
  its group. A part of a longer sequence is no duplicate of it. The one with fewer uses is merged into the other: its
  uses move there, and recording it counts there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from lamina.errors import ConflictError, NotFoundError
from lamina.patterns.reports import Merge, Plan, Removal
from lamina.patterns.rows import ACTIVE, MERGED, REMOVED, erase, refresh
from lamina.search.outcomes import effectiveness, wilson
from lamina.sessions.archive import old_sessions, pack, unpack
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.reader import Reader
from lamina.storage.records import from_micros, now_micros
from lamina.storage.writer import Writer

__all__ = ["UNDO_DAYS", "prune", "undo"]

UNDO_DAYS: Final = 30
_DAY: Final = 86_400 * 1_000_000
_LONG: Final = 14
"""Words from which on two patterns above the usual similarity may differ in more than one."""


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
    """Plan and, unless it is a dry run, do it, all in one transaction; see :meth:`Patterns.prune`.

    The plan is made from a view of its own, since comparing takes a while. What changed in the meantime so that the
    plan is not true of it any more is left as it is.
    """
    limits = (max_upper, unused_days, min_effectiveness)
    with catalog.read("planning what to prune") as reader:
        remove, rows = _ineffective_ones(reader, limits)
        old = [] if archive_days is None else old_sessions(reader, timedelta(days=archive_days), archive_max_quality)
        expired = len(_expired(reader))
    merge = tuple(_near(rows, similarity))
    if dry_run:
        return Plan(remove=remove, merge=merge, archive=tuple(old), expired=expired, dry_run=True)
    with catalog.write("pruning patterns") as writer:
        gone = _expired(writer)
        erase(writer, gone, remember=True)
        remove = tuple(entry for entry in remove if _still_ineffective(writer, entry.id, limits))
        merge = tuple(pair for pair in merge if _number(writer, pair.id) and _number(writer, pair.into))
        if not (remove or merge or old):
            return Plan(expired=len(gone))
        at = now_micros()
        ((run,),) = writer.db.execute(
            "INSERT INTO pattern_prune (at, plan) VALUES (?, ?) RETURNING seq", (at, json.dumps({"archived": old}))
        ).fetchall()
        for entry in remove:
            writer.db.execute("UPDATE pattern SET state = ?, prune = ? WHERE id = ?", (REMOVED, run, entry.id))
        changed = {number for pair in merge for number in _merge(writer, pair, run)}
        refresh(writer, sorted(changed))
        for id in old:
            found = writer.db.execute("SELECT seq FROM session WHERE id = ? AND archived_at IS NULL", (id,)).fetchall()
            for (number,) in found:
                pack(writer, catalog.codec, number, id)
    return Plan(
        remove=remove,
        merge=merge,
        archive=tuple(old),
        expired=len(gone),
        id=f"prune-{run}",
        undo_until=from_micros(at + UNDO_DAYS * _DAY),
    )


def _number(reader: Reader, id: str) -> int | None:
    """Return the number of a pattern in use, or None."""
    for (number,) in reader.db.execute("SELECT seq FROM pattern WHERE id = ? AND state = 0", (id,)):
        return int(number)
    return None


def _ineffective_ones(
    reader: Reader, limits: tuple[float, float, float]
) -> tuple[tuple[Removal, ...], list[tuple[Any, ...]]]:
    """Return what is ineffective, and the rows of all others."""
    now = now_micros()
    remove: list[Removal] = []
    kept: list[tuple[Any, ...]] = []
    for row in reader.db.execute(
        "SELECT seq, id, type, steps, uses, successes, last_used FROM pattern WHERE state = 0 ORDER BY seq"
    ):
        reason = _ineffective(row[4], row[5], row[6], now, limits)
        if reason:
            remove.append(Removal(id=row[1], reason=reason))
        else:
            kept.append(row)
    return tuple(remove), kept


def _still_ineffective(writer: Writer, id: str, limits: tuple[float, float, float]) -> bool:
    sql = "SELECT uses, successes, last_used FROM pattern WHERE id = ? AND state = 0"
    rows = writer.db.execute(sql, (id,)).fetchall()
    return any(_ineffective(row[0], row[1], row[2], now_micros(), limits) for row in rows)


def _ineffective(uses: int, successes: int, last_used: int, now: int, limits: tuple[float, float, float]) -> str | None:
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
    from lamina.search.tokens import tokens

    words = [[tokens(step) for step in json.loads(row[3])] for row in rows]
    pairs: dict[tuple[int, int], None] = {}
    for places in _groups(rows, words):
        keep = min(places, key=lambda place: (-rows[place][4], place))
        pairs.update(((keep, place), None) for place in places if place != keep)
    alike = [(value, keep, drop) for keep, drop in pairs if (value := _likeness(words[keep], words[drop])) > similarity]
    gone: set[int] = set()
    into: set[int] = set()
    for value, keep, drop in sorted(alike, key=lambda entry: (-entry[0], entry[1], entry[2])):
        if keep in gone or drop in gone or drop in into:
            continue
        gone.add(drop)
        into.add(keep)
        yield Merge(id=rows[drop][1], into=rows[keep][1], similarity=value)


def _groups(rows: Sequence[tuple[Any, ...]], words: Sequence[Sequence[Sequence[str]]]) -> Iterable[list[int]]:
    """Yield groups of patterns, of one type and as many steps, that may be near-duplicates."""
    from lamina.search.duplicates import bands

    groups: dict[tuple[Any, ...], list[int]] = {}
    long: list[int] = []
    for place, steps in enumerate(words):
        flat = sorted(word for step in steps for word in step)
        head = (rows[place][2], len(steps))
        keys = {hash((*head, *flat[:cut], "", *flat[cut + 1 :])) for cut in range(len(flat))}
        for key in {*keys, hash((*head, *flat))}:
            groups.setdefault((key,), []).append(place)
        if len(flat) >= _LONG:
            long.append(place)
    marks = bands([[word for step in words[place] for word in step] for place in long])
    for place, found in zip(long, marks, strict=True):
        for band in set(found):
            groups.setdefault((rows[place][2], len(words[place]), band), []).append(place)
    yield from (places for places in groups.values() if len(places) > 1)


def _likeness(one: Sequence[Sequence[str]], other: Sequence[Sequence[str]]) -> float:
    """Return how alike the steps of two patterns are, in the mean of their pairs; 0..1."""
    from difflib import SequenceMatcher

    pairs = zip(one, other, strict=True)
    return sum(1.0 if a == b else SequenceMatcher(None, a, b, autojunk=False).ratio() for a, b in pairs) / len(one)


def _merge(writer: Writer, pair: Merge, run: int) -> tuple[int, int]:
    """Move a pattern's uses to another, each keeping the name of the one it was recorded for; return both numbers."""
    number, into = _number(writer, pair.id), _number(writer, pair.into)
    assert number is not None
    assert into is not None
    writer.db.execute(
        "UPDATE pattern_use SET pattern = ?2, moved_from = coalesce(moved_from, ?1) WHERE pattern = ?1", (number, into)
    )
    writer.db.execute(
        "UPDATE pattern SET state = ?, merged_into = ?, prune = ? WHERE seq = ?", (MERGED, into, run, number)
    )
    return number, into


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
