"""The text index: two FTS5 tables of tokens that are made elsewhere, one of current passages and one of past ones.

Everything that is FTS5's own stands here. A table is contentless, its rowid a passage's id; ``mark`` holds tokens that
say the passage's scope and type, so that the index itself can apply those filters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lamina.storage.filters import Filter

__all__ = ["NOW", "PAST", "TextEntry", "TextStatistics", "add", "frequency", "make", "match", "remove", "statistics"]

NOW = "text_now"
PAST = "text_past"
MARKS = 2
"""Tokens of ``mark``; they count into a passage's length."""


@dataclass(frozen=True, slots=True)
class TextStatistics:
    """What BM25 needs to know about the indexed passages."""

    passages: int
    tokens: int


@dataclass(frozen=True, slots=True)
class TextEntry:
    """A passage as it is indexed; tokens are separated by spaces."""

    passage: int
    head: str
    body: str
    scope: int
    type: int


def make(db: Any) -> None:
    """Make both tables anew and empty, whatever state they are in.

    ``ascii`` splits at spaces and leaves characters beyond ASCII alone, which is what ready tokens need.
    """
    for table in ("term_now", NOW, PAST):
        db.execute(f"DROP TABLE IF EXISTS {table}")
    for table in (NOW, PAST):
        db.execute(
            f"CREATE VIRTUAL TABLE {table} USING fts5("
            "head, body, mark, content='', contentless_delete=1, tokenize='ascii')"
        )
    db.execute(f"CREATE VIRTUAL TABLE term_now USING fts5vocab({NOW}, row)")


def add(db: Any, table: str, entries: Iterable[TextEntry]) -> None:
    """Index passages."""
    db.executemany(
        f"INSERT INTO {table} (rowid, head, body, mark) VALUES (?, ?, ?, ?)",
        (
            (entry.passage, entry.head, entry.body, f"{_mark('s', entry.scope)} {_mark('t', entry.type)}")
            for entry in entries
        ),
    )


def remove(db: Any, table: str, passages: Iterable[int]) -> None:
    """Take passages out; their tokens stay in the index's segments until :func:`merge`."""
    db.executemany(f"DELETE FROM {table} WHERE rowid = ?", ((passage,) for passage in passages))


def merge(db: Any) -> None:
    """Rewrite both indexes without what was taken out."""
    for table in (NOW, PAST):
        db.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")


def match(
    db: Any, table: str, terms: Sequence[str], condition: Filter, *, limit: int, head_weight: float
) -> list[tuple[int, float]]:
    """Return ``(passage, BM25 score)`` of the passages that hold any of the terms, best first."""
    query = _query(terms, condition)
    if not query:
        return []
    rank = f"bm25({table}, {head_weight!r}, 1.0, 0.0)"
    found: list[tuple[int, float]]
    if condition.plain and condition.as_of is None and table == NOW:
        sql = f"SELECT rowid, -{rank} AS score FROM {table} WHERE {table} MATCH ? ORDER BY score DESC LIMIT ?"
        found = db.execute(sql, (query, limit)).fetchall()
        return found
    test = condition.sql()
    sql = (
        f"SELECT {table}.rowid, -{rank} AS score FROM {table} JOIN passage p ON p.id = {table}.rowid "
        f"JOIN memory m ON m.seq = p.memory WHERE {table} MATCH ? AND {test.text} ORDER BY score DESC LIMIT ?"
    )
    found = db.execute(sql, (query, *test.bindings, limit)).fetchall()
    return found


def frequency(db: Any, term: str) -> int:
    """Return how many current passages hold a term."""
    for (count,) in db.execute("SELECT doc FROM term_now WHERE term = ?", (term,)):
        return int(count)
    return 0


def statistics(db: Any) -> TextStatistics:
    """Return how many current passages are indexed and how many tokens they have, marks included.

    Inside a write these are the numbers of the last commit.

    FTS5 keeps both in its "averages" record, as a list of varints (sqlite.org/fts5.html, section 9).
    """
    for (block,) in db.execute(f"SELECT block FROM {NOW}_data WHERE id = 1"):
        numbers = list(_varints(block or b""))
        if numbers:
            return TextStatistics(numbers[0], sum(numbers[1:]))
    return TextStatistics(0, 0)


def _query(terms: Sequence[str], condition: Filter) -> str:
    if not terms:
        return ""
    any_of = " OR ".join(f'"{term}"' for term in terms)
    query = f"{{head body}} : ({any_of})"
    for prefix, ids in (("s", condition.scopes), ("t", condition.types)):
        if ids is not None:
            marks = " OR ".join(f'"{_mark(prefix, number)}"' for number in ids)
            if not marks:
                return ""
            query = f"({query}) AND mark : ({marks})"
    return query


def _mark(prefix: str, number: int) -> str:
    """Return the token that says which scope or type a passage has; no tokeniser of ours can make it."""
    return f"§{prefix}{number}"


def _varints(block: bytes) -> Iterator[int]:
    """Yield SQLite's variable-length integers: seven bits a byte, high ones first, the ninth byte whole."""
    value = count = 0
    for byte in block:
        count += 1
        if count == 9:
            yield value << 8 | byte
            value = count = 0
        elif byte & 0x80:
            value = value << 7 | byte & 0x7F
        else:
            yield value << 7 | byte
            value = count = 0
