"""Counts and sizes of a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.config import ENGINE_FOLDER
from lamina.memories.context import Context
from lamina.storage.reader import Reader
from lamina.storage.records import from_micros
from lamina.types import MEMORY_TYPES

__all__ = ["bytes_on_disk", "store_stats"]


def store_stats(folder: Path, context: Context) -> dict[str, Any]:
    """Return counts and sizes as JSON values.

    A handle that was narrowed to some scopes counts nothing of the others; the bytes of the files, which hold all of
    them, are None then.
    """
    with context.catalog.read("counting") as reader:
        filter = context.condition(reader, expired=True)
        condition = filter.sql()
        scopes: dict[str, int] = {}
        types: dict[str, int] = {}
        for scope, kind, count in reader.db.execute(
            f"SELECT m.scope, m.type, count(*) FROM memory m WHERE {condition.text} GROUP BY m.scope, m.type",
            condition.bindings,
        ):
            name = reader.name(scope) or "?"
            scopes[name] = scopes.get(name, 0) + count
            known = (
                MEMORY_TYPES[kind] if isinstance(kind, int) and 0 <= kind < len(MEMORY_TYPES) else "?"
            )  # a damaged row; verify names it
            types[known] = types.get(known, 0) + count
        counts = _counts(reader, filter.scopes)
        files = reader.db.execute(
            f"SELECT count(*) FROM memory m WHERE m.path IS NOT NULL AND {condition.text}", condition.bindings
        ).fetchall()[0][0]
        dictionary = reader.newest_dictionary()
        patterns = _pattern_counts(reader) if context.scopes is None else {}
    return {
        "location": str(folder),
        "format": context.catalog.format,
        "profile": context.settings.profile,
        "durability": context.settings.durability,
        "memories": sum(scopes.values()),
        "files": files,
        "by_scope": dict(sorted(scopes.items())),
        "by_type": dict(sorted(types.items())),
        "history": counts.history,
        **patterns,
        "passages": counts.passages,
        "vectors": counts.vectors,
        "vectors_waiting": counts.waiting,
        "embedder": context.embedder.name if context.embedder else None,
        "embedder_recorded": context.recorded,
        "dimensions": context.dim,
        "text_bytes": counts.text_bytes,
        "compression_dictionary": bool(dictionary),
        "last_write": from_micros(counts.last_write).isoformat() if counts.last_write else None,
        "bytes_on_disk": bytes_on_disk(folder) if context.scopes is None else None,
    }


def _pattern_counts(reader: Reader) -> dict[str, int]:
    """Count sessions and patterns, which belong to no scope."""
    ((sessions, events),) = reader.db.execute(
        "SELECT count(*), coalesce(sum(turns + calls), 0) FROM session"
    ).fetchall()
    ((patterns, uses),) = reader.db.execute(
        "SELECT count(*), coalesce(sum(uses), 0) FROM pattern WHERE state = 0"
    ).fetchall()
    return {"sessions": sessions, "events": events, "patterns": patterns, "pattern_uses": uses}


@dataclass(frozen=True, slots=True)
class _Counts:
    history: int
    text_bytes: int
    last_write: int
    passages: int
    vectors: int
    waiting: int


def _counts(reader: Reader, scopes: tuple[int, ...] | None) -> _Counts:
    """Count revisions and passages, of all scopes or of some."""
    bindings = scopes or ()
    seen = "1" if scopes is None else f"m.scope IN ({', '.join('?' * len(bindings))})"
    joined = "" if scopes is None else f"JOIN memory m ON m.seq = p.memory WHERE {seen}"
    history, stored, newest = reader.db.execute(
        "SELECT coalesce(sum(m.valid_to <> 0), 0), coalesce(sum(length(m.body)), 0), coalesce(max(m.valid_from), 0) "
        f"FROM memory m WHERE {seen}",
        bindings,
    ).fetchall()[0]
    passages, vectors, waiting = reader.db.execute(
        f"SELECT count(*), count(p.codes), coalesce(sum(p.codes IS NULL AND p.given = 0), 0) FROM passage p {joined}",
        bindings,
    ).fetchall()[0]
    return _Counts(history, stored, newest, passages, vectors, waiting)


def bytes_on_disk(folder: Path) -> dict[str, int]:
    """Return the bytes of a store's files: ``catalog``, ``log``, ``search``, ``packs``, ``other``, ``total``."""
    sizes = {"catalog": 0, "log": 0, "search": 0, "packs": 0, "other": 0}
    engine = folder / ENGINE_FOLDER
    for file in engine.rglob("*"):
        try:
            if not file.is_file():
                continue
            size = file.stat().st_size
        except OSError:
            continue
        if file.parent == engine and file.name.startswith("catalog.db"):
            sizes["catalog" if file.name == "catalog.db" else "log"] += size
        elif "search" in file.relative_to(engine).parts[:1]:
            sizes["search"] += size
        elif "packs" in file.relative_to(engine).parts[:1]:
            sizes["packs"] += size
        else:
            sizes["other"] += size
    return {**sizes, "total": sum(sizes.values())}
