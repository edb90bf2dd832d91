"""Versions, names and states in the catalog's tables; every function belongs to its caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from lamina.errors import CorruptionError, InvalidInputError, NotFoundError, there_are
from lamina.states.manifest import Head, Manifest, pack_body, unpack_body
from lamina.states.times import moment_in
from lamina.states.types import Version
from lamina.storage.records import from_micros, to_micros
from lamina.storage.shards import wrong_bytes

__all__ = [
    "ABOVE",
    "BRANCH",
    "DOOMED",
    "TAG",
    "find_state",
    "find_version",
    "head_id",
    "head_of",
    "insert_version",
    "labels_of",
    "line_of",
    "load_manifest",
    "named",
    "names_of",
    "remove_versions",
    "set_ref",
    "state_named",
    "version_of",
    "walk_manifests",
]

BRANCH, TAG, ABOVE = 1, 2, 3
"""Kinds of names. ABOVE is none that a caller gives: the id of a version whose parent was removed names the nearest one
that it follows and that is left, so that its line goes on although the manifest names a parent that is not there. So
what a caller calls something is looked up by :func:`named` and :func:`labels_of`, which pass over those."""
DOOMED = 2
"""State of a version (``gone``) that a collection is about to remove: nobody may begin to read it."""
_MOST_DEPTH = 16
"""Stored differences in a row; reading a manifest reads as many rows."""
_SHORTEST_PREFIX = 6


def find_state(db: Any, name: str) -> int | None:
    """Return the number of a state, or None."""
    found = db.execute("SELECT id FROM state WHERE name = ?", (name,)).fetchall()
    return found[0][0] if found else None


def state_named(db: Any, name: str) -> int:
    """Return the number of a state.

    Raises:
        NotFoundError: There is none of that name.
    """
    number = find_state(db, name)
    if number is None:
        there = [row[0] for row in db.execute("SELECT name FROM state WHERE instr(name, char(0)) = 0 ORDER BY name")]
        raise NotFoundError(
            f"There is no state {name!r}.", hint=there_are(name, there) or "Commit one first.", name=name
        )
    return number


def head_of(db: Any, state: int, branch: str) -> int | None:
    """Return the number of a branch's newest version, or None where there is no such branch."""
    sql = "SELECT version FROM state_ref WHERE state = ? AND kind = ? AND name = ?"
    found = db.execute(sql, (state, BRANCH, branch)).fetchall()
    return found[0][0] if found else None


def head_id(db: Any, seq: int, name: str, branch: str) -> bytes:
    """Return the id of a branch's newest version, whose number is known.

    Raises:
        CorruptionError: There is no such version.
    """
    found = db.execute("SELECT id FROM state_version WHERE seq = ?", (seq,)).fetchall()
    if not found:
        raise _dangling(name, branch, seq)
    return bytes(found[0][0])


def named(db: Any, state: int, label: str) -> tuple[int, int | None] | None:
    """Return kind and version number of the branch or tag of a name; a tag that was removed has no number."""
    sql = "SELECT kind, version FROM state_ref WHERE state = ? AND name = ? AND kind < ? ORDER BY kind LIMIT 1"
    found = db.execute(sql, (state, label, ABOVE)).fetchall()
    return (found[0][0], found[0][1]) if found else None


def labels_of(db: Any, state: int) -> list[tuple[int, str, int]]:
    """Return kind, name and version number of each branch and tag, by name; without tags that were removed."""
    sql = "SELECT kind, name, version FROM state_ref WHERE state = ? AND kind < ? AND version IS NOT NULL ORDER BY name"
    found: list[tuple[int, str, int]] = db.execute(sql, (state, ABOVE)).fetchall()
    return found


def set_ref(db: Any, state: int, kind: int, name: str, version: int | None) -> None:
    """Let a branch or tag name a version."""
    db.execute(
        "INSERT INTO state_ref (state, kind, name, version) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (state, kind, name) DO UPDATE SET version = excluded.version",
        (state, kind, name, version),
    )


def names_of(db: Any, state: int) -> dict[int, tuple[list[str], list[str]]]:
    """Return the branches and tags of each version that has any."""
    found: dict[int, tuple[list[str], list[str]]] = {}
    for kind, name, version in labels_of(db, state):
        found.setdefault(version, ([], []))[kind - 1].append(name)
    return found


def find_version(db: Any, state: int, name: str, ref: Any) -> int:
    """Return the number of the version that a branch, a tag, an id (or its beginning) or a time names.

    A time is a datetime, which is UTC where it has no zone, or a text of ISO 8601 with one; to the second, it means the
    end of that second.

    Raises:
        NotFoundError: Nothing is called so, or nothing was committed by that time.
        InvalidInputError: It is none of these, or fits several versions.
        CorruptionError: A name leads to a version that is not there.
    """
    if isinstance(ref, Version):
        ref = ref.id
    if isinstance(ref, datetime):
        return _at_time(db, state, name, ref)
    if not isinstance(ref, str) or not ref:
        raise InvalidInputError(f"{ref!r} names no version.", hint="Use a branch, a tag, an id or a datetime.")
    label = named(db, state, ref)
    if label is not None and label[1] is not None:
        if not db.execute("SELECT 1 FROM state_version WHERE seq = ?", (label[1],)).fetchall():
            raise _dangling(name, ref, label[1])
        return label[1]
    lowered = ref.lower()
    if len(lowered) >= _SHORTEST_PREFIX and all(char in "0123456789abcdef" for char in lowered) and len(ref) <= 64:
        low = bytes.fromhex(lowered.ljust(64, "0"))
        high = bytes.fromhex(lowered.ljust(64, "f"))
        sql = "SELECT seq FROM state_version WHERE state = ? AND gone = 0 AND id BETWEEN ? AND ? LIMIT 2"
        found = db.execute(sql, (state, low, high)).fetchall()
        if len(found) == 1:
            return int(found[0][0])
        if found:
            raise InvalidInputError(f"Several versions of {name!r} begin with {ref}.", hint="Give more of the id.")
    moment = moment_in(ref)
    if moment is not None:
        if moment.tzinfo is None:
            raise InvalidInputError(
                f"The time {ref} has no zone.",
                hint=f"Write {ref if len(ref) > 10 else f'{ref}T00:00'}Z, or +02:00 for Z.",
            )
        return _at_time(db, state, name, moment)
    names = [label for _, label, _ in labels_of(db, state)[:9]]
    raise NotFoundError(
        f"State {name!r} has no version, branch or tag {ref!r}.",
        hint=f"Its names are: {', '.join(names) or '(none)'}; `lamina state log` lists its versions.",
        ref=ref,
    )


def _dangling(name: str, label: str, seq: int) -> CorruptionError:
    return CorruptionError(
        f"{label!r} of state {name!r} names version number {seq}, which is not there.",
        hint="Run `lamina repair`: a branch goes back to its newest whole version.",
        name=name,
        ref=label,
    )


def line_of(db: Any, state: int, seq: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield number, id and time of a version and of all that it follows, without those that were deleted."""
    current: int | None = seq
    while current is not None:
        sql = "SELECT id, created_at, gone, head FROM state_version WHERE seq = ?"
        found = db.execute(sql, (current,)).fetchall()
        if not found:
            return
        id, created, gone, packed = found[0]
        if not gone:
            yield current, id, created
        parent = Head.unpack(packed, f"version {id.hex()[:12]}").parent
        rows = db.execute("SELECT seq FROM state_version WHERE id = ?", (parent,)).fetchall() if parent else []
        if not rows and parent:
            sql = "SELECT version FROM state_ref WHERE state = ? AND kind = ? AND name = ?"
            rows = db.execute(sql, (state, ABOVE, id.hex())).fetchall()
        current = rows[0][0] if rows and rows[0][0] < current else None


def _at_time(db: Any, state: int, name: str, moment: datetime) -> int:
    """Return the newest version of the line that leads to ``main`` (or else of any) at a time."""
    micros = to_micros(moment)
    head = head_of(db, state, "main")
    if head is not None:
        head_id(db, head, name, "main")
        for seq, _, created in line_of(db, state, head):
            if created <= micros:
                return seq
    if head is None:
        sql = "SELECT max(seq) FROM state_version WHERE state = ? AND gone = 0 AND created_at <= ?"
        newest = db.execute(sql, (state, micros)).fetchall()[0][0]
        if newest is not None:
            return int(newest)
    raise NotFoundError(
        f"State {name!r} had no version by {from_micros(micros).isoformat()}.",
        hint="`lamina state log` lists its versions.",
    )


def version_of(db: Any, seq: int, names: dict[int, tuple[list[str], list[str]]], written: int | None = None) -> Version:
    """Return what is told of a version."""
    id, packed, damaged = db.execute("SELECT id, head, damaged FROM state_version WHERE seq = ?", (seq,)).fetchall()[0]
    head = Head.unpack(packed, f"version {id.hex()[:12]}")
    branches, tags = names.get(seq, ([], []))
    return Version(
        id=id.hex(),
        name=head.name,
        parent=head.parent.hex() if head.parent else None,
        created_at=from_micros(head.created_at),
        message=head.message,
        step=head.step,
        metadata=head.metadata or {},
        creator=head.creator,
        branches=tuple(branches),
        tags=tuple(tags),
        damaged=bool(damaged),
        written=written,
    )


def load_manifest(db: Any, seq: int, *, check: bool = True) -> Manifest:
    """Return a version's manifest.

    Args:
        db: A connection inside a transaction.
        seq: The version's number.
        check: Compare its hash with the version's id.

    Raises:
        CorruptionError: It is not what was committed, or what it is stored against is missing.
    """
    chain: list[tuple[bytes, bytes, bytes]] = []
    number: int | None = seq
    while number is not None:
        rows = db.execute("SELECT id, head, body, base FROM state_version WHERE seq = ?", (number,)).fetchall()
        if not rows:
            raise wrong_bytes(f"version number {seq}", f"version number {number}, which it needs, is missing")
        id, head, body, number = rows[0]
        chain.append((id, head, body))
        if len(chain) > 2 * _MOST_DEPTH:
            raise wrong_bytes(f"version {chain[0][0].hex()[:12]}", "its differences never end")
    manifest: Manifest | None = None
    for id, head, body in reversed(chain):
        where = f"version {id.hex()[:12]}"
        manifest = unpack_body(Head.unpack(head, where), body, manifest, where)
    assert manifest is not None
    if check and manifest.id() != chain[0][0]:
        raise wrong_bytes(f"version {chain[0][0].hex()[:12]}", "its manifest has another hash")
    return manifest


def walk_manifests(db: Any, after: int = 0) -> Iterator[tuple[int, bytes, bool, Manifest]]:
    """Yield number, id, whether it is gone, and manifest of each version, in order; none is checked."""
    known: dict[int, Manifest] = {}
    sql = "SELECT seq, id, gone, head, body, base FROM state_version WHERE seq > ? ORDER BY seq"
    for seq, id, gone, head, body, base in db.execute(sql, (after,)).fetchall():
        where = f"version {id.hex()[:12]}"
        below = None
        if base is not None:
            below = known.get(base) or load_manifest(db, base, check=False)
        manifest = unpack_body(Head.unpack(head, where), body, below, where)
        known[seq] = manifest
        if len(known) > 4 * _MOST_DEPTH:
            known.pop(next(iter(known)))
        yield seq, id, bool(gone), manifest


def remove_versions(db: Any, doomed: set[int]) -> None:
    """Remove versions; those that are stored as a difference to one of them are stored whole first."""
    marked = sorted(doomed)
    states = {row[0] for seq in marked for row in db.execute("SELECT state FROM state_version WHERE seq = ?", (seq,))}
    for state in sorted(states):
        _step_over(db, state, doomed)
    for seq in marked:
        rows = db.execute("SELECT seq FROM state_version WHERE base = ?", (seq,)).fetchall()
        for (other,) in rows:
            if other not in doomed:
                body, _ = pack_body(load_manifest(db, other, check=False), None)
                sql = "UPDATE state_version SET base = NULL, depth = 0, body = ? WHERE seq = ?"
                db.execute(sql, (body, other))
    db.executemany("DELETE FROM state_version WHERE seq = ?", [(seq,) for seq in marked])
    db.execute(
        "DELETE FROM state WHERE NOT EXISTS (SELECT 1 FROM state_version v WHERE v.state = state.id) "
        "AND NOT EXISTS (SELECT 1 FROM state_ref r WHERE r.state = state.id)"
    )


def _step_over(db: Any, state: int, doomed: set[int]) -> None:
    """Note for each version whose parent is about to be removed what it follows then."""
    rows = db.execute("SELECT seq, id, head FROM state_version WHERE state = ?", (state,)).fetchall()
    sql = "SELECT name, version FROM state_ref WHERE state = ? AND kind = ?"
    noted = dict(db.execute(sql, (state, ABOVE)).fetchall())
    number = {id: seq for seq, id, _ in rows}
    above: dict[int, int | None] = {}
    for seq, id, packed in rows:
        try:
            parent = Head.unpack(packed, "").parent
        except CorruptionError:  # it is about to be removed for that, or found so by the next verify
            parent = None
        above[seq] = number.get(parent, noted.get(id.hex())) if parent else None
    for seq, id, _ in rows:
        up = above[seq]
        while up is not None and up in doomed:
            up = above.get(up)
        if seq in doomed or (up is None and id.hex() in noted):
            sql = "DELETE FROM state_ref WHERE state = ? AND kind = ? AND name = ?"
            db.execute(sql, (state, ABOVE, id.hex()))
        elif up is not None and up != above[seq]:
            set_ref(db, state, ABOVE, id.hex(), up)


def insert_version(db: Any, state: int, manifest: Manifest, base: tuple[int, Manifest] | None) -> tuple[int, bytes]:
    """Store a version; return its number and id.

    Args:
        db: A connection inside a write transaction.
        state: Number of its state.
        manifest: What it is made of.
        base: Number and manifest of a version that it may be stored as a difference to.
    """
    depth = 0
    if base is not None:
        depth = db.execute("SELECT depth FROM state_version WHERE seq = ?", (base[0],)).fetchall()[0][0] + 1
        if depth > _MOST_DEPTH:
            base, depth = None, 0
    body, needs_base = pack_body(manifest, base[1] if base else None)
    id = manifest.id()
    row = (
        state,
        id,
        manifest.head.created_at,
        base[0] if base and needs_base else None,
        depth if needs_base else 0,
        manifest.head.pack(),
        body,
    )
    sql = (
        "INSERT INTO state_version (state, id, created_at, base, depth, head, body) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING seq"
    )
    return int(db.execute(sql, row).fetchall()[0][0]), id
