"""What the catalog knows of a store's markdown files: one row a file, so that an unchanged one need not be opened.

The files are the truth. A row says which memory a file holds, what its bytes were when it was last read, and what was
wrong with it then; :mod:`lamina.memories.syncing` compares rows with the folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lamina.types import Problem

__all__ = [
    "UNSURE",
    "FileRow",
    "Stamp",
    "by_memory",
    "by_path",
    "drop_unmatched",
    "leaving",
    "put",
    "ranked",
    "remove",
    "remove_left",
    "stamps",
    "told",
    "unmatched",
    "unseen",
    "untold",
]

Stamp = tuple[int, int, int, int]
"""``(size, mtime, ctime, inode)``: bytes, nanoseconds, nanoseconds, number."""
UNSURE: Stamp = (-1, 0, 0, 0)
"""Fits no file: it is read again at the next look."""

_COLUMNS = "path, memory, hash, body, size, mtime, ctime, inode, problem, leaving"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """One markdown file as it was last seen."""

    path: str
    """Relative to the store, with ``/``, as the disk spells it."""
    memory: str | None
    """The id of the memory that it holds; None where it could not be read as one."""
    hash: bytes
    """BLAKE2b of the whole file, 16 bytes."""
    body: bytes = b""
    """BLAKE2b of the text alone, by which a file is known whose name and front matter changed; empty for no memory."""
    stamp: Stamp = UNSURE
    problem: str | None = None
    """What was wrong, as JSON: a list of ``[code, message, hint]``."""
    leaving: bool = False
    """The memory has moved elsewhere; what is left of the file is to be removed and not to be read."""


def stamps(db: Any) -> dict[str, tuple[Stamp, str | None, str | None]]:
    """Return ``(stamp, memory, problem)`` of every file by path, but of those that are leaving."""
    rows = db.execute("SELECT path, size, mtime, ctime, inode, memory, problem FROM file WHERE leaving = 0")
    return {row[0]: (row[1:5], row[5], row[6]) for row in rows}


def by_path(db: Any, paths: Iterable[str]) -> dict[str, FileRow]:
    """Return the rows of files by path; what is not known is left out."""
    found = {}
    for path in paths:
        for row in db.execute(f"SELECT {_COLUMNS} FROM file WHERE path = ?", (path,)):
            found[path] = _row(row)
    return found


def by_memory(db: Any, id: str) -> FileRow | None:
    """Return the row of the file that holds a memory, or None."""
    for row in db.execute(f"SELECT {_COLUMNS} FROM file WHERE memory = ?", (id,)):
        return _row(row)
    return None


def put(db: Any, row: FileRow) -> None:
    """Remember a file as it was just seen."""
    db.execute(
        f"INSERT OR REPLACE INTO file ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (row.path, row.memory, row.hash, row.body, *row.stamp, row.problem, int(row.leaving)),
    )


def remove(db: Any, path: str, memory: str | None = None) -> None:
    """Forget a file that is not there any more; with ``memory`` only where it is still known as holding that."""
    db.execute("DELETE FROM file WHERE path = ?1 AND (?2 IS NULL OR memory = ?2)", (path, memory))


def remove_left(db: Any, path: str) -> None:
    """Forget a file that was leaving; one that was made anew since is kept."""
    db.execute("DELETE FROM file WHERE path = ? AND leaving <> 0", (path,))


def unseen(db: Any) -> dict[str, str]:
    """Return ``{path: id}`` of current memories whose file the catalog has no row of, as after a repair."""
    rows = db.execute(
        "SELECT path, id FROM memory m WHERE path IS NOT NULL AND valid_to = 0 "
        "AND NOT EXISTS (SELECT 1 FROM file f WHERE f.path = m.path)"
    )
    return dict(rows.fetchall())


_UNMATCHED = (
    "leaving = 0 AND memory IS NOT NULL AND NOT EXISTS "
    "(SELECT 1 FROM memory m WHERE m.id = file.memory AND m.valid_to = 0 AND m.path = file.path)"
)


def unmatched(db: Any) -> list[str]:
    """Return the files whose row names a memory that is not there, or not in that file."""
    return [path for (path,) in db.execute(f"SELECT path FROM file WHERE {_UNMATCHED}")]


def drop_unmatched(db: Any) -> None:
    """Forget what :func:`unmatched` returns."""
    db.execute(f"DELETE FROM file WHERE {_UNMATCHED}")


def leaving(db: Any) -> list[FileRow]:
    """Return the files whose memory has moved elsewhere and that are still to be removed."""
    return [_row(row) for row in db.execute(f"SELECT {_COLUMNS} FROM file WHERE leaving <> 0")]


def ranked(db: Any, scope: int) -> Iterator[tuple[Any, ...]]:
    """Yield what ranks the pointers of a scope's files.

    Yields:
        ``(path, id, title, description, importance, created_at, metadata, uses, valid_from, superseded, valid_until)``
    """
    yield from db.execute(
        "SELECT m.path, m.id, m.title, m.description, m.importance, m.created_at, m.metadata, coalesce(u.uses, 0), "
        "m.valid_from, m.superseded_by, m.valid_until FROM memory m LEFT JOIN use_count u ON u.id = m.id "
        "WHERE m.path IS NOT NULL AND m.valid_to = 0 AND m.scope = ? ORDER BY m.path",
        (scope,),
    )


def _row(row: tuple[Any, ...]) -> FileRow:
    path, memory, hash, body, size, mtime, ctime, inode, problem, leaving = row
    return FileRow(
        path=path,
        memory=memory,
        hash=hash,
        body=body,
        stamp=(size, mtime, ctime, inode),
        problem=problem,
        leaving=bool(leaving),
    )


def told(problems: Iterable[Problem]) -> str | None:
    """Return problems as a row keeps them; None where there are none."""
    rows = [[problem.code, problem.message, problem.hint] for problem in problems]
    return json.dumps(rows, ensure_ascii=False) if rows else None


def untold(path: str, text: str | None) -> tuple[Problem, ...]:
    """Return the problems that a row keeps; none where they cannot be read, since the next look finds them again."""
    try:
        rows = json.loads(text) if text else []
        return tuple(Problem(code=code, where=path, message=message, hint=hint) for code, message, hint in rows)
    except (ValueError, TypeError):
        return ()
