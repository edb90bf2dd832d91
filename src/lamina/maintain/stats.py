"""Counts and sizes of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamina.config import ENGINE_FOLDER
from lamina.memories.context import Context
from lamina.storage.records import from_micros
from lamina.types import MEMORY_TYPES

__all__ = ["bytes_on_disk", "store_stats"]


def store_stats(folder: Path, context: Context) -> dict[str, Any]:
    """Return counts and sizes as JSON values; scopes that the handle may not see are not among them."""
    with context.catalog.read("counting") as reader:
        condition = context.condition(reader, expired=True).sql()
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
        passages, vectors = reader.db.execute("SELECT count(*), count(codes) FROM passage").fetchall()[0]
        stored, newest = reader.db.execute("SELECT sum(length(body)), max(valid_from) FROM memory").fetchall()[0]
        history = int(reader.db.execute("SELECT count(*) FROM memory WHERE valid_to <> 0").fetchall()[0][0])
        waiting = reader.count_waiting()
        dictionary = reader.newest_dictionary()
    return {
        "location": str(folder),
        "format": context.catalog.format,
        "profile": context.settings.profile,
        "durability": context.settings.durability,
        "memories": sum(scopes.values()),
        "by_scope": dict(sorted(scopes.items())),
        "by_type": dict(sorted(types.items())),
        "history": history,
        "passages": passages,
        "vectors": vectors,
        "vectors_waiting": waiting,
        "embedder": context.embedder.name if context.embedder else None,
        "embedder_recorded": context.recorded,
        "dimensions": context.dim,
        "text_bytes": stored or 0,
        "compression_dictionary": bool(dictionary),
        "last_write": from_micros(newest).isoformat() if newest else None,
        "bytes_on_disk": bytes_on_disk(folder),
    }


def bytes_on_disk(folder: Path) -> dict[str, int]:
    """Return the bytes of a store's files by part: ``catalog``, ``log``, ``search``, ``other``, ``total``."""
    sizes = {"catalog": 0, "log": 0, "search": 0, "other": 0}
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
        else:
            sizes["other"] += size
    return {**sizes, "total": sum(sizes.values())}
