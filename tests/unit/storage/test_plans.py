"""How SQLite means to run the queries that must stay fast in a large store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lamina.config import Settings
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.filters import Filter
from lamina.storage.names import NameKind
from lamina.storage.reader import Reader
from lamina.storage.writer import Indexed
from lamina.testing import make_draft

NUMBER = 300


@pytest.fixture(scope="module", params=["fresh", "analysed"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteCatalog]:
    """A catalog with memories, tags, bands and a past; once with SQLite's statistics and once without."""
    folder = tmp_path_factory.mktemp("plans") / "store" / ".lamina"
    catalog = SqliteCatalog(folder, Settings(durability="relaxed"))
    with catalog.write() as writer:
        writer.insert(
            make_draft(
                f"memory-{place:04}",
                f"text {place}",
                scope=f"scope{place % 3}",
                tags=(f"tag{place % 20}",),
                created_at=1_000 + place,
                bands=(place % 50, 1_000 + place),
                thread=f"thread{place % 30}",
                codes=b"1234" if place % 2 else None,
            )
            for place in range(NUMBER)
        )
        for place in range(0, NUMBER, 10):
            record = writer.current(f"memory-{place:04}")
            assert record is not None
            (passage,) = writer.passages_of(record.seq)
            writer.end(record, "update", 5_000, {passage[0]: Indexed("", record.text)})
            writer.insert(
                [make_draft(record.id, "newer", revision=2, scope=record.scope, created_at=record.created_at)]
            )
        if request.param == "analysed":
            writer.db.execute("ANALYZE")
    yield catalog
    catalog.close()


def plan(catalog: SqliteCatalog, ask: Callable[[Reader], object]) -> list[str]:
    """Return the plan's lines of every statement that a question to the reader runs."""
    seen: list[tuple[str, Any]] = []

    def note(_cursor: object, sql: str, bindings: Any) -> bool:
        if sql.lstrip().startswith("SELECT"):
            seen.append((sql, bindings))
        return True

    with catalog.read() as reader:
        reader.db.exec_trace = note
        try:
            ask(reader)
        finally:
            reader.db.exec_trace = None
        assert seen
        return [
            str(row[3]) for sql, bindings in seen for row in reader.db.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)
        ]


def scope(reader: Reader) -> tuple[int, ...]:
    """Return the number of a scope that is in use."""
    number = reader.name_id(NameKind.SCOPE, "scope1")
    assert number is not None
    return (number,)


def tag(reader: Reader) -> tuple[int, ...]:
    """Return the number of a tag that is in use."""
    number = reader.name_id(NameKind.TAG, "tag7")
    assert number is not None
    return (number,)


ALL = Filter(expired=True)
QUESTIONS: dict[str, tuple[Callable[[Reader], object], tuple[str, ...]]] = {
    "current": (lambda r: r.current("memory-0007"), ("SEARCH m USING INDEX memory_id (id=?)",)),
    "revisions": (
        lambda r: r.revisions("memory-0010"),
        ("SEARCH m USING INDEX memory_past (id=?)", "SEARCH m USING INDEX memory_id (id=?)"),
    ),
    "created_at": (lambda r: r.created_at("memory-0010"), ("INDEX memory_id (id=?)",)),
    "records": (lambda r: r.records([1, 2, 3], ALL), ("SEARCH m USING INTEGER PRIMARY KEY (rowid=?)",)),
    "page": (lambda r: r.page(ALL, 10, None), ("SCAN m USING INDEX memory_created",)),
    "page after": (
        lambda r: r.page(ALL, 10, "memory-0100"),
        ("SEARCH m USING INDEX memory_created ((created_at,id)<",),
    ),
    "page of a scope": (
        lambda r: r.page(Filter(expired=True, scopes=scope(r)), 10, None),
        ("SEARCH m USING INDEX memory_scope (scope=?)",),
    ),
    "page of a scope after": (
        lambda r: r.page(Filter(expired=True, scopes=scope(r)), 10, "memory-0100"),
        ("SEARCH m USING INDEX memory_scope (scope=? AND (created_at,id)<",),
    ),
    "page of a time": (
        lambda r: r.page(Filter(expired=True, since=1_290), 10, None),
        ("INDEX memory_created (created",),
    ),
    "passages": (lambda r: r.passages([1, 2]), ("SEARCH passage USING INTEGER PRIMARY KEY (rowid=?)",)),
    "passages_of": (lambda r: r.passages_of(3), ("SEARCH passage USING INDEX passage_memory (memory=?)",)),
    "waiting": (lambda r: r.waiting(5, 10), ("INDEX passage_waiting (id>?)", "PRIMARY KEY (rowid>?)")),
    "near": (lambda r: r.near([3, 4], 8), ("SEARCH band USING PRIMARY KEY (hash=?)",)),
    "tag": (
        lambda r: r.count(Filter(expired=True, tags=tag(r))),
        ("SEARCH t USING PRIMARY KEY (tag=?)", "SEARCH t USING COVERING INDEX"),
    ),
    "dictionary": (lambda r: r.newest_dictionary(), ("SEARCH dictionary",)),
    "endings": (lambda r: r.endings(3), ("SEARCH ending USING INTEGER PRIMARY KEY (rowid>?)",)),
    "passage_columns": (
        lambda r: list(r.passage_columns(5, ALL)),
        ("SEARCH p USING INTEGER PRIMARY KEY (rowid>?)",),
    ),
    "match": (lambda r: r.match(["text"], ALL, limit=5, head_weight=1.0), ("VIRTUAL TABLE INDEX",)),
}
SORTS = {"near", "match"}
"""These rank by something that no index can hold."""
WALKS = {"page"}
"""This goes along an index and ends at its limit."""


@pytest.mark.parametrize("name", QUESTIONS)
def test_plan(filled: SqliteCatalog, name: str) -> None:
    """The question goes through the index that is meant for it, walks no table whole, and sorts nothing it need not."""
    ask, wanted = QUESTIONS[name]
    lines = plan(filled, ask)
    assert any(part in line for line in lines for part in wanted), lines
    tables = ("memory", "m", "passage", "p", "band", "memory_tag", "t", "ending", "name", "use_count", "u")
    scans = [line for line in lines if line.startswith(tuple(f"SCAN {table}" for table in tables))]
    whole = [line for line in scans if line.split()[1] in tables]
    if name not in WALKS:
        assert whole == []
    if name not in SORTS:
        assert not any("TEMP B-TREE" in line for line in lines), lines
