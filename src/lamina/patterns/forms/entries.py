"""A pattern with all of its uses as plain values: what every form writes and reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from lamina.errors import InvalidInputError, LaminaError
from lamina.patterns.recording import Use, check_use
from lamina.patterns.rows import ORIGINS, portions
from lamina.sessions.checks import check_json
from lamina.sessions.masking import Masker
from lamina.sessions.rows import unpacked
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.checks import check_time
from lamina.storage.names import NameKind
from lamina.storage.reader import Reader
from lamina.storage.records import from_micros

__all__ = ["FORMAT", "HEAD", "USE", "entries", "entry_ids", "iso", "parse_time", "uses_of"]

FORMAT: Final = "lamina-patterns-1"
HEAD: Final = ("id", "type", "steps", "description", "context", "origin", "created_at")
USE: Final = ("at", "success", "session", "duration", "files", "tools", "learned")
_PAGE: Final = 200


def entry_ids(catalog: SqliteCatalog) -> list[str]:
    """Return the ids of all patterns in use, in the order of exports."""
    with catalog.read("exporting patterns") as reader:
        return [row[0] for row in reader.db.execute("SELECT id FROM pattern WHERE state = 0 ORDER BY id")]


def entries(catalog: SqliteCatalog, ids: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield patterns in the order of their ids, each with its uses in the order of time; no read outlives a page."""
    wanted = entry_ids(catalog) if ids is None else ids
    for part in portions(wanted, _PAGE):
        with catalog.read("exporting patterns") as reader:
            page = [entry for id in part if (entry := _entry(reader, id)) is not None]
        yield from page


def _entry(reader: Reader, id: str) -> dict[str, Any] | None:
    rows = reader.db.execute(
        "SELECT seq, id, type, steps, description, context, origin, created_at FROM pattern WHERE id = ? AND state = 0",
        (id,),
    ).fetchall()
    if not rows:
        return None
    number, _, kind, steps, description, context, origin, created = rows[0]
    head: dict[str, Any] = {
        "id": id,
        "type": reader.name(kind) or "?",
        "steps": json.loads(steps),
        "description": description,
        "context": json.loads(context) if context else {},
        "origin": ORIGINS[origin],
        "created_at": iso(from_micros(created)),
    }
    sessions: dict[int, str] = {}
    uses = []
    for at, success, learned, session, duration, links in reader.db.execute(
        "SELECT at, success, learned, session, duration, links FROM pattern_use WHERE pattern = ? "
        "ORDER BY at, success, session, seq",
        (number,),
    ).fetchall():
        if session is not None and session not in sessions:
            found = reader.db.execute("SELECT id FROM session WHERE seq = ?", (session,)).fetchall()
            sessions[session] = found[0][0] if found else f"session-{session}"
        files, tools = _links(reader, links)
        use: dict[str, Any] = {"at": iso(from_micros(at)), "success": bool(success)}
        use["session"] = None if session is None else sessions[session]
        use["duration"] = None if duration is None else duration / 1e6
        use |= {"files": files, "tools": tools, "learned": bool(learned)}
        uses.append(use)
    # By what they say, not by their numbers, so that another store writes them in the same order.
    uses.sort(key=lambda use: (use["at"], use["success"], use["session"] or "", use["files"], use["tools"], str(use)))
    return {**head, "uses": uses}


def _links(reader: Reader, packed: bytes | None) -> tuple[list[str], list[str]]:
    files: list[str] = []
    tools: list[str] = []
    for number in unpacked(packed):
        for kind, value in reader.db.execute("SELECT kind, value FROM name WHERE id = ?", (number,)):
            (files if kind == NameKind.FILE else tools).append(value)
    return files, tools


def uses_of(entry: Any, where: str) -> tuple[Use, list[Use]]:
    """Return a pattern and its uses from the values of an entry, checked.

    Args:
        entry: As :func:`entries` yields them; ``id`` is not trusted, it follows from type and steps.
        where: Its place in the file, for messages.

    Raises:
        InvalidInputError: A value that makes no sense; says where.
    """
    try:
        if not isinstance(entry, Mapping):
            raise InvalidInputError(f"it is a {type(entry).__name__}, not an object.")
        head = {name: entry.get(name) for name in ("steps", "type", "description")}
        origin = entry.get("origin") if entry.get("origin") in ORIGINS else "imported"
        made = parse_time(entry.get("created_at"))
        pattern = check_use({**head, "success": True, "at": made})
        pattern.context = Masker().value(check_json(entry.get("context"), "context")) or None
        pattern.origin = str(origin)
        pattern.created_at = None if made is None else check_time(made, "created_at")
        found = entry.get("uses")
        if not isinstance(found, list):
            raise InvalidInputError("its uses are no list.")
        uses = [_use(head, pattern, use) for use in found]
    except LaminaError as error:
        raise InvalidInputError(f"{where}: {error.message}", hint=error.hint or "See docs/patterns.md.") from None
    return pattern, uses


def _use(head: Mapping[str, Any], pattern: Use, use: Any) -> Use:
    if not isinstance(use, Mapping):
        raise InvalidInputError("a use is no object.")
    at = parse_time(use.get("at"))
    if at is None:
        raise InvalidInputError(f"a use has no time: {str(use.get('at'))[:60]!r}.")
    known = {name: use.get(name) for name in ("success", "session", "duration", "files", "tools")}
    made = check_use({**head, **known, "at": at})
    made.learned = use.get("learned") is True
    made.context, made.origin, made.created_at = pattern.context, pattern.origin, pattern.created_at
    return made


def iso(moment: datetime) -> str:
    """Return a time as ISO 8601 in UTC with ``Z``, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: Any) -> datetime | None:
    """Return the time of :func:`iso`, or of any other ISO 8601; None for anything else."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
