"""Repairing states from the catalog and the packs alone: what is intact is kept, and what is not is listed."""

from __future__ import annotations

from typing import Any

from lamina.errors import LaminaError
from lamina.states.check import Findings, examine
from lamina.states.context import StatesContext
from lamina.states.manifest import Head
from lamina.states.rows import BRANCH, remove_versions
from lamina.storage.packs import StoredPack, read_pack
from lamina.types import Problem

__all__ = ["mend"]


def mend(context: StatesContext) -> list[Problem]:
    """Repair all states, and return what was lost.

    Objects whose rows are lost are found again in the packs. A version whose manifest cannot be read goes; one that is
    partly damaged stays, is marked, and can be opened by its id; a branch moves back to its newest whole version.
    """
    with context.catalog.read("looking for states") as reader:
        if not reader.db.execute("SELECT 1 FROM state_version LIMIT 1").fetchall() and not context.home.names():
            return []
    _find_packs(context)
    findings = examine(context, "full")
    lost = []
    with context.catalog.write("repairing states") as writer:
        db = writer.db
        for seq, reason in findings.unreadable.items():
            id = db.execute("SELECT id FROM state_version WHERE seq = ?", (seq,)).fetchall()[0][0]
            lost.append(Problem(code="version-lost", where=f"version {id.hex()[:12]}", message=reason))
        damaged = findings.damaged()
        for seq, affected in damaged.items():
            manifest = findings.manifests[seq]
            where = f"version {manifest.id().hex()[:12]}"
            message = f"part of {', '.join(affected)} of state {manifest.head.name!r} cannot be read in {where}"
            fresh = db.execute("SELECT damaged FROM state_version WHERE seq = ?", (seq,)).fetchall() == [(0,)]
            if fresh:
                lost.append(Problem(code="array-damaged", where=where, message=message))
            db.execute("UPDATE state_version SET damaged = 1 WHERE seq = ?", (seq,))
        db.execute("UPDATE object SET damaged = 0 WHERE damaged <> 0")
        db.executemany("UPDATE object SET damaged = 1 WHERE address = ?", [(address,) for address in findings.bad])
        _whole_again(db, findings, damaged)
        lost += _names(db, findings, set(damaged))
        remove_versions(db, set(findings.unreadable))
    return lost


def _whole_again(db: Any, findings: Findings, damaged: dict[int, list[str]]) -> None:
    """Take the mark from versions whose damage is gone, as after a pack was copied back."""
    for (seq,) in db.execute("SELECT seq FROM state_version WHERE damaged = 1").fetchall():
        if seq not in damaged and seq in findings.manifests:
            db.execute("UPDATE state_version SET damaged = 0 WHERE seq = ?", (seq,))


def _names(db: Any, findings: Findings, damaged: set[int]) -> list[Problem]:
    """Let branches name whole versions again, and forget names of versions that are not there."""
    lost = []
    known = {row[0] for row in db.execute("SELECT id FROM state")}
    for (state,) in db.execute("SELECT DISTINCT state FROM state_version").fetchall():
        if state not in known:
            names = [one.head.name for one in findings.manifests.values()]
            name = names[0] if names and len(set(names)) == 1 else f"recovered-{state}"
            db.execute("INSERT INTO state (id, name, created_at) VALUES (?, ?, 0)", (state, name))
    sql = "SELECT state, kind, name, version FROM state_ref WHERE kind < 3 AND version IS NOT NULL"
    for state, kind, name, version in db.execute(sql).fetchall():
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
        lost.append(Problem(code="ref-moved", where=where, message=f"{what} {name!r} of {where} {now}"))
    db.execute("DELETE FROM state_ref WHERE kind = ? AND version IS NULL", (BRANCH,))
    return lost


def _newest_whole(db: Any, findings: Findings, state: int, version: int | None, damaged: set[int]) -> int | None:
    """Return the newest whole version that a damaged one follows, else the newest whole one of the state."""
    by_id = {one.id(): seq for seq, one in findings.manifests.items()}
    current = version
    while current is not None:
        if current not in damaged:
            return current
        head: Head = findings.manifests[current].head
        current = by_id.get(head.parent) if head.parent else None
    sql = "SELECT seq FROM state_version WHERE state = ? AND gone = 0 ORDER BY seq DESC"
    for (seq,) in db.execute(sql, (state,)):
        if seq in findings.manifests and seq not in damaged:
            return int(seq)
    return None


def _name(db: Any, state: int) -> str:
    found = db.execute("SELECT name FROM state WHERE id = ?", (state,)).fetchall()
    return str(found[0][0]) if found else f"number {state}"


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
