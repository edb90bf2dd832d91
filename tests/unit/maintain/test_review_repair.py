"""What a repair keeps, what it names, and how near it comes to keeping everything that can be read."""

from __future__ import annotations

import random
from pathlib import Path

import apsw
import pytest

import lamina
from lamina.errors import FormatError
from lamina.testing import TinyEmbedder, make_patient

PAGE = 4096


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a store with one long memory and one that came with a vector."""
    place = tmp_path / "store"
    with lamina.open(place, embedder=TinyEmbedder(), durability="relaxed") as store:
        store.memories.add("\n\n".join(f"Paragraph {number} tells of harbours. " * 20 for number in range(6)))
        store.memories.add("It came with a vector.", vector=[1.0] + [0.0] * 7)
    return place


def sql(folder: Path, statement: str, *bindings: object) -> list[tuple[object, ...]]:
    """Change or read a closed store's catalog behind Lamina's back."""
    db = apsw.Connection(str(folder / ".lamina" / "catalog.db"))
    try:
        return db.execute(statement, bindings).fetchall()
    finally:
        db.close()


def leaves(folder: Path, table: str) -> list[tuple[int, int]]:
    """Return page number and rows of the leaves of a table, in key order."""
    found = sql(folder, "SELECT pageno, ncell FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path", table)
    return [(int(page), int(cells)) for page, cells in found]  # type: ignore[call-overload]


def zero(folder: Path, *pages: int) -> None:
    """Lose pages of a catalog."""
    path = folder / ".lamina" / "catalog.db"
    content = bytearray(path.read_bytes())
    for page in pages:
        content[(page - 1) * PAGE : page * PAGE] = bytes(PAGE)
    path.write_bytes(content)


def test_a_wrong_count_of_tokens_is_mended_in_place(folder: Path) -> None:
    """A damaged count costs no passage its number and no memory the vector that it came with."""
    before = sql(folder, "SELECT id, start, stop, tokens, given, scale, codes FROM passage ORDER BY id")
    sql(folder, "UPDATE passage SET tokens = tokens + 7")

    report = lamina.repair(folder)

    assert before == sql(folder, "SELECT id, start, stop, tokens, given, scale, codes FROM passage ORDER BY id")
    assert () == report.lost
    with lamina.open(folder, embedder=TinyEmbedder()) as store:
        assert store.verify("full").ok


def test_a_wrong_span_keeps_the_vector_that_the_memory_came_with(folder: Path) -> None:
    """A passage that lies outside of its text is cut anew, and a vector that nobody can make again goes along."""
    before = sql(folder, "SELECT start, stop, tokens, given, scale, codes FROM passage WHERE given = 1")
    sql(folder, "UPDATE passage SET stop = 9999 WHERE given = 1")

    report = lamina.repair(folder)

    assert before == sql(folder, "SELECT start, stop, tokens, given, scale, codes FROM passage WHERE given = 1")
    assert () == report.lost


def test_a_passage_that_is_gone_is_told_and_made_anew(folder: Path) -> None:
    """A text whose middle no passage covers is a problem; the repair covers it, and the other passages keep vectors."""
    spans = sql(folder, "SELECT start, stop FROM passage WHERE memory = 1 ORDER BY start")
    sql(folder, "DELETE FROM text_now WHERE rowid = 2")
    sql(folder, "DELETE FROM passage WHERE id = 2")
    with lamina.open(folder, embedder=TinyEmbedder()) as store:
        assert "passage-damaged" in {problem.code for problem in store.verify("sample").problems}

        store.repair()

        assert store.verify("full").ok
        assert 1 == store.stats()["vectors_waiting"]
    assert spans == sql(folder, "SELECT start, stop FROM passage WHERE memory = 1 ORDER BY start")


def test_a_given_vector_that_is_lost_is_named(folder: Path) -> None:
    """Where the bytes of a caller's vector are no vector, the repair names the memory, which then waits for one."""
    (id,) = sql(folder, "SELECT m.id FROM memory m JOIN passage p ON p.memory = m.seq WHERE given = 1")[0]
    sql(folder, "UPDATE passage SET codes = x'0102' WHERE given = 1")

    report = lamina.repair(folder)

    assert [("vector-lost", f"memory {id}")] == [(problem.code, problem.where) for problem in report.lost]
    with lamina.open(folder, embedder=TinyEmbedder()) as store:
        assert 1 == store.stats()["vectors_waiting"]
        assert store.verify("full").ok


def test_a_given_vector_that_is_gone_is_told(folder: Path) -> None:
    """A memory that came with a vector and has none any more is a problem of the store's structure."""
    sql(folder, "UPDATE passage SET codes = NULL WHERE given = 1")
    with lamina.open(folder, embedder=TinyEmbedder()) as store:
        assert {"vector-missing"} == {problem.code for problem in store.verify().problems}


@pytest.mark.parametrize("count", [1, 2, 6])
def test_salvage_keeps_every_row_that_can_be_read(tmp_path: Path, count: int) -> None:
    """Of lost leaves only their own rows are lost, whatever lies between them, and each stretch is counted once."""
    patient = make_patient(tmp_path / "store", memories=400)
    pages = leaves(patient.folder, "memory")
    rows = int(sql(patient.folder, "SELECT count(*) FROM memory")[0][0])  # type: ignore[call-overload]
    rng = random.Random(count)
    chosen = [place for place in range(1, len(pages) - 1) if place % 3 == 1]
    damaged = [pages[place] for place in sorted(rng.sample(chosen, count))]
    zero(patient.folder, *(page for page, _ in damaged))

    report = lamina.repair(patient.folder)

    gone = sum(cells for _, cells in damaged)
    assert rows - gone == report.recovered["memory"]
    told = next(problem.message for problem in report.lost if problem.where == "memory")
    counted = "1 stretch" if count == 1 else f"{count} stretches"
    assert f"{counted} of table memory could not be read, at most {gone} rows" == told


@pytest.mark.parametrize("where", ["first", "last", "both"])
def test_salvage_of_a_tables_ends(tmp_path: Path, where: str) -> None:
    """Where the first or the last leaf is lost, everything between them is kept, and what is lost is counted."""
    patient = make_patient(tmp_path / "store", memories=200)
    pages = leaves(patient.folder, "memory")
    rows = int(sql(patient.folder, "SELECT count(*) FROM memory")[0][0])  # type: ignore[call-overload]
    damaged = {"first": pages[:1], "last": pages[-1:], "both": [pages[0], pages[-1]]}[where]
    zero(patient.folder, *(page for page, _ in damaged))

    report = lamina.repair(patient.folder)

    gone = sum(cells for _, cells in damaged)
    assert rows - gone == report.recovered["memory"]
    assert any(problem.message.endswith(f"at most {gone} rows") for problem in report.lost if problem.where == "memory")


def test_rows_that_the_new_table_refuses_are_named(tmp_path: Path) -> None:
    """A row that can be read but holds what its table does not take is no silent loss."""
    patient = make_patient(tmp_path / "store", memories=200)
    id = list(patient.memories)[3]
    db = apsw.Connection(str(patient.folder / ".lamina" / "catalog.db"))
    db.pragma("writable_schema", True)
    db.execute(
        "UPDATE sqlite_schema SET sql = replace(sql, 'importance REAL NOT NULL', 'importance REAL') "
        "WHERE name = 'memory'"
    )
    db.close()
    sql(patient.folder, "UPDATE memory SET importance = NULL WHERE id = ?", id)

    report = lamina.repair(patient.folder)

    named = [problem for problem in report.lost if problem.where == f"memory {id}"]
    assert 1 == len(named)
    assert "NOT NULL" in named[0].message


def test_two_current_revisions_are_both_kept(tmp_path: Path) -> None:
    """Where an old revision says that it is current, too, the newer one is, and the older one becomes history."""
    patient = make_patient(tmp_path / "store", memories=200)
    id = next(id for id, memory in patient.memories.items() if memory.title == "changed")
    sql(patient.folder, "DROP INDEX memory_id")
    sql(patient.folder, "UPDATE memory SET valid_to = 0, ended = 0 WHERE id = ?", id)

    lamina.repair(patient.folder)

    with lamina.open(patient.folder, embedder=TinyEmbedder()) as store:
        assert "changed" == store.memories.get(id).title
        assert ["add", "update"] == [change.action for change in store.memories.history(id)]


def test_a_whole_catalog_of_a_newer_version_is_left_alone(folder: Path) -> None:
    """What a newer version added would be thrown away by a salvage, so repair refuses, and changes nothing."""
    sql(folder, "CREATE TABLE later (a TEXT) STRICT")
    sql(folder, "PRAGMA user_version = 99")
    before = (folder / ".lamina" / "catalog.db").read_bytes()

    with pytest.raises(FormatError, match="newer"):
        lamina.repair(folder)

    assert before == (folder / ".lamina" / "catalog.db").read_bytes()


def test_a_path_that_is_no_utf_8(tmp_path: Path) -> None:
    """A store may lie where the name of a folder is no text: it opens, verifies, is repaired and copied."""
    place = Path(f"{tmp_path}/caf\udce9")
    with lamina.open(place, embedder="none") as store:
        store.memories.add("Names are bytes.")
        assert store.verify("full").ok
        assert store.stats()["memories"] == 1
    zero(place, leaves_of_open(place))
    lamina.repair(place)
    with lamina.open(place, embedder="none") as store:
        assert 1 == store.memories.count()


def leaves_of_open(place: Path) -> int:
    """Return a page of the text index, found without opening the catalog by a name that SQLite takes for text."""
    image = (place / ".lamina" / "catalog.db").read_bytes()
    db = apsw.Connection(":memory:")
    db.deserialize("main", image[:18] + b"\x01\x01" + image[20:])
    page = db.execute("SELECT max(pageno) FROM dbstat WHERE name = 'text_now_data'").fetchall()[0][0]
    assert isinstance(page, int)
    return page
