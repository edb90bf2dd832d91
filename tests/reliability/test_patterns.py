from __future__ import annotations

import multiprocessing
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pytest

import lamina
from lamina import Store

START = datetime(2026, 1, 1, tzinfo=UTC)


def fill(store: Store) -> None:
    """Fill a store with patterns, uses and sessions."""
    store.patterns.record_many(
        {
            "steps": [f"step {number % 7}", "edit"],
            "type": "T",
            "success": number % 3 > 0,
            "files": [f"f{number % 4}.py"],
            "session": f"s{number % 5}",
            "at": START + timedelta(hours=number),
        }
        for number in range(200)
    )
    run = store.sessions.start("s0")
    for _ in range(60):
        run.call("Edit", arguments={"file_path": "a.py"}, result="done " * 40)
        run.call("Bash", arguments={"command": "pytest"})
    store.sessions.start("s9").turn("user", "hello")
    store.sessions.archive(["s9"])


def exported(folder: Path) -> tuple[bytes, str]:
    """Everything that a store says of patterns and sessions."""
    with lamina.open(folder, embedder="none") as store:
        return b"".join(store.patterns.exported("jsonl")), "".join(store.sessions.lines())


def raw(folder: Path, sql: str) -> None:
    """Change the catalog behind the back of Lamina."""
    db = apsw.Connection(str(folder / ".lamina" / "catalog.db"))
    db.execute(sql)
    db.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE pattern SET uses = uses + 1",
        "DELETE FROM pattern_day",
        "UPDATE pattern_day SET uses = uses + 1 WHERE day % 2",
        "DELETE FROM pattern_link WHERE name % 2; UPDATE pattern SET sessions = 0",
        "INSERT INTO pattern_use (pattern, at, success, learned) VALUES (9999, 1, 1, 0)",
        "UPDATE session SET trace = x'01'; UPDATE pattern SET last_used = 1",
        "DELETE FROM pattern_term WHERE pattern = 3",
    ],
)
def test_what_is_derived_is_checked_and_repaired(tmp_path: Path, damage: str) -> None:
    """Counts, days and links that are wrong are found by verify and made anew by repair; nothing else changes."""
    folder = tmp_path / "store"
    with lamina.open(folder, embedder="none") as store:
        fill(store)
        words = [pattern.id for pattern in store.patterns.query().matching("step 3").all()]
    before = exported(folder)
    raw(folder, damage)
    with lamina.open(folder, embedder="none") as store:
        assert not store.verify("full").ok
        store.repair()
        assert store.verify("full").ok
        assert [pattern.id for pattern in store.patterns.query().matching("step 3").all()] == words
        assert len(store.patterns.query().with_file("f1.py").all()) == 7
    assert exported(folder) == before


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM pattern WHERE seq = 3",
        "DELETE FROM pattern WHERE seq = 2",
        "UPDATE pattern SET merged_into = NULL WHERE seq = 2",
        "UPDATE pattern SET merged_into = 1 WHERE seq = 2",
        "UPDATE pattern_use SET pattern = 1",
        "DELETE FROM pattern WHERE seq = 1",
    ],
)
def test_merges_are_checked_and_repaired(tmp_path: Path, damage: str) -> None:
    """Merged patterns that are part of nothing are found by verify; repair makes them their own, and no use is lost."""
    base = "run the tests of the parser module quickly now please again and again"
    names = [[f"{base} {words}"] for words in ("alpha beta", "alpha gamma", "delta gamma")]
    with lamina.open(tmp_path / "store", embedder="none") as store:
        for steps, count in zip(names, (2, 3, 9), strict=True):
            store.patterns.record_many([{"steps": steps, "type": "T", "success": True}] * count)
            store.patterns.prune()
        assert store.verify("full").ok
    raw(tmp_path / "store", damage)
    with lamina.open(tmp_path / "store", embedder="none") as store:
        assert any(problem.code == "merge-broken" for problem in store.verify("structure").problems)
        before = 14 - (9 if "seq = 3" in damage else 0)
        store.repair()
        assert store.verify("full").ok
        assert sum(pattern.uses for pattern in store.patterns.query().all()) == before
        for steps in names:
            before += 1
            store.patterns.record(steps, type="T", success=True)
            assert sum(pattern.uses for pattern in store.patterns.query().all()) == before


def test_a_damaged_page_costs_what_was_on_it(tmp_path: Path) -> None:
    """Where the catalog is damaged, patterns and sessions that can be read are kept, and what is lost is named."""
    folder = tmp_path / "store"
    with lamina.open(folder, embedder="none") as store:
        fill(store)
        before = {pattern.id: pattern.uses for pattern in store.patterns.query().all()}
        with store._catalog.read() as reader:
            (page,) = reader.db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'pattern_link'").fetchall()[0]
    with (folder / ".lamina" / "catalog.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(os.urandom(4096))
    report = lamina.repair(folder)
    with lamina.open(folder, embedder="none") as store:
        assert store.verify("full").ok
        assert {pattern.id: pattern.uses for pattern in store.patterns.query().all()} == before
        assert store.sessions.count() == 6
        assert len(list(store.sessions.events("s0"))) == 120
    assert report.recovered["pattern_use"] == 200


def _record(folder: Path, number: int, count: int) -> None:
    with lamina.open(folder, embedder="none") as store:
        for turn in range(count):
            store.patterns.record(["shared"], type="T", success=True, session=f"s{number}-{turn % 3}")
            store.sessions.call("common", "Edit", arguments={"n": turn})


def test_several_processes_record_the_same_pattern(tmp_path: Path) -> None:
    """Four processes record one pattern and add to one session: every use and every call is there once."""
    folder = tmp_path / "store"
    with lamina.open(folder, embedder="none") as store:
        store.sessions.start("common")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_record, args=(folder, number, 15)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    with lamina.open(folder, embedder="none") as store:
        (pattern,) = store.patterns.query().all()
        assert (pattern.uses, pattern.sessions) == (60, 12)
        assert [event.position for event in store.sessions.events("common")] == list(range(60))
        assert store.verify("full").ok
    assert [process.exitcode for process in processes] == [0] * 4


def test_an_older_catalog_gets_the_tables(tmp_path: Path) -> None:
    """A store from before patterns opens, and records them."""
    golden = Path(__file__).resolve().parents[1] / "golden" / "format-1.db"
    engine = tmp_path / "store" / ".lamina"
    engine.mkdir(parents=True)
    (engine / "catalog.db").write_bytes(golden.read_bytes())
    with lamina.open(tmp_path / "store", embedder="none") as store:
        assert store.memories.count() > 0
        assert store.patterns.record(["a"], type="T", success=True).uses == 1
        assert store.sessions.list() == []
