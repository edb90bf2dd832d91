"""Repairing states from the catalog and the packs alone: what is intact is kept, and what is not is listed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lamina.errors import LaminaError
from lamina.states.check import PARTLY_LOST, Findings, examine, standing
from lamina.states.collect import move_objects
from lamina.states.context import StatesContext
from lamina.states.losses import AFTER_LOSS, LossCounter
from lamina.states.rows import ABOVE, BRANCH, find_state, line_of, remove_versions
from lamina.storage.objects import find_objects
from lamina.storage.packs import StoredPack, read_pack
from lamina.types import Problem

__all__ = ["Mended", "mend"]


@dataclass(frozen=True, slots=True)
class Mended:
    """What came of a repair of all states."""

    lost: list[Problem] = field(default_factory=list)
    rewritten: int = 0
    """Packs whose header or directory was damaged, and whose objects were written anew."""


def mend(context: StatesContext) -> Mended:
    """Repair all states.

    Objects whose rows are lost are found again in the packs. A version whose manifest cannot be read goes; one that is
    partly damaged stays, is marked, and can be opened by its id; a branch moves back to its newest whole version. A
    state of which no version is left goes with its names, so that it can be committed again.
    """
    with context.catalog.read("looking for states") as reader:
        tables = ("state_version", "state", "state_ref")  # names may be left where all versions are lost
        there = any(reader.db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall() for table in tables)
    if not there and not context.home.names():
        return Mended()
    _find_packs(context)
    findings = examine(context, "full")
    rewritten = _rewrite_broken(context, findings)
    damaged = findings.damaged()
    counter = LossCounter(context, findings.bad, findings.gone)
    news = [seq for seq in damaged if seq not in findings.noted | findings.let_go]
    counts = {seq: counter.describe(findings.manifests[seq]) or "part of it" for seq in news}
    # Told again: a repair after which something is lost is none that ends well.
    lost = [problem for problem in standing(context, findings) if problem.code == PARTLY_LOST]
    with context.catalog.write("repairing states") as writer:
        db = writer.db
        for seq, reason in findings.unreadable.items():
            id = db.execute("SELECT id FROM state_version WHERE seq = ?", (seq,)).fetchall()[0][0]
            lost.append(Problem(code="version-lost", where=f"version {id.hex()[:12]}", message=reason))
        for seq, unreadable in counts.items():
            head = findings.manifests[seq].head
            where = f"version {findings.manifests[seq].id().hex()[:12]} of state {head.name!r}"
            message = f"{unreadable} cannot be read; all else can"
            lost.append(Problem(code="array-damaged", where=where, message=message, hint=AFTER_LOSS))
        db.executemany("UPDATE state_version SET damaged = 1 WHERE seq = ?", [(seq,) for seq in damaged])
        db.execute("UPDATE object SET damaged = 0 WHERE damaged <> 0")
        db.executemany("UPDATE object SET damaged = 1 WHERE address = ?", [(address,) for address in findings.bad])
        _whole_again(db, findings, set(damaged))
        lost += _emptied(db, findings)
        lost += _names(db, findings, set(damaged))
        remove_versions(db, set(findings.unreadable))
    return Mended(lost, rewritten)


def _whole_again(db: Any, findings: Findings, damaged: set[int]) -> None:
    """Take the mark from versions whose damage is gone, as after a pack was copied back."""
    for (seq,) in db.execute("SELECT seq FROM state_version WHERE damaged = 1").fetchall():
        if seq not in damaged and seq in findings.manifests:
            db.execute("UPDATE state_version SET damaged = 0 WHERE seq = ?", (seq,))


def _emptied(db: Any, findings: Findings) -> list[Problem]:
    """Remove states of which no version is left, and names that lead nowhere with them."""
    lost = []
    rows = db.execute("SELECT seq, state FROM state_version").fetchall()
    held = {state for seq, state in rows if seq not in findings.unreadable}
    for state, name in db.execute("SELECT id, name FROM state ORDER BY id").fetchall():
        if state in held:
            continue
        db.execute("DELETE FROM state WHERE id = ?", (state,))
        if "\0" not in name:  # what was deleted is no loss
            message = f"no version of state {name!r} is left; its name is free again"
            hint = "Take it from a backup, or commit it again."
            lost.append(Problem(code="state-lost", where=f"state {name}", message=message, hint=hint))
    for (state,) in db.execute("SELECT DISTINCT state FROM state_ref").fetchall():
        if state not in held:
            db.execute("DELETE FROM state_ref WHERE state = ?", (state,))
    # A number may be given again once its row is lost, and then lead to what was never followed.
    sql = "DELETE FROM state_ref WHERE kind = ? AND version NOT IN (SELECT seq FROM state_version)"
    db.execute(sql, (ABOVE,))
    return lost


def _names(db: Any, findings: Findings, damaged: set[int]) -> list[Problem]:
    """Let branches name whole versions again, and forget names of versions that are not there."""
    lost = []
    known = {row[0] for row in db.execute("SELECT id FROM state")}
    for (state,) in db.execute("SELECT DISTINCT state FROM state_version").fetchall():
        if state not in known:
            rows = db.execute("SELECT seq FROM state_version WHERE state = ? AND gone = 0", (state,)).fetchall()
            names = {findings.manifests[seq].head.name for (seq,) in rows if seq in findings.manifests}
            name = names.pop() if len(names) == 1 else ""
            if not name or find_state(db, name) is not None:
                name = f"recovered-{state}"
            db.execute("INSERT INTO state (id, name, created_at) VALUES (?, ?, 0)", (state, name))
    sql = "SELECT state, kind, name, version FROM state_ref WHERE kind < ? AND version IS NOT NULL"
    for state, kind, name, version in db.execute(sql, (ABOVE,)).fetchall():
        alive = db.execute("SELECT 1 FROM state_version WHERE seq = ? AND gone = 0", (version,)).fetchall()
        there = bool(alive) and version in findings.manifests
        if there and (kind != BRANCH or version not in damaged):
            continue
        better = _newest_whole(db, findings, state, version if there else None, damaged) if kind == BRANCH else None
        if better is None and there:
            continue  # nothing better: the damaged version stays the newest
        db.execute(
            "UPDATE state_ref SET version = ? WHERE state = ? AND kind = ? AND name = ?", (better, state, kind, name)
        )
        what = "branch" if kind == BRANCH else "tag"
        now = f"is now at {findings.manifests[better].id().hex()[:12]}" if better else "names nothing any more"
        where = f"state {_name(db, state)}"
        lost.append(Problem(code="ref-moved", where=where, message=f"{what} {name!r} {now}"))
    db.execute("DELETE FROM state_ref WHERE kind = ? AND version IS NULL", (BRANCH,))
    return lost


def _newest_whole(db: Any, findings: Findings, state: int, version: int | None, damaged: set[int]) -> int | None:
    """Return the newest whole version that a damaged one follows, else the newest whole one of the state."""
    try:
        for seq, _, _ in line_of(db, state, version) if version is not None else ():
            if seq in findings.manifests and seq not in damaged:
                return seq
    except LaminaError:  # what leads there cannot be read
        pass
    sql = "SELECT seq FROM state_version WHERE state = ? AND gone = 0 ORDER BY seq DESC"
    for (seq,) in db.execute(sql, (state,)):
        if seq in findings.manifests and seq not in damaged:
            return int(seq)
    return None


def _name(db: Any, state: int) -> str:
    found = db.execute("SELECT name FROM state WHERE id = ?", (state,)).fetchall()
    return str(found[0][0]) if found else f"number {state}"


def _rewrite_broken(context: StatesContext, findings: Findings) -> int:
    """Write what can be read of a pack anew where its own header or directory is damaged: nothing else mends those.

    A pack all of which is written anew has the name that it had, and takes its place; what is left of another one goes
    with the next collection, when nothing needs it. Returns how many packs there were.
    """
    count = 0
    with context.catalog.read("looking at packs") as reader:
        packs = reader.db.execute("SELECT id, name FROM pack ORDER BY id").fetchall()
    for id, name in packs:
        try:
            read_pack(context.home, name)
            continue
        except LaminaError:
            if context.home.size(name) is None:
                continue
        with context.catalog.read("looking at a pack") as reader:
            held = reader.db.execute("SELECT address FROM object WHERE pack = ? ORDER BY start", (id,)).fetchall()
            found = find_objects(reader.db, [row[0] for row in held if row[0] not in findings.bad])
        readable = []
        for stored in found.values():
            try:  # those that no version needs were not looked at
                context.objects.as_stored(stored)
                readable.append(stored)
            except LaminaError:
                continue
        if readable:
            move_objects(context, readable, context.objects.as_stored)
            count += 1
    return count


def _find_packs(context: StatesContext) -> None:
    """Let the catalog know every object of every whole pack that it does not know."""
    packs: list[StoredPack] = []
    for name in context.home.names():
        try:
            packs.append(read_pack(context.home, name))
        except LaminaError:
            continue  # a pack without a readable directory helps nobody; what the catalog knows of it is judged later
    with context.catalog.write("finding packs again") as writer:
        db = writer.db
        for pack in packs:
            sql = (
                "INSERT INTO pack (name, size, synced) VALUES (?, ?, 1) "
                "ON CONFLICT (name) DO UPDATE SET size = excluded.size RETURNING id"
            )
            id = db.execute(sql, (pack.name, pack.size)).fetchall()[0][0]
            for place in pack.places:
                table = place.table
                db.execute(
                    "INSERT INTO object (address, kind, length, stored, pack, start, record, record_size) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (address) DO NOTHING",
                    (place.address, int(table.kind), table.length, table.stored, id, place.offset, place.record,
                     place.record_size),
                )  # fmt: skip
        # A row that points into a pack which is not there gives way to a copy that is.
        whole = {pack.name for pack in packs}
        held = {place.address: (pack.name, place) for pack in packs for place in pack.places}
        sql = "SELECT o.id, o.address, p.name FROM object o LEFT JOIN pack p ON p.id = o.pack WHERE o.pack <> 0"
        for number, address, lost_in in db.execute(sql).fetchall():
            if lost_in not in whole and address in held:
                name, place = held[address]
                id = db.execute("SELECT id FROM pack WHERE name = ?", (name,)).fetchall()[0][0]
                db.execute(
                    "UPDATE object SET pack = ?, start = ?, record = ?, record_size = ?, stored = ? WHERE id = ?",
                    (id, place.offset, place.record, place.record_size, place.table.stored, number),
                )
