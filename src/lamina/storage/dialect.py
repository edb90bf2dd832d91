"""What differs between SQL engines, in one place.

Everything else in ``storage`` is written in the SQL that SQLite and PostgreSQL share: ``ON CONFLICT``, integer
microseconds, partial indexes, no engine's own date functions.
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
    """Table of the elements of an array at a bound path; column ``value``."""

    contains = "instr({value}, ?) > 0"
    contains_folded = "instr(casefold({value}), casefold(?)) > 0"
    """``casefold`` is registered on every connection; SQLite's own ``lower`` knows ASCII alone."""

    @staticmethod
    def text_table(name: str) -> str:
        """Return the statement that makes a contentless full-text table for tokens of ours.

        ``ascii`` splits at spaces and leaves every other character alone, which is what pre-made tokens need.
        """
        return (
            f"CREATE VIRTUAL TABLE {name} USING fts5(head, body, mark, content='', contentless_delete=1, "
            "tokenize='ascii')"
        )
