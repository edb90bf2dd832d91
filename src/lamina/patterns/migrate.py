"""From the aircher file store, ``.aircher/memory/{patterns,sessions}/*.json``, to patterns and sessions, verified."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from lamina.errors import InvalidInputError, LaminaError
from lamina.patterns.exchange import import_entries
from lamina.patterns.forms.entries import iso
from lamina.patterns.reports import PatternImport
from lamina.sessions.importing import import_path
from lamina.sessions.readers.aircher import read as read_session
from lamina.sessions.readers.aircher import strings
from lamina.sessions.readers.records import Notes, Said, Used, time_of
from lamina.sessions.readers.whole import whole_json
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.records import from_micros

__all__ = ["migrate_files"]

_ARROW: Final = re.compile(r"\s*(?:→|->|=>)\s*")
_MOST_USES: Final = 100_000
"""Uses of one pattern that are carried over; that store counts them without keeping any."""
_MOST_STEP: Final = 2_000
_MOST_SHOWN: Final = 60
_PLACED: Final = ("pattern_type", "description", "first_learned", "last_reinforced", "files_involved", "tools_involved")
"""Fields that have a place of their own; all others are kept in the context."""


def migrate_files(catalog: SqliteCatalog, place: Path) -> PatternImport:
    """Import a file store's patterns and sessions, then read it again and compare; a second time adds nothing.

    That store counts uses without keeping them: a pattern gets as many as it counted, the first at ``first_learned``,
    the others at ``last_reinforced``, and as many successes as ``success_rate`` says, rounded. What has no field here
    is kept in ``context``. Steps are the description's parts between arrows, else the tools, else the description.
    A figure that makes no sense is named in ``problems``, and uses that cannot be told without it are left out.

    Returns:
        What was added; ``verified`` says that nothing was left out, and that every use with its time, outcome, files
        and tools, and every session with its turns and calls, was found in the store again.

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
    report = import_entries(catalog, partial(_entries, files), str(place), "aircher")
    documents = sorted(sessions.glob("*.json")) if sessions.is_dir() else []
    if documents:
        found = import_path(catalog, sessions, "aircher", None)
        problems = (*report.problems, *found.problems, *_lost_sessions(catalog, documents))
        report = replace(report, sessions=found.new_sessions, problems=problems, verified=not problems)
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
            entry, told = _entry(pattern, path.stem, taken)
            problems += [f"{where} ({pattern['pattern_id'][:80]}): {problem}" for problem in told]
            yield where, entry


def _entry(
    pattern: Mapping[str, Any], category: str, taken: dict[tuple[str, tuple[str, ...]], str]
) -> tuple[dict[str, Any], list[str]]:
    """Return a pattern as exports have it, and what of it could not be carried over."""
    problems: list[str] = []
    kept = {name: value for name, value in pattern.items() if name not in _PLACED and value not in (None, "", [])}
    kind = " ".join(str(pattern.get("pattern_type") or category).split())[:200]
    whole = " ".join(str(pattern.get("description") or "").split())
    description = whole[:_MOST_STEP]
    files, tools = (_names(pattern, name, problems) for name in ("files_involved", "tools_involved"))
    steps = _steps(kind, description, tools, pattern["pattern_id"], taken)
    first, last = (_time(pattern, name, kept, problems) for name in ("first_learned", "last_reinforced"))
    if description != whole:
        kept["description"] = pattern["description"]
    uses, good = _outcomes(pattern, problems)
    begin = first if first is not None else last
    end = last if last is not None else first
    if begin is None or end is None:
        if uses:
            problems.append(f"its {uses:,} uses are left out, since none has a time")
        uses = 0
    moments = [] if begin is None or end is None else [_iso(begin)] * min(1, uses) + [_iso(end)] * max(0, uses - 1)
    entry = {
        "type": kind,
        "steps": steps,
        "description": description or None,
        "context": kept,
        "origin": "imported",
        "created_at": None if begin is None else _iso(begin),
        "uses": [
            {"at": at, "success": number < good, "files": files, "tools": tools} for number, at in enumerate(moments)
        ],
    }
    return entry, problems


def _steps(
    kind: str, description: str, tools: list[str], id: str, taken: dict[tuple[str, tuple[str, ...]], str]
) -> list[str]:
    parts = [part for part in _ARROW.split(description) if part]
    steps = parts if len(parts) > 1 else tools or parts or [id]
    if taken.setdefault((kind, tuple(steps)), id) != id:
        steps = [description or id, *tools]  # two patterns of that store stay two
        if taken.setdefault((kind, tuple(steps)), id) != id:
            steps = [*steps, id]
    return steps


def _names(pattern: Mapping[str, Any], field: str, problems: list[str]) -> list[str]:
    value = pattern.get(field)
    found = strings(value)
    given = value if isinstance(value, list) else [] if value is None else [value]
    if [" ".join(name.split()) if isinstance(name, str) else name for name in given] != found:
        problems.append(f"{field} has entries that are no names: {_shown(value)}")
    return found


def _time(pattern: Mapping[str, Any], field: str, kept: dict[str, Any], problems: list[str]) -> int | None:
    value = pattern.get(field)
    found = time_of(value)
    if found is None:
        problems.append(f"{field} is {_shown(value)}, not a time")
        if value is not None:
            kept[field] = value
    return found


def _outcomes(pattern: Mapping[str, Any], problems: list[str]) -> tuple[int, int]:
    """Return the uses and the successes of a pattern, none where its figures make no sense."""
    count, rate = pattern.get("usage_count"), pattern.get("success_rate")
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        problems.append(f"usage_count is {_shown(count)}, not a count; its uses are left out")
        return 0, 0
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
        problems.append(f"success_rate is {_shown(rate)}, not a share from 0 to 1; its {count:,} uses are left out")
        return 0, 0
    uses = min(count, _MOST_USES)
    if uses < count:
        problems.append(f"usage_count is {count:,}; {uses:,} of these uses were carried over")
    return uses, round(rate * uses)


def _lost_sessions(catalog: SqliteCatalog, paths: list[Path]) -> list[str]:
    """Read sessions once more, and return what of them is not in the store, in words."""
    problems: list[str] = []
    for path in paths:
        keys: dict[str, tuple[set[int], set[int]]] = {}
        try:
            for record in read_session(path, Notes(), lambda _: None):
                turns, calls = keys.setdefault(record.session, (set(), set()))
                if isinstance(record, (Said, Used)):
                    (turns if isinstance(record, Said) else calls).add(record.key)
        except LaminaError:
            continue  # the import has named it
        with catalog.read("verifying an import") as reader:
            for id, (turns, calls) in keys.items():
                rows = reader.db.execute("SELECT turns, calls FROM session WHERE id = ?", (id,)).fetchall()
                held = rows[0] if rows else (0, 0)
                for name, wanted, there in (("turns", turns, held[0]), ("calls", calls, held[1])):
                    if there < len(wanted):
                        problems.append(f"session {id}: {len(wanted) - there:,} of {len(wanted):,} {name} are missing")
                if not rows:
                    problems.append(f"session {id} is not in the store")
    return problems


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _iso(micros: int) -> str:
    return iso(from_micros(micros))
