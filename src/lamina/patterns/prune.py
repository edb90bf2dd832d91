"""Pruning: remove what does not work, merge near-duplicates, archive old sessions; a plan first, undo for 30 days.

* A pattern is *ineffective* where the upper end of its success rate's interval is below 0.3, or where it was not used
  for 90 days and its effectiveness is below 0.5 (both can be set).
* Two patterns of a type are *near-duplicates* where they have as many steps, and these are alike by more than 0.85 in
  the mean: twice the words in common, in matching stretches, by the words of both (Ratcliff and Metzener 1988). A part
  of a longer sequence is no duplicate of it. The most used come first; each is merged into the one before it that is
  most like it, if there is one that is not merged itself: its uses move there, and recording it counts there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from lamina.errors import ConflictError, InvalidInputError, NotFoundError
from lamina.patterns.counts import DAY
from lamina.patterns.families import part
from lamina.patterns.likeness import Steps, duplicates
from lamina.patterns.reports import Merge, Plan, Removal
from lamina.patterns.rows import ACTIVE, MERGED, REMOVED, erase, refresh
from lamina.search.outcomes import effectiveness, wilson
from lamina.sessions.archive import old_sessions, pack, unpack
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.reader import Reader
from lamina.storage.records import from_micros, now_micros
from lamina.storage.writer import Writer

__all__ = ["UNDODAYS", "prune", "undo"]

UNDODAYS: Final = 30


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
        erase(writer, gone)
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
        undo_until=from_micros(at + UNDODAYS * DAY),
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
    age = (now - last_used) / DAY
    value = effectiveness(successes, uses, last_used, now)
    if age > unused_days and value < min_effectiveness:
        return f"not used for {age:.0f} days, effectiveness {value:.2f}"
    return None


def _near(rows: Sequence[tuple[Any, ...]], similarity: float) -> list[Merge]:
    """Return merges: each pattern into the one most like it, of those that are used more and not merged themselves."""
    from lamina.search.tokens import tokens

    blocks: dict[tuple[int, int], list[int]] = {}
    words: list[Steps] = []
    for place, row in enumerate(rows):
        words.append(tuple(tuple(tokens(step)) for step in json.loads(row[3])))
        blocks.setdefault((row[2], len(words[place])), []).append(place)
    merges = []
    for places in blocks.values():
        places.sort(key=lambda place: (-rows[place][4], place))
        for drop, keep, value in duplicates([words[place] for place in places], similarity):
            merges.append(Merge(id=rows[places[drop]][1], into=rows[places[keep]][1], similarity=value))
    return sorted(merges, key=lambda merge: (-merge.similarity, merge.id))


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
    limit = now_micros() - UNDODAYS * DAY
    rows = reader.db.execute(
        "SELECT p.seq FROM pattern p JOIN pattern_prune r ON r.seq = p.prune WHERE p.state = 1 AND r.at < ?", (limit,)
    )
    return [row[0] for row in rows]


def undo(catalog: SqliteCatalog, id: str | None) -> Plan:
    """Take a run of pruning back: patterns and uses are as if it had not been, and what came since stays.

    Raises:
        InvalidInputError: ``id`` is no string.
        NotFoundError: There is no such run, or none to undo.
        ConflictError: It is older than 30 days, or undone already.
    """
    if id is not None and not isinstance(id, str):
        raise InvalidInputError(
            f"The id of a pruning is a {type(id).__name__}, not a string.",
            hint="A pruning says its id when it is done.",
        )
    with catalog.write("undoing a pruning") as writer:
        run, at, undone, text = _run(writer, id)
        if undone is not None:
            raise ConflictError(f"prune-{run} is undone already.", hint="`lamina patterns prune` makes a new plan.")
        if now_micros() - at > UNDODAYS * DAY:
            raise ConflictError(
                f"prune-{run} was more than {UNDODAYS} days ago; it cannot be undone.", hint="Restore a backup."
            )
        db = writer.db
        removed = db.execute("SELECT seq, id FROM pattern WHERE prune = ? AND state = 1", (run,)).fetchall()
        merged = db.execute("SELECT seq, id, merged_into FROM pattern WHERE prune = ? AND state = 2", (run,)).fetchall()
        db.execute("UPDATE pattern SET state = ?, prune = NULL WHERE prune = ? AND state = 1", (ACTIVE, run))
        changed: set[int] = set()
        pairs = []
        for number, name, into in merged:
            changed |= part(writer, number)
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
