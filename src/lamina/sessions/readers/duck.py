"""The aircher DuckDB store: recorded actions, each group of them with its outcome."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lamina.errors import DependencyError, InvalidInputError
from lamina.sessions.readers.records import Closed, Notes, Opened, Record, Said, Used, time_of
from lamina.sessions.rows import key_of

__all__ = ["read"]


def read(path: Path, notes: Notes, advance: Callable[[int], None]) -> Iterator[Record]:
    """Yield the records of all sessions of the store.

    A recorded pattern of that store is one piece of work: what was to be done is a turn, its actions are calls, its
    files belong to each of them. A session succeeded where all of its pieces did.

    Raises:
        DependencyError: ``duckdb`` is not installed.
        InvalidInputError: It is no such store.
    """
    try:
        import duckdb
    except ImportError:
        raise DependencyError(
            f"{path} is a DuckDB file, and the package duckdb is not installed.",
            hint="Run `pip install 'lamina[duckdb]'`.",
        ) from None
    try:
        db = duckdb.connect(str(path), read_only=True)
        try:
            tables = {row[0] for row in db.execute("SELECT table_name FROM information_schema.tables").fetchall()}
            if not {"patterns", "actions"} <= tables:
                raise InvalidInputError(f"{path} has no tables patterns and actions.", hint="Is it aircher's?")
            work = _rows(db, "SELECT * FROM patterns ORDER BY timestamp, id")
            actions = _rows(db, "SELECT * FROM actions ORDER BY pattern_id, sequence_index")
            files = _rows(db, "SELECT * FROM files") if "files" in tables else []
        finally:
            db.close()
    except duckdb.Error as error:
        raise InvalidInputError(
            f"{path} cannot be read as DuckDB: {str(error)[:200]}", hint="Close what has it open, or copy it first."
        ) from None
    notes.read += path.stat().st_size
    yield from _sessions(work, actions, files, path.stem)
    advance(notes.read)


def _sessions(
    work: list[dict[str, Any]], actions: list[dict[str, Any]], files: list[dict[str, Any]], stem: str
) -> Iterator[Record]:
    calls: dict[Any, list[dict[str, Any]]] = {}
    for action in actions:
        calls.setdefault(action.get("pattern_id"), []).append(action)
    paths: dict[Any, list[str]] = {}
    for entry in files:
        if isinstance(entry.get("file_path"), str):
            paths.setdefault(entry.get("pattern_id"), []).append(entry["file_path"])
    good: dict[str, bool] = {}
    last: dict[str, int | None] = {}
    for piece in work:
        session = str(piece.get("session_id") or f"{stem}-sessions").replace(" ", "_")[:200]
        at = time_of(piece.get("timestamp"))
        if session not in good:
            yield Opened(session=session, at=at, agent="aircher")
        success = bool(piece.get("success"))
        good[session] = good.get(session, True) and success
        last[session] = at or last.get(session)
        name = piece.get("id")
        text = "\n".join(str(piece[key]) for key in ("description", "context") if piece.get(key))
        if text:
            yield Said(session=session, key=key_of(session, name, text), role="task", text=text, at=at)
        for place, action in enumerate(calls.get(name, [])):
            yield _call(session, (name, place), action, tuple(paths.get(name, [])), at)
    for session, outcome in good.items():
        yield Closed(session=session, outcome=outcome, at=last[session])


def _call(session: str, mark: tuple[Any, int], action: dict[str, Any], files: tuple[str, ...], at: int | None) -> Used:
    params = action.get("params")
    if isinstance(params, str):
        try:
            params = json.loads(params)
        except ValueError:
            params = {"text": params}
    success = action.get("success")
    millis = action.get("duration_ms")
    summary = action.get("result_summary")
    return Used(
        session=session,
        key=key_of(session, *mark, action.get("tool")),
        tool=str(action.get("tool") or "tool")[:200],
        arguments=params,
        files=files or None,
        at=at,
        ok=None if success is None else bool(success),
        result=summary if isinstance(summary, str) else None,
        duration=int(millis * 1000) if isinstance(millis, (int, float)) and millis >= 0 else None,
    )


def _rows(db: Any, sql: str) -> list[dict[str, Any]]:
    cursor = db.execute(sql)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
