"""The aircher DuckDB store, in either of its two forms: actions of recorded work, or every tool execution."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lamina.errors import DependencyError, InvalidInputError
from lamina.sessions.readers.records import Closed, Notes, Opened, Record, Said, Used, time_of
from lamina.sessions.rows import key_of

__all__ = ["read"]

_NEEDED = {
    "patterns": ("id", "timestamp"),
    "actions": ("pattern_id", "sequence_index", "tool"),
    "tool_executions": ("id", "timestamp", "session_id", "tool_name"),
    "task_history": ("task_id", "started_at"),
}
"""Columns that a table must have to be read in order."""
_LONGEST_MILLIS = 1e12


def read(path: Path, notes: Notes, advance: Callable[[int], None]) -> Iterator[Record]:
    """Yield the records of all sessions of the store.

    In its first form a recorded pattern is one piece of work: what was to be done is a turn, its actions are calls, its
    files belong to each of them; a session succeeded where all of its pieces did. In the later one each tool execution
    is a call and each task a turn; a session succeeded where all of its tasks were completed, and failed where one did.

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
    except duckdb.Error as error:
        hint = "Close what has it open, or copy it first." if "lock" in str(error) else "Is it whole?"
        raise InvalidInputError(f"{path} cannot be read as DuckDB: {str(error)[:200]}", hint=hint) from None
    try:
        columns: dict[str, set[str]] = {}
        for table, column in db.execute("SELECT table_name, column_name FROM information_schema.columns").fetchall():
            columns.setdefault(table, set()).add(column)
        if "tool_executions" in columns:
            executions = _rows(db, path, columns, "tool_executions", "timestamp, id")
            tasks = _rows(db, path, columns, "task_history", "started_at, task_id") if "task_history" in columns else []
            records = _executions(executions, tasks, path.stem)
        elif {"patterns", "actions"} <= columns.keys():
            work = _rows(db, path, columns, "patterns", "timestamp, id")
            actions = _rows(db, path, columns, "actions", "pattern_id, sequence_index")
            files = _rows(db, path, columns, "files") if "files" in columns else []
            records = _sessions(work, actions, files, path.stem)
        else:
            raise InvalidInputError(
                f"{path} has neither the tables patterns and actions nor tool_executions.", hint="Is it aircher's?"
            )
    except duckdb.Error as error:
        raise InvalidInputError(
            f"{path} cannot be read as DuckDB: {str(error)[:200]}", hint="Is it whole? Copy it, and try the copy."
        ) from None
    finally:
        db.close()
    notes.read += path.stat().st_size
    yield from records
    advance(notes.read)


# --- the first form --------------------------------------------------------------------------------------------------


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
        session = str(piece.get("session_id") or f"{stem}-sessions")
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
    success = action.get("success")
    summary = action.get("result_summary")
    return Used(
        session=session,
        key=key_of(session, *mark, action.get("tool")),
        tool=str(action.get("tool") or "tool"),
        arguments=_parsed(action.get("params")),
        files=files or None,
        at=at,
        ok=None if success is None else bool(success),
        result=summary if isinstance(summary, str) else None,
        duration=_micros(action.get("duration_ms")),
    )


# --- the later form --------------------------------------------------------------------------------------------------


def _executions(executions: list[dict[str, Any]], tasks: list[dict[str, Any]], stem: str) -> Iterator[Record]:
    """Yield tasks and tool executions in the order of their times."""
    entries = [(time_of(task.get("started_at")) or 0, 0, task) for task in tasks]
    entries += [(time_of(call.get("timestamp")) or 0, 1, call) for call in executions]
    entries.sort(key=lambda entry: entry[:2])
    opened: dict[str, None] = {}
    states: dict[str, list[str]] = {}
    last: dict[str, int | None] = {}
    for when, kind, entry in entries:
        session, at = str(entry.get("session_id") or f"{stem}-sessions"), when or None
        if session not in opened:
            opened[session] = None
            yield Opened(session=session, at=at, agent="aircher")
        last[session] = at or last.get(session)
        if kind == 0:
            states.setdefault(session, []).append(str(entry.get("status")))
            last[session] = time_of(entry.get("completed_at")) or last[session]
            text = "\n".join(str(entry[key]) for key in ("description", "intent") if entry.get(key))
            if text:
                key = key_of(session, "task", entry.get("task_id"))
                yield Said(session=session, key=key, role="task", text=text, at=at)
            continue
        good = entry.get("success")
        told = None if entry.get("result") is None else str(entry["result"])
        error = entry.get("error_message")
        yield Used(
            session=session,
            key=key_of(session, "execution", entry.get("id")),
            tool=str(entry.get("tool_name") or "tool"),
            arguments=_parsed(entry.get("parameters")),
            at=at,
            ok=None if good is None else bool(good),
            error=(str(error) if error else told or "it failed") if good is False else None,
            result=told,
            duration=_micros(entry.get("duration_ms")),
        )
    for session, found in states.items():
        done = {state: found.count(state) for state in found}
        outcome = False if done.get("failed") else True if set(done) == {"completed"} else None
        if outcome is not None:
            yield Closed(session=session, outcome=outcome, at=last[session])


# --- values ----------------------------------------------------------------------------------------------------------


def _parsed(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return {"text": value}
    return value


def _micros(millis: Any) -> int | None:
    known = isinstance(millis, (int, float)) and not isinstance(millis, bool) and math.isfinite(millis)
    return int(millis * 1000) if known and 0 <= millis <= _LONGEST_MILLIS else None


def _rows(db: Any, path: Path, columns: dict[str, set[str]], table: str, order: str = "1") -> list[dict[str, Any]]:
    lacking = [name for name in _NEEDED.get(table, ()) if name not in columns[table]]
    if lacking:
        raise InvalidInputError(
            f"{path} has a table {table} without {', '.join(lacking)}.", hint="It is another program's, or a new form."
        )
    cursor = db.execute(f"SELECT * FROM {table} ORDER BY {order}")
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
