"""From the aircher file store, ``.aircher/memory/{patterns,sessions}/*.json``, to patterns and sessions, verified."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from lamina.errors import InvalidInputError, LaminaError
from lamina.patterns.exchange import import_entries
from lamina.patterns.forms.entries import iso
from lamina.patterns.reports import PatternImport
from lamina.sessions.importing import import_path
from lamina.sessions.readers.aircher import strings
from lamina.sessions.readers.records import time_of
from lamina.sessions.readers.whole import whole_json
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.records import from_micros

__all__ = ["migrate_files"]

_ARROW: Final = re.compile(r"\s*(?:→|->|=>)\s*")
_MOST_USES: Final = 100_000
"""More uses of one pattern than that store can have counted."""
_KEPT: Final = ("pattern_id", "context", "conditions", "success_rate", "usage_count")


def migrate_files(catalog: SqliteCatalog, place: Path) -> PatternImport:
    """Import a file store's patterns and sessions; a second time adds nothing.

    That store counts uses without keeping them: a pattern gets as many as it counted, the first at ``first_learned``,
    the others at ``last_reinforced``, and as many successes as ``success_rate`` says, rounded. What has no field here
    is kept in ``context``. Steps are the description's parts between arrows, else the tools, else the description.

    Returns:
        What was added; ``verified`` says that every pattern and every session that was read is in the store.

    Raises:
        InvalidInputError: There is nothing of that store.
    """
    folder = next(
        (found for found in (place, place / "memory", place / ".aircher" / "memory") if (found / "patterns").is_dir()),
        place,
    )
    files = sorted((folder / "patterns").glob("*.json")) if folder.is_dir() else [folder]
    sessions = folder / "sessions"
    if not files and not sessions.is_dir():
        raise InvalidInputError(f"{place} has neither patterns nor sessions.", hint="Name the folder .aircher/memory.")
    problems: list[str] = []
    report = import_entries(catalog, _entries(files, problems), str(place), "aircher", problems)
    if sessions.is_dir() and any(sessions.glob("*.json")):
        found = import_path(catalog, sessions, "aircher", None)
        report = replace(
            report,
            sessions=found.new_sessions,
            problems=(*report.problems, *found.problems),
            verified=report.verified and not found.problems,
        )
    return report


def _entries(files: list[Path], problems: list[str]) -> Iterator[tuple[str, Any]]:
    taken: dict[tuple[str, tuple[str, ...]], str] = {}
    for path in files:
        try:
            document = whole_json(path)
        except LaminaError as error:
            problems.append(error.message)
            continue
        found = document.get("patterns", document) if isinstance(document, dict) else document
        listed = list(found.values()) if isinstance(found, dict) and "pattern_id" not in found else found
        for number, pattern in enumerate(listed if isinstance(listed, list) else [listed], 1):
            where = f"{path}: pattern {number}"
            if not isinstance(pattern, dict) or not isinstance(pattern.get("pattern_id"), str):
                problems.append(f"{where}: it has no pattern_id")
                continue
            yield where, _entry(pattern, path.stem, taken)


def _entry(pattern: Mapping[str, Any], category: str, taken: dict[tuple[str, tuple[str, ...]], str]) -> dict[str, Any]:
    kind = str(pattern.get("pattern_type") or category)
    description = " ".join(str(pattern.get("description") or "").split())[:2_000]
    tools = strings(pattern.get("tools_involved"))
    parts = [part[:2_000] for part in _ARROW.split(description) if part]
    steps = parts if len(parts) > 1 else tools or parts or [pattern["pattern_id"]]
    if taken.setdefault((kind, tuple(steps)), pattern["pattern_id"]) != pattern["pattern_id"]:
        steps = [description or pattern["pattern_id"], *tools]  # two patterns of that store stay two
        if taken.setdefault((kind, tuple(steps)), pattern["pattern_id"]) != pattern["pattern_id"]:
            steps = [*steps, pattern["pattern_id"]]
    first = time_of(pattern.get("first_learned"))
    last = time_of(pattern.get("last_reinforced")) or first
    first = first or last
    count = pattern.get("usage_count")
    uses = count if isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= _MOST_USES else 1
    rate = pattern.get("success_rate")
    share = float(rate) if isinstance(rate, (int, float)) and not isinstance(rate, bool) and 0 <= rate <= 1 else 0.0
    good = round(share * uses)
    moments = [_iso(first)] * min(1, uses) + [_iso(last)] * max(0, uses - 1)
    files = strings(pattern.get("files_involved"))
    return {
        "type": kind,
        "steps": steps,
        "description": description or None,
        "context": {name: pattern[name] for name in _KEPT if pattern.get(name) not in (None, "", [])},
        "origin": "imported",
        "created_at": _iso(first),
        "uses": [
            {"at": at, "success": number < good, "files": files, "tools": tools} for number, at in enumerate(moments)
        ],
    }


def _iso(micros: int | None) -> str:
    return iso(datetime(1970, 1, 1, tzinfo=UTC) if micros is None else from_micros(micros))
