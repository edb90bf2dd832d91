"""SQLite files of other programs: read one table of them, or make one; nothing of them is trusted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import apsw

from lamina.errors import CorruptionError, InvalidInputError
from lamina.storage.connection import translate_sqlite

__all__ = ["ForeignTable", "database_bytes", "foreign_columns", "open_table"]

_LONGEST_VALUE: Final = 1 << 30


class ForeignTable:
    """A table of somebody else's database, open for reading."""

    def __init__(self, connection: apsw.Connection, name: str, columns: list[str]) -> None:
        self._connection = connection
        self._name = name
        self.columns = columns

    def rows(self, columns: Sequence[str], order: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows, of the columns that were asked for."""
        listed = ", ".join(_quoted(column) for column in columns)
        sql = f"SELECT {listed} FROM {_quoted(self._name)} ORDER BY {_quoted(order)}"
        yield from self._connection.execute(sql)

    def value(self, column: str, key: str, wanted: Any) -> Any:
        """Return one column of the row whose ``key`` is ``wanted``, or None."""
        sql = f"SELECT {_quoted(column)} FROM {_quoted(self._name)} WHERE {_quoted(key)} = ?"
        row = self._connection.execute(sql, (wanted,)).fetchone()
        return None if row is None else row[0]


def foreign_columns(path: Path, table: str) -> list[str]:
    """Return the columns of a table in a file, or none where it has no such table or is no database.

    Raises:
        LaminaError: The file is locked, or cannot be read.
    """
    try:
        with open_table(path, table, ()) as opened:
            return opened.columns
    except (InvalidInputError, CorruptionError):
        return []


@contextmanager
def open_table(path: Path, table: str, columns: Sequence[str]) -> Iterator[ForeignTable]:
    """Open a table for reading; the file is not written to, and a view of the same name is not taken for it.

    Raises:
        InvalidInputError: There is no such table, or it lacks a column.
        CorruptionError: The database is damaged.
        LaminaError: The file is locked, or cannot be read.
    """
    with _connected(path) as connection:
        row = connection.execute(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ? AND sql NOT LIKE 'CREATE VIRTUAL%'", (table,)
        ).fetchone()
        if row is None:
            raise InvalidInputError(f"{path} has no table {table}.", hint="Is it another database?", path=str(path))
        have = [str(row[1]) for row in connection.execute(f"PRAGMA table_info({_quoted(table)})")]
        if missing := [column for column in columns if column not in have]:
            raise InvalidInputError(
                f"The table {table} in {path} has no column {missing[0]!r}.",
                hint="Is it another table?",
                path=str(path),
            )
        yield ForeignTable(connection, table, have)


@contextmanager
def _connected(path: Path) -> Iterator[apsw.Connection]:
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro"
        connection = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        try:
            connection.set_busy_timeout(2_000)
            connection.limit(apsw.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
            connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
            connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
            connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
            connection.pragma("cell_size_check", 1)
            yield connection
        finally:
            connection.close()
    except apsw.Error as error:
        found = translate_sqlite(error, path, "reading it")
        if isinstance(found, CorruptionError):
            found.hint = "Take it from where it came from again, or try SQLite's own `.recover`."
        raise found from error


def database_bytes(schema: str, insert: str, rows: Iterable[Sequence[Any]]) -> bytes:
    """Return a new database of one table as the bytes of a file.

    Args:
        schema: The statement that makes the table.
        insert: The statement that is run for each row.
        rows: The values.

    Raises:
        InvalidInputError: Two rows have one key.
        LaminaError: As SQLite has it.
    """
    try:
        connection = apsw.Connection(":memory:")
        try:
            connection.execute(schema)
            with connection:
                for row in rows:
                    connection.execute(insert, tuple(row))
            return bytes(connection.serialize("main"))
        finally:
            connection.close()
    except apsw.ConstraintError as error:
        raise InvalidInputError(f"A row cannot be written: {error}.", hint="Keys have to differ.") from error
    except apsw.Error as error:
        raise translate_sqlite(error, Path(":memory:"), "writing rows") from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
