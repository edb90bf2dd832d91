"""Sessions of the aircher file store: ``.aircher/memory/sessions/<id>.json``, one JSON document a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lamina.errors import InvalidInputError
from lamina.sessions.readers.records import Closed, Notes, Opened, Record, Said, Used, kind_of, time_of
from lamina.sessions.readers.whole import whole_json
from lamina.sessions.rows import key_of

__all__ = ["read", "strings"]

_GOOD = 0.8
"""Quality above which that store counts a turn as successful."""


def read(path: Path, notes: Notes, advance: Callable[[int], None]) -> Iterator[Record]:
    """Yield the records of one session.

    A turn of that store is a question with the tools and files that answered it: it becomes a turn and a call for each
    tool. The mean of the turns' qualities is the session's; above 0.8 it was a success.

    Raises:
        InvalidInputError: It is no session of that store.
    """
    document = whole_json(path)
    notes.read += path.stat().st_size
    if not isinstance(document, dict) or not isinstance(document.get("session_id"), str):
        raise InvalidInputError(f"{path} has no session_id.", hint="Name a file of .aircher/memory/sessions.")
    session = document["session_id"].strip() or path.stem
    known = ("session_id", "project_path", "started_at", "last_activity", "conversation_context")
    project = document.get("project_path")
    yield Opened(
        session=session,
        at=time_of(document.get("started_at")),
        agent="aircher",
        project=project if isinstance(project, str) else None,
        metadata={name: value for name, value in document.items() if name not in known and value not in (None, [], {})},
    )
    turns = document.get("conversation_context")
    qualities: list[float] = []
    for number, turn in enumerate(turns if isinstance(turns, list) else ()):
        if not isinstance(turn, dict):
            notes.strange(f"a turn that is {kind_of(turn)}")
            continue
        yield from _turn(session, number, turn, qualities)
    quality = sum(qualities) / len(qualities) if qualities else None
    advance(notes.read)
    yield Closed(
        session=session,
        quality=quality,
        outcome=None if quality is None else quality > _GOOD,
        at=time_of(document.get("last_activity")),
    )


def _turn(session: str, number: int, turn: Mapping[str, Any], qualities: list[float]) -> Iterator[Record]:
    at = time_of(turn.get("timestamp"))
    query = turn.get("user_query")
    if isinstance(query, str) and query:
        yield Said(session=session, key=key_of(session, number, query), role="user", text=query, at=at)
    quality = turn.get("outcome_quality")
    good = None
    if isinstance(quality, (int, float)) and not isinstance(quality, bool) and 0 <= quality <= 1:
        qualities.append(float(quality))
        good = quality > _GOOD
    files = tuple(strings(turn.get("files_involved")))
    for place, tool in enumerate(strings(turn.get("tools_used"))):
        key = key_of(session, number, "tool", place, tool)
        yield Used(session=session, key=key, tool=tool, files=files, at=at, ok=good)
    for place, lesson in enumerate(strings(turn.get("lessons_learned"))):
        yield Said(session=session, key=key_of(session, number, "lesson", place), role="lesson", text=lesson, at=at)


def strings(value: Any) -> list[str]:
    """Return the non-empty strings of a list, each on one line; of anything else nothing."""
    if not isinstance(value, list):
        return []
    return [" ".join(item.split())[:2_000] for item in value if isinstance(item, str) and item.strip()]
