"""Tiers: hot is decoded in memory, warm lies raw in packs, cold is compressed.

Policy of :func:`move_tiers`, which ``store.optimize()`` runs:

- a compressed shard of a branch's newest version that was read at least 8 times since the last run becomes warm;
- a raw shard that was not read since the last run, and that only older versions need, becomes cold where compression
  saves at least 5 %;
- read counts are halved at each run, so what was popular once does not stay warm for ever.

An object's address is that of its plain bytes, so a move changes where and how it is stored and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lamina.errors import LaminaError
from lamina.states.collect import collect, move_objects
from lamina.states.context import StatesContext
from lamina.states.draft import flush_reads
from lamina.states.rows import BRANCH, walk_manifests
from lamina.storage.frames import COLD_GAIN, Coding, choose
from lamina.storage.objects import Stored, find_objects
from lamina.storage.shards import Encoded, FrameTable, ObjectKind, encode_object

__all__ = ["move_tiers", "tier_stats"]

WARM_READS = 8
_META = "tier_moves"
_AT_ONCE = 64 << 20
"""Bytes that are encoded before they are written."""


def tier_stats(context: StatesContext) -> dict[str, Any]:
    """Return counts and sizes of states, and bytes, hits and moves of each tier."""
    with context.catalog.read("counting states") as reader:
        db = reader.db
        states, versions, damaged = db.execute(
            "SELECT (SELECT count(*) FROM state WHERE instr(name, char(0)) = 0), "
            "count(*), coalesce(sum(damaged), 0) FROM state_version WHERE gone = 0"
        ).fetchall()[0]
        objects, stored, plain = db.execute(
            "SELECT count(*), coalesce(sum(stored), 0), coalesce(sum(length), 0) FROM object"
        ).fetchall()[0]
        warm = db.execute("SELECT coalesce(sum(stored), 0) FROM object WHERE stored = length").fetchall()[0][0]
        packs, pack_bytes = db.execute("SELECT count(*), coalesce(sum(size), 0) FROM pack").fetchall()[0]
        moves = reader.meta(_META) or "0 0"
    to_warm, to_cold = (int(part) for part in moves.split())
    hot_frames, hot_bytes, hits = 0, 0, {"hot": 0, "warm": 0, "cold": 0}
    if context.used:
        hot_frames, hot_bytes = context.objects.hot()
        counters = context.objects.counters
        hits = {"hot": counters["hot_hits"], "warm": counters["warm_reads"], "cold": counters["cold_reads"]}
    return {
        "states": states,
        "versions": versions,
        "damaged_versions": damaged,
        "objects": objects,
        "plain_bytes": plain,
        "packs": packs,
        "pack_bytes": pack_bytes,
        "tiers": {
            "hot": {"bytes": hot_bytes, "frames": hot_frames, "hits": hits["hot"]},
            "warm": {"bytes": warm, "hits": hits["warm"], "moved_in": to_warm},
            "cold": {"bytes": stored - warm, "hits": hits["cold"], "moved_in": to_cold},
        },
    }


def move_tiers(context: StatesContext) -> dict[str, Any]:
    """Move shards by the policy above; returns how many went to each tier, and the bytes before and after."""
    with context.catalog.read("looking at tiers") as reader:
        if not reader.db.execute("SELECT 1 FROM object LIMIT 1").fetchall():
            return {"to_warm": 0, "to_cold": 0, "bytes_saved": 0}
    if context.used:
        with context.catalog.write("counting reads") as writer:
            flush_reads(writer.db, context.objects.take_reads())
    with context.catalog.read("looking at tiers") as reader:
        warm, cold = _chosen(reader.db)
    before = sum(one.stored for one in (*warm, *cold))
    moved_warm = _move(context, warm, raw=True)
    moved_cold = _move(context, cold, raw=False)
    with context.catalog.read("looking at tiers") as reader:
        after = sum(one.stored for one in find_objects(reader.db, [one.address for one in (*warm, *cold)]).values())
    with context.catalog.write("noting moves") as writer:
        to_warm, to_cold = (int(part) for part in (writer.meta(_META) or "0 0").split())
        writer.set_meta(_META, f"{to_warm + moved_warm} {to_cold + moved_cold}")
        writer.db.execute("UPDATE object SET reads = reads / 2 WHERE reads > 0")
    if moved_warm or moved_cold:
        collect(context, dry_run=False)  # what was moved left dead bytes behind
    return {"to_warm": moved_warm, "to_cold": moved_cold, "bytes_saved": before - after}


def _chosen(db: Any) -> tuple[list[Stored], list[Stored]]:
    """Return what is to become warm, and what may become cold."""
    heads = {row[0] for row in db.execute("SELECT version FROM state_ref WHERE kind = ?", (BRANCH,))}
    newest: set[bytes] = set()
    older: set[bytes] = set()
    for seq, _, _, manifest in walk_manifests(db):
        (newest if seq in heads else older).update(manifest.addresses())
    reads = dict(db.execute("SELECT address, reads FROM object WHERE pack <> 0").fetchall())
    warm = [address for address in newest if reads.get(address, 0) >= WARM_READS]
    cold = [address for address in older - newest if reads.get(address) == 0]
    found = find_objects(db, [*warm, *cold])
    return (
        [found[one] for one in warm if one in found and found[one].stored < found[one].length],
        [found[one] for one in cold if one in found and found[one].stored == found[one].length],
    )


def _move(context: StatesContext, objects: list[Stored], *, raw: bool) -> int:
    """Store objects anew, raw or compressed, those where that pays; return how many."""
    count = size = 0
    group: dict[bytes, tuple[Stored, Encoded]] = {}
    for one, encoded in _encoded(context, objects, raw=raw):
        group[one.address] = (one, encoded)
        size += encoded.table.stored
        count += 1
        if size > _AT_ONCE:
            _write(context, group)
            group, size = {}, 0
    if group:
        _write(context, group)
    return count


def _write(context: StatesContext, group: dict[bytes, tuple[Stored, Encoded]]) -> None:
    move_objects(context, [one for one, _ in group.values()], lambda stored: group[stored.address][1])


def _encoded(context: StatesContext, objects: list[Stored], *, raw: bool) -> Iterator[tuple[Stored, Encoded]]:
    for one in objects:
        try:
            table, content = context.objects.table(one), context.objects.whole(one)
        except LaminaError:
            continue  # damage is for verify to name
        plain = FrameTable(table.kind, table.width, table.frame_bytes, table.length, table.hashes)
        if raw:
            yield one, Encoded(one.address, plain, [content.data])
            continue
        coding, _ = choose(content, table.width, table.frame_bytes, gain=COLD_GAIN)
        if coding is Coding.RAW or (table.kind is not ObjectKind.CONTENT and content.size < 4096):
            continue
        encoded = encode_object(content, plain, coding=coding, gain=COLD_GAIN)
        if encoded.table.codings:
            yield one, encoded
