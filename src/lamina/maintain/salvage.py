"""Reading what can be read of a damaged catalog, and naming what cannot.

A damaged page hides every row below it, and says nothing of how many those are. So a table is read from its beginning
to the first damage, from its end to the last, and what lies between is halved again and again until what is left are
keys that cannot be read one by one.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import apsw

from lamina import fs
from lamina.storage.connection import translate_sqlite
from lamina.storage.migrations import FORMAT_VERSION
from lamina.storage.writer import Writer
from lamina.types import Problem

__all__ = ["TABLES", "DamagedFile", "check_damage", "open_file", "salvage_rows"]

_STATES = ("state", "state_version", "state_ref", "pack", "object")
_PATTERNS = ("session", "session_event", "session_archive", "pattern", "pattern_use", "pattern_prune")
TABLES = (
    *("meta", "name", "dictionary", "dictionary_copy", "memory", "memory_tag", "use_count", "passage", "ending"),
    *_STATES,
    *_PATTERNS,
)
"""What is kept of a damaged catalog; everything else is derived from it."""
_NUMBERED = (
    *("name", "dictionary", "dictionary_copy", "memory", "passage", "ending"),
    *(table for table in _STATES if table != "state_ref"),
    *_PATTERNS,
)
"""Tables whose first column is a whole number that counts upwards from 1."""
_MADE_ANEW = ("memory_tag", "ending")
"""Tables that a repair makes anew or does without, so that nothing of them can be lost."""
_MOST_PROBES = 200_000
"""Bound on the looks at what lies between two damages: some ten seconds. Until then not one readable row is missed."""
_ROWS_A_PAGE = 256
"""More rows than one page of any of these tables holds; tells how far a table may reach whose end is damaged."""
_MOST_NAMED = 1_000


def open_file(path: Path) -> apsw.Connection:
    """Open a catalog as SQLite's own, with nothing of the store's around it."""
    uri = "file:" + quote(bytes(path))  # a path need not be UTF-8
    return apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI, vfs=fs.catalog_vfs())


def check_damage(error: apsw.Error, path: Path) -> None:
    """Raise unless an error speaks of damaged bytes: a disk that fails now may answer later, so nothing is given up.

    Raises:
        StorageError: Of whatever kind the failure is.
    """
    unreadable = (apsw.SQLITE_IOERR_READ, apsw.SQLITE_IOERR_SHORT_READ)
    failed = (apsw.CantOpenError, apsw.FullError, apsw.BusyError, apsw.NoMemError, apsw.ReadOnlyError)
    if isinstance(error, failed) or (
        isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) not in unreadable
    ):
        raise translate_sqlite(error, path, "repairing") from error


class DamagedFile:
    """A damaged catalog that is read; a context manager.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: apsw.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._db is not None:
            with contextlib.suppress(apsw.Error):  # what could not be moved out of the log stays in it
                self._db.close(True)
            self._db = None

    def rows(self, sql: str, bindings: tuple[Any, ...], errors: list[Exception]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query until damage is met, which is then added to ``errors``.

        Raises:
            StorageError: The disk failed in another way than by bytes that cannot be read.
        """
        try:
            if self._db is None:
                self._db = open_file(self.path)
                # Then a table whose definition is damaged does not hide the others.
                self._db.pragma("writable_schema", True)
            yield from self._db.execute(sql, bindings)
        except UnicodeDecodeError as error:
            errors.append(error)
        except apsw.Error as error:
            check_damage(error, self.path)
            errors.append(error)

    def may_hold(self, table: str) -> bool:
        """Return False where the file is of an older format that had no such table yet."""
        errors: list[Exception] = []
        version = next((row[0] for row in self.rows("PRAGMA user_version", (), errors)), FORMAT_VERSION)
        if errors or not isinstance(version, int) or not 0 < version < FORMAT_VERSION:
            return True
        sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?"
        return bool(list(self.rows(sql, (table,), errors))) or bool(errors)

    def pages(self) -> int:
        """Return how many pages of the usual size the file has."""
        try:
            return max(1, self.path.stat().st_size // 4096)
        except OSError:
            return 1


def salvage_rows(path: Path, writer: Writer) -> tuple[dict[str, int], list[Problem]]:
    """Copy every row that can be read into a new, empty catalog.

    Args:
        path: The damaged file.
        writer: Of the new one.

    Returns:
        How many rows each table has now, and what was lost.

    Raises:
        StorageError: The disk failed in another way than by bytes that cannot be read.
    """
    recovered: dict[str, int] = {}
    lost: list[Problem] = []
    with DamagedFile(path) as file:
        for table in TABLES:
            if not file.may_hold(table):
                recovered[table] = 0
                continue
            columns = [row[1] for row in writer.db.execute(f"PRAGMA table_info({table})")]
            found = _numbered if table in _NUMBERED else _ordered
            refused = _keep(writer, table, columns, found(file, table, columns, lost))
            lost += _limited(refused, f"more rows of table {table} could not be kept")
            recovered[table] = int(writer.db.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])
        lost += _lost_memories(file, writer, {problem.where for problem in lost})
    return recovered, [problem for problem in lost if problem.where not in _MADE_ANEW]


def _keep(writer: Writer, table: str, columns: list[str], rows: Iterable[tuple[Any, ...]]) -> list[Problem]:
    """Insert rows; return those that the table refuses, named."""
    # A row of a numbered table that comes twice is the same row; the facts of the old file replace the new one's.
    numbered = table in _NUMBERED
    insert = (
        f"INSERT {'' if numbered else 'OR REPLACE '}INTO {table} ({', '.join(columns)}) "
        f"VALUES ({', '.join('?' * len(columns))})" + (f" ON CONFLICT ({columns[0]}) DO NOTHING" if numbered else "")
    )
    refused: list[Problem] = []
    for row in rows:
        try:
            try:
                writer.db.execute(insert, row)
            except apsw.ConstraintError:
                if table != "memory" or not _end_older(writer, dict(zip(columns, row, strict=True))):
                    raise
                writer.db.execute(insert, row)
        except (apsw.ConstraintError, apsw.MismatchError) as error:
            refused.append(_refused(table, columns, row, error))
    return refused


def _end_older(writer: Writer, row: dict[str, Any]) -> bool:
    """Make room for a current revision where an older one of its memory says that it is current, too.

    Returns:
        Whether there was one. It ends where the newer begins.
    """
    if row["valid_to"] != 0 or not isinstance(row["valid_from"], int):
        return False
    writer.db.execute(
        "UPDATE memory SET valid_to = max(?, valid_from, 1), ended = 1 WHERE id = ? AND valid_to = 0 AND seq < ?",
        (row["valid_from"], row["id"], row["seq"]),
    )
    return bool(writer.db.changes())


def _refused(table: str, columns: list[str], row: tuple[Any, ...], error: Exception) -> Problem:
    values = dict(zip(columns, row, strict=True))
    if table == "memory" and isinstance(values["id"], str):
        where, code = f"memory {values['id']}", "memory-lost"
        what = f"revision {values['revision']} of memory {values['id']}"
    else:
        where, code, what = f"{table} {row[0]}", "rows-lost", f"row {row[0]} of table {table}"
    return Problem(code=code, where=where, message=f"{what} holds what cannot be kept: {error}")


def _ordered(file: DamagedFile, table: str, columns: list[str], lost: list[Problem]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a table without numbers from both of its ends to the damage."""
    select = f"SELECT {', '.join(columns)} FROM {table} ORDER BY {columns[0]}"
    errors: list[Exception] = []
    yield from file.rows(select, (), errors)
    if errors:
        yield from file.rows(f"{select} DESC", (), [])
        lost.append(
            Problem(code="rows-lost", where=table, message=f"the middle of table {table} is damaged: {errors[0]}")
        )


def _numbered(file: DamagedFile, table: str, columns: list[str], lost: list[Problem]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a table, all that can be read, and tell of the stretches that cannot."""
    key = columns[0]
    select = f"SELECT {', '.join(columns)} FROM {table}"
    errors: list[Exception] = []
    low = 1
    for row in file.rows(f"{select} ORDER BY {key}", (), errors):
        low = row[0] + 1
        yield row
    if not errors:
        return
    backwards: list[Exception] = []
    end, known = _end(file, table, low)
    high = end
    for row in file.rows(f"{select} ORDER BY {key} DESC", (), backwards):
        high, known = row[0] - 1, True
        yield row
    if backwards:
        if high < low:  # not so in a whole tree: one of the two keys is itself damaged
            low, high = 1, end
        bad: list[tuple[int, int]] = []
        yield from _between(file, f"{select} WHERE {key} BETWEEN ? AND ? ORDER BY {key}", low, high, bad)
        stretches = _joined(bad)
        rows = sum(last - first + 1 for first, last in stretches) if known else None
        lost.append(Problem(code="rows-lost", where=table, message=_told(table, len(stretches), rows)))
    if table == "name":  # its unique index holds all of it once more
        again = f"{select} INDEXED BY sqlite_autoindex_name_1 ORDER BY kind"
        yield from file.rows(again, (), [])
        yield from file.rows(f"{again} DESC", (), [])


def _end(file: DamagedFile, table: str, low: int) -> tuple[int, bool]:
    """Return a number that no row of a table is beyond, and whether that is the last number that it gave out."""
    most = low + _ROWS_A_PAGE * file.pages()
    counter = "dictionary" if table == "dictionary_copy" else table
    for (number,) in file.rows("SELECT seq FROM sqlite_sequence WHERE name = ?", (counter,), []):
        if isinstance(number, int) and low <= number <= most:
            return number, True
    return most, False


def _between(
    file: DamagedFile, select: str, low: int, high: int, bad: list[tuple[int, int]]
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows from ``low`` to ``high`` that can be read; add to ``bad`` the keys where nothing can.

    What is not known yet is looked at from its middle, the largest part first: where the middle can be read, so is all
    that follows until the next damage.
    """
    unknown = [(low - high, low, high)] if low <= high else []
    probes = 0
    while unknown:
        _, low, high = heapq.heappop(unknown)
        if probes >= _MOST_PROBES:
            bad.append((low, high))
            continue
        probes += 1
        middle = low + (high - low) // 2
        errors: list[Exception] = []
        last = middle - 1
        for row in file.rows(select, (middle, high), errors):
            last = row[0]
            yield row
        rest = [(low, middle - 1)]
        if errors:
            if last < middle:
                bad.append((middle, middle))
            rest.append((max(last, middle) + 1, high))
        for first, end in rest:
            if first <= end:
                heapq.heappush(unknown, (first - end, first, end))


def _joined(stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join stretches of keys that touch."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(stretches):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def _told(table: str, stretches: int, rows: int | None) -> str:
    counted = "1 stretch" if stretches == 1 else f"{stretches:,} stretches"
    told = f"{counted} of table {table} could not be read"
    if rows is not None:
        told += f", at most {rows:,} row{'' if rows == 1 else 's'}"
    if table == "passage":
        told += "; they are made anew of the texts, but for vectors that came with their memories"
    return told


def _lost_memories(file: DamagedFile, writer: Writer, named: set[str]) -> list[Problem]:
    """Name the memories whose rows are gone, as far as the index of ids can still be read."""
    kept = {row[0] for row in writer.db.execute("SELECT id FROM memory WHERE valid_to = 0")}
    sql = "SELECT id FROM memory INDEXED BY memory_id WHERE valid_to = 0 ORDER BY id"
    errors: list[Exception] = []
    ids = [row[0] for row in file.rows(sql, (), errors)]
    if errors:
        ids += [row[0] for row in file.rows(f"{sql} DESC", (), [])]
    missing = [id for id in dict.fromkeys(ids) if isinstance(id, str) and id not in kept]
    problems = [
        Problem(code="memory-lost", where=f"memory {id}", message=f"memory {id} could not be read")
        for id in missing
        if f"memory {id}" not in named
    ]
    return _limited(problems, "more memories could not be read")


def _limited(problems: list[Problem], more: str) -> list[Problem]:
    """Name so many, and count the rest."""
    if len(problems) <= _MOST_NAMED:
        return problems
    counted = f"{len(problems) - _MOST_NAMED:,} {more}"
    return [*problems[:_MOST_NAMED], Problem(code=problems[0].code, where="catalog", message=counted)]
