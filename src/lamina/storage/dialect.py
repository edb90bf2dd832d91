"""Expressions that differ between SQL engines.

What else is SQLite's own stands in ``connection`` and ``migrations`` (opening, pragmas, the schema), ``fts`` (the text
index) and ``maintain`` (pages, salvage). The queries of ``reader``, ``writer`` and ``filters`` keep to what SQLite and
PostgreSQL share: ``ON CONFLICT``, ``RETURNING``, partial indexes, integer microseconds, no engine's date functions.
"""

from __future__ import annotations

import json

__all__ = ["SqliteDialect"]


class SqliteDialect:
    """SQLite with FTS5 and JSON."""

    name = "sqlite"

    @staticmethod
    def json_path(key: str) -> str:
        """Return the JSON path of a top-level key, quoted so that any character may stand in it."""
        return "$." + json.dumps(key, ensure_ascii=False)

    json_value = "json_extract({column}, ?)"
    """Expression for the value at a bound JSON path."""
    json_kind = "json_type({column}, ?)"
    """Expression for the JSON type at a bound path, NULL where the key is absent."""
    json_each = "json_each({column}, ?)"
    """Table of the elements of an array at a bound path; columns ``value`` and ``type``."""

    contains = "instr({value}, ?) > 0"
    contains_folded = "instr(casefold({value}), casefold(?)) > 0"
    """``casefold`` is registered on every connection; SQLite's own ``lower`` knows ASCII alone."""

    last_number = "SELECT seq FROM sqlite_sequence WHERE name = ?"
    """The last number that a table gave out, whether or not its row is still there."""
    forget_number = "DELETE FROM sqlite_sequence WHERE name = ?"
    set_number = "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)"
