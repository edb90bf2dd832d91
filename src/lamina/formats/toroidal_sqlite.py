"""The SQLite table ``memory_states`` of ai-toroidal-memory: one grid a session.

``memory_states(session_id TEXT PRIMARY KEY, timestamp INTEGER, memory_data BLOB, metadata TEXT)``; the blob is the
plain binary grid, the timestamp seconds since 1970, the metadata JSON with ``width`` and ``height``. A file is read
as one array a session, named by it, or as a grid where there is one session; what stands beside a grid is in
``metadata["sessions"]``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lamina.errors import CorruptionError, InvalidInputError
from lamina.formats.state_file import ArrayEntry, LazyArrays, StateFile, as_arrays, only
from lamina.formats.state_source import Source
from lamina.formats.toroidal import GRID, binary_bytes, grid_array, looks_like_binary, read_binary
from lamina.storage.foreign import database_bytes, foreign_columns, open_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MAGIC", "looks_like", "read", "write"]

MAGIC: Final = b"SQLite format 3\0"
_TABLE: Final = "memory_states"
_COLUMNS: Final = ("session_id", "timestamp", "memory_data", "metadata")
_SCHEMA: Final = (
    "CREATE TABLE memory_states (session_id TEXT PRIMARY KEY, timestamp INTEGER, memory_data BLOB, metadata TEXT)"
)
_INSERT: Final = "INSERT INTO memory_states VALUES (?, ?, ?, ?)"


def looks_like(source: Source) -> bool:
    """Whether the file is a database with such a table."""
    if source.path is None or source.size < 512 or source.read(0, 16) != MAGIC:
        return False
    return set(_COLUMNS) <= set(foreign_columns(source.path, _TABLE))


def read(source: Source) -> StateFile:
    """Read the sessions; each grid is checked now and loaded when it is asked for.

    One session is a grid like any other, its array called ``cells``; several are arrays by session.

    Raises:
        InvalidInputError: There is no such table, or a row of it is wrong; names the session.
        CorruptionError: The database is damaged.
    """
    import numpy as np

    if source.path is None:
        raise source.bad("a database has to be a file.", "Save it and name the file.")
    if source.size < 16 or source.read(0, 16) != MAGIC:
        raise source.bad("this is no SQLite database.")
    entries: dict[str, ArrayEntry] = {}
    sessions: dict[str, Any] = {}
    with open_table(source.path, _TABLE, _COLUMNS) as table:
        for session, timestamp, blob, text in table.rows(_COLUMNS, "session_id"):
            if not isinstance(session, str) or not session:
                raise source.bad(f"{session!r} is no session_id.")
            grid = _grid(source, session, blob)
            _check_metadata(source, session, text, grid)
            sessions[session] = {
                "timestamp": timestamp if isinstance(timestamp, (int, float)) else None,
                "metadata": json.loads(text) if text else {},
            }
            entries[session] = ArrayEntry(grid.shape, np.dtype("<f8"), _loader(source, source.path, session))
    if len(entries) != 1:
        return StateFile(LazyArrays(entries), {"sessions": sessions}, "toroidal-sqlite")
    ((session, entry),) = entries.items()
    known = {"kind": GRID, "width": entry.shape[1], "height": entry.shape[0], "session_id": session}
    return StateFile(LazyArrays({"cells": entry}), known | {"sessions": sessions}, "toroidal-sqlite")


def _grid(source: Source, session: str, blob: Any) -> NDArray[np.float64]:
    if not isinstance(blob, bytes) or not looks_like_binary(Source(blob)):
        raise source.bad(f"memory_data of the session {session!r} is no grid.", session=session)
    try:
        return read_binary(Source(blob)).arrays["cells"]
    except InvalidInputError as error:
        raise source.bad(f"session {session!r}: {error.message}", error.hint, session=session) from None


def _loader(source: Source, path: Path, session: str) -> Any:
    def load() -> NDArray[np.float64]:
        with open_table(path, _TABLE, _COLUMNS) as table:
            return _grid(source, session, table.value("memory_data", "session_id", session))

    return load


def _check_metadata(source: Source, session: str, text: Any, grid: NDArray[np.float64]) -> None:
    if text is None or text == "":
        return
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise source.bad(f"the metadata of the session {session!r} is no JSON object.", session=session)
    for key, side in (("width", grid.shape[1]), ("height", grid.shape[0])):
        if value.get(key, side) != side:
            raise CorruptionError(
                f"{source.name}: session {session!r} says {key} {value[key]!r}, its grid has {side}.",
                hint="One of the two is wrong; compare with a copy.",
                path=source.name,
                session=session,
            )


def write(arrays: Mapping[str, Any], metadata: Mapping[str, Any], notes: list[str]) -> Iterator[bytes]:
    """Write a row for each array.

    The session is the array's name; a single array ``cells`` takes ``session_id`` or ``user_id`` of the metadata.
    ``metadata["sessions"]`` gives times and metadata as :func:`read` returns them.

    Raises:
        InvalidInputError: An array is no grid of finite numbers, or a session's entry is wrong.
    """
    if metadata.get("kind") == GRID:
        only(arrays, ("cells",), "toroidal-sqlite")  # its layers are no sessions
    given = metadata.get("sessions")
    sessions = given if isinstance(given, Mapping) else {}
    rename = metadata.get("session_id") or metadata.get("user_id")
    rows = (_row(name, cells, sessions, rename) for name, cells in as_arrays(arrays))
    lost = [str(key) for key in metadata if key not in ("sessions", "session_id", "user_id", "kind", "width", "height")]
    if lost:
        notes.append(f"toroidal-sqlite has no place for the metadata {', '.join(lost)}; it was left out.")
    yield database_bytes(_SCHEMA, _INSERT, rows)


def _row(name: str, cells: Any, sessions: Mapping[str, Any], rename: Any) -> tuple[Any, ...]:
    import numpy as np

    session = rename if name == "cells" and isinstance(rename, str) else name
    grid = grid_array(cells.astype(np.float64, copy=False), name)
    entry = sessions.get(session) or sessions.get(name) or {}
    if not isinstance(entry, Mapping):
        raise InvalidInputError(
            f"The entry of the session {session!r} is wrong.", hint="Give a timestamp and metadata."
        )
    timestamp, known = entry.get("timestamp"), entry.get("metadata") or {}
    if not isinstance(known, Mapping) or not (timestamp is None or isinstance(timestamp, (int, float))):
        raise InvalidInputError(f"The entry of the session {name!r} is wrong.", hint="Give a timestamp and metadata.")
    text = json.dumps({"width": grid.shape[1], "height": grid.shape[0]} | dict(known), ensure_ascii=False)
    return session, timestamp, binary_bytes(grid), text
