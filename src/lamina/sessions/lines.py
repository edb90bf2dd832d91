"""Lamina's own form of sessions: JSON lines, written here and read back.

``{"type": "session", "id": …, "agent": …, "project": …, "title": …, "at": …, "metadata": {…}}`` opens a session; the
lines ``turn`` (``role``, ``text``), ``call`` (``tool``, ``arguments``, ``files``, ``ok``, ``exit``, ``error``,
``result``, ``duration`` in seconds) and ``end`` (``outcome``, ``quality``) belong to it or name another one as
``session``. Times are ISO 8601 under ``at``. Everything but ``type``, ``text`` and ``tool`` may be left out; ``key``
may name an event, so that it is known again wherever it stands. What is exported has keys that begin with ``lamina:``:
they are those of the store, so that an export adds nothing where it came from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from lamina.sessions.archive import keyed_events
from lamina.sessions.readers.lines import json_lines
from lamina.sessions.readers.records import Closed, Notes, Opened, Record, Said, Used, kind_of, time_of
from lamina.sessions.rows import key_of
from lamina.sessions.values import Session, Turn
from lamina.storage.catalog import SqliteCatalog

__all__ = ["KINDS", "read", "session_lines"]

KINDS = ("session", "turn", "call", "end")


_OWN_KEY: Final = re.compile(r"lamina:([0-9a-f]{16})")


def session_lines(catalog: SqliteCatalog, chosen: Iterable[Session]) -> Iterator[str]:
    """Yield the lines of sessions, each ending with a line feed."""
    for session in chosen:
        head: dict[str, Any] = {"type": "session", "id": session.id, "agent": session.agent}
        head |= {"project": session.project, "title": session.title, "at": _iso(session.started_at)}
        head["metadata"] = dict(session.metadata) or None
        yield _line(head)
        for key, event in keyed_events(catalog, session.id):
            entry: dict[str, Any] = {"at": _iso(event.at), "key": f"lamina:{key & (1 << 64) - 1:016x}"}
            if isinstance(event, Turn):
                entry = {"type": "turn", "role": event.role, "text": event.text, **entry}
            else:
                names = ("tool", "arguments", "files", "ok", "exit", "error", "result", "duration")
                entry = {"type": "call", **{name: getattr(event, name) for name in names}, **entry}
            yield _line(entry)
        if session.ended_at or session.outcome or session.quality is not None:
            end = None if session.ended_at is None else _iso(session.ended_at)
            yield _line({"type": "end", "outcome": session.outcome, "quality": session.quality, "at": end})


def read(path: Path, notes: Notes, advance: Callable[[int], None]) -> Iterator[Record]:
    """Yield the records of a file in this form."""
    session = path.stem
    at: int | None = None
    places: dict[str, int] = {}
    opened: set[str] = set()
    for _, line in json_lines(path, notes, advance):
        if not isinstance(line, dict) or line.get("type") not in KINDS:
            notes.strange(str(line.get("type")) if isinstance(line, dict) else kind_of(line))
            continue
        named = line.get("id") if line["type"] == "session" else line.get("session")
        if isinstance(named, str) and named.strip():
            session = named.strip()
        at = time_of(line.get("at")) or at
        if line["type"] == "session" or session not in opened:
            opened.add(session)
            yield _opened(session, line if line["type"] == "session" else {}, at)
        if line["type"] in ("turn", "call"):
            place = places[session] = places.get(session, -1) + 1
            event = _event(session, place, line, at)
            if event is None:
                notes.strange(f"{line['type']} without its {'text' if line['type'] == 'turn' else 'tool'}")
            else:
                yield event
        elif line["type"] == "end":
            quality = line.get("quality")
            known = isinstance(quality, (int, float)) and not isinstance(quality, bool) and 0 <= quality <= 1
            value = float(line["quality"]) if known else None
            outcome = {"success": True, "failure": False}.get(str(line.get("outcome")))
            yield Closed(session=session, outcome=outcome, quality=value, at=at)


def _opened(session: str, line: Mapping[str, Any], at: int | None) -> Opened:
    metadata = line.get("metadata")
    return Opened(
        session=session,
        at=at,
        agent=_text(line.get("agent")),
        project=_text(line.get("project")),
        title=_text(line.get("title")),
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def _event(session: str, place: int, line: Mapping[str, Any], at: int | None) -> Said | Used | None:
    mark = _mark(session, place, line)
    if line["type"] == "turn":
        text = line.get("text")
        return (
            Said(session=session, key=mark, role=_text(line.get("role")) or "user", text=text, at=at)
            if isinstance(text, str)
            else None
        )
    tool = _text(line.get("tool"))
    if tool is None:
        return None
    files = line.get("files")
    seconds = line.get("duration")
    code = line.get("exit")
    error = line.get("error")
    good = line.get("ok")
    result = line.get("result")
    return Used(
        session=session,
        key=mark,
        tool=tool,
        arguments=line.get("arguments"),
        at=at,
        files=tuple(path for path in files if isinstance(path, str) and path) if isinstance(files, list) else None,
        ok=False if error else good if isinstance(good, bool) else None,
        exit=code if isinstance(code, int) and not isinstance(code, bool) and abs(code) < 2**31 else None,
        error=error if isinstance(error, str) else None,
        result=result if isinstance(result, str) else None,
        duration=round(seconds * 1e6) if isinstance(seconds, (int, float)) and 0 <= seconds < 1e9 else None,
    )


def _mark(session: str, place: int, line: Mapping[str, Any]) -> int:
    if "key" not in line:
        return key_of(session, place, json.dumps(line, sort_keys=True))
    own = _OWN_KEY.fullmatch(line["key"]) if isinstance(line["key"], str) else None
    return key_of(session, line["key"]) if own is None else int.from_bytes(bytes.fromhex(own[1]), "big", signed=True)


def _text(value: Any) -> str | None:
    return " ".join(value.split()) or None if isinstance(value, str) else None


def _line(entry: Mapping[str, Any]) -> str:
    return (
        json.dumps({name: value for name, value in entry.items() if value not in (None, ())}, ensure_ascii=False) + "\n"
    )


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
